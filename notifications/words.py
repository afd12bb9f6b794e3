"""Names of event kinds, for people who choose among them."""

from collections.abc import Mapping

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

EVENT_NAMES: Mapping[str, str | Promise] = {
    "verdict_issued": _("A verdict is issued"),
    "early_rollback": _("A rollback is recommended early"),
    "verdict_revised": _("A verdict is revised"),
    "recovered": _("An environment is well again"),
    "endpoint_silent": _("An endpoint stopped answering"),
    "endpoint_answers": _("An endpoint answers again"),
    "signature_refused": _("An endpoint refuses the signature"),
    "deployment_abandoned": _("A deployment was abandoned"),
    "rolled_back": _("A deployment was rolled back"),
    "acknowledged": _("Somebody reacted to a verdict"),
    "rollback_asked": _("A rollback waits for approval"),
    "rollback_fired": _("A rollback was started"),
    "rollback_failed": _("A rollback failed"),
    "rollback_unknown": _("It is unknown whether a rollback was started"),
    "freeze_forced": _("A deployment began in spite of a freeze"),
    "key_made": _("An API key was made"),
    "member_invited": _("Somebody was invited"),
    "channel_disabled": _("A channel was disabled"),
    "weekly_report": _("Weekly report"),
    "test": _("Test message"),
}
# Nobody chooses these; revised verdicts go with verdicts.
CHOICES = [
    (name, label) for name, label in EVENT_NAMES.items() if name not in ("test", "weekly_report", "verdict_revised")
]
