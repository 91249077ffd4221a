"""The four benchmarks, and your own data, as builders of the `datasets` library.

    builder = MELD(source="downloads/MELD.Raw")
    builder.download_and_prepare()              # or (OUT, file_format="parquet")
    table = builder.as_dataset("train")

For one table in a Python session. `unimse prepare` reads through the same loaders and adds what a dataset needs to be
kept and passed on: several feature sets, a report, a card, resuming.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import datasets

from dataset_scripts.dataset_card import CITATIONS, LICENCES, SOURCES, VERSION
from dataset_scripts.extraction import MODALITIES, ClipPool
from dataset_scripts.hub import resolve_folder
from dataset_scripts.prepare import (
    ClipLog,
    choose_feature_sets,
    extracted_sizes,
    make_extractors,
    media_rows,
    read_raw,
)
from dataset_scripts.publish import DEFAULT
from dataset_scripts.schema import SPLITS
from dataset_scripts.schema import features as table_features
from dataset_scripts.stored_features import StoredCounts, stored_rows
from dataset_scripts.visual import visual_extractor


@dataclass
class RawConfig(datasets.BuilderConfig):
    """What a builder reads, and how.

    Args:
        source: raw folder or file, or `owner/name` of a Hub dataset that holds them.
        feature_set: `default` (made from clips) or one that the raw files bring; `None` = the main one.
        modalities: which to extract from clips: any of `audio`, `visual`.
        visual_extractor: by name, see `dataset_scripts.visual.visual_extractor`; `none` = no visual features.
        options: the loader's own, such as `format`; for custom data `name`, `emotion_map`, `emotion_polarity`.
        source_stamp: set by the builder: names, sizes and times of the raw files, so that a change is not served from
            the cache.
    """

    source: str = ""
    feature_set: str | None = None
    modalities: tuple[str, ...] = MODALITIES
    visual_extractor: str = "none"
    options: dict[str, Any] = field(default_factory=dict)
    source_stamp: str = ""


class RawBuilder(datasets.GeneratorBasedBuilder):
    """Rows of the normalised table (`dataset_scripts.schema`) from a raw folder.

    Raises:
        ValueError, FileNotFoundError: as `dataset_scripts.prepare.prepare_dataset`, when the builder is made.
    """

    VERSION = datasets.Version(VERSION)
    BUILDER_CONFIG_CLASS = RawConfig
    benchmark: str

    def __init__(self, *arguments: Any, source: Path | str, **settings: Any):
        folder = resolve_folder(source)
        super().__init__(*arguments, source=str(folder), source_stamp=source_stamp(folder), **settings)

    def _info(self) -> datasets.DatasetInfo:
        config = self.config
        self._source = Path(config.source)
        self._reading = read_raw(self.benchmark, self._source, **config.options)
        self._extractors = make_extractors(config.modalities, visual_extractor(config.visual_extractor))
        wanted = None if config.feature_set is None else [config.feature_set]
        self._set = choose_feature_sets(self._reading, self._extractors, wanted)[0]
        stored = {one.name: one for one in self._reading.stored}
        self._stored = stored.get(self._set)
        sizes = extracted_sizes(self._extractors) if self._stored is None else self._stored.sizes
        return datasets.DatasetInfo(
            description=SOURCES.get(self.benchmark, "Your own data, read from a manifest."),
            features=table_features(sizes),
            license=LICENCES.get(self.benchmark, ""),
            citation=CITATIONS.get(self.benchmark, ""),
        )

    def _split_generators(self, dl_manager) -> list[datasets.SplitGenerator]:
        there = {item.example["split"] for item in self._reading.items}
        return [datasets.SplitGenerator(split, gen_kwargs={"split": split}) for split in SPLITS if split in there]

    def _generate_examples(self, split: str) -> Iterator[tuple[int, dict[str, Any]]]:
        items = [item for item in self._reading.items if item.example["split"] == split]
        if self._set != DEFAULT:
            yield from enumerate(stored_rows(items, self._stored, StoredCounts()))
            return
        with ClipPool(self._extractors, None, len(items)) as pool:
            yield from enumerate(media_rows(items, pool, ClipLog(self._source, "keep")))


class MOSI(RawBuilder):
    """CMU-MOSI from any of its raw formats."""

    benchmark = "mosi"


class MOSEI(RawBuilder):
    """CMU-MOSEI from any of its raw formats."""

    benchmark = "mosei"


class MELD(RawBuilder):
    """MELD from its csv files, with clips or feature pickles where there are any."""

    benchmark = "meld"


class IEMOCAP(RawBuilder):
    """IEMOCAP from the session tree or the feature pickle."""

    benchmark = "iemocap"


class Custom(RawBuilder):
    """Your own data from a manifest."""

    benchmark = "custom"


def source_stamp(source: Path) -> str:
    """12 hexadecimal digits that change when a file below `source` is added, removed, resized or rewritten."""
    digest = hashlib.sha256()
    paths = sorted(source.rglob("*")) if source.is_dir() else [source]
    for path in paths:
        if path.is_file():
            facts = path.stat()
            digest.update(f"{path.relative_to(source)}\0{facts.st_size}\0{facts.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:12]
