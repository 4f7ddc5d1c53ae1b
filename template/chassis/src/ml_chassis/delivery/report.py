"""What is left of a release: a page with what happened, why, and the plots."""

import math
import os
import time
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import NamedTuple
from urllib.parse import quote

from markupsafe import Markup

from ..monitoring import metrics
from ..monitoring.metrics import series_of
from ..monitoring.panels import RATE, Dashboard, Panel, Query, dashboards
from ..monitoring.rules import release as rules
from ..observe import draw
from ..observe.page import POINTS, View, dashboard, matching
from ..observe.prometheus import Prometheus, PrometheusError, Series
from ..reports import page
from ..slo import Slo
from .display import of_day
from .explanation import Known, explain
from .record import Event, Release

BEFORE_SECONDS = 60
"""What is drawn of the time before: stable alone."""
SCRAPE_SECONDS, SEEN_SECONDS = 15, 150
"""Between two scrapes where none was seen lately, and how long that is: two of a minute."""
LINK = Markup('<a href="{}">{}</a>')
OF_JOB = 'job=~"$job"'
BAD_REQUESTS = {
    "errors": "Failed requests",
    "latency": "Slow requests",
    "degraded": "Degraded requests",
    "refused": "Refused requests",
}
LABELLED = {"quality": "Loss", "value": "Value of a decision"}


def write(
    path: Path, server: Prometheus, stated: Slo, job: str, release: Release, title: str = ""
) -> Path:
    """Write a page about a release, with all that Prometheus knows of it; return its path.

    Where Prometheus does not answer the page says so, and has no plots.

    Args:
        path: Of the page.
        server: Prometheus.
        stated: The objectives.
        job: How Prometheus calls the service.
        release: As it ended, or is now.
        title: What stands in the title before the outcome; without it, the job.
    """
    about = (server, stated, job, release)
    try:
        why, plots = [*_why(*about)], [*_plots(*about)]
    except PrometheusError as error:
        why, plots = [], [page.paragraph(f"There are no plots. {error}")]
    events = [page.heading("Events"), _table(release.events)]
    parts = [page.paragraph(_summary(release)), *why, *events, *plots]
    text = page.page(f"{title or job}: {outcome(release)}", release.phase == "promoted", parts)
    page.write(path, text)
    return path


def outcome(release: Release) -> str:
    """Return what became of a release."""
    words = {
        "starting": "is starting",
        "stepping": f"gets {release.weight} % of the requests",
        "promoting": "is being promoted",
        "promoted": "was promoted",
        "rolled back": f"was rolled back: {', '.join(release.reasons)}",
    }
    return f"{release.version} {words[release.phase]}"


def ended(release: Release) -> float:
    """Return when it ended, or now, in Unix time."""
    return release.events[-1].at if release.ended and release.events else time.time()


def reached(release: Release) -> int:
    """Return the percent of the requests that the canary got last, before it ended."""
    return next((each.weight for each in reversed(release.events) if each.weight), 0)


def _summary(release: Release) -> str:
    lasted = draw.text(max(round(ended(release) - release.begun), 1), "s")
    words = f"It ended after {lasted}" if release.ended else f"It began {lasted} ago"
    return (
        f"{words}, beside {release.stable}; the canary got {reached(release)} % of the requests "
        "at last. Times are in UTC."
    )


def _why(server: Prometheus, stated: Slo, job: str, release: Release) -> Iterator[Markup]:
    # A sample of the same moment may be a little younger than the event.
    end = ended(release) + 1
    known = Known(server, stated, job, end, end - release.begun)
    if reasons := release.reasons or known.problems():
        yield page.heading("Problems")
    for reason in reasons:
        yield page.paragraph(explain(known, reason))


def _table(events: Sequence[Event]) -> Markup:
    rows = [(of_day(each.at), f"{each.weight} %", each.text) for each in events]
    return page.table(("at", "weight", "what"), rows)


def _plots(server: Prometheus, stated: Slo, job: str, release: Release) -> Iterator[Markup]:
    view = view_of(server, job, release.begun, ended(release))
    weight = draw.lines(WEIGHT, [[_weights(release, view)]], view.start, view.end, view.step)
    known = Dashboard("release", _sections(stated, view.end - release.begun), {})
    yield from dashboard(server, known, view, {"Requests": [weight] if weight else []})


def view_of(server: Prometheus, job: str, begun: float, ended: float) -> View:
    """Return what is looked at: the last value of a line is that of the end, which matters most.

    Raises:
        PrometheusError: there is no answer.
    """
    end = math.ceil(ended)
    seconds = end - begun + BEFORE_SECONDS
    view = View(job, end - seconds, end, "", _scrape_seconds(server, job, end))
    return view._replace(start=end - view.step * math.ceil(seconds / view.step))


WEIGHT = Panel(
    "Weight of the canary",
    "Share of the requests that it is given.",
    (Query("", "canary"),),
    "percentunit",
)


def _weights(release: Release, view: View) -> Series:
    """Return the weight over time, with a step at each event."""
    events = [(each.at, each.weight / 100) for each in release.events]
    begun = [(view.start, 0.0), *events]
    points = list[tuple[float, float]]()
    for (at, weight), (until, _) in zip(begun, [*events, (view.end, 0.0)], strict=True):
        many = max(int((until - at) / view.step), 0) + 1
        points += [(at + part * view.step, weight) for part in range(many)]
        points.append((until - 0.001, weight))
    return Series({}, points if not release.ended else [*points, (view.end, events[-1][1])])


