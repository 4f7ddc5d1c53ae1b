"""The model in memory: raw values in, probabilities out."""

from typing import cast

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from ..contract import CATEGORICAL, NUMERIC, Categorical, Numeric, example_row, to_arrays


class Predictor:
    """An ONNX graph that is ready to answer."""

    def __init__(self, graph: bytes) -> None:
        """Load the graph and answer one example with it.

        Raises:
            ValueError: the graph has other inputs or outputs, or no finite answer.
        """
        options = ort.SessionOptions()
        # One thread per call: workers, not threads, use the other cores.
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        self._session = ort.InferenceSession(graph, options, ["CPUExecutionProvider"])
        self._check()

    def predict(self, numeric: Numeric, categorical: Categorical) -> npt.NDArray[np.float32]:
        """Return probabilities, shape (rows,).

        Args:
            numeric: Shape (rows, len(NUMERIC)), NaN where a value is missing.
            categorical: Shape (rows, len(CATEGORICAL)), "" where a value is missing.
        """
        inputs = {"numeric": numeric, "categorical": categorical}
        return cast(npt.NDArray[np.float32], self._session.run(["probability"], inputs)[0])

    def _check(self) -> None:
        shapes = {node.name: node.shape[1:] for node in self._session.get_inputs()}
        expected = {"numeric": [len(NUMERIC)], "categorical": [len(CATEGORICAL)]}
        if shapes != expected:
            raise ValueError(f"The model takes {shapes}, the schema has {expected}.")
        answer = self.predict(*to_arrays([example_row()]))
        if answer.shape != (1,) or not np.isfinite(answer).all():
            raise ValueError(f"The model answered {answer} to the example row.")
