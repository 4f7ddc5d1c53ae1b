"""What consumers tell, without a broker."""

import asyncio
import json
from typing import Any

from ml_chassis.streaming.consumer import Consumer, Outcome
from ml_chassis.streaming.events import Received


class Told(list[Outcome]):
    """What was told to others."""

    async def __call__(self, outcome: Outcome) -> None:
        """Take it."""
        self.append(outcome)

    @property
    def content(self) -> list[dict[str, Any]]:
        """As messages."""
        return [json.loads(outcome.told()) for outcome in self]


def consume(consumer: Consumer, *received: Received) -> None:
    """Let messages be settled that have come together."""
    asyncio.run(asyncio.wait_for(consumer.consume(received), 30))
