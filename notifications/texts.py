"""Templates of facts about deliveries and channels."""

from explain.catalogue import gettext_noop as _
from explain.catalogue import register

DELIVERIES = {
    "delivery.refused": _("the receiver answered {status}"),
    "delivery.gone": _("the receiver answered 410: it is gone for good"),
    "delivery.busy": _("the receiver answered {status}; it is tried again"),
    "delivery.channel_disabled": _("the channel is disabled"),
    "delivery.too_late": _("nobody took it in time"),
    "delivery.raised": _("it could not be sent: {error}"),
}

# The first line of a message: what a person needs. `where` names the deployment, or the environment.
EVENTS = {
    "event.where": _("{project} {environment} #{number}"),
    "event.key_made": _("An API key was made"),
    "event.channel_disabled": _("The channel {channel} is disabled: {why}"),
    "event.freeze_forced": _("{where}: began in spite of the freeze “{frozen}”: {reason}"),
    "event.test": _("A test message from SeqPulse: this channel works."),
}

register({**DELIVERIES, **EVENTS})
