"""The words by which CI systems report how a pipeline ended."""

from collections.abc import Mapping
from types import MappingProxyType

# By result: words of GitHub Actions, GitLab, Jenkins, CircleCI, Buildkite, Azure Pipelines, Bitbucket, Drone, TeamCity,
# Travis, Argo, Tekton, Concourse, Spinnaker and the clouds' build services, without case, spaces and punctuation.
# "unstable" is Jenkins' word for failed tests. What succeeded with issues or partially counts as succeeded in Azure's
# own conditions. "completed", of GitHub and Bitbucket, says only that it ended: it is no result, and neither are the
# words for what is still running or waiting.
WORDS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "success": (
            *("success", "succeeded", "successful", "passed", "pass", "ok", "fixed", "neutral", "normal"),
            *("succeededwithissues", "partiallysucceeded"),
            *("successwithwarnings", "passedwithwarnings"),
        ),
        "failed": (
            *("failed", "failure", "fail", "failing", "error", "errored", "unstable", "broken", "stillfailing"),
            *("unsuccessful", "regression", "timedout", "timeout", "startupfailure", "internalerror", "fault"),
            *("infrastructurefail", "terminal", "rejected", "unauthorized"),
            *("failedcontinue", "taskruntimeout", "pipelineruntimeout"),
        ),
        "cancelled": (
            *("cancelled", "canceled", "cancel", "aborted", "skipped", "stopped", "killed", "terminated"),
            *(
                "interrupted",
                "abandoned",
                "superseded",
                "expired",
                "stale",
                "declined",
                "notbuilt",
                "notrun",
                "notexecuted",
                "taskruncancelled",
                "pipelineruncancelled",
            ),
        ),
    }
)
RESULT_OF = {word: result for result, words in WORDS.items() for word in words}


def result_of(word: str) -> str | None:
    """Return the result that a CI system's word stands for, None for an unknown word."""
    return RESULT_OF.get("".join(filter(str.isalnum, word.casefold())))


def known_words() -> str:
    """Return the list of all words, by result, for a caller who used another one."""
    lists = (f"{result} ({', '.join(word for word in words if word != result)})" for result, words in WORDS.items())
    return "; ".join(lists)
