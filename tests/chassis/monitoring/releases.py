"""Releases, simulated: how often the rules roll a good canary back, or let a bad one pass.

`judge` is what monitoring/rules/release.py says, in numpy; a test holds the two to each other.

python tests/chassis/monitoring/releases.py    simulates all and writes the table of release.md
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ml_chassis import slo
from ml_chassis.monitoring.drift import ADDED_ROWS
from ml_chassis.monitoring.rules import release
from ml_chassis.monitoring.rules.release import Reason
from ml_chassis.reference import fill
from ml_chassis.reports.markdown import table

ROOT = Path(__file__).resolve().parents[3]
PAGE = ROOT / "template/chassis/docs/release.md"
BEGIN = "<!-- From the simulation. -->\n"
RELEASES = 5_000
SLOT = 30
"""Seconds between two evaluations of the rules, at each of which a controller may look."""
WEIGHTS = (0.05, 0.1, 0.25, 0.5)
"""Of the canary, each for as long as the others."""
BINS = 10
SEED = 18

Numbers = npt.NDArray[np.float64]
"""By release and time."""
Flags = npt.NDArray[np.bool_]


class Traffic(NamedTuple):
    """How much is asked, and how long a release and the window of its verdict take."""

    per_second: float
    minutes: int


TRAFFICS = (Traffic(200, 10), Traffic(20, 10), Traffic(2, 60))


@dataclass(frozen=True)
class Track:
    """How a track answers.

    Attributes:
        failed: Share of the requests that fail.
        slow: Share of those that take longer than the objective.
        paused: Seconds for which it stops once a minute: who asks meanwhile waits.
        degraded: Share of the requests that the fallback answers.
        shares: Of the requests whose first prediction lies in each bin.
    """

    failed: float = 0.001
    slow: float = 0.01
    paused: float = 0
    degraded: float = 0.01
    shares: tuple[float, ...] = (1 / BINS,) * BINS


def shifted(by: float) -> tuple[float, ...]:
    """Return shares of which the first half is so much larger, and the second smaller."""
    half = BINS // 2
    return ((1 + by) / BINS,) * half + ((1 - by) / BINS,) * half


USUAL = Track()
QUIET = Track(failed=0.0001, slow=0.001, degraded=0)
PAUSED = replace(QUIET, paused=0.3)
CONSTANT = (1.0,) + (0.0,) * (BINS - 1)

GOOD = {
    "misses no objective, by nothing": (USUAL, USUAL),
    "far below its objectives": (QUIET, QUIET),
    "the same, and each track pauses for 0.3 s a minute": (PAUSED, PAUSED),
}
"""Canary and stable."""
BAD: dict[str, tuple[Track, Track]] = {
    "0.5 % more fail": (replace(USUAL, failed=0.006), USUAL),
    "2 % more fail": (replace(USUAL, failed=0.021), USUAL),
    "25 % fail": (replace(USUAL, failed=0.25), USUAL),
    "5 % more are slow": (replace(USUAL, slow=0.06), USUAL),
    "all are slow": (replace(USUAL, slow=1), USUAL),
    "5 % more are degraded": (replace(USUAL, degraded=0.06), USUAL),
    "all are degraded": (replace(USUAL, degraded=1), USUAL),
    "predictions are shifted (index 0.34)": (replace(USUAL, shares=shifted(0.55)), USUAL),
    "predictions are shifted (index 1)": (replace(USUAL, shares=shifted(0.833)), USUAL),
    "predictions are constant": (replace(USUAL, shares=CONSTANT), USUAL),
}


class Counts(NamedTuple):
    """What a track counted in the window.

    Attributes:
        requests: All.
        failed: Those that failed.
        slow: Those that took longer than the objective.
        degraded: Those that the fallback answered.
        bins: Those that the model answered; the last axis is that of the bins.
    """

    requests: Numbers
    failed: Numbers
    slow: Numbers
    degraded: Numbers
    bins: Numbers


class Judged(NamedTuple):
    """What the rules say.

    Attributes:
        z: Of the three shares, by reason.
        psi: Of the predictions.
        limit: What it must exceed.
        problems: By reason.
        verdict: 1, 0 or -1.
    """

    z: dict[Reason, Numbers]
    psi: Numbers
    limit: Numbers
    problems: dict[Reason, Flags]
    verdict: Numbers


def judge(stated: slo.Slo, canary: Counts, stable: Counts) -> Judged:
    """Return what the rules say of two tracks."""
    enough = canary.requests >= stated.release.least_requests
    shares: dict[Reason, tuple[Numbers, Numbers, float, Flags | bool]] = {
        "errors": (canary.failed, stable.failed, stated.objectives.error_share, True),
        "latency": (canary.slow, stable.slow, release.SLOW_MATTERS, enough),
        "degraded": (
            *(canary.degraded, stable.degraded),
            *(stated.objectives.degraded_share, enough),
        ),
    }
    sizes = [np.maximum(each.requests, 1e-9) for each in (canary, stable)]
    z: dict[Reason, Numbers] = {}
    problems: dict[Reason, Flags] = {}
    for reason, (bad, stable_bad, matters, judged) in shares.items():
        apart = bad / sizes[0] - stable_bad / sizes[1]
        z[reason] = apart / _standard_error(bad + stable_bad, *sizes)
        certain = z[reason] > release.NORMAL
        problems[reason] = certain & (apart > matters) & (bad >= release.LEAST_BAD) & judged
    psi, limit = compare(canary.bins, stable.bins, stated.release.psi)
    known = enough & (stable.requests >= stated.release.least_requests)
    known &= (canary.bins.sum(-1) > 0) & (stable.bins.sum(-1) > 0)
    problems["predictions"] = (psi > limit) & enough
    wrong = np.any(list(problems.values()), axis=0)
    return Judged(z, psi, limit, problems, np.where(wrong, -1.0, known.astype(float)))


def _standard_error(bad: Numbers, canary: Numbers, stable: Numbers) -> Numbers:
    """Return that of the difference of two shares that are equal."""
    share = bad / (canary + stable)
    found: Numbers = np.sqrt(np.maximum(share * (1 - share), 1e-12) * (1 / canary + 1 / stable))
    return found


def compare(now: Numbers, before: Numbers, least: float) -> tuple[Numbers, Numbers]:
    """Return the population stability index of predictions, and what it must exceed."""
    sizes = 1 / np.maximum(now.sum(-1), 1e-9) + 1 / np.maximum(before.sum(-1), 1e-9)
    freedom = np.maximum((now + before > 0).sum(-1) - 1, 1)
    root = 2 / (9 * freedom)
    chance = freedom * (1 - root + release.NORMAL * np.sqrt(root)) ** 3 * sizes
    shares = [
        (each + ADDED_ROWS) / (each.sum(-1, keepdims=True) + ADDED_ROWS * each.shape[-1])
        for each in (now, before)
    ]
    index = ((shares[0] - shares[1]) * np.log(shares[0] / shares[1])).sum(-1)
    return index, np.maximum(chance, least)


class Outcome(NamedTuple):
    """What became of releases.

    Attributes:
        rolled_back: Share of them.
        promoted: Share of them.
        minutes: Until half of those that were rolled back were.
    """

    rolled_back: float
    promoted: float
    minutes: float


def simulate(
    stated: slo.Slo,
    traffic: Traffic,
    tracks: tuple[Track, Track],
    releases: int,
    random: np.random.Generator,
) -> Outcome:
    """Return what became of so many releases, each judged at every evaluation of the rules."""
    stated = stated.model_copy(
        update={"release": stated.release.model_copy(update={"window_minutes": traffic.minutes})}
    )
    slots = traffic.minutes * 60 // SLOT
    weight = np.repeat(WEIGHTS, slots // len(WEIGHTS))
    before = np.zeros(slots)  # stable was there
    asked = traffic.per_second * SLOT * np.concatenate([before, weight])
    others = traffic.per_second * SLOT * np.concatenate([before + 1, 1 - weight])
    canary, stable = (
        _windows(_counted(track, each, releases, random), slots)
        for track, each in zip(tracks, (asked, others), strict=True)
    )
    verdict = judge(stated, canary, stable).verdict
    bad = verdict == -1
    rolled_back = bad.any(axis=1)
    first = bad.argmax(axis=1)[rolled_back] + 1
    promoted = ~rolled_back & (verdict[:, -1] == 1)
    minutes = float(np.median(first)) * SLOT / 60 if first.size else float("nan")
    return Outcome(float(rolled_back.mean()), float(promoted.mean()), minutes)


def _counted(track: Track, asked: Numbers, releases: int, random: np.random.Generator) -> Counts:
    """Return what a track counts in each slot, when so many requests are expected."""
    sizes = (releases, len(asked))
    requests = random.poisson(asked, sizes)
    waited = random.poisson(random.poisson(SLOT / 60, sizes) * track.paused * asked / SLOT)
    slow = np.minimum(random.binomial(requests, track.slow) + waited, requests)
    degraded = random.binomial(requests, track.degraded)
    return Counts(
        requests.astype(float),
        random.binomial(requests, track.failed).astype(float),
        slow.astype(float),
        degraded.astype(float),
        random.multinomial(requests - degraded, track.shares).astype(float),
    )


def _windows(counts: Counts, slots: int) -> Counts:
    """Return the sums of the last `slots`, at the end of each slot of the release."""
    sums = (np.cumsum(each, axis=1) for each in counts)
    return Counts(*(each[:, slots:] - each[:, :-slots] for each in sums))


def lines(stated: slo.Slo, releases: int = RELEASES) -> Iterator[str]:
    """Yield a table of the rates."""
    random = np.random.default_rng(SEED)
    head = ("canary", *(f"{each.per_second:g}/s, {each.minutes} min" for each in TRAFFICS))
    rows = []
    for words, tracks in {**GOOD, **BAD}.items():
        found = [simulate(stated, each, tracks, releases, random) for each in TRAFFICS]
        rows.append((words, *(_words(each, words in GOOD) for each in found)))
    return table(head, rows)


def _words(outcome: Outcome, good: bool) -> str:
    if good:
        return f"{outcome.rolled_back:.2%} rolled back"
    return f"{1 - outcome.rolled_back:.2%} missed, {outcome.minutes:g} min"


def page(stated: slo.Slo) -> str:
    """Return release.md with the rates of today."""
    text = "".join(f"{line}\n" for line in lines(stated))
    return fill(PAGE.read_text(encoding="utf-8"), BEGIN, text)


if __name__ == "__main__":
    PAGE.write_text(page(slo.read(ROOT / "template/slo.yaml")), encoding="utf-8")
