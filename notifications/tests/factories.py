import json
from typing import Any

from accounts.models import Team
from accounts.tests.factories import make_team
from notifications.models import Channel


def make_channel(url: str = "http://127.0.0.1:9/hook", team: Team | None = None, **fields: Any) -> Channel:
    """Make a webhook channel that wants everything."""
    config = json.dumps({"url": url, **fields.pop("config", {})})
    defaults = {"kind": "webhook", "name": "ops", "least_severity": "info", "cooldown_s": 0}
    return Channel.objects.create(team=team or make_team(), config=config, **{**defaults, **fields})
