"""IEMOCAP, six emotions, Session 5 for testing: the session tree as distributed, or a pickle of features."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from dataset_scripts import iemocap_pickle, iemocap_tree
from dataset_scripts.formats import choose_format
from dataset_scripts.iemocap_tree import EXPECTED as EXPECTED
from dataset_scripts.iemocap_tree import choose_validation as choose_validation
from dataset_scripts.readers import Reading, StoredSet

FORMATS = (iemocap_tree.FORMAT, iemocap_pickle.FORMAT)


def read(source: Path, format: str | None = None) -> Reading:
    """Read IEMOCAP.

    Args:
        source: the folder that holds `Session1` to `Session5`, or the one above it; or a folder with
            `IEMOCAP_features.pkl`, or that file.
        format: `session-tree` or `iemocap-pickle`; `None` = whichever is there.

    Returns:
        Rows by session, dialogue and start time; ids are `iemocap/<split>/<utterance>`. Validation is a tenth of the
        dialogues of the other sessions, chosen by a hash of their names: the same on every machine and in both formats.

    Raises:
        FileNotFoundError: no session with evaluation files, and no pickle.
        ValueError: an utterance listed again with other content; a pickle that is broken, unsafe or of another form.
    """
    chosen = choose_format("iemocap", source, FORMATS, format)
    reading = chosen.read(source)
    if chosen is iemocap_tree.FORMAT:
        _attach_pickle(reading, source)
    return reading


def _attach_pickle(reading: Reading, source: Path) -> None:
    """Features of an `IEMOCAP_features.pkl` beside the sessions, for the utterances of both."""
    if not iemocap_pickle.FORMAT.detect(source):
        return
    try:
        other = iemocap_pickle.read_iemocap_pickle(source)
    except (ValueError, FileNotFoundError) as error:
        reading.notes.add("pickle of features not used", " ".join(str(error).split()))
        return
    theirs = {item.example["id"].rpartition("/")[2]: item.example["id"] for item in other.items}
    for stored in other.stored:
        if stored.name == iemocap_pickle.SET_NAME:
            reading.stored.append(replace(stored, get=partial(_features_of, stored, theirs)))
    for item in reading.items:
        if item.example["id"].rpartition("/")[2] not in theirs:
            reading.notes.add("row without features in the pickle", item.example["id"], split=item.example["split"])


def _features_of(stored: StoredSet, theirs: Mapping[str, str], row_id: str) -> Mapping[str, np.ndarray]:
    name = row_id.rpartition("/")[2]
    return stored.get(theirs[name]) if name in theirs else {}
