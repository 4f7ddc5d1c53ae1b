"""What a person sees of a release: a picture in a terminal, or a line for each event elsewhere."""

import math
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import NamedTuple, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.status import Status
from rich.table import Table
from rich.text import Text

from .progress import Look, Pace
from .record import Event, Release

SHOWN_EVENTS = 5
"""The last ones: a terminal may be low."""
COMMAND = "make canary DO="
LINE_SECONDS = 60.0
"""Between two lines where there is no terminal."""


class Marks(NamedTuple):
    """Signs that a terminal can write."""

    done: str = "✓"
    now: str = "●"
    to_come: str = "○"
    failed: str = "✗"
    becomes: str = "→"
    space: str = "\N{NO-BREAK SPACE}"


ASCII = Marks("+", "*", "-", "x", "->", " ")


class State(NamedTuple):
    """What is shown.

    Attributes:
        release: As it is.
        seen: At the last look.
        looked: When that was, in Unix time; before the first one 0.
        now: Unix time in seconds.
    """

    release: Release
    seen: Look
    looked: float
    now: float


class Display:
    """Shows a release while it goes on.

    In a terminal it is a picture that changes in its place. Elsewhere each new event is a line with
    its time and nothing else. All times of the day are in UTC, as those of the report.
    """

    def __init__(
        self,
        name: str,
        release: Release,
        pace: Pace,
        least_requests: int = 0,
        *,
        console: Console | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Take what is shown.

        Args:
            name: Of the service.
            release: As it is now: events that it has already are no news.
            pace: How it goes on.
            least_requests: Of the canary, below which no verdict is good.
            console: Where it is shown; without it, on standard output.
            clock: Returns Unix time in seconds.
        """
        self._name, self._pace, self._least = name, pace, least_requests
        # Rich takes FORCE_COLOR, which CI sets, for a terminal.
        self._console = console or Console(force_terminal=sys.stdout.isatty())
        self._clock, self._told = clock, len(release.events)
        self._state = State(release, Look(), 0, clock())
        self._live: Live | None = None

    def __enter__(self) -> Self:
        """Begin; in a terminal the picture is there at once."""
        if self._console.is_terminal and not self._console.is_dumb_terminal:
            shown = self._picture()
            self._live = Live(shown, console=self._console, auto_refresh=False)
            self._live.start(refresh=True)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave the last picture where it is, and the terminal as it was."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def show(self, release: Release, seen: Look) -> None:
        """Show what is known now.

        Args:
            release: As it is.
            seen: At the last look; another object is another look.
        """
        now, before = self._clock(), self._state
        looked = before.looked if seen is before.seen else now
        self._state = State(release, seen, looked, now)
        if self._live is not None:
            self._live.update(self._picture(), refresh=True)
            return
        for each in release.events[self._told :]:
            line = f"{of_day(each.at)} {each.text}"
            self._console.print(line, soft_wrap=True, markup=False, highlight=False, emoji=False)
        self._told = len(release.events)

    def _picture(self) -> RenderableType:
        marks = ASCII if self._console.options.ascii_only else Marks()
        return picture(self._name, self._state, self._pace, self._least, marks)


@contextmanager
def shown_line() -> Iterator[Callable[[str], None]]:
    """Yield what shows a line: in its place in a terminal, else now and then."""
    console = Console(force_terminal=sys.stdout.isatty())
    if console.is_terminal:
        with Status("", console=console) as status:
            yield status.update
        return
    last = -LINE_SECONDS

    def show(line: str) -> None:
        nonlocal last
        if time.monotonic() - last >= LINE_SECONDS:
            last = time.monotonic()
            print(line, flush=True)

    yield show


def of_day(at: float) -> str:
    """Return the time of the day of a Unix time, in UTC."""
    return time.strftime("%H:%M:%S", time.gmtime(at))


def lasts(seconds: float) -> str:
    """Return a duration, as `1:05` or `1:00:05`."""
    minutes, rest = divmod(max(round(seconds), 0), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def picture(
    name: str, state: State, pace: Pace, least_requests: int, marks: Marks
) -> RenderableType:
    """Return what a terminal shows.

    Args:
        name: Of the service.
        state: What is known.
        pace: How the release goes on.
        least_requests: Of the canary, below which no verdict is good.
        marks: Signs that the terminal can write.
    """
    release = state.release
    end = release.events[-1].at if release.ended and release.events else state.now
    top = Table.grid(padding=(0, 2), expand=True)
    top.add_column(ratio=1, overflow="fold", style="bold")
    top.add_column(justify="right", no_wrap=True)
    top.add_row(Text(name), Text(lasts(end - release.begun)))
    versions = Text(f"{release.stable} {marks.becomes} ").append(release.version, "bold")
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="dim", no_wrap=True)
    facts.add_column(overflow="fold")
    for label, text in _facts(state, pace, least_requests, marks):
        facts.add_row(label, text)
    return Group(top, versions, _steps(release, marks), "", facts, *_events(release.events))


def _steps(release: Release, marks: Marks) -> Text:
    """Return the weights in a row: what is done, goes on and is to come."""
    stepped = release.phase in {"promoting", "promoted"}
    reached = len(release.weights) if stepped else release.step
    here = {
        "starting": (marks.to_come, "dim"),
        "rolled back": (marks.failed, "bold red"),
    }.get(release.phase, (marks.now, "bold cyan"))
    names = [*(f"{weight} %" for weight in release.weights), "promoted"]
    row = Text()
    for number, name in enumerate(names):
        done = number < reached or release.phase == "promoted"
        mark, style = (marks.done, "green") if done else here
        if number > reached:
            mark, style = marks.to_come, "dim"
        # Where a line is too short it breaks between two steps.
        row.append(f"{mark} {name}".replace(" ", marks.space), style).append("   ")
    row.rstrip()
    return row


def _facts(
    state: State, pace: Pace, least_requests: int, marks: Marks
) -> Iterator[tuple[str, Text]]:
    release = state.release
    yield "Now", _now(release)
    if release.phase == "stepping":
        yield "Verdict", _verdict(state, pace)
        if state.seen.answered:
            left = least_requests - state.seen.requests
            few = f", waits for {left:,.0f} more" if left > 0 else ""
            yield "Requests", Text(f"{state.seen.requests:,.0f} of the canary{few}")
        if not release.held:
            good = marks.now * release.good + marks.to_come * (pace.good - release.good)
            yield "In a row", Text(f"{good} {release.good} of {pace.good} good verdicts")
            yield "Next look", Text(_next(state, pace))
        yield "You can", _can(release)
    elif release.phase == "starting":
        yield "You can", Text(f"{COMMAND}abort")


def _now(release: Release) -> Text:
    step = f"step {release.step + 1} of {len(release.weights)}"
    if release.held:
        return Text(f"held in {step}: it waits for you, a bad verdict ends it", "bold yellow")
    return {
        "starting": Text("the canary starts, stable answers all requests"),
        "stepping": Text(f"{step}: the canary gets {release.weight} % of the requests"),
        "promoting": Text("it is being promoted", "green"),
        "promoted": Text("promoted: it answers all requests", "bold green"),
        "rolled back": Text(f"rolled back: {', '.join(release.reasons)}", "bold red"),
    }[release.phase]


def _verdict(state: State, pace: Pace) -> Text:
    seen, release = state.seen, state.release
    if not state.looked:
        return Text("not known yet")
    if not seen.answered:
        times = f"{release.silent} of {pace.silent} looks, then it is rolled back"
        return Text(f"Prometheus does not answer ({times})", "bold yellow")
    if seen.verdict == -1:
        return Text(f"bad: {', '.join(seen.problems)}", "bold red")
    if seen.verdict == 1:
        return Text("good", "green")
    if not release.unknown:
        return Text("not known yet")
    return Text(f"not known yet ({release.unknown} of {pace.unknown} looks, then it is held)")


def _next(state: State, pace: Pace) -> str:
    """Return when the next look is that counts: in the beginning of a step none does."""
    counts = state.release.since + pace.delay
    if state.looked:
        looks = max(math.ceil((counts - state.looked) / pace.interval), 1)
        counts = state.looked + looks * pace.interval
    wait = counts - state.now
    return f"in {lasts(wait)}" if wait > 0 else "now"


def _can(release: Release) -> Text:
    return Text(f"{COMMAND}{'resume' if release.held else 'hold'} (or promote, abort)")


def _events(events: list[Event]) -> Iterator[RenderableType]:
    if not events:
        return
    shown = Table.grid(padding=(0, 2))
    shown.add_column(style="dim", no_wrap=True)
    shown.add_column(overflow="fold")
    for each in events[-SHOWN_EVENTS:]:
        shown.add_row(of_day(each.at), Text(each.text))
    yield ""
    yield Text("Events, UTC", "dim")
    yield shown
