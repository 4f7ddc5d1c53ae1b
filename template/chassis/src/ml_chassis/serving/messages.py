"""The requests and answers of the HTTP interface, and how a bad request is explained."""

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, create_model
from pydantic.json_schema import SkipJsonSchema
from pydantic_core import ErrorDetails

from ..contract import Contract

Reason = Literal["missing", "type", "range", "value", "unknown_field", "length"]
"""What kind of problem it is, for the metrics: a value may be of the type and not allowed."""
REASONS: dict[str, Reason] = {
    "missing": "missing",
    "extra_forbidden": "unknown_field",
    "finite_number": "range",
    **dict.fromkeys(("greater_than", "greater_than_equal"), "range"),
    **dict.fromkeys(("less_than", "less_than_equal"), "range"),
    **dict.fromkeys(("literal_error", "enum", "string_pattern_mismatch"), "value"),
    **dict.fromkeys(("string_too_long", "string_too_short"), "length"),
    **dict.fromkeys(("too_long", "too_short"), "length"),
}
"""By the types of errors of Pydantic; all others are of the type of a value."""
Header = tuple[bytes, bytes]
"""A name in lower case and its value, as ASGI has them."""
MAX_PROBLEMS = 100
MAX_ERRORS = 1_000
INVALID = "The request is not valid."


class Problem(BaseModel):
    """One thing that is wrong with a request."""

    row: Annotated[int | None, Field(description="Index of the row, from 0.")] = None
    field: Annotated[str | None, Field(description="Name of the field.")] = None
    message: Annotated[str, Field(description="What is wrong and what would be right.")]
    reason: SkipJsonSchema[Annotated[Reason, Field(exclude=True)]] = "type"

    @property
    def text(self) -> str:
        """All of it in one sentence."""
        row = None if self.row is None else f"Row {self.row}"
        place = ", ".join(part for part in (row, self.field) if part)
        return f"{place}: {self.message}" if place else self.message


class Refusal(BaseModel):
    """Why a request was not answered; nothing of it was predicted."""

    error: str
    problems: Annotated[list[Problem], Field(max_length=MAX_PROBLEMS)] = []

    @property
    def text(self) -> str:
        """All of it in one line."""
        problems = "; ".join(problem.text for problem in self.problems)
        return f"{self.error} {problems}" if problems else self.error


class RefusedError(Exception):
    """A request that is answered with a refusal."""

    def __init__(self, status: int, error: str, problems: list[Problem] | None = None) -> None:
        """Take the HTTP status and what to tell the client."""
        super().__init__(error)
        self.status = status
        self.refusal = Refusal(error=error, problems=(problems or [])[:MAX_PROBLEMS])


class Messages:
    """The messages of POST /predict, for one schema.

    Attributes:
        row: One row as clients may write it; of the same name as the schema.
        request: `PredictRequest`, rows to predict.
        response: `PredictResponse`, the answer.
    """

    def __init__(self, contract: Contract) -> None:
        """Make the messages from a schema."""
        self.row = _request_row(contract)
        self.request = _request(self.row)
        self.response = _response(contract)

    def parse(self, sent: bytes | list[Any], max_rows: int) -> list[BaseModel]:
        """Return the rows of a request: of its body, or rows that were decoded already.

        Raises:
            RefusedError: the body is no JSON (400), or not a valid request (422).
        """
        request: Any
        try:
            if isinstance(sent, bytes):
                request = self.request.model_validate_json(sent)
            else:
                request = self.request.model_validate({"rows": sent})
        except ValidationError as error:
            raise explain(error) from None
        rows: list[BaseModel] = request.rows
        require_few(len(rows), max_rows)
        return rows

    def check_row(self, row: int, values: dict[str, Any]) -> None:
        """Make sure that one row is valid.

        Raises:
            RefusedError: it is not (422).
        """
        try:
            self.row.model_validate(values)
        except ValidationError as error:
            details = error.errors(include_url=False, include_context=False, include_input=False)
            for detail in details:
                detail["loc"] = ("rows", row, *detail["loc"])
            raise explain_all(details) from None


def _request_row(contract: Contract) -> type[BaseModel]:
    schema = contract.schema
    whole: dict[str, Any] = {
        column.name: (
            Annotated[schema.__annotations__[column.name], BeforeValidator(to_whole)],
            schema.model_fields[column.name].default,
        )
        for column in contract.features
        if column.type == "integer"
    }
    return create_model("Features", __base__=schema, __doc__=schema.__doc__, **whole)


def to_whole(value: Any) -> Any:
    """Take 1.0 for 1: JSON does not tell them apart, and some clients cannot either."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _request(row: type[BaseModel]) -> type[BaseModel]:
    # The first bad row ends the check: explaining thousands of them would block the service.
    rows: Any = Annotated[list[row], Field(min_length=1, fail_fast=True)]  # type: ignore[valid-type]
    return create_model(
        "PredictRequest",
        __config__=ConfigDict(extra="forbid", strict=True),
        __doc__="Rows to predict; one request is answered whole or refused whole.",
        rows=(rows, ...),
    )


def _response(contract: Contract) -> type[BaseModel]:
    prediction: Any = list[dict[str, float]] if contract.classes else list[float]
    described: Any = Annotated[prediction, Field(description=f"{contract.meaning}, per row.")]
    return create_model(
        "PredictResponse",
        __base__=_Response,
        __doc__=_Response.__doc__,
        predictions=(described, ...),
    )


class _Response(BaseModel):
    """One prediction and one id per row, in the order of the rows."""

    predictions: Any
    model_version: Annotated[str, Field(description="The version that answered.")]
    prediction_id: Annotated[
        list[str], Field(description="Name of each prediction, for logs and late labels.")
    ]


def require_few(rows: int, max_rows: int) -> None:
    """Make sure that a request has no more rows than are allowed.

    Raises:
        RefusedError: it has more (422).
    """
    if rows > max_rows:
        message = f"Send {max_rows} rows at most in one request, not {rows}."
        raise RefusedError(
            422, "Too many rows.", [Problem(field="rows", message=message, reason="length")]
        )


def too_long(limit: int) -> RefusedError:
    """Return the refusal of what has more bytes than are allowed."""
    return RefusedError(413, f"Send {limit} bytes at most in one request.")


def explain(error: ValidationError) -> RefusedError:
    """Return the refusal of what is not valid."""
    if error.error_count() > MAX_ERRORS:
        return RefusedError(422, f"The request is not valid: {error.error_count()} problems.")
    # Neither the input nor the context is repeated: they may hold personal data.
    return explain_all(error.errors(include_url=False, include_context=False, include_input=False))


def explain_all(details: Sequence[ErrorDetails]) -> RefusedError:
    """Return the refusal for problems as Pydantic lists them."""
    if details[0]["type"] == "json_invalid":
        return RefusedError(400, f"The body is not JSON. {details[0]['msg']}")
    return RefusedError(422, INVALID, list(_problems(details)))


def _problems(details: Sequence[ErrorDetails]) -> Iterator[Problem]:
    for detail in details:
        message, reason = detail["msg"], REASONS.get(detail["type"], "type")
        match detail["loc"]:
            case ("rows",) if reason == "missing":
                message = 'Field required: {"rows": [{...}, ...]}'
                yield Problem(field="rows", message=message, reason=reason)
                return  # perhaps the rest is a row
            case ("rows" | "labels", int(row), *field):
                name = ".".join(map(str, field)) or None
                yield Problem(row=row, field=name, message=message, reason=reason)
            case location:
                name = ".".join(map(str, location)) or None
                yield Problem(field=name, message=message, reason=reason)
