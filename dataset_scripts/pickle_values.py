"""What a pickle may call, and what it gets: data of checked sizes in place of numpy's and Python's constructors."""

import re
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any

import numpy as np

from dataset_scripts.pickle_cells import shown

_DTYPE = re.compile(r"([<>|=]?)([biufc]\d{1,2}|[SU]\d{1,9}|O[48]?|[?bBhHiIlLqQefdgFDG])")
ADMITTED = "only numpy arrays, scalars and builtin containers are read from a pickle, as anything else may run code"


class UnsafePickleError(ValueError):
    """The pickle wants something that is not data; says what."""


class Shell:
    """An array between its creation and the instruction that fills it."""

    value: np.ndarray | None = None


class DType:
    """A dtype between its creation and the instruction that sets its byte order; never handed to numpy as it comes."""

    def __init__(self, dtype: np.dtype):
        self.dtype = dtype


class Call:
    """A function that the pickle may call, or a name that it may mention."""

    def __init__(self, function: Callable):
        self.function = function


_ATOMS = (str, bytes, int, float, bool, type(None), np.generic)


def check_keys(keys: list[Hashable]) -> None:
    """Refuse keys that take long to hash or to tell apart.

    C code hashes tuples by recursion: tuples in tuples without end would end the process. Any number of long integers
    (the multiples of 2**61 - 1), and of complex numbers, have one hash: a dict of them takes quadratic time.
    """
    for key in keys:
        parts = key if type(key) in (tuple, frozenset) else (key,)
        if not all(isinstance(part, _ATOMS) and not isinstance(part, np.complexfloating) for part in parts):
            raise UnsafePickleError(f"a key or member is a {type(key).__name__} that holds more than plain values")
        if any(isinstance(part, int) and part.bit_length() > 64 for part in parts):
            raise UnsafePickleError("a key or member is an integer of more than 64 bits")


class Constructors:
    """The functions that stand for the names a pickle may call.

    Args:
        machine: the `PickleMachine`; it makes the arrays, and accounts for every copy.
    """

    def __init__(self, machine: Any):
        self._machine = machine

    def table(self) -> dict[tuple[str, str], Call]:
        """(module, name) -> what it stands for, under the names of Python 2 and 3 and of numpy 1 and 2."""
        functions: dict[str, Callable] = {
            "_codecs.encode": self.encode,
            "numpy.ndarray": array_type,
            "numpy.dtype": new_type,
            "collections.OrderedDict": self.ordered,
            "collections.defaultdict": lambda factory=None: {},
        }
        for package in ("numpy.core", "numpy._core"):
            functions |= {
                f"{package}.multiarray._reconstruct": reconstruct,
                f"{package}.multiarray.scalar": self.scalar,
                f"{package}.numeric._frombuffer": self.from_buffer,
            }
        for package in ("builtins", "__builtin__"):
            functions |= {
                f"{package}.set": lambda content=(): set(self.members(content)),
                f"{package}.frozenset": lambda content=(): frozenset(self.members(content)),
                f"{package}.bytes": self.raw_bytes,
                f"{package}.bytearray": self.raw_bytes,
                f"{package}.complex": number,
                **{f"{package}.{kind.__name__}": _empty(kind) for kind in (list, dict, tuple, int, float, str, bool)},
            }
        return {tuple(name.rsplit(".", 1)): Call(function) for name, function in functions.items()}

    def members(self, content: Any) -> Any:
        """What a set is made of."""
        if not isinstance(content, (list, tuple, set, frozenset)):
            raise ValueError(f"a set is made of a {type(content).__name__}")
        self._machine.spend(len(content))
        check_keys(list(content))
        return content

    def ordered(self, pairs: Any = ()) -> OrderedDict:
        """An `OrderedDict`, empty or of pairs as Python 2 writes it."""
        self._machine.spend(len(pairs))
        check_keys([key for key, _ in pairs])
        return OrderedDict(pairs)

    def encode(self, text: Any, encoding: Any = "utf-8") -> bytes:
        """Bytes as protocols 0 to 2 hold them: a text and its encoding."""
        if not isinstance(text, str) or encoding not in ("latin1", "latin-1", "utf-8", "ascii"):
            raise UnsafePickleError(f"it calls _codecs.encode with {type(text).__name__} and {shown(encoding)}")
        self._machine.spend(len(text))
        return text.encode(encoding)

    def raw_bytes(self, content: Any = b"", encoding: Any = "latin1") -> bytes:
        """`bytes` and `bytearray` of bytes, of nothing, or of a text; never of a length."""
        if isinstance(content, str):
            return self.encode(content, encoding)
        if not isinstance(content, (bytes, bytearray, memoryview)):
            raise UnsafePickleError(f"it makes bytes of a {type(content).__name__}")
        self._machine.spend(len(content))
        return bytes(content)

    def from_buffer(self, content: Any, dtype: Any, shape: Any, order: Any, axes: Any = None) -> np.ndarray:
        """An array as protocol 5 holds it."""
        if order not in ("C", "F", "K") or dtype_of(dtype).hasobject:
            raise ValueError("an array has an unknown order of its values")
        array = self._machine.array(content, dtype, shape, "F" if order == "F" else "C")
        return array if axes is None or self._machine.skim else array.transpose(checked_shape(axes))

    def scalar(self, dtype: Any, content: Any = b"") -> Any:
        """A numpy scalar; empty text has no bytes."""
        kind = dtype_of(dtype)
        if kind.itemsize == 0 or self._machine.skim:
            return kind.type()
        return self._machine.array(content, dtype, (1,), "C")[0]


