"""Charts as SVG text: they need no script and no network, and follow the page's colours."""

import math
from collections.abc import Iterator, Sequence
from html import escape
from typing import Literal, NamedTuple

WIDTH, HEIGHT = 440, 246
LEFT, RIGHT, TOP, BOTTOM = 46, 422, 12, 204
MAX_NAMES = 7
"""Names that have room below an axis."""

Points = Sequence[tuple[float, float]]


class Series(NamedTuple):
    """What is drawn in one colour; a bar reaches to the next point."""

    name: str
    points: Points
    shape: Literal["line", "bars", "points"] = "line"


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
        step = next(
            size * 10.0**power
            for power in range(-6, 12)
            for size in (1, 2, 5)
            if span / (size * 10.0**power) <= 6
        )
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
) -> str:
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
    legend = "".join(
        f'<span class="key c{number}">{escape(each.name)}</span>'
        for number, each in enumerate(series)
    )
    return (
        f"<figure><figcaption><b>{escape(title)}</b>{legend}</figcaption>"
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">'
        f"{''.join(parts)}</svg></figure>"
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


def _shade(shaded: tuple[float, float] | None, across: Axis) -> Iterator[str]:
    if shaded:
        start, end = (across.place(each, LEFT, RIGHT) for each in shaded)
        yield (
            f'<rect class="shade" x="{start:.1f}" y="{TOP}" width="{end - start:.1f}" '
            f'height="{BOTTOM - TOP}"><title>full speed</title></rect>'
        )


def _grid(across: Axis, up: Axis) -> Iterator[str]:
    for tick in up.ticks():
        y = up.place(tick, BOTTOM, TOP)
        yield f'<path class="grid" d="M{LEFT} {y:.1f}H{RIGHT}"/>'
        yield f'<text x="{LEFT - 6}" y="{y + 4:.1f}" class="end">{tick:g}</text>'
    for at, text in across.labels():
        x = across.place(at, LEFT, RIGHT)
        yield f'<text x="{x:.1f}" y="{BOTTOM + 17}" class="middle">{escape(text)}</text>'
    if across.label:
        x = (LEFT + RIGHT) / 2
        yield f'<text x="{x}" y="{BOTTOM + 36}" class="middle">{escape(across.label)}</text>'
    yield f'<path class="axis" d="M{LEFT} {BOTTOM}H{RIGHT}"/>'


def _line(points: Points, across: Axis, up: Axis, colour: str) -> str:
    path = " ".join(
        f"{across.place(x, LEFT, RIGHT):.1f},{up.place(y, BOTTOM, TOP):.1f}" for x, y in points
    )
    return f'<polyline class="line {colour}" points="{path}"/>'


def _bars(points: Points, across: Axis, up: Axis, colour: str) -> str:
    drawn = []
    ends = [x for x, _ in points[1:]] + [across.high]
    for (x, y), end in zip(points, ends, strict=True):
        left, right = across.place(x, LEFT, RIGHT), across.place(end, LEFT, RIGHT)
        top = up.place(y, BOTTOM, TOP)
        drawn.append(
            f'<rect class="bar {colour}" x="{left:.1f}" y="{top:.1f}" '
            f'width="{max(right - left - 1, 0.5):.1f}" height="{BOTTOM - top:.1f}">'
            f"<title>{x:.3g} to {end:.3g}: {y:g}</title></rect>"
        )
    return "".join(drawn)


def _points(points: Points, across: Axis, up: Axis, colour: str) -> str:
    return "".join(
        f'<circle class="point {colour}" cx="{across.place(x, LEFT, RIGHT):.1f}" '
        f'cy="{up.place(y, BOTTOM, TOP):.1f}" r="4"><title>{x:g}: {y:.4g}</title></circle>'
        for x, y in points
    )


SHAPES = {"line": _line, "bars": _bars, "points": _points}


def _mark(mark: Mark, across: Axis, up: Axis) -> Iterator[str]:
    if mark.upright:
        x = across.place(mark.value, LEFT, RIGHT)
        yield f'<path class="mark" d="M{x:.1f} {TOP}V{BOTTOM}"/>'
        yield f'<text x="{x - 4:.1f}" y="{TOP + 10}" class="end mark">{escape(mark.label)}</text>'
    else:
        y = up.place(mark.value, BOTTOM, TOP)
        yield f'<path class="mark" d="M{LEFT} {y:.1f}H{RIGHT}"/>'
        yield f'<text x="{RIGHT}" y="{y - 4:.1f}" class="end mark">{escape(mark.label)}</text>'
