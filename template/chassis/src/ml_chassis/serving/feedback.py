"""POST /feedback: what turned out to be true, by the ids of predictions."""

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model
from starlette.types import Scope

from ..contract import Contract
from ..monitoring import metrics
from .describe import REFUSALS, Json, media, refusals, response
from .endpoint import Answer, Handler
from .messages import Problem, RefusedError, explain
from .scoring import OverloadedError

if TYPE_CHECKING:  # a service without such a database needs nothing of it
    from ..feedback.log import Log

MEANINGS = {
    **{status: REFUSALS[status] for status in ("400", "408", "413", "415")},
    "422": "A label is not valid, or there are too many.",
    "429": REFUSALS["429"],
    "503": "The labels cannot be kept.",
}
ID = "^[!-~]{1,200}$"


class FeedbackResponse(BaseModel):
    """What became of the labels; sending them again changes nothing."""

    joined: Annotated[int, Field(description="Whose prediction is known, and had no label.")]
    known: Annotated[int, Field(description="That were known already, and say the same.")]
    changed: Annotated[int, Field(description="That were known, and say something else now.")]
    waiting: Annotated[int, Field(description="Whose prediction is not known, or not yet.")]


class _Label(BaseModel):
    """The label of one prediction."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    prediction_id: Annotated[
        str, Field(pattern=ID, description="As in the answer of POST /predict.")
    ]
    label: Any


def label_of(contract: Contract) -> type[BaseModel]:
    """Return the label of one prediction as it may be told, for one schema."""
    label: Any = contract.labelled_schema.model_fields[contract.label].rebuild_annotation()
    return create_model("Label", __base__=_Label, __doc__=_Label.__doc__, label=(label, ...))


def request_of(contract: Contract, max_labels: int | None = None) -> type[BaseModel]:
    """Return the message with labels, for one schema; of so many and no more."""
    labels: Any = list[label_of(contract)]  # type: ignore[misc]
    return create_model(
        "FeedbackRequest",
        __config__=ConfigDict(extra="forbid", strict=True),
        __doc__="Labels of predictions, in any order, and as often as they come.",
        labels=(Annotated[labels, Field(min_length=1, max_length=max_labels, fail_fast=True)], ...),
    )


def answer(contract: Contract, log: "Log", max_labels: int) -> Handler:
    """Return what answers POST /feedback."""
    from ..feedback.log import BusyError

    message: Any = request_of(contract, max_labels)

    def read(body: bytes) -> dict[str, Any]:
        try:
            found = message.model_validate_json(body).labels
        except ValidationError as error:
            raise explain(error) from None
        labels: dict[str, Any] = {}
        for row, each in enumerate(found):
            if labels.setdefault(each.prediction_id, each.label) != each.label:
                text = "This prediction_id has another label before, in the same request."
                raise RefusedError(422, "Two labels.", [Problem(row=row, message=text)])
        return labels

    async def answered(_: Scope, body: bytes) -> Answer:
        labels = read(body)
        try:
            told = await log.take(labels)
        except BusyError:
            raise OverloadedError from None
        except Exception as error:
            metrics.LOGGER.error("labels were not kept: %s", log.why(error))
            raise RefusedError(
                503, "The labels cannot be kept now; send them again later."
            ) from None
        counts = {"joined": len(told.joined), "known": told.known, "changed": told.changed}
        content = FeedbackResponse(**counts, waiting=told.waiting)
        return Answer(content.model_dump_json().encode())

    return answered


def messages(
    contract: Contract,
) -> list[tuple[type[BaseModel], Literal["validation", "serialization"]]]:
    """Return both messages, for the OpenAPI document."""
    return [(request_of(contract), "validation"), (FeedbackResponse, "serialization")]


def described(contract: Contract) -> Json:
    """Return the operation, for the OpenAPI document."""
    label = {"prediction_id": "0123456789abcdef-0", "label": contract.label_column.example}
    example = {"labels": [label]}
    return {
        "operationId": "feedback",
        "summary": "Say what turned out to be true.",
        "requestBody": {"required": True, "content": media("FeedbackRequest", example=example)},
        "responses": {
            "200": response("What became of the labels.", media("FeedbackResponse")),
            **refusals("Refusal", MEANINGS),
        },
    }
