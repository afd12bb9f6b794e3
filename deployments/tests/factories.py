"""Deployments for tests."""

from datetime import timedelta
from typing import Any

from django.utils import timezone

from deployments.models import Deployment, PipelineResult, State
from projects.tests.factories import make_environment

FINISHED_STATES = (State.FINISHED, State.ANALYZED)


def make_deployment(**kwargs: Any) -> Deployment:
    """A deployment with the project's next number, running unless `state` says otherwise.

    A finished or analyzed one started six minutes ago and took one, unless the times are given.
    """
    environment = kwargs.pop("environment", None) or make_environment(
        **({"project": kwargs["project"]} if "project" in kwargs else {})
    )
    project = environment.project
    project.last_number += 1
    project.save(update_fields=["last_number"])
    values: dict[str, Any] = {
        "project": project,
        "environment": environment,
        "number": project.last_number,
        "branch": "main",
        "state": State.RUNNING,
        "started_at": timezone.now() - timedelta(minutes=6),
        "window_samples": 5,
        "interval_s": 60.0,
        **kwargs,
    }
    if values["state"] in FINISHED_STATES:
        values.setdefault("finished_at", values["started_at"] + timedelta(minutes=1))
        values.setdefault("pipeline_result", PipelineResult.SUCCESS)
        took = values["finished_at"] - values["started_at"]
        values.setdefault("duration_ms", round(took.total_seconds() * 1000))
    return Deployment.objects.create(**values)
