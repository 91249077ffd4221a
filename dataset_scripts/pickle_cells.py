"""Values of pickles that nobody vouches for: shown in a message, and turned from nested lists into arrays.

A pickle may hold one list many times over: sixty lists of two, each in the next, are 300 bytes and 2**60 members. So
nothing here goes deeper into lists than a caller expects, and what comes out of them is counted.
"""

from dataclasses import dataclass
from itertools import chain
from math import prod
from typing import Any

import numpy as np

_LIST_CELLS = 1 << 24  # numbers; 128 MiB
_LONGEST = 60  # letters


def shown(value: Any) -> str:
    """A value for a message, in one line of at most 60 letters; a container by its type, a shape by its numbers."""
    if isinstance(value, np.ndarray):
        return f"{value.dtype} of shape {value.shape}"
    if type(value) is tuple and 0 < len(value) <= 4 and all(type(part) is int for part in value):
        text = ", ".join(map(_plain, value))
        text = f"({text}{',' * (len(value) == 1)})"
    else:
        text = _plain(value)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."


def _plain(value: Any) -> str:
    value = value.item() if isinstance(value, np.generic) else value
    if isinstance(value, int) and value.bit_length() > 64:  # Python refuses to write very long ones
        return f"an integer of {value.bit_length()} bits"
    if isinstance(value, (str, bytes)):
        value = value[:200]
    if value is None or isinstance(value, (str, bytes, int, float, complex)):
        return "".join(letter if letter.isprintable() else "?" for letter in repr(value)[:200])
    return type(value).__name__


@dataclass
class ListBudget:
    """How many numbers may still be taken out of lists; arrays that the file itself holds do not count."""

    left: int = _LIST_CELLS

    def spend(self, cells: int) -> None:
        """Account for numbers.

        Raises:
            ValueError: too many.
        """
        self.left -= cells
        if self.left < 0:
            raise ValueError(f"more than {_LIST_CELLS} numbers in lists; store them as numpy arrays")


def as_numbers(value: Any, max_ndim: int, budget: ListBudget | None = None, text: bool = False) -> np.ndarray | None:
    """Numbers as an array: an array as it is, numbers, or lists of equal lengths of numbers or of arrays.

    Args:
        value: as a pickle has it.
        max_ndim: the deepest nesting that is looked into.
        budget: for all that is taken out of lists; `None` = one of its own.
        text: whether numbers may be written as text; they become float64.

    Returns:
        An array of at most `max_ndim` axes and of booleans, integers or floats; `None` for anything else.

    Raises:
        ValueError: more numbers than the budget has.
    """
    budget = budget or ListBudget()
    if isinstance(value, np.ndarray):
        if value.dtype.kind in "biuf":
            return value if value.ndim <= max_ndim else None
        if value.ndim > max_ndim or not text or value.dtype.kind not in "USO":
            return None
        return _leaves(value.reshape(-1).tolist(), value.shape, text)
    level, shape = [value], ()
    while level and all(type(part) in (list, tuple) for part in level):
        lengths = {len(part) for part in level}
        if len(lengths) > 1 or len(shape) == max_ndim:
            return None
        shape += (lengths.pop(),)
        budget.spend(prod(shape))
        level = list(chain.from_iterable(level))
    if level and all(isinstance(part, np.ndarray) for part in level):
        return _stacked(level, shape, max_ndim, budget)
    return _leaves(level, shape, text)


def _stacked(arrays: list[np.ndarray], shape: tuple[int, ...], max_ndim: int, budget: ListBudget) -> np.ndarray | None:
    first = arrays[0].shape
    alike = all(array.shape == first and array.dtype.kind in "biuf" for array in arrays)
    if not alike or len(shape) + len(first) > max_ndim:
        return None
    budget.spend(prod(shape + first))
    return np.stack(arrays).reshape(shape + first)


def _leaves(level: list[Any], shape: tuple[int, ...], text: bool) -> np.ndarray | None:
    """Plain numbers, and where `text` is set written ones too, as an array; `None` for what else is among them."""
    if not level:
        return np.zeros(shape)
    kinds = set(map(type, level))
    if all(issubclass(kind, (bool, int, float, np.bool_, np.integer, np.floating)) for kind in kinds):
        found = np.array(level)
        return found.reshape(shape) if found.dtype.kind in "biuf" else None
    if not text or not all(issubclass(kind, (str, bytes, int, float, np.number)) for kind in kinds):
        return None
    try:
        return np.array([float(one) for one in level]).reshape(shape)
    except (ValueError, TypeError, OverflowError):
        return None
