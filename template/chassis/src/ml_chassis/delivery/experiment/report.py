"""What became of an A/B test, for those who decide: sentences, and a page with the numbers."""

import math
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import numpy.typing as npt
from markupsafe import Markup

from ...reports import page
from ...reports.chart import Axis, Mark, Points, Series, draw, reach
from .analysis import ENOUGH, Analysis, Arm
from .rule import MISMATCH, MIXED, Decision

TITLES: dict[Decision, str] = {
    "continue": "Nothing is decided yet: the test goes on",
    "better": "The challenger is better than the champion",
    "worse": "The challenger is worse than the champion",
    "no difference": "Champion and challenger do not differ by as much as matters",
    "undecided": "The test has ended undecided",
    "invalid": "The test is invalid: the units were not split as planned",
}
NEXT: dict[Decision, str] = {
    "continue": "Go on, and change neither share, models nor plan. Look again whenever you like.",
    "better": "End the test and promote the challenger: make promote VERSION=... WHY=...",
    "worse": "End the test and keep the champion.",
    "no difference": "End the test and keep the champion, or take the one that costs less to run.",
    "undecided": "Keep the champion. Test again only with more units or a larger least difference.",
    "invalid": "Believe no number below. Find out where units are lost, twice or on the wrong side "
    "(bots, redirects, a log that fails in one arm, another share than the plan says), and begin "
    "a new test.",
}
GOOD: set[Decision] = {"continue", "better", "no difference"}
NOTE = Markup('<p class="note">{}</p>')
BINS = 20
TAILS = (0.005, 0.995)
"""Quantiles of the outcomes between which the bins lie."""
CERTAIN = 3
"""Standard errors by which the champion's mean must differ from zero for a relative difference."""
ASSUMPTIONS = (
    "Units are independent of each other: what one gets changes nothing for another "
    "(no interference), and a person, a household or a shop is one unit.",
    "A unit counts once, by its first known outcome. Later ones are not looked at.",
    "Outcomes that are not known yet are like those that are, in both arms.",
    "The sequence is asymptotic: it supposes that means are about normal. Of few units, or where "
    "a few outcomes make up most of a mean, it may be wrong more often.",
    "A difference may change with time: people get used to what is new, and a week has a Sunday.",
)


def write(path: Path, found: Analysis, name: str, noted: Iterable[str]) -> None:
    """Write a page about a test.

    Args:
        path: Of the page.
        found: What is known of it.
        name: Of the service.
        noted: What is odd; see `notes`.
    """
    title = f"{name}: {TITLES[found.decision]}"
    first, *others = sentences(found)
    parts = [
        page.paragraph(page.bold(first)),
        *map(page.paragraph, others),
        *map(NOTE.format, noted),
        *([] if found.decision == "invalid" else _numbers(found)),
        page.heading("Arms"),
        _arms(found),
        page.heading("Stop rule, declared before the start"),
        *_rules(found),
        page.heading("Sample ratio"),
        page.paragraph(_ratio(found)),
        page.heading("When this may be wrong"),
        *map(page.paragraph, ASSUMPTIONS),
    ]
    page.write(path, page.page(title, found.decision in GOOD, parts))


def sentences(found: Analysis) -> list[str]:
    """Return what the decision rests on and what to do next, the most important first."""
    if found.decision == "invalid":
        return [_ratio(found), NEXT["invalid"]]
    return [_means(found), NEXT[found.decision], *_progress(found)]


def notes(found: Analysis) -> Iterator[str]:
    """Yield what is odd about the difference or the units."""
    units, arms = found.units, (found.champion, found.challenger)
    if found.decision in {"better", "worse"} and np.all(np.abs(found.last[1:3]) < found.margin):
        yield "The models do differ, but by less than the least difference that matters."
    if found.missing < MISMATCH and found.decision != "invalid":
        shares = [each.known / max(each.units, 1) for each in arms]
        yield (
            f"Outcomes are known of {shares[0]:.1%} of the champion's units and {shares[1]:.1%} of "
            "the challenger's, which is more than chance. If those that are not known are others "
            "than those that are, the difference is wrong."
        )
    if units.mixed:
        yield f"{units.mixed:,} units were in both arms, and are left out of all numbers."
    if units.repeated:
        yield f"{units.repeated:,} rows were of a unit seen before; each unit counts once."
    if found.late:
        yield f"{found.late:,} units came after the last day of the plan, and are not counted."


