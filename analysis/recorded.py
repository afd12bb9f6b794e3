"""Write and read stored verdicts and hints: JSON with each fact and its English text.

The API answers with the English text; pages render the facts. A value that is not a fact of the catalogue (from another
version, or edited by hand) keeps its English text everywhere.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, Protocol

from django.utils.dateparse import parse_datetime

from analysis.judge.types import (
    LEVELS,
    Alert,
    Basis,
    Check,
    EarlierDay,
    Expectation,
    Health,
    Hint,
    Miss,
    Quality,
    QualityIssue,
    Verdict,
)
from analysis.texts.hints import HintFacts, facts_of
from explain.catalogue import TEMPLATES
from explain.facts import Fact, NotAFact
from explain.rendering import render

# Of the basis, the values that are stored as they are.
BASIS_FIELDS = ("requests", "requests_before", "pre_age_s", "exercised", "instances", "instances_before")
CHECK_FIELDS = ("metric", "rule", "outcome", "spread", *LEVELS)


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A sample left out of the evidence, and the reason."""

    phase: str
    collected_at: datetime
    why: Fact


@dataclass(frozen=True, slots=True)
class JudgedOn:
    """The evidence of a stored verdict. pre_origins: how many samples of each origin it was compared with; history_of:
    ids of the earlier deployments among them; control_samples: of the control group; compared_before: as in Evidence;
    the others as in Window, endpoint_answered_before None if not known."""

    pre_samples: int = 0
    pre_origins: Mapping[str, int] = field(default_factory=dict)
    post_samples: int = 0
    expected_samples: int = 0
    interval_s: float | None = None
    evaluated_at: datetime | None = None
    misses: tuple[Miss, ...] = ()
    excluded: tuple[LeftOut, ...] = ()
    history_of: tuple[int, ...] = ()
    policy_version: int | None = None
    compared_before: int | None = None
    earlier_days: tuple[EarlierDay, ...] = ()
    bad_predecessor: int | None = None
    endpoint_answered_before: bool | None = None
    control_samples: int = 0
    has_control: bool = False
    expectations: tuple[Expectation, ...] = ()
    alerts: tuple[Alert, ...] = ()


# Of these, the values that are stored as they are.
AS_STORED = (
    *("pre_samples", "pre_origins", "post_samples", "expected_samples", "interval_s", "policy_version"),
    *("compared_before", "bad_predecessor", "endpoint_answered_before", "control_samples", "has_control"),
)


@dataclass(frozen=True, slots=True)
class Recorded:
    """A stored verdict with its evidence. at: when it was given."""

    verdict: Verdict
    judged_on: JudgedOn
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Revision:
    """A verdict that a rerun of the analysis replaced: when, and who asked for it."""

    recorded: Recorded
    replaced_at: datetime | None
    by: str


class HintRow(Protocol):
    """The columns of a hint that have its texts."""

    title: str
    cause: str
    impact: str
    actions: list[str]
    evidence: list[str]
    details: Any


# --- writing ------------------------------------------------------------------------------------------------------


def verdict_json(verdict: Verdict) -> dict[str, Any]:
    """Return a verdict as JSON values; the keys are columns of `deployment_verdicts`."""
    return {
        "verdict": verdict.verdict,
        "confidence": verdict.confidence,
        "conclusive": verdict.conclusive,
        "score": verdict.score,
        **_with_text("summary", verdict.summary),
        "checks": [_check_json(check) for check in verdict.checks],
        "quality": {
            "score": verdict.quality.score,
            "issues": [
                {"code": issue.code, **_with_text("message", issue.fact), "penalty": issue.penalty}
                for issue in verdict.quality.issues
            ],
        },
        "health": {"healthy": verdict.health.healthy, "reasons": _reasons_json(verdict.health.reasons)},
        "basis": {
            **{name: getattr(verdict.basis, name) for name in BASIS_FIELDS},
            "unmeasured": list(verdict.basis.unmeasured),
            "doubts": _reasons_json(verdict.basis.doubts),
        },
    }


