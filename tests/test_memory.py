"""Memory that arrays leave is used again, but never while anything uses it, and given back when told."""

import copy
import gc
import os
import pickle
import textwrap
import threading

import numpy as np
import pytest
from cases import run_python

import convkit
from convkit import _memory, ops
from convkit._kernels import _blocks

MEGABYTE = 2**20
FLOAT32 = np.dtype(np.float32)
SIZES = (_memory.LEAST, _memory.LEAST + 4, 300_000, 2 * MEGABYTE, 5 * MEGABYTE + 4)


@pytest.fixture(autouse=True)
def _emptied():
    """Begin with nothing cached, so that addresses and counts are this test's own."""
    gc.collect()
    convkit.empty_cache()
    yield
    _blocks.limit_idle(_memory.MOST_CACHED)
    convkit.empty_cache()


def vector(size):
    return _memory.empty((size // 4,), FLOAT32)


def address(array):
    return array.__array_interface__["data"][0]


def cached():
    return convkit.memory_stats()["cached"]


@pytest.mark.parametrize("size", SIZES)
def test_memory_is_used_again(size):
    first = vector(size)
    where = address(first)
    del first
    second, third = vector(size), vector(size)
    assert address(second) == where
    assert address(third) != where


def test_what_came_back_last_is_taken_first():
    """It is the likeliest to be in cache still."""
    arrays = [vector(MEGABYTE) for _ in range(3)]
    addresses = [address(array) for array in arrays]
    for i in (1, 0, 2):
        arrays[i] = None
    assert [address(array) for array in [vector(MEGABYTE) for _ in range(3)]] == [addresses[i] for i in (2, 0, 1)]


def test_sizes_close_to_each_other_share_memory():
    first = vector(MEGABYTE - 4)
    where = address(first)
    del first
    assert address(vector(MEGABYTE - 8192)) == where


@pytest.mark.parametrize("size", [*range(_memory.LEAST, 3 * MEGABYTE, 54_321), 2**30 + 1])
def test_at_most_an_eighth_is_wasted(size):
    before = convkit.memory_stats()["in_use"]
    block = _blocks.Block(size)
    taken = convkit.memory_stats()["in_use"] - before
    assert size <= taken <= size * 9 / 8
    assert len(memoryview(block)) == size


HOLDERS = {
    "the array": lambda a: a,
    "slice": lambda a: a[1:],
    "one element": lambda a: a[-1:],
    "transposed": lambda a: a.reshape(8, -1).T,
    "other dtype": lambda a: a.view(np.uint8),
    "view of a view": lambda a: a[1:].reshape(-1, 1)[::-1, 0],
    "memoryview": memoryview,
    "frombuffer": lambda a: np.frombuffer(a, np.float32),
    "array interface": lambda a: np.asarray(memoryview(a)),
    "iterator": lambda a: a.flat,
    "dlpack": np.from_dlpack,
    "torch": lambda a: pytest.importorskip("torch").from_numpy(a).numpy(),
}


@pytest.mark.parametrize("holder", HOLDERS.values(), ids=HOLDERS)
@pytest.mark.parametrize("size", [_memory.LEAST, 4 * MEGABYTE])
def test_no_memory_is_handed_out_while_something_uses_it(size, holder):
    array = vector(size)
    array[...] = 7
    where = address(array)
    held = holder(array)
    before = bytes(np.array(held))
    del array
    gc.collect()
    others = [vector(size) for _ in range(4)]
    for other in others:
        other[...] = 1
    assert where not in [address(other) for other in others]
    assert bytes(np.array(held)) == before
    del held
    gc.collect()
    assert address(vector(size)) == where


def test_no_two_arrays_overlap():
    rng = np.random.default_rng(0)
    alive = {}
    for mark in range(3000):
        for gone in [key for key in alive if rng.random() < 0.1]:
            array = alive.pop(gone)
            assert np.all(array == gone)
        alive[mark] = vector(int(rng.integers(1, 2 ** int(rng.integers(10, 21)))))
        alive[mark][...] = mark
    assert all(np.all(array == mark) for mark, array in alive.items())


def test_small_arrays_lie_together():
    alive = [vector(2 * _memory.LEAST) for _ in range(64)]
    assert len({address(array) // (2 * MEGABYTE) for array in alive}) <= 5  # of huge pages: 8 MB need four


def test_several_threads_at_once():
    wrong = []

    def work(mine):
        rng = np.random.default_rng(mine)
        alive = []
        for _ in range(2000):
            array = vector(_memory.LEAST * int(rng.integers(1, 4)))
            array[:16] = array[-16:] = mine
            alive.append(array)
            if len(alive) > 5:
                old = alive.pop(int(rng.integers(5)))
                wrong.extend([mine] * int(not (np.all(old[:16] == mine) and np.all(old[-16:] == mine))))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert convkit.memory_stats()["cached"] <= convkit.memory_stats()["limit"]


@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 0, 5), (64, 1024), (3, 4, 100, 101)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint8, np.int32, np.bool_])
def test_arrays_are_ordinary(shape, dtype):
    array = _memory.empty(shape, np.dtype(dtype))
    plain = np.empty(shape, dtype)
    assert type(array) is np.ndarray
    assert (array.shape, array.dtype, array.strides) == (plain.shape, plain.dtype, plain.strides)
    assert array.flags.writeable
    assert array.flags.c_contiguous
    assert array.flags.aligned
    array[...] = 1
    for twin in (pickle.loads(pickle.dumps(array)), copy.copy(array), copy.deepcopy(array), array.copy()):
        assert twin.tobytes() == array.tobytes()
        assert not np.shares_memory(twin, array)
        assert twin.flags.writeable


@pytest.mark.parametrize("size", SIZES)
def test_large_arrays_begin_at_a_cache_line(size):
    assert address(vector(size)) % (2 * MEGABYTE if size >= 2 * MEGABYTE else 64) == 0


@pytest.mark.parametrize("least", [0, _memory.LEAST])
def test_empty_like_keeps_the_order_of_axes(least, monkeypatch):
    monkeypatch.setattr(_memory, "LEAST", least)
    x = np.ones((3, 5, 70, 71), np.float32)
    for order in ((0, 1, 2, 3), (0, 2, 3, 1), (3, 2, 1, 0), (1, 3, 0, 2)):
        like = x.transpose(order).copy().transpose(np.argsort(order))
        made = _memory.empty_like(like)
        assert (made.shape, made.dtype, made.strides) == (like.shape, like.dtype, like.strides)
    gaps = x[:, :, ::2, 1:]
    assert _memory.empty_like(gaps).strides == gaps.copy(order="K").strides


def test_memory_stats():
    before = convkit.memory_stats()
    array = vector(MEGABYTE)
    assert convkit.memory_stats() == {**before, "in_use": before["in_use"] + MEGABYTE}
    del array
    assert convkit.memory_stats() == {**before, "cached": before["cached"] + MEGABYTE}
    convkit.empty_cache()
    assert convkit.memory_stats() == before


def test_small_arrays_come_from_malloc():
    before = convkit.memory_stats()
    array = vector(_memory.LEAST - 4)
    assert convkit.memory_stats() == before
    assert array.flags.owndata


def test_no_more_is_cached_than_the_limit():
    _blocks.limit_idle(10 * MEGABYTE)
    arrays = [vector(MEGABYTE) for _ in range(20)]
    addresses = [address(array) for array in arrays]
    while arrays:
        del arrays[0]  # the first of them comes back first, and is the first to go
        assert cached() <= 10 * MEGABYTE
    assert cached() == 10 * MEGABYTE
    assert [address(array) for array in [vector(MEGABYTE) for _ in range(10)]] == addresses[:9:-1]


def test_what_is_larger_than_the_limit_is_not_cached():
    _blocks.limit_idle(MEGABYTE)
    vector(MEGABYTE + 4)
    assert cached() == 0


def test_no_more_is_cached_than_twice_what_was_in_use_at_once():
    at_once = convkit.memory_stats()["in_use"]
    for size in range(8 * MEGABYTE, 16 * MEGABYTE, 300_000):
        vector(size)
        assert cached() <= 2 * (at_once + 16 * MEGABYTE)
    assert cached() > 16 * MEGABYTE


def test_of_small_memory_eight_megabytes_stay():
    for size in range(_memory.LEAST, MEGABYTE, 10_000):
        vector(size)
        assert cached() <= 8 * MEGABYTE
    assert cached() > 7 * MEGABYTE


def test_container_limits(tmp_path):
    machine = _memory._memory(tmp_path)
    assert machine == os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    (tmp_path / "memory").mkdir()
    (tmp_path / "memory" / "memory.limit_in_bytes").write_text("9223372036854771712\n")
    assert _memory._memory(tmp_path) == machine
    (tmp_path / "memory" / "memory.limit_in_bytes").write_text(f"{2 * MEGABYTE}\n")
    assert _memory._memory(tmp_path) == 2 * MEGABYTE
    (tmp_path / "memory.max").write_text("max\n")
    assert _memory._memory(tmp_path) == 2 * MEGABYTE
    (tmp_path / "memory.max").write_text(f"{MEGABYTE}\n")
    assert _memory._memory(tmp_path) == MEGABYTE


HEAD = """
import gc, os, resource, sys
import numpy as np
import convkit
from convkit import _memory, ops
X = np.ones((4, 16, 128, 128), np.float32)

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
"""


def run(body, **environment):
    return run_python("-W", "error", "-c", HEAD + textwrap.dedent(body), **environment).split()


needs_proc = pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="needs Linux's /proc")


