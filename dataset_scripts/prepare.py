"""A raw dataset folder to a prepared one: read, decode, check, write.

    OUT/README.md                       dataset card
    OUT/data/<feature set>/*.parquet    rows of `schema`, by dialogue; the same rows in every set
    OUT/features.json                   feature sets, the main one first, and what made them; null = no row has any
    OUT/prepare-report.json             what was read, kept, skipped and why

It appears when it is whole (`utils.outputs`); OUT.resume keeps finished clips until then (`clip_store`).

A feature set is a group of features by name: `default` is made here from clips, others come with the raw files.
"""

import inspect
import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dataset_scripts import custom, iemocap, meld, mosei, mosi
from dataset_scripts.clip_store import ClipFeatures, ClipStore, resume_folder
from dataset_scripts.dataset_card import dataset_card
from dataset_scripts.extraction import BAD_CLIP, MODALITIES, ClipPool, Extractors, extract_all
from dataset_scripts.hub import resolve_folder
from dataset_scripts.media import MediaError
from dataset_scripts.publish import DEFAULT, PREPARED, stamp_card, write_split
from dataset_scripts.ranks import is_helper
from dataset_scripts.readers import Item, Reading, StoredSet, Tally
from dataset_scripts.report import SplitCounts, make_report
from dataset_scripts.schema import SPLITS, validate_example
from dataset_scripts.schema import features as table_features
from dataset_scripts.stored_features import StoredTable, stored_spec
from dataset_scripts.utils.files import check_space, folder_size, write_json
from dataset_scripts.utils.outputs import check_folder, claimed, replaced_folder
from dataset_scripts.visual import VisualExtractor, check_extractor_name, visual_extractor
from modeling_unimse.feature_extraction_unimse import UniMSEFeatureExtractor

LOADERS = {"mosi": mosi, "mosei": mosei, "meld": meld, "iemocap": iemocap, "custom": custom}


def prepare_dataset(
    benchmark: str,
    source: Path | str,
    out: Path | str,
    *,
    extractor: VisualExtractor | str | None,
    features: Sequence[str] = MODALITIES,
    feature_sets: Sequence[str] | None = None,
    overwrite: bool = False,
    on_bad_clip: str = "keep",
    workers: int | None = None,
    restart: bool = False,
    **options: Any,
) -> dict[str, Any] | None:
    """Prepare one dataset.

    Args:
        benchmark: `mosi`, `mosei`, `meld`, `iemocap` or `custom`.
        source: the raw folder, or a single file such as a pickle or a manifest, or `owner/name` of a Hub dataset that
            holds them.
        out: the folder to make.
        extractor: of the visual features, or its name; `None` = none are made. One that is named is loaded when the raw
            data have a picture at all.
        features: which modalities to extract from clips: any of `audio`, `visual`.
        feature_sets: which sets to write; `None` = all: `default` where there are clips, and what the raw files bring.
        overwrite: replace an `out` that exists and is not empty.
        on_bad_clip: `keep` the row with that feature `None` and count it, or `raise`.
        workers: processes; by default one a core. The result does not depend on it.
        restart: drop the clips that an earlier run, killed before its end, left in `OUT.resume`.
        **options: the loader's own, see its `read`; all benchmarks have `format`.

    Returns:
        The report, as in `prepare-report.json`, plus `seconds`; `None` in the processes of a distributed run that only
        helped to decode.

    Raises:
        ValueError: an unknown name or option, bad raw data (names the item), nothing left to write.
        FileNotFoundError: the raw folder lacks what the loader needs.
        FileExistsError: `out` is not empty and `overwrite` is not given, is no prepared dataset, or is being written.
        OSError: `out` cannot be written, or its disk is too full.
        MediaError: a bad clip, with `on_bad_clip="raise"`.
    """
    began = time.monotonic()
    out = Path(out).resolve()
    check_arguments(benchmark, features, on_bad_clip, options)
    source = resolve_folder(source)
    if is_helper() and not overwrite and (out / "features.json").is_file():
        return None  # this process comes so late that the main one has finished
    with nullcontext() if is_helper() else claimed(out):
        check_folder(out, PREPARED, overwrite, [source])
        reading = read_raw(benchmark, source, **options)
        extractors = make_extractors(reading, features, extractor)
        names = choose_feature_sets(reading, extractors, feature_sets)
        clips = ClipLog(source, on_bad_clip)
        store = ClipStore(resume_folder(out))
        decoded = reading.items if DEFAULT in names else []
        settings = {"workers": workers, "name": reading.dataset, "check": clips.refuse, "restart": restart}
        if not extract_all(decoded, extractors, store, **settings):
            return None
        report = _write_folder(out, reading, names, extractors, clips, store)
        store.remove()
    return {**report, "seconds": round(time.monotonic() - began, 2)}


