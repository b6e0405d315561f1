"""One class an engine: what it takes to run a layer's passes there."""

from ._engine import Engine
from .convkit import Convkit
from .jax import Jax
from .onnxruntime import OnnxRuntime
from .openvino import OpenVino
from .tensorflow import TensorFlow
from .torch import Torch, TorchChannelsLast

__all__ = ["ENGINES", "Convkit", "Engine"]

#: Every engine, by the name of its column.
ENGINES: dict[str, type[Engine]] = {
    "convkit": Convkit,
    "torch": Torch,
    "torch_nhwc": TorchChannelsLast,
    "jax": Jax,
    "tensorflow": TensorFlow,
    "onnxruntime": OnnxRuntime,
    "openvino": OpenVino,
}
