"""Sentences of the embedded sample: own phrase banks, one an emotion, and plain neutral statements.

A telling sentence is a frame of its emotion ("i feel ... about ...") with a word that names the emotion, an intensifier
that follows the strength, and a topic. Topics, openers and tails are shared with the neutral sentences, so they say
nothing about the emotion: a test sentence is new as a whole, yet its telling word was seen in training.
"""

from collections.abc import Sequence

import numpy as np

MIN_WORDS, MAX_WORDS = 6, 14

# How a person feels, and what a thing is; every word belongs to one emotion only. Few words, each often: a model that
# is trained from scratch in a minute must meet every one of them many times.
FEELINGS = {
    "joy": ("happy", "delighted"),
    "surprise": ("surprised", "amazed"),
    "anger": ("angry", "furious"),
    "sadness": ("sad", "lonely"),
    "disgust": ("disgusted", "queasy"),
    "fear": ("afraid", "scared"),
    "excited": ("excited", "thrilled"),
    "frustrated": ("frustrated", "annoyed"),
}
QUALITIES = {
    "joy": ("lovely",),
    "surprise": ("unexpected",),
    "anger": ("outrageous",),
    "sadness": ("depressing",),
    "disgust": ("nasty",),
    "fear": ("frightening",),
    "excited": ("exciting",),
    "frustrated": ("irritating",),
}
FEELING_FRAMES = (
    "i am {very} {word} about {topic}",
    "i feel {very} {word} about {topic}",
    "{topic} makes me {very} {word}",
    "{topic} left us {very} {word}",
    "we were {very} {word} about {topic}",
    "hearing about {topic} made me {very} {word}",
    "my sister is {very} {word} about {topic}",
)
QUALITY_FRAMES = (
    "i find {topic} {very} {word}",
    "to me {topic} was {very} {word}",
    "everyone said {topic} was {very} {word}",
    "we thought {topic} was {very} {word}",
)
# From weak to strong; the strength in [0, 1] picks the row.
INTENSIFIERS = (
    ("a bit", "slightly"),
    ("rather", "fairly"),
    ("very", "really"),
    ("absolutely", "extremely"),
)
NEUTRAL_FRAMES = (
    "the note about {topic} is on the table",
    "we talked about {topic} at the office",
    "i wrote two pages about {topic}",
    "{topic} is on the list for the week",
    "he sent me a message about {topic}",
    "there is a page about {topic} in the folder",
    "i read about {topic} on the bus",
    "{topic} comes after the break",
    "she asked where to find {topic}",
    "they moved {topic} to the next room",
    "we have the papers for {topic} here",
    "my brother works on {topic} with a colleague",
    "you can see {topic} from the window",
    "the form for {topic} has three parts",
)
# Few topics, so that the most similar text, where a universal label is looked for, shares the telling word.
TOPICS = (
    "the new kitchen",
    "the monday meeting",
    "the phone call",
    "the school play",
    "the dinner plan",
    "the football match",
    "the short film",
    "the spring concert",
    "the cooking class",
    "the art museum",
)
OPENERS = ("", "", "", "well", "so", "you know", "i mean", "by the way", "as i said", "look", "now", "okay")
TAILS = ("", "", "", "today", "this week", "this morning", "at the moment", "these days", "again", "right now")


def write_sentence(emotion: str, strength: float, variant: int, rng: np.random.Generator) -> str:
    """One lower-case sentence of 6 to 14 words without punctuation.

    Args:
        emotion: `neutral` for a plain statement, else the emotion that the sentence tells.
        strength: in [0, 1]; picks the intensifier. No effect on a neutral sentence.
        variant: running number of the sentence among those of its emotion; the telling words take turns by it, so that
            a split holds each about equally often.
        rng: draws frame, topic, opener and tail.
    """
    topic = _pick(TOPICS, rng)
    if emotion == "neutral":
        core = _pick(NEUTRAL_FRAMES, rng).format(topic=topic)
    else:
        core = _telling_core(emotion, strength, variant, topic, rng)
    return _dress(core, rng)


def with_punctuation(sentence: str, apostrophe: str = "'") -> str:
    """The same sentence as a transcript prints it: capital letters, a comma, contractions, a full stop.

    The stop is the same for every emotion: punctuation must not tell.
    """
    for opener in OPENERS:
        if opener and sentence.startswith(opener + " "):
            sentence = f"{opener}, {sentence[len(opener) + 1 :]}"
    text = " ".join("I" if word == "i" else word for word in sentence.split())
    text = text.replace("I am ", f"I{apostrophe}m ")
    return text[0].upper() + text[1:] + "."


def _telling_core(emotion: str, strength: float, variant: int, topic: str, rng: np.random.Generator) -> str:
    words = FEELINGS[emotion] + QUALITIES[emotion]
    word = words[variant % len(words)]
    frames = FEELING_FRAMES if word in FEELINGS[emotion] else QUALITY_FRAMES
    row = min(int(strength * len(INTENSIFIERS)), len(INTENSIFIERS) - 1)
    return _pick(frames, rng).format(very=_pick(INTENSIFIERS[row], rng), word=word, topic=topic)


def _dress(core: str, rng: np.random.Generator) -> str:
    """Adds an opener and a tail; redraws those that would leave the length limits."""
    while True:
        sentence = " ".join(part for part in (_pick(OPENERS, rng), core, _pick(TAILS, rng)) if part)
        if MIN_WORDS <= len(sentence.split()) <= MAX_WORDS:
            return sentence


def _pick(options: Sequence[str], rng: np.random.Generator) -> str:
    return options[int(rng.integers(len(options)))]