def _reasons_json(reasons: Sequence[Fact]) -> list[dict[str, Any]]:
    return [_with_text("reason", reason) for reason in reasons]


def _with_text(name: str, fact: Fact) -> dict[str, Any]:
    return {name: render(fact), "fact": fact.to_json()}


def _check_json(check: Check) -> dict[str, Any]:
    reason = check.params.get("reason")
    return {
        **{name: getattr(check, name) for name in CHECK_FIELDS},
        "sentence": render(check.fact),
        "details": {**check.details, "reason": render(reason)} if isinstance(reason, Fact) else check.details,
        "fact": Fact(check.code, check.params).to_json(),
    }


def left_out_json(excluded: Sequence[LeftOut]) -> list[dict[str, Any]]:
    return [
        {"phase": one.phase, "collected_at": one.collected_at.isoformat(), **_with_text("why", one.why)}
        for one in excluded
    ]


def expectation_json(expectation: Expectation) -> dict[str, Any]:
    return {**asdict(expectation), "fact": expectation.fact.to_json()}


def read_expectation(stored: Mapping[str, Any]) -> Expectation:
    return Expectation(**{**stored, "earlier": tuple(stored["earlier"]), "fact": Fact.from_json(stored["fact"])})


def alert_json(alert: Alert) -> dict[str, Any]:
    ended = alert.ended_at and alert.ended_at.isoformat()
    return {**asdict(alert), "started_at": alert.started_at.isoformat(), "ended_at": ended}


def read_alert(stored: Mapping[str, Any]) -> Alert:
    times = {name: _time(stored[name]) for name in ("started_at", "ended_at")}
    return Alert(**{**stored, **times})


def hint_columns(hint: Hint) -> dict[str, Any]:
    """Return a hint's columns in `sdh_hints`."""
    facts = facts_of(hint.text_key, hint.params, evidence=hint.evidence, roll_back=hint.roll_back)
    return {
        **{name: getattr(hint, name) for name in ("code", "severity", "confidence", "observed", "threshold")},
        "metric": hint.metric or "",
        **{name: render(getattr(facts, name)) for name in ("title", "cause", "impact")},
        "evidence": [render(fact) for fact in facts.evidence],
        "actions": [render(fact) for fact in facts.actions],
        "details": {
            "text_key": hint.text_key,
            "numbers": hint.numbers,
            "params": Fact(hint.text_key, hint.params).to_json()["params"],
            "evidence": [fact.to_json() for fact in hint.evidence],
            "roll_back": hint.roll_back,
        },
    }


def without_facts(stored: Any) -> Any:
    """Return stored JSON with the English texts only, for the API and exports."""
    if isinstance(stored, Mapping):
        return {name: without_facts(value) for name, value in stored.items() if name != "fact"}
    return [without_facts(item) for item in stored] if isinstance(stored, list) else stored


# --- reading ------------------------------------------------------------------------------------------------------


def read_recorded(stored: Mapping[str, Any], *, early: bool = False) -> Recorded:
    """Read a verdict written by `verdict_json`, with its evidence."""
    quality = stored.get("quality") or {}
    verdict = Verdict(
        verdict=stored.get("verdict", ""),
        confidence=stored.get("confidence", 0.0),
        conclusive=stored.get("conclusive", False),
        score=stored.get("score", 0.0),
        summary=_fact(stored, "summary"),
        checks=tuple(_check(check) for check in stored.get("checks") or ()),
        quality=Quality(
            quality.get("score", 0.0),
            tuple(
                QualityIssue(issue.get("code", ""), _fact(issue, "message"), issue.get("penalty", 0.0))
                for issue in quality.get("issues", ())
            ),
        ),
        policy=stored.get("policy") or {},
        early=early,
        health=read_health(stored.get("health")),
        basis=_basis(stored.get("basis") or {}),
    )
    return Recorded(verdict, _judged_on(stored.get("evidence") or {}), _time(stored.get("at")))


