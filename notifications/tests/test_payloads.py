"""What channels send of every kind of event, against what their receivers document.

`make test-external` also checks it with published schemas and models (tests/test_vendors.py). PagerDuty publishes none:
its documents are written down here as a JSON schema.
"""

import json
from typing import Any

from jsonschema import Draft202012Validator
from slack_sdk.models.blocks import Block

from notifications.tests.payloads import bodies

KIB = 1024
TIME = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$"


def fields(required: list[str], **properties: Any) -> dict[str, Any]:
    return {"type": "object", "required": required, "additionalProperties": False, "properties": properties}


def text(most: int) -> dict[str, Any]:
    return {"type": "string", "minLength": 1, "maxLength": most}


# https://developer.pagerduty.com/docs/events-api-v2/trigger-events/ and …/send-change-events/
LINKS = {"type": "array", "items": fields(["href"], href={"type": "string", "pattern": "^https?://"}, text=text(1024))}
COMMON = {
    "summary": text(1024),
    "source": text(1024),
    "timestamp": {"pattern": TIME},
    "custom_details": {"type": "object"},
}
KEY = {"type": "string", "pattern": "^[0-9A-Za-z]{32}$"}
SEVERITIES = ["critical", "error", "warning", "info"]
PAGERDUTY_ALERT = fields(
    ["routing_key", "event_action", "payload"],
    routing_key=KEY,
    event_action={"enum": ["trigger", "acknowledge", "resolve"]},
    dedup_key=text(255),
    links=LINKS,
    payload=fields(["summary", "source", "severity"], **COMMON, severity={"enum": SEVERITIES}),
)
PAGERDUTY_CHANGE = fields(
    ["routing_key", "payload"], routing_key=KEY, links=LINKS, payload=fields(["summary"], **COMMON)
)


def utf16(found: str) -> int:
    return len(found.encode("utf-16-le")) // 2


def size(body: Any) -> int:
    return len(json.dumps(body).encode())


def test_every_message_is_within_what_its_receiver_documents() -> None:
    found = bodies()
    assert min(len(one) for one in found.values()) > 80
    for body in [*found["slack"], *found["slack_bot"]]:
        for block in Block.parse_all(body["blocks"]):
            block.validate_json()
        assert 0 < len(body["text"]) < 40_000 and len(body["blocks"]) <= 50
    for body in found["teams"]:
        assert size(body) <= 28 * KIB
    for body in found["discord"]:
        [embed] = body["embeds"]
        assert 0 < utf16(embed["title"]) <= 256 and utf16(embed["description"]) <= 4096
        assert utf16(embed["title"]) + utf16(embed["description"]) <= 6000
    for body in found["telegram"]:
        assert 0 < utf16(body["text"]) <= 4096
    for name, schema in (("pagerduty_alert", PAGERDUTY_ALERT), ("pagerduty_change", PAGERDUTY_CHANGE)):
        checked = Draft202012Validator(schema)
        for body in found[name]:
            checked.validate(body)
            assert size(body) <= 512 * KIB
        assert not checked.is_valid({**found[name][0], "payload": {"summary": ""}})
