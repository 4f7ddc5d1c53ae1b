"""How well each column alone predicts the label: one that does so perfectly may tell it."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import polars as pl
from sklearn.metrics import r2_score, roc_auc_score
from sklearn.model_selection import KFold, StratifiedKFold, cross_val_predict
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from .columns import Column
from .plan import Label

ROWS = 3_000


def powers(columns: Sequence[Column], label: Column, plan: Label) -> dict[str, float]:
    """Return how well a tree on each column alone predicts rows that it has not seen.

    Args:
        columns: The columns.
        label: The column of the label.
        plan: What is predicted of it.

    Returns:
        The AUC of each, the mean over classes where they are many, or R² of a regression.
    """
    rows = label.values.is_not_null().arg_true()
    sampled = rows.sample(min(ROWS, len(rows)), seed=0)
    truth = label.values.gather(sampled)
    answers = truth.cast(pl.Float64).to_numpy() if plan.task == "regression" else _codes(truth)
    return {
        column.name: _power(_codes(column.values.gather(sampled)), answers, plan)
        for column in columns
    }


def _codes(values: pl.Series) -> npt.NDArray[np.float64]:
    """Return values as numbers, in order; what is missing comes first."""
    dense = values.rank("dense").cast(pl.Float64).fill_null(0)
    return dense.to_numpy()


def _power(values: npt.NDArray[np.float64], answers: npt.NDArray[np.float64], plan: Label) -> float:
    table = values.reshape(-1, 1)
    if plan.task == "regression":
        tree = DecisionTreeRegressor(max_leaf_nodes=128, min_samples_leaf=2, random_state=0)
        guesses = cross_val_predict(tree, table, answers, cv=KFold(3, shuffle=True, random_state=0))
        return float(r2_score(answers, guesses))
    tree = DecisionTreeClassifier(max_leaf_nodes=32, min_samples_leaf=2, random_state=0)
    folds = StratifiedKFold(3, shuffle=True, random_state=0)
    chances = cross_val_predict(tree, table, answers, cv=folds, method="predict_proba")
    scores = chances[:, 1] if plan.task == "binary" else chances
    return float(roc_auc_score(answers, scores, multi_class="ovr"))