@needs_proc
def test_empty_cache_gives_memory_back():
    body = """
        ops.relu(X)
        convkit.empty_cache()
        before = resident()
        results = [ops.relu(X) for _ in range(16)]
        at_most = resident()
        del results
        kept = resident()
        convkit.empty_cache()
        print(at_most - before, kept - before, resident() - before)
    """
    at_most, kept, after = map(int, run(body))
    assert at_most > 60 * MEGABYTE
    assert kept > 60 * MEGABYTE
    assert after < 2 * MEGABYTE


@needs_proc
def test_a_training_loop_touches_no_fresh_pages():
    body = """
        model = convkit.models.convnet()
        optimizer = convkit.optim.Adam(model.parameters())
        images, labels = np.ones((100, 1, 28, 28), np.float32), np.arange(100) % 10

        def step():
            optimizer.zero_grad()
            convkit.functional.cross_entropy(model(images), labels).backward()
            optimizer.step()

        def faults():
            return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

        for _ in range(10):
            step()
        before = faults()
        for _ in range(20):
            step()
        print((faults() - before) / 20)
    """
    (faults_of_a_step,) = map(float, run(body))
    assert faults_of_a_step < 20


def test_a_fork_shares_nothing():
    body = """
        def fork(child):
            pid = os.fork()
            if pid == 0:
                child()
                os._exit(0)
            assert os.waitpid(pid, 0)[1] == 0

        kept, gone = _memory.empty((2**20,), X.dtype), _memory.empty((2**20,), X.dtype)
        kept[...] = 1
        where = gone.__array_interface__["data"][0]
        del gone

        def child():
            global kept
            used = _memory.empty((2**20,), X.dtype)
            assert used.__array_interface__["data"][0] == where
            used[...] = 2
            kept[...] = 3
            del used, kept
            assert convkit.memory_stats()["cached"] == 2**23
            convkit.empty_cache()
            assert convkit.memory_stats()["cached"] == 0
            ops.relu(X)
            fork(lambda: ops.relu(X))

        fork(child)
        used = _memory.empty((2**20,), X.dtype)
        assert used.__array_interface__["data"][0] == where
        used[...] = 4
        assert np.all(kept == 1)
        print("done")
    """
    assert run(body, PYTHONWARNINGS="ignore")[-1:] == ["done"]


