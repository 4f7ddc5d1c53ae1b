"""Releases at the moments that people look at, made by the controller."""

from ml_chassis.delivery.progress import Look, Pace, advance, obey, rolled_back, started
from ml_chassis.delivery.record import Release

BEGUN = 1_764_547_200.0
"""Midnight in UTC."""
PACE = Pace(delay=120, interval=60, good=3)
STABLE, CANARY = "20261130T101500Z-aaaaaaaa", "20261201T000000Z-bbbbbbbb"
GOOD = Look(1, (), 1_234)
BAD = Look(-1, ("errors", "latency"), 1_234)


def starting() -> Release:
    return Release(version=CANARY, stable=STABLE, weights=[5, 10, 25, 50], begun=BEGUN)


def stepping() -> Release:
    """Return one in its first step, whose canary Prometheus has seen."""
    return advance(started(starting(), BEGUN + 30), Look(), PACE, BEGUN + 30)


def good(release: Release, looks: int) -> Release:
    """Return a release after so many looks that were good, each after the time of the delay."""
    for _ in range(looks):
        release = advance(release, GOOD, PACE, release.since + PACE.delay)
    return release


def second_step() -> Release:
    """Return one in its second step, with a good verdict."""
    return good(stepping(), PACE.good + 1)


def held() -> Release:
    release = second_step()
    return obey(release, "hold", release.since + 150)


def failed() -> Release:
    """Return one whose canary was bad in its second step."""
    release = second_step()
    return advance(release, BAD, PACE, release.since + 180)


def aborted_at_once() -> Release:
    return rolled_back(starting(), BEGUN + 5, ("aborted",))


def promoting() -> Release:
    return good(stepping(), 4 * PACE.good)


def promoted() -> Release:
    release = promoting()
    return release.with_event(release.events[-1].at + 20, "Promoted.", phase="promoted")
