"""Results files with predictions for tests: models of a given skill on one made-up test set of MOSI and MELD."""

import copy
import json
import random
from functools import cache

import numpy as np

from trainer.predictions_file import read_predictions, write_predictions
from trainer.results_checks import SCHEMA_VERSION
from trainer.results_file import read_results, seal
from trainer.results_file import write_results as write_results_file
from trainer.scoring import score
from trainer.states_file import write_states

MELD = ["neutral", "joy", "surprise", "anger", "sadness", "disgust", "fear"]
BOOTSTRAP = {"resamples": 60, "confidence_level": 0.95, "seed": 0}


def make_rows(run="full", seed=1, skill=0.7, rows=120) -> list[dict]:
    """Prediction rows: gold fields are the same for every run, predictions are right about as often as `skill` says."""
    gold, guess = random.Random(rows), random.Random(f"{run}{seed}")
    made = []
    for index in range(rows):
        emotion = gold.choice(MELD)
        predicted = emotion if guess.random() < skill else guess.choice(MELD)
        made.append(_row("meld", index, None, emotion, 0.0, predicted))
    for index in range(rows):
        sentiment = gold.randint(-9, 9) / 3
        predicted = max(-3.0, min(3.0, round(skill * sentiment + guess.gauss(0, 0.6), 1)))
        made.append(_row("mosi", index, sentiment, None, predicted, "joy"))
    return made


def _row(dataset: str, index: int, sentiment, emotion, intensity: float, predicted: str) -> dict:
    polarity = "positive" if intensity > 0 else "negative" if intensity < 0 else "neutral"
    return {
        "id": f"{dataset}/test/{index}",
        "dataset": dataset,
        "sentiment": sentiment,
        "emotion": emotion,
        "prediction": f"{polarity},{intensity:.1f},{predicted}",
        "predicted_sentiment": intensity,
        "predicted_emotion": predicted,
        "label_probability": 0.5,
        "emotion_probabilities": None,
        "polarity_probabilities": None,
    }


@cache
def _scores(*arguments) -> dict:
    return score(make_rows(*arguments), {"meld": MELD}, BOOTSTRAP)


def make_results(run="full", seed=1, skill=0.7, modalities=("text", "audio", "visual"), rows=120, fusion_type="ffn"):
    """The content of one results file without predictions beside it."""
    scores = copy.deepcopy(_scores(run, seed, skill, rows))
    return seal(
        {
            "schema_version": SCHEMA_VERSION,
            "run": f"{run}-seed{seed}",
            "model": {"name": "unimse-t5-tiny", "fusion_type": fusion_type, "parameters": 1234567},
            "checkpoint": {"weights": "0123456789ab", "repo": None, "revision": None},
            "seed": seed,
            "commit": "0123abc",
            "created": f"2026-01-0{seed}T10:00:00+00:00",
            "command": f"unimse evaluate runs/{run} data/mosi data/meld --out results.json",
            "versions": {"torch": "2.13.0", "transformers": "5.23.0"},
            "protocol": {
                "context_before": 2,
                "context_after": 2,
                "modalities": list(modalities),
                "decoding": "constrained greedy",
                "emotions": "per benchmark",
                "split": "test",
                "universal_labels": True,
            },
            "data": {
                "mosi": {"fingerprint": "aa11", "rows": rows, "split": "test"},
                "meld": {"fingerprint": "bb22", "rows": rows, "split": "test"},
            },
            "predictions": None,
            "states": None,
            "seconds": {"train": 61.5, "evaluate": 4.25},
            **scores,
        }
    )


def write_results(folder, predictions=False, **arguments):
    """Write one file, `<folder>/<run>.json`, with its Parquet beside it where asked; returns its path."""
    content = make_results(**arguments)
    path = folder / f"{content['run']}.json"
    folder.mkdir(parents=True, exist_ok=True)
    if predictions:
        known = {name: value for name, value in arguments.items() if name in ("run", "seed", "skill", "rows")}
        write_predictions(path.with_suffix(".parquet"), make_rows(**known))
    write_results_file(path, content, path.with_suffix(".parquet") if predictions else None)
    return path


def with_states(path):
    """The same file with text states beside it: noise before fusion, one place for each gold emotion after it."""
    content = {name: value for name, value in json.loads(path.read_text("utf-8")).items() if name != "digest"}
    predictions = path.with_suffix(".parquet")
    rows = read_predictions(read_results(path))
    before = np.random.default_rng(0).normal(size=(len(rows), 8))
    after = np.array([[len(row["emotion"] or ""), *line[1:]] for row, line in zip(rows, before, strict=True)])
    states = path.with_name(f"{path.stem}-states.parquet")
    write_states(states, [row["id"] for row in rows], before, after)
    write_results_file(path, content, predictions, states)
    return path


def write_many(folder, predictions=False):
    """Two groups of three seeds under the full protocol, and one run that saw text only."""
    shared = {"folder": folder, "predictions": predictions}
    files = [write_results(**shared, run="full", seed=seed, skill=0.8) for seed in (1, 2, 3)]
    files += [write_results(**shared, run="cross", seed=seed, fusion_type="cross_attention") for seed in (1, 2, 3)]
    return [*files, write_results(**shared, run="text-only", seed=1, skill=0.4, modalities=("text",))]
