"""What training.toml says, checked."""

import tomllib
from datetime import date
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..contract import CATEGORICAL
from ..errors import UserError, describe

CONFIG = Path("training.toml")


class ConfigError(UserError):
    """training.toml is missing or wrong."""


class Gates(BaseModel):
    """Thresholds that a model must meet before it may be registered."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    maximum_refused_share: float = Field(ge=0, le=1)
    minimum_auc: float = Field(ge=0.5, le=1)
    minimum_log_loss_gain: float = Field(ge=0)
    maximum_parity_difference: float = Field(gt=0, le=0.01)


class FallbackConfig(BaseModel):
    """How the fallback is made; see `model_service.fallback`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    group_by: Literal["", *CATEGORICAL]  # type: ignore[valid-type]


class TrainingConfig(BaseModel):
    """The whole file; the parameters are checked by the estimator that takes them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    estimator: str = Field(pattern="^[a-z][a-z0-9_]*$")
    seed: int = Field(ge=0, lt=2**32)
    test_from: date
    parameters: dict[str, Any]
    fallback: FallbackConfig | None = None
    gates: Gates


def read(path: Path = CONFIG) -> TrainingConfig:
    """Read training.toml.

    Raises:
        ConfigError: the file is missing, is not TOML, or has a wrong key or value.
    """
    try:
        return TrainingConfig.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path}: {error}") from None
    except ValidationError as error:
        raise ConfigError(f"{path}: {describe(error)}") from None
