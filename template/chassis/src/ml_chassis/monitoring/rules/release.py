"""Release: whether a canary is as good as stable, as series that controllers and people read.

Both tracks are compared over the same window, in which stable may have been alone at first. A
difference is a problem when it matters and is more than chance, for somebody who looks at each
evaluation of a whole release: `NORMAL` and `LEAST_BAD` are chosen by simulation, whose rates stand
in docs/release.md. What is not known is never good: where a series is missing there is no sample of
what is made from it, and the verdict is 0.
"""

from collections.abc import Iterator
from typing import Literal

from ...slo import Slo
from .. import metrics
from ..quality import ALL
from .burn import MEMORY_SHARE, failed_statuses
from .rule import REPLICA, TRACK, Rule, chi_squared, labels, record, smoothed, workers_ended

Reason = Literal[
    "errors",
    "latency",
    "degraded",
    "refused",
    "predictions",
    "value",
    "quality",
    "memory",
    "crashes",
    "absent",
]

GROUP, INTERVAL = "model_service_release", "30s"
NORMAL = 4.5
"""Standard errors that a difference must exceed, and the same quantile of chi-squared. It is not
that of one look at many events: there are tens of looks, and few events at first."""
LEAST_BAD = 5
"""Bad requests of the canary from which on their share is judged."""
LEAST_LABELS = 100
"""Of each track, below which nothing is said of them: few losses are not distributed normally."""
SLOW_MATTERS = 0.025
"""Of the requests: the objective allows 1 % of them."""
REFUSED_MATTERS = 0.01
"""Of the requests: a stricter schema is an error of the release, whoever is right."""
LABELS_MATTER = 0.05
"""Part of stable's loss, or value, by which the canary must be worse."""
UNSEEN = "2m"
"""For which a canary may not be seen: one scrape is missed, a pod moves to another node."""
CRASHES = 2
"""Of a replica in the window, from which on it is taken for one that crashes again and again."""

PREDICTED = (*TRACK, "bins")
CANARY, STABLE, BOTH = 'track="canary"', 'track="stable"', 'track=~"canary|stable"'

EVENTS = "model_service:release_events:window"
BAD = "model_service:release_bad_events:window"
SHARE = "model_service:release_bad_share:window"
MEAN = "model_service:release_mean:window"
ERROR = "model_service:release_standard_error:window"
Z = "model_service:canary_difference_z:window"
COUNTED = "model_service:release_predictions:window"
PREDICTIONS = "model_service:release_prediction_share:window"
PSI = "model_service:canary_prediction_psi:window"
LIMIT = "model_service:canary_prediction_psi_limit:window"
CRASHED = "model_service:release_crashes:window"
REQUESTS = "model_service:canary_requests:window"
PROBLEM = "model_service:canary_problem:window"
VERDICT = "model_service:canary_verdict:window"


def recorded(slo: Slo) -> Iterator[Rule]:
    """Yield what is recorded, each from what stands before it."""
    window = f"{slo.release.window_minutes}m"
    yield from _events(window)
    yield record(SHARE, f"{BAD} / ({EVENTS} > 0)")
    yield from _labelled(window)
    yield record(Z, f"{_difference_of_shares()}\nor {_difference_of_means()}")
    yield from _predictions(slo, window)
    # Of each replica: how often it was started anew, and how many of its workers ended.
    started = f"changes({metrics.series_of(metrics.START)}{{{BOTH}}}[{window}])"
    yield record(CRASHED, f"{started} + {workers_ended(window, BOTH)}")
    yield record(REQUESTS, f'sum by (job) ({EVENTS}{{{CANARY},reason="errors"}})')
    for reason, expr in _problems(slo, window):
        yield record(PROBLEM, f"0 * ({expr}) + 1", reason=reason)
    yield record(VERDICT, _verdict(slo.release.least_requests))


def _events(window: str) -> Iterator[Rule]:
    """Yield the requests of each track, and those that are bad.

    All is by requests and not by rows: those of a request are often alike, so that of a hundred no
    more is learnt than of one.
    """
    requests = metrics.series_of(metrics.REQUESTS)
    slow = f"{metrics.series_of(metrics.SLOW)}{{{BOTH}}}"
    timed = _grown(f"{metrics.DURATION}_count{{{BOTH}}}", window)
    degraded = f"{metrics.series_of(metrics.DEGRADED_REQUESTS)}{{{BOTH}}}"
    failed = f'{requests}{{{BOTH},status=~"{failed_statuses()}"}}'
    refused = f'{requests}{{{BOTH},status=~"4..",status!~"{failed_statuses()}"}}'
    all_requests = _grown(f"{requests}{{{BOTH}}}", window)
    found: dict[Reason, tuple[str, str]] = {
        "errors": (all_requests, _grown(failed, window)),
        "latency": (timed, _grown(slow, window)),
        "degraded": (all_requests, _grown(degraded, window)),
        # A status that no request had has no series.
        "refused": (all_requests, f"({_grown(refused, window)} or 0 * {all_requests})"),
    }
    for reason, (events, bad) in found.items():
        yield record(EVENTS, events, reason=reason)
        yield record(BAD, bad, reason=reason)


