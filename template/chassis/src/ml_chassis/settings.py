"""Settings of the service, each read from the environment variable MODEL_SERVICE_<NAME>."""

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from typing import Annotated, Literal, Self, get_args

from pydantic import Field, HttpUrl, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict
from pydantic_settings import SettingsError as NotJsonError

from .errors import UserError, describe
from .storage import Root

PREFIX = "MODEL_SERVICE_"
PACKAGE = "ml-service-chassis"
MIN_KEY_LENGTH = 16
MOST = 2**31 - 1
"""What libraries take as a number."""
NOT_KEPT = r"sqlite(\+\w+)?://((/(file:)?(:memory:)?)?(\?.*)?|.*mode=memory.*)"
"""Databases that are gone with the process."""
DATABASE = (
    r"(sqlite(\+\w+)?:///|postgresql(\+\w+)?://([^@]*@)?(\[[^]]*\]|[^:/?]*)(:\d*)?([/?]|$)).*"
)
"""Databases that can be used; the library finds what else may be wrong."""
DATABASES = "sqlite:///FILE or postgresql+psycopg://USER:PASSWORD@HOST:PORT/NAME"
NO_ADDRESS = r"[~$]|\w{2,}:(?!//)"
"""What would be a folder of that name in this one, and is meant as another place."""
Share = Annotated[float, Field(ge=0, le=1)]
NAME = "^[A-Za-z0-9][A-Za-z0-9._-]*$"
Track = Literal["stable", "canary", "shadow"]
STABLE, CANARY, SHADOW = get_args(Track)


class SettingsError(UserError):
    """An environment variable is unknown or has a value that cannot be used."""


