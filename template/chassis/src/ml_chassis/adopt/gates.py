"""Gates for the first model: what later ones must keep of it, and why."""

import math
from collections.abc import Iterator
from typing import NamedTuple

from ..contract import Contract
from ..training.config import GAIN_OVER_CHAMPION
from ..training.evaluation import Evaluation
from . import AdoptError

KEPT = 0.8
"""Share of what the first model is certainly better than chance that later ones must keep."""


class Asked(NamedTuple):
    """A gate; without a limit it is not asked, and the reason says why."""

    name: str
    reason: str
    minimum: float | None = None
    maximum: float | None = None

    @property
    def limit(self) -> float | None:
        """The minimum or maximum, whichever there is."""
        return self.maximum if self.minimum is None else self.minimum


def derive(
    contract: Contract,
    evaluation: Evaluation,
    measures: dict[str, float],
    scale: float,
    largest: float,
) -> list[Asked]:
    """Return the gates.

    Args:
        contract: The schema.
        evaluation: What the first model reached.
        measures: The same, with the share of refused rows and the difference of the graph.
        scale: Standard deviation of a numeric label; 1 for others.
        largest: Its greatest distance from 0; 1 for others.

    Raises:
        AdoptError: the model is no better than always answering the same.
    """
    gain = evaluation.gains["base_rate"]
    if evaluation.quality.value <= _useless(contract) or gain.value <= 0:
        raise AdoptError(
            f"The model is no better than always answering the same: {contract.quality} "
            f"{evaluation.quality}, and a loss that is lower by {gain}. TARGET does not follow "
            "from these columns, or there are too few rows: give more, or other columns (KEEP). "
            "Judged by the newest rows (TIME), a model may do worse than by rows at random."
        )
    return [
        _refused(measures["refused_share"]),
        _quality(contract, evaluation),
        *_gains(contract, evaluation, scale),
        _calibration(measures["calibration_error"], scale),
        _spread(measures["seed_spread"]),
        *_decay(measures),
        _harmful(measures["harmful_features"]),
        _parity(largest),
    ]


def _refused(share: float) -> Asked:
    reason = f"Of the first rows {share:.1%} were refused; more means that something is broken."
    return Asked("refused_share", reason, maximum=max(0.05, round_up(2 * share)))


def _useless(contract: Contract) -> float:
    """Return the quality of a model that always answers the same."""
    return 0.0 if contract.task == "regression" else 0.5


def _quality(contract: Contract, evaluation: Evaluation) -> Asked:
    useless = _useless(contract)
    lead = KEPT * (evaluation.quality.low - useless)
    than = "the mean" if contract.task == "regression" else "a coin"
    reason = f"{useless:g} is {than}, the first model reached {evaluation.quality}; "
    reason += "a fifth of what is certain may be lost."
    least = math.floor(100 * (useless + max(lead, 0))) / 100
    return Asked(contract.quality, reason, minimum=least)


def _gains(contract: Contract, evaluation: Evaluation, scale: float) -> Iterator[Asked]:
    base, simple = evaluation.gains["base_rate"], evaluation.gains["simple_model"]
    if base.low > 0:
        reason = "At the lower end of its interval, the loss must be below that of always "
        yield Asked("gain_over_base_rate", f"{reason}answering the same.", minimum=0)
    else:
        reason = f"The rows are too few to be certain of the gain, {base}. With more: minimum = 0."
        yield Asked("gain_over_base_rate", reason)
    if simple.value >= 0:
        reason = "What a linear model does as well needs no larger one; the best guess decides."
        yield Asked("gain_over_simple_model", reason, minimum=0)
    else:
        reason = f"A linear model was better, the gain is {simple}. Try `make tune`, or use one; "
        yield Asked("gain_over_simple_model", f"{reason}then ask for minimum = 0.")
    # How far two models on so few rows differ by chance.
    chance = (simple.high - simple.low) / 2
    least = 0.005 if contract.task != "regression" else 0.01 * scale**2
    reason = "A new model may not be worse than the one that is served, at the lower end of the "
    reason += f"interval; by {chance:.2g} two models on these rows differ by chance."
    yield Asked(GAIN_OVER_CHAMPION, reason, minimum=-round_up(max(least, chance)))


def _calibration(error: float, scale: float) -> Asked:
    reason = f"The first model was wrong by {error:.2g} on average; twice that is another model."
    return Asked("calibration_error", reason, maximum=round_up(max(2 * error, 0.02 * scale)))


def _spread(spread: float) -> Asked:
    reason = f"A result that depends on the seed is luck; that of the first moved by {spread:.2g}."
    return Asked("seed_spread", reason, maximum=round_up(max(2 * spread, 0.02)))


def _decay(measures: dict[str, float]) -> Iterator[Asked]:
    if "decay" not in measures:
        return
    if measures["decay"] <= 0.05:
        reason = "From the first month to the last, the intervals may not lie further apart."
        yield Asked("decay", reason, maximum=0.05)
    else:
        reason = f"The model lost {measures['decay']:.2g} from the first month to the last, more "
        yield Asked("decay", f"{reason}than 0.05: train often, or find what changes.")


def _harmful(count: float) -> Asked:
    if count == 0:
        reason = "A feature without which the model would be better costs more than it brings."
        return Asked("harmful_features", reason, maximum=0)
    reason = f"Without {count:.0f} of the features, which the report names, the model would be "
    return Asked("harmful_features", f"{reason}better: remove them, then ask for maximum = 0.")


def _parity(largest: float) -> Asked:
    reason = "The exported graph answers like the fitted model, up to float32 rounding."
    return Asked("parity_difference", reason, maximum=round_up(1e-5 * max(largest, 1)))


def round_up(value: float) -> float:
    """Return the next number with two digits."""
    if value <= 0:
        return 0.0
    digits = 1 - math.floor(math.log10(value))
    return float(f"{math.ceil(value * 10**digits * (1 - 1e-9)) / 10**digits:.2g}")
