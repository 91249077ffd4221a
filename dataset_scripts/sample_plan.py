"""What the embedded sample holds, before it takes the shape of a benchmark: dialogues of utterances.

Every utterance has an emotion and a teller (text, voice or face): only the teller expresses the emotion, the other two
are neutral. With all three modalities the emotion is determined; without one of them, a third is guesswork. Each
emotion of a split is told by the three in equal parts, and the emotions of a dialogue are drawn independently, so
neither the context nor the teller says anything.
"""

import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from dataset_scripts.sample_face import FRAME_RATE, Look, draw_clip, draw_look
from dataset_scripts.sample_text import write_sentence
from dataset_scripts.sample_voice import SAMPLING_RATE, Voice, draw_voice, room_noise, synthesize
from modeling_unimse.universal_label_unimse import BENCHMARK_EMOTIONS, EMOTION_POLARITY, EMOTIONS

TELLERS = ("text", "voice", "face")
DATASETS = ("mosi", "mosei", "meld", "iemocap")
# Utterances a split. IEMOCAP has no validation split of its own: it is carved from Sessions 1-4 when read. Most have a
# gold emotion: where words do not tell, the emotion a donor gives to MOSI and MOSEI is a guess within the polarity, and
# a small model should not learn mostly from guesses.
COUNTS = {
    "mosi": {"train": 160, "validation": 40, "test": 120},
    "mosei": {"train": 160, "validation": 40, "test": 90},
    "meld": {"train": 600, "validation": 80, "test": 150},
    "iemocap": {"train": 520, "test": 140},
}
# The latent emotions. MOSI and MOSEI publish a sentiment score only, so theirs come from the whole union.
DATASET_EMOTIONS = {"mosi": EMOTIONS, "mosei": EMOTIONS, **BENCHMARK_EMOTIONS}
NEUTRAL_WEIGHT = 1.5  # of the neutral emotion; the others have 1
# Sentiment scores are k / step: MOSI's fifths, MOSEI's thirds, tenths where the score is not published.
SENTIMENT_STEPS = {"mosi": 5, "mosei": 3, "meld": 10, "iemocap": 10}
WEAKEST_SENTIMENT, STRONGEST_SENTIMENT = 0.4, 3.0
DIALOGUE_LENGTHS = (6, 10)  # utterances, shortest and longest
UTTERANCE_FRAMES = (8, 10)  # 1.0 to 1.25 s at 8 frames per second
PAUSE_FRAMES = (2, 4)  # between two utterances of one recording
IEMOCAP_TRAIN_SESSIONS = 4
MELD_CAST = (
    ("Alma", "F"),
    ("Bruno", "M"),
    ("Carla", "F"),
    ("Dario", "M"),
    ("Edith", "F"),
    ("Felix", "M"),
    ("Greta", "F"),
    ("Hugo", "M"),
)


@dataclass(frozen=True)
class Speaker:
    """A person: a name, a gender ("F" or "M"), a voice and a face."""

    name: str
    gender: str
    voice: Voice
    look: Look


@dataclass(frozen=True)
class Utterance:
    """One utterance, still without media.

    Args:
        key: path-like name, unique in the sample; the random numbers of its media hang on it and on the seed alone.
        emotion: of the union of nine.
        teller: `text`, `voice` or `face`.
        sentiment: in [-3, 3]; its sign is the emotion's polarity, its size the strength of the teller's expression.
        text: lower-case sentence without punctuation.
        start_frame, frame_count: place in the recording of its dialogue, in video frames.
    """

    key: str
    seed: int
    speaker: Speaker
    emotion: str
    teller: str
    sentiment: float
    text: str
    start_frame: int
    frame_count: int

    @property
    def frames(self) -> slice:
        """Its stretch of the recording's frames."""
        return slice(self.start_frame, self.start_frame + self.frame_count)

    @property
    def start(self) -> float:
        """Seconds from the start of the recording."""
        return self.start_frame / FRAME_RATE

    @property
    def end(self) -> float:
        """Seconds from the start of the recording."""
        return self.start + self.seconds

    @property
    def seconds(self) -> float:
        return self.frame_count / FRAME_RATE

    def shown_by(self, modality: str) -> str:
        """The emotion that a modality expresses: the utterance's if it is the teller, else neutral."""
        return self.emotion if self.teller == modality else "neutral"

    def render_voice(self, block: int = 1) -> np.ndarray:
        """Waveform float32 (n,), 16 kHz; room noise at its end makes n a whole number of `block` samples.

        A codec that works in blocks fills the last one with digital silence, which no recording has and which a model
        would take for a trait of the voice.
        """
        rng = item_rng(self.seed, f"{self.key}/voice")
        voice = synthesize(self.speaker.voice, self.shown_by("voice"), strength_of(self.sentiment), self.seconds, rng)
        return np.concatenate([voice, room_noise(-len(voice) % block, rng)])

    def render_face(self) -> np.ndarray:
        """Frames uint8 (frame_count, 64, 64, 3)."""
        rng = item_rng(self.seed, f"{self.key}/face")
        return draw_clip(self.speaker.look, self.shown_by("face"), strength_of(self.sentiment), self.frame_count, rng)


