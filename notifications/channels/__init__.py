"""Channel kinds: one module each. To add one, write its module and list it here."""

from notifications.channels.base import ChannelKind
from notifications.channels.discord import Discord
from notifications.channels.email import Email
from notifications.channels.pagerduty import PagerDuty
from notifications.channels.slack import SlackBot, SlackWebhook
from notifications.channels.teams import Teams
from notifications.channels.telegram import Telegram
from notifications.channels.webhook import Webhook

CHANNEL_KINDS: tuple[ChannelKind, ...] = (
    Email(),
    SlackWebhook(),
    SlackBot(),
    Teams(),
    Discord(),
    Telegram(),
    PagerDuty(),
    Webhook(),
)
_BY_NAME = {kind.name: kind for kind in CHANNEL_KINDS}


def channel_kind(name: str) -> ChannelKind | None:
    """Return the kind of this name; None where this version has none, as after a downgrade."""
    return _BY_NAME.get(name)
