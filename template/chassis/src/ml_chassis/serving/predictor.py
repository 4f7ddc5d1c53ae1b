"""The model in memory: raw values in, predictions out."""

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from ..contract import CATEGORICAL_INPUT, NUMERIC_INPUT, Categorical, Contract, Numeric
from ..errors import UserError


class ModelError(UserError):
    """The model cannot be loaded, or does not fit the schema."""


class Predictor:
    """An ONNX graph that is ready to answer."""

    def __init__(self, contract: Contract, graph: bytes) -> None:
        """Load the graph and answer one example with it.

        Raises:
            ModelError: it is no graph, has other inputs or outputs, or gives no finite answer.
        """
        options = ort.SessionOptions()
        # One thread per call: workers, not threads, use the other cores.
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        try:
            self._session = ort.InferenceSession(graph, options, ["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime has a class of its own for each kind of damage
            raise ModelError(f"The model cannot be loaded: {error}") from None
        self._inputs = {node.name: node.shape[1:] for node in self._session.get_inputs()}
        self._output = contract.output
        self._check(contract)

    def predict(self, numeric: Numeric, categorical: Categorical) -> npt.NDArray[np.float32]:
        """Return predictions, shape (rows, *width).

        Args:
            numeric: Shape (rows, numeric columns), NaN where a value is missing.
            categorical: Shape (rows, categorical columns), "" where a value is missing.
        """
        values = {NUMERIC_INPUT: numeric, CATEGORICAL_INPUT: categorical}
        inputs = {name: values[name] for name in self._inputs}
        predictions: npt.NDArray[np.float32] = self._session.run([self._output], inputs)[0]
        return predictions

    def _check(self, contract: Contract) -> None:
        widths = {
            NUMERIC_INPUT: [len(contract.numeric)],
            CATEGORICAL_INPUT: [len(contract.categorical)],
        }
        expected = {name: width for name, width in widths.items() if width != [0]}
        if self._inputs != expected:
            raise ModelError(f"The model takes {self._inputs}, the schema has {expected}.")
        answer = self.predict(*contract.example_arrays())
        if answer.shape != (1, *contract.width) or not np.isfinite(answer).all():
            raise ModelError(f"The model answers the example row with {answer}.")
