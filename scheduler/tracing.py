"""Name jobs in logs by public ids instead of row numbers.

The scheduler knows no domain: the app that owns the rows registers how to name them. A poller resolves the names once
per batch.
"""

from collections.abc import Callable, Collection, Mapping

import structlog
from django.db import DatabaseError, InterfaceError

logger = structlog.get_logger(__name__)

Names = Mapping[str, str]
KEEP = 10_000


def _no_names(ids: Collection[int]) -> Mapping[int, Names]:
    return {}


_resolve: list[Callable[[Collection[int]], Mapping[int, Names]]] = [_no_names]
_known: dict[int, Names] = {}


def announce_names(resolve: Callable[[Collection[int]], Mapping[int, Names]]) -> None:
    """Register the function that returns, by Job.deployment_id, the ids for log lines about a job."""
    _resolve[0] = resolve
    _known.clear()


def forget_names() -> None:
    """Forget the names: after a failover, numbers of rows may be given a second time."""
    _known.clear()


def names_of(deployment_ids: Collection[int]) -> dict[int, Names]:
    """Return the ids for log lines; ids that cannot be resolved now are left out.

    Called outside transactions.
    """
    unknown = {pk for pk in deployment_ids if pk not in _known}
    if unknown:
        if len(_known) > KEEP:
            _known.clear()
        try:
            _known.update(_resolve[0](unknown))
        except (DatabaseError, InterfaceError) as error:
            # A missing name in a log line must not lose the jobs.
            logger.warning("names_unknown", error=str(error).strip())
    return {pk: _known[pk] for pk in deployment_ids if pk in _known}
