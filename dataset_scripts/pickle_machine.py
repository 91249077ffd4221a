"""The stack machine behind `pickles`: it builds data, and refuses what is not data or claims more than the file holds.

It is the standard library's unpickler in Python, less the instructions that data do not need, and with the names that a
pickle may call leading to the functions of `pickle_values`.

References: `pickletools` of the standard library for the instructions, `numpy.ndarray.__reduce__` and
`numpy.dtype.__reduce__` for what numpy writes.
"""

import mmap
import pickle
import struct
from collections import OrderedDict
from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from dataset_scripts.pickle_values import (
    ADMITTED,
    Call,
    Constructors,
    DType,
    Shell,
    UnsafePickleError,
    check_keys,
    checked_shape,
    dtype_of,
    with_state,
)

_VIEW_FROM = 1 << 16  # bytes; shorter arrays are copied, so that not every small one holds on to the map
_NESTED_ARRAYS = 8  # object arrays within object arrays: C code frees them by recursion


def _put_into(container: Any, pending: list) -> None:
    """Members of a container that the pickle was about to add; what is no such container stays as it is."""
    if type(container) is dict:
        container.update(
            (key, value) for key, value in zip(pending[::2], pending[1::2], strict=False) if isinstance(key, str)
        )
    elif type(container) is list:
        container.extend(pending)


class _End(Exception):
    """The pickle's last instruction was reached."""


