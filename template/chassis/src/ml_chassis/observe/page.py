"""The pages: what fires, the panels of a dashboard, the drift of each feature."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from types import MappingProxyType
from typing import NamedTuple

from markupsafe import Markup

from ..monitoring.panels import Dashboard, Panel, Query, choose
from ..monitoring.rules import drift
from ..reports.page import NOTHING, charts, heading, paragraph, table
from . import draw, runbook
from .prometheus import Alert, Prometheus, QueryError, Sample

POINTS = 120
"""Values of a line."""
ALERT = Markup('<p><span class="state {}">{}</span> <b>{}</b></p>')
LIST = Markup("<ul>{}</ul>")
ITEM = Markup("<li>{}, since {} UTC.</li>")
FOLDED = Markup("<details><summary>{}</summary>{}</details>")


class View(NamedTuple):
    """What is looked at.

    Attributes:
        job: How Prometheus calls the service.
        start: Unix time in seconds.
        end: Likewise.
        feature: The one of which the drift is drawn over time.
        scrape_seconds: Between two scrapes.
    """

    job: str
    start: float
    end: float
    feature: str
    scrape_seconds: int

    @property
    def step(self) -> int:
        """Seconds between two values of a line."""
        return max(math.ceil((self.end - self.start) / POINTS), self.scrape_seconds)

    def choose(self, expr: str) -> str:
        """Return an expression about this."""
        # As Grafana's: four scrapes at least, and no value between two points is left out.
        rate = max(4 * self.scrape_seconds, self.step)
        return choose(expr, self.job, self.feature, f"{rate}s")


def what_fires(alerts: Sequence[Alert]) -> Iterator[Markup]:
    """Yield the alerts by their names, and once what the runbook says of each."""
    sections = runbook.sections()
    for name in dict.fromkeys(each.name for each in alerts):
        own = [each for each in alerts if each.name == name]
        for (fires, severity), found in groupby(own, lambda each: each[:2]):
            yield ALERT.format(*(("missed", severity) if fires else ("unknown", "pending")), name)
            yield LIST.format(NOTHING.join(_item(each) for each in found))
        if name in sections:
            yield runbook.render(sections[name], own[0].labels)
    if not alerts:
        yield paragraph("No alert fires, and none is pending.")


def _item(alert: Alert) -> Markup:
    return ITEM.format(alert.summary.rstrip("."), alert.since)


def dashboard(
    server: Prometheus,
    shown: Dashboard,
    view: View,
    before: Mapping[str, Sequence[Markup]] = MappingProxyType({}),
) -> Iterator[Markup]:
    """Yield the panels of a dashboard, by sections; at last those that have no data.

    Args:
        server: Prometheus.
        shown: The dashboard.
        view: What is looked at.
        before: Charts that stand before the others of a section, by its title.

    Raises:
        PrometheusError: there is no answer.
    """
    empty = list[Panel]()
    for name, panels in shown.sections.items():
        drawn = [(panel, _panel(server, panel, view)) for panel in panels]
        empty += [panel for panel, figure in drawn if figure is None]
        figures = (figure for _, figure in drawn if figure is not None)
        if found := [*before.get(name, ()), *figures]:
            yield heading(name)
            yield charts(found)
    if empty:
        words = table((), [(panel.title, panel.words) for panel in empty])
        yield FOLDED.format(f"{len(empty)} panels have no data", words)


def _panel(server: Prometheus, panel: Panel, view: View) -> Markup | None:
    asked = [view.choose(query.expr) for query in panel.queries]
    try:
        if panel.kind == "lines":
            when = (view.start, view.end, view.step)
            return draw.lines(panel, [server.ask_range(expr, *when) for expr in asked], *when)
        drawn = {"number": draw.numbers, "bars": draw.bars}[panel.kind]
        return drawn(panel, [server.ask(expr, view.end) for expr in asked])
    except QueryError as error:
        return draw.figure(panel, (), paragraph(str(error)))


class Drift(NamedTuple):
    """How far a feature lies from where it lay in training.

    Attributes:
        feature: Which one.
        psi: Its population stability index.
        limit: From which on it has drifted.
    """

    feature: str
    psi: float
    limit: float


Drifts = Mapping[tuple[str, str], Sequence[Drift]]
"""All features by track and version, those that have drifted most first."""


def drifts(server: Prometheus, view: View) -> Drifts:
    """Return how far all features lie from where they lay in training.

    Raises:
        PrometheusError: there is no answer.
    """
    about = matching({"job": view.job})
    limits = {_place(each): each.value for each in server.ask(f"{drift.LIMIT}{about}", view.end)}
    found = dict[tuple[str, str], list[Drift]]()
    for each in server.ask(f"{drift.PSI}{about}", view.end):
        track, version, feature = place = _place(each)
        if place in limits:
            one = Drift(feature, each.value, limits[place])
            found.setdefault((track, version), []).append(one)
    for features in found.values():
        features.sort(key=lambda one: -one.psi / one.limit)
    return found


def report(server: Prometheus, view: View, found: Drifts) -> Iterator[Markup]:
    """Yield, for each version that is served, both distributions of each feature.

    Raises:
        PrometheusError: there is no answer.
    """
    if not found:
        yield paragraph("No rows were asked yet, or the model was trained without a reference.")
    for (track, version), features in found.items():
        labels = {"job": view.job, "track": track, "version": version}
        rows = server.ask(f"min({drift.ROWS}{matching(labels)})", view.end)
        yield heading(f"{version}, {track}")
        counted = rows[0].value if rows else 0
        few = f"; below {drift.LEAST_ROWS} nobody is told" if counted < drift.LEAST_ROWS else ""
        yield paragraph(f"{counted:,.0f} rows{few}.")
        yield charts(_both(server, one, labels, view.end) for one in features)


def _both(server: Prometheus, one: Drift, labels: Mapping[str, str], at: float) -> Markup:
    drifted = " has drifted" if one.psi > one.limit else ""
    panel = Panel(
        f"{one.feature}{drifted}",
        f"Population stability index {one.psi:.2f}, limit {one.limit:.2f}.",
        (Query(drift.SHARE, "now"), Query(drift.TRAINED, "training")),
        "percentunit",
        "bars",
    )
    where = matching({**labels, "feature": one.feature})
    found = [server.ask(f"{query.expr}{where}", at) for query in panel.queries]
    return draw.bars(panel, found) or NOTHING


def matching(labels: Mapping[str, str]) -> str:
    """Return how a question names the series that have these labels."""
    return (
        "{"
        + ",".join(
            f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in labels.items()
        )
        + "}"
    )


def _place(sample: Sample) -> tuple[str, str, str]:
    track, version, feature = (
        sample.labels.get(name, "") for name in ("track", "version", "feature")
    )
    return track, version, feature
