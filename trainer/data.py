"""Prepared tables -> samples with dialogue context -> batches of model inputs."""

import json
from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import ConcatDataset, Dataset

from dataset_scripts.feature_cells import feature_cells
from dataset_scripts.hub import resolve_folder
from dataset_scripts.prepared import choose_sets, feature_specs_of, load_prepared
from dataset_scripts.publish import parquet_files
from dataset_scripts.schema import FEATURE_COLUMNS
from dataset_scripts.utils.files import content_digest
from modeling_unimse import UniMSEProcessor, UniversalLabel
from modeling_unimse.universal_label_unimse import native_label
from trainer.arguments import MODALITIES
from trainer.augmentation import Augmentation
from trainer.batching import Draw

_FEATURES = ("audio_features", "visual_features")


class UtteranceDataset(Dataset):
    """One split of one prepared dataset, each utterance with its dialogue context.

    Context comes from the same dialogue and the same split. Features are views on the files, mapped to memory.

    Args:
        table: a `datasets.Dataset` in the normalised schema.
        universal_labels: targets from `label_*` columns; `False` = native labels.
        context_before, context_after: utterances around the current one.
        fingerprint: identifies the data in results.
    """

    def __init__(
        self,
        table,
        universal_labels: bool = True,
        context_before: int = 2,
        context_after: int = 2,
        fingerprint: str | None = None,
    ):
        self.fingerprint = fingerprint
        self.rows = table.remove_columns(list(FEATURE_COLUMNS)).to_list()
        self.table = table.select_columns(list(_FEATURES)).with_format("arrow")
        self.universal_labels = universal_labels
        self.context_before, self.context_after = context_before, context_after
        self.context = self._contexts()

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict:
        """`id`, `text`, `context_before`, `context_after`, `audio_features`, `visual_features`; `label` is a function.

        A target is made when it is asked for: evaluation needs none, and may read data that have no labels yet.
        """
        row = self.rows[index]
        before, after = self.context[index]
        return {
            "id": row["id"],
            "text": row["text"],
            "context_before": before,
            "context_after": after,
            "label": partial(self._label, row),
            **{name: cells[index] for name, cells in self.features.items()},
        }

    def __getstate__(self) -> dict:
        """Without the views, which would be written out as arrays; the table is only named by its files."""
        return {name: value for name, value in vars(self).items() if name != "features"}

    @cached_property
    def features(self) -> dict[str, list[np.ndarray | None]]:
        """Feature name -> a view of each row's cell: asking `datasets` for one row costs more than all else in it."""
        cells = self.table[:]
        return {name: feature_cells(cells[name]) for name in _FEATURES}

    def _contexts(self) -> list[tuple[list[str], list[str]]]:
        dialogues: dict[str, list[int]] = {}
        for index, row in enumerate(self.rows):
            dialogues.setdefault(row["dialogue_id"], []).append(index)
        contexts: list = [None] * len(self.rows)
        for members in dialogues.values():
            members.sort(key=lambda index: self.rows[index]["utterance_index"])
            texts = [self.rows[index]["text"] or "" for index in members]
            for place, index in enumerate(members):
                before = texts[max(0, place - self.context_before) : place]
                contexts[index] = (before, texts[place + 1 : place + 1 + self.context_after])
        return contexts

    def lengths(self) -> list[int]:
        """Words of each row's text with its context."""
        own = (len((row["text"] or "").split()) for row in self.rows)
        return [
            words + sum(len(text.split()) for side in sides for text in side)
            for words, sides in zip(own, self.context, strict=True)
        ]

    def _label(self, row: dict) -> UniversalLabel:
        if not self.universal_labels:
            return native_label(row["polarity"], row["sentiment"], row["emotion"])
        if row["label_emotion"] is None or row["label_intensity"] is None:
            raise ValueError(
                f"{row['id']}: no universal label yet. Run `unimse label` on the prepared folders, or set "
                "universal_labels: false."
            )
        return UniversalLabel(row["polarity"], row["label_intensity"], row["label_emotion"])


