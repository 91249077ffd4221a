"""MELD as distributed: three csv files and, beside them, one mp4 clip an utterance. The csv files alone give text only.

    train_sent_emo.csv, dev_sent_emo.csv, test_sent_emo.csv
    train_splits/, dev_splits_complete/, output_repeated_splits_test/        dia<d>_utt<u>.mp4
    a pickle of the authors of UniMSE beside the csv files                   see `authors_features`

Each lies at the top or up to three folders down, as archives and repositories have them (`train/train_splits`,
`data/MELD/train_sent_emo.csv`). Ids repeat across the splits, so the split is part of a row's identity. Some clips are
known to be bad: cut over minutes of an episode, broken, missing, doubled (`final_videos_test*`), or there without a
label. None is listed here by name; each is found by what it is, and counted.
"""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from dataset_scripts.authors_features import attach_authors_features
from dataset_scripts.formats import ARCHIVES, RawFormat, candidate_files, choose_format
from dataset_scripts.readers import LABEL_OUTSIDE, Item, Reading, Span, clean_text
from dataset_scripts.schema import new_example
from dataset_scripts.tables import CsvTable, WrongLines, read_csv
from modeling_unimse.universal_label_unimse import BENCHMARK_EMOTIONS, POLARITIES

EXPECTED = {"train": 9989, "validation": 1109, "test": 2610}
FILES = {"train": "train_sent_emo.csv", "validation": "dev_sent_emo.csv", "test": "test_sent_emo.csv"}
CLIP_FOLDERS = {"train": "train_splits", "validation": "dev_splits_complete", "test": "output_repeated_splits_test"}
LOOKED_FOR = f"{', '.join(FILES.values())}, and optionally clips in {', '.join(CLIP_FOLDERS.values())}"
LONGEST_SECONDS = 40.0
SLOWEST_WORDS_PER_SECOND = 1.0
# What the report says, each with its first example.
NO_TIMES = "times cannot be used; start and end are None"
ZERO_TIME = "start and end are the same time"
OTHER_COPY = "another file of that name, not used"
NO_CLIPS = "clip folder not found; its clips count as missing"
NO_MEDIA = "clip folder not found; the rows have text only"
NO_ROW = "clip without a row, not used"
SYSTEM_FILE = "system file ._*, not used"
FINAL_VIDEO = "clip final_videos_test*, not used"
OTHER_CLIP = "clip not named dia<d>_utt<u>.mp4, not used"
IN_SEVERAL = "name that comes in several splits; the split is part of the id"
DIALOGUE_GAP = "number without a dialogue"
UTTERANCE_GAP = "number without an utterance within a dialogue"
_REQUIRED = ("Utterance", "Speaker", "Emotion", "Sentiment", "Dialogue_ID", "Utterance_ID")
_OPTIONAL = ("StartTime", "EndTime")
_TIME = re.compile(r"(\d{1,3}):(\d{1,2}):(\d{1,2})[,.](\d{1,3})", re.ASCII)
_NUMBER = re.compile(r"(\d{1,9})(?:\.0)?", re.ASCII)  # pandas writes 3.0 where another row had no number
_CLIP = re.compile(r"dia(\d{1,9})_utt(\d{1,9})\.mp4", re.ASCII)


@dataclass(frozen=True)
class _Row:
    """One labelled line of a csv file; `number` = dialogue and utterance."""

    number: tuple[int, int]
    example: dict
    where: str

    @property
    def clip_name(self) -> str:
        return f"dia{self.number[0]}_utt{self.number[1]}.mp4"


@dataclass(frozen=True)
class _Layout:
    """What is where: csv files of each split, the topmost first; clip folders; names of archives still packed."""

    source: Path
    files: dict[str, list[Path]]
    clips: dict[str, Path | None]
    archives: str

    @property
    def has_clips(self) -> bool:
        return any(self.clips.values())


def read(source: Path, format: str | None = None) -> Reading:
    """Read a MELD folder.

    Args:
        source: folder with the three csv files and, unless only text is wanted, the clip folders; or one of the files.
        format: the only one is `meld-csv`.

    Returns:
        Rows in the order of the csv files, by `Utterance_ID` within a dialogue; ids are `meld/<split>/dia<d>_utt<u>`.
        `start` and `end` are times of the episode; a row's media is its whole clip. Stored set: `unimse-authors`.

    Raises:
        FileNotFoundError: one of the csv files is missing.
        ValueError: a missing column, an id that is no number, an id listed again with other content; names file and
            line.
    """
    return choose_format("meld", source, FORMATS, format).read(source)


