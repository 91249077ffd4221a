"""What several benchmarks measure on: sizes of T5, random model inputs, prepared data of realistic lengths."""

import json
from pathlib import Path

import numpy as np
import torch

SIZES = {
    "tiny": {"d_model": 128, "d_kv": 32, "d_ff": 512, "num_layers": 4, "num_heads": 4},
    "small": {"d_model": 512, "d_kv": 64, "d_ff": 2048, "num_layers": 6, "num_heads": 8},
    "base": {"d_model": 768, "d_kv": 64, "d_ff": 3072, "num_layers": 12, "num_heads": 12},
}
# Five seconds of speech and video, as the clips of the four benchmarks have them; five utterances make some 100 tokens.
AUDIO_FRAMES, FACES, WORDS = 157, 32, (8, 20)
VISUAL_SPEC = {"name": "generated", "size": 64, "fingerprint": "0" * 12, "settings": {}}


def make_batch(rows: int, text: int, audio: int, visual: int, device) -> dict:
    """Random inputs; targets of 10 tokens, as long as labels are."""
    return {
        "input_ids": torch.randint(3, 32_000, (rows, text), device=device),
        "attention_mask": torch.ones(rows, text, dtype=torch.long, device=device),
        "segment_ids": torch.randint(0, 2, (rows, text), device=device),
        "audio_features": torch.randn(rows, audio, 64, device=device),
        "visual_features": torch.randn(rows, visual, 64, device=device),
        "labels": torch.randint(3, 32_000, (rows, 10), device=device),
    }


def write_prepared(folder: Path, sizes: dict[str, int]) -> Path:
    """A prepared, labelled dataset of random words and features; `sizes`: split -> utterances."""
    from dataset_scripts.publish import write_split
    from dataset_scripts.schema import features
    from modeling_unimse import UniMSEFeatureExtractor

    generator = np.random.default_rng(0)
    for split, count in sizes.items():
        rows = (_make_row(split, number, generator) for number in range(count))
        write_split(folder, split, rows, features({"audio": 64, "visual": VISUAL_SPEC["size"]}))
    specs = {"text": None, "audio": UniMSEFeatureExtractor().audio_spec, "visual": VISUAL_SPEC}
    (folder / "features.json").write_text(json.dumps({"default": specs}), encoding="utf-8")
    return folder


def _make_row(split: str, number: int, generator: np.random.Generator) -> dict:
    """One utterance of a dialogue of ten."""
    from dataset_scripts.schema import new_example

    words = generator.integers(1000, size=generator.integers(*WORDS, endpoint=True))
    return new_example(
        id=f"meld/{split}/dia{number // 10}_utt{number % 10}",
        dataset="meld",
        split=split,
        dialogue_id=f"dia{number // 10}",
        utterance_index=number % 10,
        text=" ".join(f"word{word}" for word in words),
        audio_features=generator.standard_normal((AUDIO_FRAMES, 64), dtype=np.float32),
        visual_features=generator.standard_normal((FACES, VISUAL_SPEC["size"]), dtype=np.float32),
        emotion="joy",
        polarity="positive",
        label_emotion="joy",
        label_intensity=1.5,
    )
