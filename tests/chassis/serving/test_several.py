"""One process holds several services; each knows its own schema and nothing of the others'.

They are made before any is asked, so that what one leaves behind would be found in another.
"""

import asyncio
import io
import json
from collections.abc import Callable, Iterator, Sequence
from itertools import permutations
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import polars as pl
import pytest

from chassis.rows import flat
from chassis.services import apples, flats, linear, pumps
from ml_chassis.contract import Contract
from ml_chassis.loading import payloads
from ml_chassis.monitoring import metrics
from ml_chassis.monitoring.drift import PREDICTION
from ml_chassis.registry import RegistryError
from ml_chassis.serving.api import create_app, endpoints
from ml_chassis.serving.arrow_reader import ARROW
from ml_chassis.serving.champion import load
from ml_chassis.serving.predictor import ModelError, Predictor
from ml_chassis.serving.protocols.tensors import DATATYPES
from ml_chassis.serving.runtime import Runtime
from ml_chassis.serving.scoring import Model
from ml_chassis.settings import Settings

CONTRACTS = {
    module.__name__.rpartition(".")[2]: Contract(module.Features, module.LabelledFeatures)
    for module in (pumps, apples, flats)
}
"""A binary service, one of three classes and a regression."""
NAMES = list(CONTRACTS)
PAIRS = list(permutations(NAMES, 2))
IN_TURN = NAMES * 3
ROWS = {name: payloads.rows(contract, 20) for name, contract in CONTRACTS.items()}
EXAMPLE = {name: contract.example_row() for name, contract in CONTRACTS.items()}
OWN = {"pumps": "pressure", "apples": "weight", "flats": "size"}
"""A feature that no other service has."""

Rows = Sequence[dict[str, Any]]


class Question(NamedTuple):
    """A request to one of the services."""

    service: str
    path: str
    body: bytes
    media_type: str = "application/json"
    accept: str = "*/*"


class Services(NamedTuple):
    """The services of this process, by name.

    Attributes:
        runtimes: What answers.
        models: The registry of each.
        ask: Sends questions, all at once; returns the answers in their order.
    """

    runtimes: dict[str, Runtime]
    models: dict[str, Path]
    ask: Callable[..., list[httpx.Response]]


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    """Make all of them, each with a champion of its own."""
    folder = tmp_path_factory.mktemp("several")
    models = {name: folder / name for name in NAMES}
    for name, contract in CONTRACTS.items():
        linear.promote(contract, models[name], ROWS[name])
    runtimes = {
        name: Runtime(contract, Settings(models_dir=models[name], model_name=name))
        for name, contract in CONTRACTS.items()
    }
    clients = {name: connect(runtime) for name, runtime in runtimes.items()}
    for name, runtime in runtimes.items():
        runtime.scorer.use(load(CONTRACTS[name], models[name], "champion"))
    with asyncio.Runner() as runner:
        yield Services(runtimes, models, lambda *each: runner.run(send(clients, each)))


def connect(runtime: Runtime) -> httpx.AsyncClient:
    """Return a client of the interface in this process."""
    transport = httpx.ASGITransport(create_app(runtime, endpoints(runtime)))
    return httpx.AsyncClient(transport=transport, base_url="http://test")


async def send(
    clients: dict[str, httpx.AsyncClient], questions: Sequence[Question]
) -> list[httpx.Response]:
    """Ask everything at once."""
    return await asyncio.gather(
        *(
            clients[each.service].post(
                each.path,
                content=each.body,
                headers={"Content-Type": each.media_type, "Accept": each.accept},
            )
            for each in questions
        )
    )


def in_json(name: str, rows: Rows) -> Question:
    """Return what asks POST /predict."""
    return Question(name, "/predict", json.dumps({"rows": rows}).encode())


def in_tensors(name: str, rows: Rows) -> Question:
    """Return an inference of the Open Inference Protocol; a field of another is a number there."""
    columns = CONTRACTS[name].by_name
    inputs = [
        {
            "name": field,
            "shape": [len(rows)],
            "datatype": DATATYPES[columns[field].type if field in columns else "number"],
            "data": [row[field] for row in rows],
        }
        for field in rows[0]
    ]
    return Question(name, f"/v2/models/{name}/infer", json.dumps({"inputs": inputs}).encode())


