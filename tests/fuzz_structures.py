"""Mutations that parse the file first: computational sequences (csd, HDF5) and pickles, the hostile ones included."""

import gzip
import os
import pickle
import pickletools
import struct
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from tests.fuzz_mutations import Mutation, replace_node

MARKER = "code-was-run"  # a file that appears when a pickle's code is run

# ---- csd


def _entry(random: Random, file):
    """The group of one key: `/<root>/data/<key>`."""
    root = file[random.choice(list(file))]
    return root["data"][random.choice(list(root["data"]))]


def _edit_entry(random: Random, path: Path, name: str, change) -> None:
    """Replace one dataset of one key by `change(its values)`."""
    import h5py

    with h5py.File(path, "r+") as file:
        entry = _entry(random, file)
        values = entry[name][()]
        del entry[name]
        changed = change(values)
        if changed is not None:
            entry[name] = changed


def change_intervals(random: Random, path: Path) -> None:
    def change(values):
        values, value = np.array(values, np.float64), random.choice((np.nan, np.inf, -np.inf, -5.0, 1e300, 0.0))
        values[tuple(random.randrange(size) for size in values.shape)] = value
        return values

    _edit_entry(random, path, "intervals", change)


def change_intervals_shape(random: Random, path: Path) -> None:
    options = (
        lambda values: values[:, ::-1],
        lambda values: values[:, :1],
        lambda values: values.T,
        lambda values: values[:-1],
        lambda values: values.astype("S8"),
        lambda values: values.astype(np.int8),
        lambda values: values.astype(np.complex64),
        lambda values: np.float64(1),
        lambda values: None,
    )
    _edit_entry(random, path, "intervals", random.choice(options))


def change_features(random: Random, path: Path) -> None:
    import h5py

    text = h5py.string_dtype()
    options = (
        lambda values: values[:, :0],
        lambda values: values[:0],
        lambda values: values[0],
        lambda values: values[None],
        lambda values: np.concatenate([values, values], axis=1),
        lambda values: values.astype("S4"),
        lambda values: np.full(values.shape, "words", dtype=text),
        lambda values: np.full(values.shape, b"\xff\xfe", dtype="S2"),
        lambda values: np.zeros(values.shape, np.complex64),
        lambda values: np.zeros(values.shape, bool),
        lambda values: np.zeros(values.shape, [("a", "f4"), ("b", "S3")]),
        lambda values: np.full(values.shape, np.nan),
        lambda values: np.full(values.shape, np.inf),
        lambda values: np.full(values.shape, 1e300),
        lambda values: np.zeros(values.shape, np.float16),
        lambda values: h5py.Empty("f4"),
        lambda values: np.float32(0),
        lambda values: None,
    )
    _edit_entry(random, path, "features", random.choice(options))


def claim_many_rows(random: Random, path: Path) -> None:
    """A dataset that takes no room in the file and terabytes in memory."""
    import h5py

    with h5py.File(path, "r+") as file:
        entry, name = _entry(random, file), random.choice(("features", "intervals"))
        width = entry[name].shape[-1]
        del entry[name]
        entry.create_dataset(name, shape=(10**12, width), dtype="f8", chunks=(1024, width))


def delete_member(random: Random, path: Path) -> None:
    import h5py

    with h5py.File(path, "r+") as file:
        names: list[str] = []
        file.visit(names.append)
        del file[random.choice(names)]


def exchange_member(random: Random, path: Path) -> None:
    """A group where a dataset was, or the other way; or a link to nowhere, to another file, or to itself."""
    import h5py

    with h5py.File(path, "r+") as file:
        names: list[str] = []
        file.visit(names.append)
        name = random.choice(names)
        was_group = isinstance(file[name], h5py.Group)
        del file[name]
        kind = random.randrange(4)
        if kind == 0:
            file[name] = h5py.SoftLink(f"/{name}")
        elif kind == 1:
            file[name] = h5py.ExternalLink("not-there.csd", "/")
        elif was_group:
            file[name] = np.zeros((2, 2))
        else:
            file.create_group(name)


def rename_member(random: Random, path: Path) -> None:
    import h5py

    with h5py.File(path, "r+") as file:
        names: list[str] = []
        file.visit(names.append)
        name = random.choice(names)
        other = random.choice(("other", "x[0]", "-", "é" * 300, "0", "a b", "x\u2028y"))
        file.move(name, f"{name.rpartition('/')[0]}/{other}")