def read_csv_files(source: Path) -> Reading:
    """The reader of `meld-csv`; see `read`."""
    layout = _survey(source.parent if source.is_file() else source)
    form = "csv files with clips" if layout.has_clips else "csv files alone, text only"
    reading = Reading("meld", f"meld-csv: {form}", expected=EXPECTED)
    numbers = [number for split in FILES for number in _add_split(split, layout, reading)]
    reading.place(numbers)
    _note_names_in_several_splits(reading)
    beside = dict.fromkeys([layout.source, *(paths[0].parent for paths in layout.files.values())])
    attach_authors_features(reading, layout.source, beside, _row_of)
    return reading


def parse_time(value: str) -> float | None:
    """`00:14:38,127` or `0:12:32,632` in seconds; the last field counts milliseconds. `None` if of another form."""
    match = _TIME.fullmatch(value.strip())
    if match is None:
        return None
    hours, minutes, seconds, milliseconds = map(int, match.groups())
    return hours * 3600 + minutes * 60 + seconds + milliseconds / 1000


def _detect(source: Path) -> bool:
    if source.is_file():
        return source.name in FILES.values()
    return bool(_find_files(_folders(source)))


FORMATS = (RawFormat("meld-csv", LOOKED_FOR, _detect, read_csv_files),)


def _survey(source: Path) -> _Layout:
    """What is where. A missing csv file is a `FileNotFoundError` that also names archives still to unpack."""
    places = _folders(source)
    files = _find_files(places)
    archives = ", ".join(path.name for path in candidate_files(source, *(f"*{ending}" for ending in ARCHIVES)))
    missing = ", ".join(name for split, name in FILES.items() if split not in files)
    if missing:
        hint = f" (first unpack {archives})" if archives else ""
        raise FileNotFoundError(f"meld: {missing} not found in {source}{hint}; expected {LOOKED_FOR}")
    return _Layout(source, files, {split: _clip_folder(places, name) for split, name in CLIP_FOLDERS.items()}, archives)


def _folders(source: Path) -> list[Path]:
    """`source`, the folders in it, and theirs; a folder of clips is not looked into any deeper."""
    found = level = [source] if source.is_dir() else []
    for _ in range(3):
        level = [inner for folder in level if folder.name not in CLIP_FOLDERS.values() for inner in _inside(folder)]
        found = [*found, *level]
    return found


def _inside(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith(".") and path.is_dir())
    except PermissionError:  # somebody else's folder beside the data: not where the data are
        return []


def _find_files(places: Iterable[Path]) -> dict[str, list[Path]]:
    """Split -> its csv files, the topmost first; splits without one are left out."""
    found = {split: [place / name for place in places if (place / name).is_file()] for split, name in FILES.items()}
    return {split: paths for split, paths in found.items() if paths}


def _clip_folder(places: Iterable[Path], name: str) -> Path | None:
    """The topmost folder of that name with clips in it, or else without."""
    folders = [place for place in places if place.name == name]
    return next((folder for folder in folders if any(folder.glob("*.mp4"))), folders[0] if folders else None)


def _add_split(split: str, layout: _Layout, reading: Reading) -> list[int]:
    """Add the rows of one split. Returns the utterance number of each row added."""
    path, *others = layout.files[split]
    for other in others:
        reading.notes.add(OTHER_COPY, other.relative_to(layout.source).as_posix(), split=split)
    rows = _read_split(path, split, reading)
    folder = layout.clips[split]
    clips = _index_clips(folder, split, {row.number for row in rows}, reading)
    if folder is None:
        _note_missing_folder(split, layout, reading)
        folder = layout.source / CLIP_FOLDERS[split]
    numbers = []
    for row in rows:
        clip = clips.get(row.number, folder / row.clip_name) if layout.has_clips else None
        if reading.add(_item(row.example, clip), row.where):
            numbers.append(row.number[1])
    return numbers


def _note_missing_folder(split: str, layout: _Layout, reading: Reading) -> None:
    """Without any clips and archives the user has, and wants, the csv files alone."""
    unpack = f" (not unpacked: {layout.archives})" if layout.archives else ""
    if layout.has_clips or layout.archives:
        reading.notes.add(NO_CLIPS if layout.has_clips else NO_MEDIA, f"{CLIP_FOLDERS[split]}{unpack}", split=split)


def _read_split(path: Path, split: str, reading: Reading) -> list[_Row]:
    """Rows of one csv file whose labels are of the label set."""
    table = read_csv(path, _REQUIRED, _OPTIONAL)
    reading.note_encoding(table)
    reading.rows_read += len(table.rows)
    rows, numbered = [], _numbered(table)
    for where, number, row in numbered:
        emotion, polarity = row["Emotion"].strip().lower(), row["Sentiment"].strip().lower()
        if emotion not in BENCHMARK_EMOTIONS["meld"] or polarity not in POLARITIES:
            labels = f"{row['Emotion'][:40]!r}, {row['Sentiment'][:40]!r}"
            reading.skipped.add(LABEL_OUTSIDE, f"{where}: {labels}", split=split)
            continue
        start, end = _times(row, split, where, reading)
        example = new_example(
            id=f"meld/{split}/dia{number[0]}_utt{number[1]}",
            dataset="meld",
            split=split,
            dialogue_id=f"dia{number[0]}",
            speaker=clean_text(row["Speaker"]),
            text=clean_text(row["Utterance"]),
            start=start,
            end=end,
            emotion=emotion,
            polarity=polarity,
        )
        rows.append(_Row(number, example, where))
    _note_gaps([number for _, number, _ in numbered], split, reading)
    return rows


