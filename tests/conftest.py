"""Fixtures for all tests: small models, a tokenizer without any download, and batches with every kind of gap."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import T5Config, T5ForConditionalGeneration
from transformers.utils import logging

from modeling_unimse import UniMSEConfig, UniMSEFeatureExtractor, UniMSEForConditionalGeneration, UniMSEProcessor
from tests.hub_server import HubServer
from trainer.tokenizer import build_tokenizer

SHARED = Path(__file__).resolve().parents[2] / "shared"
TEXTS = ["I am so glad you came today", "The bus leaves at nine", "Leave me alone now", "What a day it was, really"]

logging.set_verbosity_error()
logging.disable_progress_bar()


def tiny_text_config(**changes) -> T5Config:
    settings = {
        "vocab_size": 320,
        "d_model": 32,
        "d_kv": 8,
        "d_ff": 48,
        "num_layers": 4,
        "num_heads": 4,
        "dropout_rate": 0.0,
        "decoder_start_token_id": 0,
    }
    return T5Config(**{**settings, **changes})


def tiny_config(**changes) -> UniMSEConfig:
    settings = {"text_config": tiny_text_config(), "visual_feature_size": 6}
    settings.update(audio_hidden_size=12, visual_hidden_size=10)
    return UniMSEConfig(**{**settings, **changes})


def tiny_model(seed: int = 0, **changes) -> UniMSEForConditionalGeneration:
    torch.manual_seed(seed)
    return UniMSEForConditionalGeneration(tiny_config(**changes)).eval()


def moved(model: UniMSEForConditionalGeneration, seed: int = 1) -> UniMSEForConditionalGeneration:
    """The model with fusion and segments away from their zeros, as after training."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "fusion" in name or "segment" in name:
                parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    return model


def make_batch(seed: int = 0, rows: int = 4, text: int = 11, audio: int = 20, visual: int = 7, target: int = 6) -> dict:
    """Row 1: short text. Row 2: no audio. Row 3: no visual. Row 0: half of the audio."""
    generator = torch.Generator().manual_seed(seed)
    batch = {
        "input_ids": torch.randint(3, 300, (rows, text), generator=generator),
        "attention_mask": torch.ones(rows, text, dtype=torch.long),
        "segment_ids": torch.randint(0, 2, (rows, text), generator=generator),
        "audio_features": torch.randn(rows, audio, 64, generator=generator),
        "audio_features_mask": torch.ones(rows, audio, dtype=torch.long),
        "visual_features": torch.randn(rows, visual, 6, generator=generator),
        "visual_features_mask": torch.ones(rows, visual, dtype=torch.long),
        "labels": torch.randint(3, 300, (rows, target), generator=generator),
    }
    batch["attention_mask"][1, text // 2 :] = 0
    batch["audio_features_mask"][0, audio // 2 :] = 0
    batch["audio_features_mask"][2] = 0
    batch["visual_features_mask"][3] = 0
    batch["labels"][1, 3:] = -100
    return batch


def without(batch: dict, *parts: str) -> dict:
    return {name: value for name, value in batch.items() if not any(part in name for part in parts)}


@pytest.fixture(scope="session", autouse=True)
def trackio_folder(tmp_path_factory):
    """Nothing of a test lands in the folder of the user. trackio reads the name once, so all tests share one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRACKIO_DIR", str(tmp_path_factory.mktemp("trackio")))
        yield


@pytest.fixture(scope="session")
def tokenizer():
    return build_tokenizer(TEXTS, vocab_size=320)


@pytest.fixture
def processor(tokenizer) -> UniMSEProcessor:
    return UniMSEProcessor(UniMSEFeatureExtractor(visual_feature_size=6), tokenizer)


@pytest.fixture(scope="session")
def t5_folder(tmp_path_factory) -> Path:
    """A T5 checkpoint in the standard layout."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("t5")
    T5ForConditionalGeneration(tiny_text_config()).save_pretrained(folder)
    return folder


@pytest.fixture
def waveform() -> np.ndarray:
    return np.random.default_rng(0).normal(size=16_000) * 0.1


@pytest.fixture(scope="session")
def local_hub():
    """A local Hub; clients of it are processes of their own, see `tests.hub_server.run_client`."""
    with HubServer() as hub:
        yield hub


@pytest.fixture
def shared() -> Path:
    if not SHARED.is_dir():
        pytest.skip("no shared data beside the checkout (real benchmarks and vocabulary for local development)")
    return SHARED
