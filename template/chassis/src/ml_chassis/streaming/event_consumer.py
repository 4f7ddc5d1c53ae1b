"""Events to predictions: one call of the model and one commit for all that came together.

What is kept already is told again as it is kept, not predicted again.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import ClassVar, NamedTuple

from ..contract import Contract
from ..feedback.sample import Sample
from ..serving.scoring import NoAnswerError, Scored, Scorer
from .consumer import Consumer, Outcome, Tell, read_or_bury
from .events import DeadLetter, Event, EventReader, Prediction, Received, bury
from .sink import Sink

LOGGER = logging.getLogger("model_service")
REUSED = "The id was used before, for another row."


class Answered(NamedTuple):
    """An event, what the scorer said of it, and the same as it is kept and told."""

    event: Event
    scored: Scored
    prediction: Prediction


class EventConsumer(Consumer):
    """Predicts events."""

    outcomes: ClassVar = {
        "predicted": "predicted",
        "duplicate": "known already",
        "dead_letter": "dead letters",
    }

    def __init__(
        self,
        contract: Contract,
        scorer: Scorer,
        sink: Sink,
        tell: Tell,
        max_bytes: int,
        sample: Sample | None = None,
    ) -> None:
        """Take what is needed.

        Args:
            contract: The schema.
            scorer: Predicts.
            sink: Keeps predictions and dead letters.
            tell: Tells others of them.
            max_bytes: How long a message may be.
            sample: Chooses predictions that are kept until their labels come.
        """
        super().__init__(sink, tell)
        self._contract = contract
        self._reader = EventReader(contract, max_bytes)
        self._scorer = scorer
        self._sample = sample

    async def settle(self, batch: Sequence[Received]) -> None:
        """Predict what is new, keep it, and tell everything."""
        found = [read_or_bury(self._reader.read, each) for each in batch]
        events = {each.id: each for each in reversed(found) if isinstance(each, Event)}
        known = await self.surely(asyncio.to_thread, self._sink.find, events)
        fresh = [event for event in events.values() if event.id not in known]
        answers = await asyncio.gather(*(self._score(event) for event in fresh))
        answered = [each for each in answers if isinstance(each, Answered)]
        if answered:
            predictions = [each.prediction for each in answered]
            await self.surely(asyncio.to_thread, self._sink.keep, predictions)
            # What counts is what is kept: another consumer may have had the same event.
            known = await self.surely(asyncio.to_thread, self._sink.find, events)
            self._note(answered, known)
        unanswered = {
            event.id: each
            for event, each in zip(fresh, answers, strict=True)
            if not isinstance(each, Answered)
        }
        outcomes = [_outcome(each, known, unanswered) for each in found]
        await self.conclude(outcomes)
        letters = sum(isinstance(each, DeadLetter) for each in outcomes)
        duplicates = len(batch) - len(answered) - letters
        self.count(predicted=len(answered), duplicate=duplicates, dead_letter=letters)

    async def _score(self, event: Event) -> Answered | str:
        """Return the answer to an event, or why there is none."""
        try:
            scored = await self._scorer.score([event.row])
        except NoAnswerError as error:
            return f"The model gave no answer: {error.reason}."
        except Exception:
            LOGGER.exception("an event was not predicted")
            return "The service failed."
        (named,) = self._contract.named(scored.predictions)
        told = Prediction(event.id, event.fingerprint, named, scored.version, scored.degraded)
        return Answered(event, scored, told)

    def _note(self, answered: Sequence[Answered], known: Mapping[str, Prediction]) -> None:
        """Let the labels of what the model has answered find it."""
        if not self._sample:
            return
        for event, scored, prediction in answered:
            if not scored.degraded and known.get(event.id) == prediction:
                answer = scored.version, [event.row], scored.predictions
                self._sample.note(event.id, *answer, is_event=True)


def _outcome(
    found: Event | DeadLetter, known: Mapping[str, Prediction], unanswered: Mapping[str, str]
) -> Outcome:
    if isinstance(found, DeadLetter):
        return found
    if found.id not in known:
        return bury(found.received, unanswered[found.id])
    if known[found.id].fingerprint != found.fingerprint:
        return bury(found.received, REUSED)
    return known[found.id]
