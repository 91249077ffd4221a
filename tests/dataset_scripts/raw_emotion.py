"""Pickles in the forms that people have of MELD and IEMOCAP."""

import pickle
from pathlib import Path

import numpy as np

LABELS = {"hap": 0, "sad": 1, "neu": 2, "ang": 3, "exc": 4, "fru": 5}
WIDTHS = {"text": 3, "audio": 4, "visual": 2}


def write_pickle(path: Path, content, protocol: int = 2) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    return path


class _Python2Pickler(pickle._Pickler):
    """Writes strings as Python 2 did: bytes without a word on their encoding."""

    dispatch = dict(pickle._Pickler.dispatch)

    def save_text(self, text):
        raw = text.encode("latin1")
        self.write(pickle.SHORT_BINSTRING + bytes([len(raw)]) + raw)
        self.memoize(text)

    dispatch[str] = save_text


def write_python2_pickle(path: Path, content) -> Path:
    with path.open("wb") as file:
        _Python2Pickler(file, protocol=2).dump(content)
    return path


def steps(number: float, length: int, width: int, padded: int) -> np.ndarray:
    """`length` steps of `number`, then zeros up to `padded` steps."""
    array = np.zeros((padded, width), np.float32)
    array[:length] = number
    return array


def write_authors_features(path: Path, audio, video, protocol: int = 4) -> Path:
    """`audio`, `video`: three dicts, id -> (number, length); length 0 = a missing clip, all zeros."""

    def arrays(parts, width, padded):
        return [{key: steps(number, length, width, padded) for key, (number, length) in p.items()} for p in parts]

    return write_pickle(path, {"audio": arrays(audio, 64, 157), "video": arrays(video, 64, 32)}, protocol)


def iemocap_tuple() -> list:
    """Two training dialogues and one of Session 5; vectors count up so that each is another."""
    spoken = {
        "Ses01F_impro01": [("F000", "neu", "Excuse me."), ("M000", "hap", "Do you have your forms?")],
        "Ses02M_script01_1b": [("M000", "ang", "No."), ("F000", "fru", "  "), ("F001", "exc", "Great!")],
        "Ses05F_impro03": [("F000", "sad", "caf\u00e9 is closed")],
    }
    ids, speakers, labels, sentences = {}, {}, {}, {}
    vectors = {modality: {} for modality in WIDTHS}
    number = 0
    for dialogue, lines in spoken.items():
        ids[dialogue] = [f"{dialogue}_{name}" for name, _, _ in lines]
        speakers[dialogue] = [name[0] for name, _, _ in lines]
        labels[dialogue] = [LABELS[code] for _, code, _ in lines]
        sentences[dialogue] = [text for _, _, text in lines]
        for modality, width in WIDTHS.items():
            vectors[modality][dialogue] = [
                np.arange(width, dtype=np.float64) + 10 * (number + k) for k in range(len(lines))
            ]
        number += len(lines)
    train, test = {"Ses01F_impro01", "Ses02M_script01_1b"}, {"Ses05F_impro03"}
    return [ids, speakers, labels, vectors["text"], vectors["audio"], vectors["visual"], sentences, train, test]


def write_iemocap_pickle(path: Path, parts=None, protocol: int = 2) -> Path:
    return write_pickle(path, tuple(iemocap_tuple() if parts is None else parts), protocol)
