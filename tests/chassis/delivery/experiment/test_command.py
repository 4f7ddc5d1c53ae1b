"""`chassis experiment`, from a file to the words in the terminal and the page."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from chassis.command import chassis
from chassis.copies import copied, edit
from chassis.delivery.experiment.test_analysis import units
from ml_chassis.delivery.experiment.command import PAGE


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a copy of the project."""
    folder = tmp_path / "project"
    copied(folder)
    monkeypatch.chdir(folder)
    return folder


def exposures(folder: Path, better: float) -> str:
    """Write a file of exposures without times."""
    given = units(better)
    arm = np.where(given.challenger, "challenger", "champion")
    frame = pl.DataFrame({"unit": range(len(arm)), "arm": arm, "outcome": given.outcome + 3})
    frame.write_parquet(folder / "exposures.parquet")
    return str(folder / "exposures.parquet")


def test_it_says_what_is_decided_and_writes_a_page(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert chassis("experiment", exposures(project, 0.5)) == 0

    said = capsys.readouterr().out
    assert "The challenger is better than the champion.\n" in said
    assert " USD with the challenger" in said  # the unit of [decision]
    assert "make promote" in said
    assert said.endswith(f"{PAGE}\n")
    page = (project / PAGE).read_text(encoding="utf-8")
    assert ": The challenger is better than the champion</h1>" in page


def test_the_plan_is_that_of_slo_yaml(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    edit(
        Path("slo.yaml"),
        {"better: higher": "better: lower", 'outcome_unit: ""': "outcome_unit: points"},
    )

    assert chassis("experiment", exposures(project, 0.5)) == 0

    said = capsys.readouterr().out
    assert "The challenger is worse than the champion.\n" in said
    assert " points with the challenger" in said


def test_a_loss_is_not_counted_in_money(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    edit(Path("slo.yaml"), {"better: higher": "better: lower"})

    assert chassis("experiment", exposures(project, -0.5)) == 0

    said = capsys.readouterr().out
    assert "The challenger is better than the champion.\n" in said
    assert "USD" not in said


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((), "MODEL_SERVICE_FEEDBACK_URL: set it to that of the service, or give INPUT"),
        (("nowhere.csv",), "nowhere.csv: there is no such file"),
        (("slo.yaml",), "give a file that ends in"),
        (("sqlite:///nowhere.db",), "table"),
    ],
)
def test_what_cannot_be_analysed_is_told(
    given: tuple[str, ...], message: str, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert chassis("experiment", *given) == 1

    error = capsys.readouterr().err
    assert error.startswith("\nNothing was analysed. ")
    assert message in error
    assert not (project / PAGE).exists()


def test_a_wrong_plan_is_told(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    edit(Path("slo.yaml"), {"share: 50": "share: 0"})

    assert chassis("experiment", exposures(project, 0)) == 1

    assert "slo.yaml: experiment.share" in capsys.readouterr().err
