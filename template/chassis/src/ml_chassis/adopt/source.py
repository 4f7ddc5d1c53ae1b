"""The files in src/ that say what the data is, as a person would write them."""

import json
import re

from .plan import Feature, Label, Plan

WEB = '''"""YOURS: routes of your own, a FastAPI application under /api; its document is /api/docs.

A route predicts in this process, with `predict`; a body has 64 KiB at most. As an example, POST
/api/row takes the features of one row, checked as `schema.py` says. `ml_chassis.sources` helps to
ask other services while answering. To do without routes: delete this file, and the line `routes`
of [tool.chassis] in pyproject.toml.
"""

from fastapi import FastAPI
from ml_chassis.serving.mounted import application, predictor
from ml_chassis.serving.runtime import Runtime
from pydantic import BaseModel

from .schema import Features


class Row(Features):
    """One row; what its values may be is declared in `schema.py`."""


class Answer(BaseModel):
    """What is predicted, by which model, and why it is not the model's answer where it is not."""

    prediction: float | dict[str, float]
    model_version: str
    degraded: str | None


def create_web(runtime: Runtime) -> FastAPI:
    """Return the application."""
    predict = predictor(runtime)
    web = application(runtime, title="Routes of your own")

    @web.post("/row")
    async def predict_row(row: Row) -> Answer:
        """Predict one row."""
        scored = await predict([row])
        (prediction,) = runtime.contract.named(scored.predictions)
        return Answer(
            prediction=prediction, model_version=scored.version, degraded=scored.degraded
        )

    return web
'''


def table_name(plan: Plan) -> str:
    """Return the name of the raw table, after the file."""
    stem = re.sub(r"[^a-z0-9]+", "_", plan.data.name.partition(".")[0].lower()).strip("_")
    return stem if stem[:1].isalpha() else f"table_{stem}".rstrip("_")


def address(plan: Plan) -> str:
    """Return where the data will be in the project."""
    packed = ".gz" if plan.data.suffix == ".gz" else ""
    return f"data/raw/{table_name(plan)}.csv{packed}"


def schema(plan: Plan, before: str) -> str:
    """Return schema.py.

    Args:
        plan: What is declared.
        before: The file as it is, whose introduction stays.
    """
    introduction = before[: before.index('\n"""\n') + len('\n"""\n')]
    literal = any(each.choices for each in plan.features) or plan.label.task == "multiclass"
    personal = any(each.personal for each in plan.features)
    return "".join(
        [
            introduction,
            f"\nfrom typing import Annotated{', Literal' if literal else ''}\n",
            "\nfrom pydantic import BaseModel, ConfigDict, Field\n",
            "\nfrom ml_chassis.personal import PERSONAL\n" if personal else "",
            "\n\nclass Features(BaseModel):\n",
            f'    """What is known of a row of {table_name(plan)}."""\n\n',
            '    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)\n\n',
            *(_feature(each) for each in plan.features),
            "\n\nclass LabelledFeatures(Features):\n",
            '    """Features together with what turned out to be true."""\n\n',
            _label(plan.label),
        ]
    )


def raw(plan: Plan) -> str:
    """Return raw.py."""
    features = {each.column: each.type.__name__ for each in plan.features}
    columns = {
        **({plan.time: "datetime"} if plan.time else {}),
        **dict.fromkeys((name for name in plan.key if name != plan.time), "str"),
        **features,
        plan.label.column: plan.label.type.__name__,
    }
    words = ", ".join(map(_text, plan.missing))
    personal = [_text(each.column) for each in plan.features if each.personal]
    name = table_name(plan)
    declared = [
        f"name={_text(name)}",
        f"address={_text(address(plan))}",
        f"columns={{{''.join(f'{_text(column)}: {kind}, ' for column, kind in columns.items())}}}",
        f"key={_tuple(plan.key)}",
        *([f"time={_text(plan.time)}"] if plan.time else []),
        *([f"personal=frozenset({{{', '.join(personal)}}})"] if personal else []),
        *_csv(plan),
        *([f"missing=(*MISSING_WORDS, {words})"] if plan.missing else []),
    ]
    times = "datetime, timedelta" if plan.time else "timedelta"
    names = {"Csv": _csv(plan), "MISSING_WORDS": plan.missing, "RawTable": True}
    tables = ", ".join(name for name, used in names.items() if used)
    return f'''"""YOURS: the raw tables as other systems keep them, and where those are.

Types say what a value must be readable as; what is possible is said in `schema.py`, since what is
impossible for one model may serve another.
"""

from datetime import {times}

from ml_chassis.data.tables import {tables}

{name.upper()} = RawTable({", ".join(declared)},)

TABLES = ({name.upper()},)

LOOKBACK = timedelta()
"""How far before a row's time the raw rows may lie of which its features are made."""
'''


