"""Batches follow from seed and epoch alone: mixing, lengths, processes, going on in the middle."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.batching import EpochBatches, Mixing

SIZES = {"mosi": 10, "mosei": 30, "meld": 60}


def indices(batches: EpochBatches, epoch: int = 1, start: int = 0) -> list[list[int]]:
    batches.set_epoch(epoch, start)
    return [[draw.index for draw in batch] for batch in batches]


def test_every_sample_once_an_epoch_in_another_order_each():
    batches = EpochBatches(SIZES, None, 8, seed=1)
    first, second = indices(batches, 1), indices(batches, 2)
    assert len(first) == len(batches) == 13 and {len(batch) for batch in first[:-1]} == {8}
    assert sorted(sum(first, [])) == sorted(sum(second, [])) == list(range(100))
    assert first != second and first == indices(EpochBatches(SIZES, None, 8, seed=1), 1)
    assert first != indices(EpochBatches(SIZES, None, 8, seed=2), 1)


@pytest.mark.parametrize("lengths", [None, [index * 7 % 13 for index in range(100)]])
def test_two_processes_share_the_batches_of_one(lengths):
    one = indices(EpochBatches(SIZES, lengths, 8, seed=1))
    left, right = (indices(EpochBatches(SIZES, lengths, 4, 1, processes=2, rank=rank)) for rank in (0, 1))
    assert [a + b for a, b in zip(left, right, strict=True)] == one


def test_the_seeds_of_samples_do_not_depend_on_the_processes():
    one = [draw for batch in EpochBatches(SIZES, None, 8, seed=1) for draw in batch]
    two = [list(EpochBatches(SIZES, None, 4, 1, processes=2, rank=rank)) for rank in (0, 1)]
    assert one == [draw for pair in zip(*two, strict=True) for batch in pair for draw in batch]
    assert len({draw.seed for draw in one}) == 100


def test_an_epoch_goes_on_at_any_batch():
    batches = EpochBatches(SIZES, list(range(100)), 8, seed=1)
    whole = indices(batches)
    for start in (0, 1, 12, 13):
        assert indices(batches, 1, start) == whole[start:]


def test_batches_hold_samples_of_similar_length():
    lengths = [index * 37 % 101 for index in range(1000)]

    def spread(batches):
        return sum(max(lengths[i] for i in batch) - min(lengths[i] for i in batch) for batch in batches)

    mixed, bucketed = (indices(EpochBatches({"a": 1000}, given, 8, seed=1)) for given in (None, lengths))
    assert sorted(sum(bucketed, [])) == list(range(1000))
    assert spread(bucketed) < spread(mixed) / 10
    means = [sum(lengths[i] for i in batch) for batch in bucketed]
    assert means != sorted(means)  # the batches themselves come in random order


@pytest.mark.parametrize(
    ("mixing", "expected"),
    [
        ({}, SIZES),
        ({"by": "temperature", "temperature": 1}, SIZES),
        ({"by": "temperature", "temperature": 1e9}, {"mosi": 33, "mosei": 33, "meld": 34}),
        ({"by": "weights", "weights": {"mosi": 2, "mosei": 1, "meld": 1}}, {"mosi": 50, "mosei": 25, "meld": 25}),
    ],
)
def test_datasets_are_mixed_as_asked(mixing, expected):
    batches = EpochBatches(SIZES, None, 8, 1, Mixing.from_settings(mixing))
    assert batches.counts == expected
    drawn = sum(indices(batches), [])
    starts = {"mosi": (0, 10), "mosei": (10, 40), "meld": (40, 100)}
    assert {name: sum(low <= i < high for i in drawn) for name, (low, high) in starts.items()} == expected
    times = [drawn.count(index) for index in range(10)]
    assert max(times) - min(times) <= 1  # whole passes before anything comes once more


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.integers(1, 40), min_size=1, max_size=4),
    st.integers(1, 9),
    st.integers(1, 3),
    st.floats(1, 9),
    st.booleans(),
)
def test_any_data_give_full_and_equal_shares(sizes, batch_size, processes, temperature, bucketed):
    named = {f"d{place}": size for place, size in enumerate(sizes)}
    lengths = list(range(sum(sizes))) if bucketed else None
    mixing = Mixing("temperature", temperature)
    shares = [
        indices(EpochBatches(named, lengths, batch_size, 0, mixing, processes, rank)) for rank in range(processes)
    ]
    assert len({tuple(map(len, share)) for share in shares}) == 1
    drawn = sum(map(len, (batch for share in shares for batch in share)))
    assert 0 <= drawn - sum(sizes) < processes
    assert all(0 <= index < sum(sizes) for share in shares for batch in share for index in batch)


@pytest.mark.parametrize(
    ("mixing", "message"),
    [
        ({"by": "luck"}, "mixing.by: expected one of size, temperature, weights, got 'luck'"),
        ({"bi": "size"}, "unknown field 'mixing.bi'; known are by, temperature, weights"),
        ({"by": "temperature", "temperature": 0.5}, "mixing.temperature: expected a number >= 1, got 0.5"),
        ({"by": "weights"}, "mixing.weights: expected a number > 0 for each dataset, got None"),
        ({"by": "weights", "weights": {"mosi": 0}}, "mixing.weights: expected a number > 0"),
    ],
)
def test_wrong_mixings_are_named(mixing, message):
    with pytest.raises(ValueError, match=message):
        Mixing.from_settings(mixing)


def test_weights_are_for_the_datasets_of_the_run():
    mixing = Mixing.from_settings({"by": "weights", "weights": {"mosi": 1}})
    with pytest.raises(ValueError, match="mixing.weights: expected the datasets mosi, mosei, meld, got mosi"):
        EpochBatches(SIZES, None, 8, 1, mixing)
