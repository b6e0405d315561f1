"""Parts of data sets, samplers, and weights of classes."""

import numpy as np
import pytest

import convkit as ck
from convkit.data import (
    DataLoader,
    Digits,
    RandomSampler,
    SequentialSampler,
    Subset,
    TensorDataset,
    WeightedRandomSampler,
    class_weights,
    random_split,
    stratified_split,
)
from convkit.data.labels import labels_of


class Pairs:
    """A data set without ``targets`` or ``batch``."""

    def __init__(self, labels):
        self.labels = labels

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        return np.float32(index), self.labels[index]


class TestSubset:
    def test_items_and_batches(self):
        digits = Digits()
        subset = Subset(digits, [5, 3, -1])
        assert len(subset) == 3
        np.testing.assert_array_equal(subset[1][0], digits[3][0])
        ((images, labels),) = DataLoader(subset, 3)
        np.testing.assert_array_equal(images, digits.batch(np.array([5, 3, 1441]))[0])
        np.testing.assert_array_equal(labels, digits.targets[[5, 3, 1441]])
        np.testing.assert_array_equal(labels, subset.targets)

    def test_of_what_has_no_batch(self):
        subset = Subset(Pairs([7, 8, 9]), [2, 0])
        ((values, labels),) = DataLoader(subset, 2)
        assert (values.tolist(), labels.tolist()) == ([2, 0], [9, 7])

    def test_of_a_subset(self):
        subset = Subset(Subset(Pairs([7, 8, 9]), [2, 0]), [0, 0])
        assert subset.targets.tolist() == [9, 9]
        assert subset[1] == (2, 9)

    def test_of_nothing(self):
        assert len(Subset(Digits(), [])) == 0

    @pytest.mark.parametrize("index", [3, -4])
    def test_no_such_item(self, index):
        with pytest.raises(IndexError, match=f"there is no item {index} in a data set of 3"):
            Subset(Pairs([7, 8, 9]), [0, index])

    @pytest.mark.parametrize("indices", [[0.5], [[0]], 1, [True]])
    def test_no_indices(self, indices):
        with pytest.raises(ValueError, match="indices must be whole numbers in one row"):
            Subset(Pairs([7, 8, 9]), indices)


@pytest.mark.parametrize("split", [random_split, stratified_split])
class TestSplits:
    def parts(self, split, *args):
        return [part.indices.tolist() for part in split(*args)]

    def test_every_item_is_in_one_part(self, split):
        dataset = Pairs(np.arange(100) % 3)
        parts = self.parts(split, dataset, [50, 0, 20, 30], 0)
        assert [len(part) for part in parts] == [50, 0, 20, 30]
        assert sorted(np.concatenate(parts).astype(int)) == list(range(100))

    def test_the_seed_decides(self, split):
        dataset = Pairs(np.arange(100) % 3)
        assert self.parts(split, dataset, [0.5, 0.5], 1) == self.parts(split, dataset, [0.5, 0.5], 1)
        assert self.parts(split, dataset, [0.5, 0.5], 1) != self.parts(split, dataset, [0.5, 0.5], 2)
        generator = np.random.default_rng(1)
        assert self.parts(split, dataset, [0.5, 0.5], generator) == self.parts(split, dataset, [0.5, 0.5], 1)
        assert self.parts(split, dataset, [0.5, 0.5], generator) != self.parts(split, dataset, [0.5, 0.5], 1)
        ck.manual_seed(0)
        drawn = self.parts(split, dataset, [0.5, 0.5])
        assert self.parts(split, dataset, [0.5, 0.5]) != drawn
        ck.manual_seed(0)
        assert self.parts(split, dataset, [0.5, 0.5]) == drawn

    @pytest.mark.parametrize(
        ("lengths", "sizes"), [([0.25, 0.75], [3, 7]), ([1 / 3] * 3, [4, 3, 3]), ([0.1] * 10, [1] * 10), ([1.0], [10])]
    )
    def test_shares_are_rounded_as_pytorch_does(self, split, lengths, sizes):
        assert [len(part) for part in split(Pairs([0] * 10), lengths, 0)] == sizes

    @pytest.mark.parametrize("lengths", [[5, 6], [0.5, 0.6], [4.5, 5.5], [-1, 11], [-0.5, 1.5], []])
    def test_lengths_that_do_not_add_up(self, split, lengths):
        with pytest.raises(ValueError, match=f"{split.__name__}: lengths must "):
            split(Pairs([0] * 10), lengths)


def test_pytorch_rounds_the_same():
    torch = pytest.importorskip("torch")
    for lengths in ([0.25, 0.75], [1 / 3] * 3, [0.15, 0.35, 0.5], [0.1] * 10):
        for count in (10, 11, 97):
            expected = torch.utils.data.random_split(range(count), lengths)
            found = random_split(range(count), lengths)
            assert [len(part) for part in found] == [len(part) for part in expected]