def test_arrays_that_outlive_the_interpreter():
    body = """
        import atexit, builtins

        class Cycle:
            def __init__(self):
                self.me, self.array = self, ops.relu(X)
            def __del__(self):
                self.array = ops.relu(self.array)

        builtins.kept = ops.relu(X)
        cycle, view = Cycle(), memoryview(ops.relu(X))
        atexit.register(lambda result=ops.relu(X): ops.relu(result))
        print("done")
    """
    assert run(body) == ["done"]


def test_what_is_cached_is_given_up_before_an_array_is_refused():
    body = """
        resource.setrlimit(resource.RLIMIT_AS, (2 * 2**30, 2 * 2**30))
        for gigabytes in (0.8, 0.9, 1.0):
            array = _memory.empty((int(gigabytes * 2**28),), X.dtype)
            del array
        try:
            _memory.empty((2**40,), X.dtype)
        except MemoryError as error:
            print(error)
        print(ops.relu(X).sum() == X.sum(), convkit.memory_stats()["in_use"])
    """
    printed = " ".join(run(body, OMP_NUM_THREADS="1"))
    assert printed == f"there is no memory for an array of {2**42} bytes True 0"


def test_results_of_ops_are_made_of_blocks():
    x = np.ones((4, 16, 64, 64), np.float32)
    before = convkit.memory_stats()["in_use"]
    result = ops.relu(x)
    assert convkit.memory_stats()["in_use"] - before >= result.nbytes


