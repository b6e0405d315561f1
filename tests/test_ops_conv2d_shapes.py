"""Hundreds of generated convolutions, forward and backward, exact on integers in float32 and float64.

`test_variants.py` runs them in every other variant. `python tests/test_ops_conv2d_shapes.py` says how many there were,
and, given numbers, runs only those.
"""

import os
import sys
from dataclasses import dataclass

import numpy as np
import pytest
import reference
from cases import DTYPES, LAYOUTS, assert_exact, integers, refuse_unless_telling

import convkit
from convkit import ops
from convkit._dispatch import tile_shape

SHAPES = 600
KINDS = ("dense", "dense", "1x1", "grouped", "depthwise", "depthwise")

_LANES = sorted({tile_shape(dtype)[1] for dtype in DTYPES})
CHANNELS = (1, 2, 3, 5, 8, 15, 16, 17, 20, 33, 50, *(n for lanes in _LANES for n in (lanes - 1, lanes, lanes + 1)))


@dataclass(frozen=True)
class Conv:
    """The case with this number: everything follows from it."""

    number: int
    kind: str
    shape: tuple
    weight: tuple
    stride: tuple
    padding: tuple | str
    dilation: tuple
    groups: int

    @property
    def options(self):
        return {name: getattr(self, name) for name in ("stride", "padding", "dilation", "groups")}

    @property
    def label(self):
        again = f"CONVKIT_ISA={convkit.config()['isa']} {os.path.basename(sys.executable)} {__file__} {self.number}"
        return f"{self}\nrepeat: {again}\n"