class PickleMachine(pickle._Unpickler):
    """The standard library's unpickler in Python, less what is not for data, and with checks where it allocates.

    Written over the Python one because the C one allocates what a file claims before it reads, and lets no instruction
    be taken away.
    """

    dispatch = dict(pickle._Unpickler.dispatch)

    def __init__(self, file: mmap.mmap, encoding: str, skim: bool = False):
        super().__init__(file, encoding=encoding)
        self.file, self.view, self.skim = file, memoryview(file), skim  # skim: arrays and long texts are left out
        self.read, self.readline = file.read, file.readline  # both give what is left when asked for more
        self.metastack, self.stack = [], []
        self.append = self.stack.append
        self.budget = 2 * len(file) + 1024  # bytes or elements that may be copied; a plain pickle needs less than one
        self.depths: dict[int, int] = {}
        self.result: Any = None
        self.calls = Constructors(self).table()

    def load(self, steps: int | None = None) -> Any:
        """Run to the end, or for at most `steps` instructions; then the value is `None`."""
        read, dispatch = self.read, self.dispatch
        try:
            while steps is None or steps > 0:
                key = read(1)
                if not key:
                    raise EOFError
                if key[0] not in dispatch:
                    raise ValueError(f"{key!r} is no instruction")
                dispatch[key[0]](self)
                steps = steps and steps - 1
        except _End as end:
            return end.args[0]
        return None

    def strings(self) -> set[str]:
        """Strings of up to 40 letters that were read: remembered ones, and keys of dicts on the stack."""
        found = [*self.memo.values(), *self.stack, *(item for items in self.metastack for item in items)]
        for item in tuple(found):
            if type(item) is dict:
                found += item
        return {item for item in found if type(item) is str and len(item) <= 40}

    def unfinished(self) -> Any:
        """The outermost value with what was read of it, put together from the stack."""
        if self.result is not None:
            return self.result
        levels = [*self.metastack, self.stack]
        while len(levels) > 1:
            pending = levels.pop()
            if levels[-1]:
                _put_into(levels[-1][-1], pending)
            level = levels[-1]
            while len(level) >= 3 and type(level[-3]) is dict and isinstance(level[-2], str):
                _put_into(level[-3], level[-2:])  # a dict of one member is filled without a mark
                del level[-2:]
        return levels[0][0] if levels[0] else None

    def find_class(self, module: str, name: str) -> Any:
        call = self.calls.get((module, name))
        if call is None:
            full = "".join(letter if letter.isprintable() else "?" for letter in f"{module}.{name}")
            raise UnsafePickleError(f"it names {full[:120]}; {ADMITTED}")
        return call

    def spend(self, amount: int) -> None:
        """Account for a copy; the same bytes copied again and again would fill the memory from a small file."""
        self.budget -= amount
        if self.budget < 0:
            raise UnsafePickleError("it copies the same contents again and again, which would fill the memory")

    def take(self, length: int) -> bytes | memoryview:
        """The next bytes of the file: copied if few, else a view."""
        left = len(self.file) - self.file.tell()
        if length > left:
            self.file.seek(0, 2)
            raise EOFError(f"it claims {length} bytes where {left} are left")
        if length < _VIEW_FROM:
            return self.read(length)
        start = self.file.tell()
        self.file.seek(length, 1)
        return self.view[start : start + length]

    def load_stop(self):
        value = self.stack.pop()
        raise _End(value.value if type(value) is Shell else value)

    def load_frame(self):
        self.read(8)  # frames only help those who read in pieces

    def load_put(self):
        index = int(self.readline()[:-1])
        if not 0 <= index < 1 << 32:  # longer ones may all have one hash
            raise ValueError("it remembers a value under an impossible number")
        self.memo[index] = self.stack[-1]

    def load_reduce(self):
        args = self.stack.pop()
        call = self.stack[-1]
        if not isinstance(call, Call) or type(args) is not tuple:
            raise UnsafePickleError(f"it calls a {type(call).__name__}; {ADMITTED}")
        self.stack[-1] = call.function(*args)

    def load_build(self):
        state = self.stack.pop()
        target = self.stack[-1]
        if type(target) is DType:
            target.dtype = with_state(target.dtype, state)
        elif type(target) is Shell and target.value is None:
            if type(state) is not tuple or len(state) != 5:
                raise ValueError("an array has an unknown state")
            _, shape, dtype, fortran, content = state
            self.stack[-1] = target.value = self.array(content, dtype, shape, "F" if fortran is True else "C")
        else:
            raise UnsafePickleError(f"it sets the state of a {type(target).__name__}; {ADMITTED}")

    def array(self, content: Any, dtype: Any, shape: Any, order: str) -> np.ndarray:
        """An array of the file's contents, after the claims have been checked against them."""
        if self.skim:
            return np.empty(0)
        dtype, shape = dtype_of(dtype), checked_shape(shape)
        if dtype.hasobject:
            return self.object_array(content, shape, order)
        raw = self.raw(content)
        if prod(shape) * dtype.itemsize != len(raw):
            raise ValueError(f"an array of shape {shape} and type {dtype} does not fit its {len(raw)} bytes")
        if 0 in shape:
            return np.zeros(shape, dtype)
        if dtype.kind == "U" and np.frombuffer(raw, dtype.str[0] + "u4").max() > 0x10FFFF:
            raise ValueError("an array of text holds what is no text")
        return np.frombuffer(raw, dtype).reshape(shape, order=order)

    def object_array(self, content: Any, shape: tuple[int, ...], order: str) -> np.ndarray:
        if type(content) is not list or len(content) != prod(shape):
            raise ValueError(f"an array of objects of shape {shape} does not fit its contents")
        self.spend(len(content))
        depth = 1 + max((self.depths.get(id(item), 0) for item in content if isinstance(item, np.ndarray)), default=0)
        if depth > _NESTED_ARRAYS:
            raise UnsafePickleError(f"object arrays lie more than {_NESTED_ARRAYS} deep in one another")
        array = np.empty(len(content), object)
        for place, item in enumerate(content):
            array[place] = item
        array = array.reshape(shape, order=order)
        self.depths[id(array)] = depth
        return array

    def raw(self, content: Any) -> bytes | bytearray | memoryview:
        """Bytes as numpy's pickles hold them; Python 2 wrote them as a string."""
        if isinstance(content, str):
            self.spend(len(content))
            return content.encode("latin1")
        if not isinstance(content, (bytes, bytearray, memoryview)):
            raise ValueError(f"an array has a {type(content).__name__} for its bytes")
        return content


def _counted(form: str, decode: Callable[["PickleMachine", Any], Any]) -> Callable[["PickleMachine"], None]:
    """An instruction that is followed by a length, and by as many bytes."""
    size = struct.calcsize(form)

    def load(self: PickleMachine) -> None:
        (length,) = struct.unpack(form, self.read(size))
        if length < 0:
            raise ValueError("a negative length")
        self.append(decode(self, self.take(length)))

    return load


