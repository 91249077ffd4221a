"""Pickles without trust: numpy arrays, scalars and builtin containers are read, anything else is refused by its name.

A pickle is a program for a small stack machine. Here the machine has only the instructions that build data, and the
names it may call lead to functions of this file that check their arguments; no numpy or builtin constructor is called
with sizes that the file merely claims. Memory therefore stays within a small multiple of the file's size.

The file is mapped, and arrays of 64 KiB and more are read-only views of the map: a pickle of 10 GB opens in the time of
its instructions, and only those arrays are read from disk that are used. This holds for protocols 3 to 5; protocol 2
and lower written by Python 3 hold arrays as text, which must be decoded as a whole.

References: `pickletools` of the standard library for the instructions, `numpy.ndarray.__reduce__` and
`numpy.dtype.__reduce__` for what numpy writes.
"""

import mmap
import pickle
import re
import struct
from collections import OrderedDict
from collections.abc import Callable, Hashable
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

ENCODINGS = ("ASCII", "latin1", "bytes")
_VIEW_FROM = 1 << 16  # bytes; shorter arrays are copied, so that not every small one holds on to the map
_NESTED_ARRAYS = 8  # object arrays within object arrays: C code frees them by recursion
_DTYPE = re.compile(r"([<>|=]?)([biufc]\d{1,2}|[SU]\d{1,9}|O[48]?|[?bBhHiIlLqQefdgFDG])")
_ADMITTED = "only numpy arrays, scalars and builtin containers are read from a pickle, as anything else may run code"
_NOT_PICKLES = (
    (b"version https://git-lfs", "a Git LFS pointer, fetch the file itself with `git lfs pull`"),
    (b"<", "a web page, download the file itself"),
    (b"\x1f\x8b", "gzip, unpack it first"),
    (b"PK\x03\x04", "a zip archive, unpack it first"),
    (b"BZh", "bzip2, unpack it first"),
    (b"\xfd7zXZ", "xz, unpack it first"),
    (b"\x89HDF", "HDF5"),
)
_BROKEN = (
    *(pickle.UnpicklingError, EOFError, struct.error, LookupError, ValueError, TypeError, AttributeError),
    *(OverflowError, MemoryError, RecursionError, AssertionError, BufferError),
)


class UnsafePickleError(ValueError):
    """The pickle wants something that is not data; says what."""


def load_pickle(path: Path | str, encoding: str = "ASCII") -> Any:
    """What a pickle holds. Arrays may be read-only.

    Args:
        path: the file, unpacked.
        encoding: how 8-bit strings of Python 2 become text: `ASCII`, `latin1`, or `bytes` to keep them as they are.

    Returns:
        Dicts, lists, tuples, sets, strings, numbers, bytes and numpy arrays (plain or object). A `defaultdict` comes
        back as a `dict`, a `bytearray` as bytes; bytes of 64 KiB or more in no array as a read-only `memoryview`.

    Raises:
        UnsafePickleError: it names a class or function that is not data (the message gives the full name), or uses an
            instruction that data do not need.
        ValueError: not a pickle, cut off, or sizes that disagree; an unknown `encoding`.
        OSError: the file cannot be opened.
    """
    if encoding not in ENCODINGS:
        raise ValueError(f"encoding: expected one of {', '.join(ENCODINGS)}, got {encoding!r}")
    machine = _Machine(_map(Path(path)), encoding)
    try:
        return machine.load()
    except UnsafePickleError as error:
        raise UnsafePickleError(f"{path}: refused, {error}") from None
    except _BROKEN as error:
        raise ValueError(f"{path}: {_what_is_wrong(error, machine)}") from None


def peek_pickle(path: Path | str, steps: int = 200_000) -> set[str]:
    """Short strings near the beginning of a pickle, such as the keys of its dicts; to tell what it holds.

    Args:
        path: any file.
        steps: instructions to follow; arrays are skipped, so this bounds the time (about 0.15 s).

    Returns:
        The strings; what is no pickle, or is broken or refused, has those before that place, often none.
    """
    machine = _skimmed(path, steps)
    return set() if machine is None else machine.strings()


