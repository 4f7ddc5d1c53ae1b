"""Tables of people become plans, or are refused with a sentence that says what to do."""

from pathlib import Path
from typing import Any

import pytest

from ml_chassis.adopt import AdoptError
from ml_chassis.adopt.look import look
from ml_chassis.adopt.plan import Feature, Plan

ROWS = 80


def looked(folder: Path, content: str | bytes, target: str = "label", **asked: Any) -> Plan:
    """Return the plan for a file."""
    path = folder / "table.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    everything = {"time": None, "task": None, "keep": (), "leave_out": (), **asked}
    keep, leave_out = frozenset(everything["keep"]), frozenset(everything["leave_out"])
    return look(path, target, everything["time"], everything["task"], keep, leave_out)


def table(label: str = "no,yes", rows: int = ROWS, delimiter: str = ",", **columns: Any) -> str:
    """Return a table in which the values of each column, between commas, are repeated.

    `#` in a value is the number of the row; `size` is a number that tells little.
    """
    given = {"size": "1.5,2.5,3.5,4.5,2.25", **columns, "label": label}
    cycles = {name: values.split(delimiter) for name, values in given.items()}
    lines = [delimiter.join(given)]
    for row in range(rows):
        values = [cycle[row % len(cycle)] for cycle in cycles.values()]
        lines.append(delimiter.join(values).replace("#", str(row + 1)))
    return "\n".join(lines) + "\n"


def made(plan: Plan, column: str) -> Feature:
    """Return the feature of a column."""
    return next(each for each in plan.features if each.column == column)


def test_numbers_texts_and_classes(tmp_path: Path) -> None:
    plan = looked(tmp_path, table("low,middle,high", kind="a,b,,a", seats="4,5,120,2,1"))

    assert plan.rows == ROWS
    assert plan.label.task == "multiclass"
    assert plan.label.classes == ("high", "low", "middle")
    assert (made(plan, "size").type, made(plan, "size").minimum) == (float, 0)
    assert (made(plan, "seats").type, made(plan, "seats").maximum) == (int, 500)
    assert (made(plan, "kind").choices, made(plan, "kind").nullable) == (("a", "b"), True)
    assert not made(plan, "size").nullable
    assert (plan.key, plan.time, plan.left_out) == ((), None, ())


@pytest.mark.parametrize(
    ("label", "task", "expected", "classes"),
    [
        ("yes,no", None, "binary", ("False", "True")),
        ("ja,nein", None, "binary", ("nein", "ja")),
        ("0,1,1", None, "binary", ("0", "1")),
        ("1.0,2.0", None, "binary", ("1", "2")),
        ("good,good,poor", None, "binary", ("good", "poor")),
        ("1,2,3", None, "multiclass", ("1", "2", "3")),
        ("1,2,3", "regression", "regression", ()),
        ("1.5,2,3.25", None, "regression", ()),
        ("1,2,3,4,5,6,7,8,9,10,11", None, "regression", ()),
        ("1,2,3,4", "classification", "multiclass", ("1", "2", "3", "4")),
    ],
)
def test_the_values_of_the_label_say_which_model(
    label: str, task: str | None, expected: str, classes: tuple[str, ...], tmp_path: Path
) -> None:
    plan = looked(tmp_path, table(label, rows=112), task=task)

    assert (plan.label.task, plan.label.classes) == (expected, classes)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252", "utf-16"])
@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_files_of_other_dialects(encoding: str, delimiter: str, tmp_path: Path) -> None:
    columns: dict[str, Any] = {
        "size": f"1,5{delimiter}2,5",
        "Größe (m²)": f"1,5{delimiter}2.300,25{delimiter}?{delimiter}4,0",
        "Tag": f"31.12.2024{delimiter}01.01.2025",
        "": f"x{delimiter}y",
    }
    text = table(f"gut{delimiter}schlecht{delimiter}gut", delimiter=delimiter, **columns)

    plan = looked(tmp_path, text.encode(encoding), time="Tag")

    assert (plan.csv.delimiter, plan.csv.decimal) == (delimiter, ",")
    assert (plan.missing, plan.csv.time_format) == (("?",), "%d.%m.%Y")
    size = made(plan, "Größe (m²)")
    assert (size.name, size.type, size.nullable, size.example) == ("grosse_m2", float, True, 1.5)
    assert made(plan, "column_4").choices == ("x", "y")


def test_quoted_values_hold_the_delimiter_and_lines(tmp_path: Path) -> None:
    plan = looked(tmp_path, table('"a\nb",c').replace("1.5,", '"1.5",'))

    assert set(plan.label.classes) == {"a\nb", "c"}
    assert plan.rows == ROWS


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ("7", "constant"),
        (",,,", "empty"),
        ("text # of a row", "identifier"),
        ("2024-01-31", "constant"),
        ("2024-01-31,2024-02-01", "time"),
        ("1.5,2.5,3.5,4.5,2.25", "duplicate"),
        ("person#@example.org", "personal"),
        (",".join(f"{number} kg" for number in range(50)), "text"),
    ],
)
def test_columns_that_make_no_feature(values: str, reason: str, tmp_path: Path) -> None:
    plan = looked(tmp_path, table(other=values))

    assert [(each.column, each.reason) for each in plan.left_out] == [("other", reason)]
    assert [each.column for each in plan.features] == ["size"]


