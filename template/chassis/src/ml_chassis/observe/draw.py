"""Panels drawn as SVG by Vega-Lite: without a script, and in the colours of the page."""

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import vl_convert
from markupsafe import Markup

from ..monitoring.drift import MISSING, OTHER
from ..monitoring.panels import Panel, Unit
from .prometheus import Points, Sample, Series

WIDTH, HEIGHT = 400, 210
MOST, GREY = 8, 2
"""Series in a chart: so many colours the page has; and one of them."""
FEW = 12
"""Bins whose names have room beside each other."""
VEGA_LITE = "6.1"
FIGURE = Markup(
    "<figure><figcaption><b>{title}</b><p>{words}</p>{keys}</figcaption>{drawn}</figure>"
)
KEY = Markup('<span class="key c{}">{}</span> ')
WIDE = Markup('<div class="wide">{}</div>')
MORE = Markup('<span class="key none">and {} smaller ones</span>')
NUMBER = Markup('<p class="number {}">{} <span>{}</span></p>')
SVG = re.compile(r'^<svg .*?width="(\d+)" height="(\d+)"[^>]*>')
LABEL = re.compile(r"{{(\w+)}}")
VALUES: dict[Unit, str] = {
    "short": "format(datum.value, ',.3~r')",
    "percentunit": "format(100 * datum.value, ',.3~r') + ' %'",
    "s": "datum.value >= 172800 ? format(datum.value / 86400, ',.3~r') + ' d' : "
    "datum.value >= 7200 ? format(datum.value / 3600, ',.3~r') + ' h' : "
    "datum.value >= 120 ? format(datum.value / 60, ',.3~r') + ' min' : "
    "datum.value >= 1 ? format(datum.value, ',.3~r') + ' s' : "
    "format(1000 * datum.value, ',.3~r') + ' ms'",
    "bytes": "format(datum.value, ',.0f') + ' MiB'",
    "reqps": "format(datum.value, ',.3~r') + '/s'",
    "rowsps": "format(datum.value, ',.3~r') + '/s'",
}
"""What is written at the axis, as Vega computes it."""
CONFIG = {
    "background": None,
    "padding": {"left": 16, "top": 5, "right": 5, "bottom": 5},
    "font": "system-ui, sans-serif",
    "view": {"stroke": None},
    "axis": {
        "title": None,
        "labelColor": "var(--soft)",
        "labelFontSize": 13,
        "gridColor": "var(--rule)",
        "domainColor": "var(--soft)",
        "ticks": False,
    },
}
SIZES: dict[Unit, int] = {"bytes": 2**20}
"""What is drawn as one, so that the numbers at the axis are round."""
DURATIONS = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))


def lines(
    panel: Panel, found: Sequence[Sequence[Series]], start: float, end: float, step: float
) -> Markup | None:
    """Return lines over time, or None where there are no values.

    Args:
        panel: What is drawn.
        found: The series that each query of the panel gave.
        start: Unix time in seconds, where the axis begins.
        end: Likewise, where it ends.
        step: Seconds between two values; where more lie between them, the line is broken.
    """
    drawn = [
        (legend(query.legend, each.labels), each.points)
        for query, answer in zip(panel.queries, found, strict=True)
        for each in answer
        if any(math.isfinite(value) for _, value in each.points)
    ]
    if len(drawn) > MOST:
        drawn.sort(key=lambda each: -each[1][-1][1])
    names, size = list(dict.fromkeys(name for name, _ in drawn)), SIZES.get(panel.unit, 1)
    rows = [
        {"at": 1_000 * at, "value": value / size, "name": name, "part": f"{number} {part}"}
        for number, (name, points) in enumerate(drawn)
        if name in names[:MOST]
        for part, at, value in _parts(points, step)
    ]
    values = Counter(row["part"] for row in rows)
    alone = [row for row in rows if values[row["part"]] == 1]  # a line of one value is not seen
    encoding = {"x": _across(start, end), **_up(panel, rows), **_colour(names)}
    layers: list[dict[str, Any]] = [
        {
            "mark": {"type": "line", "strokeWidth": 1.8},
            "encoding": {**encoding, "detail": {"field": "part"}},
        },
        {"data": {"values": alone}, "mark": {"type": "circle", "size": 24}, "encoding": encoding},
    ]
    return figure(panel, names, _svg(rows, [*layers, *_limit(panel)])) if rows else None


