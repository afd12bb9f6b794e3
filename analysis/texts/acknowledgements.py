"""Templates of what is wrong with an acknowledgement."""

from explain.catalogue import gettext_noop as _

TEXTS = {
    "acknowledged.no_reason": _("Say why the verdict is ignored: others will read it."),
    "acknowledged.no_verdict": _("There is no verdict yet that could be ignored."),
    "acknowledged.too_often": _("So much was said about this deployment ({most} times) that no more is kept."),
}
