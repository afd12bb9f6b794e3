"""What people said about deployments, read with the deployment, so that it takes no query of its own."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.contrib.postgres.expressions import ArraySubquery
from django.db.models import OuterRef, Subquery
from django.db.models.functions import JSONObject
from django.utils.translation import gettext_lazy as _

from analysis.models import Acknowledgement, Via, What


@dataclass(frozen=True, slots=True)
class Said:
    """An acknowledgement as it is shown."""

    what: str
    who: str
    via: str
    reason: str
    at: datetime

    @property
    def via_display(self) -> str:
        return str(Via(self.via).label)


def all_said() -> ArraySubquery:
    """Return the acknowledgements of a deployment as JSON, oldest first."""
    rows = Acknowledgement.objects.filter(deployment=OuterRef("pk")).order_by("pk")
    return ArraySubquery(rows.values(said=JSONObject(what="what", who="who", via="via", reason="reason", at="at")))


def read_said(one: Mapping[str, Any]) -> Said:
    return Said(one["what"], one["who"], one["via"], one["reason"], datetime.fromisoformat(one["at"]))


def said_last() -> Subquery:
    """Return the last acknowledgement of a deployment as JSON, for rows of lists."""
    rows = Acknowledgement.objects.filter(deployment=OuterRef("pk")).order_by("-pk")
    return Subquery(rows.values(said=JSONObject(what="what", who="who"))[:1])


def said_in_short(said: Mapping[str, Any] | None) -> str:
    """Return what was said, and by whom, as one text; "" for nothing."""
    return SAID[said["what"]] % {"who": said["who"]} if said and said.get("what") in SAID else ""


SAID = {
    What.ON_IT.value: _("%(who)s is on it"),
    What.ROLLED_BACK.value: _("%(who)s rolled back"),
    What.IGNORED.value: _("%(who)s ignores it"),
}
