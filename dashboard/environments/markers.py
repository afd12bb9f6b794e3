"""Deployments on a time axis: marks that lie too close to each other become one that counts them. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

# Of the width of the plot, in %: what a mark needs so that a finger hits it and an eye tells it from the next one.
ROOM = 5.0
RANK = {"critical": 0, "warning": 1, "info": 2, "neutral": 3, "ok": 4}


@dataclass(frozen=True, slots=True)
class Mark:
    """A deployment: where it lies (0..100), when it started and how it stands (words.Status)."""

    place: float
    at: datetime
    status: Any
    deployment: Any


@dataclass(frozen=True, slots=True)
class Marker:
    """The gravest of several deployments next to each other, at its own place, and how many they are with it."""

    gravest: Mark
    count: int

    @property
    def x(self) -> str:
        """As SVG writes it."""
        return f"{self.gravest.place:.2f}%"


def markers_of(marks: Sequence[Mark], room: float = ROOM) -> list[Marker]:
    """At least `room` apart, from left to right. What is less grave, or as grave and older, gives way and counts."""
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
