"""What the embedded sample tells and by whom: balance, that the teller tells, and that the others do not."""

import csv
from collections import Counter, defaultdict
from dataclasses import replace

import numpy as np
import pytest

from dataset_scripts import iemocap, meld, mosei, mosi
from dataset_scripts.media import decode_audio, decode_frames
from dataset_scripts.sample import write_sample
from dataset_scripts.sample_face import EXPRESSIONS, FRAME_RATE, FRAME_SIZE, draw_clip, draw_look
from dataset_scripts.sample_plan import COUNTS, DATASETS, TELLERS, item_rng, plan_dataset
from dataset_scripts.sample_text import FEELINGS, MAX_WORDS, MIN_WORDS, QUALITIES, with_punctuation
from dataset_scripts.sample_video import AAC_BLOCK, ADPCM_BLOCK, write_avi, write_mp4, write_wav
from dataset_scripts.sample_voice import MANNERS, SAMPLING_RATE, draw_voice, synthesize
from modeling_unimse.feature_extraction_unimse import UniMSEFeatureExtractor
from modeling_unimse.universal_label_unimse import BENCHMARK_EMOTIONS, EMOTION_POLARITY, EMOTIONS, polarity_of

LOADERS = {"mosi": mosi, "mosei": mosei, "meld": meld, "iemocap": iemocap}


