"""How many threads kernels run on, and who decides."""

import os
import threading

import numpy as np
import pytest
from cases import refuses, run_python

import convkit as ck
from convkit import _threads

#: Without OpenMP everything runs on one thread, whatever is asked for.
needs_openmp = pytest.mark.skipif(not ck.config()["openmp"], reason="this build has no OpenMP: always one thread")

SHOW = "import convkit; print(convkit.get_num_threads())"


@pytest.fixture
def restored():
    """Give the process its number of threads back."""
    before = ck.get_num_threads()
    yield before
    ck.set_num_threads(before)


def threads_seen(**environment):
    environment = {"OMP_NUM_THREADS": None, **environment}
    return int(run_python("-c", SHOW, **environment))


@needs_openmp
@pytest.mark.usefixtures("restored")
def test_set_and_get():
    for n in (1, 2, 7):
        ck.set_num_threads(n)
        assert ck.get_num_threads() == n
        assert ck.config()["threads"] == n
    ck.set_num_threads(np.int64(3))
    assert ck.get_num_threads() == 3


@needs_openmp
def test_context_manager_restores(restored):
    with ck.num_threads(3):
        assert ck.get_num_threads() == 3
        with ck.num_threads(1):
            assert ck.get_num_threads() == 1
        assert ck.get_num_threads() == 3
    with pytest.raises(KeyError), ck.num_threads(5):
        raise KeyError
    assert ck.get_num_threads() == restored


def test_context_of_one_thread_is_not_that_of_another(restored):
    seen = []
    with ck.num_threads(restored + 2):
        other = threading.Thread(target=lambda: seen.append(ck.get_num_threads()))
        other.start()
        other.join()
    assert seen == [restored]


@pytest.mark.parametrize(("name", "use"), [("set_num_threads", ck.set_num_threads), ("num_threads", None)])
def test_what_is_no_number_of_threads(restored, name, use):
    def enter(n):
        with ck.num_threads(n):
            pass

    for value in (0, -1):
        refuses(ValueError, rf"^{name}: .*\bn={value}\b", use or enter, value)
    for value in (1.5, "2", None, True):
        refuses(TypeError, rf"^{name}: .*\bn={value!r}", use or enter, value)
    assert ck.get_num_threads() == restored


def test_environment_variable():
    assert threads_seen(OMP_NUM_THREADS="1") == 1
    assert ck.get_num_threads() >= 1


def test_default_does_not_exceed_the_processors_of_this_process():
    assert 1 <= threads_seen() <= len(os.sched_getaffinity(0))


def test_default_respects_affinity():
    one = min(os.sched_getaffinity(0))
    code = f"import os; os.sched_setaffinity(0, {{{one}}}); {SHOW}"
    assert int(run_python("-c", code, OMP_NUM_THREADS=None)) == 1


def test_threadpoolctl_limits_kernels():
    pytest.importorskip("threadpoolctl")
    code = (
        "import convkit as ck, threadpoolctl\n"
        "with threadpoolctl.threadpool_limits(1):\n"
        "    print(ck.get_num_threads())\n"
    )
    assert int(run_python("-c", code, OMP_NUM_THREADS="2")) == 1


def test_kernels_run_on_so_many_threads():
    """The workers of OpenMP stay behind after a kernel, where Linux counts them."""
    code = (
        "import os, numpy as np, convkit as ck\n"
        "x, w = np.ones((8, 16, 40, 40), np.float32), np.ones((16, 16, 3, 3), np.float32)\n"
        "count = lambda: len(os.listdir('/proc/self/task'))\n"
        "before = count()\n"
        "with ck.num_threads(1): ck.ops.conv2d(x, w)\n"
        "alone = count()\n"
        "with ck.num_threads(3): ck.ops.conv2d(x, w)\n"
        "print(alone - before, count() - before)\n"
    )
    expected = "0 2" if ck.config()["openmp"] else "0 0"
    assert run_python("-c", code).strip() == expected


@pytest.mark.parametrize("n", [100_000, 2**31, 2**70])
def test_more_threads_than_a_process_can_have(n):
    """Refused or bounded, but not the end of the process in the middle of a kernel."""
    code = (
        "import numpy as np, convkit as ck\n"
        f"try:\n    ck.set_num_threads({n})\n"
        f"except ValueError as error:\n    assert 'n={n}' in str(error)\n"
        "x, w = np.ones((8, 64, 128, 128), np.float32), np.ones((64, 64, 5, 5), np.float32)\n"
        "assert ck.ops.conv2d(x, w)[0, 0, 0, 0] == 1600\n"
    )
    run_python("-c", code)


@pytest.mark.parametrize(
    ("files", "processors"),
    [
        ({"cpu.max": "150000 100000\n"}, 1.5),
        ({"cpu.max": "max 100000\n"}, float("inf")),
        ({"cpu/cpu.cfs_quota_us": "50000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 0.5),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, float("inf")),
        ({"cpu.max": "nonsense"}, float("inf")),
        ({}, float("inf")),
    ],
    ids=str,
)
def test_quota_of_a_container(tmp_path, files, processors):
    """As the two versions of Linux control groups write it."""
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    assert _threads._quota(tmp_path) == processors
