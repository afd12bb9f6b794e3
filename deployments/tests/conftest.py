"""A project and its pipeline."""

from __future__ import annotations

import pytest

from deployments.tests.pipeline import ENDPOINT, Pipeline
from projects.services import NewProject, create_project


@pytest.fixture
def made(db: None) -> NewProject:
    return create_project("shop", environment="prod", endpoint=ENDPOINT)


@pytest.fixture
def pipeline(made: NewProject) -> Pipeline:
    return Pipeline(made.api_key)
