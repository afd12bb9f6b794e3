"""The sources of a seqpulse.toml: without secrets, and at no place where those that are stored would go elsewhere."""

from typing import Any

import structlog

from deployments.file_sources import InvalidSources
from explain.facts import Fact
from metrics.source_lists import replace_sources
from metrics.sources.base import InvalidConfig
from projects.models import Environment

logger = structlog.get_logger(__name__)


def apply_file(environment: Environment, data: Any) -> list[Fact]:
    """Make the environment's sources those of a file; return a note if that changed them. Raises InvalidSources."""
    try:
        changed = replace_sources(environment, data, secrets=False, further=False)
    except InvalidConfig as error:
        raise InvalidSources(error.errors) from None
    if not changed:
        return []
    kinds = list(environment.sources.values_list("kind", flat=True))
    logger.info("sources replaced by file", environment=environment.pk, kinds=kinds)
    return [Fact("sources_from_file", {"n": len(kinds), "kinds": ", ".join(kinds) or "endpoint"})]
