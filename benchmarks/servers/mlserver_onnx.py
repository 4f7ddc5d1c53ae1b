"""MLServer and ONNX Runtime: a custom runtime that takes the model's two tensors."""

import numpy as np
from mlserver import MLModel
from mlserver.codecs import NumpyCodec, StringCodec
from mlserver.types import InferenceRequest, InferenceResponse
from model import OnnxModel


class Delays(MLModel):
    async def load(self) -> bool:
        self.model = OnnxModel()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        numeric, categorical = payload.inputs
        texts = np.array(StringCodec.decode_input(categorical), object)
        values = self.model.run(NumpyCodec.decode_input(numeric), texts.reshape(categorical.shape))
        output = NumpyCodec.encode_output("predictions", np.array(values, np.float32))
        return InferenceResponse(model_name=self.name, outputs=[output])
