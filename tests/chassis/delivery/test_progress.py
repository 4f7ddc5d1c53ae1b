"""A release goes on by what is known of its canary, step by step."""

import pytest

from ml_chassis.delivery import progress, record
from ml_chassis.delivery.progress import Look, Pace
from ml_chassis.delivery.record import Release, Wish

PACE = Pace(delay=10, interval=5, good=3, unknown=4, silent=2)
GOOD, BAD, UNKNOWN = Look(1, requests=700), Look(-1, ("errors", "latency")), Look(0)
NOTHING, SILENT = Look(), Look(answered=False)
BEGAN = 1_000.0
LATER = BEGAN + PACE.delay


@pytest.fixture
def release() -> Release:
    """Return one whose canary gets its first requests at `BEGAN`."""
    begun = Release(version="new", stable="old", weights=[5, 50], begun=BEGAN - 20)
    return progress.advance(progress.started(begun, BEGAN), UNKNOWN, PACE, BEGAN)


def after(release: Release, *looks: Look) -> Release:
    for seen in looks:
        release = progress.advance(release, seen, PACE, LATER)
    return release


def test_nobody_is_asked_of_the_canary_before_it_is_ready() -> None:
    begun = record.began("new", "old", [5, 50])
    assert (begun.phase, begun.weight, begun.ended) == ("starting", 0, False)
    begun = progress.started(begun, BEGAN)
    assert (begun.phase, begun.weight) == ("stepping", 5)
    assert begun.events[-1].text == "The canary is ready. It gets 5 % of the requests."


def test_good_verdicts_in_a_row_end_a_step(release: Release) -> None:
    assert after(release, GOOD, GOOD).step == 0
    moved = after(release, GOOD, GOOD, GOOD)
    assert (moved.step, moved.weight, moved.good, moved.since) == (1, 50, 0, LATER)
    assert moved.events[-1].text == (
        "700 requests of the canary, no problem. It gets 50 % of the requests."
    )


@pytest.mark.parametrize("between", [UNKNOWN, NOTHING, SILENT])
def test_what_is_not_known_breaks_the_row(release: Release, between: Look) -> None:
    assert after(release, GOOD, GOOD, between, GOOD, GOOD).step == 0
    assert after(release, GOOD, GOOD, between, GOOD, GOOD, GOOD).step == 1


def test_after_the_last_step_it_is_promoted_and_the_canary_goes_on_meanwhile(
    release: Release,
) -> None:
    first = after(release, GOOD, GOOD, GOOD)
    done = first
    for _ in range(3):
        done = progress.advance(done, GOOD, PACE, LATER + PACE.delay)
    assert (done.phase, done.weight, done.ended) == ("promoting", 50, False)


def test_one_bad_verdict_takes_it_back(release: Release) -> None:
    back = after(release, GOOD, GOOD, BAD)
    assert (back.phase, back.weight, back.ended) == ("rolled back", 0, True)
    assert back.reasons == ["errors", "latency"]
    assert back.events[-1].text == "Rolled back: errors, latency."


@pytest.mark.parametrize("seen", [GOOD, BAD, UNKNOWN])
def test_a_step_is_not_judged_before_its_delay(release: Release, seen: Look) -> None:
    assert progress.advance(release, seen, PACE, LATER - 1) == release


def test_what_was_recorded_of_a_canary_before_this_one_says_nothing(release: Release) -> None:
    again = progress.started(release, LATER)
    before = Look(-1, ("absent",), scraped=False)
    for at in (1, PACE.delay, 2 * PACE.delay):
        again = progress.advance(again, before, PACE, LATER + at)
        assert again.phase == "stepping"
    seen = LATER + 3 * PACE.delay
    again = progress.advance(again, BAD, PACE, seen)
    assert (again.phase, again.since) == ("stepping", seen)
    assert progress.advance(again, BAD, PACE, seen + PACE.delay).phase == "rolled back"


def test_a_canary_that_prometheus_never_sees_waits_for_a_person_once(release: Release) -> None:
    unseen = progress.started(release, LATER)
    for _ in range(PACE.unknown + 3):
        unseen = progress.advance(unseen, Look(scraped=False), PACE, LATER)
    assert unseen.held
    asked = [each.text for each in unseen.events if "waits for a person" in each.text]
    assert asked == ["Prometheus does not see the canary; it waits for a person."]


def test_who_knows_too_little_asks_a_person(release: Release) -> None:
    assert not after(release, *[UNKNOWN] * 3).held
    held = after(release, *[UNKNOWN] * 4)
    assert (held.held, held.phase, held.weight) == (True, "stepping", 5)
    assert after(held, GOOD, GOOD, GOOD, GOOD) == held
    assert after(held, BAD).phase == "rolled back"
    assert progress.obey(held, "resume", LATER).unknown == 0


def test_without_prometheus_it_is_taken_back(release: Release) -> None:
    assert after(release, SILENT, GOOD, SILENT).phase == "stepping"
    back = after(release, SILENT, SILENT)
    assert (back.phase, back.reasons) == ("rolled back", ["Prometheus does not answer"])
    early = progress.advance(release, SILENT, PACE, BEGAN)
    assert progress.advance(early, SILENT, PACE, BEGAN).phase == "rolled back"


@pytest.mark.parametrize(
    ("wanted", "phase", "held"),
    [
        ("hold", "stepping", True),
        ("resume", "stepping", False),
        ("promote", "promoting", False),
        ("abort", "rolled back", False),
    ],
)
def test_a_person_decides(release: Release, wanted: Wish, phase: str, held: bool) -> None:
    told = progress.obey(release, wanted, LATER)
    assert (told.phase, told.held) == (phase, held)


def test_what_is_held_goes_on_with_its_step_from_the_beginning(release: Release) -> None:
    held = progress.obey(after(release, GOOD, GOOD), "hold", LATER)
    assert after(held, GOOD, GOOD, GOOD).step == 0
    resumed = progress.obey(held, "resume", LATER + 1)
    assert (resumed.step, resumed.good, resumed.since) == (0, 0, LATER + 1)


@pytest.mark.parametrize("wanted", record.WISHES)
@pytest.mark.parametrize("phase", ["promoting", "promoted", "rolled back"])
def test_what_is_decided_is_not_changed(release: Release, phase: str, wanted: Wish) -> None:
    decided = release.model_copy(update={"phase": phase})
    assert progress.obey(decided, wanted, LATER) == decided


def test_a_canary_that_is_started_again_begins_its_step_anew(release: Release) -> None:
    again = progress.started(after(release, GOOD, GOOD, GOOD, GOOD), LATER + 7)
    assert not again.scraped
    assert (again.step, again.good, again.since) == (1, 0, LATER + 7)
    assert "ready again" in again.events[-1].text