def _grown(series: str, window: str, *by: str, seen: tuple[str, ...] = REPLICA) -> str:
    """Return how much counters grew, of what is there now: replicas, or whatever `seen` names.

    A canary before this one may have ended within the window, and has nothing to do with it.
    """
    there = f"on {labels(seen)} {metrics.series_of(metrics.START)}"
    return f"sum by {labels((*TRACK, *by))} (increase({series}[{window}]) and {there})"


def _difference_of_shares() -> str:
    """Return the z of two proportions, with their pooled variance."""
    events, bad = (f"sum by (job, reason) ({each})" for each in (EVENTS, BAD))
    spread = f"clamp_min({bad} / {events} * (1 - {bad} / {events}), 1e-12)"  # of none bad it is 0
    sizes = f"(1 / {_of(EVENTS, CANARY)} + on (job, reason) 1 / {_of(EVENTS, STABLE)})"
    return f"({_apart(SHARE)}) / on (job, reason) sqrt({spread} * on (job, reason) {sizes})"


def _difference_of_means() -> str:
    """Return the z of two means, from the standard error of each."""
    both = f"{_of(ERROR, CANARY)} ^ 2 + on (job, reason) {_of(ERROR, STABLE)} ^ 2"
    return f"({_apart(MEAN)}) / on (job, reason) sqrt({both})"


def _apart(series: str, matcher: str = "") -> str:
    """Return by how much the canary exceeds stable."""
    canary, stable = (_of(series, each, matcher) for each in (CANARY, STABLE))
    return f"{canary} - on (job, reason) {stable}"


def _of(series: str, *matchers: str) -> str:
    return f"{series}{{{','.join(filter(None, matchers))}}}"


def _labelled(window: str) -> Iterator[Rule]:
    """Yield the mean loss of each track and the mean value of its decisions, and their errors.

    A label may come to another replica than the one that predicted.
    """
    rows, loss, squares = (
        _grown(f'{metrics.series_of(each)}{{{BOTH},slice="{ALL}"}}', window, seen=TRACK)
        for each in (metrics.LABELLED, metrics.LOSS, metrics.SQUARED_LOSS)
    )
    decided = f"{metrics.series_of(metrics.DECISIONS)}{{{BOTH}}}"
    by_outcome = _grown(decided, window, "outcome", seen=TRACK)
    worth = f"max by (job, outcome) ({metrics.series_of(metrics.DECISION_VALUE)})"
    times = "* on (job, outcome) group_left ()"
    value, squared_value = (
        f"sum by {labels(TRACK)} ({by_outcome} {times} {each})" for each in (worth, f"{worth} ^ 2")
    )
    decisions = f"sum by {labels(TRACK)} ({by_outcome})"
    sums: dict[Reason, tuple[str, str, str]] = {
        "quality": (rows, loss, squares),
        "value": (decisions, value, squared_value),
    }
    for reason, (count, total, squared) in sums.items():
        enough = f"({count} >= {LEAST_LABELS})"
        mean = f'{MEAN}{{reason="{reason}"}}'
        yield record(MEAN, f"{total} / {enough}", reason=reason)
        spread = f"clamp_min({squared} / {enough} - on {labels(TRACK)} {mean} ^ 2, 1e-12)"
        yield record(ERROR, f"sqrt({spread} / {enough})", reason=reason)


def _predictions(slo: Slo, window: str) -> Iterator[Rule]:
    """Yield how far the predictions of both lie apart, and how far by chance.

    A version counts in its own bins and in those of the champion that it is to replace, so there
    are bins that both have, also where a retrained model would have chosen others.
    """
    series = f"{metrics.series_of(metrics.PREDICTION_BINS)}{{{BOTH}}}"
    yield record(COUNTED, _grown(series, window, "bins", "bin"))
    rows = f"(sum by {labels(PREDICTED)} ({COUNTED}) > 0)"
    yield record(PREDICTIONS, smoothed(COUNTED, rows, PREDICTED))
    now, before = _of(PREDICTIONS, CANARY), _of(PREDICTIONS, STABLE)
    same = "on (job, bins, bin)"
    terms = f"({now} - {same} {before}) * {same} ln({now} / {same} {before})"
    yield record(PSI, f"sum by (job, bins) ({terms})")
    used = f"clamp_min(count by (job, bins) (sum by (job, bins, bin) ({COUNTED}) > 0) - 1, 1)"
    each = [f"sum by (job, bins) ({_of(COUNTED, track)})" for track in (CANARY, STABLE)]
    chance = f"(1 / {each[0]} + 1 / {each[1]})"
    limit = f"clamp_min({chi_squared(used, NORMAL)} * {chance}, {slo.release.psi:g})"
    yield record(LIMIT, f"{limit} and on (job, bins) {PSI}")


