"""IEMOCAP as distributed: the session tree. Also what its two formats share: names, splits, rows.

    Session<1-5>/dialog/EmoEvaluation/<dialogue>.txt     [6.29 - 8.24]<TAB>Ses01F_impro01_F000<TAB>neu<TAB>[2.5, ...]
    Session<1-5>/dialog/transcriptions/<dialogue>.txt    Ses01F_impro01_F000 [006.29-008.24]: Excuse me.
    Session<1-5>/sentences/wav/<dialogue>/<utterance>.wav
    Session<1-5>/dialog/avi/DivX/<dialogue>.avi          both actors side by side

Kept: ang, hap (as joy), exc, sad, fru, neu. IEMOCAP has no column for the polarity, so it is the emotion's, by
`EMOTION_POLARITY`: joy and excited positive, neutral neutral, the others negative. That table also holds the rule for
`sur`, negative as the authors of UniMSE have it, for those who keep more than the six.

The actor is in the left half of the film when the gender letter of the utterance (`F` in `_F000`) is the one in the
dialogue's name, `name[5]`; else in the right half.
"""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from dataset_scripts.formats import RawFormat
from dataset_scripts.readers import LABEL_OUTSIDE, Item, Reading, Span, clean_text
from dataset_scripts.schema import new_example
from dataset_scripts.tables import read_encoded_text, split_lines
from modeling_unimse.universal_label_unimse import EMOTION_POLARITY

EXPECTED = {"train": 5354, "validation": 528, "test": 1650}
EMOTION_OF_CODE = {
    "ang": "anger",
    "hap": "joy",
    "exc": "excited",
    "sad": "sadness",
    "fru": "frustrated",
    "neu": "neutral",
}
LOOKED_FOR = "Session1 ... Session5, each with dialog/EmoEvaluation/*.txt and dialog/transcriptions/*.txt"
TEST_SESSION = "Session5"
VALIDATION_SHARE = 0.1
# What the report says, each with its first example.
NO_SESSION = "session not found"
NO_TRANSCRIPT = "transcript not found"
BAD_TRANSCRIPT = "transcript that cannot be read"
BAD_TRANSCRIPT_LINE = "transcript line that does not parse"
SECOND_TRANSCRIPT = "utterance transcribed twice; the first text is kept"
BAD_EVALUATION_LINE = "evaluation line that does not parse"
NO_TEXT = "utterance without a transcript; its text is None"
BAD_TIMES = "end before start; start, end and film are None"
_SECONDS = r"(\d{1,6}(?:\.\d{1,9})?)"
_UTTERANCE = r"(Ses0[1-5][FM]_\w+_[FM]\w*)"
_EVALUATION = re.compile(rf"\[{_SECONDS} - {_SECONDS}\]\s+{_UTTERANCE}\s+(\w{{1,20}})\s+\[.*", re.ASCII)
_TRANSCRIPT = re.compile(rf"{_UTTERANCE} \[{_SECONDS}-{_SECONDS}\] ?:(.*)", re.ASCII)


@dataclass(frozen=True)
class _Dialogue:
    """One dialogue: its evaluation file, session folder, split, and which media the whole tree has."""

    evaluation: Path
    split: str
    media: dict[str, bool]

    @property
    def name(self) -> str:
        return self.evaluation.stem

    @property
    def session(self) -> Path:
        return _session(self.evaluation)


def read_session_tree(source: Path) -> Reading:
    """The reader of `session-tree`; see `iemocap.read`.

    Raises:
        FileNotFoundError: no session with evaluation files.
        ValueError: an utterance listed again with other content, or an evaluation file that is no text.
    """
    evaluations = _find_evaluations(source)
    if not evaluations:
        raise FileNotFoundError(f"iemocap: no dialog/EmoEvaluation/*.txt under {source}; expected {LOOKED_FOR}")
    media = _media_there({_session(path) for path in evaluations})
    reading = Reading("iemocap", f"session-tree: {_layout(media)}", expected=EXPECTED)
    for number in range(1, 6):
        if not any(_session(path).name == f"Session{number}" for path in evaluations):
            reading.notes.add(NO_SESSION, f"Session{number}")
    validation = choose_validation([path.stem for path in evaluations if _session(path).name != TEST_SESSION])
    starts: list[float] = []
    for path in evaluations:
        test = _session(path).name == TEST_SESSION
        split = "test" if test else "validation" if path.stem in validation else "train"
        starts += _read_dialogue(_Dialogue(path, split, media), reading)
    reading.place([(start, item.example["id"]) for start, item in zip(starts, reading.items, strict=True)])
    return reading


def places_beside(source: Path) -> list[Path]:
    """`source` and the folder of the sessions: where pickles of features may lie beside a tree."""
    evaluations = _find_evaluations(source)
    return list(dict.fromkeys([source, *(_session(path).parent for path in evaluations[:1])]))


def choose_validation(dialogues: list[str]) -> set[str]:
    """A tenth of the dialogues (at least one of two or more): those whose names have the smallest SHA-256."""
    count = max(1, round(VALIDATION_SHARE * len(dialogues))) if len(dialogues) > 1 else 0
    return set(sorted(dialogues, key=lambda name: hashlib.sha256(name.encode()).hexdigest())[:count])


def new_row(split: str, dialogue: str, utterance: str, emotion: str, text: str | None, **times: float | None) -> dict:
    """A row of either format; `times`: `start` and `end` in seconds of the dialogue."""
    return new_example(
        id=f"iemocap/{split}/{utterance}",
        dataset="iemocap",
        split=split,
        dialogue_id=dialogue,
        speaker=f"{dialogue[:5]}{gender_of(utterance)}",
        text=text,
        emotion=emotion,
        polarity=EMOTION_POLARITY[emotion],
        **times,
    )