@needs_proc
def test_memory_does_not_grow_with_calls_of_ever_new_shapes():
    """Of 10,000 calls whose arrays take 4 MB at most, 8 MB may stay cached, 4 MB of scratch, and what Python keeps."""
    body = """
        rng = np.random.default_rng(0)

        def calls():
            n, c, k, h, w = (int(rng.integers(1, most)) for most in (4, 9, 9, 100, 100))
            x, weight = np.ones((n, h, w, c), np.float32).transpose(0, 3, 1, 2), np.ones((k, c, 3, 3), np.float32)
            y = ops.conv2d(x, weight, padding=1)
            ops.conv2d_backward_input(x.shape, weight, y, padding=1)
            ops.conv2d_backward_weight(x, weight.shape, y, padding=1)
            pooled, indices = ops.max_pool2d(y, 2, padding=1)
            ops.max_pool2d_backward(pooled, indices, y.shape, 2, padding=1)
            z = ops.batch_norm(y, *ops.batch_norm_stats(y))
            z = ops.relu_backward(ops.relu(z), z)
            return convkit.memory_stats()

        convkit.set_num_threads(1)
        calls()
        before = resident()
        stats = [calls() for _ in range(1000)]
        print(resident() - before, max(s["in_use"] for s in stats), max(s["cached"] for s in stats))
    """
    growth, in_use, cached = map(int, run(body))
    assert MEGABYTE < in_use < 4 * MEGABYTE
    assert MEGABYTE < cached <= 8 * MEGABYTE
    assert growth < 20 * MEGABYTE


# input, weight, stride, padding, dilation, groups
LARGE = {
    "large image": ((1, 64, 1024, 1024), (64, 64, 3, 3), 1, 1, 1, 1),
    "pointwise": ((1, 64, 1024, 1024), (64, 64, 1, 1), 1, 0, 1, 1),
    "large kernel": ((1, 32, 256, 256), (64, 32, 11, 11), 1, 5, 1, 1),
    "first layer": ((4, 3, 512, 512), (64, 3, 7, 7), 2, 3, 1, 1),
    "many channels": ((1, 2048, 14, 14), (64, 2048, 3, 3), 1, 1, 1, 1),
    "more channels": ((1, 8192, 4, 30), (16, 8192, 3, 3), 1, 1, 1, 1),
    "many outputs": ((8, 64, 14, 14), (4096, 64, 1, 1), 1, 0, 1, 1),
    "long rows": ((1, 16, 4, 100000), (16, 16, 3, 3), 1, 1, 1, 1),
    "wide dilation": ((1, 64, 256, 256), (64, 64, 3, 3), 1, 20, 20, 1),
    "depthwise": ((1, 512, 128, 128), (512, 1, 3, 3), 1, 1, 1, 512),
}


@needs_proc
@pytest.mark.parametrize(("x", "w", "stride", "padding", "dilation", "groups"), LARGE.values(), ids=LARGE)
def test_scratch_is_four_megabytes_a_thread_and_packed_weights(x, w, stride, padding, dilation, groups):
    """The most that memory grows by in a call whose operands are there, and whose result is recycled.

    Scratch is mapped by malloc and unmapped again, but transformed weights are recycled; `conv2d_plan` tells of both.
    """
    body = f"""
        import ctypes
        convkit.set_num_threads(2)
        how = dict(stride={stride}, padding={padding}, dilation={dilation}, groups={groups})
        n, c, h, w = {x}
        # Zeros that are only read take no memory.
        x, weight = np.zeros((n, h, w, c), np.float32).transpose(0, 3, 1, 2), np.zeros({w}, np.float32)
        n, k, p, q = ops.conv2d_output_shape(x.shape, weight.shape, **how)
        grad = np.zeros((n, p, q, k), np.float32).transpose(0, 3, 1, 2)

        def high_water():
            with open("/proc/self/status") as file:
                return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM"))

        for call in (
            lambda: ops.conv2d(x, weight, **how),
            lambda: ops.conv2d_backward_input(x.shape, weight, grad, **how),
            lambda: ops.conv2d_backward_weight(x, weight.shape, grad, **how),
        ):
            for _ in range(2):
                call()
            ctypes.CDLL(None).malloc_trim(0)
            with open("/proc/self/clear_refs", "w") as file:
                file.write("5")  # the high-water mark is where memory stands now
            before = high_water()
            call()
            print(high_water() - before)
    """
    k, c, r, s = w
    lanes = 16  # the widest vector's

    def packed(outputs, inputs):
        return -(-outputs // lanes) * lanes * inputs * groups * r * s * 4

    forward, backward_input, backward_weight = map(int, run(body, MALLOC_MMAP_THRESHOLD_="65536"))
    for gradient, growth, weights in (
        (None, forward, packed(k // groups, c)),
        ("input", backward_input, packed(c, k // groups)),
        ("weight", backward_weight, packed(k // groups, c)),
    ):
        with convkit.num_threads(2):
            plan = ops.conv2d_plan(x, w, stride, padding, dilation, groups, gradient=gradient)
        transformed = gradient != "weight" and "winograd" in plan.name
        assert growth < weights + 8 * MEGABYTE
        assert 0 < plan.scratch < weights * (16 / 9 if transformed else 1) + 8 * MEGABYTE
