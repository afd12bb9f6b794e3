"""CPU failed, without latency following."""

from __future__ import annotations

from analysis.judge.hints.base import Findings, HintText, from_checks
from analysis.judge.types import Hint
from analysis.told import noop as _

TEXT = HintText(
    key="cpu_spike",
    title=_("CPU over {threshold} in {samples_over}"),
    cause=_(
        "CPU usage is at {observed} (worst {worst}, before {baseline}) at {traffic_now} of traffic (before: "
        "{traffic_before}). Latency has not followed. Typical: work done at start (caches, compilation), a background "
        "task or busy loop of the new version, debug or verbose logging left on, or simply more traffic."
    ),
    impact=_("Users do not feel it yet, but the headroom for the next peak of traffic is gone."),
    actions=(
        _("Compare traffic before and after: if it grew by as much as the CPU did, it is load and not the deployment."),
        _("Look at the last samples: falling CPU is start-up work and passes."),
        _("See which process and thread uses it (top -H, kubectl top pods), and profile that one for 30 s."),
        _("Check the log level and debug flags of the new version."),
        _("If it stays near the limit, add capacity before the next peak or roll back."),
    ),
)


def rule(findings: Findings) -> Hint | None:
    """When cpu_usage failed."""
    check = findings.failed("cpu_usage")
    return from_checks(findings, TEXT, (check,)) if check else None
