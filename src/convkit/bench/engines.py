"""One class an engine: what it takes to train a network there, and to let it answer."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import Any, ClassVar

import numpy as np

from .._precision import set_float32_precision
from .._threads import set_num_threads
from ..autograd import Tensor, no_grad
from ..nn import CrossEntropyLoss
from .workload import Workload

Call = Callable[..., object]


class Engine:
    """How to run a network in some library, which is imported when the engine is made.

    Parameters
    ----------
    threads : int
        How many the library may use.
    """

    #: What must be importable.
    libraries: ClassVar[tuple[str, ...]]

    def __init__(self, threads: int) -> None:
        self.threads = threads

    def prepare(self, workload: Workload, name: str) -> Call | None:
        """Return what does `name` of `PASSES` once, or None if the library cannot; preparing is no part of the time."""
        return {"training": self.training, "inference": self.inference}[name](workload)

    def training(self, workload: Workload) -> Call | None:
        """Return what takes a step: forward, loss, backward, optimizer. It returns the loss."""
        return None

    def inference(self, workload: Workload) -> Call | None:
        """Return what computes the scores of the batch, and returns them."""
        raise NotImplementedError


class Convkit(Engine):
    """convkit."""

    libraries = ("convkit",)

    def __init__(self, threads: int) -> None:
        super().__init__(threads)
        set_num_threads(threads)

    def prepare(self, workload: Workload, name: str) -> Call | None:
        """Return what does a pass once, in the workload's precision."""
        set_float32_precision(workload.precision)
        return super().prepare(workload, name)

    def training(self, workload: Workload) -> Call | None:
        """Return what takes a step; it may be given another batch of the same size."""
        model, batch = workload.network(), (workload.images(), workload.labels())
        loss_fn, optimizer = CrossEntropyLoss(), workload.optimizer_for(model)

        def step(images: Any = batch[0], labels: Any = batch[1]) -> float:
            loss = loss_fn(model(Tensor(images)), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            return float(loss.item())

        return step

    def inference(self, workload: Workload) -> Call:
        """Return what computes scores."""
        model, images = workload.network().eval(), workload.images()

        def scores() -> object:
            with no_grad():
                return model(images).data

        return scores


class Compiled(Convkit):
    """convkit's compiled networks, which only compute."""

    libraries = ("convkit.inference",)

    def training(self, workload: Workload) -> None:
        """Return nothing."""
        return

    def inference(self, workload: Workload) -> Call:
        """Return what computes scores."""
        images = workload.images()
        compiled = import_module("convkit.inference").compile(workload.network().eval(), images)
        return lambda: compiled(images)


class Torch(Engine):
    """PyTorch, in the layout that it calls contiguous: NCHW."""

    libraries = ("torch",)
    layout = "contiguous_format"

    def __init__(self, threads: int) -> None:
        super().__init__(threads)
        self.torch = import_module("torch")
        self.torch.set_num_threads(threads)

    def training(self, workload: Workload) -> Call:
        """Return what takes a step."""
        torch = self.torch
        model, images = self._network(workload), self._images(workload)
        labels = torch.from_numpy(workload.labels())
        loss_fn = torch.nn.CrossEntropyLoss()
        optimizer = getattr(torch.optim, workload.optimizer)(model.parameters(), **workload.optimizer_arguments)

        def step() -> float:
            loss = loss_fn(model(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            return float(loss.item())

        return step

    def inference(self, workload: Workload) -> Call:
        """Return what computes scores."""
        torch = self.torch
        model, images = self._network(workload).eval(), self._images(workload)

        def scores() -> object:
            with torch.inference_mode():
                return model(images).numpy()

        return scores

    def _network(self, workload: Workload) -> Any:
        from .torch_network import as_torch

        return as_torch(workload.network()).to(memory_format=getattr(self.torch, self.layout))

    def _images(self, workload: Workload) -> Any:
        return self.torch.from_numpy(workload.images()).contiguous(memory_format=getattr(self.torch, self.layout))


class TorchChannelsLast(Torch):
    """PyTorch with network and images in `channels_last`."""

    layout = "channels_last"


class OnnxRuntime(Engine):
    """ONNX Runtime on what PyTorch exports. It is not asked to train."""

    libraries = ("onnxruntime", "torch", "onnxscript")

    def inference(self, workload: Workload) -> Call:
        """Return what computes scores."""
        from .torch_network import as_onnx

        library = import_module("onnxruntime")
        options = library.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        session = library.InferenceSession(as_onnx(workload), options, ["CPUExecutionProvider"])
        feed = {session.get_inputs()[0].name: np.ascontiguousarray(workload.images())}
        return lambda: session.run(None, feed)[0]


class OpenVino(Engine):
    """OpenVINO on what PyTorch exports, in float32. It does not train."""

    libraries = ("openvino", "torch", "onnxscript")
    precision = "f32"

    def inference(self, workload: Workload) -> Call:
        """Return what computes scores."""
        from .torch_network import as_onnx

        library = import_module("openvino")
        settings = {
            "INFERENCE_NUM_THREADS": self.threads,
            "INFERENCE_PRECISION_HINT": self.precision,
            "PERFORMANCE_HINT": "LATENCY",
        }
        core = library.Core()
        request = core.compile_model(core.read_model(as_onnx(workload)), "CPU", settings).create_infer_request()
        images = np.ascontiguousarray(workload.images())  # the tensor does not own them
        tensor = library.Tensor(images, shared_memory=True)
        return lambda: request.infer([tensor], share_outputs=True)[0]


class OpenVinoBF16(OpenVino):
    """OpenVINO in bfloat16: faster and coarser, so beside the others and not among them."""

    precision = "bf16"


#: Those that are convkit.
OWN = ("convkit", "compiled")

#: Every engine, by the name of its column.
ENGINES: dict[str, type[Engine]] = {
    "convkit": Convkit,
    "compiled": Compiled,
    "torch": Torch,
    "torch_nhwc": TorchChannelsLast,
    "onnxruntime": OnnxRuntime,
    "openvino": OpenVino,
    "openvino_bf16": OpenVinoBF16,
}


def installed(names: list[str] | None = None) -> list[str]:
    """Return convkit, plain and compiled, and those of the other engines, or of `names`, that can be imported.

    Examples
    --------
    >>> "convkit" in installed([])
    True
    """
    wanted = dict.fromkeys([*OWN, *(ENGINES if names is None else names)])
    return [name for name in wanted if all(map(find_spec, ENGINES[name].libraries))]
