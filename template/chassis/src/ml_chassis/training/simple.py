"""A simpler model, which the real one must beat: a linear one on one-hot categories."""

from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from ..contract import Predictions
from . import estimator
from .estimator import Dataset, side_by_side

RARE_ROWS = 20


def predict(train: Dataset, test: Dataset) -> Predictions:
    """Return what the simpler model predicts for the test rows, shape (rows, *width)."""
    categorical, numeric = train.categorical.shape[1], train.numeric.shape[1]
    codes = OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=RARE_ROWS)
    scaled = Pipeline(
        [("fill", SimpleImputer(keep_empty_features=True)), ("scale", StandardScaler())]
    )
    columns = ColumnTransformer(
        [
            ("categorical", codes, list(range(categorical))),
            ("numeric", scaled, list(range(categorical, categorical + numeric))),
        ]
    )
    linear = Ridge() if train.contract.task == "regression" else LogisticRegression(max_iter=1_000)
    model = Pipeline([("columns", columns), ("linear", linear)])
    model.fit(side_by_side(train.numeric, train.categorical), train.label)
    return estimator.predict(train.contract, model, test.numeric, test.categorical)
