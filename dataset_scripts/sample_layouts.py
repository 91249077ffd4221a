"""The four raw layouts of the embedded sample, as the benchmarks are distributed.

    mosi/     label.csv (MMSA), Raw/<video id>/<clip id>.mp4
    mosei/    CMU_MOSEI_Labels.csd, CMU_MOSEI_TimestampedWords.csd (CMU SDK), folds.json,
              Raw/Videos/Full/Combined/<video id>.mp4: full videos, a segment is a stretch of one
    meld/     {train,dev,test}_sent_emo.csv, clips dia<d>_utt<u>.mp4 in the three clip folders
    iemocap/  Session<1-5>/dialog/{EmoEvaluation,transcriptions,avi/DivX}, sentences/wav/<dialogue>/<utterance>.wav

Each writer takes the planned dialogues and yields, utterance by utterance, the id that the loader will give the row.
"""

import csv
import json
import string
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path

import numpy as np

from dataset_scripts.iemocap import choose_validation
from dataset_scripts.sample_face import FRAME_RATE
from dataset_scripts.sample_plan import Dialogue, Utterance, item_rng
from dataset_scripts.sample_text import with_punctuation
from dataset_scripts.sample_video import AAC_BLOCK, ADPCM_BLOCK, write_avi, write_mp4, write_wav
from dataset_scripts.sample_voice import SAMPLING_RATE
from modeling_unimse.universal_label_unimse import EMOTION_POLARITY

Truth = Iterator[tuple[str, Utterance]]
MMSA_COLUMNS = ("video_id", "clip_id", "text", "label", "annotation", "mode", "label_by")
MMSA_MODES = {"train": "train", "validation": "valid", "test": "test"}
MELD_COLUMNS = tuple(
    "Sr No.,Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID,Season,Episode,StartTime,EndTime".split(",")
)
MELD_PLACES = {
    "train": ("train_sent_emo.csv", "train_splits"),
    "validation": ("dev_sent_emo.csv", "dev_splits_complete"),
    "test": ("test_sent_emo.csv", "output_repeated_splits_test"),
}
MOSEI_EMOTIONS = ("happy", "sad", "anger", "surprise", "disgust", "fear")
# MOSEI has six columns; the two emotions of the union that it does not name go to their nearest.
MOSEI_COLUMN = {
    "joy": "happy",
    "excited": "happy",
    "sadness": "sad",
    "anger": "anger",
    "frustrated": "anger",
    "surprise": "surprise",
    "disgust": "disgust",
    "fear": "fear",
}
IEMOCAP_CODES = {
    "anger": "ang",
    "joy": "hap",
    "excited": "exc",
    "sadness": "sad",
    "frustrated": "fru",
    "neutral": "neu",
}
IEMOCAP_ANNOTATORS = ("E2", "E4", "F1")


def write_mosi(folder: Path, dialogues: Sequence[Dialogue]) -> Truth:
    """MOSI: one mp4 a clip; ids are `mosi/<split>/<video id>_<clip id>`."""
    rows = []
    for dialogue, video_id in zip(dialogues, _video_ids("mosi", dialogues), strict=True):
        for clip_id, utterance in enumerate(dialogue.utterances, start=1):
            _write_clip(folder / "Raw" / video_id / f"{clip_id}.mp4", utterance)
            annotation = EMOTION_POLARITY[utterance.emotion].capitalize()
            mode = MMSA_MODES[dialogue.split]
            rows.append((video_id, clip_id, utterance.text, utterance.sentiment, annotation, mode, 0))
            yield f"mosi/{dialogue.split}/{video_id}_{clip_id}", utterance
    _write_csv(folder / "label.csv", MMSA_COLUMNS, rows)


def write_mosei(folder: Path, dialogues: Sequence[Dialogue]) -> Truth:
    """MOSEI: one mp4 a video, labels and words as csd; ids are `mosei/<split>/<video id>_<row of its labels>`."""
    labels, words = {}, {}
    folds: dict[str, list[str]] = {"train": [], "validation": [], "test": []}
    for dialogue, video_id in zip(dialogues, _video_ids("mosei", dialogues), strict=True):
        frames, waveform = dialogue.render_face(dialogue.speakers[0]), dialogue.render_voice()
        path = folder / "Raw" / "Videos" / "Full" / "Combined" / f"{video_id}.mp4"
        write_mp4(path, frames, FRAME_RATE, waveform, SAMPLING_RATE)
        labels[video_id] = _mosei_labels(dialogue)
        words[video_id] = _mosei_words(dialogue)
        folds[dialogue.split].append(video_id)
        for number, utterance in enumerate(dialogue.utterances):
            yield f"mosei/{dialogue.split}/{video_id}_{number}", utterance
    _write_csd(folder / "CMU_MOSEI_Labels.csd", "All Labels", ("sentiment", *MOSEI_EMOTIONS), labels)
    _write_csd(folder / "CMU_MOSEI_TimestampedWords.csd", "words", ("word",), words)
    (folder / "folds.json").write_text(json.dumps(folds, indent=1) + "\n", encoding="utf-8")


