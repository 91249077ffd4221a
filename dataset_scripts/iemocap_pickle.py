"""`IEMOCAP_features.pkl`, which work on conversations hands on: rows, and one vector an utterance and modality.

A latin1 tuple (videoIDs, speakers, labels, text, audio, visual, sentence, trainVid, testVid). The first seven map a
dialogue to a list with one entry an utterance: its name, `F` or `M`, 0 to 5, three vectors, its text. The last two name
the dialogues of training (120, validation among them) and of test (31, Session 5). It holds the six classes only, no
times and no media.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dataset_scripts.authors_features import as_sequence, as_text, describe, find_pickles, key_text
from dataset_scripts.formats import RawFormat
from dataset_scripts.iemocap_tree import EXPECTED, choose_validation, gender_of, is_utterance, new_row
from dataset_scripts.pickles import load_pickle, peek_pickle
from dataset_scripts.readers import LABEL_OUTSIDE, NO_SPLIT, Item, Reading, StoredSet, clean_text

SET_NAME = "iemocap-features"
LOOKED_FOR = "IEMOCAP_features.pkl"
EMOTIONS = ("joy", "sadness", "neutral", "anger", "excited", "frustrated")  # by label: hap sad neu ang exc fru
BAD_NAME = "utterance name of another form"
OTHER_SPEAKER = "speaker differs from the utterance's name; the name is taken"
OTHER_LIST = "the file has Session 5 in training or another session in test; Session 5 is the test set"
OTHER_FORM = "features of another shape, not used"
_PARTS = ("videoIDs", "speakers", "labels", "text", "audio", "visual", "sentence", "trainVid", "testVid")
_MODALITIES = ("text", "audio", "visual")


@dataclass(frozen=True)
class _Content:
    """The tuple's parts; those a dialogue has one entry an utterance of are dicts."""

    path: Path
    by_dialogue: dict[str, Mapping[Any, Sequence]]
    train: set[str]
    test: set[str]


def read_iemocap_pickle(source: Path) -> Reading:
    """The reader of `iemocap-pickle`; see `iemocap.read`.

    Returns:
        Rows in the file's order; stored set: `iemocap-features` (text, audio, visual, each one step).

    Raises:
        FileNotFoundError: no such pickle; or several.
        ValueError: broken, unsafe, of another form, or a dialogue whose lists are not equally long; names the file.
    """
    path = find_pickle(source)
    content = _load(path)
    reading = Reading("iemocap", f"iemocap-pickle: {path.name} with features, no media", expected=EXPECTED)
    dialogues = {dialogue: key_text(dialogue) for dialogue in content.by_dialogue["videoIDs"]}
    validation = choose_validation(sorted(name for name in dialogues.values() if _set_of(name, content) == "train"))
    features = _Features(content, reading)
    for dialogue, name in dialogues.items():
        split = "validation" if name in validation else _set_of(name, content)
        _note_list(name, split, content, reading)
        _read_dialogue(dialogue, name, split, content, features, reading)
    reading.place([0] * len(reading.items))
    if features.sizes:
        reading.stored.append(StoredSet(SET_NAME, features.sizes, path.name, features.get))
    return reading


def features_pickles(source: Path) -> list[Path]:
    """The files at `source` that are such pickles by their names, or else by what they hold."""
    paths = find_pickles(source)
    by_name = [path for path in paths if path.name.lower().startswith("iemocap_features")]
    return by_name or [path for path in paths if _holds_utterances(path)]


def _holds_utterances(path: Path) -> bool:
    """Names of utterances near its beginning, without the keys that the authors' own features have."""
    names = peek_pickle(path)
    return any(map(is_utterance, names)) and not names & {"audio", "video"}


FORMAT = RawFormat("iemocap-pickle", LOOKED_FOR, lambda source: bool(features_pickles(source)), read_iemocap_pickle)


def find_pickle(source: Path) -> Path:
    """The one such pickle at `source`; none or several are a `FileNotFoundError`."""
    found = [source] if source.is_file() else features_pickles(source)
    if len(found) != 1:
        names = ", ".join(path.name for path in found) or "none"
        raise FileNotFoundError(f"iemocap: expected one {LOOKED_FOR} in {source}, found {names}; name the file itself")
    return found[0]