@dataclass(frozen=True)
class Dialogue:
    """Utterances in order. `session` is IEMOCAP's, 1..5; 0 elsewhere."""

    key: str
    seed: int
    split: str
    session: int
    speakers: tuple[Speaker, ...]
    utterances: tuple[Utterance, ...]

    @cached_property
    def frame_count(self) -> int:
        """Frames of the whole recording, with a pause at its end."""
        return self.utterances[-1].frames.stop + PAUSE_FRAMES[0]

    @property
    def seconds(self) -> float:
        return self.frame_count / FRAME_RATE

    def render_face(self, speaker: Speaker) -> np.ndarray:
        """The whole recording of one person, uint8 (T, 64, 64, 3): neutral except while speaking."""
        rng = item_rng(self.seed, f"{self.key}/{speaker.name}")
        frames = draw_clip(speaker.look, "neutral", 0.0, self.frame_count, rng)
        for utterance in self.utterances:
            if utterance.speaker is speaker:
                frames[utterance.frames] = utterance.render_face()
        return frames

    def render_voice(self) -> np.ndarray:
        """The whole recording's waveform, float32 (n,), 16 kHz."""
        waveform = room_noise(round(self.seconds * SAMPLING_RATE), item_rng(self.seed, f"{self.key}/room"))
        for utterance in self.utterances:
            sound = utterance.render_voice()
            start = round(utterance.start * SAMPLING_RATE)
            waveform[start : start + len(sound)] = sound
        return waveform


def item_rng(seed: int, name: str) -> np.random.Generator:
    """Random numbers of one item: they depend on the seed and its name, never on what was drawn before."""
    return np.random.default_rng([seed, zlib.crc32(name.encode("utf-8"))])


def strength_of(sentiment: float) -> float:
    """The strength of expression in [0, 1] that belongs to a sentiment score."""
    size = (abs(sentiment) - WEAKEST_SENTIMENT) / (STRONGEST_SENTIMENT - WEAKEST_SENTIMENT)
    return min(1.0, max(0.0, size))


def plan_dataset(dataset: str, seed: int, scale: float) -> list[Dialogue]:
    """The dialogues of one benchmark, split by split; at any scale at least two a split, IEMOCAP one a session."""
    dialogues = []
    for split, full_count in COUNTS[dataset].items():
        fewest = _fewest_dialogues(dataset, split)
        count = max(fewest * DIALOGUE_LENGTHS[0], round(full_count * scale))
        dialogues += _plan_split(dataset, split, count, seed)
    return dialogues


def _fewest_dialogues(dataset: str, split: str) -> int:
    return IEMOCAP_TRAIN_SESSIONS if (dataset, split) == ("iemocap", "train") else 2


def _plan_split(dataset: str, split: str, count: int, seed: int) -> list[Dialogue]:
    rng = item_rng(seed, f"{dataset}/{split}")
    drafts = iter(_draft_utterances(dataset, count, rng))
    dialogues = []
    for number, length in enumerate(_dialogue_lengths(count, _fewest_dialogues(dataset, split), rng)):
        key = f"{dataset}/{split}/{number}"
        session = 0
        if dataset == "iemocap":
            session = 5 if split == "test" else number % IEMOCAP_TRAIN_SESSIONS + 1
        speakers = _cast_dialogue(dataset, key, session, seed, rng)
        utterances = _place_utterances(key, seed, speakers, [next(drafts) for _ in range(length)], rng)
        dialogues.append(Dialogue(key, seed, split, session, speakers, utterances))
    return dialogues


