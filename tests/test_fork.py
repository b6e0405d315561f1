"""Kernels in forked children, from several Python threads at once, and under Ctrl-C.

Each case runs in a process of its own, with a time limit: what is tested for is a hang.
"""

import signal
import subprocess
import sys
import textwrap

import pytest
from cases import run_python

WORK = """
import multiprocessing, os, sys, threading
import numpy as np
import convkit as ck
from convkit import ops

ck.set_num_threads(2)
rng = np.random.default_rng(0)
X = rng.integers(-5, 6, (4, 16, 20, 20)).astype(np.float32)
W = rng.integers(-5, 6, (32, 16, 3, 3)).astype(np.float32)
G = rng.integers(-5, 6, (4, 32, 18, 18)).astype(np.float32)

def work(_=None):
    return [
        ops.conv2d(X, W),
        ops.conv2d_backward_input(X.shape, W, G),
        ops.conv2d_backward_weight(X, W.shape, G),
        ops.max_pool2d(X, 2)[0],
        *ops.batch_norm_stats(X),
        ops.relu(X),
    ]

def same(a, b):
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))

def fork_and_work(expected):
    pid = os.fork()
    if pid == 0:
        os._exit(0 if same(work(), expected) else 3)
    assert os.waitpid(pid, 0)[1] == 0
"""


def run_script(tmp_path, body, timeout=60):
    script = tmp_path / "script.py"
    script.write_text(WORK + textwrap.dedent(body))
    assert run_python("-W", "ignore::DeprecationWarning", str(script), timeout=timeout).strip() == "done"


def test_fork_after_a_kernel_has_run(tmp_path):
    body = """
        expected = work()
        for _ in range(3):
            fork_and_work(expected)
            assert same(work(), expected)
        print("done")
    """
    run_script(tmp_path, body)


def test_fork_of_a_fork(tmp_path):
    body = """
        expected = work()
        pid = os.fork()
        if pid == 0:
            work()
            fork_and_work(expected)
            os._exit(0 if same(work(), expected) else 3)
        assert os.waitpid(pid, 0)[1] == 0
        assert same(work(), expected)
        print("done")
    """
    run_script(tmp_path, body)


def test_fork_from_a_second_thread(tmp_path):
    body = """
        expected = work()
        failures = []

        def run():
            try:
                work()
                fork_and_work(expected)
                assert same(work(), expected)
            except BaseException as error:
                failures.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
        assert not failures, failures
        fork_and_work(expected)
        assert same(work(), expected)
        print("done")
    """
    run_script(tmp_path, body)


def test_fork_while_another_thread_runs_kernels(tmp_path):
    body = """
        expected = work()
        stop = threading.Event()
        wrong = []

        def run():
            while not stop.is_set():
                if not same(work(), expected):
                    wrong.append(True)

        thread = threading.Thread(target=run)
        thread.start()
        for _ in range(10):
            fork_and_work(expected)
        stop.set()
        thread.join()
        assert not wrong
        print("done")
    """
    run_script(tmp_path, body)


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_multiprocessing(tmp_path, method):
    body = f"""
        if __name__ == "__main__":
            expected = work()
            with multiprocessing.get_context("{method}").Pool(2) as pool:
                for result in pool.map(work, range(4)):
                    assert same(result, expected)
            assert same(work(), expected)
            print("done")
    """
    run_script(tmp_path, body, timeout=120)


def test_several_threads_at_once(tmp_path):
    body = """
        expected = work()
        results = [[] for _ in range(4)]

        def run(mine):
            for _ in range(20):
                mine.append(same(work(), expected))

        threads = [threading.Thread(target=run, args=(mine,)) for mine in results]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert results == [[True] * 20] * 4
        print("done")
    """
    run_script(tmp_path, body)


def test_kernels_release_the_gil(tmp_path):
    """Another thread counts while one long convolution runs; with the lock held it would stand still."""
    body = """
        X, W = np.ones((8, 64, 96, 96), np.float32), np.ones((64, 64, 5, 5), np.float32)
        ck.set_num_threads(1)
        inside, counted = threading.Event(), [0]

        def count():
            while not inside.is_set():
                counted[0] += 1

        sys.setswitchinterval(1e-4)
        thread = threading.Thread(target=count)
        thread.start()
        before = counted[0]
        ops.conv2d(X, W)
        during = counted[0] - before
        inside.set()
        thread.join()
        assert during > 1000, during
        print("done")
    """
    run_script(tmp_path, body)


def test_interrupt_takes_effect_between_kernels(tmp_path):
    script = tmp_path / "script.py"
    body = """
        work()
        try:
            print("ready", flush=True)
            while True:
                work()
        except KeyboardInterrupt:
            work()
            print("interrupted", flush=True)
    """
    script.write_text(WORK + textwrap.dedent(body))
    process = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        printed, _ = process.communicate(timeout=30)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    assert printed == "interrupted\n"
    assert process.returncode == 0
