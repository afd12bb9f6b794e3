"""What verdicts make of alerts that others send."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from analysis.evidence import alerts_of, load_alerts
from analysis.judge import judge, judge_early
from analysis.judge.types import ROLLBACK, Alert
from analysis.tests.samples import FINISH, make_post, make_pre, make_window
from deployments.tests.factories import make_deployment
from metrics.alerting import parse_alerts, store_alerts
from metrics.configuring import add_source
from metrics.tests.test_alerts import alert
from projects.policy import policy_from_dict
from projects.tests.factories import make_environment

MINUTE = timedelta(minutes=1)


@pytest.mark.django_db
def test_which_alerts_a_deployment_is_judged_by() -> None:
    now, environment = timezone.now(), make_environment()
    source = add_source(environment, "alerts", {})

    def send(*alerts: dict[str, Any]) -> None:
        store_alerts(source, parse_alerts({"alerts": list(alerts)}))

    times = {"started_at": now - 5 * MINUTE, "finished_at": now - 4 * MINUTE}
    deployment = make_deployment(environment=environment, **times)
    given = {
        "new": alert("new", started=now - 3 * MINUTE),
        "old": alert("old", started=now - 60 * MINUTE),
        "over": alert("over", started=now - 60 * MINUTE, status="resolved", endsAt=(now - 50 * MINUTE).isoformat()),
        "info": alert("info", started=now - 3 * MINUTE, labels={"severity": "info"}),
        "gone": alert("gone", started=now - 3 * MINUTE, status="resolved", endsAt=(now - 2 * MINUTE).isoformat()),
    }
    send(*given.values())
    # One that flaps: it fired shortly before trigger, too.
    flaps = alert("flaps", started=now - 9 * MINUTE, status="resolved", endsAt=(now - 8 * MINUTE).isoformat())
    send(flaps)
    send(alert("flaps", started=now - 2 * MINUTE))
    found = {one.name: one for one in alerts_of(deployment, load_alerts([deployment])[environment.pk], now)}
    assert {name: (one.before, one.ended_at is None) for name, one in found.items()} == {
        "new": (False, True),
        "old": (True, True),
        "gone": (False, False),
        "flaps": (True, True),
    }


def test_verdicts_by_alerts() -> None:
    pre, post, window = make_pre(15), make_post(5), make_window()
    one = Alert("Checkout", "page", True, FINISH + MINUTE)
    policy = policy_from_dict({})

    def verdict(*alerts: Alert, kind: str = "adaptive") -> Any:
        return judge(pre, post, policy_from_dict({"kind": kind}), replace(window, alerts=alerts))

    assert verdict().verdict == "ok"
    for kind in ("adaptive", "fixed"):
        assert verdict(one, kind=kind).verdict == ROLLBACK
        assert verdict(replace(one, critical=False), kind=kind).verdict == "warning"
        assert verdict(replace(one, ended_at=FINISH + 2 * MINUTE), kind=kind).verdict == "warning"
    before = verdict(replace(one, before=True, started_at=FINISH - 9 * MINUTE))
    assert (before.verdict, before.health.healthy) == ("ok", "no")
    # Early, once it fires at two samples in a row.
    at = [sample.collected_at for sample in post]
    for begun, seen, early in ((at[2], 3, False), (at[2], 4, True), (at[3], 4, False)):
        open_window = replace(window, final=False, alerts=(replace(one, started_at=begun - MINUTE / 2),))
        found = judge_early(pre, post[:seen], policy, open_window)
        assert (found is not None) is early, (begun, seen)