def write_meld(folder: Path, dialogues: Sequence[Dialogue]) -> Truth:
    """MELD: one mp4 a clip; dialogue numbers start anew in each split; ids are `meld/<split>/dia<d>_utt<u>`."""
    for split, (csv_name, clip_folder) in MELD_PLACES.items():
        rows = []
        serial = count(1)
        for number, dialogue in enumerate(d for d in dialogues if d.split == split):
            for place, utterance in enumerate(dialogue.utterances):
                name = f"dia{number}_utt{place}"
                _write_clip(folder / clip_folder / f"{name}.mp4", utterance)
                rows.append((next(serial), *_meld_row(utterance, split, number, place)))
                yield f"meld/{split}/{name}", utterance
        _write_csv(folder / csv_name, MELD_COLUMNS, rows)


def write_iemocap(folder: Path, dialogues: Sequence[Dialogue]) -> Truth:
    """IEMOCAP: one wav an utterance, one film a dialogue; ids are `iemocap/<split>/<utterance>`.

    The split is the loader's: validation is carved from Sessions 1-4 by the dialogues' names.
    """
    names = _iemocap_names(dialogues)
    validation = choose_validation([name for name, d in zip(names, dialogues, strict=True) if d.split == "train"])
    for name, dialogue in zip(names, dialogues, strict=True):
        session = folder / f"Session{dialogue.session}"
        utterance_names = _iemocap_utterance_names(name, dialogue)
        _write_lines(session / "dialog" / "EmoEvaluation" / f"{name}.txt", _evaluation(dialogue, utterance_names))
        _write_lines(session / "dialog" / "transcriptions" / f"{name}.txt", _transcript(dialogue, utterance_names))
        _write_film(session / "dialog" / "avi" / "DivX" / f"{name}.avi", name, dialogue)
        split = "validation" if name in validation else dialogue.split
        for utterance_name, utterance in zip(utterance_names, dialogue.utterances, strict=True):
            wav = session / "sentences" / "wav" / name / f"{utterance_name}.wav"
            write_wav(wav, utterance.render_voice(ADPCM_BLOCK), SAMPLING_RATE)
            yield f"iemocap/{split}/{utterance_name}", utterance


def _write_clip(path: Path, utterance: Utterance) -> None:
    write_mp4(path, utterance.render_face(), FRAME_RATE, utterance.render_voice(AAC_BLOCK), SAMPLING_RATE)