def peek_root(path: Path | str, steps: int = 200_000) -> Any:
    """What a pickle holds, as far as its beginning tells: containers are there with their first members.

    Args:
        path: any file.
        steps: as in `peek_pickle`. Arrays come as empty ones, long texts as empty text.

    Returns:
        The outermost value, unfinished; `None` for what is no pickle or has none within `steps`.
    """
    machine = _skimmed(path, steps)
    return None if machine is None else machine.unfinished()


def _skimmed(path: Path | str, steps: int) -> "_Machine | None":
    try:
        machine = _Machine(_map(Path(path)), "latin1", skim=True)
    except (OSError, ValueError):
        return None
    try:
        machine.result = machine.load(steps)
    except _BROKEN:  # what was read before it still tells what the file is meant to be
        pass
    return machine


def _map(path: Path) -> mmap.mmap:
    with path.open("rb") as file:
        head = file.read(32)
        if not head:
            raise ValueError(f"{path}: the file is empty; download it again")
        for start, what in _NOT_PICKLES:
            if head.startswith(start):
                raise ValueError(f"{path}: expected a pickle, but this is {what}")
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def _what_is_wrong(error: Exception, machine: "_Machine") -> str:
    size = len(machine.file)
    if isinstance(error, UnicodeDecodeError) and error.encoding == "ascii":
        return "holds 8-bit strings of Python 2; read it with encoding='latin1'"
    cut = (EOFError, struct.error, IndexError, UnicodeDecodeError)
    if machine.file.tell() >= size and isinstance(error, cut):
        claim = f" ({error})" if isinstance(error, EOFError) and error.args else ""
        return f"ends after {size} bytes in the middle of the pickle{claim}: it is cut off, download it again"
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    return f"not a readable pickle (at byte {machine.file.tell()} of {size}: {reason}); download it again"


def _put_into(container: Any, pending: list) -> None:
    """Members of a container that the pickle was about to add; what is no such container stays as it is."""
    if type(container) is dict:
        container.update(
            (key, value) for key, value in zip(pending[::2], pending[1::2], strict=False) if isinstance(key, str)
        )
    elif type(container) is list:
        container.extend(pending)


class _Shell:
    """An array between its creation and the instruction that fills it."""

    value: np.ndarray | None = None


class _Type:
    """A dtype between its creation and the instruction that sets its byte order; never handed to numpy as it comes."""

    def __init__(self, dtype: np.dtype):
        self.dtype = dtype


class _End(Exception):
    """The pickle's last instruction was reached."""


class _Machine(pickle._Unpickler):
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
        self.calls = _calls(self)

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
            raise UnsafePickleError(f"it names {full[:120]}; {_ADMITTED}")
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
        raise _End(value.value if type(value) is _Shell else value)

    def load_frame(self):
        self.read(8)  # frames only help those who read in pieces

    def load_reduce(self):
        args = self.stack.pop()
        call = self.stack[-1]
        if not isinstance(call, _Call) or type(args) is not tuple:
            raise UnsafePickleError(f"it calls a {type(call).__name__}; {_ADMITTED}")
        self.stack[-1] = call.function(*args)

    def load_build(self):
        state = self.stack.pop()
        target = self.stack[-1]
        if type(target) is _Type:
            target.dtype = _with_state(target.dtype, state)
        elif type(target) is _Shell and target.value is None:
            if type(state) is not tuple or len(state) != 5:
                raise ValueError("an array has an unknown state")
            _, shape, dtype, fortran, content = state
            self.stack[-1] = target.value = self.array(content, dtype, shape, "F" if fortran is True else "C")
        else:
            raise UnsafePickleError(f"it sets the state of a {type(target).__name__}; {_ADMITTED}")

    def array(self, content: Any, dtype: Any, shape: Any, order: str) -> np.ndarray:
        """An array of the file's contents, after the claims have been checked against them."""
        if self.skim:
            return np.empty(0)
        dtype, shape = _dtype_of(dtype), _checked_shape(shape)
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


def _counted(form: str, decode: Callable[["_Machine", Any], Any]) -> Callable[["_Machine"], None]:
    """An instruction that is followed by a length, and by as many bytes."""
    size = struct.calcsize(form)

    def load(self: _Machine) -> None:
        (length,) = struct.unpack(form, self.read(size))
        if length < 0:
            raise ValueError("a negative length")
        self.append(decode(self, self.take(length)))

    return load


