"""What is known of a shadow: a file, by which its report can be written anew."""

import time
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ... import storage
from ...errors import UserError, describe

SHADOW = "shadow.json"


class Shadow(BaseModel):
    """A challenger that is asked what stable is asked."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: str
    stable: str = Field(description="The champion when it began.")
    share: int = Field(description="Percent of the predictions of stable that it is asked for.")
    begun: float = Field(description="Unix time in seconds.")
    ended: float | None = None

    @property
    def end(self) -> float:
        """When it ended, or now, in Unix time."""
        return self.ended or time.time()


def read(folder: Path) -> Shadow:
    """Return the last one.

    Raises:
        UserError: there was none, or its file cannot be used.
    """
    path = folder / SHADOW
    try:
        return Shadow.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise UserError("There was no shadow yet: make shadow VERSION=...") from None
    except ValidationError as error:
        raise UserError(f"{path}: {describe(error)}. Remove it.") from None


def write(folder: Path, shadow: Shadow) -> None:
    """Write it, whole or not at all."""
    storage.write(folder, SHADOW, f"{shadow.model_dump_json(indent=2)}\n".encode())
