"""What a deployment's page offers to do: links to commits, the last good one, the way back, what is copied."""

from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from dashboard.deployments.forge import forge_of
from dashboard.deployments.summary import summary_of
from dashboard.deployments.way_back import reverting
from dashboard.tests import scenes
from dashboard.tests.pages import address, elements, shows, words
from projects.models import Environment
from tests.factories import make_deployment

GOOD, BAD = "a" * 40, "b" * 40
GITHUB = "https://github.com/acme/shop/actions/runs/7"


@pytest.mark.parametrize(
    ("run", "commit", "between"),
    [
        (GITHUB, f"https://github.com/acme/shop/commit/{BAD}", f"https://github.com/acme/shop/compare/{GOOD}...{BAD}"),
        (
            "https://git.example:8443/acme/shop/actions/runs/7/jobs/1?pr=2",
            f"https://git.example:8443/acme/shop/commit/{BAD}",
            f"https://git.example:8443/acme/shop/compare/{GOOD}...{BAD}",
        ),
        (
            "https://gitlab.com/acme/web/shop/-/pipelines/7",
            f"https://gitlab.com/acme/web/shop/-/commit/{BAD}",
            f"https://gitlab.com/acme/web/shop/-/compare/{GOOD}...{BAD}",
        ),
        (
            "https://bitbucket.org/acme/shop/pipelines/results/7",
            f"https://bitbucket.org/acme/shop/commits/{BAD}",
            f"https://bitbucket.org/acme/shop/branches/compare/{BAD}..{GOOD}",
        ),
    ],
)
def test_commits_are_linked_where_the_run_says_in_which_repository(run: str, commit: str, between: str) -> None:
    forge = forge_of(run)
    assert forge is not None
    assert (forge.commit(BAD), forge.between(GOOD, BAD)) == (commit, between)
    assert (forge.commit("HEAD"), forge.between("main", BAD), forge.between(BAD, BAD)) == ("", "", "")


@pytest.mark.parametrize(
    "run",
    [
        *("", "https://ci.example/job/7", "https://github.com/acme", "javascript:alert(1)//a/b/actions/runs/7"),
        *("https://u:p@github.com/a b/c/actions/runs/7", "https://github.com/acme/shop\n/actions/runs/7"),
    ],
)
def test_other_runs_say_nothing_of_a_repository(run: str) -> None:
    assert forge_of(run) is None


@pytest.mark.parametrize("good", ["", "HEAD", "a" * 6, "$(id)", "a" * 40 + "\n"])
def test_only_hashes_of_commits_go_into_the_command(good: str) -> None:
    assert reverting(good, BAD) == reverting(BAD, good) == ""
    assert reverting(GOOD, BAD) == f"git revert --no-edit {GOOD[:10]}..{BAD[:10]}"


@pytest.mark.django_db
def test_a_bad_deployment_says_what_was_deployed_since_the_last_good_one(
    browser_of: Client, environment: Environment
) -> None:
    good = scenes.judged(environment, minutes_ago=60)
    good.commit_sha, good.url = GOOD, GITHUB
    good.save()
    make_deployment(environment=environment, started_at=timezone.now() - timedelta(minutes=30))
    bad = scenes.judged(environment, error_rate=0.25)
    bad.commit_sha, bad.url, bad.commit_message = BAD, GITHUB, "*Cache* prices"
    bad.save()
    page = browser_of.get(address(bad))
    shows(page, "Last good here: #1", "since then: #2", f"git revert --no-edit {GOOD[:10]}..{BAD[:10]}")
    shows(page, "its run")
    links = {link.get("href") for link in elements(page, "a")}
    assert {
        f"https://github.com/acme/shop/compare/{GOOD}...{BAD}",
        f"https://github.com/acme/shop/commit/{BAD}",
    } <= links
    copied = words(page, "#copied-summary")
    assert "shop prod #3: Rollback recommended** – 25 % of requests fail, was 0.2 %. - Deployed:" in copied
    assert "\\*Cache\\* prices" in copied
    assert words(page, "#copied-link") == f"http://testserver{address(bad)}"


@pytest.mark.django_db
def test_what_pipelines_say_is_no_markup_in_the_summary() -> None:
    deployment = make_deployment(commit_message="[x](https://evil.example) <b>`a`</b>\n\n# Title", version="1_2_3")
    summary = summary_of(deployment, label="OK", finding="Ok.", back=None, link="")
    assert "\\[x\\](https://evil.example) \\<b\\>\\`a\\`\\</b\\>" in summary
    assert "1\\_2\\_3" in summary
    assert summary.count("\n") == 1
