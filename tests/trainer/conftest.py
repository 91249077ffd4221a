"""Prepared folders without any media: two small datasets whose labels can be learned."""

import json

import numpy as np
import pytest

from dataset_scripts.publish import write_split
from dataset_scripts.schema import features, new_example
from dataset_scripts.universal_labels import label_datasets
from modeling_unimse import UniMSEFeatureExtractor

VISUAL_SPEC = {"name": "test-visual", "size": 6, "fingerprint": "abc123abc123", "settings": {}}
WORDS = {"joy": "glad", "anger": "angry", "neutral": "plain"}
SENTIMENT = {"joy": 1.8, "anger": -2.2, "neutral": 0.0}
POLARITY = {"joy": "positive", "anger": "negative", "neutral": "neutral"}
CARD = """---
configs:
- config_name: default
  description: content 000000000000
  data_files:
  - {split: train, path: data/train-*.parquet}
  - {split: validation, path: data/validation-*.parquet}
  - {split: test, path: data/test-*.parquet}
---
"""


def make_rows(dataset: str, split: str, count: int) -> list[dict]:
    generator = np.random.default_rng(count)
    rows = []
    for index in range(count):
        emotion = list(WORDS)[index % 3]
        dialogue, place = divmod(index, 4)
        rows.append(
            new_example(
                id=f"{dataset}/{split}/{index}",
                dataset=dataset,
                split=split,
                dialogue_id=f"d{dialogue}",
                utterance_index=place,
                text=f"utterance {index} of {dialogue} is {WORDS[emotion]}",
                audio_features=generator.normal(index % 3, 1, (5 + index % 3, 64)).astype(np.float32),
                visual_features=None if index % 4 == 3 else generator.normal(size=(3, 6)).astype(np.float32),
                sentiment=SENTIMENT[emotion] if dataset == "mosi" else None,
                emotion=None if dataset == "mosi" else emotion,
                polarity=POLARITY[emotion],
            )
        )
    return rows


def write_prepared(folder, dataset: str, sizes: dict[str, int], visual_spec=VISUAL_SPEC):
    for split, count in sizes.items():
        write_split(folder, split, make_rows(dataset, split, count), features({"audio": 64, "visual": 6}))
    (folder / "README.md").write_text(CARD, encoding="utf-8")
    specs = {"audio": UniMSEFeatureExtractor().audio_spec, "visual": visual_spec}
    (folder / "features.json").write_text(json.dumps({"default": {"text": None, **specs}}), encoding="utf-8")
    return folder


@pytest.fixture(autouse=True)
def datasets_cache(tmp_path_factory, monkeypatch):
    """Loading never touches the user's cache."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.getbasetemp() / "datasets")


def make_prepared(folder):
    """Labelled MOSI and MELD folders: 24 / 8 / 10 utterances each."""
    sizes = {"train": 24, "validation": 8, "test": 10}
    folders = [write_prepared(folder / "data" / name, name, sizes) for name in ("mosi", "meld")]
    label_datasets(folders)
    return folders


def make_settings(prepared, folder) -> dict:
    """Fields of a config that trains a tiny model in seconds."""
    return {
        "run": "tiny",
        "data": list(map(str, prepared)),
        "output_dir": str(folder / "runs"),
        "model": {
            "text_config": {
                **{"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_decoder_layers": 1},
                **{"num_heads": 4, "dropout_rate": 0.0},
            },
            "audio_contrastive_weight": 0.05,
            "visual_contrastive_weight": 0.05,
        },
        "epochs": 2,
        "batch_size": 8,
        "learning_rate": 5e-3,
        "fusion_learning_rate": 5e-3,
    }


@pytest.fixture
def prepared(tmp_path):
    return make_prepared(tmp_path)


@pytest.fixture
def run_settings(prepared, tmp_path) -> dict:
    return make_settings(prepared, tmp_path)
