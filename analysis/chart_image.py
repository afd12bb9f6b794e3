"""Draw a chart as PNG, for mail programs, which show no SVG. Pillow is loaded with the first one.

No words: what is written beside the picture can be read by everybody, and Pillow's own font has no accents.
"""

from collections.abc import Sequence
from io import BytesIO
from typing import Any

from analysis.charts import AFTER_START, BEFORE_END, BOTTOM, LEFT, RIGHT, TOP, WIDTH, Chart

HEIGHT = 192
# Pixels per unit, so that it is sharp on dense screens.
SCALE = 2
TEXT = 11
# On white: a mail program does not reveal whether it is in dark mode.
PAPER, FAINT, GRID = "#ffffff", "#57606a", "#e4e7eb"
PAUSE, SPREAD, BEFORE, AFTER, OVER = "#f3f4f6", "#e3ecf7", "#7d8590", "#1565c0", "#c62828"
RADIUS = 3.5


def png_of(chart: Chart) -> bytes:
    """Return the chart as PNG."""
    from PIL import Image, ImageDraw, ImageFont  # noqa: PLC0415  (only mails need it)

    image = Image.new("RGB", (WIDTH * SCALE, HEIGHT * SCALE), PAPER)
    pen = Pen(ImageDraw.Draw(image), ImageFont.load_default(TEXT * SCALE))
    pen.box((BEFORE_END, TOP, AFTER_START, BOTTOM), PAUSE)
    if chart.band is not None:
        upper = float(chart.band.y)
        pen.box((LEFT, upper, RIGHT, upper + float(chart.band.height)), SPREAD)
    axes(pen, chart)
    if chart.baseline is not None:
        pen.dashes(float(chart.baseline), BEFORE)
    if chart.limit is not None:
        pen.dashes(float(chart.limit), OVER)
    for line in chart.lines:
        places = [tuple(float(part) for part in point.split(",")) for point in line.split()]
        pen.line([(x, y) for x, y in places], AFTER, 2)
    for point in chart.pre:
        pen.dot(float(point.x), float(point.y), GRID if point.kind == "left-out" else BEFORE)
    for point in chart.post:
        pen.dot(float(point.x), float(point.y), OVER if point.over else AFTER)
    content = BytesIO()
    image.quantize(64).save(content, "PNG", optimize=True)
    return content.getvalue()


def axes(pen: "Pen", chart: Chart) -> None:
    for tick in chart.y_ticks:
        pen.line([(LEFT, float(tick.at)), (RIGHT, float(tick.at))], GRID)
        pen.text(LEFT - 6, float(tick.at), tick.label, "rm")
    pen.text(LEFT - 6, 8, chart.unit, "rm")
    pen.line([(LEFT, BOTTOM), (RIGHT, BOTTOM)], FAINT)
    for tick in chart.x_ticks:
        pen.text(float(tick.at), BOTTOM + 12, tick.label, "mm")


class Pen:
    """Draws in the units of the chart."""

    def __init__(self, draw: Any, font: Any) -> None:
        self.draw = draw
        self.font = font

    def box(self, corners: tuple[float, float, float, float], colour: str) -> None:
        self.draw.rectangle([SCALE * at for at in corners], fill=colour)

    def line(self, points: Sequence[tuple[float, float]], colour: str, width: float = 1) -> None:
        scaled = [(SCALE * x, SCALE * y) for x, y in points]
        self.draw.line(scaled, fill=colour, width=round(SCALE * width), joint="curve")

    def dashes(self, y: float, colour: str) -> None:
        x = LEFT
        while x < RIGHT:
            self.line([(x, y), (min(x + 5, RIGHT), y)], colour)
            x += 9

    def dot(self, x: float, y: float, colour: str) -> None:
        self.draw.circle((SCALE * x, SCALE * y), SCALE * RADIUS, fill=colour, outline=PAPER, width=SCALE // 2)

    def text(self, x: float, y: float, text: str, anchor: str) -> None:
        # The font has no narrow and no unbreakable spaces.
        plain = " ".join(text.split())
        self.draw.text((SCALE * x, SCALE * y), plain, fill=FAINT, font=self.font, anchor=anchor)
