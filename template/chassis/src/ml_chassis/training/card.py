"""The part of docs/model-card.md that training knows; the rest is written by hand.

After "Model Cards for Model Reporting" (Mitchell et al., 2019).
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from ..contract import Task
from ..measures import Measures, measures_of
from ..reference import fill
from ..registry import Manifest
from ..reports.markdown import table
from .candidate import Candidate
from .config import GAIN_OVER_CHAMPION, TrainingConfig
from .evaluation import Slice
from .gates import Gate
from .split import Split

CARD = Path("docs/model-card.md")
BEGIN = "<!-- From training, by `make train`. -->\n"
INPUTS = "Made from"
TREATMENT: dict[Task, str] = {
    "binary": "true positive rate",
    "multiclass": "accuracy",
    "regression": "mean error",
}


def write(
    config: TrainingConfig, candidate: Candidate, manifest: Manifest, path: Path = CARD
) -> None:
    """Put what is known of a new champion into the card."""
    text = "\n".join(_lines(config, candidate, manifest))
    page = path.read_text(encoding="utf-8")
    path.write_text(fill(page, BEGIN, f"\n{text}\n\n"), encoding="utf-8")


def inputs(manifest: Manifest) -> str:
    """Return the line that says what a model was made from; another one makes the card stale."""
    facts = (manifest.data_sha256, manifest.schema_sha256, manifest.config_sha256)
    data, schema, config = (fact[:12] for fact in facts)
    return f"{INPUTS} data `{data}`, schema `{schema}`, training.toml `{config}`."


def _lines(config: TrainingConfig, candidate: Candidate, manifest: Manifest) -> Iterator[str]:
    found, rows, split = candidate.evaluation, manifest.rows, Split.of(config)
    by = measures_of(config.project.contract.task)
    yield "## The registered model"
    yield ""
    yield inputs(manifest)
    made = "make optimise" if manifest.variant else "make train"
    yield f"To make it again: `{made}` {_at(manifest.code_version)}."
    yield ""
    parameters = ", ".join(f"{name} {value}" for name, value in manifest.parameters.items())
    yield from table(
        ("", ""),
        [
            ("estimator", f"{config.project.estimator_name}: {parameters}; seed {config.seed}"),
            ("trained on", f"{rows['train']:,} rows {split.train}"),
            ("evaluated on", f"{rows['test']:,} rows {split.test}"),
            ("size", f"{len(candidate.graph) / 1e3:,.0f} kB, as ONNX"),
            ("libraries", ", ".join(f"{k} {v}" for k, v in manifest.packages.items())),
        ],
    )
    if manifest.variant:
        yield ""
        yield manifest.variant
    yield ""
    yield "## Quality"
    yield ""
    yield "Intervals are 95 % bootstrap intervals."
    yield ""
    yield from table(
        ("metric", "value"),
        [
            (by.quality_words, str(found.quality)),
            (by.loss_words, str(found.loss)),
            *(
                (f"gain over the {name.replace('_', ' ')}", str(gain))
                for name, gain in found.gains.items()
                if name != "champion"
            ),
            ("expected calibration error", f"{found.measures['calibration_error']:.3f}"),
        ],
    )
    if config.decision:
        decision = config.decision
        yield ""
        yield (
            f"To {decision.action} pays from a threshold of {decision.threshold:.2f} on: a true "
            f"positive is worth {decision.true_positive:g} {decision.unit}, a false positive "
            f"{decision.false_positive:g}, a false negative {decision.false_negative:g}, a true "
            f"negative {decision.true_negative:g}."
        )
    for title, parts in (
        ("By month", found.months),
        ("Slices", found.slices),
        ("Fairness", found.groups),
    ):
        if parts:
            yield ""
            yield f"### {title}"
            yield ""
            yield from table(
                (
                    *("slice", "rows", by.quality_words),
                    *(*by.certainty_words, TREATMENT[by.task]),
                ),
                (_slice(by, part) for part in parts),
            )
    yield ""
    yield "## Gates"
    yield ""
    # That tells of the champion before, and nothing of this one.
    gates = [gate for gate in candidate.gates if gate.name != GAIN_OVER_CHAMPION]
    yield from table(("gate", "threshold", "measured", "reason"), map(_gate, gates))


def _at(code_version: str) -> str:
    commit, _, dirty = code_version.partition("-")
    if commit == "unknown":
        return "with the code as it was; it was in no repository"
    return f"at commit `{commit[:12]}`" + (", with changes that it does not hold" if dirty else "")


def _gate(gate: Gate) -> Sequence[str]:
    value = "-" if gate.value is None else f"{gate.value:.4g}"
    return f"`{gate.name}`", gate.condition, value, gate.limit.reason


def _slice(by: Measures, part: Slice) -> Sequence[str]:
    return (
        *(part.name, f"{part.rows:,}", str(part.quality)),
        *(by.mean(part.observed), by.mean(part.predicted), by.mean(part.treatment)),
    )
