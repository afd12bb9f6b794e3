"""Rules, alerts and dashboards in a real Prometheus."""

import json
import math
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.processes import Installation, live_installation, wait_for
from tests.prometheus import CONFIG, RULES, Prometheus, running_prometheus
from tests.system_tools import ROOT, output_of, require, run

pytestmark = pytest.mark.e2e

RULE_TESTS = ROOT / "ops/prometheus/tests/seqpulse.yml"
DASHBOARDS = sorted((ROOT / "ops/grafana/dashboards").glob("*.json"))
TOKEN = "scrape-me"


def alerts() -> dict[str, dict[str, Any]]:
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"] if "alert" in rule}


@pytest.mark.parametrize(
    "arguments",
    [
        ("check", "rules", str(RULES)),
        ("check", "config", "--syntax-only", str(CONFIG)),
        ("test", "rules", str(RULE_TESTS)),
    ],
)
def test_promtool_accepts_rules_and_configuration(arguments: tuple[str, ...]) -> None:
    output_of(require("promtool", "prometheus"), *arguments)


def test_a_wrong_threshold_would_be_noticed(tmp_path: Path) -> None:
    (tmp_path / "rules").mkdir()
    (tmp_path / "tests").mkdir()
    (tmp_path / "rules/seqpulse.yml").write_text(RULES.read_text().replace("_jobs_late) > 10", "_jobs_late) > 11"))
    (tmp_path / "tests/seqpulse.yml").write_text(RULE_TESTS.read_text())
    result = run(require("promtool", "prometheus"), "test", "rules", tmp_path / "tests/seqpulse.yml")
    assert result.returncode != 0
    assert "SeqPulseLateJobs" in result.stdout + result.stderr


def test_every_alert_is_tested_to_fire_and_to_be_silent() -> None:
    checks = [check for case in yaml.safe_load(RULE_TESTS.read_text())["tests"] for check in case["alert_rule_test"]]
    assert {check["alertname"] for check in checks if check["exp_alerts"]} == set(alerts())
    assert {check["alertname"] for check in checks if not check["exp_alerts"]} == set(alerts())


def test_every_alert_has_its_place_in_the_runbook() -> None:
    text = (ROOT / "docs/operating.md").read_text()
    headings = {line.lstrip("# ").strip().lower() for line in text.splitlines() if line.startswith("#")}
    for name, rule in alerts().items():
        page, _, anchor = rule["annotations"]["runbook_url"].partition("#")
        assert (page, anchor) == ("docs/operating.md", name.lower())
        assert anchor in headings, f"docs/operating.md does not say what to do about {name}"


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Installation, Prometheus]]:
    """Yield an installation with a poller and some deployments, and the Prometheus that scraped it."""
    require("prometheus")
    directory = tmp_path_factory.mktemp("watched")
    with live_installation(directory, SEQPULSE_METRICS_TOKEN=TOKEN) as installation:
        installation.start_web()
        installation.start_poller()
        with running_prometheus(directory / "prometheus", installation, TOKEN) as prometheus:
            wait_for(prometheus.targets_up, "the first scrape")
            # An increase needs a first value.
            wait_for(lambda: prometheus.query("seqpulse_analysis_verdict_total"), "the totals")
            deploy_well_and_badly(installation)
            wait_for(
                lambda: prometheus.query("sum(seqpulse_analysis_verdict_total) >= 2"), "the verdicts in Prometheus"
            )
            yield installation, prometheus


def deploy_well_and_badly(installation: Installation) -> None:
    endpoint = installation.start_endpoint()
    wanted = [{"name": path, "endpoint": f"{endpoint}/{path}"} for path in ("good", "invalid-json")]
    keys = installation.projects(wanted)
    deployments = [installation.deploy(key) for key in keys]
    verdicts = [installation.verdict_of(*each)["verdict"] for each in zip(deployments, keys, strict=True)]
    assert verdicts == ["ok", "warning"]


def panels() -> list[Any]:
    return [
        pytest.param(target["expr"], id=f"{path.stem}: {panel['title']} {target['refId']}")
        for path in DASHBOARDS
        for panel in json.loads(path.read_text())["panels"]
        for target in panel["targets"]
    ]


@pytest.mark.parametrize("expression", panels())
def test_every_panel_of_the_dashboards_shows_data(watched: tuple[Installation, Prometheus], expression: str) -> None:
    _, prometheus = watched

    def has_data() -> bool:
        found = prometheus.query(expression.replace("$__rate_interval", "1m"))
        return any(math.isfinite(each["value"]) for each in found)

    # A rate needs two scrapes of what the deployments left behind.
    wait_for(has_data, "the panel to show data", 30)


def test_only_alerts_caused_by_the_broken_service_fire(
    watched: tuple[Installation, Prometheus],
) -> None:
    _, prometheus = watched
    caused = {"SeqPulseCollectionsFail", "SeqPulseVerdictLate"}
    # Without durations of conditions, one late job of a busy machine fires briefly.
    wait_for(lambda: prometheus.firing() <= caused, "everything else to be silent", 30)


def test_prometheus_counts_what_the_database_holds(watched: tuple[Installation, Prometheus]) -> None:
    installation, prometheus = watched
    for name, query in {
        'seqpulse_metrics_collected_total{phase="post"}': "SELECT count(*) FROM metric_samples WHERE phase = 'post'",
        "sum(seqpulse_analysis_verdict_total)": "SELECT count(*) FROM deployment_verdicts",
        "sum(seqpulse_analysis_hint_total)": "SELECT count(*) FROM sdh_hints",
        "seqpulse_time_to_verdict_seconds_count": "SELECT count(*) FROM deployment_verdicts WHERE NOT early",
    }.items():
        assert prometheus.query(name)[0]["value"] == installation.rows(query)[0][0], name


def test_the_alert_fires_when_the_poller_is_killed_and_resolves_when_it_is_back(
    watched: tuple[Installation, Prometheus],
) -> None:
    installation, prometheus = watched
    ours = {"SeqPulseNoPoller", "SeqPulsePollerDown"}
    os.kill(installation.children.running["poller"].pid, signal.SIGKILL)
    wait_for(lambda: ours <= prometheus.firing(), "the alerts to fire", 90)
    verdicts = prometheus.query("sum(seqpulse_analysis_verdict_total)")
    installation.start_poller("successor")
    wait_for(lambda: not ours & prometheus.firing(), "the alerts to resolve", 60)
    assert prometheus.query("sum(seqpulse_analysis_verdict_total)") == verdicts


def test_every_dashboard_asks_only_for_metrics_that_there_are(watched: tuple[Installation, Prometheus]) -> None:
    _, prometheus = watched
    known = {each["labels"]["__name__"] for each in prometheus.query('{__name__=~".+"}')}
    for panel in panels():
        asked = set(re.findall(r"\b(?:seqpulse|django)[a-z0-9_:]+", panel.values[0]))
        assert asked <= known, panel.id
