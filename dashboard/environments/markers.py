"""Place deployments on a time axis, and merge marks that are too close. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

# Least distance of marks in % of the width, so that they can be touched and distinguished.
ROOM = 5.0
RANK = {"critical": 0, "warning": 1, "info": 2, "neutral": 3, "ok": 4}


@dataclass(frozen=True, slots=True)
class Mark:
    """A deployment: position (0..100), start and status (labels.Status)."""

    place: float
    at: datetime
    status: Any
    deployment: Any


@dataclass(frozen=True, slots=True)
class Marker:
    """The worst of several adjacent deployments, at its own position, and their number."""

    gravest: Mark
    count: int

    @property
    def x(self) -> str:
        """Return the position as SVG text."""
        return f"{self.gravest.place:.2f}%"


def markers_of(marks: Sequence[Mark], room: float = ROOM) -> list[Marker]:
    """Return markers at least `room` apart, from left to right; less severe, then older marks are merged."""
    shown: list[Mark] = []
    counts: list[int] = []
    for mark in sorted(marks, key=lambda mark: (RANK.get(mark.status.key, len(RANK)), -mark.place)):
        nearest = min(range(len(shown)), key=lambda place: abs(shown[place].place - mark.place), default=None)
        if nearest is not None and abs(shown[nearest].place - mark.place) < room:
            counts[nearest] += 1
        else:
            shown.append(mark)
            counts.append(1)
    markers = [Marker(mark, count) for mark, count in zip(shown, counts, strict=True)]
    return sorted(markers, key=lambda marker: marker.gravest.place)
