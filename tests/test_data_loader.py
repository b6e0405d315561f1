"""Batches: which items, in which order, from which thread, and how a loop is left."""

import gc
import os
import pickle
import threading

import numpy as np
import pytest

from convkit import _random
from convkit.data import DataLoader, RandomSampler, TensorDataset, WeightedRandomSampler


def numbers(n):
    return TensorDataset(np.arange(n, dtype=np.float32).reshape(n, 1, 1, 1), np.arange(n))


def labels(loader):
    return [batch[1].tolist() for batch in loader]


class Items:
    """A data set that can only give one item after the other, and counts them."""

    def __init__(self, n, fails_at=None):
        self.n = n
        self.fails_at = fails_at
        self.seen = 0

    def __len__(self):
        return self.n

    def __getitem__(self, index):
        if index == self.fails_at:
            raise KeyError("a bad item")
        self.seen += 1
        return np.full((1, 2, 2), index, np.float32), index


def prefetch_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("convkit-prefetch")]


@pytest.fixture(autouse=True)
def no_thread_is_left():
    yield
    gc.collect()
    assert not prefetch_threads()


@pytest.mark.parametrize("prefetch", [0, 1, 2, 100])
@pytest.mark.parametrize(
    ("n", "size", "drop_last", "expected"),
    [
        (6, 2, False, [[0, 1], [2, 3], [4, 5]]),
        (5, 2, False, [[0, 1], [2, 3], [4]]),
        (5, 2, True, [[0, 1], [2, 3]]),
        (1, 2, False, [[0]]),
        (1, 2, True, []),
        (0, 2, False, []),
    ],
)
def test_batches_in_order(n, size, drop_last, expected, prefetch):
    loader = DataLoader(numbers(n), size, drop_last=drop_last, prefetch=prefetch)
    assert labels(loader) == expected
    assert len(loader) == len(expected)


def test_items_collected_one_by_one_equal_items_gathered_at_once():
    for gathered, collected in zip(DataLoader(numbers(5), 2), DataLoader(list(numbers(5)), 2), strict=True):
        for a, b in zip(gathered, collected, strict=True):
            assert a.dtype == b.dtype
            np.testing.assert_array_equal(a, b)


def test_batches_have_the_promised_types():
    images, targets = next(iter(DataLoader(Items(3), 3)))
    assert (images.dtype, images.shape) == (np.float32, (3, 1, 2, 2))
    assert (targets.dtype, targets.shape) == (np.int64, (3,))


def test_shuffling_keeps_every_item_and_changes_every_epoch():
    loader = DataLoader(numbers(100), 100, shuffle=True, seed=1)
    first, second = labels(loader)[0], labels(loader)[0]
    assert sorted(first) == sorted(second) == list(range(100))
    assert first != second
    assert first != list(range(100))


def test_the_seed_decides_the_order():
    orders = [labels(DataLoader(numbers(50), 10, shuffle=True, seed=seed)) for seed in (1, 1, 2)]
    assert orders[0] == orders[1] != orders[2]


def test_without_a_seed_manual_seed_decides():
    orders = []
    for seed in (5, 5, 6):
        _random.manual_seed(seed)
        orders.append(labels(DataLoader(numbers(50), 10, shuffle=True)))
    assert orders[0] == orders[1] != orders[2]


def test_a_restored_loader_goes_on_where_the_other_would():
    loader = DataLoader(numbers(20), 5, shuffle=True, seed=3)
    labels(loader)
    state = loader.state_dict()
    expected = labels(loader)
    other = DataLoader(numbers(20), 5, shuffle=True, seed=4)
    other.load_state_dict(state)
    assert labels(other) == expected


def test_an_epoch_that_was_left_early_counts():
    loader = DataLoader(numbers(20), 5, shuffle=True, seed=3)
    next(iter(loader))
    after = labels(loader)
    fresh = DataLoader(numbers(20), 5, shuffle=True, seed=3)
    labels(fresh)
    assert labels(fresh) == after


@pytest.mark.parametrize("prefetch", [0, 1, 3])
def test_an_error_in_the_data_set_arrives_in_its_turn(prefetch):
    batches = iter(DataLoader(Items(10, fails_at=5), 2, prefetch=prefetch))
    assert next(batches)[1].tolist() == [0, 1]
    assert next(batches)[1].tolist() == [2, 3]
    with pytest.raises(KeyError, match="a bad item"):
        next(batches)
    assert list(batches) == []


def test_leaving_the_loop_stops_the_thread():
    for _ in DataLoader(numbers(1000)):
        assert prefetch_threads()
        break
    gc.collect()
    assert not prefetch_threads()


def test_ctrl_c_in_the_loop_stops_the_thread():
    def loop():
        for _ in DataLoader(numbers(1000)):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        loop()
    assert not prefetch_threads()


