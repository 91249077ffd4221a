"""IEMOCAP as distributed: the session tree, six emotions, Session 5 for testing.

    Session<1-5>/dialog/EmoEvaluation/<dialogue>.txt     [6.29 - 8.24]<TAB>Ses01F_impro01_F000<TAB>neu<TAB>[2.5, ...]
    Session<1-5>/dialog/transcriptions/<dialogue>.txt    Ses01F_impro01_F000 [006.29-008.24]: Excuse me.
    Session<1-5>/sentences/wav/<dialogue>/<utterance>.wav
    Session<1-5>/dialog/avi/DivX/<dialogue>.avi          both actors side by side

Kept: ang, hap (as joy), exc, sad, fru, neu. The actor is in the left half of the film when the gender letter of the
utterance (`F` in `_F000`) is the one in the dialogue's name, `name[5]`; else in the right half.
"""

import hashlib
import re
from pathlib import Path

from dataset_scripts.readers import Item, Reading, Span, clean_text, read_text, refuse_duplicates, require_folder
from dataset_scripts.schema import new_example
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
_EVALUATION = re.compile(r"\[(\d+(?:\.\d+)?) - (\d+(?:\.\d+)?)\]\t(\S+)\t(\w+)\t.*")
_TRANSCRIPT = re.compile(r"(Ses\w+) \[(\d+(?:\.\d+)?)-(\d+(?:\.\d+)?)\]:(.*)")


def read(source: Path) -> Reading:
    """Read an IEMOCAP folder.

    Args:
        source: the folder that holds `Session1` to `Session5`, or the one above it.

    Returns:
        Rows by session, dialogue and start time; ids are `iemocap/<split>/<utterance>`. Validation is a tenth of the
        dialogues of the other sessions, chosen by a hash of their names: the same on every machine.

    Raises:
        FileNotFoundError: no session with evaluation files.
        ValueError: an utterance listed twice.
    """
    require_folder(source, "iemocap", LOOKED_FOR)
    dialogues = _find_dialogues(source)
    if not dialogues:
        raise FileNotFoundError(f"iemocap: no dialog/EmoEvaluation/*.txt under {source}; expected {LOOKED_FOR}")
    validation = choose_validation([path.stem for path in dialogues if _session(path).name != TEST_SESSION])
    media = _media_there({_session(path) for path in dialogues})
    reading = Reading("iemocap", _layout(media), expected=EXPECTED)
    for number in range(1, 6):
        if not any(_session(path).name == f"Session{number}" for path in dialogues):
            reading.notes.add("session not found", f"Session{number}")
    for evaluation in dialogues:
        test = _session(evaluation).name == TEST_SESSION
        split = "test" if test else "validation" if evaluation.stem in validation else "train"
        reading.items += _read_dialogue(evaluation, split, media, reading)
    refuse_duplicates((item.example["id"], f"EmoEvaluation of {item.example['dialogue_id']}") for item in reading.items)
    reading.place([(item.example["start"], item.example["id"]) for item in reading.items])
    return reading


def choose_validation(dialogues: list[str]) -> set[str]:
    """A tenth of the dialogues (at least one of two or more): those whose names have the smallest SHA-256."""
    count = max(1, round(VALIDATION_SHARE * len(dialogues))) if len(dialogues) > 1 else 0
    return set(sorted(dialogues, key=lambda name: hashlib.sha256(name.encode()).hexdigest())[:count])


def half_of(utterance: str) -> str:
    """Which half of the film shows the speaker: `Ses01F_impro01_F000` left, `Ses01F_impro01_M000` right."""
    return "left" if gender_of(utterance) == utterance[5] else "right"


def gender_of(utterance: str) -> str:
    """`F` or `M`: the letter before the number of the utterance."""
    return utterance.rsplit("_", 1)[-1][:1]


def _find_dialogues(source: Path) -> list[Path]:
    """Evaluation files in order of session and name; `._*` are system files."""
    for pattern in ("Session[1-5]", "*/Session[1-5]"):
        found = sorted(source.glob(f"{pattern}/dialog/EmoEvaluation/*.txt"))
        found = [path for path in found if not path.name.startswith("._")]
        if found:
            return found
    return []


def _session(evaluation: Path) -> Path:
    return evaluation.parents[2]


def _media_there(sessions: set[Path]) -> dict[str, bool]:
    """Whether any session has wavs and films: then a session without them is one whose clips are missing."""
    return {
        "sentence wavs": any((session / "sentences" / "wav").is_dir() for session in sessions),
        "DivX films": any((session / "dialog" / "avi" / "DivX").is_dir() for session in sessions),
    }


def _layout(media: dict[str, bool]) -> str:
    there = " and ".join(name for name, found in media.items() if found)
    return f"session tree with {there}" if there else "session tree without media, text only"


def _read_dialogue(evaluation: Path, split: str, media: dict[str, bool], reading: Reading) -> list[Item]:
    """The rows of one evaluation file whose code is one of the six."""
    session, dialogue = _session(evaluation), evaluation.stem
    texts = _read_transcript(session / "dialog" / "transcriptions" / f"{dialogue}.txt", reading)
    items = []
    for line in read_text(evaluation).splitlines():
        if not line.startswith("["):  # the % header, blank lines, and the annotators' C- and A- lines
            continue
        match = _EVALUATION.fullmatch(line.rstrip())
        if match is None:
            reading.notes.add("evaluation line that does not parse", f"{evaluation.name}: {line[:80]}")
            continue
        reading.rows_read += 1
        start, end, utterance, code = float(match[1]), float(match[2]), match[3], match[4]
        if code not in EMOTION_OF_CODE:
            reading.skipped.add(f"code {code}, outside the six classes", utterance)
            continue
        if utterance not in texts:
            reading.notes.add("utterance without a transcript; its text is None", utterance)
        emotion = EMOTION_OF_CODE[code]
        example = new_example(
            id=f"iemocap/{split}/{utterance}",
            dataset="iemocap",
            split=split,
            dialogue_id=dialogue,
            speaker=f"{dialogue[:5]}{gender_of(utterance)}",
            text=texts.get(utterance),
            start=start,
            end=end,
            emotion=emotion,
            polarity=EMOTION_POLARITY[emotion],
        )
        items.append(_item(session, utterance, example, media))
    return items


def _read_transcript(path: Path, reading: Reading) -> dict[str, str | None]:
    """Utterance -> text. Lines without a time (`M: only`) belong to no utterance and are counted."""
    if not path.is_file():
        reading.notes.add("transcript not found", path.name)
        return {}
    texts = {}
    for line in filter(str.strip, read_text(path).splitlines()):
        match = _TRANSCRIPT.fullmatch(line.strip())
        if match is None:
            reading.notes.add("transcript line that does not parse", f"{path.name}: {line[:80]}")
            continue
        texts[match[1]] = clean_text(match[4])
    return texts


def _item(session: Path, utterance: str, example: dict, media: dict[str, bool]) -> Item:
    audio = visual = None
    if media["sentence wavs"]:
        audio = Span(session / "sentences" / "wav" / example["dialogue_id"] / f"{utterance}.wav")
    if media["DivX films"]:
        film = session / "dialog" / "avi" / "DivX" / f"{example['dialogue_id']}.avi"
        visual = Span(film, example["start"], example["end"], half_of(utterance))
    return Item(example, audio=audio, visual=visual)
