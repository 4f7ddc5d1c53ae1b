"""POST /feedback over HTTP: labels in any order, twice, wrong, and for a database that fails."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from chassis.flights import CONTRACT
from ml_chassis.testing import Trained, running_service
from waiting import wait_for

pytestmark = pytest.mark.slow
ROW = CONTRACT.example_row()


class Asked(NamedTuple):
    """A service with two workers and a database of its own."""

    client: httpx.Client
    database: Path

    def predict(self, rows: int = 1) -> list[str]:
        """Return the ids of predictions."""
        answer = self.client.post("/predict", json={"rows": [ROW] * rows}).raise_for_status()
        ids: list[str] = answer.json()["prediction_id"]
        return ids

    def tell(self, *labels: tuple[str, Any]) -> httpx.Response:
        """Send labels."""
        sent = [{"prediction_id": name, "label": label} for name, label in labels]
        return self.client.post("/feedback", json={"labels": sent})

    def labelled(self) -> float:
        """Return how many labels were joined and counted."""
        lines = self.client.get("/metrics").text.splitlines()
        name = 'model_service_labelled_rows_total{slice="(all)"'
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))


@pytest.fixture(scope="module")
def asked(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asked]:
    folder = tmp_path_factory.mktemp("feedback")
    database = folder / "feedback.db"
    settings = {"WORKERS": "2", "FEEDBACK_URL": f"sqlite:///{database}?timeout=1"}
    given = {f"MODEL_SERVICE_{name}": value for name, value in settings.items()}
    with (
        running_service(trained.models, folder, **given) as url,
        httpx.Client(base_url=url, timeout=30, trust_env=False) as client,
    ):
        yield Asked(client, database)


def test_labels_are_joined_once_in_any_order(asked: Asked) -> None:
    before = asked.labelled()
    ids = asked.predict(3)

    told = asked.tell(("unknown", True), *((name, True) for name in ids)).json()
    assert told["joined"] + told["waiting"] == 4  # a worker writes once a second
    again = asked.tell((ids[0], False), (ids[1], True))

    assert again.status_code == 200
    wait_for(lambda: asked.labelled() - before == 3, "all labels are joined")
    assert asked.tell((ids[1], True)).json() == {
        **{"joined": 0, "known": 1, "changed": 0, "waiting": 0}
    }
    assert asked.labelled() - before == 3


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({"labels": []}, 422, "at least 1 item"),
        ({"labels": [{"prediction_id": "a", "label": "late"}]}, 422, "valid boolean"),
        ({"labels": [{"prediction_id": "a"}]}, 422, "Field required"),
        ({"labels": [{"prediction_id": "a b", "label": True}]}, 422, "match pattern"),
        ({"labels": [{"prediction_id": "a", "label": True, "x": 1}]}, 422, "not permitted"),
        ({"labels": [{"prediction_id": "a", "label": True}] * 1_001}, 422, "at most 1000 items"),
        (
            {"labels": [{"prediction_id": "a", "label": each} for each in (True, False)]},
            422,
            "another label before",
        ),
        ([], 422, "should be an object"),
    ],
)
def test_what_is_wrong_is_refused_by_name(body: Any, status: int, said: str, asked: Asked) -> None:
    answer = asked.client.post("/feedback", json=body)

    assert answer.status_code == status
    assert said in answer.text
    assert asked.client.get("/feedback").status_code == 405


def test_a_database_that_is_locked_fails_no_prediction(asked: Asked) -> None:
    before = asked.labelled()
    with closing(sqlite3.connect(asked.database, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        ids = asked.predict()
        refused = asked.tell((ids[0], True))
        assert refused.status_code == 503
        assert "send them again later" in refused.json()["error"]
        assert refused.headers["retry-after"]
        other.execute("ROLLBACK")

    wait_for(lambda: asked.tell((ids[0], True)).status_code == 200, "it is there again")
    wait_for(lambda: asked.labelled() - before == 1, "the prediction was kept meanwhile")


def test_nothing_of_it_is_in_what_the_objectives_are_about(asked: Asked) -> None:
    assert asked.tell(("unknown", True)).status_code == 200
    assert 'route="/feedback"' not in asked.client.get("/metrics").text


def test_the_document_describes_it(asked: Asked, client: httpx.Client) -> None:
    described = asked.client.get("/docs.json").json()["paths"]["/feedback"]["post"]
    example = described["requestBody"]["content"]["application/json"]["example"]
    assert asked.client.post("/feedback", json=example).status_code == 200
    assert "/feedback" not in client.get("/docs.json").json()["paths"]


def test_without_a_database_there_is_no_such_route(client: httpx.Client) -> None:
    assert client.post("/feedback", json={"labels": []}).status_code == 404
