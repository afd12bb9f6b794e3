"""What a verdict found, in one sentence: the headline of pages and lists, in the words of messages."""

from django.utils.translation import gettext_lazy as _

from analysis.judge.types import OK
from analysis.outbox import verdict_facts
from analysis.recorded import Recorded
from common.validation import localized
from deployments.models import Deployment
from deployments.outbox import in_short
from notifications.headlines import as_sentence, check_says, finding

# What messages call "ok, …", beside an OK.
SHORT = {
    "says.ok": _("No regression found."),
    "says.ok_uncompared": _("There was nothing to compare with: no sample from before."),
}


def finding_in_words(recorded: Recorded, deployment: Deployment) -> str:
    """Return what a verdict found, in the active language. Pages show the verdict itself beside it.

    Of a bad verdict it is the gravest check: "25 % of requests fail, was 0 %."
    """
    judged = recorded.judged_on
    found = {**verdict_facts(recorded.verdict), "samples": judged.post_samples, "samples_before": judged.pre_samples}
    if found["checks"] and found["verdict"] != OK:
        return as_sentence(localized(check_says(found["checks"][0])))
    fact = finding(found, in_short(deployment))
    return str(SHORT[fact.code]) if fact.code in SHORT else as_sentence(localized(fact))