def _resolved(base: Callable[[_Machine], None]) -> Callable[[_Machine], None]:
    """An instruction that recalls a value: an array that has been filled meanwhile, not its shell."""

    def load(self: _Machine) -> None:
        base(self)
        if type(self.stack[-1]) is _Shell:
            if self.stack[-1].value is None:
                raise UnsafePickleError("an array holds itself")
            self.stack[-1] = self.stack[-1].value

    return load


def _on(kinds: tuple[type, ...], depth: int, keys: slice | None, base: Callable) -> Callable[[_Machine], None]:
    """An instruction that adds to a container: only to one of `kinds`, and only keys that are safe to hash.

    Args:
        kinds: the containers.
        depth: values on the stack above the container; 0 = all since the last mark.
        keys: which of those values are keys; `None` = none.
        base: what does it.
    """

    def load(self: _Machine) -> None:
        container = self.stack[-1 - depth] if depth else self.metastack[-1][-1]
        if type(container) not in kinds:
            raise UnsafePickleError(f"it adds to a {type(container).__name__} as if it were a {kinds[0].__name__}")
        if keys is not None:
            _check_keys((self.stack[-depth:] if depth else self.stack)[keys])
        base(self)

    return load


def _hashing(base: Callable[[_Machine], None], keys: slice) -> Callable[[_Machine], None]:
    """An instruction that makes a dict or frozen set of all since the last mark."""

    def load(self: _Machine) -> None:
        _check_keys(self.stack[keys])
        base(self)

    return load


_ATOMS = (str, bytes, int, float, complex, bool, type(None), np.generic)


def _check_keys(keys: list[Hashable]) -> None:
    """C code hashes tuples by recursion: tuples in tuples without end would end the process."""
    for key in keys:
        parts = key if type(key) in (tuple, frozenset) else (key,)
        if not all(isinstance(part, _ATOMS) for part in parts):
            raise UnsafePickleError(f"a key or member is a {type(key).__name__} that holds more than plain values")


def _install() -> None:
    code, table = pickle.__dict__, _Machine.dispatch
    refused = ("PERSID", "BINPERSID", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "EXT1", "EXT2", "EXT4")

    def refuse(name: str) -> Callable[[_Machine], None]:
        def load(self: _Machine) -> None:
            raise UnsafePickleError(f"it uses the instruction {name}, which makes other objects than data; {_ADMITTED}")

        return load

    for name in (*refused, "NEXT_BUFFER", "READONLY_BUFFER"):
        table[code[name][0]] = refuse(name)
    for name, method in (
        *(("STOP", _Machine.load_stop), ("FRAME", _Machine.load_frame)),
        *(("REDUCE", _Machine.load_reduce), ("BUILD", _Machine.load_build)),
    ):
        table[code[name][0]] = method

    def text(machine: _Machine, raw) -> str:
        return "" if machine.skim and isinstance(raw, memoryview) else str(raw, "utf-8", "surrogatepass")

    def plain(machine: _Machine, raw):
        return raw

    def old_text(machine: _Machine, raw):
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


class _Call:
    """A function that the pickle may call, or a name that it may mention."""

    def __init__(self, function: Callable):
        self.function = function


