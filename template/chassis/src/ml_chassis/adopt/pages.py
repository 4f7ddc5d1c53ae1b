"""The pages that say in words what the data and the model are."""

from collections.abc import Iterator

from ..reports.markdown import table
from .plan import Plan
from .source import address, table_name


def data(plan: Plan) -> str:
    """Return data/README.md."""
    known = [*(f"`{name}`" for name in plan.key), *([f"`{plan.time}`"] if plan.time else [])]
    return "\n".join(
        [
            "# Data",
            "",
            f"`{address(plan).removeprefix('data/')}`, which `make adopt` took from",
            f"`{plan.data.name}`, has {plan.rows:,} rows with a label, in the column",
            f"`{plan.label.column}`.",
            "",
            *([f"A row is named by {', '.join(known)}.", ""] if known else []),
            "Say here where it comes from, what a row is, how it was chosen, and its licence.",
            "",
            *table(
                ("column", "feature"), ((f"`{each.column}`", each.name) for each in plan.features)
            ),
            "",
            *_left_out(plan),
            *(f"- {note}" for note in plan.notes),
            *([""] if plan.notes else []),
            "`make data` writes `service.db` here, a SQLite database; its table `quarantine` has",
            "the refused rows with the reasons.",
            "",
        ]
    )


def model_card(plan: Plan) -> str:
    """Return docs/model-card.md, before training."""
    return f"""# Model card

What the model is for, how good it is, and where its limits are. The middle part is written by `make
train`; the rest is yours.

## Intended use

Predicts `{plan.label.name}` of a row of `{table_name(plan)}`. Say here who decides what by it,
when, and for what it must not be used.

## Data

[data/README.md](../data/README.md) says where the rows come from,
[data-contract.md](data-contract.md) what they hold.

<!-- From training, by `make train`. -->
<!-- Until here. -->

## Limits

- Text that was not there in training is refused where the schema names choices, and else treated
  as unknown.
- Values beyond those seen in training are not understood, even where the schema allows them.
- Say here which cases the rows do not hold.

## Fairness

Say here whether features are about persons, and which groups must be treated alike: `fairness` in
`training.toml` compares them.
"""


def _left_out(plan: Plan) -> Iterator[str]:
    if plan.left_out:
        yield "These columns became no features:"
        yield ""
        rows = ((f"`{each.column}`", each.words) for each in plan.left_out)
        yield from table(("column", "why"), rows)
        yield ""
