"""Measure CPU and memory usage of the container or the machine, as ratios 0..1."""

import contextlib
import threading
import time
from collections import deque
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")
SPAN_S = 60.0
SAMPLE_EVERY_S = 2.0
# Shortest useful time between two readings.
SHORTEST_S = 0.05


@dataclass(frozen=True, slots=True)
class Reading:
    """CPU seconds used and available so far; at: monotonic time."""

    at: float
    used_s: float
    offered_s: float


def read_processor(cgroup: Path = CGROUP) -> Reading:
    """Read the CPU time of the container if it has a quota, else of the machine."""
    now = time.monotonic()
    with contextlib.suppress(OSError, ValueError):
        quota, period = (cgroup / "cpu.max").read_text().split()
        fields = dict(line.split() for line in (cgroup / "cpu.stat").read_text().splitlines())
        return Reading(now, int(fields["usage_usec"]) / 1e6, now * int(quota) / int(period))
    import psutil  # noqa: PLC0415  (each command would load it, and only the web server measures)

    times = psutil.cpu_times()
    idle = times.idle + getattr(times, "iowait", 0.0)
    # Guest time is part of user time.
    offered = sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)
    return Reading(now, offered - idle, offered)


def read_memory(cgroup: Path = CGROUP) -> float:
    """Return the ratio of memory in use: of the container's limit if it has one, else of the machine."""
    with contextlib.suppress(OSError, ValueError, ZeroDivisionError):
        limit = int((cgroup / "memory.max").read_text())
        used = int((cgroup / "memory.current").read_text())
        fields = dict(line.split() for line in (cgroup / "memory.stat").read_text().splitlines())
        # Inactive file pages can be reclaimed at any time.
        return _ratio((used - int(fields.get("inactive_file", 0))) / limit)
    import psutil  # noqa: PLC0415  (as above)

    return _ratio(psutil.virtual_memory().percent / 100)


class ProcessorMeter:
    """Ratio of CPU time in use over the last minute, or since the first reading."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._readings: deque[Reading] = deque([read_processor()])

    def usage(self) -> float:
        """Take a reading and compare it with the one a minute ago."""
        with self._lock:
            if time.monotonic() - self._readings[0].at < SHORTEST_S:
                time.sleep(SHORTEST_S)
            now = read_processor()
            while len(self._readings) > 1 and now.at - self._readings[1].at >= SPAN_S:
                self._readings.popleft()
            if now.at - self._readings[-1].at >= SAMPLE_EVERY_S:
                self._readings.append(now)
            first = self._readings[0]
        offered = now.offered_s - first.offered_s
        return _ratio((now.used_s - first.used_s) / offered) if offered > 0 else 0.0


@lru_cache
def processor_meter() -> ProcessorMeter:
    """Return the meter of this process."""
    return ProcessorMeter()


def _ratio(value: float) -> float:
    return min(1.0, max(0.0, value))
