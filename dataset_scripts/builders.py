"""The four benchmarks, and your own data, as builders of the `datasets` library.

    builder = MELD(source="downloads/MELD.Raw")
    builder.download_and_prepare()              # or (OUT, file_format="parquet")
    table = builder.as_dataset("train")

For one table in a Python session. `unimse prepare` reads through the same loaders and adds what a dataset needs to be
kept and passed on: several feature sets, a report, a card, resuming.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import datasets

from dataset_scripts.dataset_card import CITATIONS, LICENCES, SOURCES, VERSION
from dataset_scripts.extraction import MODALITIES, ClipPool, Extractors
from dataset_scripts.hub import resolve_folder
from dataset_scripts.prepare import (
    ClipLog,
    check_arguments,
    choose_feature_sets,
    extracted_sizes,
    make_extractors,
    media_rows,
    read_raw,
)
from dataset_scripts.publish import DEFAULT
from dataset_scripts.readers import Item
from dataset_scripts.schema import SPLITS
from dataset_scripts.schema import features as table_features
from dataset_scripts.stored_features import StoredTable
from dataset_scripts.visual import DEFAULT_EXTRACTOR


@dataclass
class RawConfig(datasets.BuilderConfig):
    """What a builder reads, and how.

    Args:
        source: raw folder or file, or `owner/name` of a Hub dataset that holds them.
        feature_set: `default` (made from clips) or one that the raw files bring; `None` = the main one.
        modalities: which to extract from clips: any of `audio`, `visual`.
        visual_extractor: by name, see `dataset_scripts.visual.visual_extractor`; `none` = no visual features.
        options: the loader's own, such as `format`; for custom data `name`, `emotion_map`, `emotion_polarity`.
        content_stamp: set by the builder, so that changed raw files are not served from the cache.
    """

    source: str = ""
    feature_set: str | None = None
    modalities: tuple[str, ...] = MODALITIES
    visual_extractor: str = DEFAULT_EXTRACTOR
    options: dict[str, Any] = field(default_factory=dict)
    content_stamp: str = ""


class RawBuilder(datasets.GeneratorBasedBuilder):
    """Rows of the normalised table (`dataset_scripts.schema`) from a raw folder.

    Raises:
        ValueError, FileNotFoundError: as `dataset_scripts.prepare.prepare_dataset`, when the builder is made.
    """

    VERSION = datasets.Version(VERSION)
    BUILDER_CONFIG_CLASS = RawConfig
    benchmark: str

    def __init__(self, *arguments: Any, source: Path | str, **settings: Any):
        given = RawConfig(**{name: value for name, value in settings.items() if name in RawConfig.__dataclass_fields__})
        check_arguments(self.benchmark, given.modalities, "keep", given.options)
        self._source = resolve_folder(source)
        self._reading = read_raw(self.benchmark, self._source, **given.options)
        self._extractors = make_extractors(self._reading, given.modalities, given.visual_extractor)
        wanted = None if given.feature_set is None else [given.feature_set]
        self._set = choose_feature_sets(self._reading, self._extractors, wanted)[0]
        self._stored = {one.name: one for one in self._reading.stored}.get(self._set)
        stamp = content_stamp(self._source, self._reading.items, self._extractors if self._set == DEFAULT else None)
        super().__init__(*arguments, source=str(self._source), content_stamp=stamp, **settings)

    def _info(self) -> datasets.DatasetInfo:
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
            yield from enumerate(StoredTable(self._stored, self._reading.items).examples(items))
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


def content_stamp(source: Path, items: Sequence[Item], extractors: Extractors | None) -> str:
    """12 hexadecimal digits that change with what a table is made from.

    Args:
        source: every file in it counts by its name, size and time.
        items: as do the clips of rows, wherever they lie.
        extractors: of clips, with their versions and weights; `None` = the table has no features of clips.
    """
    paths = set(source.rglob("*")) if source.is_dir() else {source}
    paths |= {span.path for item in items for span in (item.audio, item.visual) if span is not None}
    digest = hashlib.sha256()
    for path in sorted(paths):
        if path.is_file():
            facts = path.stat()
            digest.update(f"{path}\0{facts.st_size}\0{facts.st_mtime_ns}\n".encode(errors="surrogateescape"))
    if extractors is not None and any(extractors.wanted(item) for item in items):
        digest.update(extractors.signature().encode())
    return digest.hexdigest()[:12]
