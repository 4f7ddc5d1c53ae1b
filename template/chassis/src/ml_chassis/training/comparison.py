"""The challenger beside the champion, on the newest rows with labels."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, PlainSerializer
from scipy.stats import ttest_1samp

from ..contract import Predictions
from ..measures import Estimate, mean_interval, measures_of
from .estimator import Dataset

Told = Annotated[Estimate, PlainSerializer(Estimate._asdict)]


class Quality(BaseModel):
    """How good one model is."""

    model_config = ConfigDict(frozen=True)

    quality: Told
    loss: Told


class Comparison(BaseModel):
    """Two models on the same rows."""

    model_config = ConfigDict(frozen=True)

    rows: int
    champion: Quality
    challenger: Quality
    gain: Told
    """Loss of the champion less that of the challenger, row by row."""
    p_value: float
    """How likely chance alone makes a gain or loss of that size, by a paired test."""


def compare(rows: Dataset, champion: Predictions, challenger: Predictions) -> Comparison:
    """Measure both models.

    Args:
        rows: Rows that neither model was trained on.
        champion: What the champion predicts for them.
        challenger: What the challenger does.
    """
    losses = measures_of(rows.contract.task).losses
    gains = losses(rows.label, champion) - losses(rows.label, challenger)
    return Comparison(
        rows=len(rows),
        champion=_quality(rows, champion),
        challenger=_quality(rows, challenger),
        gain=mean_interval(gains),
        p_value=float(ttest_1samp(gains, 0).pvalue) if gains.any() else 1.0,
    )


def _quality(rows: Dataset, predicted: Predictions) -> Quality:
    by = measures_of(rows.contract.task)
    return Quality(
        quality=by.quality_interval(rows.label, predicted),
        loss=mean_interval(by.losses(rows.label, predicted)),
    )