def test_no_more_is_prepared_than_was_asked_for():
    items = Items(1000)
    batches = iter(DataLoader(items, 10, prefetch=3))
    for _ in range(5):
        next(batches)
    batches.close()
    # The five that were taken, and at most three ahead of them.
    assert items.seen <= (5 + 3) * 10


def in_child(work):
    """Run `work` in a forked child and return the byte it makes."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writing, work())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as file:
        answer = file.read()
    os.waitpid(child, 0)
    return answer


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_can_iterate_but_not_go_on_with_its_parents_iteration():
    loader = DataLoader(numbers(10), 2)
    begun = iter(loader)
    next(begun)

    def work():
        whole = b"all" if len(list(loader)) == 5 else b"not all"
        try:
            next(begun)
        except RuntimeError as error:
            return whole + str(error).encode()
        return b"went on"

    assert in_child(work).startswith(b"allthis iteration was begun before os.fork()")
    assert len(list(begun)) == 4


def test_a_loader_can_be_pickled():
    loader = pickle.loads(pickle.dumps(DataLoader(numbers(10), 5, shuffle=True, seed=1)))
    assert labels(loader) == labels(DataLoader(numbers(10), 5, shuffle=True, seed=1))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"batch_size": 0}, ValueError, "batch_size must be at least 1, got 0"),
        ({"batch_size": 2.5}, TypeError, "batch_size must be an integer, got 2.5"),
        ({"seed": -1}, ValueError, "seed must be at least 0, got -1"),
        ({"prefetch": -1}, ValueError, "prefetch must be at least 0, got -1"),
    ],
)
def test_bad_arguments(options, error, message):
    with pytest.raises(error, match=message):
        DataLoader(numbers(3), **options)


def test_items_of_different_shapes():
    items = [(np.zeros((1, 2, 2), np.float32), 0), (np.zeros((1, 2, 3), np.float32), 1)]
    with pytest.raises(ValueError, match=r"item 0 has \[\(1, 2, 2\), \(\)\] and item 1 has \[\(1, 2, 3\), \(\)\]"):
        list(DataLoader(items, 2))


@pytest.mark.parametrize("arrays", [(), (np.zeros(3), np.zeros(4)), (np.zeros(3), np.zeros(()))])
def test_arrays_that_do_not_go_together(arrays):
    with pytest.raises(ValueError, match="TensorDataset"):
        TensorDataset(*arrays)


class TestSamplers:
    def test_decides_the_order(self):
        class Backwards:
            def __len__(self):
                return 5

            def order(self, generator):
                return np.arange(5)[::-1]

        assert labels(DataLoader(numbers(10), 2, sampler=Backwards())) == [[4, 3], [2, 1], [0]]
        assert len(DataLoader(numbers(10), 2, sampler=Backwards(), drop_last=True)) == 2

    def test_seed_and_epoch_decide_what_is_drawn(self):
        def loader(seed=0):
            return DataLoader(numbers(10), 4, seed=seed, sampler=WeightedRandomSampler(np.ones(10), 100))

        first, second = labels(batches := loader()), labels(batches)
        assert first != second
        resumed = loader(seed=1)
        resumed.load_state_dict({"seed": 0, "epoch": 1})
        assert labels(resumed) == second

    def test_shuffling_is_a_random_sampler(self):
        shuffled, sampled = (
            DataLoader(numbers(10), 10, seed=0, **options)
            for options in ({"shuffle": True}, {"sampler": RandomSampler(range(10))})
        )
        assert labels(shuffled) == labels(sampled)

    def test_what_does_not_go(self):
        with pytest.raises(ValueError, match="sampler decides the order, so shuffle must be False"):
            DataLoader(numbers(10), shuffle=True, sampler=RandomSampler(range(10)))
        with pytest.raises(TypeError, match=r"sampler must have a method order\(generator\), got list"):
            DataLoader(numbers(10), sampler=[1, 2])
        with pytest.raises(ValueError, match="num_workers must be at least 0"):
            DataLoader(numbers(10), num_workers=-1)


@pytest.mark.parametrize("option", ["prefetch", "num_workers"])
def test_no_thread_where_none_is_wanted(option):
    here = threading.get_ident()

    class Seen(Items):
        def __getitem__(self, index):
            assert threading.get_ident() == here
            return super().__getitem__(index)

    assert labels(DataLoader(Seen(4), 2, **{option: 0})) == [[0, 1], [2, 3]]


def test_several_threads_load_at_once():
    class Slow(Items):
        meeting = threading.Barrier(3, timeout=30)

        def __getitem__(self, index):
            self.meeting.wait()  # goes on when three threads are here
            return (index,)

    assert [batch.tolist() for (batch,) in DataLoader(Slow(6), 1, prefetch=3, num_workers=3)] == [[i] for i in range(6)]
