"""A model that fails costs one answer, and tells nothing of the inside."""

import asyncio
from dataclasses import dataclass
from typing import Any, cast

import httpx
import numpy as np
import numpy.typing as npt
import pytest

from model_service.contract import Categorical, Numeric, example_row
from model_service.serving.api import Served, app
from model_service.serving.drain import Drain
from model_service.serving.predictor import Predictor
from model_service.settings import Settings

BODY: dict[str, Any] = {"rows": [example_row()]}


@dataclass
class Faulty:
    """Answers with what it is given, or raises it."""

    answer: npt.NDArray[np.float32] | Exception

    def predict(self, numeric: Numeric, categorical: Categorical) -> npt.NDArray[np.float32]:
        del numeric, categorical
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def post(model: Faulty) -> httpx.Response:
    async def send() -> httpx.Response:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.post("/predict", json=BODY)

    app.state.served = Served(cast(Predictor, model), "v1", Settings(), Drain(0))
    return asyncio.run(send())


@pytest.mark.parametrize(
    "answer",
    [
        RuntimeError("password=secret"),
        np.array([np.nan], np.float32),
        np.array([np.inf], np.float32),
    ],
    ids=["raises", "nan", "infinite"],
)
def test_it_answers_500_and_goes_on(answer: npt.NDArray[np.float32] | Exception) -> None:
    failed = post(Faulty(answer))

    assert failed.status_code == 500
    assert failed.json()["error"]
    assert "secret" not in failed.text
    assert post(Faulty(np.array([0.5], np.float32))).json()["predictions"] == [0.5]
