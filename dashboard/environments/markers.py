"""Deployments on a time axis: marks that lie too close to each other become one that counts them. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

# Of the width of the plot, in %: what a mark needs so that a finger hits it and an eye tells it from the next one.
ROOM = 3.5
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
    """One or several deployments next to each other, the oldest first."""

    marks: tuple[Mark, ...]

    @property
    def gravest(self) -> Mark:
        """The one that people want to see; of several, the latest."""
        return min(reversed(self.marks), key=lambda mark: RANK.get(mark.status.key, len(RANK)))

    @property
    def count(self) -> int:
        return len(self.marks)

    @property
    def first(self) -> Mark:
        return self.marks[0]

    @property
    def last(self) -> Mark:
        return self.marks[-1]

    @property
    def x(self) -> str:
        """In the middle of its deployments, as SVG writes it."""
        return f"{(self.first.place + self.last.place) / 2:.2f}%"

    @property
    def band_x(self) -> str:
        return f"{self.first.place:.2f}%"

    @property
    def band_width(self) -> str:
        return f"{self.last.place - self.first.place:.2f}%"


def markers_of(marks: Sequence[Mark], room: float = ROOM) -> list[Marker]:
    """All marks, those together that lie less than `room` from the first of their group."""
    groups: list[list[Mark]] = []
    for mark in sorted(marks, key=lambda mark: mark.place):
        if not groups or mark.place - groups[-1][0].place >= room:
            groups.append([])
        groups[-1].append(mark)
    return [Marker(tuple(group)) for group in groups]