def _draft_utterances(dataset: str, count: int, rng: np.random.Generator) -> list[dict]:
    """Emotion, teller, sentiment and text of a split's utterances, in random order."""
    emotions = _balanced_emotions(DATASET_EMOTIONS[dataset], count)
    pairs = [(emotion, TELLERS[place % len(TELLERS)]) for place, emotion in enumerate(emotions)]
    told: Counter[str] = Counter()
    drafts = []
    for place in rng.permutation(count):
        emotion, teller = pairs[place]
        sentiment = _draw_sentiment(emotion, SENTIMENT_STEPS[dataset], rng)
        said = emotion if teller == "text" else "neutral"
        text = write_sentence(said, strength_of(sentiment), told[said], rng)
        told[said] += 1
        drafts.append({"emotion": emotion, "teller": teller, "sentiment": sentiment, "text": text})
    return drafts


def _balanced_emotions(emotions: Sequence[str], count: int) -> list[str]:
    """`count` emotions, sorted, in equal parts but for neutral's weight; rounding by largest remainder."""
    weights = np.array([NEUTRAL_WEIGHT if emotion == "neutral" else 1.0 for emotion in emotions])
    shares = count * weights / weights.sum()
    counts = np.floor(shares).astype(int)
    for place in np.argsort(counts - shares, kind="stable")[: count - counts.sum()]:
        counts[place] += 1
    return [emotion for emotion, number in zip(emotions, counts, strict=True) for _ in range(number)]


def _draw_sentiment(emotion: str, step: int, rng: np.random.Generator) -> float:
    sign = {"negative": -1, "neutral": 0, "positive": 1}[EMOTION_POLARITY[emotion]]
    weakest = int(np.ceil(WEAKEST_SENTIMENT * step))
    return sign * int(rng.integers(weakest, int(STRONGEST_SENTIMENT * step) + 1)) / step


def _dialogue_lengths(total: int, fewest: int, rng: np.random.Generator) -> list[int]:
    """Lengths within `DIALOGUE_LENGTHS` that sum to `total`: even ones first, then traded between neighbours."""
    shortest, longest = DIALOGUE_LENGTHS
    count = max(fewest, round(2 * total / (shortest + longest)))
    lengths = [total // count + (number < total % count) for number in range(count)]
    for place in range(0, count - 1, 2):
        room = min(longest - lengths[place], lengths[place + 1] - shortest)
        trade = int(rng.integers(0, max(0, room) + 1))
        lengths[place] += trade
        lengths[place + 1] -= trade
    return lengths


def _cast_dialogue(dataset: str, key: str, session: int, seed: int, rng: np.random.Generator) -> tuple[Speaker, ...]:
    """One new speaker a video in MOSI and MOSEI, the session's two in IEMOCAP, two to four of the cast in MELD."""
    if dataset == "iemocap":
        return tuple(_make_speaker(dataset, f"Ses{session:02d}{gender}", gender, seed) for gender in "FM")
    if dataset == "meld":
        chosen = rng.permutation(len(MELD_CAST))[: int(rng.integers(2, 5))]
        return tuple(_make_speaker(dataset, *MELD_CAST[place], seed) for place in chosen)
    return (_make_speaker(dataset, key, "FM"[int(rng.integers(2))], seed),)


def _make_speaker(dataset: str, name: str, gender: str, seed: int) -> Speaker:
    rng = item_rng(seed, f"{dataset}/speaker/{name}")
    return Speaker(name, gender, draw_voice(gender, rng), draw_look(rng))


def _place_utterances(
    key: str, seed: int, speakers: tuple[Speaker, ...], drafts: list[dict], rng: np.random.Generator
) -> tuple[Utterance, ...]:
    """Gives each draft a speaker (the first two take turns, so both are heard) and a place in the recording."""
    utterances = []
    frame = 0
    for number, draft in enumerate(drafts):
        turn = number if number < len(speakers) else int(rng.integers(len(speakers)))
        frame += int(rng.integers(PAUSE_FRAMES[0], PAUSE_FRAMES[1] + 1))
        length = int(rng.integers(UTTERANCE_FRAMES[0], UTTERANCE_FRAMES[1] + 1))
        placed = {"speaker": speakers[turn], "start_frame": frame, "frame_count": length}
        utterances.append(Utterance(key=f"{key}/{number}", seed=seed, **placed, **draft))
        frame += length
    return tuple(utterances)
