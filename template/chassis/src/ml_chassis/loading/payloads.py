"""Valid rows in all their variety, made from the schema: bounds, choices, missing values."""

import json
import re
from functools import cache
from random import Random
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from ..contract import Column, Contract

VALUES = 100
MISSING_SHARE = 0.1
SEED = 2013


def bodies(contract: Contract, count: int, rows_each: int) -> list[bytes]:
    """Return the bodies of requests with that many rows each."""
    table = rows(contract, count * rows_each)
    starts = range(0, len(table), rows_each)
    return [json.dumps({"rows": table[start : start + rows_each]}).encode() for start in starts]


def rows(contract: Contract, count: int) -> list[dict[str, Any]]:
    """Return valid rows, the same ones every time.

    Of each column they hold both bounds or every choice, values in between, and, where it may be
    missing, rows without it, as far as there are enough rows.
    """
    random = Random(SEED)  # noqa: S311 - no secret is made of it
    table = {}
    for name, pool in _pools(contract).items():
        table[name] = [*pool, *random.choices(pool, k=count)][:count]
        random.shuffle(table[name])
    return [{name: table[name][at] for name in table} for at in range(count)]


@cache
def _pools(contract: Contract) -> dict[str, list[Any]]:
    """Return valid values of each column, one of them missing in about ten where it may be."""
    random = Random(SEED)  # noqa: S311
    example = contract.example_row()
    pools = {}
    for column in contract.features:
        values = [
            each for each in _values(column, random) if _fits(contract, example, column, each)
        ]
        missing = max(1, round(len(values) * MISSING_SHARE)) if column.nullable else 0
        pools[column.name] = (values or [column.example]) + [None] * missing
    return pools


def _values(column: Column, random: Random) -> list[Any]:
    """Return values of which most are valid."""
    if column.choices:
        return list(column.choices)
    if column.type == "boolean":
        return [True, False]
    if column.type == "string":
        return _matching(column.pattern) if column.pattern else _texts(column, random)
    low = column.minimum if column.minimum is not None else column.above
    high = column.maximum if column.maximum is not None else column.below
    assert low is not None and high is not None  # noqa: S101 - `contract` insists
    if column.type == "integer":
        return [low, high, *(random.randint(int(low), int(high)) for _ in range(VALUES))]
    return [low, high, *(round(random.uniform(low, high), 3) for _ in range(VALUES))]


def _texts(column: Column, random: Random) -> list[str]:
    lengths = range(1, min(column.max_length or 1, 20) + 1)
    return ["".join(random.choices("abcdefgh", k=random.choice(lengths))) for _ in range(VALUES)]


def _matching(pattern: str) -> list[str]:
    """Return texts that a regular expression describes; none when Python cannot read it."""
    found: list[str] = []

    @settings(
        max_examples=VALUES,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.from_regex(pattern, fullmatch=True))
    def collect(text: str) -> None:
        found.append(text)

    try:
        collect()
    except re.error:  # Pydantic reads some expressions that Python does not
        return []
    return found


def _fits(contract: Contract, example: dict[str, Any], column: Column, value: Any) -> bool:
    """Ask the schema: a bound may be exclusive, and it reads patterns unlike Python."""
    try:
        contract.schema.model_validate({**example, column.name: value})
    except ValidationError:
        return False
    return True
