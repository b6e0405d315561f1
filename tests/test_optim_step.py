"""One call moves all parameters: every size, memory order and dtype, whatever threads share the work."""

import numpy as np
import pytest
from cases import DTYPES, LAYOUTS, SETTLED

from convkit import optim
from convkit._threads import num_threads
from convkit.autograd import Tensor
from convkit.nn.utils import clip_grad_norm_

RUN = 8192  # elements that a thread takes at a time
SHAPES = [(1,), (), (0, 3), (17,), (RUN - 1,), (RUN + 1,), (3, 5, 7, 9), (64, 64, 3, 3), (3 * RUN + 5,), (250_000,)]
OPTIMIZERS = {
    "SGD": {},
    "momentum": {"momentum": 0.9, "dampening": 0.25, "weight_decay": 0.01},
    "nesterov": {"momentum": 0.9, "nesterov": True, "maximize": True},
    "Adam": {"weight_decay": 0.01},
    "AdamW": {"maximize": True},
}


def optimizer(name, parameters):
    kind = getattr(optim, name) if hasattr(optim, name) else optim.SGD
    return kind(parameters, lr=0.1, **OPTIMIZERS[name])


def parameters(dtype, shapes=SHAPES, layout=np.asarray):
    rng = np.random.default_rng(1)
    arrays = [layout(np.asarray(rng.standard_normal(shape), dtype)) for shape in shapes]
    return [Tensor(array, requires_grad=True) for array in arrays]


def run(name, params, steps=3, order=np.asarray):
    rng = np.random.default_rng(2)
    moving = optimizer(name, params)
    for _ in range(steps):
        for parameter in params:
            gradient = np.asarray(rng.standard_normal(parameter.shape), parameter.dtype)
            parameter.grad = Tensor(order(gradient))
        moving.step()
    return [parameter.data.copy() for parameter in params]


def assert_same_bits(found, expected):
    for a, b in zip(found, expected, strict=True):
        assert np.ascontiguousarray(a).tobytes() == np.ascontiguousarray(b).tobytes()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_threads_do_not_change_bits(name, dtype):
    results = []
    for threads in SETTLED:
        with num_threads(threads):
            results.append(run(name, parameters(dtype)))
    for result in results[1:]:
        assert_same_bits(result, results[0])


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_one_call_does_what_a_call_for_each_parameter_would(name):
    together = run(name, parameters(np.float32))
    rng = np.random.default_rng(2)
    gradients = [[np.float32(rng.standard_normal(shape)) for shape in SHAPES] for _ in range(3)]
    for i, parameter in enumerate(parameters(np.float32)):
        alone = optimizer(name, [parameter])
        for step in range(3):
            parameter.grad = Tensor(np.asarray(gradients[step][i]))
            alone.step()
        assert_same_bits([parameter.data], [together[i]])


def gapped(array):
    """The same values, every other element of an array twice as long."""
    wide = np.zeros((*array.shape[:-1], 2 * array.shape[-1]), array.dtype)
    wide[..., ::2] = array
    return wide[..., ::2]


def unaligned(array):
    memory = np.empty(array.nbytes + 1, np.uint8)
    shifted = np.ndarray(array.shape, array.dtype, memory, 1)
    shifted[...] = array
    return shifted


