"""What a verdict found, in one sentence: the headline of pages and lists, in the words of messages."""

from analysis.judge.types import OK
from analysis.models import DeploymentVerdict
from analysis.outbox import verdict_facts
from common.validation import localized
from deployments.models import Deployment
from deployments.outbox import in_short
from notifications.headlines import as_sentence, check_says, finding


def finding_in_words(verdict: DeploymentVerdict, deployment: Deployment) -> str:
    """Return the finding of the verdict that stands, in the active language. Pages show the verdict itself beside it.

    Of a bad verdict it is the gravest check: "25 % of requests fail, was 0 %."
    """
    standing = verdict.standing
    judged = standing.judged_on
    found = {**verdict_facts(standing.verdict), "samples": judged.post_samples, "samples_before": judged.pre_samples}
    if found["checks"] and found["verdict"] != OK:
        return as_sentence(localized(check_says(found["checks"][0])))
    return as_sentence(localized(finding(found, in_short(deployment))))
