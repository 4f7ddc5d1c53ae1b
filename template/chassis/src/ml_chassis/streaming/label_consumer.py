"""Labels that come late, to the database of feedback: whoever predicts with it joins them."""

import asyncio
from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

from ..contract import Contract
from ..feedback.store import Store
from ..monitoring.quality import Label
from ..serving.feedback import label_of
from .consumer import Consumer, Tell, read_or_bury
from .events import DeadLetter, Received, parse
from .sink import Sink


class Labelled(NamedTuple):
    """A valid message."""

    id: str
    label: Label


class LabelConsumer(Consumer):
    """Keeps labels; of two for one prediction, the last one that it reads."""

    outcomes: ClassVar = {"label": "labels", "dead_letter": "dead letters"}

    def __init__(
        self, contract: Contract, store: Store, sink: Sink, tell: Tell, max_bytes: int
    ) -> None:
        """Take what keeps labels, what keeps and tells dead letters, and how long a message is."""
        super().__init__(sink, tell)
        self._message = label_of(contract)
        self._store = store
        self._max_bytes = max_bytes

    async def settle(self, batch: Sequence[Received]) -> None:
        """Keep the labels, and bury what is none."""
        found = [read_or_bury(self._read, each) for each in batch]
        labels = {each.id: each.label for each in found if isinstance(each, Labelled)}
        if labels:
            await self.surely(asyncio.to_thread, self._store.wait, labels)
        letters = [each for each in found if isinstance(each, DeadLetter)]
        await self.conclude(letters)
        self.count(label=len(batch) - len(letters), dead_letter=len(letters))

    def _read(self, received: Received) -> Labelled:
        message: Any = parse(self._message, received, self._max_bytes)
        return Labelled(message.prediction_id, message.label)
