"""The service answers what the schema allows and refuses the rest; holds for any schema."""

from typing import Any

import httpx
import numpy as np
import pytest
from ml_chassis.project import Project
from ml_chassis.testing import Trained, valid_rows, wrong_values


def predict(client: httpx.Client, *rows: dict[str, Any]) -> Any:
    """Return the answer for rows."""
    return client.post("/predict", json={"rows": rows}).raise_for_status().json()


def test_the_example_is_predicted(client: httpx.Client, project: Project, trained: Trained) -> None:
    answer = predict(client, project.contract.example_row())

    assert answer.keys() == {"predictions", "model_version", "prediction_id"}
    assert answer["model_version"] == trained.manifest.version
    assert len(answer["predictions"]) == len(answer["prediction_id"]) == 1


def test_every_valid_row_has_a_prediction(client: httpx.Client, project: Project) -> None:
    contract, rows = project.contract, valid_rows(project.contract, 100)

    found = predict(client, *rows)["predictions"]

    if contract.classes:  # by name of class
        assert all(tuple(each) == contract.classes for each in found)
        found = [list(each.values()) for each in found]
    predictions = np.array(found)
    assert predictions.shape == (len(rows), *contract.width)
    assert np.isfinite(predictions).all()
    if contract.task != "regression":
        assert ((predictions >= 0) & (predictions <= 1)).all()
    if contract.classes:
        assert predictions.sum(axis=1) == pytest.approx(1, abs=1e-4)


def test_a_prediction_does_not_depend_on_the_other_rows(
    client: httpx.Client, project: Project
) -> None:
    rows = valid_rows(project.contract, 20)

    alone = [predict(client, row)["predictions"][0] for row in rows]

    assert predict(client, *rows)["predictions"] == alone


def test_a_wrong_value_is_refused_by_row_and_field(client: httpx.Client, project: Project) -> None:
    row = project.contract.example_row()
    for wrong in wrong_values(project.contract):
        rows = [row, {**row, wrong.field: wrong.value}]

        refused = client.post("/predict", json={"rows": rows})

        assert refused.status_code == 422, wrong
        places = {(each["row"], each["field"]) for each in refused.json()["problems"]}
        assert places == {(1, wrong.field)}


def test_it_tells_how_it_is(client: httpx.Client, trained: Trained) -> None:
    assert client.get("/livez").is_success
    assert client.get("/readyz").is_success
    metrics = client.get("/metrics").raise_for_status().text
    assert "model_service_requests_total" in metrics
    assert trained.manifest.version in metrics


def test_it_describes_its_interface(client: httpx.Client, project: Project) -> None:
    document = client.get("/docs.json").raise_for_status().json()

    assert "/predict" in document["paths"]
    features = document["components"]["schemas"]["Features"]["properties"]
    assert list(features) == [each.name for each in project.contract.features]
