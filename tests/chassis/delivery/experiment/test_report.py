"""The page says the decision first, then what it rests on, to people who are no statisticians."""

import re
from html import unescape
from pathlib import Path

import numpy as np
import pytest

from browser import look
from chassis.delivery.experiment.test_analysis import PLAN, analysed, units
from ml_chassis.delivery.experiment import report
from ml_chassis.delivery.experiment.analysis import Analysis, Units
from ml_chassis.delivery.experiment.rule import Decision
from ml_chassis.slo import Experiment

PHONE = 360
FOUND: dict[Decision, Analysis] = {
    "better": analysed(units(0.5)),
    "worse": analysed(units(-0.5)),
    "no difference": analysed(units()),
    "continue": analysed(units(0.1), Experiment(least_difference=0.01)),
    "undecided": analysed(units(0.1), Experiment(least_difference=0.01, most_days=1)),
    "invalid": analysed(units(0.5, share=0.4)),
}


def written(found: Analysis, folder: Path) -> str:
    report.write(folder / "report.html", found, "flights", report.notes(found))
    return (folder / "report.html").read_text(encoding="utf-8")


def text_of(page: str) -> str:
    text = re.sub(r"<[^>]+>", " ", page.partition("<body>")[2])
    return re.sub(r"\s+", " ", unescape(text))


@pytest.mark.parametrize("decision", FOUND)
def test_the_title_is_the_decision_and_its_rule_applies(decision: Decision, tmp_path: Path) -> None:
    found = FOUND[decision]
    assert found.decision == decision

    page = written(found, tmp_path)

    kind = "met" if decision in {"better", "no difference", "continue"} else "missed"
    assert f'<h1 class="{kind}">flights: {report.TITLES[decision]}</h1>' in page
    (rule,) = re.findall(r"<tr><td>([^<]+)</td><td>[^<]+</td><td><span[^>]*>applies<", page)
    assert rule == report.TITLES[decision]
    assert report.NEXT[decision] in text_of(page)
    assert "<script" not in page
    assert "http" not in page


def test_the_numbers_are_absolute_relative_and_of_a_thousand(tmp_path: Path) -> None:
    given = units(0.5)
    plan = PLAN.model_copy(update={"outcome_unit": "EUR"})
    found = analysed(given._replace(outcome=given.outcome + 2), plan)

    words = text_of(written(found, tmp_path))

    difference = float(found.last.difference)
    assert f" per decision {difference:+.3g} EUR {found.last.low:+.3g} EUR " in words
    assert f" per 1,000 decisions {1_000 * difference:+.3g} EUR " in words
    assert f" of the champion's mean {100 * difference / found.champion.mean:+.3g} % " in words
    assert f" champion {found.champion.units:,} {found.champion.known:,} " in words
    assert "within the least difference of 0.2 EUR" in words
    assert f"{found.challenger.units:,} of 4,000 units" in words


def test_nothing_is_relative_to_a_mean_that_may_be_zero(tmp_path: Path) -> None:
    assert "of the champion's mean" not in text_of(written(FOUND["better"], tmp_path))


def test_of_an_invalid_test_no_difference_is_shown(tmp_path: Path) -> None:
    page = written(FOUND["invalid"], tmp_path)

    assert "<svg" not in page
    assert "per decision" not in page
    assert "50 % were planned" in page


def test_where_lower_is_better_a_smaller_loss_is(tmp_path: Path) -> None:
    found = analysed(units(-0.5), PLAN.model_copy(update={"better": "lower"}))

    page = written(found, tmp_path)

    assert "The challenger is better than the champion</h1>" in page
    assert "the interval lies below zero" in page


def test_a_difference_that_is_real_and_does_not_matter_is_called_so(tmp_path: Path) -> None:
    words = "by less than the least difference that matters"
    found = analysed(units(0.5), Experiment(least_difference=0.9))

    assert found.decision == "better"
    assert words in text_of(written(found, tmp_path))
    assert words not in text_of(written(FOUND["better"], tmp_path))


def test_too_few_units_are_counted(tmp_path: Path) -> None:
    few = Units(np.arange(50) % 2 == 0, np.arange(50.0))

    words = text_of(written(analysed(few), tmp_path))

    assert "Outcomes are known of 25 units of the champion and 25 of the challenger" in words
    assert "below 200 of each nothing is said" in words


def test_equal_outcomes_say_nothing(tmp_path: Path) -> None:
    given = Units(np.arange(1_000) % 2 == 0, np.ones(1_000))

    assert "All outcomes of an arm are equal so far" in text_of(written(analysed(given), tmp_path))


def test_what_is_odd_is_noted(tmp_path: Path) -> None:
    given = units()
    late = given._replace(
        outcome=np.where(given.challenger & (np.arange(4_000) % 4 == 0), np.nan, given.outcome),
        repeated=7,
        mixed=3,
    )

    words = text_of(written(analysed(late, PLAN.model_copy(update={"most_days": 2})), tmp_path))

    assert "7 rows were of a unit seen before" in words
    assert "3 units were in both arms, and are left out" in words
    assert "1,120 units came after the last day" in words
    assert "100.0% of the champion's units and 7" in words


@pytest.mark.parametrize("times", [1e-9, 1, 1e12])
def test_outcomes_of_any_size_are_drawn(times: float, tmp_path: Path) -> None:
    given = units(0.5)
    found = analysed(given._replace(outcome=given.outcome * times), Experiment())

    assert written(found, tmp_path).count("<svg") == 2


def test_a_name_is_no_markup(tmp_path: Path) -> None:
    plan = PLAN.model_copy(update={"outcome_unit": "<b>EUR"})

    assert "<b>EUR" not in written(analysed(units(), plan), tmp_path)


@pytest.mark.parametrize("dark", [False, True])
def test_it_fits_on_a_phone(dark: bool, tmp_path: Path) -> None:
    seen = look(written(FOUND["better"], tmp_path), tmp_path, width=PHONE, dark=dark)

    assert seen.width <= PHONE
    assert seen.charts == 2
