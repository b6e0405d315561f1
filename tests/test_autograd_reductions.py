"""Reductions: values and gradients along any dimensions, ties, nothing at all, and what they refuse."""

import numpy as np
import pytest
from gradients import apart, assert_gradients

import convkit as ck
from convkit.autograd import Tensor, tensor

ALONG_SEVERAL = ["sum", "mean", "var", "std", "amax", "amin", "logsumexp"]
ALONG_ONE = ["prod", "max", "min"]

PLAIN = {
    "sum": np.sum,
    "mean": np.mean,
    "var": lambda x, **options: np.var(x, ddof=1, **options),
    "std": lambda x, **options: np.std(x, ddof=1, **options),
    "amax": np.max,
    "amin": np.min,
    "max": np.max,
    "min": np.min,
    "prod": np.prod,
    "logsumexp": lambda x, **options: np.log(np.sum(np.exp(x), **options)),
}


def first(result):
    """The values, of a result that has indices too."""
    return result[0] if isinstance(result, tuple) else result


def every_case():
    for name in [*ALONG_SEVERAL, *ALONG_ONE]:
        for dim in [None, 0, -1, 1, (0, 2), (-1, 0, 1)][: 6 if name in ALONG_SEVERAL else 4]:
            for keepdim in (False, True):
                if not (name in ("max", "min") and dim is None and keepdim):
                    yield name, dim, keepdim


CASES = list(every_case())


@pytest.mark.parametrize(("name", "dim", "keepdim"), CASES)
def test_reductions(name, dim, keepdim):
    x = apart(np.random.default_rng(0), (2, 3, 4))
    options = {} if name in ("max", "min") and dim is None else {"dim": dim, "keepdim": keepdim}

    def reduce(x):
        return first(getattr(ck, name)(x, **options))

    expected = PLAIN[name](x, axis=dim, keepdims=keepdim)
    np.testing.assert_allclose(reduce(x).data, expected, rtol=1e-12)
    np.testing.assert_allclose(first(getattr(Tensor(x), name)(**options)).data, expected, rtol=1e-12)
    assert reduce(x.astype(np.float32)).dtype == np.float32
    assert_gradients(reduce, x)
    assert_gradients(reduce, x.transpose(2, 0, 1).copy().transpose(1, 2, 0))


@pytest.mark.parametrize(("name", "dim", "keepdim"), CASES)
def test_reductions_agree_with_pytorch_everywhere(name, dim, keepdim):
    """Of equal elements, zeros, infinities and NaN, in value and gradient."""
    torch = pytest.importorskip("torch")
    if name == "logsumexp" and dim is None:
        dim = (0, 1, 2)  # PyTorch wants to be told
    x = np.zeros((2, 3, 4))
    x[0] = [[1, 1, -2, 1], [0, 3, 3, 0], [-1, -np.inf, 2, 0]]
    x[1] = [[1, 2, 0, 5], [np.inf, 3, -1, 0], [-1, np.nan, 2, 0]]
    if name in ("var", "std", "logsumexp", "prod"):
        x[~np.isfinite(x)] = 1
    if name in ("amax", "amin"):
        x[np.isnan(x)] = 0  # PyTorch gives the gradient to a NaN in max alone
    ours, theirs = Tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    options = {} if dim is None and name in ("max", "min", "prod") else {"dim": dim, "keepdim": keepdim}
    found, expected = getattr(ours, name)(**options), getattr(theirs, name)(**options)
    if isinstance(found, tuple):
        np.testing.assert_array_equal(found.indices.data, expected.indices.numpy())
        found, expected = found.values, expected.values
    np.testing.assert_allclose(found.data, expected.detach().numpy(), rtol=1e-12)
    start = np.random.default_rng(1).standard_normal(found.shape)
    found.backward(start)
    expected.backward(torch.tensor(start))
    np.testing.assert_allclose(ours.grad.data, theirs.grad.numpy(), rtol=1e-10)


@pytest.mark.parametrize("correction", [0, 1, 2, 7])
def test_variance_with_a_correction(correction):
    torch = pytest.importorskip("torch")
    x = np.random.default_rng(0).standard_normal((3, 5))
    for name in ("var", "std"):
        ours, theirs = Tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
        found = getattr(ours, name)(1, correction=correction)
        with np.errstate(all="ignore"), pytest.warns() if correction >= 5 else np.errstate():
            expected = getattr(theirs, name)(1, correction=correction)
        np.testing.assert_allclose(found.data, expected.detach().numpy(), rtol=1e-12)
        if correction < 5:
            assert_gradients(lambda x, name=name: getattr(x, name)(1, correction=correction), x)


def test_the_deviation_of_equal_elements_has_gradient_zero():
    x = tensor([2.0, 2.0, 2.0], requires_grad=True)
    x.std().backward()
    assert x.grad.data.tolist() == [0, 0, 0]