ORDERS = {
    "C order": np.ascontiguousarray,
    "Fortran order": np.asfortranarray,
    "channels-last": LAYOUTS["channels-last"],
    "gaps": gapped,
    "negative strides": lambda array: array[::-1].copy()[::-1],
    "unaligned": unaligned,
}


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("theirs", ORDERS)
@pytest.mark.parametrize("mine", ORDERS)
def test_memory_order_does_not_change_bits(name, mine, theirs):
    shapes = [(6, 5, 4, 3)]
    expected = run(name, parameters(np.float32, shapes))
    params = parameters(np.float32, shapes, ORDERS[mine])
    memory = params[0].data
    assert_same_bits(run(name, params, order=ORDERS[theirs]), expected)
    assert params[0].data is memory


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_dtypes_and_late_starters_move_in_one_step(name):
    def moved(params):
        moving = optimizer(name, params)
        for step in range(3):
            for i, parameter in enumerate(params):
                # Every other parameter begins one step later.
                late = len(params) > 1 and i % 2 and step == 0
                parameter.grad = None if late else Tensor(np.full(parameter.shape, step + 1, parameter.dtype))
            moving.step()
        return [parameter.data for parameter in params]

    def some():
        return [*parameters(np.float32, [(5,), (6,)]), *parameters(np.float64, [(7,), (8,)])]

    together = moved(some())
    for i in (0, 2):
        assert_same_bits(moved([some()[i]]), [together[i]])
    assert [array.dtype for array in together] == [np.float32, np.float32, np.float64, np.float64]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_parameters_may_be_replaced_between_steps(name):
    """Another array, memory order or dtype: what is remembered follows."""
    expected = parameters(np.float64, [(4, 3)])
    found = parameters(np.float64, [(4, 3)])
    steady, moving = optimizer(name, expected), optimizer(name, found)
    for step, replace in enumerate([np.asarray, np.asfortranarray, np.copy, np.asarray]):
        found[0].data = replace(found[0].data)
        for params, o in ((expected, steady), (found, moving)):
            params[0].grad = Tensor(np.full((4, 3), step + 0.5))
            o.step()
    assert_same_bits([found[0].data], [expected[0].data])
    found[0].data = found[0].data.astype(np.float32)
    found[0].grad = Tensor(np.ones((4, 3), np.float32))
    moving.step()
    assert found[0].data.dtype == np.float32


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_parameters_that_share_memory_do_not_race(name):
    results = []
    for threads in SETTLED:
        (first,) = parameters(np.float32, [(500, 400)])
        second = Tensor(first.data.reshape(-1), requires_grad=True)
        with num_threads(threads):
            results.append(run(name, [first, second]))
    for result in results[1:]:
        assert_same_bits(result, results[0])


@pytest.mark.parametrize(("name", "options"), [("SGD", {"momentum": 0.9}), ("Adam", {}), ("AdamW", {})])
def test_to_maximize_is_to_minimize_the_opposite(name, options):
    up, down = parameters(np.float64, [(9,)]), parameters(np.float64, [(9,)])
    climbing = getattr(optim, name)(up, lr=0.1, maximize=True, **options)
    falling = getattr(optim, name)(down, lr=0.1, **options)
    for step in range(3):
        gradient = np.linspace(-1, 1, 9) + step
        up[0].grad, down[0].grad = Tensor(gradient), Tensor(-gradient)
        climbing.step()
        falling.step()
    assert_same_bits([up[0].data], [down[0].data])


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("spoiled", [np.nan, np.inf])
def test_what_is_not_finite_stays_where_it_is(name, spoiled):
    (x,) = parameters(np.float32, [(40,)])
    moving = optimizer(name, [x])
    for _ in range(2):
        x.grad = Tensor(np.ones(40, np.float32))
        x.grad.data[7] = spoiled
        moving.step()
    assert np.flatnonzero(~np.isfinite(x.data)).tolist() == [7]


def test_a_state_saved_before_there_was_maximize_loads():
    params = parameters(np.float32, [(3,)])
    moving = optimizer("Adam", params)
    run("Adam", params)
    state = moving.state_dict()
    del state["param_groups"][0]["maximize"]
    moving.load_state_dict(state)
    assert moving.param_groups[0]["maximize"] is False


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda x: setattr(x, "data", np.zeros(4, np.float32)), r"SGD: a gradient \(3,\) does not fit a parameter \(4"),
        (lambda x: x.data.setflags(write=False), r"SGD: a parameter \(3,\) is read-only"),
    ],
)
def test_what_cannot_move_is_refused_before_anything_moves(spoil, message):
    first, second = parameters(np.float32, [(5,), (3,)])
    moving = optim.SGD([{"params": [first]}, {"params": [second]}], lr=1)
    first.grad, second.grad = Tensor(np.ones(5, np.float32)), Tensor(np.ones(3, np.float32))
    before = first.data.copy()
    spoil(second)
    with pytest.raises(ValueError, match=message):
        moving.step()
    assert_same_bits([first.data], [before])


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_norm_has_the_same_bits_for_any_threads(dtype):
    results = []
    for threads in SETTLED:
        params = parameters(dtype)
        for parameter in params:
            parameter.grad = Tensor(parameter.data)
        with num_threads(threads):
            norm = clip_grad_norm_(params, 1.0)
        results.append([norm.data, *[parameter.grad.data for parameter in params]])
    for result in results[1:]:
        assert_same_bits(result, results[0])


def test_the_norm_counts_integers_exactly():
    rng = np.random.default_rng(3)
    x = Tensor(np.zeros(5 * RUN + 3, np.float32), requires_grad=True)
    x.grad = Tensor(rng.integers(-15, 16, x.shape).astype(np.float32))
    exact = int((x.grad.data.astype(np.int64) ** 2).sum())
    assert clip_grad_norm_(x, np.inf).item() == np.float32(np.sqrt(exact))