def add_root(random: Random, path: Path) -> None:
    import h5py

    with h5py.File(path, "r+") as file:
        file.create_group(random.choice(("extra", "All Labels", "data", "metadata")) + "/data")


CSD: tuple[Mutation, ...] = (change_intervals, change_intervals, change_intervals_shape, change_features)
CSD += (change_features, claim_many_rows, delete_member, exchange_member, rename_member, add_root)

# ---- pickles


class _RunsCode:
    """Unpickled carelessly, it creates the marker file."""

    def __init__(self, marker: Path):
        self.marker = marker

    def __reduce__(self):
        return (os.system, (f"touch '{self.marker}'",))


class _Stranger:
    """A class that no reader has a reason to know."""


def _hostile_values() -> tuple:
    zeros = np.zeros((3, 2), np.float32)
    arrays = (np.zeros(0), np.float64(1), zeros, zeros[None, None], np.full((2, 50, 5), np.nan), np.array(None))
    arrays += (np.array(["a", "b"]), np.array([b"\xff"]), np.array([1, "x", None], object), zeros.astype(complex))
    arrays += (zeros.astype("datetime64[s]"), np.zeros(2, [("a", "f4")]), np.zeros((0, 50, 5)), np.arange(3))
    arrays += (np.full((4, 50, 5), -np.inf, np.float32), np.ones((4, 50, 5), np.float32) * 1e38)
    plain = (None, True, 0, -1, 10**30, float("nan"), float("inf"), "", "x", b"", b"\xff", "a\x00b", "\ud800")
    return (*plain, [], {}, (), set(), [None], {"": None}, {1: 2}, [[]], 1j, range(3), _Stranger(), *arrays)


def change_node(random: Random, path: Path) -> None:
    """One value anywhere becomes another type, goes away, comes twice, or loses its key."""
    _dump(random, path, replace_node(random, _load(path), _hostile_values()))


def change_array(random: Random, path: Path) -> None:
    """One array: its type, its shape, its length, a few cells."""
    content = _load(path)
    arrays = _arrays(content)
    if not arrays:
        return change_node(random, path)
    holder, key = random.choice(arrays)
    holder[key] = random.choice(_ARRAY_CHANGES)(random, holder[key])
    _dump(random, path, content)


def _spoil_cells(random: Random, values: np.ndarray) -> np.ndarray:
    changed = values.astype(np.float32 if values.dtype.kind in "iub" else values.dtype)
    for _ in range(3):
        cell = tuple(random.randrange(size) for size in changed.shape)
        if changed.dtype.kind == "f":
            changed[cell] = random.choice((np.nan, np.inf, -np.inf, 1e38, -99, 0))
    return changed


_ARRAY_CHANGES = (
    lambda random, values: _spoil_cells(random, values) if values.size else values,
    lambda random, values: values[:-1],
    lambda random, values: values[:0],
    lambda random, values: values.T,
    lambda random, values: values[..., None],
    lambda random, values: values.reshape(-1),
    lambda random, values: np.concatenate([values, values]) if values.ndim else values,
    lambda random, values: values.astype(object),
    lambda random, values: values.astype(str),
    lambda random, values: np.zeros(values.shape, np.complex64),
    lambda random, values: np.full(values.shape, np.nan),
    lambda random, values: np.zeros(values.shape, np.float16),
    lambda random, values: np.full(values.shape, None),
    lambda random, values: values.tolist(),
    lambda random, values: np.asfortranarray(values),
)


def _arrays(content: Any) -> list[tuple[Any, Any]]:
    """(container, key) of each array in dicts and lists."""
    found, waiting = [], [content]
    while waiting:
        holder = waiting.pop()
        members = holder.items() if isinstance(holder, dict) else enumerate(holder)
        for key, value in members:
            if isinstance(value, np.ndarray) and not isinstance(holder, tuple) and value.ndim:
                found.append((holder, key))
            elif isinstance(value, dict | list | tuple):
                waiting.append(value)
    return found


def run_code(random: Random, path: Path) -> None:
    """A pickle that runs a command, alone or somewhere in otherwise good contents."""
    weapon = _RunsCode(path.parent / MARKER)
    content = weapon if random.random() < 0.3 else replace_node(random, _load(path), (weapon,))
    _dump(random, path, content)