class Settings(BaseSettings):
    """The settings and their defaults; docs/settings.md of the chassis follows from them."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True)

    host: Annotated[str, Field(pattern=r"^\S+$", description="Address to listen on.")] = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65_535, description="Port to listen on.")] = 3000
    workers: Annotated[int, Field(ge=1, le=256, description="Processes that answer requests.")] = 1
    models_dir: Annotated[
        Root,
        Field(
            description="Folder of the model registry, or its URL: `s3://bucket/path`, `gs://...`, "
            "`az://...`."
        ),
    ] = "models"
    poll_seconds: Annotated[
        int,
        Field(ge=1, description="Seconds between looks at a registry at a URL, by each replica."),
    ] = 15
    cache_dir: Annotated[
        str,
        Field(description="Folder for models from a URL; none: one of this user's in `/tmp`."),
    ] = ""
    database_url: Annotated[
        SecretStr,
        Field(description="Database of `make data`: `sqlite:///FILE`, `postgresql+psycopg://...`."),
    ] = SecretStr("sqlite:///data/service.db")
    sources: Annotated[
        dict[str, SecretStr],
        Field(
            description="Addresses of raw tables instead of those that the project names, as JSON: "
            '`{"orders": "https://..."}`.'
        ),
    ] = {}
    mlflow_url: Annotated[
        SecretStr,
        Field(
            description="MLflow server that also gets what `make runs` shows, such as "
            "`https://user:password@mlflow.example.com`."
        ),
    ] = SecretStr("")
    broker_url: Annotated[
        SecretStr,
        Field(
            description="Broker of `make stream`: `redis://...`, `nats://...`, `amqp://...` or "
            "`kafka://...`."
        ),
    ] = SecretStr("")
    topic: Annotated[
        str,
        Field(pattern=NAME, description="Topic on which the events of `make stream` arrive."),
    ] = "events"
    labels_topic: Annotated[
        str,
        Field(
            pattern=NAME,
            description="Topic on which the labels of `make stream LABELS=yes` arrive.",
        ),
    ] = "labels"
    engine: Annotated[
        Literal["polars", "spark"], Field(description="What builds the features in `make data`.")
    ] = "polars"
    alias: Annotated[
        str, Field(pattern=NAME, description="Alias or version of the model to serve.")
    ] = "champion"
    model_name: Annotated[
        str,
        Field(
            pattern=NAME,
            description="Name of the model in the paths of other servers' protocols, and of its "
            "group and topics in `make stream`.",
        ),
    ] = "model"
    max_rows: Annotated[int, Field(ge=1, le=MOST, description="Rows in one request at most.")] = (
        1_000
    )
    max_table_rows: Annotated[
        int,
        Field(
            ge=1, le=MOST, description="Rows in one request at most that come in columns, as Arrow."
        ),
    ] = 100_000
    max_body_bytes: Annotated[
        int, Field(ge=1, le=MOST, description="Bytes in one request at most.")
    ] = 1_048_576
    max_waiting: Annotated[
        int,
        Field(ge=1, le=MOST, description="Requests that wait for the model in one worker at most."),
    ] = 512
    model_seconds: Annotated[
        float, Field(gt=0, le=60, description="Seconds that the model may take for one call.")
    ] = 1.0
    hung_seconds: Annotated[
        int,
        Field(ge=2, description="Seconds without a sign of life until a worker is replaced."),
    ] = 30
    keep_alive_seconds: Annotated[
        int,
        Field(
            ge=1,
            le=3_600,
            description="Seconds until a connection without a request is closed: more than a "
            "balancer in front keeps it, usually 60.",
        ),
    ] = 75
    api_keys: Annotated[
        SecretStr,
        Field(
            description="Accepted keys, of 16 characters at least, with commas between them; "
            "none lets everybody ask."
        ),
    ] = SecretStr("")
    metrics_port: Annotated[
        int,
        Field(ge=0, le=65_535, description="Port of /metrics alone; 0 is beside the predictions."),
    ] = 0
    track: Annotated[
        Track, Field(description="What this replica is in a rollout: its metrics name it.")
    ] = "stable"
    feedback_url: Annotated[
        SecretStr,
        Field(
            description="Database that keeps predictions until their labels come to `/feedback`: "
            "`sqlite:///data/feedback.db`, `postgresql+psycopg://...`. Without one there is no "
            "such route."
        ),
    ] = SecretStr("")
    feedback_days: Annotated[
        int, Field(ge=1, le=3_650, description="Days for which it keeps predictions and labels.")
    ] = 90
    monitor: Annotated[
        str,
        Field(
            pattern=f"^$|{NAME}",
            description="Name of the monitor of BentoML that logs predictions with their features, "
            "at most 10 rows a second and worker. Without one, none does.",
        ),
    ] = ""
    gateway: Annotated[
        bool,
        Field(
            description="Whether all requests come through `make gateway`, which names predictions "
            "that a shadow gets, too."
        ),
    ] = False
    experiment: Annotated[
        str,
        Field(
            pattern=f"^$|{NAME}",
            description="Name of an A/B test, in which the challenger answers the share of the "
            "units that `experiment` in slo.yaml says. Without one, it answers nobody.",
        ),
    ] = ""
    experiment_unit: Annotated[
        str,
        Field(
            pattern="^[a-z0-9][a-z0-9-]*$",
            description="Header that names the unit of an A/B test, such as a customer; requests "
            "without it are not in the test.",
        ),
    ] = "user-id"
    log_format: Annotated[
        Literal["text", "json"], Field(description="Lines of the log, for people or for machines.")
    ] = "text"
    log_share: Annotated[
        Share,
        Field(description="Share of the requests in the access log, beside those answered 5xx."),
    ] = 0.01
    traces_url: Annotated[
        SecretStr,
        Field(
            description="Where a collector of OpenTelemetry takes spans by OTLP over HTTP: "
            "`http://localhost:4318/v1/traces`. Without one, none are made."
        ),
    ] = SecretStr("")
    traces_share: Annotated[
        Share,
        Field(description="Share of the requests traced; of a trace that goes on, its flag says."),
    ] = 0.01
    profiles_dir: Annotated[
        str,
        Field(description="Folder for CPU profiles, which `kill -USR1` begins. Without one, none."),
    ] = ""
    profile_seconds: Annotated[
        int, Field(ge=1, le=60, description="Seconds that a profile takes.")
    ] = 10
    retrain_url: Annotated[
        str,
        Field(
            description="Where `make retrainer` retrains: none is here; else "
            "`https://api.github.com/repos/OWNER/NAME/dispatches`, or a CronJob, "
            "`https://kubernetes.default.svc/apis/batch/v1/namespaces/NAMESPACE/cronjobs/NAME`."
        ),
    ] = ""
    retrainer_port: Annotated[
        int, Field(ge=1, le=65_535, description="Port on which `make retrainer` takes alerts.")
    ] = 3001
    observe_port: Annotated[
        int, Field(ge=1, le=65_535, description="Port of the page of `make observe`.")
    ] = 3003
    drain_seconds: Annotated[
        float,
        Field(ge=0, le=600, description="Seconds after SIGTERM in which requests are answered."),
    ] = 3.0

    @property
    def keys(self) -> list[str]:
        """The accepted keys."""
        return [key.strip() for key in self.api_keys.get_secret_value().split(",") if key.strip()]

    @property
    def addresses(self) -> dict[str, str]:
        """The addresses of raw tables that are not those that the project names."""
        return {name: address.get_secret_value() for name, address in self.sources.items()}

    @model_validator(mode="after")
    def _check(self) -> Self:
        weak = any(len(key) < MIN_KEY_LENGTH or not key.isascii() for key in self.keys)
        if weak or (self.api_keys.get_secret_value() and not self.keys):
            raise ValueError(
                f"{PREFIX}API_KEYS: give ASCII keys of {MIN_KEY_LENGTH} characters or more"
            )
        _check_database("DATABASE_URL", self.database_url.get_secret_value())
        _check_database("FEEDBACK_URL", self.feedback_url.get_secret_value())
        if self.experiment and not self.feedback_url.get_secret_value():
            raise ValueError(
                f"{PREFIX}EXPERIMENT: who was answered by which model is kept in the database of "
                f"{PREFIX}FEEDBACK_URL: set it"
            )
        if re.match(NO_ADDRESS, str(self.models_dir)):
            raise ValueError(f"{PREFIX}MODELS_DIR: give a whole path, or a URL as s3://bucket/path")
        if not _is_address(self.traces_url.get_secret_value()):
            example = "http://localhost:4318/v1/traces"
            raise ValueError(f"{PREFIX}TRACES_URL: give a whole address, such as {example}")
        if self.metrics_port == self.port:
            raise ValueError(f"{PREFIX}METRICS_PORT: give another port than {PREFIX}PORT, or 0")
        return self


def _check_database(name: str, url: str) -> None:
    """Refuse an address that no database has; what may hold a password is not repeated."""
    if re.fullmatch(NOT_KEPT, url):
        raise ValueError(f"{PREFIX}{name}: name a file, as in sqlite:///data/service.db")
    if url and (not re.fullmatch(DATABASE, url) or url != url.strip()):
        raise ValueError(f"{PREFIX}{name}: give the address of a database, {DATABASES}")


def _is_address(url: str) -> bool:
    """Return whether it is one of HTTP with a path, or none at all."""
    try:
        blank = re.search(r"\s", url)
        return not url or (not blank and HttpUrl(url).path not in {None, "/"})
    except ValidationError:
        return False


@contextmanager
def needing(name: str, extra: str) -> Iterator[None]:
    """Import what a setting needs, of an extra of this package.

    Raises:
        SettingsError: it is not installed; the message names the setting and says what to add.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        release = ".".join(version(PACKAGE).split(".")[:2])
        line = f'dependencies = ["{PACKAGE}[{extra}]=={release}.*"]'
        needed = f"write {line} into pyproject.toml, with the extras that are there, then: make"
        text = f"{PREFIX}{name}: there is no {error.name}: {needed} lock setup"
        raise SettingsError(text) from None


