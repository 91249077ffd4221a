"""Prepared tables -> samples with dialogue context -> batches of model inputs."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import ConcatDataset, Dataset

from dataset_scripts.prepare import load_prepared, read_features_json
from dataset_scripts.schema import feature_or_none
from modeling_unimse import UniMSEProcessor, UniversalLabel
from modeling_unimse.universal_label_unimse import native_label
from trainer.arguments import MODALITIES

_FEATURES = ("audio_features", "visual_features")


class UtteranceDataset(Dataset):
    """One split of one prepared dataset, each utterance with its dialogue context.

    Context comes from the same dialogue and the same split. Features are read from disk when a sample is asked for.

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
        self.rows = table.remove_columns(list(_FEATURES)).to_list()
        self.features = table.select_columns(list(_FEATURES)).with_format("numpy")
        self.universal_labels = universal_labels
        self.context_before, self.context_after = context_before, context_after
        self.context = self._contexts()

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict:
        """`id`, `text`, `context_before`, `context_after`, `audio_features`, `visual_features`, `label`."""
        row, cells = self.rows[index], self.features[index]
        before, after = self.context[index]
        return {
            "id": row["id"],
            "text": row["text"],
            "context_before": before,
            "context_after": after,
            "label": self._label(row),
            **{name: feature_or_none(cells[name]) for name in _FEATURES},
        }

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

    def _label(self, row: dict) -> UniversalLabel:
        if not self.universal_labels:
            return native_label(row["polarity"], row["sentiment"], row["emotion"])
        if row["label_emotion"] is None or row["label_intensity"] is None:
            raise ValueError(
                f"{row['id']}: no universal label yet. Run `unimse label` on the prepared folders, or set "
                "universal_labels: false."
            )
        return UniversalLabel(row["polarity"], row["label_intensity"], row["label_emotion"])


def load_split(folders: Sequence[str | Path], split: str, **settings) -> dict[str, UtteranceDataset]:
    """The split of each prepared folder by dataset name; folders without it are left out.

    Raises:
        ValueError: two folders of the same name, or none with the split.
    """
    found = {}
    for folder in folders:
        tables = load_prepared(folder)
        if split not in tables or len(tables[split]) == 0:
            continue
        dataset = UtteranceDataset(tables[split], fingerprint=data_fingerprint(folder, split), **settings)
        name = dataset.rows[0]["dataset"]
        if name in found:
            raise ValueError(f"{folder}: dataset {name!r} is given twice; name each dataset once")
        found[name] = dataset
    if not found:
        raise ValueError(f"no {split} split in {', '.join(map(str, folders))}")
    return found


