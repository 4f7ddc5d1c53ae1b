"""A simpler model, which the real one must beat: logistic regression on one-hot categories."""

import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from .estimator import Dataset, Probability, side_by_side

RARE_ROWS = 20


def predict(train: Dataset, test: Dataset) -> Probability:
    """Return what the simpler model predicts for the test rows, shape (rows,)."""
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
    model = Pipeline([("columns", columns), ("regression", LogisticRegression(max_iter=1_000))])
    model.fit(side_by_side(train.numeric, train.categorical), train.label)
    probability = model.predict_proba(side_by_side(test.numeric, test.categorical))[:, 1]
    return np.asarray(probability, dtype=np.float32)
