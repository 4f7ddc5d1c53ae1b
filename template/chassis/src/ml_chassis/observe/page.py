"""The pages: what fires, the panels of a dashboard, the drift of each feature."""

import re
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from markupsafe import Markup

from ..monitoring.panels import Dashboard, Panel, Query, choose
from ..monitoring.rules import drift
from ..monitoring.rules.rule import RUNBOOK
from ..reports.page import NOTHING, charts, heading, paragraph, table
from . import draw
from .prometheus import Alert, Prometheus, Sample

POINTS = 120
"""Values of a line."""
SECTION = re.compile(r"^## (\w+)\n(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
MOST = 5
"""Things of which one alert tells."""
ALERT = Markup(
    '<p><span class="state {kind}">{severity}</span> <b>{name}</b> since {since} UTC</p>'
    "<ul>{told}</ul>{what_to_do}"
)
PRE = Markup("<pre>{}</pre>")
FOLDED = Markup("<details><summary>{}</summary>{}</details>")


class View(NamedTuple):
    """What is looked at.

    Attributes:
        job: How Prometheus calls the service.
        start: Unix time in seconds.
        end: Likewise.
        feature: The one of which the drift is drawn over time.
        scrape: Seconds between two looks of Prometheus.
    """

    job: str
    start: float
    end: float
    feature: str
    scrape: int

    @property
    def step(self) -> float:
        """Seconds between two values of a line."""
        return max((self.end - self.start) / POINTS, self.scrape)

    def choose(self, expr: str) -> str:
        """Return an expression about this."""
        # As Grafana's: four looks at least, and no value between two points is left out.
        rate = max(4 * self.scrape, round(self.step))
        return choose(expr, self.job, self.feature, f"{rate}s")


def title(name: str, alerts: Sequence[Alert]) -> str:
    """Return what is so now, in a sentence."""
    firing = sorted({each.name for each in alerts if each.fires})
    if not firing:
        return f"{name}: no alert fires"
    return f"{name}: {', '.join(firing)}"


def what_fires(alerts: Sequence[Alert]) -> Iterator[Markup]:
    """Yield the alerts, and what the runbook says of those that fire."""
    sections = runbook()
    for _, found in groupby(alerts, lambda each: (each.fires, each.severity, each.name)):
        first, *others = found
        told = [Markup("<li>{}</li>").format(each.summary) for each in (first, *others)[:MOST]]
        if len(others) >= MOST:
            told.append(Markup("<li>and {} more</li>").format(len(others) + 1 - MOST))
        yield ALERT.format(
            kind="missed" if first.fires else "unknown",
            severity=first.severity if first.fires else "pending",
            name=first.name,
            since=first.since,
            told=NOTHING.join(told),
            what_to_do=FOLDED.format("What to do", PRE.format(sections[first.name]))
            if first.name in sections
            else NOTHING,
        )


def runbook(path: Path = Path(RUNBOOK)) -> dict[str, str]:
    """Return the sections of the runbook by the name of their alert; where there is none, none."""
    try:
        written = path.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return {}
    return {name: said.strip() for name, said in SECTION.findall(written)}


def dashboard(server: Prometheus, shown: Dashboard, view: View) -> Iterator[Markup]:
    """Yield the panels of a dashboard, by sections; at last those that have no data.

    Raises:
        PrometheusError: there is no answer.
    """
    empty = list[Panel]()
    for name, panels in shown.sections.items():
        drawn = [(panel, _panel(server, panel, view)) for panel in panels]
        empty += [panel for panel, figure in drawn if figure is None]
        if found := [figure for _, figure in drawn if figure is not None]:
            yield heading(name)
            yield charts(found)
    if empty:
        words = table((), [(panel.title, panel.words) for panel in empty])
        yield FOLDED.format(f"{len(empty)} panels have no data", words)


def _panel(server: Prometheus, panel: Panel, view: View) -> Markup | None:
    asked = [view.choose(query.expr) for query in panel.queries]
    if panel.kind == "lines":
        when = (view.start, view.end, view.step)
        return draw.lines(panel, [server.ask_range(expr, *when) for expr in asked])
    drawn = {"number": draw.numbers, "bars": draw.bars}[panel.kind]
    return drawn(panel, [server.ask(expr, view.end) for expr in asked])


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


def drifts(server: Prometheus, view: View) -> dict[tuple[str, str], list[Drift]]:
    """Return all features by track and version, those with the largest index first.

    Raises:
        PrometheusError: there is no answer.
    """
    about = f'{{job="{view.job}"}}'
    limits = {_place(each): each.value for each in server.ask(f"{drift.LIMIT}{about}", view.end)}
    found = dict[tuple[str, str], list[Drift]]()
    for each in server.ask(f"{drift.PSI}{about}", view.end):
        track, version, feature = _place(each)
        if (track, version, feature) in limits:
            one = Drift(feature, each.value, limits[track, version, feature])
            found.setdefault((track, version), []).append(one)
    for features in found.values():
        features.sort(key=lambda one: -one.psi / one.limit)
    return found


def report(server: Prometheus, view: View) -> Iterator[Markup]:
    """Yield, for each version that is served, both distributions of each feature.

    Raises:
        PrometheusError: there is no answer.
    """
    found = drifts(server, view)
    if not found:
        yield paragraph("No rows were asked yet, or the model was trained without a reference.")
    for (track, version), features in found.items():
        where = f'{{job="{view.job}",track="{track}",version="{version}",feature="'
        rows = server.ask(f'min({drift.ROWS}{{job="{view.job}",version="{version}"}})', view.end)
        yield heading(f"{version}, {track}")
        yield paragraph(
            f"{rows[0].value if rows else 0:,.0f} rows; below {drift.LEAST_ROWS} nobody is told."
        )
        yield charts(_both(server, one, where, view.end) for one in features)


def _both(server: Prometheus, one: Drift, where: str, at: float) -> Markup:
    drifted = " has drifted" if one.psi > one.limit else ""
    panel = Panel(
        f"{one.feature}{drifted}",
        f"Population stability index {one.psi:.2f}; from {one.limit:.2f} on it has drifted.",
        (Query(drift.SHARE, "now"), Query(drift.TRAINED, "training")),
        "percentunit",
        "bars",
    )
    found = [server.ask(f'{query.expr}{where}{one.feature}"}}', at) for query in panel.queries]
    return draw.bars(panel, found) or Markup("")


def _place(sample: Sample) -> tuple[str, str, str]:
    return sample.labels["track"], sample.labels["version"], sample.labels["feature"]
