"""training.toml for the rows that a project has adopted."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from math import ceil
from typing import Any

import tomlkit

from ..training.config import GAIN_OVER_CHAMPION
from .gates import Asked

STEPS = 600
"""Of a network's optimiser, at least; few rows need more epochs."""

BY_TIME = """\
# Train on what happened before this day, evaluate on what came after: never at random, since
# the service will also meet days that it has not seen.
test_from = {}
"""
BY_SHARE = """\
# Rows are about no time: this share of them, chosen by their keys, is for evaluation.
test_share = {}
"""
FALLBACK = """\
[fallback]
# What is answered, and marked as degraded, while the model cannot: the mean of the label in
# training, per value of this category; "" is one for all. Without this table such a request is
# refused.
group_by = ""
"""
EVALUATION = """\
[evaluation]
# Quality can also be measured on the rows of each value of categories, and groups be compared
# that must be treated alike: slices = ["..."], fairness = ["..."]; docs/training.md of the
# chassis has the gates.
minimum_rows = {}
"""
OPTIMISATION = """\
[optimisation]
# When `make optimise` may serve a smaller or quicker variant instead of the full model.
rows = 100                        # of a call, by whose time variants are compared
minimum_speedup = 1.2             # lower end of its interval
maximum_loss = {loss}   # mean loss per row more than the full model, upper end
maximum_batch_difference = {difference}   # change of an answer through other rows in the same call
reason = "No more goes for speed than a new champion may lose; calls may not share answers."
"""
GATES = """\
# Gates: what a model must reach before it may be served, from what the first one reached. What each
# measures is said in docs/training.md of the chassis. Look at them, and ask for what you need.
"""


@dataclass(frozen=True)
class Split:
    """Which rows are for evaluation: those from a day on, or a share."""

    test_from: date | None
    test_share: float | None
    days: int
    """From the day on until the newest row."""


def render(
    before: str,
    split: Split,
    rows: int,
    gain: float = 0,
    difference: float = 1e-5,
    gates: Iterable[Asked] = (),
) -> str:
    """Return training.toml.

    Args:
        before: The file as it is; seed and ranges stay.
        split: How rows are split.
        rows: Number of rows for training.
        gain: Loss of the first model less than that of the base rate.
        difference: What is allowed through other rows in the same call.
        gates: What is asked.
    """
    known = tomlkit.parse(before).unwrap()
    # A variant that may lose more would be chosen, and then refused beside the champion.
    allowed = [-gate.minimum for gate in gates if gate.name == GAIN_OVER_CHAMPION and gate.minimum]
    loss = min([gain / 10, *allowed])
    parts = [
        "# YOURS: how the model is trained, and what it must achieve before it may be served.\n\n"
        f"seed = {known['seed']}\n",
        BY_TIME.format(split.test_from) if split.test_from else BY_SHARE.format(split.test_share),
        _table("parameters", _parameters(known["parameters"], rows)),
        FALLBACK,
        EVALUATION.format(min(100, max(20, rows // 30))),
        _retraining(split, rows),
        *([_tuning(known["tuning"])] if "tuning" in known else []),
        OPTIMISATION.format(loss=_rounded(loss), difference=_rounded(difference)),
        GATES + "\n".join(_gate(gate) for gate in gates if gate.limit is not None),
        *(_not_asked(gate) for gate in gates if gate.limit is None),
    ]
    return "\n".join(parts) if gates else "\n".join([*parts, "[gates]\n"])


def _parameters(known: dict[str, Any], rows: int) -> dict[str, Any]:
    """Return the parameters, with those that depend on the number of rows."""
    size = 16
    while size < 256 and 2 * size <= rows / 16:
        size *= 2
    fitting = {
        "min_samples_leaf": min(40, max(5, rows // 50)),
        "batch_size": size,
        "epochs": min(100, max(12, ceil(STEPS * size / rows))),
    }
    return known | {name: value for name, value in fitting.items() if name in known}


def _retraining(split: Split, rows: int) -> str:
    if split.test_from:
        text = (
            "[retraining]\n"
            "# `make retrain` keeps the newest days with labels for evaluation, instead of those\n"
            "# from test_from on, and trains on all before.\n"
            f"evaluation_days = {split.days}\n"
        )
    else:
        text = "[retraining]\n"
    return f"{text}# With fewer new rows than this it does nothing.\n" + (
        f"minimum_new_rows = {max(20, rows // 50)}\n"
    )


def _tuning(known: dict[str, Any]) -> str:
    return (
        "[tuning]\n"
        "# `make tune` tries values of these parameters, on parts of the rows for training.\n"
        f"trials = {known['trials']}      # at most\n"
        f"seconds = {known['seconds']}    # begin no trial after that\n"
        f"folds = {known['folds']}        # each trial is fitted so often\n\n"
        + _table("tuning.parameters", known["parameters"])
    )


def _gate(gate: Asked) -> str:
    limit = "minimum" if gate.minimum is not None else "maximum"
    return f"[gates.{gate.name}]\n{limit} = {gate.limit!r}\nreason = {_value(gate.reason)}\n"


def _not_asked(gate: Asked) -> str:
    return f"# {gate.name} is not asked. {gate.reason}\n"


def _table(name: str, values: dict[str, Any]) -> str:
    return f"[{name}]\n" + "".join(f"{key} = {_value(value)}\n" for key, value in values.items())


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_value(each)}" for key, each in value.items()) + " }"
    return json.dumps(value, ensure_ascii=False)


def _rounded(value: float) -> str:
    return f"{value:.1g}"