def _load(path: Path) -> _Content:
    parts = load_pickle(path, encoding="latin1")
    expected = f"a tuple of {len(_PARTS)} ({', '.join(_PARTS)})"
    if not isinstance(parts, (tuple, list)) or len(parts) != len(_PARTS):
        size = f" of {len(parts)}" if isinstance(parts, (tuple, list)) else ""
        raise ValueError(f"{path}: expected {expected}, got a {type(parts).__name__}{size}")
    named = dict(zip(_PARTS, parts, strict=True))
    for name in _PARTS[:7]:
        if not isinstance(named[name], Mapping):
            raise ValueError(f"{path}: {name}: expected a dict of dialogues, got a {type(named[name]).__name__}")
    for name in _PARTS[7:]:
        if not _is_list(named[name]) and not isinstance(named[name], (set, frozenset)):
            raise ValueError(f"{path}: {name}: expected a list of dialogues, got a {type(named[name]).__name__}")
    return _Content(path, {name: named[name] for name in _PARTS[:7]}, *(_names(named[name]) for name in _PARTS[7:]))


def _names(values: Collection) -> set[str]:
    return {key_text(value) for value in values if isinstance(value, (str, bytes))}


def _set_of(dialogue: str, content: _Content) -> str | None:
    """`test` for Session 5, `train` for the others; by the file's lists where the name tells no session."""
    if dialogue[:5] in ("Ses01", "Ses02", "Ses03", "Ses04", "Ses05"):
        return "test" if dialogue[:5] == "Ses05" else "train"
    return "test" if dialogue in content.test else "train" if dialogue in content.train else None


def _note_list(dialogue: str, split: str | None, content: _Content, reading: Reading) -> None:
    others = content.train if split == "test" else content.test
    if dialogue in others:
        reading.notes.add(OTHER_LIST, dialogue, split=split)


def _entries(dialogue: Any, content: _Content) -> dict[str, Sequence]:
    """The lists of one dialogue, as long as its list of names."""
    entries = {part: values.get(dialogue) for part, values in content.by_dialogue.items()}
    names = entries["videoIDs"]
    for part, values in entries.items():
        if not _is_list(values) or len(values) != len(names):
            got = f"{len(values)} entries" if isinstance(values, (list, tuple)) else describe(values)
            where = f"{content.path}, {key_text(dialogue)[:80]}: {part}"
            raise ValueError(f"{where}: expected a list with one entry an utterance, got {got}")
    return entries


def _is_list(values: Any) -> bool:
    return isinstance(values, (list, tuple)) or isinstance(values, np.ndarray) and values.ndim > 0


def _read_dialogue(dialogue: Any, name: str, split: str | None, content: _Content, features, reading: Reading) -> None:
    """Add the rows of one dialogue."""
    entries = _entries(dialogue, content)
    for place, utterance in enumerate(map(key_text, entries["videoIDs"])):
        reading.rows_read += 1
        label = entries["labels"][place]
        if split is None:
            reading.skipped.add(NO_SPLIT, utterance)
        elif not is_utterance(utterance):
            reading.skipped.add(BAD_NAME, utterance[:80], split=split)
        elif not isinstance(label, (int, np.integer)) or not 0 <= label < len(EMOTIONS):
            reading.skipped.add(f"{LABEL_OUTSIDE}: {key_text(label)[:20]}", utterance, split=split)
        else:
            text = entries["sentence"][place]
            text = clean_text(as_text(text)) if isinstance(text, (str, bytes)) else None
            row = new_row(split, name, utterance, EMOTIONS[label], text)
            speaker = key_text(entries["speakers"][place])
            if speaker != gender_of(utterance):
                reading.notes.add(OTHER_SPEAKER, f"{utterance}: {speaker[:20]}", split=split)
            if reading.add(Item(row), f"{content.path.name}, {name}"):
                features.add(row, dialogue, place)


class _Features:
    """Where the vectors of each row stand. Nothing is copied."""

    def __init__(self, content: _Content, reading: Reading):
        self.content, self.reading = content, reading
        self.places: dict[str, dict[str, tuple[Any, int]]] = {}
        self.sizes: dict[str, int] = {}

    def add(self, row: dict, dialogue: Any, place: int) -> None:
        self.places[row["id"]] = {}
        for modality in _MODALITIES:
            value = self.content.by_dialogue[modality][dialogue][place]
            vector = as_sequence(value)
            if vector is None or vector.shape[1] != self.sizes.setdefault(modality, vector.shape[1]):
                shown = f"{row['id']}: {modality}: {describe(value)}"
                self.reading.notes.add(OTHER_FORM, shown, split=row["split"])
            else:
                self.places[row["id"]][modality] = (dialogue, place)

    def get(self, row_id: str) -> dict[str, np.ndarray]:
        found = self.places.get(row_id, {})
        return {name: as_sequence(self.content.by_dialogue[name][at][place]) for name, (at, place) in found.items()}
