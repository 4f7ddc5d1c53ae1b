"""What slo.yaml says, checked: what callers may expect of the service and what it may use."""

from pathlib import Path
from typing import Annotated, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, model_validator

from .errors import UserError, why

SLO = Path("slo.yaml")

Share = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]


class SloError(UserError):
    """slo.yaml is missing or wrong."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Traffic(_Section):
    """The traffic for which objectives and budget hold."""

    requests_per_second: Annotated[
        Positive, Field(description="Requests per second of the whole service.")
    ]
    rows_per_request: Annotated[
        Count, Field(description="Rows in a request whose latency is judged.")
    ]
    large_share: Annotated[Share, Field(description="Share of the requests that are large.")]
    large_rows: Annotated[Count, Field(description="Rows in a large request.")]


class Objectives(_Section):
    """What callers may expect."""

    latency_p50_ms: Annotated[
        Positive, Field(description="Milliseconds in which half of the requests are answered.")
    ]
    latency_p99_ms: Annotated[
        Positive, Field(description="Milliseconds in which 99 of 100 requests are answered.")
    ]
    error_share: Annotated[
        Share, Field(description="Share of requests answered 5xx or 429, or not at all.")
    ]
    degraded_share: Annotated[Share, Field(description="Share of answers that the fallback gives.")]
    throughput_per_worker: Annotated[
        Positive, Field(description="Requests per second that a worker sustains.")
    ]

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.latency_p99_ms < self.latency_p50_ms:
            raise ValueError("latency_p99_ms must not be below latency_p50_ms")
        return self


class Budget(_Section):
    """What the whole service may use."""

    memory_mib: Annotated[
        Count, Field(description="MiB of all processes: the limit of the container.")
    ]
    cpu_cores: Annotated[Positive, Field(description="Cores used on average: what is reserved.")]
    cpu_cores_limit: Annotated[
        Positive, Field(description="Cores used at any moment: the limit of the container.")
    ]

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.cpu_cores_limit < self.cpu_cores:
            raise ValueError("cpu_cores_limit must not be below cpu_cores")
        return self


class Drift(_Section):
    """From when on somebody is told that served rows do not lie where those of training lay."""

    window_days: Annotated[
        int, Field(ge=1, le=14, description="Days over which served rows are compared.")
    ] = 7
    psi: Annotated[
        Positive, Field(description="Population stability index above which a shift matters.")
    ] = 0.2
    expected: Annotated[
        list[str], Field(description="Features whose shift is no news, such as the month.")
    ] = []


class Release(_Section):
    """How a release goes on, and when a canary is as good as stable."""

    weights: Annotated[
        list[Annotated[int, Field(ge=1, le=99)]],
        Field(min_length=1, description="Percent of the requests that a canary gets, by steps."),
    ] = [5, 10, 25, 50]
    window_minutes: Annotated[
        int, Field(ge=5, le=1_440, description="Minutes over which canary and stable are compared.")
    ] = 10
    least_requests: Annotated[
        int, Field(ge=100, description="Requests in them below which no canary is good.")
    ] = 500
    psi: Annotated[
        Positive,
        Field(
            description="Population stability index of both predictions, above which it matters."
        ),
    ] = 0.25

    @model_validator(mode="after")
    def _rising(self) -> Self:
        if self.weights != sorted(set(self.weights)):
            raise ValueError("weights must rise from step to step")
        return self


class Experiment(_Section):
    """The plan of an A/B test of two models, declared before it starts."""

    share: Annotated[
        int, Field(ge=1, le=99, description="Percent of the units that get the challenger.")
    ] = 50
    better: Annotated[
        Literal["higher", "lower"],
        Field(description="Which outcomes are better, such as `lower` where they are losses."),
    ] = "higher"
    outcome_unit: Annotated[
        str,
        Field(description="What outcomes are counted in; empty: as [decision] of training.toml."),
    ] = ""
    confidence: Annotated[
        float,
        Field(ge=0.5, le=0.9999, description="Confidence of the sequence, at all looks together."),
    ] = 0.95
    least_difference: Annotated[
        Positive | None,
        Field(
            description="Smallest difference of the mean outcome that matters; without one, a "
            "tenth of the champion's standard deviation."
        ),
    ] = None
    least_units: Annotated[
        int,
        Field(ge=30, description="Known outcomes of each arm below which nothing is decided."),
    ] = 200
    most_days: Annotated[
        Count, Field(description="Days after which a test ends, where nothing was decided.")
    ] = 28


class Freshness(_Section):
    """From when on a model is old."""

    model_days: Annotated[
        Count, Field(description="Days after its training from which on a model is retrained.")
    ] = 90


class Slo(_Section):
    """The whole file."""

    owner: str = ""
    """Who is told when an objective is missed."""
    job: str = ""
    """How Prometheus calls the service, in the label `job`; none is every service that it has."""
    traffic: Traffic
    objectives: Objectives
    budget: Budget
    drift: Drift = Drift()
    freshness: Freshness = Freshness()
    release: Release = Release()
    experiment: Experiment = Experiment()


def read(path: Path = SLO) -> Slo:
    """Read slo.yaml.

    Raises:
        SloError: the file is missing, is not YAML, or has a wrong key or value; the message names
            the field.
    """
    try:
        return Slo.model_validate(yaml.safe_load(path.read_text(encoding="utf-8-sig")))
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        raise SloError(f"{path}: {why(error)}") from None


def planned() -> Experiment:
    """Return the plan of an A/B test; the usual one where slo.yaml is not here.

    Raises:
        SloError: it is wrong.
    """
    return read().experiment if SLO.exists() else Experiment()


def seconds(milliseconds: float) -> float:
    """Return seconds, as a person would write them: 2.1 / 1000 is 0.0021000000000000003."""
    return float(f"{milliseconds / 1_000:.12g}")
