"""Channel kinds: one module each. To add one, write its module and list it here."""

from notifications.channels.base import ChannelKind
from notifications.channels.webhook import Webhook

CHANNEL_KINDS: tuple[ChannelKind, ...] = (Webhook(),)
_BY_NAME = {kind.name: kind for kind in CHANNEL_KINDS}


def channel_kind(name: str) -> ChannelKind | None:
    """Return the kind of this name; None where this version has none, as after a downgrade."""
    return _BY_NAME.get(name)
