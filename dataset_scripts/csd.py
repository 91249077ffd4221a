"""Computational sequences of the CMU Multimodal SDK: `.csd` files (HDF5).

    /<root>/data/<key>/features     (n, d) numbers, or (n, 1) byte strings for words
    /<root>/data/<key>/intervals    (n, 2) seconds
    /<root>/metadata/<name>         not read

A key is a video id, or `<video id>[<segment>]` in files that were aligned to the labels. Whatever h5py raises on a
broken file becomes one line that names the file and the key.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

# What h5py raises on files of the wrong kind, cut off, or with damaged structures.
_H5PY_ERRORS = (
    *(OSError, RuntimeError, LookupError, TypeError, ValueError, AttributeError, MemoryError, OverflowError),
    NotImplementedError,
)
_PER_STORED_BYTE = 1100  # deflate makes at most 1032 of one; more is a claim
_ALWAYS_FINE = 1 << 20  # bytes


class CsdError(ValueError):
    """A csd file that cannot be read; names file and key."""


class CsdFile:
    """An open csd file; entries are read when asked for.

    Args:
        path: the file.
        root: name of its top group; `None` = whichever single one it has.

    Raises:
        CsdError: (also a `ValueError`) not HDF5, or another root.
        ImportError: h5py is not installed.
    """

    def __init__(self, path: Path, root: str | None = None):
        self.path = path
        with _named(path):
            self._file = _h5py(path).File(path, "r")
        with _named(path):
            roots = list(self._file)
            self.root = roots[0] if root is None and len(roots) == 1 else root
            group = self._member(self._file, self.root) if self.root in roots else None
            data = self._member(group, "data") if isinstance(group, Mapping) and "data" in group else None
            if not isinstance(data, Mapping):
                expected = f"/{self.root or '<root>'}/data"
                raise CsdError(f"{path}: expected the group '{expected}', found the groups {roots[:8]}")
            self._data = data
            self._keys = dict.fromkeys(self._data)
            self._last_key: str | None = None
            self._last: dict[str, Any] = {}

    def keys(self) -> list[str]:
        """The keys in the file's order."""
        return list(self._keys)

    def __contains__(self, key: str) -> bool:
        return key in self._keys

    def intervals(self, key: str) -> np.ndarray:
        """`(n, 2)` float64, seconds."""
        with _named(self.path, key):
            dataset = self._dataset(key, "intervals", "biuf")
            if dataset.ndim != 2 or dataset.shape[1] != 2:
                raise CsdError(f"{self.path}, {key}: expected intervals (n, 2), got {dataset.shape}")
            return np.asarray(dataset[()], dtype=np.float64)

    def shape(self, key: str) -> tuple[int, int]:
        """Rows and columns of the features."""
        return self._features(key).shape

    def is_text(self, key: str) -> bool:
        """Whether the features are strings, such as words, and not numbers."""
        return self._features(key).dtype.kind in "SO"

    def features(self, key: str, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Rows `start` to `stop` of the features, `(n, d)`: numbers, or bytes."""
        dataset = self._features(key)
        with _named(self.path, key):
            return dataset[start:stop]

    def entry(self, key: str) -> tuple[np.ndarray, np.ndarray]:
        """Features `(n, d)` and intervals `(n, 2)`, which must fit."""
        intervals, shape = self.intervals(key), self.shape(key)
        if intervals.shape != (shape[0], 2):
            raise CsdError(
                f"{self.path}, {key}: expected features (n, d) and intervals (n, 2), got {shape} and {intervals.shape}"
            )
        return self.features(key), intervals

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> "CsdFile":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _member(self, group: Any, name: str, key: str | None = None) -> Any:
        """A member that lies in this group; what links name may be any file of the machine, or go round in circles."""
        if not isinstance(group.get(name, getlink=True), _h5py(self.path).HardLink):
            where = self.path if key is None else f"{self.path}, {key}"
            raise CsdError(f"{where}: {name!r} is a link to another place, which is not followed; store the data there")
        return group[name]

    def _features(self, key: str):
        with _named(self.path, key):
            dataset = self._dataset(key, "features", "biufSO")
            if dataset.ndim != 2:
                raise CsdError(f"{self.path}, {key}: expected features (n, d), got {dataset.shape}")
            return dataset

    def _dataset(self, key: str, name: str, kinds: str):
        """A checked part of an entry; those of the last key stay open, as its rows are asked for one after another."""
        if key != self._last_key:
            self._last_key, self._last = key, {}
        if name not in self._last:
            self._last[name] = self._checked_dataset(key, name, kinds)
        return self._last[name]

    def _checked_dataset(self, key: str, name: str, kinds: str):
        group = self._member(self._data, key, key)
        members = set(group) if isinstance(group, Mapping) else set()
        for wanted in ("features", "intervals"):
            if wanted not in members:
                raise CsdError(f"{self.path}, {key}: expected 'features' and 'intervals', but {wanted!r} is missing")
        dataset = self._member(group, name, key)
        h5py = _h5py(self.path)
        text = isinstance(dataset, h5py.Dataset) and h5py.check_string_dtype(dataset.dtype) is not None
        if (
            not isinstance(dataset, h5py.Dataset)
            or dataset.dtype.kind not in kinds
            or (dataset.dtype == object and not text)
        ):
            kind = getattr(dataset, "dtype", type(dataset).__name__)
            raise CsdError(f"{self.path}, {key}: {name}: expected numbers{' or words' * ('S' in kinds)}, got {kind}")
        if dataset.external or dataset.is_virtual:
            raise CsdError(
                f"{self.path}, {key}: {name} lies in other files, which are not read; expected it in this one"
            )
        claimed, stored = dataset.nbytes, dataset.id.get_storage_size()
        if claimed > max(_ALWAYS_FINE, _PER_STORED_BYTE * stored):
            raise CsdError(
                f"{self.path}, {key}: {name} claims {claimed} bytes, the file stores {stored}; download it again"
            )
        return dataset


def read_csd(path: Path, root: str | None = None) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """All of a csd file, for small ones such as labels and words.

    Args:
        path: the file.
        root: name of its top group; `None` = whichever single one it has.

    Returns:
        key -> features `(n, d)` and intervals `(n, 2)` in seconds, float64, in the file's order.

    Raises:
        ValueError: not HDF5, another root, or a key whose parts do not fit; names file and key.
        ImportError: h5py is not installed.
    """
    with CsdFile(path, root) as file:
        return {key: file.entry(key) for key in file.keys()}


def csd_root(path: Path) -> str | None:
    """The name of a csd file's only top group, else `None`; never raises for what the file holds."""
    try:
        with CsdFile(path) as file:
            return file.root
    except (CsdError, OSError):
        return None


def as_word(token: Any) -> str:
    """A token of a words file as text."""
    return token.decode("utf-8", errors="replace") if isinstance(token, bytes) else str(token)


def _h5py(path: Path):
    try:
        import h5py
    except ImportError as error:
        raise ImportError(f"{path.name} is an HDF5 file: pip install h5py") from error
    return h5py


@contextmanager
def _named(path: Path, key: str | None = None) -> Iterator[None]:
    """What h5py raises within, as a `CsdError` that names the file; a missing file stays what it is."""
    try:
        yield
    except (CsdError, ImportError):
        raise
    except _H5PY_ERRORS as error:
        where = path if key is None else f"{path}, {key}"
        if isinstance(error, FileNotFoundError) and not path.exists():
            raise FileNotFoundError(f"{path} not found") from None
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        raise CsdError(f"{where}: cannot be read as a csd (HDF5) file ({reason}); download it again") from None
