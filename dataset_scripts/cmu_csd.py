"""MOSI and MOSEI as the CMU SDK distributes them: csd files of labels, timed words and features.

    CMU_MOSI_Opinion_Labels.csd     root `Opinion Segment Labels`, 1 column; row k of a video is its clip k + 1
    CMU_MOSEI_Labels.csd            root `All Labels`, 7 columns: sentiment, six emotions; row k is segment k
    CMU_<name>_TimestampedWords.csd per video a row a word, with its interval; `sp` is a pause
    any other csd                   features (COVAREP, FACET, OpenFace, GloVe ...): a stored set each
    folds.json                      optional, {"train": [...], "validation": [...], "test": [...]} of video ids
    Raw/                            optional, see `segment_media`; transcripts there give MOSEI its clip numbers

Files are known by their root groups. The six emotion scores of MOSEI are not read: UniMSE uses MOSEI for sentiment
(Hu et al. 2022, section 4.1).
"""

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from dataset_scripts.csd import CsdError, CsdFile, as_word, csd_root
from dataset_scripts.csd_labels import NO_INTERVAL, PATTERNS, LabelledVideo, find_labels, read_labels, usable_interval
from dataset_scripts.formats import RawFormat, candidate_files
from dataset_scripts.readers import Reading, StoredSet, clean_text
from dataset_scripts.segment_media import find_media
from dataset_scripts.sentiment import (
    Benchmark,
    Row,
    Rows,
    folder_of,
    new_reading,
    other_benchmark,
    relative_name,
    segment_row,
)
from dataset_scripts.transcripts import find_transcripts, match_lines, read_transcript

_PAUSE = "sp"
# The first word that a name contains decides: "hubert" has "bert" in it, and "huggingface_roberta" has "face".
_MODALITY_WORDS = (
    ("audio", ("covarep", "opensmile", "egemaps", "mfcc", "acoustic", "audio", "speech", "wav2vec", "wavlm", "hubert")),
    ("text", ("glove", "wordvector", "word vector", "word_vector", "word2vec", "bert")),
    ("visual", ("facet", "openface", "visual", "vision", "face")),
    ("text", ("embedding",)),
)


def csd_format(benchmark: Benchmark) -> RawFormat:
    """csd files of labels, with words and features."""
    roots = " or ".join(f"'{root}'" for root in benchmark.label_roots)
    return RawFormat(
        "cmu-csd",
        f"{benchmark.label_file} (csd with the root {roots}), with CMU_{benchmark.name.upper()}_TimestampedWords.csd",
        lambda source: _detect(benchmark, source),
        lambda source: _read(benchmark, source),
    )


def _detect(benchmark: Benchmark, source: Path) -> bool:
    if find_labels(source, benchmark) is None:
        return False
    return _find_words(source, benchmark) is not None or not find_transcripts(source, benchmark.name)


def _find_words(source: Path, benchmark: Benchmark) -> Path | None:
    for path in candidate_files(source, *PATTERNS):
        name = path.name.lower()
        if csd_root(path) == "words" or ("timestampedwords" in name and "vector" not in name):
            if _other_benchmark(path, benchmark) is None:
                return path
    return None


def _other_benchmark(path: Path, benchmark: Benchmark) -> str | None:
    """As `sentiment.other_benchmark`, by a csd file's keys; `None` for what cannot be read."""
    try:
        with CsdFile(path) as file:
            keys = file.keys()
    except (CsdError, OSError):
        return None
    return other_benchmark(benchmark, ((segment_row(key) or (key, 0))[0] for key in keys))


