"""Weights of 8 bits instead of 32, as ONNX Runtime makes them."""

from pathlib import Path
from tempfile import TemporaryDirectory

import onnx
from onnxruntime.quantization import QuantType, quantize_dynamic
from onnxruntime.quantization.shape_inference import quant_pre_process

QUANTIZED = ("Gemm", "MatMul")


def quantize(graph: bytes) -> bytes | None:
    """Return a graph with matrix products in int8; None where it has none, as trees have not.

    Weights are stored in 8 bits; what is multiplied with them is scaled to 8 bits in each call, by
    the range that it has in the rows of this call (dynamic quantization).
    """
    model = onnx.load_from_string(graph)
    if not any(node.op_type in QUANTIZED for node in model.graph.node):
        return None
    with TemporaryDirectory() as folder:
        path = Path(folder, "model.onnx")
        quant_pre_process(model, path, skip_optimization=True, skip_symbolic_shape=True)
        quantize_dynamic(path, path, op_types_to_quantize=QUANTIZED, weight_type=QuantType.QInt8)
        quantized = onnx.load(path)
    content: bytes = quantized.SerializeToString(deterministic=True)
    return content
