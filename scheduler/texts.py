"""Templates of facts about failed and ended jobs."""

from explain.catalogue import gettext_noop as _
from explain.catalogue import register

# SQL fills it in (scheduler/queue.py), which ends thousands of rows in one statement.
EXPIRED = _("no poller ran it in time: it was due at {due} and of use until {until}")

FAILURES = {
    "raised": _("{error}"),
    "cannot_prepare": _("{error}"),
    "cannot_record": _("{error}"),
    "unknown_kind": _("no app has announced the job kind {name}; known: {known}"),
    "broken_row": _("{problem}"),
    "broken_times": _("its scheduled_at or expires_at is a time that no clock shows"),
    "broken_metadata": _("its job_metadata cannot be read: {problem}"),
    "metadata_no_object": _("its job_metadata is not an object but {type}"),
    "poller_lost": _("the poller {name} that ran it was lost: {how:poller}"),
    "poller.gone": _("its database connection has ended"),
    "poller.silent": _("its lease ran out"),
}

ENDED = {
    "expired": EXPIRED,
    "cancelled": _("cancelled by {by}"),
    "retried": _("by {by}"),
}

register({**FAILURES, **ENDED})