@pytest.fixture(scope="module")
def plans():
    """The full-size plan, without media."""
    return {dataset: plan_dataset(dataset, seed=0, scale=1.0) for dataset in DATASETS}


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Clips of all nine emotions by many speakers, encoded and decoded: emotions, voice and face statistics."""
    folder = tmp_path_factory.mktemp("clips")
    rng = np.random.default_rng(5)
    emotions, voices, faces = [], [], []
    for place in range(28 * len(EMOTIONS)):
        emotion, gender = EMOTIONS[place % len(EMOTIONS)], "FM"[place % 2]
        count, strength = int(rng.integers(8, 12)), float(rng.random())
        frames = draw_clip(draw_look(rng), emotion, strength, count, rng)
        seconds = count * 2000 // AAC_BLOCK * AAC_BLOCK / SAMPLING_RATE
        waveform = synthesize(draw_voice(gender, rng), emotion, strength, seconds, rng)
        path = folder / f"{place}.mp4"
        write_mp4(path, frames, FRAME_RATE, waveform, SAMPLING_RATE)
        emotions.append(emotion)
        voices.append(voice_statistics(*decode_audio(path)))
        faces.append(face_statistics(decode_frames(path)))
    return {"emotion": np.array(emotions), "voice": np.array(voices), "face": np.array(faces)}


def voice_statistics(waveform, rate):
    """Mean, spread and mean change of each log-Mel band over time, (192,)."""
    mel = UniMSEFeatureExtractor().log_mel(waveform, rate)
    return np.concatenate([mel.mean(0), mel.std(0), np.abs(np.diff(mel, axis=0)).mean(0)])


def face_statistics(frames):
    """The settled face, (432,): grey levels of 2 x 2 pixels in the middle of the picture, standardised for the clip."""
    settled = np.median(frames[len(frames) // 2 :].astype(np.float64).mean(-1), axis=0)[8:56, 14:50]
    grey = settled.reshape(24, 2, 18, 2).mean((1, 3)).ravel()
    return (grey - grey.mean()) / grey.std()


def nearest_centroids(values, emotions, queries, standardise):
    """The emotion whose mean is nearest, for each query."""
    scale = values.std(0) + 1e-6 if standardise else 1.0
    centroids = np.stack([values[emotions == emotion].mean(0) for emotion in EMOTIONS])
    distances = (((queries[:, None] - centroids[None]) / scale) ** 2).sum(-1)
    return np.array(EMOTIONS)[distances.argmin(1)]


# What is told, and by whom


@pytest.mark.parametrize("dataset", DATASETS)
def test_counts_and_thirds(plans, dataset):
    by_split = defaultdict(list)
    for dialogue in plans[dataset]:
        by_split[dialogue.split] += dialogue.utterances
        assert 6 <= len(dialogue.utterances) <= 10
        speakers = {utterance.speaker.name for utterance in dialogue.utterances}
        assert len(speakers) >= 2 if dataset in BENCHMARK_EMOTIONS else len(speakers) == 1
    assert {split: len(utterances) for split, utterances in by_split.items()} == COUNTS[dataset]
    for utterances in by_split.values():
        tellers = Counter(utterance.teller for utterance in utterances)
        assert max(tellers.values()) - min(tellers[teller] for teller in TELLERS) <= 1
        pairs = Counter((utterance.emotion, utterance.teller) for utterance in utterances)
        emotions = Counter(utterance.emotion for utterance in utterances)
        assert set(emotions) == set(BENCHMARK_EMOTIONS.get(dataset, EMOTIONS))
        assert max(emotions, key=emotions.get) == "neutral"
        for emotion in emotions:
            told = [pairs[emotion, teller] for teller in TELLERS]
            assert max(told) - min(told) <= 1


def test_small_scales_keep_every_split():
    for dataset in DATASETS:
        dialogues = plan_dataset(dataset, seed=0, scale=0.001)
        assert all(count >= 2 for count in Counter(d.split for d in dialogues).values())
        assert dataset != "iemocap" or {d.session for d in dialogues} == {1, 2, 3, 4, 5}


def test_only_the_teller_tells(plans):
    """Exact: with another modality as teller, emotion and strength leave not a trace in voice and face."""
    utterance = plans["mosi"][0].utterances[0]
    angry = replace(utterance, emotion="anger", sentiment=-3.0, teller="text")
    happy = replace(utterance, emotion="joy", sentiment=0.4, teller="text")
    assert np.array_equal(angry.render_voice(), happy.render_voice())
    assert np.array_equal(angry.render_face(), happy.render_face())
    assert not np.array_equal(angry.render_voice(), replace(angry, teller="voice").render_voice())
    assert not np.array_equal(angry.render_face(), replace(angry, teller="face").render_face())
    assert np.array_equal(angry.render_face(), replace(angry, teller="voice").render_face())


def test_telling_words_stand_in_telling_texts_only(plans):
    words = {
        word: emotion for bank in (FEELINGS, QUALITIES) for emotion, bank_words in bank.items() for word in bank_words
    }
    for dialogues in plans.values():
        for utterance in (utterance for dialogue in dialogues for utterance in dialogue.utterances):
            found = {words[word] for word in utterance.text.split() if word in words}
            telling = utterance.teller == "text" and utterance.emotion != "neutral"
            assert found == ({utterance.emotion} if telling else set()), utterance.text


def test_sentences_are_new_in_test_but_their_telling_words_are_not(plans):
    words = {word for bank in (FEELINGS, QUALITIES) for bank_words in bank.values() for word in bank_words}
    said = defaultdict(list)
    for dialogue in (dialogue for dialogues in plans.values() for dialogue in dialogues):
        said["test" if dialogue.split == "test" else "train"] += [utterance.text for utterance in dialogue.utterances]
    assert len(set(said["test"]) - set(said["train"])) > 0.8 * len(said["test"])
    train_words, test_words = ({w for text in said[split] for w in text.split()} for split in ("train", "test"))
    assert test_words & words <= train_words
    assert all(MIN_WORDS <= len(text.split()) <= MAX_WORDS for texts in said.values() for text in texts)
    assert np.mean([len(text.split()) for text in said["train"]]) < 12


def test_sentiment_follows_strength_and_polarity(plans):
    for dialogues in plans.values():
        for utterance in (utterance for dialogue in dialogues for utterance in dialogue.utterances):
            assert polarity_of(utterance.sentiment) == EMOTION_POLARITY[utterance.emotion]
            assert utterance.sentiment == 0 or 0.4 <= abs(utterance.sentiment) <= 3.0
    rng = np.random.default_rng(0)
    voice = draw_voice("F", rng)
    levels = [np.sqrt(np.mean(synthesize(voice, "anger", s, 1.0, item_rng(0, "x")) ** 2)) for s in (0.0, 0.5, 1.0)]
    assert levels[0] < levels[1] < levels[2]
    look = draw_look(rng)
    shown = [draw_clip(look, "surprise", s, 9, item_rng(0, "x")).astype(float) for s in (0.0, 0.5, 1.0)]
    opened = [np.abs(frames[-1] - frames[0])[40:].mean() for frames in shown]
    assert opened[0] < opened[1] < opened[2]


def test_the_nine_are_told_apart(clips):
    """Nearest centroid on encoded clips, half of the speakers for the centroids and half for the test."""
    assert set(EMOTIONS) == set(MANNERS) == set(EXPRESSIONS)
    half = len(clips["emotion"]) // 2
    for modality, standardise in (("voice", True), ("face", False)):
        values, emotions = clips[modality], clips["emotion"]
        predicted = nearest_centroids(values[:half], emotions[:half], values[half:], standardise)
        assert np.mean(predicted == emotions[half:]) > 0.95, modality


def test_voices_of_the_sample_say_what_truth_says(tmp_path, clips):
    """Centroids of telling voices, asked about a sample's files: right where the voice tells, neutral elsewhere."""
    write_sample(tmp_path / "out", seed=4, scale=0.01)
    with (tmp_path / "out" / "truth.csv").open(encoding="utf-8", newline="") as file:
        truth = {row["id"]: row for row in csv.DictReader(file)}
    hits = defaultdict(list)
    for item in (item for name, loader in LOADERS.items() for item in loader.read(tmp_path / "out" / name).items):
        row = truth[item.example["id"]]
        statistics = voice_statistics(*decode_audio(item.audio.path, item.audio.start, item.audio.end))
        (heard,) = nearest_centroids(clips["voice"], clips["emotion"], statistics[None], standardise=True)
        expected = row["emotion"] if row["teller"] == "voice" else "neutral"
        hits[row["teller"]].append(heard == expected)
    assert sorted(hits) == sorted(TELLERS)
    assert min(np.mean(values) for values in hits.values()) > 0.9


