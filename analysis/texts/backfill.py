"""Sentences of the history import (analysis/backfill.py)."""

from explain.catalogue import gettext_noop as _

TEXTS = {
    "list_empty": _("it names no deployment: each takes a line with its time, and a name or a commit"),
    "list_long": _("these are {n} deployments, {most} are possible for an environment"),
    "list_line_long": _("it is longer than {most} characters"),
    "list_line_unprintable": _("it has characters that cannot be printed"),
    "list_line_time": _(
        "there is no time in it. Add when it was deployed, as git writes it with %cI: 2026-11-30T14:05:00+01:00"
    ),
    "list_line_zone": _("{time} has no offset from UTC. Add it, as in 2026-11-30T14:05:00+01:00"),
    "list_line_future": _("{time} is in the future"),
    "list_line_old": _("it is more than {days} days ago, and all others are, too: that far back nothing is judged"),
    "list_line_name": _("it has neither a name nor a commit"),
    "backfill_without_source": _(
        "No source of this environment knows the past. Add one of these first, then import: {kinds}."
    ),
    "backfill_unfinished": _(
        "{name} is observed until {until}. Leave it out, or import it after that; nothing was imported."
    ),
    "backfill_stopped": _("the import was ended before"),
    "backfill_no_data": _("the sources know nothing of that time"),
}
