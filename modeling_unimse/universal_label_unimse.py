"""The universal label: polarity, intensity and emotion as one short string such as `positive,1.6,joy`.

One grammar serves training targets, constrained decoding and parsing (Hu et al. 2022, section 3.2):

    label     = polarity "," intensity "," emotion
    polarity  = "negative" | "neutral" | "positive"
    intensity = one decimal in [-3.0, 3.0] whose sign is the polarity's: -3.0 .. -0.1, 0.0, 0.1 .. 3.0
    emotion   = one of an emotion set, by default the union over MELD and IEMOCAP

The sign rule is ours: polarity *is* the sign of the sentiment score, so a label that contradicts itself has no meaning.
Standard library only.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

POLARITIES = ("negative", "neutral", "positive")
EMOTIONS = ("neutral", "joy", "surprise", "anger", "sadness", "disgust", "fear", "excited", "frustrated")
BENCHMARK_EMOTIONS = {
    "meld": ("neutral", "joy", "surprise", "anger", "sadness", "disgust", "fear"),
    "iemocap": ("neutral", "joy", "anger", "sadness", "excited", "frustrated"),
}
# Surprise may be pleasant or not. The authors count IEMOCAP's `sur` as negative; so do we where a data set gives no
# sentiment of its own (MELD does, and its column is used).
EMOTION_POLARITY = {
    "neutral": "neutral",
    "calm": "neutral",
    "joy": "positive",
    "excited": "positive",
    "surprise": "negative",
    "anger": "negative",
    "sadness": "negative",
    "disgust": "negative",
    "fear": "negative",
    "frustrated": "negative",
}
MAX_INTENSITY = 3.0
_SIGN = {"negative": -1, "neutral": 0, "positive": 1}
_NATIVE_INTENSITY = {"negative": -1.0, "neutral": 0.0, "positive": 1.0}
_NATIVE_EMOTION = {"negative": "sadness", "neutral": "neutral", "positive": "joy"}


@dataclass(frozen=True)
class UniversalLabel:
    """One label.

    Args:
        polarity: `negative`, `neutral` or `positive`.
        intensity: in [-3, 3]; rounded to one decimal on construction; its sign must be the polarity's.
        emotion: a lower-case word without commas or spaces.

    Raises:
        ValueError: naming the field, its value and what was expected.
    """

    polarity: str
    intensity: float
    emotion: str

    def __post_init__(self):
        if self.polarity not in POLARITIES:
            raise ValueError(f"polarity: expected one of {', '.join(POLARITIES)}, got {self.polarity!r}")
        if not -MAX_INTENSITY <= self.intensity <= MAX_INTENSITY:
            raise ValueError(f"intensity: expected a number in [-3, 3], got {self.intensity}")
        intensity = round(float(self.intensity), 1) + 0.0  # + 0.0 turns -0.0 into 0.0
        object.__setattr__(self, "intensity", intensity)
        if (intensity > 0) - (intensity < 0) != _SIGN[self.polarity]:
            raise ValueError(f"intensity: its sign must agree with polarity {self.polarity!r}, got {intensity}")
        check_emotions((self.emotion,))


def check_emotions(emotions: Sequence[str]) -> None:
    """Raise a `ValueError` unless every name is a lower-case word of letters, `_` or `-` and no name comes twice."""
    if not emotions:
        raise ValueError("emotions: expected at least one name, got none")
    for emotion in emotions:
        if not emotion or not emotion.replace("_", "").replace("-", "").isalpha() or emotion != emotion.lower():
            raise ValueError(f"emotion: expected a lower-case word such as 'joy', got {emotion!r}")
    if len(set(emotions)) != len(emotions):
        raise ValueError(f"emotions: expected every name once, got {', '.join(emotions)}")


def polarity_of(sentiment: float) -> str:
    """The polarity of a sentiment score: its sign; exactly 0 is neutral."""
    return "positive" if sentiment > 0 else "negative" if sentiment < 0 else "neutral"


def target_intensity(sentiment: float) -> float:
    """A sentiment score as it stands in a target text: one decimal, clipped to [-3, 3].

    A score other than 0 never becomes 0.0 (the polarity would contradict it): it is at least 0.1 in size.
    """
    clipped = max(-MAX_INTENSITY, min(MAX_INTENSITY, sentiment))
    if clipped == 0:
        return 0.0
    rounded = round(clipped, 1)
    return rounded if rounded != 0 else (0.1 if clipped > 0 else -0.1)


def native_label(polarity: str, sentiment: float | None, emotion: str | None) -> UniversalLabel:
    """A label without a donor: the half that the data set lacks is a constant of the polarity.

    Intensity -1.0, 0.0 or 1.0; emotion sadness, neutral or joy. Used for the ablation without universal labels and
    where no donor exists.
    """
    intensity = _NATIVE_INTENSITY[polarity] if sentiment is None else target_intensity(sentiment)
    return UniversalLabel(polarity, intensity, _NATIVE_EMOTION[polarity] if emotion is None else emotion)


def format_label(label: UniversalLabel) -> str:
    """`positive,1.6,joy`: no spaces, one decimal. With the T5 vocabulary the number is one token (3.0 takes two)."""
    return f"{label.polarity},{label.intensity:.1f},{label.emotion}"


def parse_label(text: str, emotions: Sequence[str] = EMOTIONS) -> UniversalLabel:
    """The inverse of `format_label`.

    Args:
        text: exactly one label; nothing before, after or inside it.
        emotions: the emotion set of the grammar.

    Raises:
        ValueError: when `text` is not a label of the grammar; the message quotes it.
    """
    fields = text.split(",")
    if len(fields) != 3:
        raise ValueError(f"not a universal label: expected 'polarity,intensity,emotion', got {text!r}")
    polarity, intensity, emotion = fields
    if emotion not in emotions:
        raise ValueError(f"not a universal label: expected an emotion of {', '.join(emotions)}, got {text!r}")
    try:
        label = UniversalLabel(polarity, float(intensity), emotion)
    except ValueError as error:
        raise ValueError(f"not a universal label: {error} in {text!r}") from error
    if format_label(label) != text:
        raise ValueError(f"not a universal label: expected {format_label(label)!r}, got {text!r}")
    return label


def all_labels(emotions: Sequence[str] = EMOTIONS) -> Iterator[UniversalLabel]:
    """Every label of the grammar, in a fixed order: 61 intensities times the emotions."""
    for tenths in range(-30, 31):
        for emotion in emotions:
            yield UniversalLabel(polarity_of(tenths), tenths / 10, emotion)
