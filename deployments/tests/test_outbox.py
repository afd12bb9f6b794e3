from deployments.models import Deployment
from deployments.outbox import MOST_CHARACTERS, in_short


def test_a_secret_that_the_cut_goes_through_is_masked() -> None:
    text = "x" * (MOST_CHARACTERS - 30) + " https://deploy:marked-secret-of-somebody@git.example/shop.git"
    told = in_short(Deployment(commit_message=text, author=text, branch=text, version=text))
    for name in ("title", "author", "branch", "version"):
        assert len(told[name]) <= MOST_CHARACTERS and "marked" not in told[name]
