"""What people read of each kind of source and of its settings."""

from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext_lazy as _


@dataclass(frozen=True, slots=True)
class Words:
    """What a kind needs and gives, and settings to begin with that are not single values, as TOML."""

    needs: Any
    gives: Any
    example: str = ""


KINDS: dict[str, Words] = {
    "prometheus": Words(
        _("Needs the address of a Prometheus, VictoriaMetrics, Thanos or Mimir that knows the service."),
        _("Gives all metrics, also of the time before: the first deployment is judged with a full half hour."),
        "[expressions]\n# requests_per_sec = 'sum(rate(http_requests_total{job=\"shop\"}[$__rate_interval]))'\n",
    ),
    "check": Words(
        _("Needs nothing but a URL: the service is asked as its users ask."),
        _("Gives latency and errors, and says which step fails since the deployment."),
        '[[steps]]\nurl = "/"\n\n[steps.expect]\nstatus = ["2xx"]\n',
    ),
    "openmetrics": Words(
        _("Needs a /metrics page of the service, as a Prometheus would scrape it; no Prometheus is needed."),
        _("Gives requests, errors and p95 from two scrapes, cpu and memory."),
        '# [metrics.checkouts_per_minute]\n# family = "checkouts_total"\n# kind = "rate"\n# scale = 60\n',
    ),
    "endpoint": Words(
        _("Needs an address that answers JSON: five numbers from code of yours, or a health page that is there."),
        _("Gives the metrics that it answers."),
        '# [fields.latency_p95]\n# path = "$.http.p95"\n# unit = "s"\n',
    ),
    "push": Words(
        _("Needs a service that calls SeqPulse: behind NAT, as functions, as batch jobs."),
        _("Gives the metrics that are sent, also of the minutes before a deployment."),
    ),
    "alerts": Words(
        _("Needs an Alertmanager, Grafana or another service that sends alerts to an address."),
        _("Gives alerts that begin after a deployment as evidence; it measures nothing by itself."),
    ),
}

LABELS: dict[str, Any] = {
    "url": _("Address"),
    "base_url": _("Address of the service"),
    "resolve": _("Ask each instance that the name has (A, AAAA or SRV)"),
    "name": _("Name"),
    "headers": _("Headers"),
    "username": _("User name"),
    "password": _("Password"),
    "ca_pem": _("Certificates of authorities (PEM)"),
    "timeout_s": _("Time limit, in s"),
    "scrape_interval_s": _("Seconds between two scrapes"),
    "pause_s": _("Seconds between two scrapes of one sample"),
    "times": _("Times per sample"),
    "unsafe": _("It may send POST, PUT, PATCH and DELETE"),
}
HELP: dict[str, Any] = {
    "headers": _("One per line: Authorization: Bearer …. They are not shown again; empty keeps them."),
    "password": _("It is not shown again; empty keeps it."),
    "ca_pem": _("To trust besides the usual ones, for this source."),
}
# Where nothing is stored yet.
NEW: dict[str, Any] = {"headers": _("One per line: Authorization: Bearer …. They are not shown again.")}
FURTHER = _("Further settings (TOML)")
FURTHER_HELP = _("What is not asked for above; docs/sources.md has all settings of this kind.")