def in_arrow(name: str, rows: Rows) -> Question:
    """Return what asks POST /predict with a table, for a table."""
    stream = io.BytesIO()
    pl.DataFrame(rows).write_ipc_stream(stream, compat_level=pl.CompatLevel.oldest())
    return Question(name, "/predict", stream.getvalue(), ARROW, ARROW)


Form = Callable[[str, Rows], Question]
FORMS = [in_json, in_tensors, in_arrow]


def assert_right(name: str, numbers: Any) -> None:
    """Make sure that these are the answers of a service for its rows."""
    expected = linear.answers(CONTRACTS[name], ROWS[name])
    assert list(numbers) == pytest.approx(expected.ravel().tolist(), rel=1e-4)


def test_each_answers_json_in_its_own_form(services: Services) -> None:
    for name in IN_TURN:
        (answer,) = services.ask(in_json(name, ROWS[name]))

        predictions = answer.raise_for_status().json()["predictions"]
        assert_right(name, flat(predictions))
        for prediction in predictions:
            if name == "apples":
                assert list(prediction) == ["extra", "first", "second"]
            else:
                assert isinstance(prediction, float)


def test_each_answers_tensors_in_its_own_form(services: Services) -> None:
    outputs = {
        "pumps": ("probability", [20]),
        "apples": ("probability", [20, 3]),
        "flats": ("value", [20]),
    }
    for name in IN_TURN:
        (answer,) = services.ask(in_tensors(name, ROWS[name]))

        content = answer.raise_for_status().json()
        (output,) = content["outputs"]
        assert content["model_name"] == name
        assert (output["name"], output["shape"]) == outputs[name]
        assert_right(name, output["data"])


def test_each_answers_a_table_in_its_own_form(services: Services) -> None:
    columns = {
        "pumps": ["prediction"],
        "apples": ["prediction of extra", "prediction of first", "prediction of second"],
        "flats": ["prediction"],
    }
    for name in IN_TURN:
        (answer,) = services.ask(in_arrow(name, ROWS[name]))

        table = pl.read_ipc_stream(answer.raise_for_status().content)
        assert table.columns == [*columns[name], "prediction_id"]
        assert_right(name, flat(table.select(columns[name]).rows()))


def test_all_are_answered_at_once(services: Services) -> None:
    asked = IN_TURN * 10

    answered = services.ask(*(in_json(name, ROWS[name]) for name in asked))

    for name, answer in zip(asked, answered, strict=True):
        assert_right(name, flat(answer.raise_for_status().json()["predictions"]))


def refused(answer: httpx.Response, field: str) -> bool:
    """Return whether an answer is a refusal because of one field."""
    if answer.request.url.path == "/predict":
        problems = answer.json()["problems"]
        return answer.status_code == 422 and [each["field"] for each in problems] == [field]
    return answer.status_code == 400 and f"{field}: " in answer.json()["error"]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("name", "other"), PAIRS)
def test_a_field_of_another_is_refused(
    services: Services, name: str, other: str, form: Form
) -> None:
    field = OWN[other]
    own = EXAMPLE[name]

    good, bad, of_other = services.ask(
        form(name, [own]),
        form(name, [{**own, field: EXAMPLE[other][field]}]),
        form(other, [EXAMPLE[other]]),
    )

    assert refused(bad, field)
    assert good.is_success
    assert of_other.is_success


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("field", "value", "takes"),
    [
        ("age", 40, {"pumps", "apples", "flats"}),
        ("age", 41, {"apples", "flats"}),
        ("age", 201, {"apples"}),
        ("age", 0.5, {"flats"}),
        ("age", None, {"flats"}),
        ("kind", "vane", {"pumps"}),
        ("kind", "Elstar", {"apples"}),
        ("kind", "loft", {"flats"}),
    ],
)
def test_a_field_of_one_name_is_what_each_declares(
    services: Services, field: str, value: Any, takes: set[str], form: Form
) -> None:
    answered = services.ask(*(form(name, [{**EXAMPLE[name], field: value}]) for name in NAMES))

    for name, answer in zip(NAMES, answered, strict=True):
        assert answer.is_success if name in takes else refused(answer, field)


