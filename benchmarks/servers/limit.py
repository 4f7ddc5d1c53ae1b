"""The limit: uvicorn, msgspec and ONNX Runtime, with nothing checked and nothing counted.

`app` calls the model once per request. `batched` calls it once per turn of the event loop, with
what that turn has brought.
"""

import asyncio
from collections.abc import Awaitable, Callable
from itertools import chain
from operator import attrgetter
from typing import Any

import msgspec
import numpy as np
from model import OnnxModel
from model import Row as Model

Read = Callable[[], Awaitable[dict[str, Any]]]
Write = Callable[[dict[str, Any]], Awaitable[None]]

model = OnnxModel()
Row = msgspec.defstruct(
    "Row", [(name, field.annotation) for name, field in Model.model_fields.items()], gc=False
)
Request = msgspec.defstruct("Request", [("rows", list[Row])], gc=False)
decode = msgspec.json.Decoder(Request).decode
encode = msgspec.json.Encoder().encode
numeric, categorical = attrgetter(*model.numeric), attrgetter(*model.categorical)
waiting: list[tuple[list[Any], asyncio.Future[list[float]]]] = []


def score(rows: list[Any]) -> list[float]:
    return model.run(
        np.array([numeric(row) for row in rows], np.float32),
        np.array([categorical(row) for row in rows], object),
    )


async def app(scope: dict[str, Any], receive: Read, send: Write) -> None:
    if scope["type"] == "http":
        rows = decode(await read(receive)).rows
        await answer(send, encode({"predictions": score(rows)}))


async def batched(scope: dict[str, Any], receive: Read, send: Write) -> None:
    if scope["type"] == "http":
        loop = asyncio.get_running_loop()
        rows = decode(await read(receive)).rows
        if not waiting:
            loop.call_soon(flush)
        result = loop.create_future()
        waiting.append((rows, result))
        await answer(send, encode({"predictions": await result}))


def flush() -> None:
    values = iter(score(list(chain.from_iterable(rows for rows, _ in waiting))))
    for rows, result in waiting:
        result.set_result([next(values) for _ in rows])
    waiting.clear()


async def read(receive: Read) -> bytes:
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message["body"], message["more_body"]
    return body


async def answer(send: Write, body: bytes) -> None:
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
