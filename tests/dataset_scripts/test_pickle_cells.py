"""Values of pickles: shown without being walked through, and turned into arrays within bounds."""

import numpy as np
import pytest

from dataset_scripts.pickle_cells import ListBudget, as_numbers, shown


def nested(kind, levels=60):
    value = kind()
    for _ in range(levels):
        value = kind([value, value])
    return value


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "None"),
        ("a\nb", "'a\\nb'"),
        ("x" * 100, "'" + "x" * 56 + "..."),
        (np.float32(0.5), "0.5"),
        (np.uint64(2**64 - 1), "18446744073709551615"),
        (np.zeros((2, 3)), "float64 of shape (2, 3)"),
        ((2, 3), "(2, 3)"),
        ((2,), "(2,)"),
        ((-1, 2, 3), "(-1, 2, 3)"),
        ((2, (3,)), "tuple"),
        ([1], "list"),
        ({"a": 1}, "dict"),
        (nested(tuple), "tuple"),
        (nested(list), "list"),
    ],
)
def test_shown(value, text):
    assert shown(value) == text


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (3, np.array(3)),
        ([1, 2.5, True], np.array([1, 2.5, 1])),
        ([[1, 2], (3, 4)], np.array([[1, 2], [3, 4]])),
        ([np.ones((1, 1)), np.zeros((1, 1))], np.array([[[1.0]], [[0.0]]])),
        ([], np.zeros(0)),
        (np.ones((2, 2), np.int16), np.ones((2, 2), np.int16)),
        ([np.float32(1), 2], np.array([1.0, 2.0])),
    ],
)
def test_numbers(value, expected):
    found = as_numbers(value, 3)
    np.testing.assert_array_equal(found, expected)
    assert found.shape == expected.shape


@pytest.mark.parametrize(
    "value",
    [
        None, "1", ["1"], [1j], [2**70], [[1], [1, 2]], [[1], 2], [np.ones(2), np.ones(3)], [np.ones(2), 1],
        np.ones((1, 1, 1, 1)), [[[[1]]]], np.array([1], object), nested(list), nested(tuple), {1: 2},
    ],
)  # fmt: skip
def test_no_numbers(value):
    assert as_numbers(value, 3) is None


def test_numbers_as_text():
    assert as_numbers(["1.5", b"2", 3], 2, text=True).tolist() == [1.5, 2.0, 3.0]
    assert as_numbers(np.array(["1", "2"]), 2, text=True).tolist() == [1.0, 2.0]
    objects = np.empty(2, object)
    objects[0] = nested(list)
    assert as_numbers(["one"], 2, text=True) is as_numbers(objects, 2, text=True) is None


def test_a_budget_holds_for_all_that_is_charged_to_it():
    budget = ListBudget(10)
    as_numbers([1] * 6, 1, budget)
    assert as_numbers(np.ones((100, 100)), 2, budget) is not None
    for value in ([1] * 6, [np.ones(100)] * 2):
        with pytest.raises(ValueError, match="more than .* numbers in lists; store them as numpy arrays"):
            as_numbers(value, 2, ListBudget(5))
    with pytest.raises(ValueError, match="numbers in lists"):
        as_numbers([1] * 6, 1, budget)


def test_long_integers_are_shown_by_their_size():
    assert shown(10**5000) == "an integer of 16610 bits" and shown((10**5000,)) == "(an integer of 16610 bits,)"
