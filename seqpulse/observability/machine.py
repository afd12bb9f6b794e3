"""How busy the machine is, or the container that it allows us: processor and memory, as ratios 0..1."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import psutil

CGROUP = Path("/sys/fs/cgroup")
SPAN_S = 60.0
SAMPLE_EVERY_S = 2.0
# Two readings closer than this say nothing.
SHORTEST_S = 0.05


@dataclass(frozen=True, slots=True)
class Reading:
    """Processor seconds used until then, and how many there were; at: monotonic."""

    at: float
    used_s: float
    offered_s: float


def read_processor(cgroup: Path = CGROUP) -> Reading:
    """The container's processor time where it has a quota, else the machine's."""
    now = time.monotonic()
    with contextlib.suppress(OSError, ValueError):
        quota, period = (cgroup / "cpu.max").read_text().split()
        fields = dict(line.split() for line in (cgroup / "cpu.stat").read_text().splitlines())
        return Reading(now, int(fields["usage_usec"]) / 1e6, now * int(quota) / int(period))
    times = psutil.cpu_times()
    idle = times.idle + getattr(times, "iowait", 0.0)
    # guest time is part of user time already.
    offered = sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)
    return Reading(now, offered - idle, offered)


def read_memory(cgroup: Path = CGROUP) -> float:
    """The share of memory in use: of the container's limit where it has one, else of the machine's."""
    with contextlib.suppress(OSError, ValueError, ZeroDivisionError):
        limit = int((cgroup / "memory.max").read_text())
        used = int((cgroup / "memory.current").read_text())
        fields = dict(line.split() for line in (cgroup / "memory.stat").read_text().splitlines())
        # Pages of files that were read once: given back as soon as somebody wants them.
        return _ratio((used - int(fields.get("inactive_file", 0))) / limit)
    return _ratio(psutil.virtual_memory().percent / 100)


class ProcessorMeter:
    """The share of processor time in use over the last minute, or for as long as we look."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._readings: deque[Reading] = deque([read_processor()])

    def usage(self) -> float:
        """Takes a reading and compares it with the one of a minute ago."""
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
    """The meter of this process."""
    return ProcessorMeter()


def _ratio(value: float) -> float:
    return min(1.0, max(0.0, value))
