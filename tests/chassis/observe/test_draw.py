"""Panels as charts: what is read off them, and what no name can do to a page."""

import math
import re

import pytest

from ml_chassis.monitoring.panels import Panel, Query, Unit
from ml_chassis.observe import draw
from ml_chassis.observe.prometheus import Sample, Series

QUERY = Query("x", "{{name}} now")
PANEL = Panel("Latency", "Of requests.", (QUERY,), "s", limit=0.05)
ODD = '<script>alert("1")</script> & {{x}}'


def line(name: str, *values: float) -> Series:
    return Series({"name": name}, [(1_700_000_000.0 + 60 * at, v) for at, v in enumerate(values)])


def lines(panel: Panel, found: list[list[Series]], minutes: int = 60) -> str | None:
    start = 1_700_000_000.0
    return draw.lines(panel, found, start, start + 60 * minutes, 60)


def texts(chart: str) -> list[str]:
    """Return what is written in a chart, in its order."""
    return re.findall("<text[^>]*>([^<]*)</text>", chart)


def test_a_line_has_its_name_its_unit_and_its_limit() -> None:
    chart = lines(PANEL, [[line("a", 0.01, 0.02), line("b", 0.02, 0.01)]]) or ""

    assert "<b>Latency</b><p>Of requests.</p>" in chart
    assert re.findall('class="key c(.)">(.*?)<', chart) == [("0", "a now"), ("1", "b now")]
    assert {"0 ms", "20 ms", "40 ms"} <= {*texts(chart)}
    assert chart.count('stroke="var(--c0)"') == chart.count('stroke="var(--c1)"') == 1
    assert 'stroke="var(--bad)"' in chart
    without = lines(PANEL._replace(limit=None), [[line("a", 0.01, 0.02)]]) or ""
    assert "--bad" not in without


def test_the_largest_of_many_lines_are_drawn_and_the_others_counted() -> None:
    many = [line(f"n{at}", at, at) for at in range(12)]
    chart = lines(PANEL, [many]) or ""

    assert re.findall('class="key c.">(.*?) now<', chart) == [f"n{at}" for at in range(11, 3, -1)]
    assert "and 4 smaller ones" in chart


def test_times_are_in_utc() -> None:
    chart = lines(PANEL, [[line("a", *[1.0] * 60)]]) or ""
    assert "22:30" in texts(chart)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_no_number_is_not_drawn(value: float) -> None:
    sample = Sample({"bin": "a", "name": "a"}, value)
    assert lines(PANEL, [[line("a", value)]]) is None
    assert draw.bars(PANEL, [[sample]]) is None
    assert draw.numbers(PANEL, [[sample]]) is None
    assert lines(PANEL, [[]]) is None
    kept = lines(PANEL, [[line("a", 1.0, value, 2.0)]])
    assert kept
    assert "NaN" not in kept


def test_a_line_is_broken_where_nothing_was_seen_and_lines_of_a_name_are_two() -> None:
    gap = Series({"name": "a"}, [(1_700_000_000.0 + at, 1.0) for at in (0, 60, 600, 660)])
    assert paths(lines(PANEL, [[line("a", 1, 2, 3)]])) == 1
    assert paths(lines(PANEL, [[gap]])) == 2
    assert paths(lines(PANEL, [[line("a", 1, 1), line("a", 2, 2)]])) == 2


def paths(chart: str | None) -> int:
    return (chart or "").count('aria-roledescription="line mark"')


def test_a_chart_shows_all_of_the_time_and_zero_is_at_the_bottom() -> None:
    memory = PANEL._replace(unit="bytes", limit=2.0**29)
    assert {"0 MiB", "100 MiB", "500 MiB"} <= {*texts(lines(memory, [[line("a", 2.0**27)]]) or "")}
    chart = lines(PANEL._replace(limit=None), [[line("a", 0, 0)]], 180) or ""
    assert [each for each in texts(chart) if ":" in each][-1] == "01:00"
    (start,) = re.findall(r'aria-roledescription="line mark"[^>]*d="M([\d.]+),([\d.]+)', chart)
    assert float(start[1]) > 0.75 * draw.HEIGHT


