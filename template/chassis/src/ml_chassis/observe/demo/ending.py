"""The page that is left of the story: what fired when, and the plots."""

import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from markupsafe import Markup

from ...monitoring import panels
from ...registry import changes
from ...reports import page
from ...slo import Slo
from .. import draw
from ..page import View, dashboard, drifts, report
from .people import Told
from .world import SCRAPE_SECONDS, World

PAGE = Path("build/observe/story.html")
PREFIX = "ModelService"
"""Of the names of all alerts; a chart has no room for it."""
COLOURS = {"page": 5, "ticket": 1}
"""Of receivers, among those of a page: red for what wakes somebody, orange for what can wait."""


class Part(NamedTuple):
    """A part of the story.

    Attributes:
        at: Unix time in seconds when it began.
        text: What happens.
    """

    at: float
    text: str


def write(world: World, stated: Slo, parts: Sequence[Part], asked: str, failed: str) -> Path:
    """Write it while all still runs; return its path.

    Args:
        world: What runs.
        stated: The objectives.
        parts: What happened.
        asked: What became of the requests.
        failed: Why it did not end as it should, or "".

    Raises:
        PrometheusError: there is no answer.
    """
    told, begun, end = [*world.people.told], parts[0].at, time.time()
    name = world.scene.copy.project.name
    feature = world.scene.change.feature
    view = View(stated.job or name, parts[1].at, end, feature, SCRAPE_SECONDS)
    content = [
        page.paragraph(f"{failed} A minute of the rules was a second. {asked}".strip()),
        _timeline(parts, told, end),
        page.table(("after", "who", "what"), _lines(parts, told, world.retrainer.last())),
    ]
    for moment in (*_promoted(world), end):
        then = view._replace(end=moment)
        content.append(page.heading(f"Drift after {clock(moment - begun)}"))
        content += report(world.prometheus, then, drifts(world.prometheus, then))
    for shown in panels.dashboards(stated):
        content.append(page.heading(shown.name.capitalize()))
        content += dashboard(world.prometheus, shown, view)
    title = f"{name}: {feature} drifted, and the model was retrained"
    if failed:
        title = f"{name}: the story stopped after {clock(end - begun)}"
    page.write(PAGE, page.page(title, not failed, content))
    return PAGE


def _promoted(world: World) -> Iterator[float]:
    """Yield the last moment of the first champion, when there is another one."""
    promotion, *before = changes(world.scene.copy.models)
    if before:
        yield promotion.when.timestamp() - SCRAPE_SECONDS


def clock(seconds: float) -> str:
    """Return minutes and seconds."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02}"


def _timeline(parts: Sequence[Part], told: Sequence[Told], end: float) -> Markup:
    begun = parts[0].at
    spans = list[draw.Span]()
    for number, each in enumerate(told):
        if each.fires:
            last = next((other.at for other in told[number:] if other.ends(each)), end)
            name = each.about.removeprefix(PREFIX)
            spans.append(draw.Span(name, each.receiver, each.at - begun, last - begun))
    numbered = [f"{number}: {each.text}" for number, each in enumerate(parts, start=1)]
    marks = [each.at - begun for each in parts]
    return draw.timeline("What fired when", " ".join(numbered), spans, marks, COLOURS)


def _lines(
    parts: Sequence[Part], told: Sequence[Told], retraining: Mapping[str, Any]
) -> Iterator[tuple[str, str, str]]:
    lines = [(each.at, "", each.text) for each in parts]
    if ended := retraining.get("ended_at"):
        at = datetime.fromisoformat(ended).timestamp()
        what = f"{retraining['outcome'].replace('_', ' ')}: {retraining['reason']}"
        lines.append((at, "retrainer", what))
    lines += [(each.at, each.receiver, each.sentence) for each in told]
    for at, who, what in sorted(lines):
        yield clock(at - parts[0].at), who, what