def bars(panel: Panel, found: Sequence[Sequence[Sample]]) -> Markup | None:
    """Return bars side by side by the label `bin`, or None where there are none; see `lines`."""
    rows = [
        {"bin": each.labels["bin"], "value": each.value, "name": query.legend}
        for query, answer in zip(panel.queries, found, strict=True)
        for each in answer
        if math.isfinite(each.value)
    ]
    names = [query.legend for query in panel.queries]
    order = sorted({str(row["bin"]) for row in rows}, key=_place)
    axis = {
        "labelAngle": -40 if len(order) <= FEW else -90,
        "labelLimit": 130,
        "labelOverlap": False,
        "labelExpr": "replace(datum.label, /^= /, '')",
    }
    bar = {
        "mark": {"type": "bar"},
        "encoding": {
            "x": {"field": "bin", "type": "nominal", "sort": order, "axis": axis},
            "xOffset": {"field": "name", "sort": names},
            **_up(panel, rows),
            **_colour(names),
        },
    }
    return figure(panel, names, _svg(rows, [bar])) if rows else None


def scatter(panel: Panel, points: Sequence[tuple[float, float]], across: str, up: str) -> Markup:
    """Return points, and the line on which both coordinates are the same.

    Args:
        panel: What is drawn.
        points: Both coordinates of each, one point at least.
        across: What the first one is.
        up: What the second one is.
    """
    ends = [min(map(min, points)), max(map(max, points))]
    both = [{"across": end, "up": end} for end in ends]
    places = {
        name: {
            "field": name,
            "type": "quantitative",
            "scale": {"zero": False},
            "axis": {"title": title, "titleColor": "var(--soft)", "tickCount": 5},
        }
        for name, title in (("across", across), ("up", up))
    }
    encoding = {"x": places["across"], "y": places["up"]}
    dot = {"type": "circle", "size": 12, "opacity": 0.4, "color": "var(--c0)"}
    line = {"type": "line", "strokeDash": [5, 4], "color": "var(--soft)"}
    rows = [{"across": x, "up": y} for x, y in points]
    drawn = _svg(
        rows,
        [
            {"mark": dot, "encoding": encoding},
            {"data": {"values": both}, "mark": line, "encoding": encoding},
        ],
    )
    return figure(panel, (), drawn)


def numbers(panel: Panel, found: Sequence[Sequence[Sample]]) -> Markup | None:
    """Return what is so now in large digits, or None where there are no values; see `lines`."""
    shown = [
        NUMBER.format(
            _verdict(panel, each.value),
            text(each.value, panel.unit),
            legend(query.legend, each.labels),
        )
        for query, answer in zip(panel.queries, found, strict=True)
        for each in answer
        if math.isfinite(each.value)
    ]
    return figure(panel, (), Markup("").join(shown[:MOST])) if shown else None


class Span(NamedTuple):
    """Something that goes on for a while.

    Attributes:
        name: What.
        kind: Those of a kind have a colour.
        start: Seconds.
        end: Likewise.
    """

    name: str
    kind: str
    start: float
    end: float


def timeline(
    title: str,
    words: str,
    spans: Sequence[Span],
    marks: Sequence[float],
    colours: Mapping[str, int],
) -> Markup:
    """Return what went on when.

    Args:
        title: Of the chart.
        words: What it says.
        spans: What goes on.
        marks: Seconds that are marked, and numbered from 1.
        colours: Of the kinds, as numbers of the page's colours; others are grey.
    """
    kinds = sorted({each.kind for each in spans})
    chosen = [colours.get(kind, GREY) for kind in kinds]
    clock = "floor(datum.value / 60) + ':' + format(datum.value % 60, '02d')"
    axis = {"labelExpr": clock, "grid": False, "tickCount": 8, "labelOverlap": True}
    across = {"field": "start", "type": "quantitative", "axis": axis}
    bar = {
        "mark": {"type": "bar"},
        "encoding": {
            "x": across,
            "x2": {"field": "end"},
            "y": {"field": "name", "type": "nominal", "sort": None, "axis": {"labelLimit": 300}},
            "yOffset": {"field": "kind"},
            "color": {**_colour(kinds, chosen)["color"], "field": "kind"},
        },
    }
    numbered = [{"start": at, "number": number} for number, at in enumerate(marks, start=1)]
    rule = {
        "data": {"values": numbered},
        "mark": {"type": "rule", "color": "var(--soft)"},
        "encoding": {"x": across},
    }
    number = {
        "data": {"values": numbered},
        "mark": {"type": "text", "align": "left", "dx": 3, "color": "var(--ink)"},
        "encoding": {"x": across, "y": {"value": 8}, "text": {"field": "number"}},
    }
    drawn = _svg([each._asdict() for each in spans], [bar, rule, number], 2 * WIDTH)
    return figure(Panel(title, words, ()), kinds, WIDE.format(drawn), chosen)


