"""Rows and prepared folders for the tests of universal labels."""

import json

import numpy as np
from hypothesis import strategies as st

from dataset_scripts.publish import stamp_card, write_split
from dataset_scripts.schema import features, new_example
from modeling_unimse.universal_label_unimse import polarity_of

EMOTIONS = {"negative": ("anger", "sadness", "surprise"), "neutral": ("neutral",), "positive": ("joy", "excited")}
SIGN = {"negative": -1, "neutral": 0, "positive": 1}
DATASETS = ("mosi", "mosei", "meld", "iemocap", "mine")
TASKS = {"mosi": "sentiment", "mosei": "sentiment", "meld": "emotion", "iemocap": "emotion"}
SPLITS = ("train", "validation", "test")


def make_row(name, split="train", text="hello", polarity="positive", sentiment=None, emotion=None, dataset=None):
    """A row of MOSI where it has a sentiment, else of MELD."""
    return {
        "id": name,
        "dataset": dataset or ("meld" if sentiment is None else "mosi"),
        "split": split,
        "text": text,
        "polarity": polarity,
        "sentiment": sentiment,
        "emotion": emotion,
    }


@st.composite
def corpora(draw):
    """(rows, embeddings): few directions and short ids, so that ties and copies are common.

    Mostly the gold that a benchmark has, sometimes both fields or neither: a row is not to be trusted for its data set.
    """
    size = draw(st.integers(1, 16))
    rows = []
    for number in draw(st.permutations(range(size))):
        dataset = draw(st.sampled_from(DATASETS))
        polarity = draw(st.sampled_from(["positive", "positive", "positive", "negative", "neutral"]))
        usual = [TASKS[dataset]] * 4 if dataset in TASKS else ["sentiment", "emotion"]
        gold = draw(st.sampled_from([*usual, "both", "neither"]))
        sentiment = SIGN[polarity] * draw(st.sampled_from([0.02, 1 / 3, 1.0, 2.6, 3.0]))
        rows.append(
            make_row(
                f"r{number}",
                dataset=dataset,
                split=draw(st.sampled_from(["train", "train", "train", "validation", "test"])),
                text=draw(st.sampled_from(["hello", "hello", "hello", "hello", "bye", "  ", None])),
                polarity=polarity,
                sentiment=sentiment if gold in ("sentiment", "both") else None,
                emotion=draw(st.sampled_from(EMOTIONS[polarity])) if gold in ("emotion", "both") else None,
            )
        )
    vectors = st.lists(st.integers(-1, 2), min_size=2, max_size=2)
    return rows, np.array(draw(st.lists(vectors, min_size=size, max_size=size)), dtype=np.float32)


def prepared_row(dataset, split, number, text, sentiment=None, emotion=None, polarity=None):
    generator = np.random.default_rng(number)
    return new_example(
        id=f"{dataset}/{split}/{number}",
        dataset=dataset,
        split=split,
        dialogue_id="d0",
        utterance_index=number,
        text=text,
        sentiment=sentiment,
        emotion=emotion,
        polarity=polarity or polarity_of(sentiment),
        audio_features=None if number == 1 else generator.standard_normal((3 + number, 64)).astype(np.float32),
        visual_features=generator.standard_normal((2, 5)).astype(np.float32),
    )


def write_prepared(folder, rows, configs=("default",)):
    """A folder as `prepare` leaves it; further feature sets have the audio alone."""
    sizes = {config: {"audio": 64, "visual": 5} if config == configs[0] else {"audio": 64} for config in configs}
    card = ["---", "configs:"]
    for config in configs:
        card += [f"- config_name: {config}", "  description: content 000000000000", "  data_files:"]
        for split in SPLITS:
            part = [row if "visual" in sizes[config] else row | {"visual_features": None} for row in rows]
            part = [row for row in part if row["split"] == split]
            if part:
                write_split(folder, split, part, features(sizes[config]), config)
                card += [f"  - split: {split}", f"    path: data/{config}/{split}-*.parquet"]
    (folder / "README.md").write_text("\n".join([*card, "---", ""]), encoding="utf-8")
    specs = {config: {"text": None, "audio": {}, "visual": {}} for config in configs}
    (folder / "features.json").write_text(json.dumps(specs), encoding="utf-8")
    stamp_card(folder)
    return folder


def mosi_rows():
    return [
        prepared_row("mosi", "train", 0, "a wonderful day", sentiment=2.0),
        prepared_row("mosi", "train", 1, "this is awful", sentiment=-1.4),
        prepared_row("mosi", "train", 2, "it is a film", sentiment=0.0),
        prepared_row("mosi", "test", 3, "awful food", sentiment=-3.0),
    ]


def meld_rows():
    return [
        prepared_row("meld", "train", 0, "wonderful, wonderful!", emotion="joy", polarity="positive"),
        prepared_row("meld", "train", 1, "awful!", emotion="anger", polarity="negative"),
        prepared_row("meld", "train", 2, "okay", emotion="neutral", polarity="neutral"),
        prepared_row("meld", "test", 3, "awful food", emotion="disgust", polarity="negative"),
        prepared_row("meld", "test", 4, None, emotion="fear", polarity="negative"),
    ]


def iemocap_rows():
    return [
        prepared_row("iemocap", "train", 0, "a wonderful evening", emotion="excited", polarity="positive"),
        prepared_row("iemocap", "train", 1, "such an awful line", emotion="frustrated", polarity="negative"),
        prepared_row("iemocap", "test", 2, "awful food", emotion="sadness", polarity="negative"),
    ]
