"""Two models are compared on the same rows."""

import numpy as np
import pytest

from chassis.services import apples, flats, pumps
from ml_chassis.contract import Contract
from ml_chassis.decision import Decision
from ml_chassis.delivery.shadow.comparison import LEAST, Comparison, compare, share_interval
from ml_chassis.feedback.store import Pair
from ml_chassis.monitoring.quality import Label

PUMPS, FLATS, APPLES = (
    Contract(each.Features, each.LabelledFeatures) for each in (pumps, flats, apples)
)
DECISION = Decision(
    action="repair it",
    unit="euros",
    true_positive=10,
    false_positive=-2,
    false_negative=-4,
    true_negative=0,
)  # from a probability of 1/8 on


def pair(stable: float, shadow: float, label: Label | None = None, **slices: str) -> Pair:
    """Return what both say of a pump, or of a flat where nothing is decided."""
    acts = stable >= DECISION.threshold, shadow >= DECISION.threshold
    return Pair(f"{stable}-{shadow}-0", stable, shadow, acts, slices, label)


def of_pumps(*pairs: Pair) -> Comparison:
    return compare(PUMPS, DECISION, pairs)


def test_the_same_model_agrees_with_itself() -> None:
    found = of_pumps(*(pair(each / 100, each / 100) for each in range(100)))
    assert found.difference == (0, 0, 0)
    assert found.apart == (0, 0, 0)
    assert found.correlation == pytest.approx(1)
    assert found.agreement is not None
    assert found.agreement.value == 1
    assert 0.96 < found.agreement.low < 1  # of 100 rows one cannot be certain


def test_differences_are_those_of_the_rows() -> None:
    found = of_pumps(pair(0.1, 0.2), pair(0.5, 0.4), pair(0.9, 0.6))
    assert found.difference is not None
    assert found.difference.value == pytest.approx(-0.1)
    assert found.apart == pytest.approx(np.quantile([0.1, 0.1, 0.3], (0.5, 0.9, 0.99)))
    assert found.correlation == pytest.approx(np.corrcoef([0.1, 0.5, 0.9], [0.2, 0.4, 0.6])[0, 1])
    assert found.largest[0].id == "0.9-0.6-0"


def test_decisions_are_counted_by_what_both_decide() -> None:
    found = of_pumps(pair(0.1, 0.2), pair(0.1, 0.2), pair(0.5, 0.4), pair(0.9, 0.1))
    assert found.outcomes == [
        (("does not", "acts"), 2),
        (("acts", "acts"), 1),
        (("acts", "does not"), 1),
    ]
    assert found.agreement is not None
    assert found.agreement.value == 0.25


def test_where_nothing_is_decided_nothing_is_said_of_decisions() -> None:
    rows = [Pair("a-0", 700.0, 720.0, (None, None), {}, None)]
    found = compare(FLATS, None, rows)
    assert (found.agreement, found.outcomes) == (None, [])
    assert found.difference is not None
    assert found.difference.value == pytest.approx(20)
    assert found.correlation is None  # of one row


def test_classes_are_compared_by_the_most_probable_one_and_by_all_probabilities() -> None:
    first, second, *_ = APPLES.classes
    sure, unsure = [0.8, 0.2] + [0.0] * (len(APPLES.classes) - 2), [0.4, 0.6]
    unsure += [0.0] * (len(APPLES.classes) - 2)
    rows = [Pair("a-0", sure, unsure, (None, None), {}, None)] * 3
    rows += [Pair("b-0", sure, sure, (None, None), {}, None)]
    found = compare(APPLES, None, rows)
    assert found.outcomes == [((first, second), 3), ((first, first), 1)]
    assert found.apart[0] == pytest.approx(0.4)  # total variation distance
    assert (found.difference, found.correlation) == (None, None)
    assert found.largest[-1].id == "b-0"


def test_labels_say_which_of_both_is_better() -> None:
    rows = [pair(0.1, 0.9, label=True), pair(0.1, 0.05, label=False)] * LEAST
    found = of_pumps(*rows).labelled
    assert found is not None
    assert found.rows == 2 * LEAST
    assert found.stable.value == pytest.approx(-np.log([0.1, 0.9]).mean())
    assert found.shadow.value == pytest.approx(-np.log([0.9, 0.95]).mean())
    assert found.gain.value == pytest.approx(found.stable.value - found.shadow.value)
    assert found.gain.low > 0
    assert found.values == (-2.0, 5.0)  # of a true row -4 and 10, of a false one nothing


@pytest.mark.parametrize(
    ("contract", "prediction", "label"),
    [(FLATS, 700.0, 710.0), (APPLES, [0.5, 0.5], "")],
    ids=["number", "classes"],
)
def test_labels_of_any_kind_are_measured(
    contract: Contract, prediction: float | list[float], label: Label
) -> None:
    if contract.classes:
        prediction = [1 / len(contract.classes)] * len(contract.classes)
        label = contract.classes[-1]
    rows = [Pair("a-0", prediction, prediction, (None, None), {}, label)] * LEAST
    found = compare(contract, None, rows).labelled
    assert found is not None
    expected = np.log(len(contract.classes)) if contract.classes else 100
    assert found.stable.value == pytest.approx(expected)
    assert found.gain == (0, 0, 0)
    assert found.values is None


def test_of_few_labels_nothing_is_said() -> None:
    rows = [pair(0.1, 0.9, label=True)] * (LEAST - 1) + [pair(0.1, 0.9)] * LEAST
    assert of_pumps(*rows).labelled is None


def test_slices_are_compared_by_themselves_where_they_have_rows_enough() -> None:
    rows = [pair(0.1, 0.9, kind="gear")] * LEAST + [pair(0.2, 0.2, kind="vane")] * (LEAST - 1)
    rows += [pair(0.2, 0.2, kind="vane", fluid="oil")]
    found = dict(of_pumps(*rows).slices)
    assert found.keys() == {"kind gear", "kind vane"}
    gear, vane = found["kind gear"].agreement, found["kind vane"].agreement
    assert gear is not None
    assert vane is not None
    assert (gear.value, vane.value) == (0, 1)


def test_the_interval_of_a_share_is_wilsons() -> None:
    # By R 4.3: prop.test(9, 10, correct = FALSE)$conf.int
    assert share_interval(9, 10) == pytest.approx((0.9, 0.5958500, 0.9821238), abs=1e-6)
    assert share_interval(0, 10)[:2] == pytest.approx((0, 0))
    assert share_interval(10, 10).high == 1
