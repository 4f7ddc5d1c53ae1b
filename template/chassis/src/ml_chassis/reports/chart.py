"""Charts as SVG text: they need no script and no network, and follow the page's colours."""

import math
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

from markupsafe import Markup

WIDTH, HEIGHT = 440, 246
LEFT, RIGHT, TOP, BOTTOM = 46, 422, 12, 204
MAX_NAMES = 6
"""Names that have room below an axis."""
FIGURE = Markup(
    "<figure><figcaption><b>{title}</b>{keys}</figcaption>"
    '<svg viewBox="0 0 {width} {height}" role="img" aria-label="{title}">{parts}</svg></figure>'
)
KEY = Markup('<span class="key {}">{}</span>')
SHADE = Markup(
    '<rect class="shade" x="{:.1f}" y="{}" width="{:.1f}" height="{}"><title>{}</title></rect>'
)
PATH = Markup('<path class="{}" d="{}"/>')
TEXT = Markup('<text x="{:.1f}" y="{:.1f}" class="{}">{}</text>')
LINE = Markup('<polyline class="line {}" points="{}"/>')
AREA = Markup('<polygon class="area {}" points="{}"/>')
BAR = Markup(
    '<rect class="bar {}" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}">'
    "<title>{:.3g} to {:.3g}: {:g}</title></rect>"
)
POINT = Markup(
    '<circle class="point {}" cx="{:.1f}" cy="{:.1f}" r="4"><title>{:g}: {:.4g}</title></circle>'
)

Points = Sequence[tuple[float, float]]


class Series(NamedTuple):
    """What is drawn in one colour; a bar reaches to the next point, an area has them around it."""

    name: str
    points: Points
    shape: Literal["line", "bars", "points", "area"] = "line"


class Mark(NamedTuple):
    """A stated number, as a dashed line across the values or, upright, across the axis below."""

    label: str
    value: float
    upright: bool = False


class Axis(NamedTuple):
    """From where to where numbers lie, and how they are placed in between.

    Attributes:
        low: The first number.
        high: The last one.
        log: Whether equal distances are equal ratios.
        names: What is written in the middle of each step of one, instead of numbers.
        label: What the numbers are, with their unit.
    """

    low: float
    high: float
    log: bool = False
    names: tuple[str, ...] = ()
    label: str = ""

    def place(self, value: float, start: float, end: float) -> float:
        """Return where a value lies between two positions."""
        low, high = (math.log10(each) if self.log else each for each in (self.low, self.high))
        at = math.log10(max(value, self.low)) if self.log else value
        return start + (end - start) * (at - low) / (high - low)

    def ticks(self) -> Iterator[float]:
        """Yield round numbers: powers of ten, or up to seven equal steps."""
        if self.log:
            powers = range(math.ceil(math.log10(self.low)), math.floor(math.log10(self.high)) + 1)
            yield from (10.0**power for power in powers)
            return
        span = self.high - self.low
        power = math.floor(math.log10(span)) - 1
        steps = (size * 10.0**power for size in (1, 2, 5, 10, 20))
        step = next(each for each in steps if span / each <= 6)
        first = math.ceil(self.low / step)
        yield from (step * at for at in range(first, math.floor(self.high / step) + 1))

    def labels(self) -> Iterator[tuple[float, str]]:
        """Yield what is written at the axis, and where: names where it has some, else numbers."""
        if not self.names:
            yield from ((tick, f"{tick:g}") for tick in self.ticks())
            return
        step = math.ceil(len(self.names) / MAX_NAMES)
        for at in range(0, len(self.names), step):
            yield at + 0.5, self.names[at]


def named(names: Sequence[str]) -> Axis:
    """Return an axis of steps that have names, such as months; the first goes from 0 to 1."""
    return Axis(0, len(names), names=tuple(names))


