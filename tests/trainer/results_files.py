"""Results files for tests: two models, three seeds, two protocols; every number made up but consistent."""

import json
import random

from trainer.metrics.erc_classification.erc_classification import score_emotions
from trainer.metrics.msa_regression.msa_regression import score_sentiment

MELD = ["neutral", "joy", "surprise", "anger", "sadness", "disgust", "fear"]


def make_results(run="full", seed=1, skill=0.7, modalities=("text", "audio", "visual"), rows=120, fusion_type="ffn"):
    """The content of one results file, its scores computed from random predictions of a given skill."""
    generator = random.Random(f"{run}{seed}")
    gold_emotions = [generator.choice(MELD) for _ in range(rows)]
    emotions = [gold if generator.random() < skill else generator.choice(MELD) for gold in gold_emotions]
    gold_sentiments = [generator.randint(-9, 9) / 3 for _ in range(rows)]
    sentiments = [round(skill * gold + generator.gauss(0, 0.6), 1) for gold in gold_sentiments]
    erc = score_emotions(emotions, gold_emotions, MELD)
    msa = score_sentiment(sentiments, gold_sentiments)
    metrics = {f"meld/{key}": erc[key] for key in ("accuracy", "weighted_f1", "macro_f1")}
    metrics |= {
        f"mosi/{key}": value
        for key, value in msa.items()
        if key not in ("samples", "intervals", "reasons", "parse_failures")
    }
    return {
        "schema_version": 1,
        "run": f"{run}-seed{seed}",
        "model": {"name": "unimse-t5-tiny", "fusion_type": fusion_type, "parameters": 1234567},
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
        "metrics": metrics | {"emotion_accuracy": erc["accuracy"], "parse_failures": 0},
        "per_class": {
            "meld": {name: {key: part[key] for key in ("f1", "support")} for name, part in erc["per_class"].items()}
        },
        "confusion": {"meld": erc["confusion"]},
        "reasons": {},
        "seconds": {"train": 61.5, "evaluate": 4.25},
    }


def write_results(folder, **arguments):
    """Write one file, `<folder>/<run>.json`; returns its path."""
    content = make_results(**arguments)
    path = folder / f"{content['run']}.json"
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1), encoding="utf-8")
    return path


def write_many(folder):
    """Two groups of three seeds under the full protocol, and one run that saw text only."""
    files = [write_results(folder, run="full", seed=seed, skill=0.8) for seed in (1, 2, 3)]
    files += [
        write_results(folder, run="cross", seed=seed, skill=0.7, fusion_type="cross_attention") for seed in (1, 2, 3)
    ]
    return [*files, write_results(folder, run="text-only", seed=1, skill=0.4, modalities=("text",))]
