"""YOURS: what is fitted: gradient-boosted trees on histograms, of scikit-learn.

`Parameters` is what [parameters] in training.toml may say, `fit` fits, and `smaller` offers
smaller models to `make optimise`. The inputs are two arrays, one of categories and one of numbers
with NaN where one is missing; `train.contract` tells the kind of label.
"""

from collections.abc import Iterator
from copy import copy

import onnx
from ml_chassis.training.estimator import Dataset, Smaller, side_by_side
from ml_chassis.training.scikit_learn import Fitted, convert, with_float32_thresholds
from pydantic import BaseModel, ConfigDict, Field
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OrdinalEncoder
from threadpoolctl import threadpool_limits

PACKAGES = ("scikit-learn", "skl2onnx")
KEPT_TREES = (0.75, 0.5, 0.25, 0.125)


class Parameters(BaseModel):
    """Parameters of scikit-learn's HistGradientBoostingClassifier that may be tuned."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_iter: int = Field(ge=1, le=5_000)
    learning_rate: float = Field(gt=0, le=1)
    max_leaf_nodes: int = Field(ge=2, le=1_024)
    min_samples_leaf: int = Field(ge=1)
    l2_regularization: float = Field(ge=0)


class GradientBoosting(Fitted):
    """A fitted pipeline: categories to ordinal codes, then trees, which take missing numbers."""

    def to_onnx(self) -> onnx.ModelProto:
        """Return the whole pipeline as one graph, which decides every float32 alike."""
        trees = with_float32_thresholds(self.pipeline["trees"])
        columns = self.pipeline["columns"]
        return convert(self.contract, Pipeline([("columns", columns), ("trees", trees)]))

    @property
    def trees(self) -> int:
        """Return how many trees were fitted."""
        return int(self.pipeline["trees"].n_iter_)

    def first(self, trees: int) -> "GradientBoosting":
        """Return a model of the first trees."""
        fewer = copy(self.pipeline["trees"])
        fewer._predictors = fewer._predictors[:trees]
        pipeline = Pipeline([("columns", self.pipeline["columns"]), ("trees", fewer)])
        return GradientBoosting(self.contract, pipeline)


def fit(train: Dataset, parameters: Parameters, seed: int) -> GradientBoosting:
    """Fit the pipeline; see `Estimator.fit`."""
    categorical, numeric = train.categorical.shape[1], train.numeric.shape[1]
    # Ordinal codes, not categorical_features: skl2onnx converts that silently wrong.
    codes = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    columns = ColumnTransformer(
        [
            ("categorical", codes, list(range(categorical))),
            ("numeric", "passthrough", list(range(categorical, categorical + numeric))),
        ]
    )
    number = train.contract.task == "regression"
    kind = HistGradientBoostingRegressor if number else HistGradientBoostingClassifier
    trees = kind(random_state=seed, **parameters.model_dump())
    pipeline = Pipeline([("columns", columns), ("trees", trees)])
    with threadpool_limits(1, "openmp"):  # sums in one order: the same data, the same trees
        pipeline.fit(side_by_side(train.numeric, train.categorical), train.label)
    return GradientBoosting(train.contract, pipeline)


def smaller(
    model: GradientBoosting, train: Dataset, parameters: Parameters, seed: int
) -> Iterator[Smaller]:
    """Yield the first trees only; see `Estimator.smaller`.

    Each tree corrects those before it, so they are what fewer iterations would have fitted.
    """
    del train, seed  # nothing is fitted again
    for share in KEPT_TREES:
        trees = max(1, round(share * model.trees))
        fewer = parameters.model_copy(update={"max_iter": trees})
        yield Smaller(f"{trees} trees", fewer, model.first(trees))