def _read(benchmark: Benchmark, source: Path) -> Reading:
    path = find_labels(source, benchmark)
    if path is None:
        raise FileNotFoundError(
            f"{benchmark.name}: no csd file of labels in {source}; expected {csd_format(benchmark).looked_for}"
        )
    folder, media, words_path = folder_of(source), find_media(source), _find_words(source, benchmark)
    reading = new_reading(benchmark, f"cmu-csd: {relative_name(path, source)} {media.layout}")
    rows, segments = Rows(benchmark, reading), {}
    words = _Words(words_path, reading)
    transcripts = find_transcripts(source, benchmark.name) if benchmark.name == "mosei" else {}
    for video in read_labels(path, folder, rows):
        clips = _clip_names(benchmark, video, transcripts, reading)
        if not any(words.key(video.name, row) for row in video.rows):
            reading.notes.add("video without timed words; its text is None", video.name, len(video.scores), video.split)
        for place, (number, interval) in enumerate(zip(video.rows, video.intervals, strict=True)):
            where = f"{path.name}, {video.name}, row {number}"
            times = usable_interval(interval)
            if times is None:
                rows.skip(NO_INTERVAL, where, video.split)
                continue
            clip, known = clips[place]
            sound, pictures = media.spans(video.name, clip if known else None, *times)
            text = words.text(video.name, number, *interval)
            score = float(video.scores[place])
            name = rows.add(
                Row(video.name, clip, video.split, score, text, *times, sound, pictures, order=times[0]), where
            )
            if name is not None:
                segments[name] = (video.name, number, *map(float, interval))
    words.close()
    store_features(rows, source, {path, words_path}, segments)
    return rows.finish()


def _clip_names(
    benchmark: Benchmark, video: LabelledVideo, transcripts: Mapping[str, Path], reading: Reading
) -> list[tuple[str, bool]]:
    """The clip's part of each row's id, and whether files are named by it."""
    if benchmark.first_clip:
        return [(str(row + benchmark.first_clip), True) for row in video.rows]
    if not transcripts:
        return [(str(row), False) for row in video.rows]
    lines = read_transcript(transcripts[video.name], reading) if video.name in transcripts else []
    matched = match_lines(lines, video.intervals)
    if matched:
        reading.notes.add("clip numbers from the transcripts", video.name, len(matched), video.split)
    missing = len(video.scores) - len(matched)
    if missing:
        reading.notes.add("segment in no transcript; `row` and its row name it", video.name, missing, video.split)
    return [
        (matched[place].clip, True) if place in matched else (f"row{row}", False)
        for place, row in enumerate(video.rows)
    ]


class _Words:
    """The timed words of the videos; with no file, of none."""

    def __init__(self, path: Path | None, reading: Reading):
        self._file = CsdFile(path) if path is not None else None
        self._video, self._entry = "", (np.empty((0, 1), "S1"), np.empty((0, 2)))
        if path is None:
            reading.notes.add("no file of timed words; the text of all rows is None", "TimestampedWords.csd")

    def key(self, video: str, row: int) -> str | None:
        """The segment's own entry, else its video's; `None` = neither is there. With no file: the video."""
        if self._file is None:
            return video
        return next((key for key in (f"{video}[{row}]", video) if key in self._file), None)

    def text(self, video: str, row: int, start: float, end: float) -> str | None:
        """The words whose middle lies in the segment, without pauses, in time order; of its own entry all of them."""
        key = self.key(video, row)
        if self._file is None or key is None:
            return None
        if key != self._video:
            self._video, self._entry = key, self._checked(key)
        tokens, intervals = self._entry
        middle = intervals.mean(axis=1)
        inside = (middle >= start) & (middle < end) if key == video else np.ones(len(middle), bool)
        chosen = np.flatnonzero(inside)
        chosen = chosen[np.argsort(intervals[chosen, 0], kind="stable")]
        decoded = (as_word(tokens[index, 0]) for index in chosen)
        return clean_text(" ".join(word for word in decoded if word != _PAUSE).replace("\0", ""))

    def _checked(self, video: str) -> tuple[np.ndarray, np.ndarray]:
        tokens, intervals = self._file.entry(video)
        if tokens.dtype.kind not in "SO" or tokens.shape[1] != 1:
            raise CsdError(f"{self._file.path}, {video}: expected words (n, 1), got {tokens.dtype} of {tokens.shape}")
        return tokens, intervals

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


