"""Filters and orders of the list of deployments. Rows without a duration or verdict come last."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django import forms
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from analysis.judge.types import OK, ROLLBACK, WARNING
from dashboard.filtering import ListFilters, Select, choice_field
from dashboard.keyset import Part
from dashboard.labels import STATES, VERDICTS
from dashboard.scope import Scope
from deployments.models import Deployment, DeploymentQuerySet, State
from deployments.search import begins, matching, words_in

USUAL = "-started"
ORDER_LABELS = {
    USUAL: _("Newest first"),
    "started": _("Oldest first"),
    "-verdict": _("Worst verdict first"),
    "verdict": _("Best verdict first"),
    "-confidence": _("Highest confidence first"),
    "confidence": _("Lowest confidence first"),
    "-duration": _("Longest first"),
    "duration": _("Shortest first"),
    "project": _("By project, A to Z"),
    "-project": _("By project, Z to A"),
}
# A verdict and the state `analyzed` are written in one transaction; deployments in other states are few.
UNJUDGED = ~Q(state=State.ANALYZED) & Q(verdict__isnull=True)
WORST_FIRST = (ROLLBACK, WARNING, OK)


@dataclass(frozen=True, slots=True)
class Order:
    """An order. parts: its rows; downward: parts are descending; kind: type of the keys."""

    parts: Callable[[DeploymentQuerySet], list[Part]]
    downward: bool
    kind: type | None = None


def by_start(rows: DeploymentQuerySet) -> list[Part]:
    return [Part(0, rows, "started_at")]


def by_duration(rows: DeploymentQuerySet) -> list[Part]:
    return [
        Part(0, rows.filter(duration_ms__isnull=False), "duration_ms"),
        Part(1, rows.filter(duration_ms__isnull=True)),
    ]


def by_confidence(rows: DeploymentQuerySet) -> list[Part]:
    judged = Part(0, rows.filter(verdict__isnull=False), "verdict__confidence", "verdict__deployment_id")
    return [judged, Part(1, rows.filter(UNJUDGED))]


def worst_first(rows: DeploymentQuerySet) -> list[Part]:
    named = [
        Part(place, rows.filter(verdict__verdict=name), pk="verdict__deployment_id")
        for place, name in enumerate(WORST_FIRST)
    ]
    return [*named, Part(len(named), rows.filter(UNJUDGED))]


def best_first(rows: DeploymentQuerySet) -> list[Part]:
    *named, unjudged = worst_first(rows)
    return [*reversed(named), unjudged]


# By project is implemented in by_project.py: names are in the table of projects.
BY_PROJECT = ("project", "-project")
ORDERS = {
    USUAL: Order(by_start, downward=True, kind=datetime),
    "started": Order(by_start, downward=False, kind=datetime),
    "-verdict": Order(worst_first, downward=True),
    "verdict": Order(best_first, downward=True),
    "-confidence": Order(by_confidence, downward=True, kind=float),
    "confidence": Order(by_confidence, downward=False, kind=float),
    "-duration": Order(by_duration, downward=True, kind=int),
    "duration": Order(by_duration, downward=False, kind=int),
    "project": Order(by_start, downward=True, kind=datetime),
    "-project": Order(by_start, downward=True, kind=datetime),
}


MOST_WORDS = 10
NONE_YET, NOT_CONCLUSIVE, EARLY = "none", "inconclusive", "early"
VERDICT_LABELS = {
    **{name: status.label for name, status in VERDICTS.items()},
    NONE_YET: _("None yet"),
    NOT_CONCLUSIVE: _("Not conclusive"),
    EARLY: _("Issued early"),
}
STATE_LABELS = {**{str(state): status.label for state, status in STATES.items()}, State.ANALYZED.value: _("Analyzed")}


def verdict_condition(name: str) -> Q:
    """Return the condition for a verdict, for none yet, or for a kind of verdict."""
    if name == NONE_YET:
        return UNJUDGED
    if name == NOT_CONCLUSIVE:
        return Q(verdict__conclusive=False)
    return Q(verdict__early=True) if name == EARLY else Q(verdict__verdict=name)


class DeploymentFilters(ListFilters):
    """All filters must match."""

    q = forms.CharField(
        label=_("Search"),
        required=False,
        max_length=200,
        widget=forms.TextInput({"type": "search", "autocomplete": "off"}),
        help_text=_(
            "Matches the start of words in branch, version, author or project, or the start of a commit; #12 "
            "finds deployments numbered 12. All terms must match."
        ),
    )
    verdict = choice_field(_("Verdict"), _("All verdicts"), VERDICT_LABELS.items())
    state = choice_field(_("State"), _("All states"), STATE_LABELS.items())
    branch = forms.CharField(label=_("Branch, in full"), required=False, max_length=255)
    author = forms.CharField(label=_("Author, in full"), required=False, max_length=255)
    sort = forms.ChoiceField(label=_("Order"), required=False, widget=Select, choices=ORDER_LABELS.items())

    field_order = (
        "q",
        "project",
        "environment",
        "verdict",
        "range",
        "state",
        "branch",
        "author",
        "since",
        "until",
        "sort",
    )
    model, moment = Deployment, "started_at"
    equal = ("state", "branch", "author")
    ordering = ("sort",)
    extra = ("state", "branch", "author", "since", "until", "sort")

    def __init__(self, data: Mapping[str, Any], scope: Scope) -> None:
        # Like a bad cursor, an unknown order is ignored. The default is not written to the URL.
        known = data.get("sort") in ORDERS and data.get("sort") != USUAL
        super().__init__({**{name: data.get(name) for name in data}, "sort": data.get("sort") if known else ""}, scope)

    def clean_q(self) -> str:
        text: str = self.cleaned_data["q"]
        words = text.split()
        if len(words) > MOST_WORDS:
            raise forms.ValidationError(_("Search for %(n)d words at most.") % {"n": MOST_WORDS})
        useless = next((word for word in words if not words_in(word)), None)
        if useless is not None:
            raise forms.ValidationError(_("There is no letter and no digit in “%(word)s”.") % {"word": useless})
        return text

    @property
    def order(self) -> str:
        """Return a key of ORDERS."""
        return self.data["sort"] or USUAL

    def rows(self) -> DeploymentQuerySet:
        rows: DeploymentQuerySet = super().rows()
        if not self.is_valid():
            return rows
        if self.values["verdict"]:
            rows = rows.filter(verdict_condition(self.values["verdict"]))
        for word in self.values["q"].split():
            rows = rows.filter(matching(word, [one.pk for one in self.scope.projects if begins(word, one.name)]))
        return rows
