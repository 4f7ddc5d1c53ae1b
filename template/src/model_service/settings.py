"""Settings of the service, each read from the environment variable MODEL_SERVICE_<NAME>."""

import os
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from .errors import UserError, describe

PREFIX = "MODEL_SERVICE_"


class SettingsError(UserError):
    """An environment variable is unknown or has a value that cannot be used."""


class Settings(BaseSettings):
    """The settings and their defaults; docs/settings.md is generated from this class."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True)

    host: Annotated[str, Field(description="Address to listen on.")] = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65_535, description="Port to listen on.")] = 3000
    workers: Annotated[int, Field(ge=1, description="Processes that answer requests.")] = 1
    models_dir: Annotated[Path, Field(description="Folder of the model registry.")] = Path("models")
    alias: Annotated[str, Field(description="Alias or version of the model to serve.")] = "champion"
    max_rows: Annotated[int, Field(ge=1, description="Rows in one request at most.")] = 1_000
    max_body_bytes: Annotated[int, Field(ge=1, description="Bytes in one request at most.")] = (
        1_048_576
    )
    drain_seconds: Annotated[
        float,
        Field(ge=0, le=600, description="Seconds after SIGTERM in which requests are answered."),
    ] = 3.0


def read() -> Settings:
    """Return the settings of this process.

    Raises:
        SettingsError: a variable is unknown or cannot be used; the message names it.
    """
    known = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}
    unknown = sorted(name for name in os.environ if name.startswith(PREFIX) and name not in known)
    if unknown:
        raise SettingsError(f"There is no setting {', '.join(unknown)}; see docs/settings.md.")
    try:
        return Settings()
    except ValidationError as error:
        raise SettingsError(f"Settings {PREFIX}*: {describe(error)}") from None