def load_split(
    folders: Sequence[str | Path],
    split: str,
    universal_labels: bool = True,
    context_before: int = 2,
    context_after: int = 2,
    feature_sets: Sequence[str] | None = None,
) -> dict[str, UtteranceDataset]:
    """The split of each prepared dataset by dataset name; those without it are left out.

    Args:
        folders: prepared folders, or `owner/name` of prepared datasets on the Hub.
        feature_sets: where the features come from, see `dataset_scripts.prepared.load_prepared`.

    Raises:
        ValueError: two folders of the same name, or none with the split.
    """
    found = {}
    for folder in folders:
        tables = load_prepared(folder, feature_sets)
        if split not in tables or len(tables[split]) == 0:
            continue
        fingerprint = data_fingerprint(folder, split, feature_sets)
        dataset = UtteranceDataset(tables[split], universal_labels, context_before, context_after, fingerprint)
        name = dataset.rows[0]["dataset"]
        if name in found:
            raise ValueError(f"{folder}: dataset {name!r} is given twice; name each dataset once")
        found[name] = dataset
    if not found:
        raise ValueError(f"no {split} split in {', '.join(map(str, folders))}")
    return found


def data_fingerprint(folder: str | Path, split: str, feature_sets: Sequence[str] | None = None) -> str:
    """12 hexadecimal digits of the SHA-256 over the Parquet files that one split of a prepared dataset is read from."""
    folder = resolve_folder(folder)
    files = parquet_files(folder)
    used = dict.fromkeys(choose_sets(folder, feature_sets).values())
    return content_digest(path for name in used for path in files[name] if path.name.startswith(f"{split}-"))


def label_source(folders: Sequence[str | Path]) -> str:
    """How the universal labels of the folders were made, as `unimse label` recorded it: part of the protocol."""
    sources = set()
    for folder in folders:
        path = resolve_folder(folder) / "labels.json"
        if path.is_file():
            made = json.loads(path.read_text(encoding="utf-8"))
            sources.add(made["embedder"] + (", leaky donors" if made["leaky_donors"] else ""))
    return "; ".join(sorted(sources)) or "none"


def feature_specs(folders: Sequence[str | Path], feature_sets: Sequence[str] | None = None) -> dict:
    """What made the acoustic and visual features of all folders; they must agree.

    Raises:
        ValueError: naming the folder whose features were made by another extractor.
    """
    specs: dict = {"audio": None, "visual": None}
    for folder in folders:
        found = feature_specs_of(folder, feature_sets)
        for name, spec in ((name, found[name]) for name in specs):
            if spec is None:
                continue
            if specs[name] is not None and specs[name]["fingerprint"] != spec["fingerprint"]:
                raise ValueError(
                    f"{folder}: {name} features were made by {spec['name']} ({spec['fingerprint']}), those of the "
                    f"other datasets by {specs[name]['name']} ({specs[name]['fingerprint']}). Prepare all with one, or "
                    "name a feature set that all have (feature_sets)."
                )
            specs[name] = spec
    return specs


def feature_statistics(dataset: Dataset, name: str, transform=None) -> tuple[list[float], list[float]] | None:
    """Mean and standard deviation of every band over all frames of a dataset; `None` where no sample has the feature.

    Args:
        transform: applied to each `(T, bands)` sequence first.
    """
    count, total, squares = 0, 0.0, 0.0
    for index in range(len(dataset)):
        sequence = dataset[index][f"{name}_features"]
        if sequence is not None:
            sequence = (sequence if transform is None else transform(sequence)).astype(np.float64)
            count, total, squares = count + len(sequence), total + sequence.sum(0), squares + (sequence**2).sum(0)
    if not count:
        return None
    mean = total / count
    return mean.tolist(), np.sqrt(np.maximum(squares / count - mean**2, 0.0)).tolist()


