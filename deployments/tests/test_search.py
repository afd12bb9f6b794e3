"""Deployments are found by the words of their texts, by commit, number and project; an index does it."""

import pytest
from django.db import connection

from deployments.models import Deployment, State
from deployments.search import begins, matching, words_in
from deployments.tests.factories import make_deployment
from projects.models import Environment

pytestmark = pytest.mark.django_db

FACTS = {
    "branch": "feature/Checkout-retries",
    "version": "v2.14.0-rc1",
    "author": "Ada Lovelace <ada@example.com>",
    "commit_sha": "4F2a9c1e7b3d5a6088f1c2d3e4f5a6b7c8d9e0f1",
}


@pytest.mark.parametrize(
    ("word", "found"),
    [
        ("feature", True),
        ("feat", True),
        ("CHECKOUT", True),
        ("retries", True),
        ("feature/check", True),
        ("Checkout-ret", True),
        ("check/feature", False),
        ("ture/check", True),
        ("eature", False),
        ("4f2a9c1", True),
        ("4f2a9c1e7b3d5a6088f1c2d3e4f5a6b7c8d9e0f1", True),
        ("2a9c1", False),
        ("v2.14", True),
        ("2.14.0", True),
        ("14.0", True),
        ("14.1", False),
        ("rc1", True),
        ("Lovelace", True),
        ("ada@example", True),
        ("example.com", True),
        ("#7", True),
        ("#007", True),
        ("7", True),
        ("#8", False),
        ("#70", False),
        ("a", False),
        ("'", None),
        ("\\'ada", True),
        ("ada'|'x", False),
        ("!ada", False),
        ("ada:*", False),
        ("é", False),
    ],
)
def test_a_word_finds_what_begins_with_it(environment: Environment, word: str, found: bool | None) -> None:
    make_deployment(environment=environment, number=7, **FACTS)
    if found is None:
        assert words_in(word) == []
    else:
        # A sign before or after has to occur, too.
        assert Deployment.objects.filter(matching(word)).exists() is (found and not word.startswith("\\"))


def test_a_single_letter_is_a_word_of_its_own(environment: Environment) -> None:
    make_deployment(environment=environment, branch="a", state=State.ANALYZED)
    make_deployment(environment=environment, branch="ab", state=State.ANALYZED)
    assert Deployment.objects.filter(matching("a")).values_list("branch", flat=True).get() == "a"


def test_letters_beyond_ascii_are_letters(environment: Environment) -> None:
    make_deployment(environment=environment, author="Åsa Öberg", branch="数据/修复")
    for word in ("Åsa", "Öb", "数据", "修"):
        assert Deployment.objects.filter(matching(word)).exists(), word


def test_a_project_is_found_by_its_id_and_no_other_is(environment: Environment) -> None:
    mine, other = make_deployment(environment=environment), make_deployment()
    found = Deployment.objects.filter(matching("shop", [environment.project_id]))
    assert list(found) == [mine]
    assert other.project_id != mine.project_id


@pytest.mark.parametrize(
    ("word", "text", "expected"),
    [("sho", "Web shop", True), ("web-sh", "Web shop", True), ("op", "Web shop", False), ("#", "Web shop", True)],
)
def test_names_are_found_as_texts_are(word: str, text: str, expected: bool) -> None:
    assert begins(word, text) is expected


def test_an_index_finds_a_word_among_many(environment: Environment) -> None:
    make_deployment(environment=environment, **FACTS)
    rows = [
        Deployment(
            number=number,
            project=environment.project,
            environment=environment,
            branch=f"topic/number-{number}",
            state="analyzed",
            started_at="2026-01-01T00:00:00Z",
        )
        for number in range(10, 1500)
    ]
    Deployment.objects.bulk_create(rows)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE deployments")
    for word in ("4f2a9c1", "feature/check", "#77"):
        plan = Deployment.objects.filter(matching(word)).explain()
        assert "deployments_by_word" in plan, plan
        assert Deployment.objects.filter(matching(word)).count() == 1