def test_bins_stand_in_their_order_and_without_their_signs() -> None:
    bins = ["missing", "above 10", "2 to 10", "-5 to 2", "up to -5", "other"]
    chart = draw.bars(PANEL, [[Sample({"bin": each}, 0.5) for each in bins]]) or ""
    shown = [each for each in texts(chart) if each in bins]
    assert shown == ["up to -5", "-5 to 2", "2 to 10", "above 10", "missing", "other"]

    categories = ["= New to York", "= B", "missing", "= A"]
    chart = draw.bars(PANEL, [[Sample({"bin": each}, 0.5) for each in categories]]) or ""
    shown = [each for each in texts(chart) if not re.match(r"[\d.]+ m?s", each)]
    assert shown == ["A", "B", "New to York", "missing"]


def test_two_distributions_stand_side_by_side() -> None:
    panel = Panel("x", "", (Query("a", "now"), Query("b", "training")), "percentunit", "bars")
    both = [[Sample({"bin": "= a"}, 0.25)], [Sample({"bin": "= a"}, 0.5)]]
    chart = draw.bars(panel, both) or ""
    now, training = (chart.index(f'fill="var(--c{at})"') for at in range(2))
    assert now < training
    assert "50 %" in texts(chart)


@pytest.mark.parametrize(
    ("value", "unit", "said"),
    [
        *((90_061, "s", "1 d 1 h"), (61, "s", "1 min 1 s"), (0.0123, "s", "12.3 ms")),
        *((0.0123, "percentunit", "1.23 %"), (2**28, "bytes", "256 MiB")),
        *((12_345, "short", "12,345"), (2.5, "reqps", "2.5/s")),
    ],
)
def test_numbers_are_said_with_their_unit(value: float, unit: Unit, said: str) -> None:
    panel = PANEL._replace(unit=unit, kind="number", limit=None)
    assert f'<p class="number ">{said} <span>' in (
        draw.numbers(panel, [[Sample({"name": "a"}, value)]]) or ""
    )


def test_a_number_from_its_limit_on_is_missed() -> None:
    shown = draw.numbers(PANEL, [[Sample({"name": "a"}, each) for each in (0.049, 0.05)]]) or ""
    assert re.findall('class="number (.*?)"', shown) == ["met", "missed"]


def test_a_single_value_is_a_dot() -> None:
    gap = Series({"name": "a"}, [(1_700_000_000.0 + at, 1.0) for at in (0, 600, 660)])
    for found, dots in ((line("a", 1), 1), (line("a", 1, 2), 0), (gap, 1)):
        assert (lines(PANEL, [[found]]) or "").count('aria-roledescription="circle"') == dots


def test_thousands_at_the_axis_are_written_as_people_do() -> None:
    panel = PANEL._replace(unit="short", limit=None)
    shown = {*texts(lines(panel, [[line("a", 1_000, 3_000)]]) or "")}
    assert {"0", "1,000", "3,000"} <= shown


def test_a_legend_without_its_labels_leaves_nothing_of_it() -> None:
    assert draw.legend("{{source}}: {{field}}", {}) == ""
    assert draw.legend("{{source}}: {{field}}", {"source": "weather"}) == "weather"


def test_what_goes_on_has_the_colour_of_its_kind() -> None:
    spans = [draw.Span("a", kind, 0, 1) for kind in ("page", "ticket", "other")]
    chart = draw.timeline("x", "", spans, [], {"page": 5, "ticket": 1})

    keys = re.findall(r'class="key c(\d)">(\w+)<', chart)
    assert keys == [("2", "other"), ("5", "page"), ("1", "ticket")]
    assert [chart.count(f'fill="var(--c{at})"') for at in (1, 2, 5, 0)] == [1, 1, 1, 0]


def test_no_name_becomes_html() -> None:
    series = Series({"name": ODD}, [(0.0, 1.0), (60.0, 2.0)])
    sample = Sample({"name": ODD, "bin": ODD}, 1.0)
    span = draw.Span(ODD, ODD, 0, 1)
    panel = PANEL._replace(title=ODD, words=ODD)
    for drawn in (
        lines(panel, [[series]]),
        draw.bars(panel, [[sample]]),
        draw.numbers(panel, [[sample]]),
        draw.timeline(ODD, ODD, [span], [0.5], {}),
    ):
        assert drawn
        assert "<script" not in drawn
        assert "alert" in drawn
