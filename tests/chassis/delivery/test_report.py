"""The page that is left of a release, of what a real Prometheus knows."""

import math
import re
import time
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

from browser import look
from chassis.delivery import releases
from chassis.delivery.exposed import Canary, Replica
from chassis.delivery.releases import CANARY, STABLE
from ml_chassis import slo
from ml_chassis.delivery import progress, report
from ml_chassis.delivery.progress import Look, rolled_back, started
from ml_chassis.delivery.record import Release
from ml_chassis.delivery.report import Entry
from ml_chassis.monitoring import metrics, rules
from ml_chassis.monitoring.rules.release import PSI
from ml_chassis.observe.demo.quicker import quicker
from ml_chassis.observe.page import POINTS
from ml_chassis.observe.prometheus import Prometheus, Sample, Series
from prometheus import running_prometheus
from servers import running_server
from waiting import wait_for

JOB, START = "flights", metrics.series_of(metrics.START)
STATED = slo.read().model_copy(update={"job": JOB})
REASONS = (
    *("degraded", "errors", "latency", "memory", "predictions"),
    *("quality", "refused", "value"),
)
PHONE = 360
AWAY = Prometheus("http://127.0.0.1:1")


class Released(NamedTuple):
    """A release that was rolled back, and the page about it.

    Attributes:
        release: As it ended.
        page: About it.
        promoted: A page about it as if a person had promoted it, when the canary was gone.
    """

    release: Release
    page: str
    promoted: str


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Released:
    """Judge a bad canary by rules whose minutes are seconds, and take it away."""
    folder = tmp_path_factory.mktemp("released")
    written = quicker(yaml.safe_load(rules.text(STATED)), 60)
    needed = [each for each in written["groups"] if each["name"] == "model_service_release"]
    begun = Release(version=CANARY, stable=STABLE, weights=[5, 50], begun=time.time())
    with ExitStack() as running:
        stable = running.enter_context(running_server(Replica))
        beside = running.enter_context(ExitStack())
        targets = {JOB: [stable, beside.enter_context(running_server(Canary))]}
        server = running.enter_context(running_prometheus(folder, targets, {"groups": needed}))
        stepping, seen = started(begun, time.time()), Look()

        def is_judged() -> bool:
            nonlocal seen
            seen = progress.look(server, JOB, targets[JOB][1].removeprefix("http://"))
            return seen.problems == REASONS

        wait_for(is_judged, "the canary has every problem")
        assert (seen.verdict, seen.scraped) == (-1, True)
        release = rolled_back(stepping, time.time(), seen.problems)
        beside.close()
        gone = f'{START}{{track="canary"}}'
        wait_for(lambda: not server.ask(f"{gone} or {PSI}"), "nothing of the canary is left")
        promoted = stepping.with_event(time.time(), "Promoted.", phase="promoted")
        pages = [
            report.write(folder / "a" / "page.html", server, STATED, JOB, each).read_text("utf-8")
            for each in (release, promoted)
        ]
    return Released(release, *pages)


@pytest.mark.slow
def test_the_title_says_how_it_ended_and_the_table_what_happened(released: Released) -> None:
    title = f"{JOB}: {CANARY} was rolled back: {', '.join(REASONS)}"
    assert f'<h1 class="missed">{title}</h1>' in released.page
    for event in released.release.events:
        assert f"<td>{event.weight} %</td><td>{event.text}</td>" in released.page
    assert "the canary got 5 % of the requests at last" in released.page


@pytest.mark.slow
def test_each_problem_is_explained_by_its_numbers(released: Released) -> None:
    said = re.findall("<p>((?:[A-Z][a-z]+): .*?)</p>", released.page)
    assert [each.partition(":")[0].lower() for each in said] == list(REASONS)
    by_reason = dict(zip(REASONS, said, strict=True))
    share = r"(22|23|25)(\.\d)? % of [\d,]+ requests to the canary failed, and 0 % of [\d,]+ to"
    assert re.search(share, by_reason["errors"])
    assert re.search(r"took longer than 50 ms, and 1 % of", by_reason["latency"])
    assert re.search(r"differ by \d+\.\d standard errors; the limits are 4.5", by_reason["errors"])
    assert by_reason["errors"].endswith("and 0.1 % of the requests.")
    assert re.search(r"is 0\.\d\d; the limit is 0\.25\.$", by_reason["predictions"])
    assert "mean loss is 0.9 of the canary, and 0.5 of stable" in by_reason["quality"]
    assert "used 500 MiB, and stable 200 MiB; the limit is 461 MiB" in by_reason["memory"]


