"""Changes of the HTTP interface that break clients are named; others pass."""

import json
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest

from chassis.flights import PROJECT
from ml_chassis.compatibility import CONTRACT, breaking_changes, interface

Document = dict[str, Any]


@pytest.fixture(scope="module")
def known() -> Document:
    """Return the interface as it is; do not change it."""
    return interface(PROJECT)


def features(changed: Document) -> Any:
    return changed["components"]["schemas"]["Features"]


def answer(changed: Document) -> Any:
    return changed["components"]["schemas"]["PredictResponse"]


def operation(changed: Document) -> Any:
    return changed["paths"]["/predict"]["post"]


def first_numeric(changed: Document) -> Any:
    return next(field for field in features(changed)["properties"].values() if "maximum" in field)


def first_pattern(changed: Document) -> Any:
    return next(field for field in features(changed)["properties"].values() if "pattern" in field)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda d: d["paths"].pop("/predict"), "POST /predict: is gone"),
        (lambda d: d["paths"].pop("/readyz"), "GET /readyz: is gone"),
        (lambda d: operation(d)["responses"].pop("200"), "answer 200: no application/json"),
        (lambda d: operation(d)["requestBody"]["content"].pop("application/json"), "request: no"),
        (lambda d: features(d)["required"].append("new"), "rows[]: new must be given"),
        (lambda d: features(d)["properties"].popitem(), "is gone"),
        (
            lambda d: (features(d)["required"].append("new"), features(d)["properties"].popitem()),
            "is gone",
        ),
        (lambda d: first_numeric(d).update(maximum=1), "values are refused that were accepted"),
        (lambda d: first_numeric(d).update(type="string"), "values are refused"),
        (lambda d: first_pattern(d).update(pattern="^.$"), "another pattern"),
        (lambda d: answer(d)["required"].remove("predictions"), "values are given"),
        (lambda d: answer(d)["properties"]["predictions"].update(type="string"), ".predictions"),
        (
            lambda d: operation(d).update(
                parameters=[{"name": "tenant", "in": "header", "required": True}]
            ),
            "the parameter tenant is required",
        ),
    ],
)
def test_what_breaks_clients_is_named(
    known: Document, change: Callable[[Document], Any], named: str
) -> None:
    changed = deepcopy(known)
    change(changed)

    assert named in "\n".join(breaking_changes(known, changed))


@pytest.mark.parametrize(
    "change",
    [
        lambda _: None,
        lambda d: d["paths"].update({"/new": {"get": {"responses": {"200": {}}}}}),
        lambda d: features(d)["properties"].update(new={"type": "number"}),
        lambda d: first_numeric(d).update(maximum=10**9),
        lambda d: first_numeric(d).update(description="Said better."),
        lambda d: answer(d)["properties"].update(new={"type": "number"}),
        lambda d: operation(d)["responses"].update({"418": {}}),
    ],
    ids=["nothing", "path", "optional feature", "wider", "words", "more in the answer", "status"],
)
def test_what_breaks_nobody_passes(known: Document, change: Callable[[Document], Any]) -> None:
    changed = deepcopy(known)
    change(changed)

    assert list(breaking_changes(known, changed)) == []


def test_the_contract_is_current(known: Document) -> None:
    assert json.loads(CONTRACT.read_text(encoding="utf-8")) == known, "Run: make contract"
