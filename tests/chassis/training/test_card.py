"""The model card and the report say what training found, and the card does not grow old."""

import re
from pathlib import Path

import pytest

from chassis.flights import PROJECT
from ml_chassis.reference import END
from ml_chassis.testing import Trained
from ml_chassis.training import card, report
from ml_chassis.training.candidate import Candidate
from ml_chassis.training.card import BEGIN, CARD, INPUTS, inputs
from ml_chassis.training.config import GAIN_OVER_CHAMPION, read
from ml_chassis.training.train import prepare


@pytest.fixture(scope="module")
def candidate(trained: Trained) -> Candidate:
    return prepare(read(PROJECT), trained.store, trained.models)


def test_the_card_of_this_project_is_about_its_data_schema_and_configuration(
    trained: Trained,
) -> None:
    found = re.findall(f"^{INPUTS} .*$", CARD.read_text(encoding="utf-8"), re.MULTILINE)
    assert found in ([], [inputs(trained.manifest)]), "run `make train` and commit the card"


def test_training_writes_its_part_of_the_card_and_leaves_the_rest(
    trained: Trained, candidate: Candidate, tmp_path: Path
) -> None:
    path = tmp_path / "card.md"
    path.write_text(f"By hand.\n{BEGIN}Old.\n{END}By hand, too.\n")

    for _ in range(2):
        card.write(read(PROJECT), candidate, trained.manifest, path)

    text = path.read_text()
    assert text.startswith(f"By hand.\n{BEGIN}")
    assert text.endswith(f"{END}By hand, too.\n")
    assert "Old." not in text
    assert text.count(inputs(trained.manifest)) == 1
    assert all(
        f"`{gate.name}`" in text for gate in candidate.gates if gate.name != GAIN_OVER_CHAMPION
    )


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("0123456789abcdef", "at commit `0123456789ab`."),
        ("0123456789abcdef-dirty", "at commit `0123456789ab`, with changes that it does not hold."),
        ("unknown", "with the code as it was; it was in no repository."),
    ],
)
def test_it_says_of_which_code_a_model_is(
    trained: Trained, candidate: Candidate, tmp_path: Path, code: str, said: str
) -> None:
    path = tmp_path / "card.md"
    path.write_text(f"{BEGIN}{END}")

    card.write(
        read(PROJECT), candidate, trained.manifest.model_copy(update={"code_version": code}), path
    )

    assert f"To make it again: `make train` {said}" in path.read_text()


def test_the_champion_is_compared_with(candidate: Candidate) -> None:
    assert candidate.evaluation.gains["champion"].value == pytest.approx(0, abs=1e-6)


def test_the_report_shows_every_gate_and_its_reason(candidate: Candidate) -> None:
    page = report.render(read(PROJECT), candidate)

    assert [gate.name for gate in candidate.gates if gate.name not in page] == []
    assert re.findall("<figcaption><b>(.*?)</b>", page) == [
        "Expected value by decision threshold, USD",
        "Calibration curve",
        "Precision-recall curve",
        "ROC AUC by month",
        "Fraction of positives and mean predicted probability by month",
    ]
    assert re.findall(r">([A-Z][a-z]{2} 2013)<", page) == 2 * ["Oct 2013", "Nov 2013", "Dec 2013"]
    matrix = page.partition("Confusion matrix")[2].partition("</table>")[0]
    counts = [int(each.replace(",", "")) for each in re.findall(r">([\d,]+)<", matrix)]
    assert sum(counts) == candidate.facts["rows"]["test"]
    assert not re.search(r"(src|href)=|url\(|@import|<script", page)  # it opens without a network