@pytest.mark.slow
def test_all_of_it_is_plotted_by_track(released: Released) -> None:
    drawn = re.findall("<figcaption><b>(.*?)</b>.*?</figcaption>", released.page)
    assert drawn == [
        *("Weight of the canary", "Requests by track"),
        *("Verdict on the canary", "Problems of the canary", "Requests of the canary"),
        *report.BAD_REQUESTS.values(),
        "Difference in standard errors",
        *("Predictions of both", "Index of the predictions and its limit"),
        *report.LABELLED.values(),
        "Memory",
    ]
    assert "have no data" not in released.page
    figures = re.findall("<figure>.*?</figure>", released.page, re.DOTALL)
    for title in ("Requests by track", *report.BAD_REQUESTS.values(), "Memory"):
        (figure,) = (each for each in figures if f"<b>{title}</b>" in each)
        assert re.findall('class="key c(.)">(.*?)<', figure) == [("0", "canary"), ("1", "stable")]


@pytest.mark.slow
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_a_phone_without_a_network_shows_all_of_it(
    released: Released, tmp_path: Path, dark: bool
) -> None:
    seen = look(released.page, tmp_path, width=PHONE, dark=dark)

    assert seen.width <= PHONE
    assert seen.charts == released.page.count("<svg") == 15
    assert seen.background == ("rgb(22, 27, 34)" if dark else "rgb(255, 255, 255)")
    assert ("rgb(110, 168, 254)" if dark else "rgb(47, 111, 222)") in seen.colours
    assert not re.search(r"""(src|href)=["']?(https?:)?//""", released.page)
    assert "<script" not in released.page


@pytest.mark.slow
def test_after_a_promotion_the_canary_is_gone_and_its_predictions_are_shown(
    released: Released,
) -> None:
    assert f'<h1 class="met">{JOB}: {CANARY} was promoted</h1>' in released.promoted
    assert "<b>Predictions of both</b>" in released.promoted
    assert "have no data" not in released.promoted


@pytest.mark.slow
def test_where_nothing_was_recorded_the_plots_are_left_out_and_named(tmp_path: Path) -> None:
    with (
        running_server(Replica) as replica,
        running_prometheus(tmp_path, {JOB: [replica]}) as server,
    ):
        release = Release(version=CANARY, stable=STABLE, weights=[5], begun=time.time() - 60)
        wait_for(lambda: bool(server.ask(START)), "it is scraped")
        release = rolled_back(release, time.time(), ("errors", "aborted"))
        path = report.write(tmp_path / "r.html", server, STATED, JOB, release, "Nothing <b>")
    page = path.read_text(encoding="utf-8")

    assert "Nothing &lt;b&gt;: " in page
    assert "<p>Errors: Prometheus has no numbers of it.</p><p>A person aborted it.</p>" in page
    assert re.search(r"<summary>1\d panels have no data</summary>", page)
    assert "<td>Failed requests</td>" in page


def test_without_prometheus_what_happened_is_written_all_the_same(tmp_path: Path) -> None:
    path = report.write(tmp_path / "r.html", AWAY, STATED, JOB, releases.failed())
    page = path.read_text(encoding="utf-8")

    assert "There are no plots. Prometheus does not answer" in page
    assert "<td>00:05:30</td><td>0 %</td><td>Rolled back: errors, latency.</td>" in page
    assert "It ended after 5 min 30 s, beside" in page
    assert "the canary got 10 % of the requests at last" in page