@pytest.mark.parametrize(("name", "other"), PAIRS)
def test_the_model_of_another_is_not_there(services: Services, name: str, other: str) -> None:
    question = in_tensors(other, ROWS[other])

    (answer,) = services.ask(question._replace(service=name))

    assert answer.status_code == 404


@pytest.mark.parametrize(("name", "other"), PAIRS)
def test_the_model_of_another_is_not_served(services: Services, name: str, other: str) -> None:
    with pytest.raises(RegistryError, match="trained on another schema"):
        load(CONTRACTS[name], services.models[other], "champion")


@pytest.mark.parametrize(("name", "other"), PAIRS)
def test_a_graph_must_take_the_features_of_its_service(name: str, other: str) -> None:
    with pytest.raises(ModelError, match=r"The model takes .*, the schema has"):
        Predictor(CONTRACTS[name], linear.graph(CONTRACTS[other]))


def test_a_graph_must_answer_in_the_form_of_its_service() -> None:
    class Sold(apples.Features):
        sold: bool

    with pytest.raises(ModelError, match="answers the example row"):
        Predictor(Contract(apples.Features, Sold), linear.graph(CONTRACTS["apples"]))


@pytest.mark.parametrize("form", FORMS)
def test_each_falls_back_on_its_own_means(services: Services, form: Form) -> None:
    for name in NAMES:
        runtime = services.runtimes[name]
        served = runtime.scorer.model
        runtime.scorer.use(Model(served.version, None, served.fallback))
        try:
            (answer,) = services.ask(form(name, [EXAMPLE[name]]))
        finally:
            runtime.scorer.use(served)

        assert answer.raise_for_status().headers["degraded"] == "no_model"
        assert served.fallback
        mean = served.fallback.value[EXAMPLE[name]["kind"]]
        assert numbers_in(name, answer) == pytest.approx(flat([mean]), rel=1e-5)


def numbers_in(name: str, answer: httpx.Response) -> list[float]:
    """Return the predictions of an answer of any form."""
    if answer.headers["content-type"] == ARROW:
        table = pl.read_ipc_stream(answer.content)
        return flat(table.select(CONTRACTS[name].prediction_columns).rows())
    content = answer.json()
    return flat(
        content["predictions"] if "predictions" in content else content["outputs"][0]["data"]
    )


def test_each_counts_its_own_features(services: Services) -> None:
    before = {name: counted(services.runtimes[name]) for name in NAMES}
    services.ask(*(in_json(name, ROWS[name]) for name in NAMES))

    for name in NAMES:
        after = counted(services.runtimes[name])
        assert after.keys() == {*CONTRACTS[name].by_name, PREDICTION}
        for feature, rows in after.items():
            assert rows == before[name].get(feature, 0) + len(ROWS[name])


def counted(runtime: Runtime) -> dict[str, float]:
    """Return how many rows of the model were counted, by feature."""
    model = runtime.scorer.model
    assert model.drift
    model.drift.flush()
    rows: dict[str, float] = {}
    for sample in (each for metric in metrics.BINS.collect() for each in metric.samples):
        if sample.labels["version"] == model.version and sample.name.endswith("_total"):
            feature = sample.labels["feature"]
            rows[feature] = rows.get(feature, 0) + sample.value
    return rows


@pytest.mark.parametrize("name", NAMES)
def test_each_documents_itself_and_answers_its_examples(services: Services, name: str) -> None:
    runtime = services.runtimes[name]
    document = asyncio.run(get_document(runtime))

    assert document["components"]["schemas"]["Features"]["properties"].keys() == {
        *CONTRACTS[name].by_name
    }
    for path, methods in document["paths"].items():
        if "post" in methods and "{version}" not in path:
            content = methods["post"]["requestBody"]["content"]["application/json"]
            body = json.dumps(content["example"]).encode()
            (answer,) = services.ask(Question(name, path, body))
            answer.raise_for_status()


async def get_document(runtime: Runtime) -> Any:
    """Return the OpenAPI document of a service."""
    return (await connect(runtime).get("/docs.json")).raise_for_status().json()