@contextmanager
def only(given: Mapping[str, str]) -> Iterator[None]:
    """Let these be all settings of this process, and of those that it starts, for a while.

    Args:
        given: Environment; what is no setting in it is left out.
    """
    own = {name: os.environ.pop(name) for name in [*_named(os.environ)]}
    told = {name: given[name] for name in _named(given)}
    os.environ.update(told)
    try:
        yield
    finally:
        for name in told:
            del os.environ[name]
        os.environ.update(own)


def _named(environment: Mapping[str, str]) -> list[str]:
    return [name for name in environment if name.upper().startswith(PREFIX)]


def read() -> Settings:
    """Return the settings of this process.

    Raises:
        SettingsError: a variable is unknown or cannot be used; the message names it.
    """
    known = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}
    unknown = sorted(name for name in _named(os.environ) if name.upper() not in known)
    if unknown:
        page = "docs/settings.md of the chassis"
        raise SettingsError(f"There is no setting {', '.join(unknown)}; see {page}.")
    try:
        return Settings()
    except NotJsonError as error:
        (field,) = re.findall(r'field "(\w+)"', str(error))
        raise SettingsError(f"{PREFIX}{field.upper()}: it is not JSON.") from None
    except ValidationError as error:
        raise SettingsError(f"{describe(error, PREFIX)}.") from None
