"""Labels of other kinds: names of classes, and numbers, from training to the answers."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from project.combinations import DEFAULT
from project.conftest import Generate
from project.service import make_serve
from project.tools import make, run

pytestmark = pytest.mark.xdist_group("labels")

LATE = '(nw.col("dep_delay") > LATE_MINUTES).alias("late")'
LABEL = re.compile(r"    late: Annotated\[.*?\n    \]\n", re.DOTALL)
DECISION = re.compile(r"\[decision\]\n.*?\n\n", re.DOTALL)


class Kind(NamedTuple):
    """A label, where it comes from, what gates ask of it, and what is predicted."""

    field: str
    expression: str
    gates: dict[str, str]
    width: int
    is_possible: Callable[[Any], bool]


CLASSES = {"early", "on_time", "late"}
KINDS = {
    "multiclass": Kind(
        """    late: Annotated[
        Literal["early", "on_time", "late"],
        Field(description="How the flight left.", examples=["late"]),
    ]
""",
        """nw.when(nw.col("dep_delay") > LATE_MINUTES)
            .then(nw.lit("late"))
            .when(nw.col("dep_delay") < 0)
            .then(nw.lit("early"))
            .when(~nw.col("dep_delay").is_null())
            .then(nw.lit("on_time"))
            .alias("late")""",
        {"auc": "minimum = 0.58", "parity_difference": "maximum = 1e-5"},
        3,
        lambda each: each.keys() == CLASSES and abs(sum(each.values()) - 1) < 1e-5,
    ),
    "regression": Kind(
        """    late: Annotated[
        float,
        Field(ge=-120, le=2_000, description="Minutes after schedule.", examples=[3]),
    ]
""",
        'nw.col("dep_delay").cast(nw.Float64).alias("late")',
        {"r2": "minimum = 0.02", "parity_difference": "maximum = 1e-3"},
        1,
        lambda each: isinstance(each, float),
    ),
}


@pytest.fixture(scope="module", params=["gradient_boosting", "neural_network"])
def installed(request: pytest.FixtureRequest, install: Generate) -> Path:
    """Return a project of a family of models, installed; its label is changed several times."""
    return install({**DEFAULT, "model_family": request.param})


@pytest.fixture
def project(installed: Path) -> Path:
    """Return it as it was generated."""
    done = run(installed, "git", "checkout", "--quiet", ".")
    assert done.returncode == 0, done.stdout
    return installed


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_a_model_of_it_is_trained_and_served_in_every_protocol(
    kind: Kind, project: Path, env: dict[str, str]
) -> None:
    relabel(project, kind)
    make(project, env, "docs", "train")
    make(project, env, "contract", "ACCEPT=yes")

    with make_serve(project, env) as running:
        service = running.service
        row = service.example_row()
        answer = service.predict([row, {**row, "carrier": "ZZ"}]).body["predictions"]
        assert all(kind.is_possible(each) for each in answer)
        assert answer[0] != answer[1]
        flat = [number for each in answer for number in numbers(each)]
        assert len(flat) == 2 * kind.width

        columns = {name: [row[name]] * 2 for name in row} | {"carrier": [row["carrier"], "ZZ"]}
        tensorflow = service.post("/v1/models/model:predict", {"inputs": columns}).body["outputs"]
        assert [number for each in tensorflow for number in numbers(each)] == flat
        frame = {
            "dataframe_split": {
                "columns": list(columns),
                "data": list(zip(*columns.values(), strict=True)),
            }
        }
        mlflow = service.post("/invocations", frame).body["predictions"]
        assert [number for each in mlflow for number in numbers(each)] == flat
        shape = [2] if kind.width == 1 else [2, kind.width]
        inputs = [
            {"name": name, "shape": [2], "datatype": datatype(values[0]), "data": values}
            for name, values in columns.items()
        ]
        (output,) = service.post("/v2/models/model/infer", {"inputs": inputs}).body["outputs"]
        assert (output["shape"], output["data"]) == (shape, flat)

    (project / "in.jsonl").write_text(json.dumps(row) + "\n")
    make(project, env, "score", "INPUT=in.jsonl", "OUTPUT=out.jsonl")
    scored = json.loads((project / "out.jsonl").read_text())
    predicted = [scored[name] for name in scored if name.startswith("prediction")][:-1]
    assert predicted == pytest.approx(numbers(answer[0]), rel=1e-6)  # 32 bits, written shortly

    card = (project / "docs/model-card.md").read_text()
    assert ("coefficient of determination" in card) == ("r2" in kind.gates)
    assert (project / "build/training/report.html").is_file()


def test_a_decision_needs_a_label_of_two(project: Path, env: dict[str, str]) -> None:
    decision = DECISION.search((project / "training.toml").read_text())
    assert decision
    relabel(project, KINDS["regression"])
    with (project / "training.toml").open("a") as toml:
        toml.write(f"\n{decision[0]}")

    done = run(project, "make", "train", env=env)

    assert done.returncode != 0
    assert "[decision] needs a label that is true or false; delete it" in done.stdout
    assert "Traceback" not in done.stdout


def relabel(project: Path, kind: Kind) -> None:
    """Give the example another label."""
    schema, features = (
        project / "src/model_service" / each for each in ("schema.py", "data/features.py")
    )
    schema.write_text(LABEL.sub(lambda _: kind.field, schema.read_text()))
    source = features.read_text()
    assert LATE in source
    features.write_text(source.replace(LATE, kind.expression))
    toml = project / "training.toml"
    settings = DECISION.sub("", toml.read_text()).partition("[gates.")[0]
    gates = (
        f'[gates.{name}]\n{limit}\nreason = "It is tried."\n' for name, limit in kind.gates.items()
    )
    toml.write_text(settings + "\n".join(gates))


def numbers(prediction: Any) -> list[float]:
    """Return the numbers of a prediction for one row."""
    if isinstance(prediction, dict):
        return list(prediction.values())
    return prediction if isinstance(prediction, list) else [prediction]


def datatype(value: Any) -> str:
    """Return the type of a value in the Open Inference Protocol."""
    return {str: "BYTES", int: "INT64", float: "FP64"}[type(value)]
