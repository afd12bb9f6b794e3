"""Draw a chart as PNG, for mail programs, which show no SVG. Pillow is loaded with the first one.

In the active language: a title with the levels, axes with units, what is before and after, the deployment, the limit.
Nothing that others named is written into it, but a custom metric with its unit.
"""

from collections.abc import Sequence
from io import BytesIO
from typing import Any
from unicodedata import combining, normalize

from django.utils.translation import gettext

from analysis.charts import (
    AFTER_START,
    BEFORE_END,
    BOTTOM,
    LEFT,
    RIGHT,
    TOP,
    WIDTH,
    Chart,
    level_in_words,
    name_in_words,
)

# The title is above the plot, names of the zones below its axis.
TITLE, HEIGHT = 26, 238
# Pixels per unit, so that it is sharp on dense screens.
SCALE = 2
TEXT, LARGE = 12, 14
# On white: a mail program does not reveal whether it is in dark mode.
PAPER, INK, FAINT, GRID = "#ffffff", "#1f2328", "#57606a", "#e4e7eb"
PAUSE, SPREAD, BEFORE, AFTER, OVER = "#f3f4f6", "#e3ecf7", "#7d8590", "#1565c0", "#c62828"
RADIUS = 3.5


def png_of(chart: Chart) -> bytes:
    """Return the chart as PNG, with words in the active language."""
    from PIL import Image, ImageDraw, ImageFont  # noqa: PLC0415  (only mails need it)

    image = Image.new("RGB", (WIDTH * SCALE, HEIGHT * SCALE), PAPER)
    pen = Pen(ImageDraw.Draw(image), ImageFont.load_default(TEXT * SCALE))
    large = ImageFont.load_default(LARGE * SCALE)
    # Above the plot of the page, whose coordinates the others are in.
    pen.text(4, TITLE / 2 - TITLE, title_of(chart), "l", colour=INK, font=large)
    pen.box((BEFORE_END, TOP, AFTER_START, BOTTOM), PAUSE)
    if chart.band is not None:
        upper = float(chart.band.y)
        pen.box((LEFT, upper, RIGHT, upper + float(chart.band.height)), SPREAD)
    axes(pen, chart)
    if chart.baseline is not None:
        pen.dashes(float(chart.baseline), BEFORE)
    if chart.limit is not None:
        pen.dashes(float(chart.limit), OVER)
    for x in (BEFORE_END, AFTER_START):
        pen.line([(x, TOP), (x, BOTTOM)], FAINT)
    for line in chart.lines:
        places = [tuple(float(part) for part in point.split(",")) for point in line.split()]
        pen.line([(x, y) for x, y in places], AFTER, 2)
    for point in chart.pre:
        pen.dot(float(point.x), float(point.y), GRID if point.kind == "left-out" else BEFORE)
    for point in chart.post:
        pen.dot(float(point.x), float(point.y), OVER if point.over else AFTER)
    if chart.limit is not None:
        y = float(chart.limit)
        pen.text(LEFT + 4, y - 9 if y > TOP + 18 else y + 10, limit_of(chart), "l", colour=OVER)
    content = BytesIO()
    image.quantize(64).save(content, "PNG", optimize=True)
    return content.getvalue()


def title_of(chart: Chart) -> str:
    """Return what the chart says: the metric and its levels."""
    levels = {name: level_in_words(value, chart) for name, value in (("before", chart.before), ("after", chart.after))}
    label = name_in_words(chart)
    both = gettext("%(metric)s: %(before)s before, %(after)s after")
    return (both if chart.before is not None else gettext("%(metric)s: %(after)s after")) % {
        "metric": label[:1].upper() + label[1:] if not label[1:2].isdigit() else label,
        **levels,
    }


def limit_of(chart: Chart) -> str:
    """Return the limit in words."""
    word = gettext("at least") if chart.limit_is_floor else gettext("limit")
    return f"{word} {level_in_words(chart.limit_value, chart)}"


