"""ONNX Runtime."""

from ...layers import Layer
from ._engine import Engine, Passes, operands


class OnnxRuntime(Engine):
    """ONNX Runtime on a model of one node, whose weight it may lay out as it likes. It has no gradients."""

    library = "onnxruntime"

    def __init__(self, threads: int) -> None:
        import onnxruntime

        self.ort = onnxruntime
        self.options = onnxruntime.SessionOptions()
        self.options.intra_op_num_threads = threads
        self.options.inter_op_num_threads = 1

    def convolution(self, layer: Layer) -> Passes:
        """Return the forward pass of a convolution."""
        from onnx import TensorProto, helper, numpy_helper

        x, w, grad = operands(layer)
        node = helper.make_node(
            "ConvTranspose" if layer.transposed else "Conv",
            ["x", "w"],
            ["y"],
            strides=[layer.stride] * 2,
            pads=[layer.padding] * 4,
            dilations=[layer.dilation] * 2,
            group=layer.groups,
        )
        ends = (helper.make_tensor_value_info(n, TensorProto.FLOAT, a.shape) for n, a in (("x", x), ("y", grad)))
        source, sink = ([end] for end in ends)
        graph = helper.make_graph([node], "layer", source, sink, [numpy_helper.from_array(w, "w")])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
        session = self.ort.InferenceSession(model.SerializeToString(), self.options, ["CPUExecutionProvider"])
        return {"forward": lambda: session.run(None, {"x": x})[0]}