def test_a_column_that_tells_the_label_is_left_out(tmp_path: Path) -> None:
    columns: dict[str, Any] = {"outcome code": "3,4", "kind": "a,b,c"}
    text = table(**columns)

    plan = looked(tmp_path, text)
    kept = looked(tmp_path, text, keep=["outcome code"])

    assert [(each.column, each.reason) for each in plan.left_out] == [("outcome code", "leak")]
    assert "AUC 1.000" in plan.left_out[0].words
    assert made(kept, "outcome code").type is int


def test_an_identifier_is_the_key(tmp_path: Path) -> None:
    columns: dict[str, Any] = {"Order-ID": "A#"}
    plan = looked(tmp_path, table(**columns))

    assert plan.key == ("Order-ID",)
    assert looked(tmp_path, table(id="1,2,3")).key == ()


def test_rows_are_numbered_without_a_name(tmp_path: Path) -> None:
    text = "\n".join(f"{row or ''},{line}" for row, line in enumerate(table().splitlines()))

    assert looked(tmp_path, text).key == ("column_1",)


def test_what_is_asked_is_done(tmp_path: Path) -> None:
    text = table(kind="a,b,c", email="person#@example.org")

    plan = looked(tmp_path, text, leave_out=["kind"], keep=["email"])

    assert [(each.column, each.reason) for each in plan.left_out] == [("kind", "asked")]
    email = made(plan, "email")
    assert (email.personal, email.example, email.choices) == (True, "example", None)


@pytest.mark.parametrize(
    ("values", "missing", "highest"),
    [
        ("1,2,unknown,3", ("unknown",), 5),
        ("10,20,-999,30", ("-999",), 50),
        ("-10,-1000,-999,30", (), 2000),
        ("10,20,9999,30", ("9999",), 50),
        ("9998,9999,9990", (), 20_000),
    ],
)
def test_words_for_what_is_missing(
    values: str, missing: tuple[str, ...], highest: float, tmp_path: Path
) -> None:
    plan = looked(tmp_path, table("low,low,low,high,high", number=values))

    assert plan.missing == missing
    assert made(plan, "number").maximum == highest


@pytest.mark.parametrize("values", ["+,-", "-,x"])
def test_the_same_words_are_categories_among_texts(values: str, tmp_path: Path) -> None:
    assert made(looked(tmp_path, table("a,b,b", sign=values)), "sign").choices == tuple(
        sorted(values.split(","))
    )


def test_codes_with_leading_zeros_are_texts(tmp_path: Path) -> None:
    assert made(looked(tmp_path, table("a,b,b", code="01,10,21,07")), "code").type is str


def test_a_person_is_told_what_to_look_at(tmp_path: Path) -> None:
    text = table("1,2,3,", sex="f,m", day="2024-01-31,2024-02-01") + "1,2,3,4,5\n"

    notes = " ".join(looked(tmp_path, text).notes)

    assert "20 rows have no label" in notes
    assert "1 rows have too few or too many values" in notes
    assert "TASK=regression" in notes
    assert "TIME=day" in notes
    assert "sex: " in notes


@pytest.mark.parametrize(
    ("content", "asked", "message"),
    [
        ("", {}, "is empty"),
        ("a,label\n", {}, "no rows"),
        (b"PAR1....", {}, "a Parquet file"),
        (b"PK\x03\x04....", {}, "a spreadsheet"),
        ('[{"a": 1}]', {}, "is JSON"),
        ("label\nyes\nno\n", {}, "has one column"),
        ("a,label\n1\n2\n3,4,5\n", {}, "as many values"),
        ("size,label\n1,2\n3,4\n", {}, "Only 2 rows"),
        (table(), {"target": "Lable"}, "Did you mean 'label'?"),
        (table().split("\n", 1)[1], {}, "first line must hold the names"),
        (table(), {"time": "size"}, "no times"),
        (table(), {"time": "label"}, "must be two columns"),
        (table(), {"keep": ["sise"]}, "KEEP: there is no column 'sise'. Did you mean 'size'?"),
        (table(), {"keep": ["size"], "leave_out": ["size"]}, "not in both"),
        (table(), {"leave_out": ["label"]}, "are no features"),
        (table(), {"leave_out": ["size"]}, "No column is left"),
        (table(other=",,"), {"keep": ["other"]}, "can be no feature"),
        (table(), {"task": "guess"}, "say classification or regression"),
        (table("low,high"), {"task": "regression"}, "holds text, such as 'low'"),
        (table("yes,no"), {"task": "regression"}, "holds yes and no"),
        (table("1.5,2.5,3"), {"task": "classification"}, "holds fractions"),
        (table("same"), {}, "nothing to predict"),
        (table("v#"), {}, "more than 50 classes"),
        (table("a,b", rows=81).replace(",b\n", ",c\n", 3), {}, "fewer than 8 rows with c"),
    ],
)
def test_refusals(
    content: str | bytes, asked: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(AdoptError) as refused:
        looked(tmp_path, content, **asked)

    assert message in str(refused.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(AdoptError, match="cannot be read"):
        look(tmp_path / "none.csv", "label", None, None, frozenset(), frozenset())
