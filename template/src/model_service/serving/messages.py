"""The requests and answers of the HTTP interface, and how a bad request is explained."""

from collections.abc import Iterator
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from ..schema import Features

MAX_PROBLEMS = 100
MAX_ERRORS = 1_000


class PredictRequest(BaseModel):
    """Rows to predict; one request is answered whole or refused whole."""

    model_config = ConfigDict(extra="forbid", strict=True)

    # The first bad row ends the check: explaining thousands of them would block the service.
    rows: Annotated[list[Features], Field(min_length=1, fail_fast=True)]


class PredictResponse(BaseModel):
    """One probability and one id per row, in the order of the rows."""

    predictions: Annotated[
        list[float], Field(description="Probability that the label is true, per row.")
    ]
    model_version: Annotated[str, Field(description="The version that answered.")]
    prediction_id: Annotated[
        list[str], Field(description="Name of each prediction, for logs and late labels.")
    ]


class Problem(BaseModel):
    """One thing that is wrong with a request."""

    row: Annotated[int | None, Field(description="Index of the row, from 0.")] = None
    field: Annotated[str | None, Field(description="Name of the field.")] = None
    message: Annotated[str, Field(description="What is wrong and what would be right.")]


class Refusal(BaseModel):
    """Why a request was not answered; nothing of it was predicted."""

    error: str
    problems: Annotated[list[Problem], Field(max_length=MAX_PROBLEMS)] = []


class RefusedError(Exception):
    """A request that is answered with a refusal."""

    def __init__(self, status: int, error: str, problems: list[Problem] | None = None) -> None:
        """Take the HTTP status and what to tell the client."""
        super().__init__(error)
        self.status = status
        self.refusal = Refusal(error=error, problems=(problems or [])[:MAX_PROBLEMS])


def parse(body: bytes, max_rows: int) -> list[Features]:
    """Return the rows of a request.

    Raises:
        RefusedError: the body is no JSON (400), or not a valid request (422).
    """
    try:
        rows = PredictRequest.model_validate_json(body).rows
    except ValidationError as error:
        raise _explain(error) from None
    if len(rows) > max_rows:
        message = f"Send {max_rows} rows at most in one request, not {len(rows)}."
        raise RefusedError(422, "Too many rows.", [Problem(field="rows", message=message)])
    return rows


def _explain(error: ValidationError) -> RefusedError:
    if error.error_count() > MAX_ERRORS:
        return RefusedError(422, f"The request is not valid: {error.error_count()} problems.")
    # Neither the input nor the context is repeated: they may hold personal data.
    details = error.errors(include_url=False, include_context=False, include_input=False)
    if details[0]["type"] == "json_invalid":
        return RefusedError(400, f"The body is not JSON. {details[0]['msg']}")
    return RefusedError(422, "The request is not valid.", list(_problems(details)))


def _problems(details: list[ErrorDetails]) -> Iterator[Problem]:
    for detail in details:
        match detail["loc"]:
            case ("rows",) if detail["type"] == "missing":
                yield Problem(field="rows", message='Field required: {"rows": [{...}, ...]}')
            case ("rows", int(row), *field):
                name = ".".join(map(str, field)) or None
                yield Problem(row=row, field=name, message=detail["msg"])
            case location:
                name = ".".join(map(str, location)) or None
                yield Problem(field=name, message=detail["msg"])
