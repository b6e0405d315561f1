"""OpenVINO."""

from ...layers import Layer
from ._engine import Engine, Passes, operands


class OpenVino(Engine):
    """OpenVINO on a model of one node, in float32. It has no gradients."""

    library = "openvino"

    def __init__(self, threads: int) -> None:
        import openvino

        self.openvino = openvino
        self.settings = {
            "INFERENCE_NUM_THREADS": threads,
            "INFERENCE_PRECISION_HINT": "f32",
            "PERFORMANCE_HINT": "LATENCY",
        }

    def convolution(self, layer: Layer) -> Passes:
        """Return the forward pass of a convolution."""
        from openvino import opset8 as nodes

        x, w, _ = operands(layer)
        pairs = [layer.stride] * 2, [layer.padding] * 2, [layer.padding] * 2, [layer.dilation] * 2
        source = nodes.parameter(x.shape)
        if layer.transposed:
            strides, begin, end, dilations = pairs
            node = nodes.convolution_backprop_data(source, nodes.constant(w), strides, None, begin, end, dilations)
        elif layer.groups > 1:
            grouped = w.reshape(layer.groups, -1, *w.shape[1:])
            node = nodes.group_convolution(source, nodes.constant(grouped), *pairs)
        else:
            node = nodes.convolution(source, nodes.constant(w), *pairs)
        model = self.openvino.Model([node], [source])
        request = self.openvino.Core().compile_model(model, "CPU", self.settings).create_infer_request()
        tensor = self.openvino.Tensor(x, shared_memory=True)
        return {"forward": lambda: request.infer([tensor], share_outputs=True)[0]}
