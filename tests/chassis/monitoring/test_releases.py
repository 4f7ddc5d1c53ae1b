"""Good canaries are seldom rolled back and bad ones are, however often somebody looks."""

import numpy as np
import pytest

from chassis.monitoring import releases
from chassis.monitoring.releases import BAD, GOOD, SEED, TRAFFICS, simulate
from chassis.services import apples, flats, pumps
from ml_chassis import slo
from ml_chassis.contract import Categorical, Contract, Numeric
from ml_chassis.monitoring.drift import PREDICTION, Reference, Values
from ml_chassis.monitoring.rules import release
from nightly import NIGHTLY

STATED = slo.read()
ROWS = 2_000
FALSE = 0.01
"""Share of good canaries that may be rolled back."""


def outcomes(words: str, count: int) -> releases.Outcome:
    """Return what becomes of releases at the default traffic."""
    tracks = (GOOD | BAD)[words]
    return simulate(STATED, TRAFFICS[0], tracks, count, np.random.default_rng(SEED))


@pytest.mark.parametrize("words", GOOD)
def test_a_good_canary_is_promoted(words: str) -> None:
    found = outcomes(words, 500)

    assert found.rolled_back < FALSE
    assert found.promoted == 1 - found.rolled_back


@pytest.mark.parametrize("words", BAD)
def test_a_bad_canary_is_rolled_back(words: str) -> None:
    assert outcomes(words, 50).rolled_back == 1


def test_with_the_quantile_of_one_look_more_good_ones_are_rolled_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(release, "NORMAL", 3.09)  # one of a thousand

    assert outcomes(next(iter(GOOD)), 500).rolled_back > FALSE


CONTRACTS = {
    module.__name__.rpartition(".")[2]: Contract(module.Features, module.LabelledFeatures)
    for module in (pumps, apples, flats)
}
"""A binary service, one of three classes and a regression."""


def predicted(contract: Contract, seen: float, random: np.random.Generator) -> Values:
    """Return what a model predicts that sees so much of the truth, and else answers the mean."""
    if contract.classes:
        often = np.arange(1, len(contract.classes) + 1)
        truth, mean = random.dirichlet(0.6 * often, ROWS), often / often.sum()
    else:
        truth, mean = random.beta(1, 3, ROWS), np.array(0.25)
    found: Values = (seen * truth + (1 - seen) * mean).astype(np.float32)
    return found


def inputs(contract: Contract) -> tuple[Numeric, Categorical]:
    """Return rows that are all the same."""
    numeric = np.zeros((ROWS, len(contract.numeric)), np.float32)
    return numeric, np.full((ROWS, len(contract.categorical)), "", object)


@pytest.mark.parametrize("contract", CONTRACTS.values(), ids=CONTRACTS)
@pytest.mark.parametrize(
    ("seen", "wrong"), [(1, False), (0.95, False), (0, True)], ids=["all", "most", "nothing"]
)
def test_a_model_that_sees_nothing_is_told_in_the_bins_of_the_champion(
    contract: Contract, seen: float, wrong: bool
) -> None:
    random, rows = np.random.default_rng(SEED), inputs(contract)
    champion = Reference.fit(contract, *rows, predicted(contract, 1, random))
    asked = predicted(contract, seen, random)

    canary = Reference.fit(contract, *rows, asked, champion)
    assert champion.of_predictions.keys() <= canary.of_predictions.keys()
    now, before = (
        champion.count(contract, *rows, each)[PREDICTION][np.newaxis].astype(float)
        for each in (asked, predicted(contract, 1, random))
    )
    index, limit = releases.compare(now, before, STATED.release.psi)
    assert bool(index[0] > limit[0]) == wrong


@pytest.mark.skipif(not NIGHTLY, reason="it takes a minute: see `make nightly`")
def test_the_rates_of_the_page_are_those_of_the_simulation() -> None:
    page = releases.PAGE.read_text(encoding="utf-8")
    assert page == releases.page(STATED), "run tests/chassis/monitoring/releases.py"


def test_the_page_has_a_row_of_each_canary_and_its_rates_are_within_the_limit() -> None:
    table = releases.PAGE.read_text(encoding="utf-8").partition(releases.BEGIN)[2]
    rows = [line.strip("| ").split(" | ") for line in table.splitlines() if line.startswith("| ")]

    assert [row[0] for row in rows[1:]] == [*GOOD, *BAD]
    for row in rows[1 : 1 + len(GOOD)]:
        assert all(float(each.partition("%")[0]) < 100 * FALSE for each in row[1:])