def row_finder(reading: Reading):
    """(split, id of the authors) -> id of the row. Their validation set is another one: the utterance alone counts."""
    rows = {utterance_of(item.example["id"]): item.example["id"] for item in reading.items}

    def row_of(split: str, name: str) -> str | None:
        found = re.search(_UTTERANCE, name, re.ASCII)
        return rows.get(found[1]) if found else None

    return row_of


def utterance_of(row_id: str) -> str:
    """`Ses01F_impro01_F000` of `iemocap/train/Ses01F_impro01_F000`: the same whatever the split."""
    return row_id.rpartition("/")[2]


def is_utterance(name: str) -> bool:
    """Whether `name` is of the form `Ses01F_impro01_F000`."""
    return re.fullmatch(_UTTERANCE, name, re.ASCII) is not None


def half_of(utterance: str) -> str:
    """Which half of the film shows the speaker: `Ses01F_impro01_F000` left, `Ses01F_impro01_M000` right."""
    return "left" if gender_of(utterance) == utterance[5] else "right"


def gender_of(utterance: str) -> str:
    """`F` or `M`: the letter before the number of the utterance."""
    return utterance.rsplit("_", 1)[-1][:1]


def _find_evaluations(source: Path) -> list[Path]:
    """Evaluation files in order of session and name; `._*` are system files."""
    for pattern in ("Session[1-5]", "*/Session[1-5]", "*/*/Session[1-5]"):
        found = sorted(source.glob(f"{pattern}/dialog/EmoEvaluation/*.txt"))
        found = [path for path in found if not path.name.startswith("._") and path.is_file()]
        if found:
            return found
    return []


FORMAT = RawFormat("session-tree", LOOKED_FOR, lambda source: bool(_find_evaluations(source)), read_session_tree)


def _session(evaluation: Path) -> Path:
    return evaluation.parents[2]


def _media_there(sessions: Iterable[Path]) -> dict[str, bool]:
    """Whether any session has wavs and films: then a session without them is one whose clips are missing."""
    return {
        "sentence wavs": any((session / "sentences" / "wav").is_dir() for session in sessions),
        "DivX films": any((session / "dialog" / "avi" / "DivX").is_dir() for session in sessions),
    }


def _layout(media: dict[str, bool]) -> str:
    there = " and ".join(name for name, found in media.items() if found)
    return f"sessions with {there}" if there else "sessions without media, text only"


def _read_dialogue(dialogue: _Dialogue, reading: Reading) -> list[float]:
    """Add the rows of one evaluation file whose code is one of the six. Returns the start of each row added."""
    texts = _read_transcript(dialogue, reading)
    name, split, starts = dialogue.evaluation.name, dialogue.split, []
    for line in _lines(dialogue.evaluation, split, reading):
        if not line.startswith("["):  # the % header, blank lines, and the annotators' C- and A- lines
            continue
        match = _EVALUATION.fullmatch(line.rstrip())
        if match is None:
            reading.notes.add(BAD_EVALUATION_LINE, f"{name}: {line[:80]}", split=split)
            continue
        reading.rows_read += 1
        start, end, utterance, code = float(match[1]), float(match[2]), match[3], match[4]
        if code not in EMOTION_OF_CODE:
            reading.skipped.add(f"{LABEL_OUTSIDE}: code {code}", utterance, split=split)
            continue
        row = new_row(split, dialogue.name, utterance, EMOTION_OF_CODE[code], texts.get(utterance))
        if end < start:
            reading.notes.add(BAD_TIMES, f"{utterance}: {start}-{end}", split=split)
        else:
            row["start"], row["end"] = start, end
        if reading.add(_item(dialogue, utterance, row), name):
            starts.append(start)
            if utterance not in texts:
                reading.notes.add(NO_TEXT, utterance, split=split)
    return starts


def _read_transcript(dialogue: _Dialogue, reading: Reading) -> dict[str, str | None]:
    """Utterance -> text. Lines without a time (`M: only`) belong to no utterance and are counted."""
    path, split = dialogue.session / "dialog" / "transcriptions" / f"{dialogue.name}.txt", dialogue.split
    if not path.is_file():
        reading.notes.add(NO_TRANSCRIPT, path.name, split=split)
        return {}
    try:
        lines = _lines(path, split, reading)
    except ValueError as error:
        reading.notes.add(BAD_TRANSCRIPT, str(error), split=split)
        return {}
    texts: dict[str, str | None] = {}
    for line in filter(str.strip, lines):
        match = _TRANSCRIPT.fullmatch(line.strip())
        if match is None or "\0" in line:
            reading.notes.add(BAD_TRANSCRIPT_LINE, f"{path.name}: {line[:80]}", split=split)
        elif match[1] in texts:
            reading.notes.add(SECOND_TRANSCRIPT, f"{path.name}: {match[1]}", split=split)
        else:
            texts[match[1]] = clean_text(match[4])
    return texts


def _lines(path: Path, split: str, reading: Reading) -> list[str]:
    """The lines of a file; one that is not UTF-8 is counted."""
    text, encoding = read_encoded_text(path)
    if encoding != "utf-8":
        reading.notes.add(f"read as {encoding}", path.name, split=split)
    return split_lines(text)


def _item(dialogue: _Dialogue, utterance: str, row: dict) -> Item:
    audio = visual = None
    if dialogue.media["sentence wavs"]:
        audio = Span(dialogue.session / "sentences" / "wav" / dialogue.name / f"{utterance}.wav")
    if dialogue.media["DivX films"] and row["start"] is not None:
        film = dialogue.session / "dialog" / "avi" / "DivX" / f"{dialogue.name}.avi"
        visual = Span(film, row["start"], row["end"], half_of(utterance))
    return Item(row, audio=audio, visual=visual)
