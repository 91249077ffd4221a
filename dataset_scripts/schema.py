"""The normalised table: one row per utterance, the same columns for every dataset.

    id                "meld/train/dia0_utt3": dataset, split and the dataset's own name; unique over everything
    dataset, split    "meld"; "train", "validation" or "test"
    dialogue_id       str; for MOSI and MOSEI the video
    utterance_index   int >= 0, the order within the dialogue (and split)
    speaker, text     str or None
    start, end        seconds, or None
    text_features     (T_t, d_t) float32 or None; only in feature sets that raw files bring along
    audio_features    (T_a, d_a) float32 or None; 64 Mel bands where they are made here
    visual_features   (T_v, d_v) float32 or None
    sentiment         gold score in [-3, 3] or None
    emotion           gold emotion or None
    polarity          "negative", "neutral" or "positive"
    label_intensity, label_emotion, label_donor, label_similarity      universal label, None until it is made

Missing is `None`, never zeros. `datasets` gives a missing `Array2D` cell back as NaN: use `feature_or_none`.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from modeling_unimse.universal_label_unimse import (
    BENCHMARK_EMOTIONS,
    MAX_INTENSITY,
    POLARITIES,
    check_emotions,
    polarity_of,
)

BENCHMARKS = ("mosi", "mosei", "meld", "iemocap")
SPLITS = ("train", "validation", "test")
MODALITIES = ("text", "audio", "visual")
FEATURE_COLUMNS = tuple(f"{modality}_features" for modality in MODALITIES)
_RESERVED_NAMES = ("overall", "leaderboard")  # tables of results have them
_STRINGS = (
    *("id", "dataset", "split", "dialogue_id", "speaker", "text"),
    *("emotion", "polarity", "label_emotion", "label_donor"),
)
COLUMNS = (
    *("id", "dataset", "split", "dialogue_id", "utterance_index", "speaker", "text", "start", "end"),
    *(*FEATURE_COLUMNS, "sentiment", "emotion", "polarity"),
    *("label_intensity", "label_emotion", "label_donor", "label_similarity"),
)


def features(sizes: Mapping[str, int]):
    """The `datasets.Features` of a prepared table.

    Args:
        sizes: width of the features of each modality that has any: of `text`, `audio`, `visual`. The other columns are
            of type null, which `datasets.concatenate_datasets` joins with any width.
    """
    from datasets import Array2D, Features, Value

    special = {"utterance_index": Value("int32")}
    for modality, column in zip(MODALITIES, FEATURE_COLUMNS, strict=True):
        size = sizes.get(modality)
        special[column] = Array2D((None, size), "float32") if size else Value("null")
    plain = {name: Value("string" if name in _STRINGS else "float64") for name in COLUMNS}
    return Features({name: special.get(name, plain[name]) for name in COLUMNS})


def new_example(**fields: Any) -> dict[str, Any]:
    """A row with every column; those not given are `None`. An unknown column is a `TypeError`."""
    unknown = sorted(set(fields) - set(COLUMNS))
    if unknown:
        raise TypeError(f"unknown columns {', '.join(unknown)}; the table has {', '.join(COLUMNS)}")
    return {name: fields.get(name) for name in COLUMNS}


def feature_or_none(cell: Any) -> np.ndarray | None:
    """A features cell of `datasets` as `(T, d)` float32, or `None`: a missing one comes back as a single NaN."""
    if cell is None or np.ndim(cell) == 0:
        return None
    return np.asarray(cell, dtype=np.float32)


def validate_example(example: Mapping[str, Any], sizes: Mapping[str, int] | None = None) -> None:
    """Check one row against the schema.

    Args:
        example: the row.
        sizes: expected width of the features of each modality; one that is not in it may have any.

    Raises:
        ValueError: names dataset and id, the column, what was expected and what was received.
    """
    try:
        _check_columns(example)
        _check_identity(example)
        _check_text_and_time(example)
        for modality, column in zip(MODALITIES, FEATURE_COLUMNS, strict=True):
            _check_features(column, example[column], (sizes or {}).get(modality))
        _check_gold(example)
        _check_universal_label(example)
    except ValueError as error:
        name = f"{example.get('dataset', '?')} {example.get('id', 'a row without id')}"
        raise ValueError(f"{name}: {error}") from None


def order_examples(examples: Iterable[Mapping[str, Any]], key=lambda example: example) -> list:
    """Rows, or whatever `key` takes a row from, by split, dialogue in order of appearance, and utterance_index."""
    examples = list(examples)
    appearance: dict[tuple[str, str], int] = {}
    for item in examples:
        appearance.setdefault((key(item)["split"], key(item)["dialogue_id"]), len(appearance))

    def rank(item):
        row = key(item)
        return SPLITS.index(row["split"]), appearance[row["split"], row["dialogue_id"]], row["utterance_index"]

    return sorted(examples, key=rank)


def number_utterances(examples: Sequence[dict[str, Any]], positions: Sequence[Any]) -> None:
    """Set `utterance_index` to 0, 1, 2, ... within each dialogue of each split.

    Args:
        examples: rows, in any order.
        positions: one sortable value a row: its place within the dialogue; equal ones keep the order given.
    """
    seen: dict[tuple[str, str], int] = {}
    for row in sorted(range(len(examples)), key=positions.__getitem__):
        example = examples[row]
        dialogue = (example["split"], example["dialogue_id"])
        example["utterance_index"] = seen.get(dialogue, 0)
        seen[dialogue] = example["utterance_index"] + 1


def _check_columns(example: Mapping[str, Any]) -> None:
    missing = [name for name in COLUMNS if name not in example]
    extra = sorted(set(example) - set(COLUMNS))
    if missing or extra:
        raise ValueError(f"columns: expected the schema's; missing: {missing or 'none'}, unknown: {extra or 'none'}")


def _check_identity(example: Mapping[str, Any]) -> None:
    for name in ("id", "dataset", "dialogue_id"):
        if not isinstance(example[name], str) or not example[name].strip():
            raise ValueError(f"{name}: expected a non-empty string, got {example[name]!r}")
        _check_encodable(name, example[name])
    check_dataset_name(example["dataset"])
    if example["split"] not in SPLITS:
        raise ValueError(f"split: expected one of {', '.join(SPLITS)}, got {example['split']!r}")
    prefix = f"{example['dataset']}/{example['split']}/"
    if not example["id"].startswith(prefix) or example["id"] == prefix:
        raise ValueError(f"id: expected '{prefix}<name>', got {example['id']!r}")
    index = example["utterance_index"]
    if not isinstance(index, int) or isinstance(index, bool) or index < 0:
        raise ValueError(f"utterance_index: expected an integer >= 0, got {index!r}")


def check_dataset_name(name: str) -> None:
    """Raise a `ValueError` unless `name` can name a dataset: it becomes part of ids, metric keys and file names."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", name):
        raise ValueError(f"dataset: expected a name of at most 64 letters, digits, '_', '-' and '.', got {name!r}")
    if name in _RESERVED_NAMES:
        raise ValueError(f"dataset: expected another name than {', '.join(_RESERVED_NAMES)}, got {name!r}")