class TestStratified:
    def test_classes_keep_their_proportions(self):
        labels = np.repeat(np.arange(4), [1000, 100, 37, 3])
        order = np.random.default_rng(0).permutation(len(labels))
        parts = stratified_split(TensorDataset(order, labels[order]), [0.7, 0.2, 0.1], generator=0)
        for part, share in zip(parts, [0.7, 0.2, 0.1], strict=True):
            counts = np.bincount(part.targets, minlength=4)
            np.testing.assert_allclose(counts, share * np.array([1000, 100, 37, 3]), atol=1.5)

    def test_classes_of_one_size_stay_so(self):
        parts = stratified_split(Pairs(np.arange(500) % 10), [0.8, 0.2], generator=0)
        assert [np.bincount(part.targets).tolist() for part in parts] == [[40] * 10, [10] * 10]

    def test_members_are_drawn(self):
        first, second = (stratified_split(Pairs([0] * 50 + [1] * 50), [0.5, 0.5], seed)[0].indices for seed in (0, 1))
        assert 5 < len(np.intersect1d(first, second)) < 45

    def test_labels_that_are_none(self):
        with pytest.raises(ValueError, match="3 items need whole numbers"):
            stratified_split(Pairs([0.5, 1.5, 2.5]), [0.5, 0.5])


class TestSamplers:
    def test_one_after_the_other(self):
        assert list(SequentialSampler("abcd")) == [0, 1, 2, 3]
        assert len(SequentialSampler("abcd")) == 4

    def test_without_replacement(self):
        ck.manual_seed(0)
        first, second = (list(RandomSampler(range(50))) for _ in range(2))
        assert sorted(first) == sorted(second) == list(range(50))
        assert first != second
        assert len(set(RandomSampler(range(50), num_samples=20))) == 20

    def test_with_replacement(self):
        drawn = list(RandomSampler(range(5), replacement=True, num_samples=1000))
        assert np.all(np.abs(np.bincount(drawn, minlength=5) - 200) < 70)

    def test_weights_are_likelihoods(self):
        sampler = WeightedRandomSampler([1, 0, 3, 6], 10_000)
        assert len(sampler) == 10_000
        counts = np.bincount(sampler.order(np.random.default_rng(0)), minlength=4)
        np.testing.assert_allclose(counts / 10_000, [0.1, 0, 0.3, 0.6], atol=0.02)
        assert counts[1] == 0

    def test_weights_without_replacement(self):
        drawn = list(WeightedRandomSampler([1, 0, 3, 6], 3, replacement=False))
        assert sorted(drawn) == [0, 2, 3]

    def test_any_sum_of_weights(self):
        generator = np.random.default_rng(0)
        for weights in ([1e308, 1e308], [5e-324, 5e-324]):
            assert set(WeightedRandomSampler(weights, 100).order(generator)) == {0, 1}

    @pytest.mark.parametrize(
        ("weights", "num_samples", "replacement", "message"),
        [
            ([1, -1], 1, True, "finite numbers in one row, none negative"),
            ([1, np.nan], 1, True, "finite numbers in one row"),
            ([[1]], 1, True, "finite numbers in one row"),
            ([0, 0], 1, True, "at least one of weights must be above 0"),
            ([1, 1], 0, True, "num_samples=0 must be at least 1"),
            ([1, 0], 2, False, "num_samples=2 is more than the 1 items there are"),
        ],
    )
    def test_bad_weights(self, weights, num_samples, replacement, message):
        with pytest.raises(ValueError, match=f"WeightedRandomSampler: .*{message}"):
            WeightedRandomSampler(weights, num_samples, replacement)

    def test_more_than_there_are(self):
        with pytest.raises(ValueError, match="RandomSampler: num_samples=6 is more than the 5 items"):
            RandomSampler(range(5), num_samples=6)


class TestClassWeights:
    def test_every_class_weighs_the_same(self):
        labels = np.repeat([0, 1, 3], [70, 20, 10])
        weights = class_weights(labels, 5)
        assert weights.dtype == np.float32
        np.testing.assert_allclose(
            np.bincount(labels, weights[labels], 5), [100 / 3, 100 / 3, 0, 100 / 3, 0], rtol=1e-6
        )
        np.testing.assert_allclose(weights[labels].mean(), 1, rtol=1e-6)

    def test_sampling_by_them_is_even(self):
        labels = np.repeat([0, 1], [900, 100])
        drawn = labels[list(WeightedRandomSampler(class_weights(labels)[labels], 2000))]
        assert 900 < drawn.sum() < 1100

    @pytest.mark.parametrize(
        ("labels", "message"),
        [
            ([], "one or more labels"),
            ([0.5], "one or more labels, got float64"),
            ([0, 3], "labels must be from 0 to 2, found 3 at index 1"),
            ([-1], "labels must be from 0 to 2, found -1 at index 0"),
        ],
    )
    def test_bad_labels(self, labels, message):
        with pytest.raises(ValueError, match=f"class_weights: .*{message}"):
            class_weights(labels, 3)


def test_labels_of_any_data_set():
    assert labels_of(Pairs([3, 1])).tolist() == [3, 1]
    assert labels_of(TensorDataset([0.5, 0.25], np.array([3, 1], np.uint8))).dtype == np.int64
    assert labels_of(Digits(train=False)).tolist() == Digits(train=False).targets.tolist()