def generate(number):
    rng = np.random.default_rng(number)
    kind = KINDS[number % len(KINDS)]

    def pair(values):
        a, b = (int(v) for v in rng.choice(values, 2))
        return (a, a) if rng.random() < 0.5 else (a, b)

    kernel = (1, 1) if kind == "1x1" else pair([1, 2, 3, 3, 3, 4, 5, 5, 7])
    stride, dilation = pair([1, 1, 1, 2, 2, 3]), pair([1, 1, 1, 2, 3])
    padding = (
        "valid",
        "same",
        pair([0, 1, 2, 3, 5]),
        tuple(k // 2 * d for k, d in zip(kernel, dilation, strict=True)),
    )[rng.integers(4)]
    if padding == "same":
        stride = (1, 1)
    groups = {"grouped": int(rng.integers(2, 9)), "depthwise": int(rng.choice(CHANNELS))}.get(kind, 1)
    inner = 1 if kind == "depthwise" else int(rng.choice(CHANNELS[: -3 if groups == 1 else 6]))
    outer = int(rng.integers(1, 4)) if kind == "depthwise" else int(rng.choice(CHANNELS[: -3 if groups == 1 else 6]))
    sides = reference.padding_sides(padding, kernel, dilation)
    least = (d * (k - 1) + 1 - sum(side) for k, d, side in zip(kernel, dilation, sides, strict=True))
    image = (max(1, n) + int(rng.choice([0, 1, 4, 9, 17, 30])) for n in least)
    shape = int(rng.choice([1, 1, 2, 3])), inner * groups, *image
    return Conv(number, kind, shape, (outer * groups, inner, *kernel), stride, padding, dilation, groups)


class Answers:
    """The three passes in float64, tap by tap: each moves a whole image at once."""

    def __init__(self, case):
        self.case = case
        self.sides = reference.padding_sides(case.padding, case.weight[2:], case.dilation)
        self.padded = [n + sum(side) for n, side in zip(case.shape[2:], self.sides, strict=True)]
        spans = (d * (k - 1) + 1 for d, k in zip(case.dilation, case.weight[2:], strict=True))
        self.size = [(n - m) // s + 1 for n, m, s in zip(self.padded, spans, case.stride, strict=True)]
        self.output_shape = case.shape[0], case.weight[0], *self.size

    def taps(self):
        """(r, s), and the pixels of the padded image that this tap meets, one for each output."""
        for r, s in np.ndindex(*self.case.weight[2:]):
            starts = r * self.case.dilation[0], s * self.case.dilation[1]
            axes = zip(starts, self.case.stride, self.size, strict=True)
            yield r, s, (..., *(slice(start, start + step * (n - 1) + 1, step) for start, step, n in axes))

    def grouped(self, image):
        return image.reshape(image.shape[0], self.case.groups, -1, *image.shape[2:])

    def pad(self, x):
        return self.grouped(np.pad(x, ((0, 0), (0, 0), *self.sides)))

    def conv2d(self, x, w, g):
        padded, w = self.pad(x), w.reshape(self.case.groups, -1, *w.shape[1:])
        output = self.grouped(np.zeros(self.output_shape))
        for r, s, pixels in self.taps():
            output += np.einsum("ngcpq,gkc->ngkpq", padded[pixels], w[..., r, s], optimize=True)
        return output.reshape(self.output_shape)

    def conv2d_backward_input(self, x, w, g):
        g, w = self.grouped(g), w.reshape(self.case.groups, -1, *w.shape[1:])
        padded = self.grouped(np.zeros((*x.shape[:2], *self.padded)))
        for r, s, pixels in self.taps():
            padded[pixels] += np.einsum("ngkpq,gkc->ngcpq", g, w[..., r, s], optimize=True)
        inside = (slice(before, before + n) for (before, _), n in zip(self.sides, x.shape[2:], strict=True))
        return padded[(..., *inside)].reshape(x.shape)

    def conv2d_backward_weight(self, x, w, g):
        padded, g = self.pad(x), self.grouped(g)
        grad = np.empty((self.case.groups, w.shape[0] // self.case.groups, *w.shape[1:]))
        for r, s, pixels in self.taps():
            grad[..., r, s] = np.einsum("ngcpq,ngkpq->gkc", padded[pixels], g, optimize=True)
        return grad.reshape(w.shape)


PASSES = {
    "conv2d": lambda case, x, w, g: ops.conv2d(x, w, **case.options),
    "conv2d_backward_input": lambda case, x, w, g: ops.conv2d_backward_input(x.shape, w, g, **case.options),
    "conv2d_backward_weight": lambda case, x, w, g: ops.conv2d_backward_weight(x, w.shape, g, **case.options),
}


def arrays_of(case, answers):
    rng = np.random.default_rng(case.number)
    out = answers.output_shape
    fan_in, positions = np.prod(case.weight[1:]), out[0] * out[2] * out[3]
    terms = max(fan_in, case.weight[0] // case.groups * np.prod(case.weight[2:]), positions)
    return [integers(rng, shape, terms) for shape in (case.shape, case.weight, out)]


def check(case):
    answers = Answers(case)
    arrays = arrays_of(case, answers)
    magnitudes = [np.abs(array) for array in arrays]
    layout = LAYOUTS[("C order", "channels-last", "every second")[case.number % 3]]
    for name, run in PASSES.items():
        answer = getattr(answers, name)(*arrays)
        refuse_unless_telling(answer, getattr(answers, name)(*magnitudes), f"{case.label}{name}")
        for dtype in DTYPES:
            typed = (layout(array.astype(dtype)) for array in arrays)
            with convkit.num_threads(1 + case.number % 3):
                result = run(case, *typed)
            assert_exact(result, answer, dtype, f"{case.label}{name} {dtype.__name__}")


def check_all(numbers):
    cases = [generate(number) for number in numbers]
    for case in cases:
        check(case)
    kinds = ", ".join(f"{sum(case.kind == kind for case in cases)} {kind}" for kind in dict.fromkeys(KINDS))
    print(f"{convkit.config()['isa']}: {len(cases)} shapes exact in {len(PASSES)} passes and 2 dtypes ({kinds})")


@pytest.mark.parametrize("part", range(6))
def test_generated_shapes(part):
    check_all(range(part * SHAPES // 6, (part + 1) * SHAPES // 6))


def test_the_shapes_are_many_and_different():
    cases = [generate(number) for number in range(SHAPES)]
    assert len({(c.shape, c.weight, c.stride, c.padding, c.dilation) for c in cases}) == SHAPES
    assert sum(c.groups == c.shape[1] > 1 for c in cases) > SHAPES // 5
    for unequal in (lambda c: c.stride, lambda c: c.dilation, lambda c: c.shape[2:], lambda c: c.weight[2:]):
        assert sum(len(set(unequal(c))) == 2 for c in cases) > SHAPES // 6


@pytest.mark.parametrize("number", range(30))
def test_the_answers_are_those_of_the_other_reference(number):
    """Which goes window by window instead."""
    case = generate(number)
    answers = Answers(case)
    x, w, g = arrays_of(case, answers)
    expected = {
        "conv2d": reference.conv2d(x, w, **case.options),
        "conv2d_backward_input": reference.conv2d_backward_input(x.shape, w, g, **case.options),
        "conv2d_backward_weight": reference.conv2d_backward_weight(x, w.shape, g, **case.options),
    }
    for name, answer in expected.items():
        assert np.array_equal(getattr(answers, name)(x, w, g), answer), f"{case.label}{name}"


if __name__ == "__main__":
    check_all([int(number) for number in sys.argv[1:]] or range(SHAPES))
