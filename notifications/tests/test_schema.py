"""docs/notification.schema.json against what webhooks send of every kind of event."""

import base64
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from django.conf import settings
from jsonschema import Draft202012Validator

from analysis.outbox import hint_facts, verdict_facts
from analysis.tests.judgements import judgements
from deployments.outbox import in_short
from deployments.tests.factories import make_deployment
from events.kinds import KINDS
from events.models import Event
from notifications.channels.webhook import body_of, signature
from notifications.describing import message

DOCS = settings.BASE_DIR / "docs"
SCHEMA = Draft202012Validator(json.loads((DOCS / "notification.schema.json").read_text(encoding="utf-8")))
NOW = datetime(2026, 12, 1, 12, tzinfo=UTC)


def body(kind: str, said: dict[str, Any]) -> Any:
    event = Event(pk=7, kind=kind, severity=KINDS[kind].severity, team_id=1, occurred_at=NOW, parameters=said)
    return json.loads(json.dumps(body_of(message(event, said, "fr", message_id="one"))))


@pytest.mark.django_db
def test_every_kind_of_event_is_sent_as_the_schema_says() -> None:
    Draft202012Validator.check_schema(SCHEMA.schema)
    deployment = make_deployment()
    about = {"project": "shop", "environment": "prod", "deployment": in_short(deployment)}
    for kind in KINDS:
        for said in ({}, about):
            SCHEMA.validate(body(kind, dict(said)))
    seen = 0
    for found, hints in judgements(step=25):
        facts = {"verdict": verdict_facts(found), "hints": [hint_facts(hint) for hint in hints[:3]]}
        SCHEMA.validate(body("early_rollback" if found.early else "verdict_issued", {**about, **facts}))
        seen += bool(hints)
    assert seen > 10
    assert not SCHEMA.is_valid({**body("test", {}), "version": 2})


def test_the_documented_verification_accepts_what_is_sent_and_nothing_else() -> None:
    text = (DOCS / "notifications.md").read_text(encoding="utf-8")
    code = text.split("```python\n", 1)[1].split("```", 1)[0]
    given: dict[str, Any] = {}
    exec(code, given)  # noqa: S102  (our own document)
    secret, sent = "whsec_" + base64.b64encode(b"k" * 24).decode(), b'{"type": "test"}'
    now = int(datetime.now(UTC).timestamp())
    headers = {"webhook-id": "one", **signature(secret, "one", sent, now)}
    assert given["is_authentic"](secret, headers, sent)
    old = {"webhook-id": "one", **signature(secret, "one", sent, now - 3600)}
    for wrong, content in ((headers, sent + b" "), ({**headers, "webhook-id": "two"}, sent), (old, sent), ({}, sent)):
        assert not given["is_authentic"](secret, wrong, content)