def test_a_product_with_zeros_has_a_gradient():
    for zeros, expected in (([2.0, 3.0, 4.0], [12, 8, 6]), ([2.0, 0.0, 4.0], [0, 8, 0]), ([0.0, 0.0, 4.0], [0, 0, 0])):
        x = tensor(zeros, requires_grad=True)
        x.prod().backward()
        assert x.grad.data.tolist() == expected
    assert_gradients(lambda x: x.prod(0), np.zeros((1, 2)))


def test_logsumexp_neither_overflows_nor_underflows():
    x = tensor([[1000.0, 1000.0], [-1000.0, -1000.0], [-np.inf, -np.inf], [np.inf, 0.0]], requires_grad=True)
    y = x.logsumexp(1)
    np.testing.assert_allclose(y.data[:2], np.float32([1000, -1000]) + np.log(np.float32(2)))
    assert y.data[2:].tolist() == [-np.inf, np.inf]
    y[:3].sum().backward()
    np.testing.assert_allclose(x.grad.data[:3], [[0.5, 0.5], [0.5, 0.5], [0, 0]])


@pytest.mark.parametrize("keepdim", [False, True])
@pytest.mark.parametrize("dim", [None, 0, -1])
@pytest.mark.parametrize("name", ["argmax", "argmin"])
def test_places_agree_with_numpy(name, dim, keepdim):
    x = np.random.default_rng(0).integers(0, 3, (3, 4, 5))
    expected = getattr(np, name)(x, axis=dim, keepdims=keepdim)
    for found in (getattr(ck, name)(x, dim, keepdim), getattr(Tensor(x), name)(dim, keepdim)):
        assert found.dtype == np.int64
        np.testing.assert_array_equal(found.data, expected)


@pytest.mark.parametrize("dim", [(0, 2, 3), (2, 3), None])
@pytest.mark.parametrize("order", [(0, 1, 2, 3), (0, 3, 1, 2)])
def test_sums_of_images_are_precise_in_any_memory_order(order, dim):
    """Added one after the other, these numbers make errors of 1e-5 in float32."""
    x = Tensor(np.random.default_rng(0).random((16, 40, 44, 48), np.float32).transpose(order), requires_grad=True)
    exact = x.data.astype(np.float64)
    np.testing.assert_allclose(x.sum(dim).data, exact.sum(axis=dim), rtol=6e-7)
    np.testing.assert_allclose(x.var(dim).data, exact.var(axis=dim, ddof=1), rtol=3e-6)
    bias = tensor(np.zeros((x.shape[1], 1, 1), np.float32), requires_grad=True)
    (x.detach() * bias).sum().backward()
    np.testing.assert_allclose(bias.grad.data[:, 0, 0], exact.sum(axis=(0, 2, 3)), rtol=6e-7)


def test_sums_and_products_of_integers_do_not_wrap():
    x = np.full(300, 1, np.uint8)
    assert (ck.sum(x).item(), ck.sum(x).dtype) == (300, np.int64)
    assert ck.sum(x > 0).item() == 300
    assert (ck.prod(np.array([100, 100], np.int8)).item(), ck.amax(x).dtype) == (10_000, np.uint8)


def test_reductions_of_nothing():
    x = tensor(np.zeros((0, 3)), requires_grad=True)
    assert x.sum().item() == 0
    assert x.prod(0).data.tolist() == [1, 1, 1]
    assert np.isnan(x.mean().item())
    assert x.logsumexp(0).data.tolist() == [-np.inf] * 3
    assert np.isnan(x.var(0).data).all()
    (x.sum() + x.mean() + x.logsumexp(0).sum() + x.var() + x.prod()).backward()
    assert x.grad.shape == (0, 3)
    assert x.amax(1).shape == x.max(1).values.shape == x.argmax(1).shape == (0,)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda x: x.sum(2), ValueError, "sum: dim=2 is not an axis"),
        (lambda x: x.sum((0, -2)), ValueError, r"sum: dim=\(0, -2\) names an axis twice"),
        (lambda x: x.mean("0"), TypeError, "mean: dim='0' must be an integer"),
        (lambda x: x.prod((0, 1)), TypeError, r"prod: dim=\(0, 1\) must be an integer"),
        (lambda x: x.max((0, 1)), TypeError, r"max: dim=\(0, 1\) must be an integer"),
        (lambda x: x.argmin(3), ValueError, "argmin: dim=3"),
        (lambda x: x[:0].amax(), ValueError, r"amax: input has shape \(0, 3\): there is no element"),
        (lambda x: x[:0].max(0), ValueError, r"max: input has shape \(0, 3\): there is no element"),
        (lambda x: x[:0].argmax(), ValueError, "argmax: .* there is no element"),
        (lambda x: ck.var(np.arange(3)), TypeError, "var: needs float32 or float64, this is int64"),
        (lambda x: ck.std(np.arange(3)), TypeError, "std: needs float32 or float64, this is int64"),
        (lambda x: ck.sum([1.0]), TypeError, "sum: input must be a Tensor or numpy.ndarray, not list"),
    ],
)
def test_these_are_refused(call, error, message):
    with pytest.raises(error, match=message):
        call(tensor(np.ones((2, 3))))
