"""Exposures and outcomes of an A/B test that services have made."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import polars as pl

from ...contract import Contract
from ...decision import Decision
from ...errors import UserError
from ...feedback.store import Declared, Exposed, Store
from ...measures import Values, measures_of
from ...monitoring.quality import truth
from ...settings import PREFIX
from ...slo import Experiment
from .analysis import Units
from .reading import ARM, ARMS, AT, OUTCOME, UNIT, by_unit

KNOWN = "known"


class Served(NamedTuple):
    """An A/B test as it is known now.

    Attributes:
        name: Of the test.
        plan: As it was declared.
        units: That were exposed.
        others: Versions that answered, beside the champion and challenger of its beginning.
    """

    name: str
    plan: Experiment
    units: Units
    others: list[str]


def read_served(contract: Contract, url: str, name: str, decision: Decision | None) -> Served:
    """Return the A/B test of a name, or the one that was declared last.

    The outcome of a prediction is known when its label is: where higher outcomes are better it is
    the value of the decision, else the loss.

    Args:
        contract: The schema.
        url: Database of predictions and labels.
        name: Of the test; "" is the last one.
        decision: What somebody does because of a prediction, and what that is worth.

    Raises:
        UserError: there is none, an arm has no unit, or no outcome can be computed.
    """
    store = Store(contract, url)
    try:
        declared = store.declared(name)
        if declared is None:
            raise UserError(
                f"There is no A/B test{f' {name}' if name else ''}: begin one with {PREFIX}"
                "EXPERIMENT=NAME make serve, or give INPUT."
            )
        exposed = [*store.exposures(declared.name)]
    finally:
        store.close()
    seen = {each.arm for each in exposed}
    if absent := [arm for arm in ARMS if arm not in seen]:
        raise UserError(f"{declared.name}: no unit of the {absent[0]} was answered yet.")
    plan = Experiment.model_validate(declared.plan)
    units = by_unit(_table(exposed, _outcomes(contract, plan, decision, exposed)))
    return Served(declared.name, plan, units, [*_others(declared, exposed)])


def _outcomes(
    contract: Contract, plan: Experiment, decision: Decision | None, exposed: Sequence[Exposed]
) -> Values:
    """Return the outcome of each answer; NaN where its label is not known."""
    known = {at: each.label for at, each in enumerate(exposed) if each.label is not None}
    label = truth(contract, [*known.values()])
    found = np.full(len(exposed), np.nan)
    if plan.better == "higher":
        if decision is None:
            raise UserError(
                "experiment.better in slo.yaml: higher is the value of decisions, and there is no "
                "[decision] in training.toml: take lower, the loss, or give INPUT."
            )
        acts = np.array([exposed[at].acts for at in known], bool)
        found[[*known]] = decision.values(label.astype(bool), acts)
    elif known:
        predicted = np.array([exposed[at].prediction for at in known], np.float64)
        found[[*known]] = measures_of(contract.task).losses(label, predicted)
    return found


def _table(exposed: Sequence[Exposed], outcomes: Values) -> pl.DataFrame:
    """Return what `by_unit` takes; of a unit, the outcome that was known first stays."""
    table = pl.DataFrame(
        {
            UNIT: [each.unit for each in exposed],
            ARM: [each.arm for each in exposed],
            OUTCOME: pl.Series(outcomes).fill_nan(None),
            AT: [each.at for each in exposed],
            KNOWN: pl.Series([each.labelled_at for each in exposed], dtype=pl.Datetime),
        }
    )
    is_first = pl.col(KNOWN) == pl.col(KNOWN).min().over(UNIT)
    return table.with_columns(pl.when(is_first).then(pl.col(OUTCOME)))


def _others(declared: Declared, exposed: Sequence[Exposed]) -> Iterator[str]:
    known = {declared.champion, declared.challenger, None}
    yield from sorted({str(each.version) for each in exposed if each.version not in known})
