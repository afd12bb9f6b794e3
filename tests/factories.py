"""Builders of rows of every app, for tests: what is not given is filled in."""

# mypy: implicit-reexport
# ruff: noqa: F401

from accounts.tests.factories import PASSWORD, make_membership, make_team, make_user
from analysis.tests.factories import judge_now, make_hint, make_verdict
from deployments.tests.factories import make_deployment
from metrics.tests.factories import HEALTHY, make_row, make_sample, make_samples
from projects.tests.factories import make_api_key, make_environment, make_project
from scheduler.tests.factories import make_job, make_poller
