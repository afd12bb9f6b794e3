"""Report what a receiver answered to a test."""

from django.contrib import messages
from django.http import HttpRequest
from django.utils.translation import gettext as _

from common.validation import localized
from explain.facts import Fact
from notifications.channels.base import Sent

SHOWN_OF_ANSWER = 200


def report_test(request: HttpRequest, sent: Sent, why: Fact | None) -> None:
    """Show the user the result of a test. why: it failed, None: it arrived."""
    answer = " ".join(str(part) for part in (sent.status, sent.answer[:SHOWN_OF_ANSWER]) if part)
    if why is None:
        messages.success(request, _("The test was sent. The receiver answered: %(answer)s") % {"answer": answer or "–"})
    else:
        message = _("The test failed: %(why)s. %(answer)s")
        messages.error(request, message % {"why": localized(why), "answer": answer})
