"""What jobs are called in logs: by the names that the people outside use, not by our row numbers.

The scheduler knows no domain. Whoever owns what jobs belong to announces how its rows are called; a poller asks once
per batch, and keeps what it was told.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

import structlog
from django.db import DatabaseError, InterfaceError

logger = structlog.get_logger(__name__)

Names = Mapping[str, str]
KEEP = 10_000


def _nobody(ids: Collection[int]) -> Mapping[int, Names]:
    return {}


_resolve: list[Callable[[Collection[int]], Mapping[int, Names]]] = [_nobody]
_known: dict[int, Names] = {}


def announce_names(resolve: Callable[[Collection[int]], Mapping[int, Names]]) -> None:
    """From now on `resolve` tells, by Job.deployment_id, what log lines about a job are to carry."""
    _resolve[0] = resolve
    _known.clear()


def names_of(deployment_ids: Collection[int]) -> dict[int, Names]:
    """What log lines about these are to carry; what cannot be found out now is left out.

    Called outside transactions.
    """
    unknown = {pk for pk in deployment_ids if pk not in _known}
    if unknown:
        if len(_known) > KEEP:
            _known.clear()
        try:
            _known.update(_resolve[0](unknown))
        except (DatabaseError, InterfaceError) as error:
            # A log line without its names is no reason to lose the jobs.
            logger.warning("names_unknown", error=str(error).strip())
    return {pk: _known[pk] for pk in deployment_ids if pk in _known}