def _write_folder(
    out: Path, reading: Reading, names: list[str], extractors: Extractors, clips: "ClipLog", store: ClipStore
) -> dict[str, Any]:
    """Write all files of the prepared folder, which takes the place of an older one; returns the report."""
    check_space(out, folder_size(store.folder))  # what was extracted is about what will be written
    with replaced_folder(out, drop=PREPARED.files) as partial:
        splits, sets = _write_sets(partial, reading, names, extractors, clips, store)
        report = make_report(reading, splits, clips.tallies, clips.rows, sets)
        write_json(partial / "features.json", {name: facts["specs"] for name, facts in sets.items()})
        write_json(partial / "prepare-report.json", report)
        (partial / "README.md").write_text(dataset_card(report), encoding="utf-8")
        stamp_card(partial)
    return report


def read_raw(benchmark: str, source: Path, **options: Any) -> Reading:
    """What the loader of a benchmark reads, with everything checked that can be before hours of decoding.

    Raises:
        ValueError, FileNotFoundError: as `prepare_dataset`.
    """
    reading = LOADERS[benchmark].read(source, **options)
    if not reading.items:
        reasons = "; ".join(f"{reason}: {entry['count']}" for reason, entry in reading.skipped.as_dict().items())
        raise ValueError(f"{reading.dataset}: no rows left of {reading.rows_read} in {source} ({reasons or 'no rows'})")
    for item in reading.items:
        validate_example(item.example)
    return reading


def make_extractors(reading: Reading, features: Sequence[str], visual: VisualExtractor | str | None) -> Extractors:
    """The extractors of the wanted modalities; a visual one that is named is loaded if some row has a picture."""
    audio = UniMSEFeatureExtractor() if "audio" in features else None
    if "visual" not in features:
        return Extractors(audio, None)
    if isinstance(visual, str):
        check_extractor_name(visual)
        visual = visual_extractor(visual) if any(item.visual is not None for item in reading.items) else None
    return Extractors(audio, visual)


def choose_feature_sets(reading: Reading, extractors: Extractors, wanted: Sequence[str] | None = None) -> list[str]:
    """Names of the sets to write, the main one first: `default` where clips are decoded or nothing else is there.

    Raises:
        ValueError: a set is wanted that is not there; names those there are.
    """
    stored = [one.name for one in reading.stored]
    decoded = any(
        (extractors.audio and item.audio is not None) or (extractors.visual and item.visual is not None)
        for item in reading.items
    )
    names = [DEFAULT, *stored] if decoded or not stored else stored
    if wanted is not None and not wanted:
        raise ValueError(f"{reading.dataset}: expected at least one feature set of {', '.join(names)}, got none")
    for name in wanted or ():
        if name not in (DEFAULT, *stored):
            expected = ", ".join((DEFAULT, *stored))
            raise ValueError(f"{reading.dataset}: expected feature sets of {expected}, got {name!r}")
    return names if wanted is None else list(wanted)


def media_rows(items: list[Item], pool: ClipPool, clips: "ClipLog") -> Iterator[dict[str, Any]]:
    """The rows of `items` with the features of their clips; checked, and what was wrong with the clips is logged."""
    sizes = extracted_sizes(pool.extractors)
    for item, clip in zip(items, pool.extract(items), strict=True):
        clips.add(item.example, clip)
        example = {**item.example, "audio_features": clip.audio, "visual_features": clip.visual}
        validate_example(example, sizes)
        yield example


def extracted_sizes(extractors: Extractors) -> dict[str, int]:
    """Width of the features that are made of clips, by modality."""
    sizes = {}
    if extractors.audio is not None:
        sizes["audio"] = extractors.audio.audio_feature_size
    if extractors.visual is not None:
        sizes["visual"] = extractors.visual.size
    return sizes