def _numbered(table: CsvTable) -> list[tuple[str, tuple[int, int], dict[str, str]]]:
    """(where it stands, dialogue and utterance number, row). A row without numbers has no identity: a `ValueError`."""
    rows, wrong = [], WrongLines()
    for line, row in table:
        where = f"{table.path.name}, line {line}"
        try:
            number = tuple(_number(row[name], f"{where}: {name}") for name in ("Dialogue_ID", "Utterance_ID"))
            rows.append((where, number, row))
        except ValueError as error:
            wrong.add(error)
    wrong.raise_if_any()
    return rows


def _number(value: str, where: str) -> int:
    match = _NUMBER.fullmatch(value.strip())
    if match is None:
        raise ValueError(f"{where}: expected a whole number, got {value[:80]!r}")
    return int(match[1])


def _times(row: dict[str, str], split: str, where: str, reading: Reading) -> tuple[float | None, float | None]:
    values = [row.get(name, "") for name in ("StartTime", "EndTime")]
    start, end = map(parse_time, values)
    shown = f"{where}: {values[0][:40]}-{values[1][:40]}"
    if start is None or end is None or end < start:
        reading.notes.add(NO_TIMES, shown, split=split)
        return None, None
    if start == end:
        reading.notes.add(ZERO_TIME, shown, split=split)
    return start, end


def _note_gaps(numbers: list[tuple[int, int]], split: str, reading: Reading) -> None:
    """Count the numbers that are left out: among the dialogues, and within each dialogue."""
    dialogues: dict[int, set[int]] = {}
    for dialogue, utterance in numbers:
        dialogues.setdefault(dialogue, set()).add(utterance)
    first = next((number for number in range(len(dialogues)) if number not in dialogues), None)
    if first is not None:
        count = max(dialogues) + 1 - len(dialogues)
        reading.notes.add(DIALOGUE_GAP, f"{split}: dia{first}", count, split=split)
    for dialogue, utterances in dialogues.items():
        first = next((number for number in range(len(utterances)) if number not in utterances), None)
        if first is not None:
            count = max(utterances) + 1 - len(utterances)
            reading.notes.add(UTTERANCE_GAP, f"{split}: dia{dialogue}_utt{first}", count, split=split)


def _note_names_in_several_splits(reading: Reading) -> None:
    names = Counter(item.example["id"].rpartition("/")[2] for item in reading.items)
    for name, count in names.items():
        if count > 1:
            reading.notes.add(IN_SEVERAL, name)


def _index_clips(
    folder: Path | None, split: str, wanted: set[tuple[int, int]], reading: Reading
) -> dict[tuple[int, int], Path]:
    """(dialogue, utterance) -> clip of one folder; clips that belong to no row are counted."""
    clips = {}
    for path in sorted(folder.glob("*.mp4")) if folder else ():
        match = _CLIP.fullmatch(path.name)
        shown = f"{folder.name}/{path.name}"
        if match is None:
            reading.notes.add(_kind_of_other(path.name), shown, split=split)
            continue
        key = int(match[1]), int(match[2])
        if key not in wanted:
            reading.notes.add(NO_ROW, shown, split=split)
        clips[key] = path
    return clips


def _kind_of_other(name: str) -> str:
    if name.startswith("._"):
        return SYSTEM_FILE
    return FINAL_VIDEO if name.startswith("final_videos_test") else OTHER_CLIP


def _item(example: dict, clip: Path | None) -> Item:
    """An item whose clip may last 40 s, or a second a word where there are more words: longer ones were cut wrongly."""
    if clip is None:
        return Item(example)
    words = len((example["text"] or "").split())
    longest = max(LONGEST_SECONDS, words / SLOWEST_WORDS_PER_SECOND)
    return Item(example, audio=Span(clip), visual=Span(clip), longest=longest)


def _row_of(split: str, name: str) -> str | None:
    """The row that an id of the authors means: its last two numbers are those of dialogue and utterance."""
    numbers = re.findall(r"\d{1,9}", name, re.ASCII)
    if len(numbers) < 2 or name.startswith("final_videos_test"):
        return None
    return f"meld/{split}/dia{int(numbers[-2])}_utt{int(numbers[-1])}"
