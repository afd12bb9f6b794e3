"""Health of SeqPulse, derived from database, jobs and pollers, for /health and the status page.

Each process queries the database at most once a second, however often it is asked.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from django.db import DatabaseError, InterfaceError, connection

from common.cached import Cached
from common.database_state import DatabaseState
from scheduler.state import PollerState, Queue, Seen, read_health

CACHE_S = 1.0
# More than the timeouts of the two transactions: after that the server does not even say that it is too slow.
PATIENCE_S = 5.0
# Degraded from this many late jobs, or from one job this late.
TOO_MANY_LATE = 10
TOO_LATE_S = 60.0
# Signatures, codes of second factors and limits allow for more; what is shown as past or future does not.
CLOCK_TOLERANCE_S = 2.0
OK = "ok"
DOWN_WORDS = "The database does not answer."
# What is checked by what may be wrong with it, the most important first. In these states SeqPulse is down.
CHECK_OF = {
    "database_away": "database",
    "migrations_missing": "migrations",
    "database_read_only": "database",
    "database_full": "database",
    "database_busy": "database",
    "pollers_gone": "pollers",
    "pollers_frozen": "pollers",
    "clock_off": "clock",
    "jobs_late": "queue",
    "jobs_stuck": "jobs",
    "jobs_failed": "jobs",
}
DOWN = ("database_away", "migrations_missing")
# Checks that are unknown while something else is wrong: without the database there are no heartbeats and no jobs.
AT_WORK = ("pollers", "queue", "jobs")
HIDDEN_BY = {
    "database_away": ("migrations", "clock", *AT_WORK),
    "migrations_missing": ("clock", *AT_WORK),
    **dict.fromkeys(("database_read_only", "database_full", "database_busy"), AT_WORK),
}
# Needs attention, but requests and measurements are served as usual.
HARMLESS = ("jobs_failed",)
UNWRITABLE_WORDS = {
    DatabaseState.READ_ONLY: "The database is read-only: what is stored can be read, and nothing can be written.",
    DatabaseState.FULL: "The disk of the database is full: what is stored can be read, and hardly anything be written.",
    DatabaseState.BUSY: "The database is too busy to write a row within two seconds.",
}


@dataclass(frozen=True, slots=True)
class Health:
    """problems: what is wrong, as codes of CHECK_OF with their words, the most important first."""

    problems: dict[str, str]
    facts: dict[str, Any] = field(default_factory=dict)
    pollers: list[PollerState] = field(default_factory=list)

    @property
    def state(self) -> str:
        """Return the code of the most important problem, else ok."""
        return next(iter(self.problems), OK)

    @property
    def status(self) -> str:
        """Return ok, degraded (something is wrong, but requests are served) or down."""
        if self.state in DOWN:
            return "down"
        return "degraded" if set(self.problems).difference(HARMLESS) else OK

    @property
    def reasons(self) -> list[str]:
        return list(self.problems.values())

    @property
    def checks(self) -> dict[str, str]:
        """Return each check with its own status: ok, degraded, down or unknown."""
        hidden = dict.fromkeys(HIDDEN_BY.get(self.state, ()), "unknown")
        wrong = {CHECK_OF[code]: "down" if code in DOWN else "degraded" for code in self.problems}
        return dict.fromkeys(CHECK_OF.values(), OK) | hidden | wrong

    def problem_of(self, check: str) -> str:
        """Return the code of what is wrong with a check, "" for nothing."""
        return next((code for code in self.problems if CHECK_OF[code] == check), "")


def away() -> Health:
    return Health({"database_away": DOWN_WORDS})


def look() -> Health:
    """Query the database."""
    try:
        seen = read_health()
    except (DatabaseError, InterfaceError):
        connection.close()
        return away()
    if seen.missing:
        words = f"Migrations are missing ({', '.join(seen.missing[:5])}): run manage.py migrate."
        return Health({"migrations_missing": words})
    return judge(seen)


def judge(seen: Seen) -> Health:
    """Derive the health from what was read."""
    if seen.unwritable is None:
        problems = of_pollers(seen.pollers) | of_clocks(seen) | of_queue(seen.queue)
    else:
        problems = {f"database_{seen.unwritable}": UNWRITABLE_WORDS[seen.unwritable]} | of_clocks(seen)
    facts = {
        "pollers": sum(poller.fresh for poller in seen.pollers),
        "heartbeat_at": max((poller.heartbeat_at for poller in seen.pollers), default=None),
        "clock_ahead_s": round(seen.clock_ahead_s, 3),
        "queue_lag_s": round(seen.queue.lag_s, 3),
        "pending_jobs": seen.queue.pending,
        "late_jobs": seen.queue.late,
        "stuck_jobs": seen.queue.stuck,
        "failed_jobs_last_hour": seen.queue.failed,
    }
    return Health(problems, facts, seen.pollers)


def of_pollers(pollers: Sequence[PollerState]) -> dict[str, str]:
    """Return what is wrong with the pollers: none works, or one is frozen, whose jobs wait until their lease ends."""
    problems: dict[str, str] = {}
    if not any(poller.fresh or poller.frozen for poller in pollers):
        found = "All pollers are gone" if pollers else "No poller has been heard of"
        problems["pollers_gone"] = f"{found}: start one with manage.py run_poller."
    frozen = [f"{poller.name} ({poller.age_s:.0f} s)" for poller in pollers if poller.frozen]
    if frozen:
        words = f"Pollers are frozen, connected but without a heartbeat: {', '.join(frozen[:5])}. Restart them."
        problems["pollers_frozen"] = words
    return problems


def of_clocks(seen: Seen) -> dict[str, str]:
    """Return what is wrong with the clocks of this web server and of the pollers."""
    ahead = {"this web server": seen.clock_ahead_s}
    ahead |= {f"poller {poller.name}": poller.clock_ahead_s or 0.0 for poller in seen.pollers if poller.fresh}
    off = [f"{whose} {s:+.1f} s" for whose, s in ahead.items() if abs(s) > CLOCK_TOLERANCE_S]
    if not off:
        return {}
    return {"clock_off": f"Clocks differ from the database's: {', '.join(off[:5])}. Synchronise them (NTP)."}


def of_queue(queue: Queue) -> dict[str, str]:
    """Return what is wrong with the queue."""
    problems: dict[str, str] = {}
    if queue.late > TOO_MANY_LATE or queue.lag_s > TOO_LATE_S:
        words = f"{queue.late} jobs are late, the oldest by {queue.lag_s:.0f} s: start more pollers."
        problems["jobs_late"] = words
    if queue.stuck:
        words = f"{queue.stuck} jobs are stuck: their poller is gone and nobody has taken them over."
        problems["jobs_stuck"] = words
    elif queue.failed:
        words = f"{queue.failed} jobs of SeqPulse failed within the last hour: see scheduled jobs in the admin."
        problems["jobs_failed"] = words
    return problems


health = Cached(look, CACHE_S, overdue=away, patience_s=PATIENCE_S)