def _calls(machine: _Machine) -> dict[tuple[str, str], _Call]:
    """What each admitted name stands for, under the names of Python 2 and 3 and of numpy 1 and 2."""

    def members(content: Any) -> Any:
        if not isinstance(content, (list, tuple, set, frozenset)):
            raise ValueError(f"a set is made of a {type(content).__name__}")
        machine.spend(len(content))
        _check_keys(list(content))
        return content

    def ordered(pairs: Any = ()) -> OrderedDict:
        machine.spend(len(pairs))
        _check_keys([key for key, _ in pairs])
        return OrderedDict(pairs)

    def encode(text: Any, encoding: Any = "utf-8") -> bytes:
        if not isinstance(text, str) or encoding not in ("latin1", "latin-1", "utf-8", "ascii"):
            raise UnsafePickleError(f"it calls _codecs.encode with {type(text).__name__} and {str(encoding)[:20]!r}")
        machine.spend(len(text))
        return text.encode(encoding)

    def raw_bytes(content: Any = b"", encoding: Any = "latin1") -> bytes:
        if isinstance(content, str):
            return encode(content, encoding)
        if not isinstance(content, (bytes, bytearray, memoryview)):
            raise UnsafePickleError(f"it makes bytes of a {type(content).__name__}")
        machine.spend(len(content))
        return bytes(content)

    def number(*parts: Any) -> complex:
        if not all(isinstance(part, (int, float)) for part in parts):
            raise ValueError("a complex number is made of other things than numbers")
        return complex(*parts)

    def reconstruct(kind: Any, shape: Any, _code: Any) -> _Shell:
        if not (isinstance(kind, _Call) and kind.function is array_type) or shape != (0,):
            raise UnsafePickleError(f"it makes an array of another kind, or of the shape {str(shape)[:40]} at once")
        return _Shell()

    def from_buffer(content: Any, dtype: Any, shape: Any, order: Any, axes: Any = None) -> np.ndarray:
        if order not in ("C", "F", "K") or _dtype_of(dtype).hasobject:
            raise ValueError("an array has an unknown order of its values")
        array = machine.array(content, dtype, shape, "F" if order == "F" else "C")
        return array if axes is None or machine.skim else array.transpose(_checked_shape(axes))

    def scalar(dtype: Any, content: Any = b"") -> Any:
        kind = _dtype_of(dtype)
        return kind.type() if kind.itemsize == 0 or machine.skim else machine.array(content, dtype, (1,), "C")[0]

    def array_type(*_: Any) -> None:
        raise UnsafePickleError(f"it calls numpy.ndarray; {_ADMITTED}")

    functions = {"_codecs.encode": encode, "numpy.ndarray": array_type, "numpy.dtype": _new_type}
    for package in ("numpy.core", "numpy._core"):
        functions |= {
            f"{package}.multiarray._reconstruct": reconstruct,
            f"{package}.multiarray.scalar": scalar,
            f"{package}.numeric._frombuffer": from_buffer,
        }
    for package in ("builtins", "__builtin__"):
        functions |= {
            f"{package}.set": lambda content=(): set(members(content)),
            f"{package}.frozenset": lambda content=(): frozenset(members(content)),
            f"{package}.bytes": raw_bytes,
            f"{package}.bytearray": raw_bytes,
            f"{package}.complex": number,
            **{f"{package}.{kind.__name__}": _empty(kind) for kind in (list, dict, tuple, int, float, str, bool)},
        }
    functions["collections.OrderedDict"] = ordered
    functions["collections.defaultdict"] = lambda factory=None: {}
    return {tuple(name.rsplit(".", 1)): _Call(function) for name, function in functions.items()}


def _empty(kind: type) -> Callable[[], Any]:
    """`list()` and the like, as a `defaultdict` mentions them; with arguments they are not needed for data."""

    def make() -> Any:
        return kind()

    return make


def _new_type(code: Any, _align: Any = False, _copy: Any = False) -> _Type:
    code = code.decode("latin1") if isinstance(code, bytes) else code
    found = _DTYPE.fullmatch(code) if isinstance(code, str) else None
    if found is None:
        raise UnsafePickleError(f"it holds an array of the type {str(code)[:40]!r}; {_ADMITTED}")
    return _Type(np.dtype("O" if found[2].startswith("O") else code))


def _with_state(dtype: np.dtype, state: Any) -> np.dtype:
    """The dtype in the byte order of its state `(version, order, subtype, names, fields, width, alignment, flags)`."""
    if type(state) is not tuple or len(state) < 7 or any(part is not None for part in state[2:5]):
        raise UnsafePickleError(f"it holds a structured array; {_ADMITTED}")
    order = state[1].decode("latin1") if isinstance(state[1], bytes) else state[1]
    if order not in ("<", ">", "|", "=") or state[5] not in (-1, dtype.itemsize):
        raise ValueError(f"the type {dtype} has a byte order or width that does not fit")
    return dtype.newbyteorder(order)


def _dtype_of(value: Any) -> np.dtype:
    if type(value) is not _Type:
        raise ValueError(f"an array has a {type(value).__name__} for its type")
    return value.dtype


def _checked_shape(shape: Any) -> tuple[int, ...]:
    if isinstance(shape, int):
        shape = (shape,)
    if type(shape) is not tuple or len(shape) > 32 or not all(type(size) is int and size >= 0 for size in shape):
        raise ValueError(f"{str(shape)[:60]} is no shape of an array")
    return shape


_install()
