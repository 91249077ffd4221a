"""Prepared datasets, read back: from a folder or by their name on the Hub, one feature set or several joined."""

from collections.abc import Sequence
from pathlib import Path

from dataset_scripts.hub import resolve_folder
from dataset_scripts.publish import parquet_files, read_features, refuse_half_labelled
from dataset_scripts.schema import FEATURE_COLUMNS, MODALITIES, SPLITS


def load_prepared(source: Path | str, sets: Sequence[str] | None = None):
    """A prepared dataset as a `datasets.DatasetDict`. Read its feature cells with `schema.feature_or_none`.

    The files are named one by one, which makes their paths and times part of the key of the `datasets` cache. By the
    folder's name alone, as `load_dataset(folder)` has it, the cache cannot tell two folders of one name apart.

    Args:
        source: a folder that `prepare_dataset` wrote, or `owner/name` of one on the Hub.
        sets: feature sets to join: each modality comes from the first of them that has it; `None` = the main one.

    Raises:
        FileNotFoundError: no prepared dataset there.
        ValueError: no such feature set (names those there are); labelling was cut short; a file that is damaged.
    """
    folder = resolve_folder(source)
    refuse_half_labelled(folder)
    origin = choose_sets(folder, sets)
    tables = {name: _load_set(folder, name) for name in dict.fromkeys(origin.values())}
    main = next(iter(tables.values()))
    for modality, column in zip(MODALITIES, FEATURE_COLUMNS, strict=True):
        if tables[origin[modality]] is not main:
            main = _with_column(main, tables[origin[modality]], column)
    return main


def choose_sets(folder: Path, sets: Sequence[str] | None = None) -> dict[str, str]:
    """Modality -> the feature set it is read from; arguments and errors as `load_prepared`."""
    there = read_features(folder)
    sets = list(there)[:1] if not sets else list(sets)
    for name in sets:
        if name not in there:
            raise ValueError(f"{folder}: expected feature sets of {', '.join(there)}, got {name!r}")
    return {
        modality: next((name for name in sets if there[name][modality] is not None), sets[0]) for modality in MODALITIES
    }


def feature_specs_of(source: Path | str, sets: Sequence[str] | None = None) -> dict[str, dict | None]:
    """Modality -> spec of what made its features, `None` where there are none; arguments as `load_prepared`."""
    folder = resolve_folder(source)
    there = read_features(folder)
    return {modality: there[name][modality] for modality, name in choose_sets(folder, sets).items()}


def _load_set(folder: Path, name: str):
    from datasets import load_dataset

    files: dict[str, list[str]] = {}
    for path in parquet_files(folder)[name]:
        files.setdefault(path.name.partition("-")[0], []).append(str(path))
    return load_dataset("parquet", data_files={split: files[split] for split in SPLITS if split in files})


def _with_column(tables, others, column: str):
    """`tables` with one column of other tables that have the same rows."""
    from datasets import DatasetDict, concatenate_datasets

    order = next(iter(tables.values())).column_names
    return DatasetDict(
        {
            split: concatenate_datasets(
                [table.remove_columns(column), others[split].select_columns([column])], axis=1
            ).select_columns(order)
            for split, table in tables.items()
        }
    )