def axes(pen: "Pen", chart: Chart) -> None:
    for tick in chart.y_ticks:
        pen.line([(LEFT, float(tick.at)), (RIGHT, float(tick.at))], GRID)
        pen.text(LEFT - 6, float(tick.at), tick.label, "r")
    pen.text(LEFT - 6, 2, chart.unit, "r")
    pen.line([(LEFT, BOTTOM), (RIGHT, BOTTOM)], FAINT)
    for tick in chart.x_ticks:
        pen.text(float(tick.at), BOTTOM + 12, tick.label, "m")
    zones = (
        (LEFT, BEFORE_END, "before"),
        (BEFORE_END, AFTER_START, "deploy"),
        (AFTER_START, RIGHT, "time after finish"),
    )
    for left, right, name in zones:
        pen.text((left + right) / 2, BOTTOM + 30, gettext(name), "m", colour=INK)


class Pen:
    """Draws in the units of the chart, below the title."""

    def __init__(self, draw: Any, font: Any) -> None:
        self.draw = draw
        self.font = font

    def at(self, x: float, y: float) -> tuple[float, float]:
        return SCALE * x, SCALE * (y + TITLE)

    def box(self, corners: tuple[float, float, float, float], colour: str) -> None:
        left, upper, right, lower = corners
        self.draw.rectangle([*self.at(left, upper), *self.at(right, lower)], fill=colour)

    def line(self, points: Sequence[tuple[float, float]], colour: str, width: float = 1) -> None:
        scaled = [self.at(x, y) for x, y in points]
        self.draw.line(scaled, fill=colour, width=round(SCALE * width), joint="curve")

    def dashes(self, y: float, colour: str) -> None:
        x = LEFT
        while x < RIGHT:
            self.line([(x, y), (min(x + 5, RIGHT), y)], colour)
            x += 9

    def dot(self, x: float, y: float, colour: str) -> None:
        self.draw.circle(self.at(x, y), SCALE * RADIUS, fill=colour, outline=PAPER, width=SCALE // 2)

    def text(self, x: float, y: float, text: str, align: str, *, colour: str = FAINT, font: Any = None) -> None:
        """Write a text, whose middle is at y. align: l, m or r: where of it x is.

        Pillow's own font has no accents: they are drawn upon their letters.
        """
        font = font or self.font
        letters, accents = apart(" ".join(text.split()))
        ascent, descent = font.getmetrics()
        left, base = self.at(x, y)
        left -= font.getlength(letters) * {"l": 0.0, "m": 0.5, "r": 1.0}[align]
        base += (ascent - descent) / 2
        self.draw.text((left, base), letters, fill=colour, font=font, anchor="ls")
        for place, accent in accents:
            middle = left + font.getlength(letters[:place]) + font.getlength(letters[place]) / 2
            _, upper, _, _ = font.getbbox(letters[place], anchor="ls")
            self.accent(accent, (middle, base if accent == CEDILLA else base + upper), font.size / 12, colour)

    def accent(self, accent: str, end: tuple[float, float], unit: float, colour: str) -> None:
        """Draw an accent over or below a letter, whose upper or lower end is there, in pixels."""
        x, y = end
        for dx, dy, ex, ey in ACCENTS[accent]:
            place = [(x + dx * unit, y + dy * unit), (x + ex * unit, y + ey * unit)]
            self.draw.line(place, fill=colour, width=max(2, round(unit)))


CEDILLA = "\u0327"
# Strokes of accents (from x, y to x, y), in twelfths of the size of the font, from the middle of a letter's end.
ACCENTS: dict[str, tuple[tuple[float, float, float, float], ...]] = {
    "\u0301": ((-0.6, -1.0, 1.1, -2.8),),
    "\u0300": ((0.6, -1.0, -1.1, -2.8),),
    "\u0302": ((-1.5, -1.0, 0.0, -2.5), (0.0, -2.5, 1.5, -1.0)),
    "\u0308": ((-1.8, -1.6, -0.8, -1.6), (0.8, -1.6, 1.8, -1.6)),
    CEDILLA: ((0.2, 0.0, 0.2, 1.2), (0.2, 1.2, -0.9, 2.2)),
}
# What the font does not have, in letters that it has.
REPLACED = str.maketrans({"–": "-", "œ": "oe", "×": "x", "→": ">", "−": "-"})


def apart(text: str) -> tuple[str, list[tuple[int, str]]]:
    """Return the letters of a text, and its accents with the places of their letters."""
    letters, accents = "", []
    for character in normalize("NFD", text.translate(REPLACED)):
        if character in ACCENTS and letters:
            accents.append((len(letters) - 1, character))
        elif not combining(character):
            letters += character
    return letters, accents