class Collator:
    """Samples -> model inputs with `sample_index`; the training one augments and drops modalities.

    Every modality the model uses is always in the batch, with an all-zero mask where nobody has it: with several
    processes each must take part in the same collectives.

    Args:
        modalities: what the model sees besides text.
        augmentation: of training samples, which come with a `Draw`.
        modality_dropout: modality -> probability that a training sample loses it.
        with_labels: `False` = no targets are made.
        with_text: `False` = text is missing, the current utterance's and its context's.
    """

    def __init__(
        self,
        processor: UniMSEProcessor,
        modalities: Sequence[str] = MODALITIES,
        augmentation: Augmentation | None = None,
        modality_dropout: Mapping[str, float] | None = None,
        with_labels: bool = True,
        with_text: bool = True,
    ):
        self.processor = processor
        self.modalities = tuple(modalities)
        self.augmentation = augmentation
        self.modality_dropout = modality_dropout or {}
        self.with_labels = with_labels
        self.with_text = with_text

    def __call__(self, samples: Sequence[tuple[int | Draw, dict]]) -> dict[str, torch.Tensor]:
        keys, samples = zip(*samples, strict=True)
        rngs = [np.random.default_rng(key.seed) if isinstance(key, Draw) else None for key in keys]
        features = {
            f"{name}_features": [self._feature(sample, name, rng) for sample, rng in zip(samples, rngs, strict=True)]
            for name in self.modalities
        }
        batch = dict(
            self.processor(
                [sample["text"] if self.with_text else None for sample in samples],
                context_before=[sample["context_before"] for sample in samples] if self.with_text else None,
                context_after=[sample["context_after"] for sample in samples] if self.with_text else None,
                label=[sample["label"]() for sample in samples] if self.with_labels else None,
                sample_ids=[sample["id"] for sample in samples],
                **features,
            )
        )
        for name in self.modalities:
            self._complete(batch, name, len(samples))
        if self.augmentation:
            for row, rng in enumerate(rngs):
                self._augment(batch, row, rng)
        batch["sample_index"] = torch.tensor([key.index if isinstance(key, Draw) else key for key in keys])
        return batch

    def _feature(self, sample: dict, name: str, rng) -> np.ndarray | None:
        sequence, dropout = sample[f"{name}_features"], self.modality_dropout.get(name, 0.0)
        if sequence is None or (dropout and rng.random() < dropout):
            return None
        return self.augmentation.stretched(sequence, rng) if self.augmentation and name == "audio" else sequence

    def _complete(self, batch: dict, name: str, rows: int):
        key = f"{name}_features"
        if key not in batch:
            batch[key] = torch.zeros(rows, 1, getattr(self.processor.feature_extractor, f"{name}_feature_size"))
            batch[f"{key}_mask"] = torch.zeros(rows, 1, dtype=torch.long)

    def _augment(self, batch: dict, row: int, rng) -> None:
        """Changes one row of the batch, as far as it reaches; padding stays as it is."""
        self.augmentation.hide_tokens(batch["input_ids"][row], self.processor.tokenizer, rng)
        for name in self.modalities:
            length = int(batch[f"{name}_features_mask"][row].sum())
            features = batch[f"{name}_features"][row, :length]
            if length and name == "audio":
                self.augmentation.mask(features, rng)
            self.augmentation.add_noise(features, rng)


class Indexed(Dataset):
    """`(key, sample)` of several datasets joined; a key is a place, by which results find their rows, or a `Draw`."""

    def __init__(self, datasets: Mapping[str, UtteranceDataset]):
        self.joined = ConcatDataset(datasets.values())
        self.rows = [row for dataset in datasets.values() for row in dataset.rows]
        self.sizes = {name: len(dataset) for name, dataset in datasets.items()}

    def __len__(self) -> int:
        return len(self.joined)

    def __getitem__(self, key: int | Draw) -> tuple[int | Draw, dict]:
        return key, self.joined[key.index if isinstance(key, Draw) else key]

    def lengths(self) -> list[int]:
        """Words of each sample's text with its context: samples alike in it fit into one batch."""
        return [length for dataset in self.joined.datasets for length in dataset.lengths()]