def matters(slo: Slo) -> dict[Reason, float]:
    """Return by how much the canary's share of bad requests must exceed stable's, by reason."""
    return {
        "errors": slo.objectives.error_share,
        "latency": SLOW_MATTERS,
        "degraded": slo.objectives.degraded_share,
        "refused": REFUSED_MATTERS,
    }


def memory_limit(slo: Slo) -> float:
    """Return the bytes that no replica of the canary may exceed, unless one of stable does."""
    return MEMORY_SHARE * slo.budget.memory_mib * 2**20


def _problems(slo: Slo, window: str) -> Iterator[tuple[Reason, str]]:
    """Yield for each reason an expression that has a sample where the canary fails because of it.

    What a cold start or one pause explains is judged from enough requests on alone.
    """
    enough = f"and on (job) {REQUESTS} >= {slo.release.least_requests}"
    for reason, share in matters(slo).items():
        about, and_enough = f'reason="{reason}"', "" if reason == "errors" else enough
        worse = f"sum by (job) ({_apart(SHARE, about)}) > {share:g}"
        many = f"sum by (job) ({_of(BAD, CANARY, about)}) >= {LEAST_BAD}"
        yield reason, f"{_certain(Z, about)} and on (job) {worse} and on (job) {many} {and_enough}"
    yield "predictions", f"max by (job) ({PSI} > {LIMIT}) {enough}"
    labelled: dict[Reason, str] = {"quality": "", "value": "-1 * "}
    for reason, sign in labelled.items():
        about = f'reason="{reason}"'
        scale = f"{LABELS_MATTER} * abs(sum by (job) ({_of(MEAN, STABLE, about)}))"
        worse = f"sum by (job) ({sign}({_apart(MEAN, about)})) > on (job) {scale}"
        yield reason, f"{_certain(Z, about, sign)} and on (job) {worse}"
    full = [
        f"max by (job) ({metrics.MEMORY}{{{track}}}) > {memory_limit(slo):.0f}"
        for track in (CANARY, STABLE)
    ]
    yield "memory", f"{full[0]} unless on (job) {full[1]}"
    yield "crashes", _crashed()
    yield "absent", _absent(window)


def _certain(z: str, about: str, sign: str = "") -> str:
    return f"sum by (job) ({sign}{z}{{{about}}}) > {NORMAL}"


def _crashed() -> str:
    """Return where a replica of the canary crashed several times, and stable is seen.

    An outage that hits stable's replicas as often is no reason.
    """
    canary, stable = (_of(CRASHED, each) for each in (CANARY, STABLE))
    several = f"max by (job) ({canary}) >= {CRASHES}"
    no_more = f"avg by (job) ({canary}) <= on (job) avg by (job) ({stable})"
    return f"{several} unless on (job) {no_more} and on (job) {_seen(STABLE)}"


def _absent(window: str) -> str:
    """Return where a canary is gone, and stable is seen.

    Where that is not seen either, it is Prometheus that sees nothing.
    """
    canary = _seen(CANARY)
    gone, lately = (f"max by (job) (max_over_time({canary}[{each}]))" for each in (window, UNSEEN))
    return f"({gone} unless on (job) {lately}) and on (job) {_seen(STABLE)}"


def _seen(track: str) -> str:
    return f"{metrics.series_of(metrics.START)}{{{track}}}"


def _verdict(least: int) -> str:
    """Return 1 where all is known and nothing is a problem, -1 where something is, 0 otherwise."""
    judged = '"errors|latency|degraded|refused"'
    known = [
        f"{REQUESTS} >= {least}",
        f'{EVENTS}{{{STABLE},reason="errors"}} >= {least}',
        f"count by (job) ({Z}{{reason=~{judged}}}) == 4",
        f"{PSI} >= 0",
    ]
    good = "\nand on (job) ".join(known)
    return (
        f"0 * count by (job) ({PROBLEM}) - 1\n"
        f"or on (job) 0 * ({good}) + 1\n"
        f"or on (job) 0 * count by (job) ({_seen(CANARY)})"
    )