def data_fingerprint(folder: str | Path, split: str) -> str:
    """12 hexadecimal digits of the SHA-256 over the Parquet files of one split of a prepared folder."""
    digest = hashlib.sha256()
    for path in sorted(Path(folder).glob(f"data/{split}-*.parquet")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def feature_specs(folders: Sequence[str | Path]) -> dict:
    """The extractors of the features of all folders; they must agree.

    Raises:
        ValueError: naming the folder whose features were made by another extractor.
    """
    specs: dict = {"audio": None, "visual": None}
    for folder in folders:
        for name, spec in read_features_json(folder).items():
            if spec is None:
                continue
            if specs[name] is not None and specs[name]["fingerprint"] != spec["fingerprint"]:
                raise ValueError(
                    f"{folder}: {name} features were made by {spec['name']} ({spec['fingerprint']}), those of the "
                    f"other datasets by {specs[name]['name']} ({specs[name]['fingerprint']}). Prepare all with one."
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


@dataclass
class Augmentation:
    """Changes of training features; all off by default, as in the paper.

    Args:
        time_stretch: the audio sequence is resampled in time by a factor in [1 - x, 1 + x].
        frequency_shift: its bands are moved by up to so many places.
        time_mask, frequency_mask: a run of up to so many frames / bands is set to the mean (Park et al. 2019).
        noise: standard deviation of Gaussian noise added to standardised audio and visual features.
        token_mask: probability that a text token, the end token excepted, is replaced by the unknown token.
    """

    time_stretch: float = 0.0
    frequency_shift: int = 0
    time_mask: int = 0
    frequency_mask: int = 0
    noise: float = 0.0
    token_mask: float = 0.0

    @classmethod
    def from_settings(cls, settings: dict) -> "Augmentation":
        known = [item.name for item in fields(cls)]
        for name, value in settings.items():
            if name not in known:
                raise ValueError(f"augmentation: expected fields of {', '.join(known)}, got {name!r}")
            if not isinstance(value, (int, float)) or value < 0:
                raise ValueError(f"augmentation.{name}: expected a number >= 0, got {value!r}")
        return cls(**settings)

    def stretched(self, sequence: np.ndarray) -> np.ndarray:
        """Stretches and shifts raw `(T, bands)` features."""
        if self.time_stretch:
            factor = 1 + self.time_stretch * (2 * _random() - 1)
            places = np.linspace(0, len(sequence) - 1, max(1, round(len(sequence) * factor)))
            low = places.astype(int)
            high = np.minimum(low + 1, len(sequence) - 1)
            weight = (places - low)[:, None].astype(np.float32)
            sequence = sequence[low] * (1 - weight) + sequence[high] * weight
        if self.frequency_shift:
            shift = round(self.frequency_shift * (2 * _random() - 1))
            sequence = sequence[:, np.clip(np.arange(sequence.shape[1]) - shift, 0, sequence.shape[1] - 1)]
        return sequence

    def masked(self, features: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Runs of frames and bands set to the mean, 0, in standardised, padded audio `(B, T, bands)`."""
        features = features.clone()
        for row, length in enumerate(mask.sum(1).tolist()):
            for axis, longest, size in ((0, self.time_mask, length), (1, self.frequency_mask, features.shape[2])):
                width = min(int(_random() * (longest + 1)), size)
                start = int(_random() * (size - width + 1))
                features[row].narrow(axis, start, width).zero_()
        return features

    def noisy(self, features: torch.Tensor) -> torch.Tensor:
        """Standardised features plus noise."""
        return features + self.noise * torch.randn_like(features) if self.noise else features

    def without_tokens(self, input_ids: torch.Tensor, tokenizer) -> torch.Tensor:
        """`(B, S)` ids with some tokens unknown."""
        if not self.token_mask:
            return input_ids
        kept = (input_ids == tokenizer.pad_token_id) | (input_ids == tokenizer.eos_token_id)
        hidden = (torch.rand(input_ids.shape) < self.token_mask) & ~kept
        return input_ids.masked_fill(hidden, tokenizer.unk_token_id)


def _random() -> float:
    return torch.rand(()).item()


class Collator:
    """Samples -> model inputs with `sample_index`; the training one augments and drops modalities.

    Every modality the model uses is always in the batch, with an all-zero mask where nobody has it: with several
    processes each must take part in the same collectives.
    """

    def __init__(
        self,
        processor: UniMSEProcessor,
        modalities: Sequence[str] = MODALITIES,
        augmentation: Augmentation | None = None,
        modality_dropout: float = 0.0,
    ):
        self.processor = processor
        self.modalities = tuple(modalities)
        self.augmentation = augmentation
        self.modality_dropout = modality_dropout

    def __call__(self, samples: Sequence[tuple[int, dict]]) -> dict[str, torch.Tensor]:
        indices, samples = zip(*samples, strict=True)
        features = {f"{name}_features": [self._feature(sample, name) for sample in samples] for name in self.modalities}
        batch = dict(
            self.processor(
                [sample["text"] for sample in samples],
                context_before=[sample["context_before"] for sample in samples],
                context_after=[sample["context_after"] for sample in samples],
                label=[sample["label"] for sample in samples],
                sample_ids=[sample["id"] for sample in samples],
                **features,
            )
        )
        for name in self.modalities:
            self._complete(batch, name, len(samples))
        if self.augmentation:
            batch["input_ids"] = self.augmentation.without_tokens(batch["input_ids"], self.processor.tokenizer)
        batch["sample_index"] = torch.tensor(indices)
        return batch

    def _feature(self, sample: dict, name: str) -> np.ndarray | None:
        sequence = sample[f"{name}_features"]
        if sequence is None or (self.modality_dropout and _random() < self.modality_dropout):
            return None
        return self.augmentation.stretched(sequence) if self.augmentation and name == "audio" else sequence

    def _complete(self, batch: dict, name: str, rows: int):
        key = f"{name}_features"
        if key not in batch:
            batch[key] = torch.zeros(rows, 1, getattr(self.processor.feature_extractor, f"{name}_feature_size"))
            batch[f"{key}_mask"] = torch.zeros(rows, 1, dtype=torch.long)
        elif self.augmentation:
            if name == "audio":
                batch[key] = self.augmentation.masked(batch[key], batch[f"{key}_mask"])
            batch[key] = self.augmentation.noisy(batch[key])


class Indexed(Dataset):
    """`(index, sample)` of several datasets joined, so that results find their rows again."""

    def __init__(self, datasets: Sequence[UtteranceDataset]):
        self.joined = ConcatDataset(datasets)
        self.rows = [row for dataset in datasets for row in dataset.rows]

    def __len__(self) -> int:
        return len(self.joined)

    def __getitem__(self, index: int) -> tuple[int, dict]:
        return index, self.joined[index]
