"""Gradients from the tape against central differences, in float64 along random directions."""

import numpy as np

from convkit.autograd import Tensor

STEP = 1e-5


def apart(rng, shape):
    """Values in random order that differ from each other and from 0 by far more than `STEP`: no kink is near."""
    count = int(np.prod(shape))
    return (rng.permutation(count) - count / 2 + 0.25).reshape(shape) * 0.1


def assert_gradients(function, *inputs, seed=0, tolerance=1e-7):
    """Compare the gradient of `function` at float64 arrays with the slope of ``sum(function*g)``, for a random g."""
    rng = np.random.default_rng(seed)
    tensors = [Tensor(x.copy(), requires_grad=True) for x in inputs]
    output = function(*tensors)
    g = rng.standard_normal(output.shape)
    output.backward(g)
    for i, tensor in enumerate(tensors):
        assert tensor.grad.shape == tensor.shape, f"input {i}: gradient has shape {tensor.grad.shape}"
        direction = rng.standard_normal(tensor.shape)

        def along(step, i=i, direction=direction):
            moved = [x + step * direction if j == i else x for j, x in enumerate(inputs)]
            return float(np.sum(function(*moved_tensors(moved)).data * g))

        slope = (along(STEP) - along(-STEP)) / (2 * STEP)
        found = float(np.sum(tensor.grad.data * direction))
        scale = np.sqrt(np.sum(tensor.grad.data**2) * np.sum(direction**2)) + 1
        assert abs(found - slope) <= tolerance * scale, f"input {i}: tape {found!r}, central difference {slope!r}"


def moved_tensors(arrays):
    return [Tensor(array) for array in arrays]