def _means(found: Analysis) -> str:
    """Return what the outcomes are, or why nothing is said of their difference."""
    arms, plan, last = (found.champion, found.challenger), found.plan, found.last
    if not math.isnan(last.difference):
        means = [_amount(each.mean, plan.outcome_unit) for each in arms]
        return (
            f"The mean outcome is {means[1]} with the challenger and {means[0]} with the champion: "
            f"{_amount(float(last.difference), plan.outcome_unit, '+')} "
            f"({_amount(float(last.low), '', '+')} to {_amount(float(last.high), '', '+')})."
        )
    if min(each.known for each in arms) >= plan.least_units:
        return "All outcomes of an arm are equal so far: nothing is said of the difference."
    return (
        f"Outcomes are known of {arms[0].known:,} units of the champion and {arms[1].known:,} of "
        f"the challenger: below {plan.least_units:,} of each nothing is said of the difference."
    )


def _progress(found: Analysis) -> Iterator[str]:
    known = found.champion.known + found.challenger.known
    if found.decision in {"continue", "undecided"} and 0 < found.needed < math.inf:
        yield (
            f"{known:,} outcomes are known. After about {found.needed:,.0f} the interval is as "
            "narrow as the least difference that matters; of tests whose models differ by that "
            "much, half are decided by then."
        )
    if found.units.at is not None:
        first, last = found.units.at[[0, -1]].astype("datetime64[s]").astype(datetime)
        days = f"{(last - first) / timedelta(days=1):.1f}"
        yield (
            f"Exposures are from {first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M} UTC, {days} days; "
            f"the plan ends after {found.plan.most_days}."
        )


def _amount(value: float, unit: str, sign: str = "") -> str:
    digits = ",.0f" if abs(value) >= 1_000 else ".3g"
    return f"{value:{sign}{digits}} {unit}".rstrip()


def _numbers(found: Analysis) -> Iterator[Markup]:
    """Yield the difference in the units in which people think, and the charts."""
    last, plan, champion = found.last, found.plan, found.champion
    if not math.isnan(last.difference):
        scales = {
            "per decision": (1.0, plan.outcome_unit),
            "per 1,000 decisions": (1_000.0, plan.outcome_unit),
        }
        error = champion.deviation / math.sqrt(champion.known)
        if abs(champion.mean) > CERTAIN * error:
            scales["of the champion's mean"] = (100 / abs(champion.mean), "%")
        rows = [
            (name, *(_amount(times * float(each), unit, "+") for each in last[:3]))
            for name, (times, unit) in scales.items()
        ]
        yield page.heading("Challenger less champion")
        yield page.table(("", "difference", "at least", "at most"), rows)
        yield page.paragraph(
            f"A {plan.better} outcome is better. The bounds are a confidence sequence: with a "
            f"confidence of {100 * plan.confidence:g} % they hold at all looks together. The "
            f"always-valid p-value of no difference is {float(last.p_value):.2g}."
        )
    yield page.charts(_charts(found))


def _arms(found: Analysis) -> Markup:
    head = ("arm", "units", "outcomes known", "mean outcome", "standard deviation")
    arms = {"champion": found.champion, "challenger": found.challenger}
    return page.table(
        head, [_arm(name, arm, found.plan.outcome_unit) for name, arm in arms.items()]
    )


def _arm(name: str, arm: Arm, unit: str) -> tuple[str, ...]:
    spread = (_amount(each, unit) if arm.known > 1 else "" for each in (arm.mean, arm.deviation))
    return (name, f"{arm.units:,}", f"{arm.known:,}", *spread)