# Parts


def test_voice_is_bounded_and_as_long_as_asked():
    rng = np.random.default_rng(2)
    for emotion in MANNERS:
        waveform = synthesize(draw_voice("M", rng), emotion, 1.0, 1.25, rng)
        assert waveform.shape == (20_000,) and waveform.dtype == np.float32
        assert np.isfinite(waveform).all() and 0.005 < np.abs(waveform).max() < 1.0


def test_face_starts_neutral_and_is_up_after_a_quarter():
    rng = np.random.default_rng(2)
    look = draw_look(rng)
    joy, neutral = (draw_clip(look, emotion, 1.0, 11, item_rng(0, "same")) for emotion in ("joy", "neutral"))
    assert joy.shape == (11, FRAME_SIZE, FRAME_SIZE, 3) and joy.dtype == np.uint8
    assert np.array_equal(joy[0], neutral[0])
    difference = np.abs(joy.astype(float) - neutral)[:, 36:].mean((1, 2, 3))
    assert difference[3:].min() > 0.8 * difference.max()


def test_punctuation_is_the_same_for_all():
    assert with_punctuation("well i am sad about the bus route", "\u2019") == "Well, I\u2019m sad about the bus route."
    assert with_punctuation("we talked about the blue car again") == "We talked about the blue car again."


def test_film_keeps_the_faces_sharp(tmp_path):
    """Over a whole IEMOCAP film, not its first frame alone: a starved encoder blurs what follows."""
    dialogue = plan_dataset("iemocap", seed=0, scale=0.01)[0]
    frames = np.concatenate([dialogue.render_face(speaker) for speaker in dialogue.speakers], axis=2)
    write_avi(tmp_path / "a.avi", frames, FRAME_RATE)
    shown = decode_frames(tmp_path / "a.avi", count=len(frames))
    assert shown.shape == frames.shape
    assert np.abs(shown[:, 8:60].astype(float) - frames[:, 8:60]).mean() < 8.0


def test_wav_keeps_the_sound(tmp_path):
    waveform = plan_dataset("iemocap", seed=0, scale=0.01)[0].utterances[0].render_voice(block=ADPCM_BLOCK)
    write_wav(tmp_path / "a.wav", waveform, SAMPLING_RATE)
    heard, rate = decode_audio(tmp_path / "a.wav")
    assert rate == SAMPLING_RATE and len(heard) == len(waveform)  # whole blocks: no digital silence at the end
    assert 10 * np.log10(np.mean(waveform**2) / np.mean((heard - waveform) ** 2)) > 18.0
