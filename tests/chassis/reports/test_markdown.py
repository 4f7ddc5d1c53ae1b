"""A table of Markdown has one line a row, whatever its cells hold."""

from ml_chassis.reports.markdown import table


def test_what_would_end_a_cell_or_a_line_does_not() -> None:
    assert list(table(("name", "meaning"), [("`a|b`", "two\nlines"), ("c", "")])) == [
        "| name | meaning |",
        "|---|---|",
        "| `a\\|b` | two lines |",
        "| c |  |",
    ]
