"""What is known of a release: a file that its controller writes before it acts, and wishes for it.

A controller that is started anew reads where it was, and goes on from there.
"""

import time
from pathlib import Path
from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from .. import storage
from ..errors import UserError, describe

RELEASE, WISH = "release.json", "wish"
"""Files in the folder of the gateway."""

Phase = Literal["starting", "stepping", "promoting", "promoted", "rolled back"]
Wish = Literal["hold", "resume", "promote", "abort"]
WISHES: tuple[Wish, ...] = get_args(Wish)
ENDED: tuple[Phase, ...] = ("promoted", "rolled back")


class RecordError(UserError):
    """The file of a release cannot be used."""


class Event(BaseModel):
    """Something that happened in a release.

    Attributes:
        at: Unix time in seconds.
        weight: Percent of the requests that the canary gets from then on.
        text: What happened, in a sentence.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    at: float
    weight: int
    text: str


class Release(BaseModel):
    """A release, as it is known at a moment."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: str = Field(description="Of the canary.")
    stable: str = Field(description="The champion when it began.")
    weights: list[int] = Field(description="Percent of the requests in each step.")
    begun: float = Field(description="Unix time in seconds.")
    phase: Phase = "starting"
    step: int = Field(default=0, description="Number of the step, from 0.")
    since: float = Field(default=0, description="When this step began, or the canary in it.")
    scraped: bool = Field(default=False, description="Whether Prometheus has seen the canary.")
    good: int = Field(default=0, description="Good verdicts in a row.")
    unknown: int = Field(default=0, description="Looks of this step that knew nothing.")
    silent: int = Field(default=0, description="Looks in a row without an answer of Prometheus.")
    content: str = Field(default="", description="Number of its image, if it is one.")
    made: bool = Field(default=False, description="Whether it was made the champion.")
    held: bool = Field(default=False, description="Whether it waits for a person.")
    reasons: list[str] = Field(default=[], description="Why it was rolled back.")
    events: list[Event] = []

    @property
    def ended(self) -> bool:
        """Whether it was promoted or rolled back."""
        return self.phase in ENDED

    @property
    def weight(self) -> int:
        """Percent of the requests that the canary gets."""
        return self.weights[self.step] if self.phase in {"stepping", "promoting"} else 0

    def with_event(self, at: float, text: str, **changes: object) -> "Release":
        """Return it changed, with what happened."""
        changed = self.model_copy(update=changes)
        event = Event(at=at, weight=changed.weight, text=text)
        return changed.model_copy(update={"events": [*self.events, event]})


def read(folder: Path) -> Release | None:
    """Return the last release; None where there was none.

    Raises:
        RecordError: the file cannot be used.
    """
    path = folder / RELEASE
    try:
        return Release.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError as error:
        raise RecordError(
            f"{path}: {describe(error)}. Remove it; stable then answers all requests."
        ) from None


def write(folder: Path, release: Release) -> None:
    """Write it, whole or not at all."""
    storage.write(folder, RELEASE, f"{release.model_dump_json(indent=2)}\n".encode())


def wish(folder: Path, wanted: Wish) -> None:
    """Tell a controller what a person wants."""
    storage.write(folder, WISH, wanted.encode())


def take_wish(folder: Path) -> Wish | None:
    """Return what a person wants, once."""
    path = folder / WISH
    try:
        said = path.read_text(encoding="utf-8").strip()
        path.unlink()
    except FileNotFoundError:
        return None
    return next((each for each in WISHES if each == said), None)


def unfinished(known: Release, kind: str) -> str:
    """Return what a person can do about a release that has not ended.

    Args:
        known: The release.
        kind: What the command calls what is released: VERSION or IMAGE.
    """
    return (
        f"The release of {known.version} has not ended. Go on with it: make canary "
        f"{kind}={known.version}; or end it: make canary DO=abort."
    )


def began(version: str, stable: str, weights: list[int], content: str = "") -> Release:
    """Return a release that begins now."""
    return Release(
        version=version, stable=stable, weights=weights, content=content, begun=time.time()
    )
