"""What the protocols share: the way from a request to its answer."""

from codecs import BOM_UTF8
from collections.abc import Callable, Mapping
from typing import Annotated, Any, TypeVar

import msgspec
from pydantic_core import from_json
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Scope

from ...contract import Contract, Rows
from ..endpoint import Answer, Handler, Wording
from ..messages import INVALID, Problem, RefusedError, require_few
from ..runtime import Runtime
from ..scoring import Scored

Write = Callable[[Scored], Answer]
Read = Callable[[Scope, bytes], tuple[Rows, Write]]
"""From a request to its rows and to what writes the answer for them."""
Version = Callable[[str], str]
"""From the name of a version to the name that clients of the protocol give it."""

T = TypeVar("T")
encode = msgspec.json.Encoder().encode


def answer_type(
    contract: Contract, name: str, description: str, field: str
) -> type[msgspec.Struct]:
    """Return the message that holds nothing but predictions, for the OpenAPI document."""
    one: Any = list[float] if contract.width else float
    meaning = msgspec.Meta(description=f"{contract.meaning}, per row.")
    return msgspec.defstruct(
        name, [(field, Annotated[list[one], meaning])], namespace={"__doc__": description}
    )


def answer_with(runtime: Runtime, read: Read, version: Version = str) -> Handler:
    """Return what answers the requests for predictions that `read` understands."""

    async def answer(scope: Scope, body: bytes) -> Answer:
        target = scope.get("path_params", {})
        require(runtime, target, version(runtime.scorer.model.version))
        rows, write = read(scope, body)
        scored = await runtime.scorer.score(rows)
        require(runtime, target, version(scored.version))  # another model may have come meanwhile
        written = write(scored)
        if scored.degraded:
            degraded = (b"degraded", scored.degraded.encode())
            return written._replace(headers=[*written.headers, degraded])
        return written

    return answer


def require(runtime: Runtime, target: Mapping[str, str], served: str) -> None:
    """Make sure that a path names what is served.

    Raises:
        RefusedError: it names another model, or another version than the one served (404).
    """
    name = runtime.settings.model_name
    if target.get("name", name) != name:
        raise RefusedError(404, f"There is no such model here; this is {name}.")
    if target.get("version", served) != served:
        raise RefusedError(404, f"This version of {name} is not served; {served} is.")


def status_of(error: RefusedError) -> int:
    """Return the status of a refusal; none of the protocols has 422."""
    return 400 if error.status == 422 else error.status


def page(
    runtime: Runtime,
    path: str,
    show: Callable[[], Any],
    wording: Wording,
    version: Version = str,
    readiness: bool = False,
) -> Route:
    """Return a route that shows something as JSON; as a probe, with 503 unless ready."""

    async def answer(request: Request) -> Response:
        try:
            require(runtime, request.path_params, version(runtime.scorer.model.version))
        except RefusedError as error:
            refused = wording(error)
            return Response(refused.body, refused.status, media_type="application/json")
        status = 503 if readiness and not runtime.ready else 200
        return Response(encode(show()), status, media_type="application/json")

    return Route(path, answer)


def read_json(body: bytes) -> Any:
    """Return the value that a body holds, perhaps after a byte order mark.

    NaN, which these clients write, is a number.

    Raises:
        RefusedError: the body is not JSON (400).
    """
    try:
        return from_json(body.removeprefix(BOM_UTF8))
    except ValueError as error:
        raise RefusedError(400, f"The body is not JSON. {error}") from None


def without_nulls(value: Any) -> Any:
    """Return an object without the members that are null: they count as left out."""
    if not isinstance(value, dict):
        return value
    return {name: each for name, each in value.items() if each is not None}


def to_message(value: Any, kind: type[T]) -> T:
    """Return a JSON value as a message.

    Raises:
        RefusedError: it is not one (422).
    """
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise RefusedError(422, f"{INVALID} {error}") from None


def to_rows(columns: Mapping[str, Any], max_rows: int) -> list[dict[str, Any]]:
    """Return the rows of some columns.

    Raises:
        RefusedError: a column is no list, or they are of different lengths or too long (422).
    """
    problems = [
        Problem(field=name, message="Input should be a list")
        for name, values in columns.items()
        if not isinstance(values, list)
    ]
    lengths = {name: len(values) for name, values in columns.items()} if not problems else {}
    if len(set(lengths.values())) > 1:
        problems = [
            Problem(
                field=name,
                message=f"The columns differ in length; this has {length}",
                reason="length",
            )
            for name, length in lengths.items()
        ]
    if problems:
        raise RefusedError(422, INVALID, problems)
    require_few(max(lengths.values(), default=0), max_rows)
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