class Asked(Prometheus):
    """Scrapes every five seconds, and remembers over which times it was asked."""

    def __init__(self) -> None:
        super().__init__(AWAY.url)
        self.times = set[tuple[float, float, float]]()

    def ask(self, expr: str, at: float | None = None) -> list[Sample]:  # noqa: ARG002
        return []

    def ask_range(self, expr: str, start: float, end: float, step: float) -> list[Series]:
        if expr.startswith("timestamp"):
            return [Series({}, [(at, at - at % 5) for at in (end - 12, end - 8, end - 7, end)])]
        self.times.add((start, end, step))
        return []


@pytest.mark.parametrize("lasted", [10.4, 541.5, 7_200.3])
def test_the_last_value_of_a_line_is_that_of_the_end(lasted: float, tmp_path: Path) -> None:
    server, begun = Asked(), releases.BEGUN + 0.7
    release = rolled_back(
        releases.starting().model_copy(update={"begun": begun}), begun + lasted, ("absent", "no.")
    )
    page = report.write(tmp_path / "r.html", server, STATED, JOB, release).read_text("utf-8")

    ((start, end, step),) = server.times
    assert (end - start) % step == 0
    assert release.events[-1].at <= end < release.events[-1].at + 1
    assert begun - 60 - step <= start <= begun - 60
    assert step == max(5, math.ceil((lasted + 60) / POINTS))
    assert "<p>Absent: it answered no scrape for 2m.</p>" in page
    assert "<p>No.</p>" in page


@pytest.mark.parametrize(
    ("release", "words"),
    [
        (releases.starting(), "is starting"),
        (releases.second_step(), "gets 10 % of the requests"),
        (releases.failed(), "was rolled back: errors, latency"),
        (releases.promoting(), "is being promoted"),
        (releases.promoted(), "was promoted"),
    ],
    ids=["starts", "second", "bad", "promoting", "promoted"],
)
def test_an_outcome_is_in_words(release: Release, words: str) -> None:
    assert report.outcome(release) == f"{CANARY} {words}"


def test_the_weight_reached_is_the_last_before_the_end() -> None:
    assert report.reached(releases.aborted_at_once()) == 0
    assert report.reached(releases.failed()) == 10
    assert report.reached(releases.promoted()) == 50


ENTRIES = (
    Entry("good", "", releases.promoted(), 1_000, 0, Path("good one.html")),
    Entry("fails", "a quarter fails", releases.failed(), 2_000, 5, Path("fails.html")),
)


def listed(folder: Path, *entries: Entry) -> str:
    placed = [each._replace(page=folder / "pages" / each.page) for each in entries]
    return report.index(folder / "index.html", placed, "Demo").read_text(encoding="utf-8")


def test_a_list_of_releases_says_what_became_of_each(tmp_path: Path) -> None:
    page = listed(tmp_path, *ENTRIES)

    assert '<h1 class="met">Demo: 1 promoted, 1 rolled back</h1>' in page
    assert "Of 3,000 requests of clients, 5 failed." in page
    rows = re.findall("<tr>(.*?)</tr>", page)[1:]
    text = [re.sub("(<[^>]*>)+", "|", row) for row in rows]
    assert text == [
        "|good|nothing|promoted|530 s|50 %|1,000|0 (0 %)|",
        "|fails|a quarter fails|rolled back|errors, latency|330 s|10 %|2,000|5 (0.25 %)|",
    ]
    assert '<a href="pages/good%20one.html">good</a>' in page


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.slow
def test_a_phone_shows_the_list(tmp_path: Path, dark: bool) -> None:
    assert look(listed(tmp_path, *ENTRIES), tmp_path, width=PHONE, dark=dark).width <= PHONE


@pytest.mark.parametrize("at", [0, 1], ids=["good is rolled back", "bad is promoted"])
def test_a_list_with_an_outcome_that_should_not_be_is_not_good(at: int, tmp_path: Path) -> None:
    other = ENTRIES[at]._replace(release=ENTRIES[1 - at].release)
    assert '<h1 class="missed">' in listed(tmp_path, other)
    assert '<h1 class="met">' in listed(tmp_path, ENTRIES[at])
