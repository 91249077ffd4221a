"""A raw dataset folder to a prepared one: read, decode, check, write.

    OUT/README.md                                     dataset card
    OUT/data/<split>-00000-of-00001.parquet           rows of `schema`, by dialogue
    OUT/features.json                                 which extractors made the features; null = no row has any
    OUT/prepare-report.json                           what was read, kept, skipped and why

All of it is first written to `OUT.partial-<process>` and moved when whole.
"""

import inspect
import json
import os
import shutil
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dataset_scripts import custom, iemocap, meld, mosei, mosi
from dataset_scripts.extraction import BAD_CLIP, MODALITIES, ClipPool, Extractors
from dataset_scripts.media import MediaError, VisualExtractor
from dataset_scripts.publish import dataset_card, parquet_path, stamp_card, write_split
from dataset_scripts.readers import Item, Reading, Tally
from dataset_scripts.schema import SPLITS, validate_example
from dataset_scripts.schema import features as table_features
from modeling_unimse.feature_extraction_unimse import UniMSEFeatureExtractor

LOADERS = {"mosi": mosi, "mosei": mosei, "meld": meld, "iemocap": iemocap, "custom": custom}


def prepare_dataset(
    benchmark: str,
    source: Path | str,
    out: Path | str,
    *,
    extractor: VisualExtractor | None,
    features: Sequence[str] = MODALITIES,
    overwrite: bool = False,
    on_bad_clip: str = "keep",
    workers: int | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Prepare one dataset.

    Args:
        benchmark: `mosi`, `mosei`, `meld`, `iemocap` or `custom`.
        source: the raw folder (`custom`: or the manifest).
        out: the folder to make.
        extractor: of the visual features; `None` = none are made.
        features: which modalities to extract: any of `audio`, `visual`.
        overwrite: replace an `out` that exists and is not empty.
        on_bad_clip: `keep` the row with that feature `None` and count it, or `raise`.
        workers: processes; by default one a core. The result does not depend on it.
        **options: the loader's own, see its `read`.

    Returns:
        The report, as in `prepare-report.json`, plus `seconds`.

    Raises:
        ValueError: an unknown name or option, bad raw data (names the item), nothing left to write.
        FileNotFoundError: the raw folder lacks what the loader needs.
        FileExistsError: `out` is not empty.
        MediaError: a bad clip, with `on_bad_clip="raise"`.
    """
    began = time.monotonic()
    out = Path(out)
    _check_arguments(benchmark, features, on_bad_clip, options)
    _check_out(out, overwrite)
    reading = LOADERS[benchmark].read(Path(source), **options)
    _check_rows(reading, Path(source))
    extractors = Extractors(
        UniMSEFeatureExtractor() if "audio" in features else None, extractor if "visual" in features else None
    )
    partial = out.with_name(f"{out.name}.partial-{os.getpid()}")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        clips = ClipLog(Path(source), on_bad_clip)
        splits = _write_splits(partial, reading, extractors, clips, workers)
        report = _report(reading, splits, clips, extractors.specs(splits))
        _write_json(partial / "features.json", report["features"])
        _write_json(partial / "prepare-report.json", report)
        (partial / "README.md").write_text(dataset_card(report), encoding="utf-8")
        stamp_card(partial)
        _move(partial, out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return {**report, "seconds": round(time.monotonic() - began, 2)}


def load_prepared(folder: Path | str):
    """A prepared folder as a `datasets.DatasetDict`. Read its feature cells with `schema.feature_or_none`.

    The files are named one by one, which makes their paths and times part of the key of the `datasets` cache. By the
    folder's name alone, as `load_dataset(folder)` has it, the cache cannot tell two folders of one name apart.

    Raises:
        FileNotFoundError: `folder` was not written by `prepare_dataset`.
    """
    from datasets import load_dataset

    read_features_json(folder)
    files = {split: parquet_path(Path(folder), split) for split in SPLITS}
    return load_dataset("parquet", data_files={split: str(path) for split, path in files.items() if path.is_file()})


def read_features_json(folder: Path | str) -> dict[str, Any]:
    """`{"audio": spec or None, "visual": spec or None}` of a prepared folder.

    A spec has name, size, fingerprint and settings of the extractor.

    Raises:
        FileNotFoundError: `folder` was not written by `prepare_dataset`.
    """
    path = Path(folder) / "features.json"
    if not path.is_file():
        raise FileNotFoundError(f"{path} not found: {folder} is not a prepared dataset; make it with `unimse prepare`")
    return json.loads(path.read_text(encoding="utf-8"))


@dataclass
class ClipLog:
    """Counts the clips that gave no features, by modality and reason; or stops at the first bad one."""

    source: Path
    on_bad_clip: str
    tallies: dict[str, Tally] = field(default_factory=lambda: {modality: Tally() for modality in MODALITIES})

    def add(self, example: dict[str, Any], problems: Iterable[tuple[str, str, str]]) -> None:
        for modality, reason, detail in problems:
            detail = detail.replace(f"{self.source}{os.sep}", "")
            if self.on_bad_clip == "raise" and reason in BAD_CLIP:
                name = f"{example['dataset']} {example['id']}"
                raise MediaError(f"{name}: {detail}. Pass on_bad_clip='keep' to go on with {modality}_features=None")
            self.tallies[modality].add(reason, f"{example['id']}: {detail}; kept with {modality}_features=None")


def _check_arguments(benchmark: str, modalities: Sequence[str], on_bad_clip: str, options: dict[str, Any]) -> None:
    if benchmark not in LOADERS:
        raise ValueError(f"benchmark: expected one of {', '.join(LOADERS)}, got {benchmark!r}")
    unknown = [name for name in modalities if name not in MODALITIES]
    if isinstance(modalities, str) or unknown:
        raise ValueError(f"features: expected a list of {', '.join(MODALITIES)}, got {modalities!r}")
    if on_bad_clip not in ("keep", "raise"):
        raise ValueError(f"on_bad_clip: expected 'keep' or 'raise', got {on_bad_clip!r}")
    accepted = list(inspect.signature(LOADERS[benchmark].read).parameters)[1:]
    for name in options:
        if name not in accepted:
            raise ValueError(f"{benchmark}: unknown option {name!r}; its options are: {', '.join(accepted) or 'none'}")


def _check_out(out: Path, overwrite: bool) -> None:
    if out.exists() and not out.is_dir():
        raise FileExistsError(f"{out} is a file; name a folder")
    if out.is_dir() and any(out.iterdir()) and not overwrite:
        raise FileExistsError(f"{out} exists and is not empty; name another folder or pass --overwrite")


def _check_rows(reading: Reading, source: Path) -> None:
    """Everything that can be wrong with a row but for its features, before hours of decoding."""
    if not reading.items:
        reasons = "; ".join(f"{reason}: {entry['count']}" for reason, entry in reading.skipped.as_dict().items())
        raise ValueError(f"{reading.dataset}: no rows left of {reading.rows_read} in {source} ({reasons or 'no rows'})")
    for item in reading.items:
        validate_example(item.example)


def _write_splits(
    folder: Path, reading: Reading, extractors: Extractors, clips: ClipLog, workers: int | None
) -> dict[str, Any]:
    """Write one Parquet file a split. Returns the counts of each split."""
    from tqdm import tqdm

    table = table_features(extractors.visual.size if extractors.visual else None)
    with_clips = sum(item.audio is not None or item.visual is not None for item in reading.items)
    unit = "clip" if with_clips else "row"
    progress = tqdm(total=len(reading.items), desc=reading.dataset, unit=unit, disable=None)
    splits = {}
    with progress, ClipPool(extractors, workers if with_clips else 1, with_clips) as pool:
        for split in SPLITS:
            items = [item for item in reading.items if item.example["split"] == split]
            if items:
                counts = SplitCounts()
                rows = _finished_rows(items, pool, clips, extractors, counts, progress)
                write_split(parquet_path(folder, split), rows, table)
                splits[split] = counts.as_dict()
    return splits


def _finished_rows(items: list[Item], pool, clips: ClipLog, extractors: Extractors, counts, progress) -> Iterator[dict]:
    visual_size = extractors.visual.size if extractors.visual else None
    for item, clip in zip(items, pool.extract(items), strict=True):
        clips.add(item.example, clip.problems)
        example = {**item.example, "audio_features": clip.audio, "visual_features": clip.visual}
        validate_example(example, visual_size)
        counts.add(example)
        progress.update()
        yield example


class SplitCounts:
    """Rows, dialogues, modalities and labels of one split."""

    def __init__(self):
        self._counts, self._polarity, self._emotion = Counter(), Counter(), Counter()
        self._dialogues: set[str] = set()

    def add(self, example: dict[str, Any]) -> None:
        self._counts["rows"] += 1
        self._dialogues.add(example["dialogue_id"])
        for name, column in (("text", "text"), ("audio", "audio_features"), ("visual", "visual_features")):
            self._counts[name] += example[column] is not None
        self._polarity[example["polarity"]] += 1
        self._counts["sentiment"] += example["sentiment"] is not None
        if example["emotion"] is not None:
            self._emotion[example["emotion"]] += 1

    def as_dict(self) -> dict[str, Any]:
        return {
            **{name: self._counts[name] for name in ("rows", "text", "audio", "visual", "sentiment")},
            "dialogues": len(self._dialogues),
            "polarity": dict(sorted(self._polarity.items())),
            "emotion": dict(sorted(self._emotion.items())),
        }


def _report(reading: Reading, splits: dict, clips: ClipLog, specs: dict[str, Any]) -> dict[str, Any]:
    kept = {split: splits.get(split, {"rows": 0})["rows"] for split in SPLITS}
    empty_text = Tally()
    for item in reading.items:
        if item.example["text"] is None:
            empty_text.add("rows without text", item.example["id"])
    return {
        "dataset": reading.dataset,
        "layout": reading.layout,
        "rows_read": reading.rows_read,
        "rows_kept": len(reading.items),
        "splits": splits,
        "skipped": reading.skipped.as_dict(),
        "notes": {**reading.notes.as_dict(), **empty_text.as_dict()},
        "clips": {modality: tally.as_dict() for modality, tally in clips.tallies.items()},
        "expected_rows": reading.expected or None,
        "difference": {split: kept[split] - count for split, count in reading.expected.items()} or None,
        "features": specs,
    }


def _write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _move(partial: Path, out: Path) -> None:
    """Put the finished folder in place; an older one goes only when the new one stands."""
    out.parent.mkdir(parents=True, exist_ok=True)
    if not out.exists():
        partial.rename(out)
        return
    old = out.with_name(f"{out.name}.old-{os.getpid()}")
    out.rename(old)
    partial.rename(out)
    shutil.rmtree(old)
