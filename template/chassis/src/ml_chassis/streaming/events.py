"""What a message holds, and what is told about it: a prediction, or a dead letter with a reason."""

import base64
import hashlib
from codecs import BOM_UTF8
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple

import msgspec
from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from ..contract import Contract, Row
from ..monitoring import metrics
from ..serving.messages import Messages, RefusedError, explain, too_long

MAX_TOLD_BYTES = 65_536
"""A longer body stays in the table: brokers limit messages, and would refuse the dead letter."""
_encode = msgspec.json.Encoder().encode


class _EventMessage(BaseModel):
    """One event to predict."""

    model_config = ConfigDict(extra="forbid", strict=True)

    id: Annotated[
        str,
        Field(
            pattern="^[!-~]{1,200}$",
            description="Name of the event, of its prediction and of its label: unique for ever, "
            "1 to 200 visible ASCII characters.",
        ),
    ]
    row: Any


class Received(NamedTuple):
    """A message as it came; `origin` says from where."""

    origin: str
    body: bytes


@dataclass(frozen=True)
class Event:
    """A valid message."""

    id: str
    row: Row
    received: Received

    @property
    def fingerprint(self) -> str:
        """The same for the same row."""
        return _digest(repr(self.row).encode())


class Prediction(NamedTuple):
    """What an event was answered."""

    id: str
    fingerprint: str
    prediction: Any
    """As in the answers of POST /predict."""
    model_version: str
    degraded: str | None

    def told(self) -> bytes:
        """Return it as a message."""
        content = {
            "prediction_id": self.id,
            "prediction": self.prediction,
            "model_version": self.model_version,
        }
        return _encode(content | ({"degraded": self.degraded} if self.degraded else {}))


class DeadLetter(NamedTuple):
    r"""A message that was not answered.

    Attributes:
        id: The same for the same message, should it come again.
        origin: Where it came from.
        reason: Why it was not answered.
        body: What it held, for people; bytes that are no text are written as \xff.
        raw: What it held, where `body` is not just that.
    """

    id: str
    origin: str
    reason: str
    body: str
    raw: bytes | None

    @property
    def content(self) -> bytes:
        """The message as it came."""
        return self.body.encode() if self.raw is None else self.raw

    def told(self) -> bytes:
        """Return it as a message."""
        content = {"dead_letter_id": self.id, "origin": self.origin, "reason": self.reason}
        if len(self.body) <= MAX_TOLD_BYTES:
            content["body"] = self.body
            if self.raw is not None:
                content["raw_base64"] = base64.b64encode(self.raw).decode()
        return _encode(content)


class EventReader:
    """Reads messages, for one schema."""

    def __init__(self, contract: Contract, max_bytes: int) -> None:
        """Take the schema, and how many bytes a message may have."""
        self._to_row, self._max_bytes = contract.to_row, max_bytes
        self._fields = contract.by_name
        row: Any = Messages(contract).row
        self._message: Any = create_model("EventMessage", __base__=_EventMessage, row=(row, ...))

    def read(self, received: Received) -> Event:
        """Return the event of a message.

        Raises:
            RefusedError: it is too long (413), no JSON (400), or no valid event (422).
        """
        try:
            message = parse(self._message, received, self._max_bytes)
        except RefusedError as refused:
            problems = refused.refusal.problems
            found = (((each.field or "").removeprefix("row."), each.reason) for each in problems)
            metrics.count_problems(found, self._fields)
            raise
        return Event(message.id, self._to_row(vars(message.row)), received)


def parse(message: type[BaseModel], received: Received, max_bytes: int) -> Any:
    """Return what a body holds, as a message of this type.

    Raises:
        RefusedError: it is too long (413), no JSON (400), or no valid message (422).
    """
    if len(received.body) > max_bytes:
        raise too_long(max_bytes)
    try:
        return message.model_validate_json(received.body.removeprefix(BOM_UTF8))
    except ValidationError as error:
        raise explain(error) from None


def bury(received: Received, reason: str) -> DeadLetter:
    """Return the dead letter of a message."""
    name = _digest(received.origin.encode() + b"\0" + received.body)
    # PostgreSQL takes no zero in a text.
    body = received.body.decode("utf-8", "backslashreplace").replace("\0", "\\x00")
    exact = body.encode() == received.body
    return DeadLetter(name, received.origin, reason, body, None if exact else received.body)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:32]