def _rules(found: Analysis) -> Iterator[Markup]:
    """Yield the rules in the order in which they count, and which of them applies."""
    plan, margin = found.plan, found.margin
    above, below = ("above", "below") if plan.better == "higher" else ("below", "above")
    width = "" if math.isnan(margin) else f" of {_amount(margin, plan.outcome_unit)}"
    if plan.least_difference is None:
        width += ", a tenth of the champion's standard deviation"
    rules: dict[Decision, str] = {
        "invalid": f"the p-value of the sample ratio is below {MISMATCH:g}, or more than "
        f"{MIXED:.0%} of the units, and more than {MIXED * ENOUGH:.0f}, were in both arms",
        "better": f"the interval lies {above} zero",
        "worse": f"the interval lies {below} zero",
        "no difference": f"the interval lies within the least difference{width}",
        "undecided": f"{plan.most_days} days are over",
        "continue": "otherwise",
    }
    yield page.paragraph(
        f"{plan.share} % of the units get the challenger. The interval is a confidence sequence, "
        f"from {plan.least_units:,} known outcomes of each arm on: one may look as often as one "
        "likes. The first of these that is true counts."
    )
    yield page.table(
        ("decision", "when", ""),
        [
            (TITLES[each], rule, page.state(True, "applies") if each == found.decision else "")
            for each, rule in rules.items()
        ],
    )


def _ratio(found: Analysis) -> str:
    units = found.champion.units + found.challenger.units
    mixed = f" {found.units.mixed:,} more were in both arms." if found.units.mixed else ""
    return (
        f"{found.challenger.units:,} of {units:,} units, {found.challenger.units / units:.2%}, got "
        f"the challenger; {found.plan.share} % were planned. The p-value of that, valid at all "
        f"looks, is {found.mismatch:.2g}; below {MISMATCH:g} the test is invalid.{mixed}"
    )


def _charts(found: Analysis) -> Iterator[Markup]:
    unit = f", {found.plan.outcome_unit}" if found.plan.outcome_unit else ""
    if np.isfinite(found.last.difference):
        yield _over_units(found, f"Difference and its confidence sequence{unit}")
    known = found.units.outcome[np.isfinite(found.units.outcome)]
    if known.size and known.min() < known.max():
        yield _distribution(found, f"Distribution of the outcomes{unit}")


def _over_units(found: Analysis, name: str) -> Markup:
    """Return the difference over units; what is far from the last look is cut off."""
    low, high = min(-found.margin, float(found.last.low)), max(found.margin, float(found.last.high))
    up = Axis(low - (high - low) / 2, high + (high - low) / 2)
    shown = np.isfinite(found.found.difference)
    sizes = found.sizes[shown].tolist()
    lines = (np.clip(each[shown], up.low, up.high).tolist() for each in found.found[:3])
    difference, lower, upper = (list(zip(sizes, each, strict=True)) for each in lines)
    series = [
        Series("difference", difference),
        Series("confidence sequence", lower + upper[::-1], "area"),
    ]
    roomy = found.margin > (up.high - up.low) / 15
    marks = [
        Mark("zero", 0),
        Mark("least difference" if roomy else "", found.margin),
        Mark("", -found.margin),
    ]
    return draw(name, series, marks, Axis(0, sizes[-1], label="units"), up)


def _distribution(found: Analysis, name: str) -> Markup:
    """Return histograms of both arms; the bins at both ends hold what lies beyond."""
    outcome, challenger = found.units.outcome, found.units.challenger
    known = np.isfinite(outcome)
    low, high = np.quantile(outcome[known], TAILS)
    if low == high:
        low, high = outcome[known].min(), outcome[known].max()
    edges = np.linspace(low, high, BINS + 1)

    def shares(arm: npt.NDArray[np.bool_], places: npt.NDArray[np.float64]) -> Points:
        counts, _ = np.histogram(np.clip(outcome[known & arm], low, high), edges)
        found = counts / max(counts.sum(), 1)
        return list(zip(places.tolist(), found.tolist(), strict=True))

    series = [
        Series("champion", shares(~challenger, edges[:-1]), "bars"),
        Series("challenger", shares(challenger, (edges[:-1] + edges[1:]) / 2), "points"),
    ]
    across = Axis(float(low), float(high), label="outcome, by share of the units of the arm")
    return draw(name, series, [], across, reach([y for each in series for _, y in each.points]))
