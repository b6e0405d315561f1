"""JAX."""

import os

from ...layers import Layer
from ._engine import Engine, Passes, mirrored, operands


class Jax(Engine):
    """JAX, compiled, in the layout that XLA prefers on a CPU: NHWC."""

    library = "jax"

    def __init__(self, threads: int) -> None:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])  # XLA asks nothing else
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

        def of_input(w, grad):
            return jax.linear_transpose(lambda x: forward(x, w), x)(grad)[0]

        def of_weight(x, grad):
            return jax.linear_transpose(lambda w: forward(x, w), w)(grad)[0]

        def compiled(function, *arguments):
            run = jax.jit(function).lower(*arguments).compile()
            return lambda: run(*arguments).block_until_ready()

        return {
            "forward": compiled(forward, x, w),
            "backward_input": compiled(of_input, w, grad),
            "backward_weight": compiled(of_weight, x, grad),
        }


_AXES = (0, 2, 3, 1), (2, 3, 1, 0), (0, 2, 3, 1)