def _scrape_seconds(server: Prometheus, job: str, at: float) -> int:
    """Return the seconds between two scrapes, by the times of the last samples."""
    series = f"timestamp({series_of(metrics.START)}{matching({'job': job})})"
    gaps = [
        later - earlier
        for each in server.ask_range(series, at - SEEN_SECONDS, at, 1)
        for earlier, later in pairwise(sorted({value for _, value in each.points}))
    ]
    return max(round(median(gaps)), 1) if gaps else SCRAPE_SECONDS


def _sections(stated: Slo, seconds: float) -> dict[str, tuple[Panel, ...]]:
    """Return the panels: those of the dashboards where they fit, with tracks as lines."""
    known = panels(stated)
    minutes = f"Of the last {stated.release.window_minutes} minutes"
    return {
        "Requests": (
            by_track(
                "Requests by track",
                "All routes and statuses.",
                f"rate({series_of(metrics.REQUESTS)}{{{OF_JOB}}}[{RATE}])",
            )._replace(unit="reqps"),
        ),
        "Verdict": (
            known["Verdict on the canary"]._replace(kind="lines"),
            known["Problems of the canary"],
            known["Requests of the canary"]._replace(
                kind="lines", limit=stated.release.least_requests
            ),
        ),
        "Bad requests": (
            *(
                by_track(
                    title, f"{minutes}.", f'{rules.SHARE}{{{OF_JOB},reason="{reason}"}}'
                )._replace(unit="percentunit")
                for reason, title in BAD_REQUESTS.items()
            ),
            known["Difference in standard errors"],
        ),
        "Predictions": (
            _at_last(known["Predictions of both"], seconds),
            known["Index of the predictions and its limit"],
        ),
        "Labels": tuple(
            by_track(title, f"{minutes}, mean.", f'{rules.MEAN}{{{OF_JOB},reason="{reason}"}}')
            for reason, title in LABELLED.items()
        ),
        "Replicas": (memory(stated),),
    }


def panels(stated: Slo) -> dict[str, Panel]:
    """Return the panels of the dashboard of the service, by their titles."""
    return {
        panel.title: panel
        for each in dashboards(stated)
        if each.name == "service"
        for section in each.sections.values()
        for panel in section
    }


def by_track(title: str, words: str, expr: str) -> Panel:
    """Return a panel of an expression, with the tracks as lines."""
    return Panel(title, words, (Query(f"sum by (track) ({expr})", "{{track}}"),))


def memory(stated: Slo) -> Panel:
    """Return a panel of the largest replica of each track."""
    panel = panels(stated)["Memory"]
    query = Query(f"max by (track) ({panel.queries[0].expr})", "{{track}}")
    return panel._replace(
        words="The largest replica of each track, and the limit.", queries=(query,)
    )


def _at_last(panel: Panel, seconds: float) -> Panel:
    """Return a panel that shows the last values of a release: at its end the canary is gone."""
    step = max(round(seconds / POINTS), 1)
    past = f"[{max(round(seconds), step)}s:{step}s]"
    asked = [
        query._replace(expr=f"last_over_time(({query.expr}){past})") for query in panel.queries
    ]
    return panel._replace(queries=tuple(asked))


class Entry(NamedTuple):
    """A release in a list.

    Attributes:
        name: Of the model, or of what was tried.
        wrong: What was wrong with it; "" is nothing.
        release: As it ended.
        requests: That clients sent meanwhile.
        failed: How many of them failed.
        page: Its own page.
    """

    name: str
    wrong: str
    release: Release
    requests: int
    failed: int
    page: Path


def index(path: Path, entries: Sequence[Entry], title: str = "Releases") -> Path:
    """Write a page that lists releases, with links to their own pages; return its path.

    Its title is good where those, and only those, were promoted with which nothing was wrong.

    Args:
        path: Of the page.
        entries: What is listed, in this order.
        title: What stands in the title before the outcome.
    """
    promoted = sum(each.release.phase == "promoted" for each in entries)
    rolled_back = sum(each.release.phase == "rolled back" for each in entries)
    requests, failed = sum(each.requests for each in entries), sum(each.failed for each in entries)
    good = all((each.release.phase == "promoted") == (not each.wrong) for each in entries)
    words = f"Of {requests:,} requests of clients, {failed:,} failed."
    head = ("model", "what was wrong", "outcome", "why", "after", "weight", "requests", "failed")
    table = page.table(head, [_entry(path, each) for each in entries])
    found = f"{title}: {promoted} promoted, {rolled_back} rolled back"
    page.write(path, page.page(found, good, [page.paragraph(words), table]))
    return path


def _entry(path: Path, entry: Entry) -> tuple[str, ...]:
    release = entry.release
    where = Path(os.path.relpath(entry.page, path.parent)).as_posix()
    expected = (release.phase == "promoted") == (not entry.wrong)
    return (
        LINK.format(quote(where), entry.name),
        entry.wrong or "nothing",
        page.state(expected, release.phase, release.phase),
        ", ".join(release.reasons),
        f"{ended(release) - release.begun:,.0f} s",
        f"{reached(release)} %",
        f"{entry.requests:,}",
        f"{entry.failed:,} ({_share(entry)})",
    )


def _share(entry: Entry) -> str:
    return draw.text(entry.failed / entry.requests if entry.requests else 0, "percentunit")