def _resolved(base: Callable[[PickleMachine], None]) -> Callable[[PickleMachine], None]:
    """An instruction that recalls a value: an array that has been filled meanwhile, not its shell."""

    def load(self: PickleMachine) -> None:
        base(self)
        if type(self.stack[-1]) is Shell:
            if self.stack[-1].value is None:
                raise UnsafePickleError("an array holds itself")
            self.stack[-1] = self.stack[-1].value

    return load


def _on(kinds: tuple[type, ...], depth: int, keys: slice | None, base: Callable) -> Callable[[PickleMachine], None]:
    """An instruction that adds to a container: only to one of `kinds`, and only keys that are safe to hash.

    Args:
        kinds: the containers.
        depth: values on the stack above the container; 0 = all since the last mark.
        keys: which of those values are keys; `None` = none.
        base: what does it.
    """

    def load(self: PickleMachine) -> None:
        container = self.stack[-1 - depth] if depth else self.metastack[-1][-1]
        if type(container) not in kinds:
            raise UnsafePickleError(f"it adds to a {type(container).__name__} as if it were a {kinds[0].__name__}")
        if keys is not None:
            check_keys((self.stack[-depth:] if depth else self.stack)[keys])
        base(self)

    return load


def _hashing(base: Callable[[PickleMachine], None], keys: slice) -> Callable[[PickleMachine], None]:
    """An instruction that makes a dict or frozen set of all since the last mark."""

    def load(self: PickleMachine) -> None:
        check_keys(self.stack[keys])
        base(self)

    return load


def _install() -> None:
    code, table = pickle.__dict__, PickleMachine.dispatch
    refused = ("PERSID", "BINPERSID", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "EXT1", "EXT2", "EXT4")

    def refuse(name: str) -> Callable[[PickleMachine], None]:
        def load(self: PickleMachine) -> None:
            raise UnsafePickleError(f"it uses the instruction {name}, which makes other objects than data; {ADMITTED}")

        return load

    for name in (*refused, "NEXT_BUFFER", "READONLY_BUFFER"):
        table[code[name][0]] = refuse(name)
    for name, method in (
        *(("STOP", PickleMachine.load_stop), ("FRAME", PickleMachine.load_frame)),
        ("PUT", PickleMachine.load_put),
        *(("REDUCE", PickleMachine.load_reduce), ("BUILD", PickleMachine.load_build)),
    ):
        table[code[name][0]] = method

    def text(machine: PickleMachine, raw) -> str:
        return "" if machine.skim and isinstance(raw, memoryview) else str(raw, "utf-8", "surrogatepass")

    def plain(machine: PickleMachine, raw):
        return raw

    def old_text(machine: PickleMachine, raw):
        return raw if isinstance(raw, memoryview) else machine._decode_string(raw)

    table[code["BINUNICODE"][0]] = _counted("<I", text)
    table[code["BINUNICODE8"][0]] = _counted("<Q", text)
    table[code["BINBYTES"][0]] = _counted("<I", plain)
    table[code["BINBYTES8"][0]] = table[code["BYTEARRAY8"][0]] = _counted("<Q", plain)
    table[code["BINSTRING"][0]] = _counted("<i", old_text)
    for name in ("GET", "BINGET", "LONG_BINGET", "DUP"):
        table[code[name][0]] = _resolved(table[code[name][0]])
    dicts, every, second = (dict, OrderedDict), slice(None), slice(None, None, 2)
    for name, arguments in {
        "APPEND": ((list,), 1, None),
        "APPENDS": ((list,), 0, None),
        "SETITEM": (dicts, 2, second),
        "SETITEMS": (dicts, 0, second),
        "ADDITEMS": ((set,), 0, every),
    }.items():
        table[code[name][0]] = _on(*arguments, table[code[name][0]])
    for name, keys in {"DICT": second, "FROZENSET": every}.items():
        table[code[name][0]] = _hashing(table[code[name][0]], keys)


_install()