def store_features(rows: Rows, source: Path, used: set, segments: Mapping[str, tuple[str, int, float, float]]) -> None:
    """A stored set for each other csd that holds features of a known modality; others are noted.

    Args:
        rows: with all rows; their reading gets the sets and notes.
        source: the raw folder.
        used: files that are something else.
        segments: id of a row -> its video, its row in the labels, its start and end in seconds.
    """
    reading = rows.reading
    for path in candidate_files(source, *PATTERNS) if source.is_dir() else ():
        if path in used:
            continue
        name = relative_name(path, source)
        try:
            with CsdFile(path) as file:
                root = file.root
        except CsdError as error:
            reading.notes.add("csd file that cannot be read, not used", str(error).replace(f"{path}: ", f"{name}: "))
            continue
        other, modality = _other_benchmark(path, rows.benchmark), _modality(root, path.name)
        if other is not None:
            reading.notes.add(f"file of {other.upper()}'s videos, not used", name)
            continue
        if modality is None:
            reading.notes.add("csd file of an unknown kind, not used", f"{name}: root {root!r}")
            continue
        stored = _CsdFeatures(path, modality, segments)
        width = stored.width()
        if width is None:
            reading.notes.add("csd file without numbers, not used", f"{name}: root {root!r}")
            continue
        reading.stored.append(StoredSet(reading.free_name(_set_name(root)), {modality: width}, name, stored.get))
        for row_id in stored.missing():
            reading.notes.add(f"row without features in {name}", row_id, split=row_id.split("/")[1])


def _modality(root: str, file_name: str) -> str | None:
    for name in (root.lower(), file_name.lower()):
        for modality, words in _MODALITY_WORDS:
            if any(word in name for word in words):
                return modality
    return None


def _set_name(root: str) -> str:
    """The root in lower case, as a name of a config."""
    return re.sub(r"[^a-z0-9_.-]+", "-", root.lower()).strip("-._") or "features"


class _CsdFeatures:
    """Features of one csd file, cut to the segments; read from the open file when asked for."""

    def __init__(self, path: Path, modality: str, segments: Mapping[str, tuple[str, int, float, float]]):
        self._file, self._modality, self._segments = CsdFile(path), modality, segments
        self._video, self._middle = "", np.empty(0)

    def width(self) -> int | None:
        """Columns of the features; `None` where they are no numbers."""
        keys = self._file.keys()
        return None if not keys or self._file.is_text(keys[0]) else self._file.shape(keys[0])[1] or None

    def missing(self) -> list[str]:
        """Ids of the rows that the file has nothing for."""
        return [row_id for row_id in self._segments if self._key(row_id) is None]

    def get(self, row_id: str) -> Mapping[str, np.ndarray]:
        """As `StoredSet.get`."""
        key = self._key(row_id) if row_id in self._segments else None
        if key is None:
            return {}
        video, _, start, end = self._segments[row_id]
        if key != video:
            return {self._modality: self._numbers(key, 0, None)}
        if key != self._video:
            intervals = self._file.intervals(key)
            if len(intervals) != self._file.shape(key)[0]:
                self._file.entry(key)  # raises, with both shapes
            self._video, self._middle = key, intervals.mean(axis=1)
        inside = np.flatnonzero((self._middle >= start) & (self._middle < end))
        if not len(inside):
            return {}
        first = int(inside[0])
        return {self._modality: self._numbers(key, first, int(inside[-1]) + 1)[inside - first]}

    def _key(self, row_id: str) -> str | None:
        """The segment's own entry, else its video's."""
        video, place, _, _ = self._segments[row_id]
        return next((key for key in (f"{video}[{place}]", video) if key in self._file), None)

    def _numbers(self, key: str, start: int, stop: int | None) -> np.ndarray:
        values = self._file.features(key, start, stop)
        if values.dtype.kind not in "biuf":
            raise CsdError(f"{self._file.path}, {key}: expected numbers, got {values.dtype}")
        return values