def _write_csv(path: Path, columns: Sequence[str], rows: Sequence[Sequence]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(rows)


def _write_lines(path: Path, lines: Sequence[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")


def _video_ids(dataset: str, dialogues: Sequence[Dialogue]) -> list[str]:
    """Eleven characters like a video site's. As in the real data one starts with a dash and one is all digits."""
    alphabet = string.ascii_letters + string.digits + "-_"
    ids: list[str] = []
    for dialogue in dialogues:
        rng = item_rng(dialogue.seed, f"{dialogue.key}/video id")
        letters = "".join(alphabet[place] for place in rng.integers(len(alphabet), size=11))
        digits = "".join(string.digits[place] for place in rng.integers(1, 10, size=6))
        ids.append({0: "-" + letters[1:], 1: digits}.get(len(ids), letters))
    if len(set(map(str.lower, ids))) < len(ids):
        raise ValueError(f"{dataset}: two videos of the sample got the same id; choose another seed")
    return ids


def _mosei_labels(dialogue: Dialogue) -> tuple[np.ndarray, np.ndarray]:
    """Features (n, 7): sentiment and the size of it in the emotion's column; intervals (n, 2) in seconds."""
    features = np.zeros((len(dialogue.utterances), 1 + len(MOSEI_EMOTIONS)), dtype=np.float32)
    for row, utterance in zip(features, dialogue.utterances, strict=True):
        row[0] = utterance.sentiment
        if utterance.emotion != "neutral":
            row[1 + MOSEI_EMOTIONS.index(MOSEI_COLUMN[utterance.emotion])] = abs(utterance.sentiment)
    return features, np.array([(u.start, u.end) for u in dialogue.utterances])


def _mosei_words(dialogue: Dialogue) -> tuple[np.ndarray, np.ndarray]:
    """Words (n, 1) as bytes and their intervals (n, 2): spread evenly over an utterance, `sp` between utterances."""
    tokens, intervals = [], []
    reached = 0.0
    for utterance in dialogue.utterances:
        tokens.append("sp")
        intervals.append((reached, utterance.start))
        words = utterance.text.split()
        edges = np.linspace(utterance.start, utterance.end, len(words) + 1)
        tokens += words
        intervals += list(zip(edges[:-1], edges[1:], strict=True))
        reached = utterance.end
    tokens.append("sp")
    intervals.append((reached, dialogue.seconds))
    return np.array(tokens, dtype="S32")[:, None], np.array(intervals)


def _write_csd(path: Path, root: str, columns: Sequence[str], entries: dict) -> None:
    """A computational sequence of the CMU SDK; `entries`: key -> (features, intervals)."""
    import h5py

    metadata = {
        "root name": root,
        "computational sequence description": "Embedded sample of unimse: drawn faces and synthesised voices",
        "computational sequence version": 1.0,
        "dataset name": "CMU_MOSEI layout, not CMU-MOSEI data",
        "dimension names": list(columns),
        "alignment compatible": True,
    }
    with h5py.File(path, "w", libver="earliest", track_order=False) as file:
        for key, (features, intervals) in sorted(entries.items()):
            group = file.create_group(f"{root}/data/{key}")
            group.create_dataset("features", data=features, track_times=False)
            group.create_dataset("intervals", data=intervals, track_times=False)
        for name, value in sorted(metadata.items()):
            text = np.array([json.dumps(value)], dtype=h5py.string_dtype())
            file.create_dataset(f"{root}/metadata/{name}", data=text, track_times=False)


def _meld_row(utterance: Utterance, split: str, dialogue: int, place: int) -> tuple:
    """The columns after `Sr No.`. Times are the episode's; the test file writes hours without a leading zero."""
    season, episode = dialogue % 9 + 1, dialogue % 23 + 1
    offset = 60.0 + 45.0 * (dialogue % 20)
    times = [_meld_time(offset + seconds, padded=split != "test") for seconds in (utterance.start, utterance.end)]
    text = with_punctuation(utterance.text, apostrophe="\u2019")
    polarity = EMOTION_POLARITY[utterance.emotion]
    return text, utterance.speaker.name, utterance.emotion, polarity, dialogue, place, season, episode, *times


def _meld_time(seconds: float, padded: bool) -> str:
    """`00:14:38,127` or, not padded, `0:14:38,127`."""
    milliseconds = round(seconds * 1000)
    minutes, rest = divmod(milliseconds, 60_000)
    hours = f"{minutes // 60:02d}" if padded else f"{minutes // 60}"
    return f"{hours}:{minutes % 60:02d}:{rest // 1000:02d},{rest % 1000:03d}"


def _iemocap_names(dialogues: Sequence[Dialogue]) -> list[str]:
    """`Ses01F_impro01`, `Ses01M_impro01`, ... within each session: the letter is the gender shown on the left."""
    names = []
    for place, dialogue in enumerate(dialogues):
        earlier = sum(d.session == dialogue.session for d in dialogues[:place])
        names.append(f"Ses{dialogue.session:02d}{'FM'[earlier % 2]}_impro{earlier // 2 + 1:02d}")
    return names


def _iemocap_utterance_names(name: str, dialogue: Dialogue) -> list[str]:
    """`Ses01F_impro01_F000`: each gender counts its own utterances."""
    serial = {"F": count(), "M": count()}
    return [f"{name}_{u.speaker.gender}{next(serial[u.speaker.gender]):03d}" for u in dialogue.utterances]


def _evaluation(dialogue: Dialogue, names: Sequence[str]) -> list[str]:
    """Lines of an EmoEvaluation file: a header, then per utterance its line and the annotators'."""
    lines = ["% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]"]
    for name, utterance in zip(names, dialogue.utterances, strict=True):
        valence, activation = 3.0 + utterance.sentiment * 2 / 3, 2.0 + abs(utterance.sentiment) * 2 / 3
        code, word = IEMOCAP_CODES[utterance.emotion], utterance.emotion.capitalize()
        dimensions = f"[{valence:.4f}, {activation:.4f}, 2.5000]"
        lines += ["", f"[{utterance.start:.4f} - {utterance.end:.4f}]\t{name}\t{code}\t{dimensions}"]
        lines += [f"C-{annotator}:\t{word};\t()" for annotator in IEMOCAP_ANNOTATORS]
        scores = f"val {valence:.0f}; act {activation:.0f}; dom  3;"
        lines += [f"A-{annotator}:\t{scores}\t()" for annotator in IEMOCAP_ANNOTATORS]
    return lines


def _transcript(dialogue: Dialogue, names: Sequence[str]) -> list[str]:
    return [
        f"{name} [{u.start:08.4f}-{u.end:08.4f}]: {with_punctuation(u.text)}"
        for name, u in zip(names, dialogue.utterances, strict=True)
    ]


def _write_film(path: Path, name: str, dialogue: Dialogue) -> None:
    """Both people side by side, the one whose gender letter is `name[5]` on the left."""
    left, right = sorted(dialogue.speakers, key=lambda speaker: speaker.gender != name[5])
    write_avi(path, np.concatenate([dialogue.render_face(left), dialogue.render_face(right)], axis=2), FRAME_RATE)
