"""The files of a prepared dataset, in the Hub's layout: Parquet by feature set and split.

    FOLDER/README.md                                          the card (`dataset_card`), stamped with its content
    FOLDER/data/<feature set>/<split>-00000-of-00001.parquet
    FOLDER/features.json                                      feature sets and what made them

`datasets.load_dataset` reads the folder as it is, locally or once uploaded; a feature set is a config.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from dataset_scripts.schema import SPLITS
from dataset_scripts.utils.files import content_digest, write_text
from dataset_scripts.utils.outputs import FolderKind

ROWS_A_GROUP = 256  # about 15 MB of features: what a reader must hold to give one row
BYTES_A_FILE = 500_000_000  # about: larger splits become several files, which several readers can share
LABEL_REPORT = ("labels.png", "label-pairs.md", "labels.json")  # labels.json last: it says that labels are finished
LABELS_ASIDE = ".labels.partial"  # of earlier versions, which wrote labels in place
DEFAULT = "default"  # the feature set that is extracted from media
PREPARED = FolderKind(
    "prepared dataset",
    signs=("features.json", "prepare-report.json"),
    files=(
        *("README.md", "features.json", "prepare-report.json", *LABEL_REPORT),
        *(f"data/*{split}-?????-of-?????.parquet" for split in SPLITS),
        f"{LABELS_ASIDE}/*",
    ),
)

_STAMP = re.compile(r"(?<=^  description: content )[0-9a-f]{12}$", re.MULTILINE)
_CONFIG = re.compile(r'^- config_name: "?(.+?)"?$', re.MULTILINE)


def parquet_path(folder: Path, split: str, config: str = DEFAULT, number: int = 0, count: int = 1) -> Path:
    """`folder/data/<config>/train-00000-of-00001.parquet`."""
    return Path(folder) / "data" / config / f"{split}-{number:05d}-of-{count:05d}.parquet"


def parquet_files(folder: Path) -> dict[str, list[Path]]:
    """Config -> its Parquet files by split and number. Every config has the same rows in the same order.

    Raises:
        FileNotFoundError: `folder` is not a prepared dataset.
    """
    files = {config: sorted((Path(folder) / "data" / config).glob("*.parquet")) for config in read_features(folder)}
    for config, paths in files.items():
        if not paths:
            raise FileNotFoundError(f"{folder}: the files of its feature set {config!r} are missing; prepare it again")
        paths.sort(key=lambda path: (SPLITS.index(path.name.partition("-")[0]), path.name))
    return files


def read_features(folder: Path) -> dict[str, dict[str, Any]]:
    """The feature sets of a prepared folder, its main one first.

    Returns:
        `{set: {"text": spec or None, "audio": ..., "visual": ...}}`. A spec has name, size, fingerprint and settings of
        what made the features.

    Raises:
        FileNotFoundError: `folder` is not a prepared dataset.
    """
    path = Path(folder) / "features.json"
    if not path.is_file():
        raise FileNotFoundError(f"{path} not found: {folder} is not a prepared dataset; make it with `unimse prepare`")
    try:
        sets = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: not valid JSON ({error}); prepare the dataset again") from error
    if not isinstance(sets, dict) or not sets or not all(isinstance(specs, dict) for specs in sets.values()):
        raise ValueError(f"{path}: expected feature sets with what made them; prepare the dataset again")
    return sets


def refuse_half_labelled(folder: Path) -> None:
    """Raise a `ValueError` where `unimse label` of an earlier version was cut short: labels may be new and old ones."""
    if (Path(folder) / LABELS_ASIDE).exists() and not (Path(folder) / LABEL_REPORT[-1]).is_file():
        raise ValueError(f"{folder}: labelling was cut short, its labels may be mixed; run `unimse label` again")


def write_split(
    folder: Path, split: str, examples: Iterable[Mapping[str, Any]], features, config: str = DEFAULT
) -> int:
    """Write rows to Parquet, a few hundred at a time, so that the features need not all fit in memory.

    Args:
        folder: of the dataset.
        split, config: they name the files; beyond about 500 MB another file is begun.
        examples: rows of the schema.
        features: `schema.features(...)`; stored in the files, so that `datasets` reads the arrays back as arrays.

    Returns:
        The number of rows written.
    """
    from datasets import Dataset

    rows, files = 0, _RollingFiles(Path(folder) / "data" / config, split, features.arrow_schema)
    with files:
        for batch in _batches(examples, ROWS_A_GROUP):
            files.write(Dataset.from_list(batch, features=features).data.table)
            rows += len(batch)
    for number, path in enumerate(files.paths):
        path.rename(parquet_path(folder, split, config, number, len(files.paths)))
    return rows


class _RollingFiles:
    """Parquet files under passing names; how many there are, and so what they are called, is known at the end."""

    def __init__(self, folder: Path, split: str, schema):
        self.folder, self.split, self.schema = folder, split, schema
        self.paths: list[Path] = []
        self._writer = None

    def __enter__(self) -> "_RollingFiles":
        self.folder.mkdir(parents=True, exist_ok=True)
        self._open()
        return self

    def __exit__(self, *exception) -> None:
        self._writer.close()

    def write(self, table) -> None:
        if self.paths[-1].stat().st_size > BYTES_A_FILE:
            self._writer.close()
            self._open()
        self._writer.write_table(table)

    def _open(self) -> None:
        import pyarrow.parquet

        self.paths.append(self.folder / f"{self.split}.part-{len(self.paths):05d}")
        self._writer = pyarrow.parquet.ParquetWriter(self.paths[-1], self.schema)


def content_stamps(card: str) -> dict[str, str]:
    """Config -> the digest of its content, from the text of a card."""
    return dict(zip(_CONFIG.findall(card), _STAMP.findall(card), strict=False))


def stamp_card(folder: Path) -> None:
    """Write a digest of each config's Parquet files into the card; to be called whenever they were changed.

    `datasets` (5.2) finds a local folder in its cache by the folder's name and the card's configs, not by path, time or
    content: without the stamp, two folders of one name, or one before and after labelling, give the same rows.
    """
    card = Path(folder) / "README.md"
    text = card.read_text(encoding="utf-8")
    digests = {config: content_digest(paths) for config, paths in parquet_files(folder).items()}
    configs = _CONFIG.findall(text)
    if len(_STAMP.findall(text)) != len(configs) or sorted(configs) != sorted(digests):
        expected = ", ".join(digests)
        raise ValueError(f"{card}: expected a '  description: content <12 hex digits>' for each of {expected}")
    stamps = iter([digests[config] for config in configs])
    write_text(card, _STAMP.sub(lambda match: next(stamps), text))


def _batches(examples: Iterable[Mapping[str, Any]], size: int) -> Iterator[list[dict[str, Any]]]:
    batch: list[dict[str, Any]] = []
    for example in examples:
        batch.append(dict(example))
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
