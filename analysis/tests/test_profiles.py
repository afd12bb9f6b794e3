"""Profiles are policies to begin with."""

from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command

from analysis.judge import judge
from analysis.judge.types import OK, ROLLBACK, Sample, Window
from projects.models import Environment
from projects.policies import policy_from_toml, validate_policy
from projects.policy import policy_from_dict
from projects.profiles import PROFILES

NOON = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)
def test_a_profile_is_a_valid_policy(profile: dict[str, Any]) -> None:
    validate_policy(profile)


@pytest.mark.django_db
def test_a_project_may_begin_with_a_profile() -> None:
    call_command("create_project", "mailer", profile="worker", json=True, stdout=StringIO())
    environment = Environment.objects.get(project__name="mailer")
    assert environment.policy == PROFILES["worker"]
    assert environment.policy_versions.count() == 1


def test_a_policy_file_may_have_custom_metrics() -> None:
    text = '[[custom_metrics]]\nname = "backlog"\nwarning = { absolute = 50 }\n[environments.prod]\nshadow = true\n'
    assert policy_from_toml(text, "prod")["custom_metrics"] == [{"name": "backlog", "warning": {"absolute": 50}}]


@pytest.mark.parametrize(
    ("after", "verdict"),
    [({}, OK), ({"jobs_per_minute": 2.0}, ROLLBACK), ({"failed_share": 0.4}, ROLLBACK), ({"backlog": 12.0}, OK)],
)
def test_a_worker_gets_conclusive_verdicts_without_requests(after: dict[str, float], verdict: str) -> None:
    def sample(minute: int, **custom: float) -> Sample:
        usual = {"jobs_per_minute": 60.0, "failed_share": 0.01, "backlog": 5.0}
        at = NOON + timedelta(minutes=minute)
        return Sample(at, cpu_usage=0.4, memory_usage=0.5, custom={**usual, **custom})

    pre, post = [sample(minute) for minute in range(-20, 0)], [sample(minute, **after) for minute in range(1, 6)]
    found = judge(pre, post, policy_from_dict(PROFILES["worker"]), Window(evaluated_at=NOON + timedelta(minutes=6)))
    assert (found.verdict, found.conclusive, found.basis.unmeasured) == (verdict, True, ())
