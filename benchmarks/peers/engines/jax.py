"""JAX."""

from ...layers import Layer
from ._engine import Engine, Passes, mirrored, operands


class Jax(Engine):
    """JAX, compiled, in the layout that XLA prefers on a CPU: NHWC. Threads are those of the process's affinity."""

    library = "jax"

    def __init__(self, threads: int) -> None:
        import jax

        self.jax = jax

    def convolution(self, layer: Layer) -> Passes:
        """Return the passes of a convolution."""
        if layer.transposed:
            return mirrored(self.convolution, layer)
        jax = self.jax
        x, w, grad = operands(layer)
        x, w, grad = (jax.numpy.asarray(a.transpose(axes)) for a, axes in zip((x, w, grad), _AXES, strict=True))

        def forward(x, w):
            return jax.lax.conv_general_dilated(
                x,
                w,
                window_strides=[layer.stride] * 2,
                padding=[(layer.padding, layer.padding)] * 2,
                rhs_dilation=[layer.dilation] * 2,
                dimension_numbers=("NHWC", "HWIO", "NHWC"),
                feature_group_count=layer.groups,
            )

        compiled = {
            "forward": (jax.jit(forward), x, w),
            "backward_input": (jax.jit(lambda w, g: jax.linear_transpose(lambda x: forward(x, w), x)(g)[0]), w, grad),
            "backward_weight": (jax.jit(lambda x, g: jax.linear_transpose(lambda w: forward(x, w), w)(g)[0]), x, grad),
        }
        return {
            name: lambda run=run, arguments=arguments: run(*arguments).block_until_ready()
            for name, (run, *arguments) in compiled.items()
        }


_AXES = (0, 2, 3, 1), (2, 3, 1, 0), (0, 2, 3, 1)
