"""Run a real Prometheus for tests, which scrapes SeqPulse every second with the shipped rules."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
import yaml

from tests.processes import Installation, free_port
from tests.system_tools import ROOT, require

RULES = ROOT / "ops/prometheus/rules/seqpulse.yml"
CONFIG = ROOT / "ops/prometheus/prometheus.yml"


@dataclass
class Prometheus:
    """A running Prometheus."""

    url: str

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Return the instant vector: series with numeric values.

        Raises: requests.HTTPError for an invalid expression.
        """
        answer = requests.get(f"{self.url}/api/v1/query", params={"query": expression}, timeout=10)
        assert answer.status_code == 200, answer.text
        result: list[dict[str, Any]] = answer.json()["data"]["result"]
        return [{"labels": each["metric"], "value": float(each["value"][1])} for each in result]

    def firing(self) -> set[str]:
        """Return the names of the firing alerts."""
        alerts = requests.get(f"{self.url}/api/v1/alerts", timeout=10).json()["data"]["alerts"]
        return {alert["labels"]["alertname"] for alert in alerts if alert["state"] == "firing"}

    def targets_up(self) -> bool:
        try:
            found = self.query("up")
        except requests.RequestException:
            return False
        return bool(found) and all(each["value"] == 1 for each in found)


def impatient(rules: dict[str, Any]) -> dict[str, Any]:
    """Return the rules without the durations of their conditions: only the conditions are tested."""
    for group in rules["groups"]:
        for rule in group["rules"]:
            if "for" in rule:
                rule["for"] = "0s"
    return rules


@contextmanager
def running_prometheus(directory: Path, installation: Installation, token: str) -> Iterator[Prometheus]:
    """Run the shipped configuration and rules with other intervals, target and token file."""
    program = require("prometheus")
    directory.mkdir()
    config = yaml.safe_load(CONFIG.read_text())
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    (directory / "rules.yml").write_text(yaml.safe_dump(impatient(yaml.safe_load(RULES.read_text()))))
    config["rule_files"] = ["rules.yml"]
    (directory / "token").write_text(token)
    [scrape] = config["scrape_configs"]
    scrape["authorization"]["credentials_file"] = str(directory / "token")
    scrape["static_configs"] = [{"targets": [installation.site.removeprefix("http://")]}]
    (directory / "prometheus.yml").write_text(yaml.safe_dump(config))
    port = free_port()
    process: subprocess.Popen[bytes] = installation.start(
        "prometheus",
        program,
        f"--config.file={directory / 'prometheus.yml'}",
        f"--storage.tsdb.path={directory / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    )
    installation.wait_until_answers(process, f"http://127.0.0.1:{port}/-/ready")
    try:
        yield Prometheus(f"http://127.0.0.1:{port}")
    finally:
        process.terminate()
        process.wait(20)
