"""What another service observes now, over HTTP, as features; missing when it has nothing to give.

    possible = possible_values("weather", Features)


    def read(body: bytes) -> Observation:
        answer = Answer.model_validate_json(body)
        return Observation(possible({"temperature": answer.temperature}), answer.at)


    live = LiveSource("weather", address("WEATHER_URL"), "/stations/{}", read)
    observed = await live.at("KEWR")

`resilience` says what is done about a service that is slow, wrong or down.
"""

import os
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple
from urllib.parse import quote

from pydantic import BaseModel, TypeAdapter, ValidationError

from ..monitoring import metrics
from ..settings import SettingsError
from . import http
from .resilience import Limits, SourceError, resilient

ADDRESS = r"(https?://[\w.\-]+(:\d{1,5})?(/[^\s?#]*)?)?"

Values = dict[str, float | None]


class Observation(NamedTuple):
    """Features, and when they were observed; what was not is None."""

    features: Values
    observed_at: datetime


class Observed(NamedTuple):
    """Features, where they are from, and when they were observed."""

    features: Values
    source: Literal["live", "last_known", "missing"]
    observed_at: datetime | None


MISSING = Observed({}, "missing", None)


def address(variable: str) -> str:
    """Return the address that a variable of the environment holds; "" where there is none.

    Raises:
        SettingsError: it is no address.
    """
    url = os.environ.get(variable, "")
    if not re.fullmatch(ADDRESS, url):
        raise SettingsError(f"{variable}: give an address, such as https://api.example.com.")
    return url


class LiveSource:
    """Knows what a service observes now."""

    def __init__(
        self,
        name: str,
        base_url: str,
        path: str,
        read: Callable[[bytes], Observation],
        headers: Mapping[str, str] | None = None,
        limits: Limits | None = None,
    ) -> None:
        """Prepare the connections.

        Args:
            name: What metrics and logs call it.
            base_url: Its address; without one, all is missing.
            path: Where it says what it observes, with {} for the key.
            read: Reads the body of an answer; raises `ValidationError` when it is no observation.
            headers: What every request says.
            limits: What it is allowed.
        """
        self._name, self._path, self._read = name, path, read
        self._limits = limits or Limits()
        self._client = http.open_client(base_url, headers or {}) if base_url else None
        self._latest = resilient(name, self._fetch, self._limits) if base_url else None

    async def at(self, key: str) -> Observed:
        """Return what is observed now of a key.

        An observation older than `Limits.keep` is as good as none.
        """
        if self._latest is None:
            return MISSING
        found = await self._latest(key)
        if found is None:
            metrics.count_source_value(self._name, "missing")
            return MISSING
        features, observed_at = found.value
        age = (datetime.now(UTC) - observed_at).total_seconds()
        if age > self._limits.keep:
            metrics.count_source_value(self._name, "too_old")
            return MISSING
        state: Literal["live", "last_known"] = "live" if found.live else "last_known"
        metrics.count_source_value(self._name, state, age)
        return Observed(features, state, observed_at)

    async def close(self) -> None:
        """Close the connections."""
        if self._client:
            await self._client.aclose()

    async def _fetch(self, key: str) -> Observation:
        assert self._client  # noqa: S101 - `at` asked
        body = await http.get(self._client, self._path.format(quote(key, safe="")))
        try:
            return self._read(body)
        except ValidationError:
            raise SourceError("invalid") from None


def possible_values(source: str, schema: type[BaseModel]) -> Callable[[Mapping[str, Any]], Values]:
    """Return what keeps the values of features that the schema calls possible.

    Another value is missing, and counted; what the schema does not have is left out.
    """
    kinds = {
        name: TypeAdapter[float | None](field.rebuild_annotation())
        for name, field in schema.model_fields.items()
    }

    def checked(name: str, value: float | None) -> float | None:
        try:
            return None if value is None else kinds[name].validate_python(value)
        except ValidationError:
            metrics.count_impossible_value(source, name)
            return None

    return lambda values: {name: checked(name, values[name]) for name in values if name in kinds}