def features(plan: Plan) -> str:
    """Return features.py."""
    keys = [_text(name) for name in plan.key if name != plan.time]
    if not plan.key:
        keys = ["ORIGIN", "POSITION"]
    if plan.time:
        keys.insert(0, "TIME")
    same = [_text(each.name) for each in plan.features if each.name == each.column]
    renamed = "".join(
        f"{_text(each.column)}: {_text(each.name)}, "
        for each in plan.features
        if each.name != each.column
    )
    chosen = [
        "*KEYS",
        *same,
        *(["*(nw.col(raw).alias(name) for raw, name in RENAMED.items())"] if renamed else []),
        f"{_target(plan.label)}.alias({_text(plan.label.name)})",
    ]
    return f'''"""YOURS: from the raw table to one row with the features and the label.

Only what is known when the decision is made may become a feature. Which columns are none, and why,
is said in data/README.md.
"""

from collections.abc import Mapping
from typing import Any

import narwhals.stable.v2 as nw
from narwhals.stable.v2.typing import IntoFrame

{"" if plan.key else "from ml_chassis.data.tables import ORIGIN, POSITION"}

TIME{f" = {_text(plan.time)}" if plan.time else ": str | None = None"}
"""The column by which rows are split into training and evaluation."""

KEYS = ({", ".join(keys)},)
"""Columns that say which row it is; they are no features."""

PERSONAL_KEYS: tuple[str, ...] = ()
"""Those of them whose values are personal, and so shown nowhere."""

{f"RENAMED = {{{renamed}}}" if renamed else ""}


def build(tables: Mapping[str, IntoFrame]) -> nw.LazyFrame[Any]:
    """Return the keys, the features and the label of every raw row.

    What is unknown is null. What happens after the time of a row must not change it: when raw rows
    come late, only the rows from their time on are built again.
    """
    return (
        nw.from_native(tables[{_text(table_name(plan))}])
        .lazy()
        .select({", ".join(chosen)},)
        .sort(*KEYS)
    )
'''


def _feature(feature: Feature) -> str:
    kind = feature.type.__name__
    arguments = [*_bounds(feature.minimum, feature.maximum)]
    if feature.choices:
        kind = f"Literal[{', '.join(map(_text, feature.choices))}]"
    elif feature.type is str:
        arguments.append(f"max_length={feature.max_length}")
    if feature.nullable:
        kind += " | None"
    field = _field(kind, arguments, feature.column, feature.example, feature.personal)
    return f"    {feature.name}: {field}{' = None' if feature.nullable else ''}\n"


def _label(label: Label) -> str:
    if label.task == "regression":
        kind, example = label.type.__name__, label.example
        description, bounds = label.column, _bounds(label.minimum, label.maximum)
    elif label.task == "binary":
        kind, example, bounds = "bool", True, []
        description = label.column
        if label.type is not bool:
            description = f"{label.column} is {label.classes[1]}, not {label.classes[0]}"
    else:
        kind, bounds = f"Literal[{', '.join(map(_text, label.classes))}]", []
        description, example = label.column, label.classes[0]
    return f"    {label.name}: {_field(kind, bounds, description, example)}\n"


def _field(
    kind: str, arguments: list[str], column: str, example: object, personal: bool = False
) -> str:
    shown = _text(example) if isinstance(example, str) else repr(example)
    arguments = [*arguments, f"description={_text(f'{column}.')}", f"examples=[{shown}]"]
    marks = ", PERSONAL" if personal else ""
    return f"Annotated[{kind}, Field({', '.join(arguments)}){marks},]"


def _bounds(minimum: float | None, maximum: float | None) -> list[str]:
    known = (("ge", minimum), ("le", maximum))
    return [f"{name}={_number(value)}" for name, value in known if value is not None]


def _number(value: float) -> str:
    return f"{int(value):_}" if value == int(value) and abs(value) < 1e15 else repr(value)


def _target(label: Label) -> str:
    """Return the expression that makes the label."""
    column = f"nw.col({_text(label.column)})"
    if label.task == "multiclass":
        return column if label.type is str else f"{column}.cast(nw.String)"
    if label.task == "regression" or label.type is bool:
        return column
    no, yes = (
        _text(each) if label.type is str else repr(label.type(each))  # type: ignore[call-arg, arg-type]
        for each in label.classes
    )
    return (
        f"nw.when({column} == {yes}).then(nw.lit(True)).when({column} == {no}).then(nw.lit(False))"
    )


def _csv(plan: Plan) -> list[str]:
    """Return how the file is written, where that is not the usual."""
    usual = type(plan.csv)()
    given = ", ".join(
        f"{name}={_text(value)}"
        for name, value in vars(plan.csv).items()
        if value != getattr(usual, name)
    )
    return [f"csv=Csv({given})"] if given else []


def _text(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)


def _tuple(values: tuple[str, ...]) -> str:
    return f"({''.join(f'{_text(value)}, ' for value in values)})" if values else "()"