def draw(
    title: str,
    series: Sequence[Series],
    marks: Sequence[Mark],
    across: Axis,
    up: Axis,
    shaded: tuple[float, float] | None = None,
) -> Markup:
    """Return a chart as a figure with its title and legend.

    Args:
        title: What is shown, with its unit.
        series: What is drawn.
        marks: Stated numbers.
        across: The axis below.
        up: The axis on the left.
        shaded: Part of the axis below that is drawn on a darker ground.
    """
    parts = [*_shade(shaded, across), *_grid(across, up)]
    for number, each in enumerate(series):
        parts.append(SHAPES[each.shape](each.points, across, up, f"c{number}"))
    parts += [part for mark in marks for part in _mark(mark, across, up)]
    keys = (KEY.format(f"c{number}", each.name) for number, each in enumerate(series))
    return FIGURE.format(
        title=title,
        keys=Markup("").join(keys),
        width=WIDTH,
        height=HEIGHT,
        parts=Markup("").join(parts),
    )


def reach(values: Sequence[float], *stated: float) -> Axis:
    """Return an axis from zero, or from a lowest number below it, to beyond the largest."""
    low, high = min([0, *values]), max([each for each in [*values, *stated] if each > 0], default=1)
    return Axis(1.12 * low, 1.12 * high)


def reach_log(values: Sequence[float], *stated: float) -> Axis:
    """Return an axis of powers of ten around the numbers."""
    positive = [value for value in [*values, *stated] if 0 < value < math.inf] or [1]
    low, high = math.floor(math.log10(min(positive))), math.ceil(math.log10(max(positive)))
    return Axis(10.0**low, 10.0 ** max(high, low + 1), log=True)


def _shade(shaded: tuple[float, float] | None, across: Axis) -> Iterator[Markup]:
    if shaded:
        start, end = (across.place(each, LEFT, RIGHT) for each in shaded)
        yield SHADE.format(start, TOP, end - start, BOTTOM - TOP, "full speed")


def _grid(across: Axis, up: Axis) -> Iterator[Markup]:
    for tick in up.ticks():
        y = up.place(tick, BOTTOM, TOP)
        yield PATH.format("grid", f"M{LEFT} {y:.1f}H{RIGHT}")
        yield TEXT.format(LEFT - 6, y + 4, "end", f"{tick:g}")
    for at, text in across.labels():
        yield TEXT.format(across.place(at, LEFT, RIGHT), BOTTOM + 17, "middle", text)
    if across.label:
        yield TEXT.format((LEFT + RIGHT) / 2, BOTTOM + 36, "middle", across.label)
    yield PATH.format("axis", f"M{LEFT} {BOTTOM}H{RIGHT}")


def _line(points: Points, across: Axis, up: Axis, colour: str) -> Markup:
    return LINE.format(colour, _path(points, across, up))


def _area(points: Points, across: Axis, up: Axis, colour: str) -> Markup:
    return AREA.format(colour, _path(points, across, up))


def _path(points: Points, across: Axis, up: Axis) -> str:
    return " ".join(
        f"{across.place(x, LEFT, RIGHT):.1f},{up.place(y, BOTTOM, TOP):.1f}" for x, y in points
    )


def _bars(points: Points, across: Axis, up: Axis, colour: str) -> Markup:
    drawn = []
    ends = [x for x, _ in points[1:]] + [across.high]
    for (x, y), end in zip(points, ends, strict=True):
        left, right = across.place(x, LEFT, RIGHT), across.place(end, LEFT, RIGHT)
        top = up.place(y, BOTTOM, TOP)
        size = (max(right - left - 1, 0.5), BOTTOM - top)
        drawn.append(BAR.format(colour, left, top, *size, x, end, y))
    return Markup("").join(drawn)


def _points(points: Points, across: Axis, up: Axis, colour: str) -> Markup:
    return Markup("").join(
        POINT.format(colour, across.place(x, LEFT, RIGHT), up.place(y, BOTTOM, TOP), x, y)
        for x, y in points
    )


SHAPES = {"line": _line, "bars": _bars, "points": _points, "area": _area}


def _mark(mark: Mark, across: Axis, up: Axis) -> Iterator[Markup]:
    if mark.upright:
        x = across.place(mark.value, LEFT, RIGHT)
        yield PATH.format("mark", f"M{x:.1f} {TOP}V{BOTTOM}")
        yield TEXT.format(x - 4, TOP + 10, "end mark", mark.label)
    else:
        y = up.place(mark.value, BOTTOM, TOP)
        yield PATH.format("mark", f"M{LEFT} {y:.1f}H{RIGHT}")
        yield TEXT.format(RIGHT, y - 4, "end mark", mark.label)
