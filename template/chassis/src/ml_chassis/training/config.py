"""What training.toml says, checked."""

import hashlib
import math
import tomllib
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
    ValidationInfo,
    model_validator,
)

from ..decision import Decision
from ..errors import UserError, why
from ..project import Project

CONFIG = Path("training.toml")

QUALITIES = ("auc", "r2")
GAIN_OVER_CHAMPION = "gain_over_champion"
MEASURES = (
    "refused_share",
    *QUALITIES,
    "calibration_error",
    "gain_over_base_rate",
    "gain_over_simple_model",
    GAIN_OVER_CHAMPION,
    *(f"worst_slice_{quality}" for quality in QUALITIES),
    "fairness_gap",
    "decay",
    "seed_spread",
    "harmful_features",
    "parity_difference",
)
"""What gates can be declared for: of the qualities, for that of the kind of label."""
HIGHER_IS_BETTER = ("auc", "r2", "gain_over_", "worst_slice_")
"""How measures begin that have a minimum; the others have a maximum."""
RANGES = {
    **dict.fromkeys(("refused_share", "auc", "worst_slice_auc"), (0.0, 1.0)),
    **dict.fromkeys(("r2", "worst_slice_r2"), (-math.inf, 1.0)),
    **dict.fromkeys(("calibration_error", "fairness_gap", "seed_spread"), (0.0, math.inf)),
    **dict.fromkeys(("harmful_features", "parity_difference"), (0.0, math.inf)),
}
"""What measures can be, where not any number: a gate outside is never met, or always."""
BOUNDS = {
    "gain_over_base_rate": "lower",
    GAIN_OVER_CHAMPION: "lower",
    **{f"worst_slice_{quality}": "upper" for quality in QUALITIES},
}
"""Measures that are an end of a 95 % interval, so that chance neither passes nor fails a model."""


class ConfigError(UserError):
    """training.toml is missing or wrong."""


def _project(info: ValidationInfo) -> Project:
    assert isinstance(info.context, Project)  # noqa: S101 - `read` gives it
    return info.context


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Limit(_Table):
    """A gate: what a measure must reach before a model may be registered, and why."""

    minimum: float | None = None
    maximum: float | None = None
    reason: str = Field(min_length=1)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.minimum is None) == (self.maximum is None):
            raise ValueError("give a minimum or a maximum")
        return self


def _group(feature: str, info: ValidationInfo) -> str:
    if info.context is None:  # not read from a file
        return feature
    contract = _project(info).contract
    if feature not in contract.categorical:
        known = ", ".join(contract.categorical) or "none"
        raise ValueError(f"{feature} is no categorical feature of schema.py; there is {known}")
    if feature in contract.personal:
        raise ValueError(
            f"{feature} is personal (schema.py), and its values would be shown; choose another"
        )
    return feature


def _group_or_none(feature: str, info: ValidationInfo) -> str:
    return feature and _group(feature, info)


Category = Annotated[str, AfterValidator(_group)]


class EvaluationConfig(_Table):
    """Of which parts of the rows the quality is measured."""

    slices: tuple[Category, ...] = ()
    fairness: tuple[Category, ...] = ()
    minimum_rows: int = Field(default=100, ge=2)


class RetrainingConfig(_Table):
    """When to train again, and on which rows the champion is challenged."""

    evaluation_days: int = Field(default=92, ge=1)
    minimum_new_rows: int = Field(default=200, ge=1)
    hours_between: float = Field(default=24, ge=0, le=8_760)
    maximum_per_month: int = Field(default=8, ge=1)
    maximum_hours: float = Field(default=4, gt=0, le=720)


OF_ALERTS = {"hours_between", "maximum_per_month", "maximum_hours"}
"""Of these, what limits the retrainings that alerts begin, and changes no model."""


class FallbackConfig(_Table):
    """How the fallback is made; see `ml_chassis.fallback`."""

    group_by: Annotated[str, AfterValidator(_group_or_none)]


class OptimisationConfig(_Table):
    """When `make optimise` may choose another variant than the full model."""

    maximum_loss: float = Field(ge=0)
    maximum_batch_difference: float = Field(ge=0)
    minimum_speedup: float = Field(ge=1)
    rows: int = Field(ge=1, le=1_024)
    reason: str = Field(min_length=1)


Value = bool | int | float | str