def array_type(*_: Any) -> None:
    """`numpy.ndarray`, which may be mentioned and not called."""
    raise UnsafePickleError(f"it calls numpy.ndarray; {ADMITTED}")


def reconstruct(kind: Any, shape: Any, _code: Any) -> Shell:
    """An array that the next instructions fill; numpy would allocate `shape` here."""
    if not (isinstance(kind, Call) and kind.function is array_type) or shape != (0,):
        raise UnsafePickleError(f"it makes an array of another kind, or of the shape {shown(shape)} at once")
    return Shell()


def number(*parts: Any) -> complex:
    """A complex number."""
    if not all(isinstance(part, (int, float)) for part in parts):
        raise ValueError("a complex number is made of other things than numbers")
    return complex(*parts)


def _empty(kind: type) -> Callable[[], Any]:
    """`list()` and the like, as a `defaultdict` mentions them; with arguments they are not needed for data."""

    def make() -> Any:
        return kind()

    return make


def new_type(code: Any, _align: Any = False, _copy: Any = False) -> DType:
    code = code.decode("latin1") if isinstance(code, bytes) else code
    found = _DTYPE.fullmatch(code) if isinstance(code, str) else None
    if found is None:
        raise UnsafePickleError(f"it holds an array of the type {shown(code)}; {ADMITTED}")
    return DType(np.dtype("O" if found[2].startswith("O") else code))


def with_state(dtype: np.dtype, state: Any) -> np.dtype:
    """The dtype in the byte order of its state `(version, order, subtype, names, fields, width, alignment, flags)`."""
    if type(state) is not tuple or len(state) < 7 or any(part is not None for part in state[2:5]):
        raise UnsafePickleError(f"it holds a structured array; {ADMITTED}")
    order = state[1].decode("latin1") if isinstance(state[1], bytes) else state[1]
    if order not in ("<", ">", "|", "=") or state[5] not in (-1, dtype.itemsize):
        raise ValueError(f"the type {dtype} has a byte order or width that does not fit")
    return dtype.newbyteorder(order)


def dtype_of(value: Any) -> np.dtype:
    if type(value) is not DType:
        raise ValueError(f"an array has a {type(value).__name__} for its type")
    return value.dtype


def checked_shape(shape: Any) -> tuple[int, ...]:
    if isinstance(shape, int):
        shape = (shape,)
    if type(shape) is not tuple or len(shape) > 32 or not all(_is_size(size) for size in shape):
        raise ValueError(f"{shown(shape)} is no shape of an array")
    return shape


def _is_size(size: Any) -> bool:
    return type(size) is int and size >= 0 and size.bit_length() <= 63