@dataclass
class ClipLog:
    """Counts the clips that gave no features, by modality and reason; or stops at the first bad one."""

    source: Path
    on_bad_clip: str
    tallies: dict[str, Tally] = field(default_factory=lambda: {modality: Tally() for modality in MODALITIES})
    rows: Counter = field(default_factory=Counter)  # by reason, a row with two bad modalities counted once
    frames: Counter = field(default_factory=Counter)  # pictures looked at: `sampled`, and `with_face` of them

    def refuse(self, example: dict[str, Any], problems: Iterable[tuple[str, str, str]]) -> None:
        """Stop at a bad clip, if that is wanted."""
        for modality, reason, detail in problems:
            detail = detail.replace(f"{self.source}{os.sep}", "")
            if self.on_bad_clip == "raise" and reason in BAD_CLIP:
                name = f"{example['dataset']} {example['id']}"
                raise MediaError(f"{name}: {detail}. Pass on_bad_clip='keep' to go on with {modality}_features=None")

    def add(self, example: dict[str, Any], clip: ClipFeatures) -> None:
        """Count what was wrong with the clip of a row, and its pictures with a face."""
        self.refuse(example, clip.problems)
        if clip.frames_with_face is not None:
            self.frames.update(sampled=clip.frames, with_face=clip.frames_with_face)
        self.rows.update({reason for _, reason, _ in clip.problems})
        for modality, reason, detail in clip.problems:
            detail = detail.replace(f"{self.source}{os.sep}", "")
            shown = f"{example['id']}: {detail}; kept with {modality}_features=None"
            self.tallies[modality].add(reason, shown, split=example["split"])


def check_arguments(benchmark: str, modalities: Sequence[str], on_bad_clip: str, options: dict[str, Any]) -> None:
    """Raise a `ValueError` for an argument of `prepare_dataset` that no reading is needed to refuse."""
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


def _write_sets(
    folder: Path, reading: Reading, names: list[str], extractors: Extractors, clips: "ClipLog", store: ClipStore
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Write all sets. Returns the counts of each split in the main set, and the facts of each set."""
    stored = {one.name: one for one in reading.stored}
    splits, sets = {}, {}
    for name in names:
        if name == DEFAULT:
            counts, facts = _write_default(folder, reading, extractors, clips, store)
        else:
            counts, facts = _write_stored(folder, reading, stored[name])
        splits, sets[name] = splits or counts, facts
    return splits, sets


def _write_default(
    folder: Path, reading: Reading, extractors: Extractors, clips: "ClipLog", store: ClipStore
) -> tuple[dict[str, Any], dict[str, Any]]:
    with_clips = sum(item.audio is not None or item.visual is not None for item in reading.items)
    with ClipPool(extractors, 1, 0, store) as pool:  # all is in the store; what is spoilt there is done here
        splits = _write_splits(
            folder,
            reading,
            DEFAULT,
            extracted_sizes(extractors),
            lambda items: media_rows(items, pool, clips),
            "clip" if with_clips else "row",
        )
    rows = {modality: sum(counts[modality] for counts in splits.values()) for modality in MODALITIES}
    facts = {
        "source": "clips" if with_clips else "none",
        "specs": {"text": None, **extractors.specs(splits)},
        "rows": {"text": 0, **rows},
        "frames": dict(clips.frames),
        "cells_repaired": 0,
        "steps_dropped": 0,
        "problems": {},
    }
    return splits, facts


def _write_stored(folder: Path, reading: Reading, stored: StoredSet) -> tuple[dict[str, Any], dict[str, Any]]:
    found = StoredTable(stored, reading.items)
    splits = _write_splits(folder, reading, stored.name, stored.sizes, found.examples, "row")
    facts = {
        "source": stored.source,
        "specs": stored_spec(stored),
        "rows": {modality: found.rows[modality] for modality in ("text", *MODALITIES)},
        "cells_repaired": found.cells_repaired,
        "steps_dropped": found.steps_dropped,
        "problems": found.problems.as_dict(),
    }
    return splits, facts


def _write_splits(folder: Path, reading: Reading, name: str, sizes, rows_of, unit: str) -> dict[str, Any]:
    """Write one set, split by split. Returns the counts of each split.

    Args:
        sizes: width of the features of each modality.
        rows_of: items -> their rows with features.
        unit: what the progress bar counts.
    """
    from tqdm import tqdm

    table, splits = table_features(sizes), {}
    title = reading.dataset if name == DEFAULT else f"{reading.dataset} {name}"
    with tqdm(total=len(reading.items), desc=title, unit=unit, disable=None) as progress:
        for split in SPLITS:
            items = [item for item in reading.items if item.example["split"] == split]
            if items:
                counts = SplitCounts()
                write_split(folder, split, _counted(rows_of(items), counts, progress), table, name)
                splits[split] = counts.as_dict()
    return splits


def _counted(rows: Iterable[dict], counts: SplitCounts, progress) -> Iterator[dict]:
    for example in rows:
        counts.add(example)
        progress.update()
        yield example