class Range(_Table):
    """Values that `make tune` may try for a parameter: from low to high, or one of some."""

    low: int | float | None = None
    high: int | float | None = None
    log: bool = False
    choices: tuple[Value, ...] = ()

    @model_validator(mode="after")
    def _check(self) -> Self:
        ends = (self.low is not None) + (self.high is not None)
        if (ends, bool(self.choices)) not in {(2, False), (0, True)}:
            raise ValueError("give low and high, or choices")
        if self.low is not None and self.high is not None:
            if not -math.inf < self.low < self.high < math.inf:
                raise ValueError("low must be below high")
            if self.log and self.low <= 0:
                raise ValueError("with log, low must be above 0")
        return self


class TuningConfig(_Table):
    """How `make tune` searches."""

    trials: int = Field(ge=1, le=10_000)
    seconds: float = Field(gt=0)
    folds: int = Field(ge=1, le=20)
    parameters: dict[str, Range] = Field(min_length=1)


class TrainingConfig(_Table):
    """The whole file; the parameters are checked by the estimator that takes them."""

    seed: int = Field(ge=0, lt=2**32)
    test_from: date | None = None
    test_share: float | None = Field(default=None, gt=0, lt=1)
    parameters: dict[str, Any]
    fallback: FallbackConfig | None = None
    evaluation: EvaluationConfig = EvaluationConfig()
    retraining: RetrainingConfig = RetrainingConfig()
    decision: Decision | None = None
    optimisation: OptimisationConfig | None = None
    tuning: TuningConfig | None = None
    gates: dict[Literal[*MEASURES], Limit]  # type: ignore[valid-type]
    _project: Project = PrivateAttr()

    @property
    def project(self) -> Project:
        """The project whose file it is."""
        return self._project

    @property
    def refused_limit(self) -> float | None:
        """The share of refused rows that the gate allows; none when no gate is declared."""
        limit = self.gates.get("refused_share")
        return limit.maximum if limit else None

    @model_validator(mode="after")
    def _check_sides(self) -> Self:
        for name, limit in self.gates.items():
            side = "minimum" if name.startswith(HIGHER_IS_BETTER) else "maximum"
            bound = getattr(limit, side)
            if bound is None:
                better = "higher" if side == "minimum" else "lower"
                raise ValueError(f"gates.{name}: {better} is better, so give a {side}")
            low, high = RANGES.get(name, (-math.inf, math.inf))
            if not low <= bound <= high:
                limits = [f"{low:g} or more"] * (low > -math.inf)
                limits += [f"{high:g} or less"] * (high < math.inf)
                raise ValueError(
                    f"gates.{name}: it is {' and '.join(limits)}, so no {side} can be {bound:g}"
                )
        return self

    @model_validator(mode="after")
    def _check_task(self, info: ValidationInfo) -> Self:
        self._project = _project(info)
        contract = self._project.contract
        if self.decision and contract.task != "binary":
            raise ValueError("[decision] needs a label that is true or false; delete it")
        for other in QUALITIES:
            wrong = {other, f"worst_slice_{other}"} & self.gates.keys()
            if other != contract.quality and wrong:
                raise ValueError(
                    f"gates.{min(wrong)} is not measured for this kind of label; "
                    f"{contract.quality} is"
                )
        return self

    @model_validator(mode="after")
    def _check_time(self, info: ValidationInfo) -> Self:
        time, where = _project(info).time, _project(info).path("features")
        if time and (self.test_from is None or self.test_share is not None):
            raise ValueError(
                f"rows have a time, {time} in {where}: give test_from, a day, and no test_share"
            )
        if time is None and (self.test_share is None or self.test_from is not None):
            raise ValueError(
                f"rows know no time, as TIME in {where} is None: give test_share, "
                "such as 0.25, and no test_from"
            )
        if time is None and "decay" in self.gates:
            raise ValueError("gates.decay compares months, and rows know no time: delete it")
        return self

    def fingerprint(self) -> str:
        """Return what is equal as long as the file means the same for a model."""
        unlike: Any = {"optimisation": True, "tuning": True, "retraining": OF_ALERTS}
        said = self.model_dump_json(exclude=unlike)
        return hashlib.sha256(said.encode()).hexdigest()


def read(project: Project, path: Path = CONFIG) -> TrainingConfig:
    """Read the training.toml of a project.

    Raises:
        ConfigError: the file is missing, is not TOML, or has a wrong key or value.
    """
    try:
        said = tomllib.loads(path.read_text(encoding="utf-8-sig"))
        return TrainingConfig.model_validate(said, context=project)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, ValidationError) as error:
        raise ConfigError(f"{path}: {why(error)}") from None