def legend(template: str, labels: dict[str, str]) -> str:
    """Return how Grafana calls a series, by a template with labels as `{{label}}`."""
    return LABEL.sub(lambda found: labels.get(found[1], ""), template).strip(": ")


def text(value: float, unit: Unit) -> str:
    """Return a value with its unit, for people."""
    if unit == "s":
        return _duration(value) if value >= 1 else f"{1_000 * value:.3g} ms"
    if unit == "percentunit":
        return f"{100 * value:.3g} %"
    if unit == "bytes":
        return f"{value / 2**20:,.0f} MiB"
    number = f"{value:,.0f}" if abs(value) >= 1_000 else f"{value:.4g}"
    return number if unit == "short" else f"{number}/s"


def _duration(seconds: float) -> str:
    """Return the two largest units."""
    parts, left = list[str](), round(seconds)
    for name, size in DURATIONS:
        if left >= size:
            parts.append(f"{left // size} {name}")
        left %= size
    return " ".join(parts[:2])


def _verdict(panel: Panel, value: float) -> str:
    if panel.limit is None:
        return ""
    return "missed" if value >= panel.limit else "met"


def _place(name: str) -> tuple[bool, float, str]:
    """Return where a bin stands: numbers by their lower end, what is unknown or missing last."""
    first = name.partition(" ")[0]
    ends = {"up": -math.inf, "above": math.inf}
    try:
        lower = ends.get(first) or float(first)
    except ValueError:  # a category
        lower = 0
    return name in {OTHER, MISSING}, lower, name


def _parts(points: Points, step: float) -> Iterator[tuple[int, float, float]]:
    """Yield time and value of each point, after the number of the part without a gap."""
    part, before = 0, -math.inf
    for at, value in points:
        if math.isfinite(value):
            part += at - before > 1.5 * step
            before = at
            yield part, at, value


def _across(start: float, end: float) -> dict[str, Any]:
    minutes = (end - start) / 60
    style = "%H:%M:%S" if minutes < 10 else "%H:%M" if minutes < 2_880 else "%d %b"
    axis = {"format": style, "tickCount": 4, "grid": False, "labelOverlap": True}
    scale = {"type": "utc", "domain": [1_000 * start, 1_000 * end]}
    return {"field": "at", "type": "temporal", "scale": scale, "axis": axis}


def _up(panel: Panel, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    axis = {"tickCount": 5, "domain": False, "labelExpr": VALUES[panel.unit]}
    # Else a line at zero would stand in the middle.
    low = {"scale": {"domain": [0, panel.limit or 1]}}
    scale = {} if any(row["value"] for row in rows) else low
    return {"y": {"field": "value", "type": "quantitative", "axis": axis, **scale}}


def _colour(names: Sequence[str], colours: Sequence[int] = range(MOST)) -> dict[str, Any]:
    both = [*zip(names, colours, strict=False)]
    scale = {"domain": [name for name, _ in both], "range": [f"var(--c{at})" for _, at in both]}
    return {"color": {"field": "name", "type": "nominal", "scale": scale, "legend": None}}


def _limit(panel: Panel) -> Iterator[dict[str, Any]]:
    if panel.limit is not None:
        limit = panel.limit / SIZES.get(panel.unit, 1)
        mark = {"type": "rule", "strokeDash": [5, 4], "color": "var(--bad)"}
        yield {"data": {"values": [{}]}, "mark": mark, "encoding": {"y": {"datum": limit}}}


def _svg(
    rows: Sequence[dict[str, Any]], layers: Sequence[dict[str, Any]], width: int = WIDTH
) -> Markup:
    """Return a chart as wide as what it stands in."""
    drawn = vl_convert.vegalite_to_svg(
        {
            "width": width,
            "height": HEIGHT,
            "autosize": {"type": "fit", "contains": "padding"},
            "data": {"values": rows},
            "layer": layers,
            "config": CONFIG,
        },
        vl_version=VEGA_LITE,
    )
    svg = SVG.sub(r'<svg viewBox="0 0 \1 \2" role="img">', drawn)
    return Markup(svg)  # noqa: S704 - Vega escapes names and values


def figure(
    panel: Panel, names: Sequence[str], drawn: Markup, colours: Sequence[int] = range(MOST)
) -> Markup:
    """Return a panel with its title, its words and the legend.

    Args:
        panel: Which one.
        names: Of what is drawn.
        drawn: The chart.
        colours: Of the names, as numbers of the page's colours.
    """
    keys = [KEY.format(at, name) for name, at in zip(names, colours, strict=False) if name]
    if len(names) > MOST:
        keys.append(MORE.format(len(names) - MOST))
    return FIGURE.format(
        title=panel.title, words=panel.words, keys=Markup("").join(keys), drawn=drawn
    )
