"""Names for people become identifiers that a schema can declare."""

import pytest

from ml_chassis.adopt.names import identifiers


@pytest.mark.parametrize(
    ("column", "name"),
    [
        ("Petal Length (cm)", "petal_length_cm"),
        ("PassengerId", "passenger_id"),
        ("Wohnfläche (m²)", "wohnflache_m2"),
        ("Straße", "strasse"),
        ("2nd value", "x_2nd_value"),
        ("class", "class_value"),
        ("float", "float_value"),
        ("copy", "copy_value"),
        ("model_dump", "model_dump_value"),
        ("_hidden__name_", "hidden_name"),
        ("温度", "温度"),
        ("%", "column_1"),
    ],
)
def test_one_name(column: str, name: str) -> None:
    assert identifiers([column]) == {column: name}
    assert name.isidentifier()


def test_all_names_differ() -> None:
    assert list(identifiers(["a b", "a-b", "A.B", "a b 2"]).values()) == [
        "a_b",
        "a_b_2",
        "a_b_3",
        "a_b_2_2",
    ]


def test_names_fit_into_databases() -> None:
    long = "a long name of a column, " * 5
    assert all(len(name) < 60 for name in identifiers([long, long + "!"]).values())
