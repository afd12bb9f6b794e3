"""The report on a probe of a metrics endpoint: the answer, what is wrong with it, and what to do."""

from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext_lazy as _

from dashboard.labels import Status
from metrics.payload import Reading
from metrics.probing import PREVIOUS, Probe
from projects.models import LatencyUnit, RatioUnit

GOOD = Status("ok", "ok", _("A poller would store this sample"))
DOUBTFUL = Status("warning", "warning", _("A poller would store this sample, but look at the remarks"))
BAD = Status("critical", "rollback", _("A poller would get no sample"))

# What to do, by the code of the failed collection.
FIXES: dict[str, Any] = {
    "blocked": _(
        "Use an address that is reachable from the internet, or ask the operators of this SeqPulse to let it through."
    ),
    "blocked_by_ops": _("Ask the operators of this SeqPulse. Until they open it, nothing is measured here."),
    "proxy": _("Ask the operators of this SeqPulse: its outbound proxy does not reach this host."),
    "dns": _("Check the spelling of the host, and that its name is in the public DNS."),
    "refused": _("Check the port, that the service runs, and that no firewall is in between."),
    "tls": _("Check that the certificate is valid, complete with its chain, and issued for this host."),
    "timeout": _("The endpoint has 5 seconds in all. Let it answer from memory, and check that no firewall drops it."),
    "too_large": _("The endpoint answers with more than the five metrics. Is it the right path?"),
    "protocol": _("Check that the port speaks HTTP, and https:// only where it speaks TLS."),
    "unauthorized": _(
        "Give the service the secret of this environment. Lost it? Rotate it below. If the secret is right, compare "
        "the clocks: the time may differ by 5 minutes at most."
    ),
    "unauthorized_unsigned": _("Turn signing on below and give the service the secret, or let it answer unsigned."),
    "unreadable_secret": _(
        "Turn signing off and on again below and give the service the new secret, or ask the operators of this "
        "SeqPulse for the encryption key that is missing."
    ),
    "redirect": _("Redirects are not followed. Enter the address that it leads to."),
    "http_4xx": _("Check the path: the service knows no metrics endpoint there."),
    "http_5xx": _("The service failed while it answered. Its log tells why."),
    "invalid_json": _("The endpoint has to answer with JSON. Is it the right path?"),
    "invalid_payload": _("Compare the answer with the format on the integration page."),
}
OTHERWISE = _("Try again. If it stays like this, look at the log of the service.")

DOUBTS: dict[str, Any] = {
    "percent": _("This looks like a percentage. Send a ratio: 0.42 for 42 %."),
    "amount": _("This looks like an amount: send the share of what there is, 0.42 for 42 %."),
    "ratio": _("This looks like a ratio, but its unit here is per cent."),
    "seconds": _("This looks like seconds. Send milliseconds. Or set its unit to seconds."),
    "milliseconds": _("This looks like milliseconds, but its unit here is seconds."),
    "nothing": _("Exactly 0 for a service that runs: is it measured?"),
}


@dataclass(frozen=True, slots=True)
class Report:
    """A probe as its page shows it.

    fix: what to do, "" where nothing is wrong; lines: metrics with remarks; units: those that would explain values that
    look like another unit, by metric, with the label.
    """

    probe: Probe
    status: Status
    fix: Any
    lines: list[tuple[Reading, Any]]
    units: list[tuple[str, str, Any]]


# What the unit of a metric should be set to, by what its value looks like.
MEANT = {
    "percent": RatioUnit.PERCENT,
    "ratio": RatioUnit.RATIO,
    "seconds": LatencyUnit.SECONDS,
    "milliseconds": LatencyUnit.MS,
}


# From such a share of failed requests on, in order is the endpoint alone.
FAILING, FAILS = 0.05, _("So many requests fail now, before any deployment. Is that right?")


def remark_on(reading: Reading) -> Any:
    """Return what looks wrong about a value, "" where nothing does."""
    if reading.doubt:
        return DOUBTS.get(reading.doubt, "")
    return FAILS if reading.name == "error_rate" and (reading.value or 0.0) >= FAILING else ""


def report_on(probe: Probe) -> Report:
    """Return the report on a probe."""
    lines = [(reading, remark_on(reading)) for reading in probe.readings]
    doubts = any(remark for _reading, remark in lines) or probe.unsigned or probe.secret == PREVIOUS
    status = BAD if not probe.works else DOUBTFUL if doubts else GOOD
    fix = "" if probe.works else FIXES.get(probe.code, OTHERWISE)
    units = [(one.name, meant.value, meant.label) for one in probe.readings if (meant := MEANT.get(one.doubt))]
    return Report(probe, status, fix, lines, units)
