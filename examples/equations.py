"""The articles' equations of a convolution with a bias of the output's full shape, checked on random numbers.

Y_i = B_i + sum over j of X_j * K_ij, where * lays a kernel on an image without rotating it. For an error E, then,
dE/dK_ij = X_j * dE/dY_i, dE/dB_i = dE/dY_i, and dE/dX_j = sum over i of dE/dY_i full-convolved with K_ij: over a border
of zeros, and with the kernel rotated by 180 degrees.

python examples/equations.py
"""

import argparse

import numpy as np

import convkit as ck


def star(image: np.ndarray, kernel: np.ndarray, border: int = 0) -> np.ndarray:
    """Lay a kernel on an image that has a border of zeros."""
    return ck.ops.conv2d(image[None, None], kernel[None, None], padding=border)[0, 0]


def main() -> None:
    """Compute once by a layer and the tape, once by the equations, and print how far they are apart."""
    ck.manual_seed(0)
    layer = ck.nn.Conv2d(2, 3, 3, dtype="float64", untied_bias=True, map_size=(6, 6))
    x = ck.tensor(np.random.default_rng(0).standard_normal((1, 2, 8, 8)), requires_grad=True)
    y = layer(x)
    error = (y**2).sum() / 2  # whose gradient is y itself
    error.backward()

    images, kernels, biases, slopes = x.data[0], layer.weight.data, layer.bias.data, y.data[0]
    pairs = {
        "Y_i = B_i + sum X_j * K_ij": (
            y.data[0],
            [biases[i] + sum(star(images[j], kernels[i, j]) for j in range(2)) for i in range(3)],
        ),
        "dE/dK_ij = X_j * dE/dY_i": (
            layer.weight.grad.data,
            [[star(images[j], slopes[i]) for j in range(2)] for i in range(3)],
        ),
        "dE/dB_i = dE/dY_i": (layer.bias.grad.data, slopes),
        "dE/dX_j = sum dE/dY_i * rotated K_ij": (
            x.grad.data[0],
            [sum(star(slopes[i], kernels[i, j, ::-1, ::-1], border=2) for i in range(3)) for j in range(2)],
        ),
    }
    for equation, (found, expected) in pairs.items():
        print(f"{equation}: largest difference {np.abs(found - np.array(expected)).max():.1e}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="as everywhere; this takes no time anyway")
    parser.parse_args()
    main()