def _check_encodable(name: str, text: str) -> None:
    """Pickles and file names can hold halves of characters, which no file takes."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise ValueError(f"{name}: expected text, got bytes that are no character in {text[:80]!a}") from None


def _check_text_and_time(example: Mapping[str, Any]) -> None:
    for name in ("speaker", "text"):
        value = example[name]
        if value is not None and (not isinstance(value, str) or not value.strip()):
            raise ValueError(f"{name}: expected text, or None where there is none, got {value!r}")
        _check_encodable(name, value or "")
    start = _number(example, "start", 0, math.inf)
    end = _number(example, "end", 0, math.inf)
    if start is not None and end is not None and end < start:
        raise ValueError(f"end: expected at least start = {start}, got {end}")


def _number(example: Mapping[str, Any], name: str, low: float, high: float) -> float | None:
    value = example[name]
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError(f"{name}: expected a finite number or None, got {value!r}")
    if not low <= value <= high:
        raise ValueError(f"{name}: expected a number in [{low}, {high}], got {value}")
    return value


def _check_features(name: str, value: Any, size: int | None) -> None:
    if value is None:
        return
    if not isinstance(value, np.ndarray) or value.dtype != np.float32 or value.ndim != 2:
        raise ValueError(f"{name}: expected a (T, d) float32 array or None, got {_describe(value)}")
    if size is not None and value.shape[1] != size:
        raise ValueError(f"{name}: expected width {size}, got shape {value.shape}")
    if len(value) == 0:
        raise ValueError(f"{name}: expected at least one time step, or None, got shape {value.shape}")
    if not np.isfinite(value).all():
        step = int(np.argwhere(~np.isfinite(value))[0][0])
        raise ValueError(f"{name}: expected finite values, got NaN or infinity, first at time step {step}")


def _describe(value: Any) -> str:
    return f"{value.dtype} of shape {value.shape}" if isinstance(value, np.ndarray) else type(value).__name__


def _check_gold(example: Mapping[str, Any]) -> None:
    sentiment = _number(example, "sentiment", -MAX_INTENSITY, MAX_INTENSITY)
    emotion, polarity = example["emotion"], example["polarity"]
    if polarity not in POLARITIES:
        raise ValueError(f"polarity: expected one of {', '.join(POLARITIES)}, got {polarity!r}")
    if sentiment is not None and polarity != polarity_of(sentiment):
        raise ValueError(f"polarity: expected {polarity_of(sentiment)!r} for sentiment {sentiment}, got {polarity!r}")
    if emotion is not None:
        _check_emotion("emotion", emotion)
        allowed = BENCHMARK_EMOTIONS.get(example["dataset"], (emotion,))
        if emotion not in allowed:
            raise ValueError(f"emotion: expected one of {', '.join(allowed)}, got {emotion!r}")


def _check_emotion(name: str, emotion: Any) -> None:
    if not isinstance(emotion, str):
        raise ValueError(f"{name}: expected a name or None, got {emotion!r}")
    check_emotions((emotion,))


def _check_universal_label(example: Mapping[str, Any]) -> None:
    _number(example, "label_intensity", -MAX_INTENSITY, MAX_INTENSITY)
    _number(example, "label_similarity", -1.0001, 1.0001)  # a cosine in floating point may step over 1
    if example["label_emotion"] is not None:
        _check_emotion("label_emotion", example["label_emotion"])
    donor = example["label_donor"]
    if donor is not None and (not isinstance(donor, str) or not donor):
        raise ValueError(f"label_donor: expected the id of a row or None, got {donor!r}")