def other_wrapping(random: Random, path: Path) -> None:
    """Compressed, two pickles in a row, text in front, another protocol."""
    data = path.read_bytes()
    kind = random.randrange(5)
    if kind == 0:
        path.write_bytes(gzip.compress(data))
    elif kind == 1:
        path.write_bytes(data + data)
    elif kind == 2:
        path.write_bytes(b"\n" + data)
    elif kind == 3:
        path.write_bytes(pickletools.optimize(data))
    else:
        path.write_bytes(pickle.dumps(_load(path), protocol=random.randrange(6)))


def _raw_pickles() -> tuple[bytes, ...]:
    far = struct.pack("<Q", 2**62)
    reduce_to = b"c%s\n(X\x01\x00\x00\x00xtR."
    twice = b"]" + b"".join(b"q%c(h%ch%ce" % (level, level, level) for level in range(1, 3))
    return (
        b"",
        b".",
        b"\x80\x04.",
        b"\x80\xff.",
        b"\x80\x04\x8e" + far + b"x.",  # bytes of 4 EiB
        b"\x80\x04\x8d" + far + b"x.",  # text of 4 EiB
        b"\x80\x04\x95" + far + b"N.",  # a frame of 4 EiB
        b"\x80\x04Nr\xff\xff\xff\xff.",  # memo entry 2**32 - 1
        b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b".",  # lists in lists
        b"\x80\x02" + b"(" * 100_000 + b"t" * 100_000 + b".",
        b"\x80\x02]q\x00h\x00a.",  # a list that contains itself
        twice + b".",
        b"\x80\x04P1\n.",
        b"\x80\x02U\x03abcQ.",  # persistent id
        b"\x80\x02\x82\x01.",  # extension registry
        reduce_to % b"os\nsystem",
        reduce_to % b"builtins\neval",
        reduce_to % b"__builtin__\nexec",
        reduce_to % b"numpy\nload",
        reduce_to % b"numpy\nfromfile",
        reduce_to % b"numpy.core.multiarray\n_reconstruct",
        reduce_to % b"pandas\nread_pickle",
        reduce_to % b"torch\nload",
        b"cos\nsystem\n.",
        b"\x80\x04\x8c\x02os\x8c\x06system\x93.",
        b"cnumpy\ndtype\n(X\x02\x00\x00\x00|OtR.",
        b"cnumpy\nndarray\n(J\x00\x00\x00\x7f\x85tR.",  # an array of 2**31 numbers, never filled
        b"cnumpy\nndarray\n(I-1\n\x85tR.",
        b"cbuiltins\nbytearray\n(J\xff\xff\xff\x7ftR.",
        b"cbuiltins\nrange\n(K\x00J\xff\xff\xff\x7ftR.",
        b"cbuiltins\nset\n(]]atR.",
        b"}(]K\x01u.",  # an unhashable key
        b"\x80\x02K\x01K\x02R.",
        b"\x80\x02(lp0\n0g9\n.",
        b"I99999999999999999999999\n.",
        b"I" + b"9" * 10_000 + b"\n.",
        b"F1e999\n.",
        b"S'\xff'\n.",
    )


def hand_made_pickle(random: Random, path: Path) -> None:
    """Opcodes that no pickler writes: false lengths, deep nesting, refused names, wrong arguments."""
    path.write_bytes(random.choice(_raw_pickles()))


def change_length(random: Random, path: Path) -> None:
    """One length or number in the stream of opcodes becomes a very large one."""
    data = bytearray(path.read_bytes())
    places = [place for place in range(len(data) - 9) if data[place] in b"BTXJ\x8a\x8d\x8e\x95r"]
    if places:
        start = random.choice(places) + 1
        data[start : start + 4] = random.choice((b"\xff\xff\xff\x7f", b"\xff\xff\xff\xff", b"\0\0\0\0"))
    path.write_bytes(data)


def _load(path: Path) -> Any:
    with path.open("rb") as file:
        return pickle.load(file, encoding="latin1")  # of this process's own making


def _dump(random: Random, path: Path, content: Any) -> None:
    path.write_bytes(pickle.dumps(content, protocol=random.choice((2, 4, 5))))


PICKLE: tuple[Mutation, ...] = (change_node, change_node, change_node, change_array, change_array)
PICKLE += (run_code, other_wrapping, hand_made_pickle, change_length)
