"""Settings of the service, each read from the environment variable MODEL_SERVICE_<NAME>."""

from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

PREFIX = "MODEL_SERVICE_"


class SettingsError(Exception):
    """An environment variable has a value that cannot be used."""


class Settings(BaseSettings):
    """The settings and their defaults; docs/settings.md is generated from this class."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True)

    models_dir: Annotated[Path, Field(description="Folder of the model registry.")] = Path("models")
    alias: Annotated[str, Field(description="Which model of the registry is served.")] = "champion"
    workers: Annotated[int, Field(ge=1, description="Processes that answer requests.")] = 1
    max_rows: Annotated[int, Field(ge=1, description="Rows in one request at most.")] = 1_000
    max_body_bytes: Annotated[
        int, Field(ge=1, description="Bytes in one request body at most.")
    ] = 1_048_576
    drain_seconds: Annotated[
        float,
        Field(ge=0, description="Seconds after SIGTERM in which requests are still answered."),
    ] = 3.0


def read() -> Settings:
    """Return the settings of this process.

    Raises:
        SettingsError: a value cannot be used; the message names the variable.
    """
    try:
        return Settings()
    except ValidationError as error:
        problems = (
            f"{PREFIX}{'_'.join(map(str, detail['loc'])).upper()}: {detail['msg']}"
            for detail in error.errors(include_url=False)
        )
        raise SettingsError("; ".join(problems)) from None
