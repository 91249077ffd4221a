"""IEMOCAP, six emotions, Session 5 for testing: the session tree as distributed, or a pickle of features."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from dataset_scripts import iemocap_pickle, iemocap_tree
from dataset_scripts.authors_features import attach_authors_features, begins_as_theirs, note_not_used
from dataset_scripts.formats import choose_format
from dataset_scripts.iemocap_tree import EXPECTED as EXPECTED
from dataset_scripts.iemocap_tree import choose_validation as choose_validation
from dataset_scripts.iemocap_tree import utterance_of
from dataset_scripts.readers import Reading, StoredSet
from dataset_scripts.sentiment import folder_of, relative_name

FORMATS = (iemocap_tree.FORMAT, iemocap_pickle.FORMAT)
WITHOUT_ROW = "row without features in the pickle"


def read(source: Path, format: str | None = None) -> Reading:
    """Read IEMOCAP.

    Args:
        source: the folder that holds `Session1` to `Session5`, or the one above it; or a folder with
            `IEMOCAP_features.pkl`, or that file.
        format: `session-tree` or `iemocap-pickle`; `None` = whichever is there.

    Returns:
        Rows by session, dialogue and start time; ids are `iemocap/<split>/<utterance>`. Validation is a tenth of the
        dialogues of the other sessions, chosen by a hash of their names: the same on every machine and in both formats.
        Stored sets: `iemocap-features` of such a pickle, `unimse-authors` of the authors'. One that lies beside the
        sessions and cannot be used is noted with the reason.

    Raises:
        FileNotFoundError: no session with evaluation files, and no pickle.
        ValueError: an utterance listed again with other content; without sessions, a pickle that is broken, unsafe
            or of another form.
    """
    chosen = choose_format("iemocap", source, FORMATS, format)
    reading = chosen.read(source)
    if chosen is iemocap_tree.FORMAT:
        places = iemocap_tree.places_beside(source)
        used = [path for place in places for path in iemocap_pickle.features_pickles(place)]
        used = [path for path in used if not begins_as_theirs(path)]
        for path in used:
            _attach_pickle(reading, path, source)
    else:
        places, used = [folder_of(source)], [iemocap_pickle.find_pickle(source)]
    attach_authors_features(reading, source, places, iemocap_tree.row_finder(reading), used)
    return reading


def _attach_pickle(reading: Reading, path: Path, source: Path) -> None:
    """Features of an `IEMOCAP_features.pkl` beside the sessions, for the utterances of both."""
    try:
        other = iemocap_pickle.read_iemocap_pickle(path)
    except (ValueError, OSError) as error:
        note_not_used(reading, path, source, error)
        return
    theirs = {utterance_of(item.example["id"]): item.example["id"] for item in other.items}
    for stored in other.stored:
        name, get = reading.free_name(stored.name), partial(_features_of, stored, theirs)
        reading.stored.append(replace(stored, name=name, source=relative_name(path, source), get=get))
    odd = other.notes.as_dict().get(iemocap_pickle.OTHER_FORM, {"splits": {}})
    for split, count in odd["splits"].items():
        reading.notes.add(iemocap_pickle.OTHER_FORM, odd["first"], count, split=split)
    for item in reading.items:
        if utterance_of(item.example["id"]) not in theirs:
            reading.notes.add(WITHOUT_ROW, item.example["id"], split=item.example["split"])


def _features_of(stored: StoredSet, theirs: Mapping[str, str], row_id: str) -> Mapping[str, np.ndarray]:
    name = utterance_of(row_id)
    return stored.get(theirs[name]) if name in theirs else {}