def read_health(stored: Mapping[str, Any] | None) -> Health:
    """Read whether the service was healthy; unknown where the verdict is older than that statement."""
    return Health(stored.get("healthy", "unknown"), _reasons(stored)) if stored else Health()


def read_revisions(stored: Sequence[Mapping[str, Any]] | None) -> list[Revision]:
    """Read the revisions, oldest first."""
    return [Revision(read_recorded(one), _time(one.get("replaced_at")), one.get("by", "")) for one in stored or ()]


def read_hint(row: HintRow) -> HintFacts:
    """Read the facts of a stored hint."""
    lists = (tuple(Fact(text) for text in texts) for texts in (row.actions, row.evidence))
    return _hint_facts(row.details) or HintFacts(Fact(row.title), Fact(row.cause), Fact(row.impact), *lists)


def read_hint_title(row: HintRow) -> Fact:
    """Read the fact of its title, from the columns that lists load."""
    facts = _hint_facts(row.details)
    return facts.title if facts is not None else Fact(row.title)


def _hint_facts(details: Any) -> HintFacts | None:
    if not isinstance(details, Mapping):
        return None
    try:
        filled = Fact.from_json({"code": details.get("text_key"), "params": details.get("params")})
        evidence = [Fact.from_json(fact) for fact in details.get("evidence", ())]
        return facts_of(filled.code, filled.params, evidence=evidence, roll_back=bool(details.get("roll_back")))
    except (NotAFact, KeyError, TypeError):
        return None


def _check(stored: Mapping[str, Any]) -> Check:
    fact = _fact(stored, "sentence")
    values = {name: stored.get(name) for name in CHECK_FIELDS}
    details = stored.get("details") or {}
    # A reason is served among the details, in English; the check itself has it as a fact.
    details = {name: value for name, value in details.items() if not isinstance(fact.params.get(name), Fact)}
    return Check(**values, code=fact.code, params=dict(fact.params), details=details)  # type: ignore[arg-type]  # of a row


def _fact(stored: Mapping[str, Any], text: str) -> Fact:
    try:
        fact = Fact.from_json(stored.get("fact"))
    except NotAFact:
        return Fact(str(stored.get(text, "")))
    return fact if fact.code in TEMPLATES else Fact(str(stored.get(text, "")))


def _basis(stored: Mapping[str, Any]) -> Basis:
    return Basis(
        **{name: stored[name] for name in BASIS_FIELDS if name in stored},
        doubts=_reasons(stored, among="doubts"),
        unmeasured=tuple(stored.get("unmeasured", ())),
    )


def _reasons(stored: Mapping[str, Any], *, among: str = "reasons") -> tuple[Fact, ...]:
    return tuple(_fact(one, "reason") for one in stored.get(among) or ())


def _judged_on(stored: Mapping[str, Any]) -> JudgedOn:
    return JudgedOn(
        **{name: stored[name] for name in AS_STORED if name in stored},
        evaluated_at=_time(stored.get("evaluated_at")),
        misses=tuple(
            Miss(None, miss.get("reason", ""), miss.get("phase", "post"), miss.get("sequence_index", 0))
            for miss in stored.get("misses", ())
        ),
        excluded=tuple(
            LeftOut(one.get("phase", ""), at, _fact(one, "why"))
            for one in stored.get("excluded", ())
            if (at := _time(one.get("collected_at"))) is not None
        ),
        history_of=tuple(stored.get("history_of", ())),
        earlier_days=tuple(EarlierDay(**day) for day in stored.get("earlier_days", ())),
        expectations=tuple(map(read_expectation, stored.get("expectations", ()))),
        alerts=tuple(map(read_alert, stored.get("alerts", ()))),
    )


def _time(text: str | None) -> datetime | None:
    return parse_datetime(text) if text else None
