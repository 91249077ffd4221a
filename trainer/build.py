"""Processor and model of a run, from its configuration and its training data."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn
from transformers import AutoTokenizer, T5Config

from dataset_scripts.visual import is_stored
from modeling_unimse import UniMSEConfig, UniMSEFeatureExtractor, UniMSEForConditionalGeneration, UniMSEProcessor
from trainer.adapters import add_adapter
from trainer.arguments import MODALITIES, RunConfig
from trainer.data import Indexed, feature_statistics
from trainer.optimization import freeze_backbone
from trainer.tokenizer import build_tokenizer


def build_processor(config: RunConfig, train: Indexed, specs: dict) -> UniMSEProcessor:
    """The processor: tokenizer, feature statistics of the training set, and the specs of its features.

    Args:
        train: training samples.
        specs: extractors of the features, see `trainer.data.feature_specs`.
    """
    stored_audio = specs["audio"] if specs["audio"] and is_stored(specs["audio"]) else None
    extractor = UniMSEFeatureExtractor(
        audio_feature_size=specs["audio"]["size"] if specs["audio"] else UniMSEConfig.audio_feature_size,
        stored_audio_spec=stored_audio,
        visual_feature_size=specs["visual"]["size"] if specs["visual"] else UniMSEConfig.visual_feature_size,
        visual_spec=specs["visual"],
        audio_normalization=config.audio_normalization,
        silence_threshold=config.silence_threshold,
    )
    extractor.check_specs(specs, "training data")
    for name in config.modalities:
        statistics = feature_statistics(train.joined, name, extractor.normalise_utterance if name == "audio" else None)
        if statistics is not None:
            mean, std = statistics
            setattr(extractor, f"{name}_mean", mean)
            setattr(extractor, f"{name}_std", std)
    return UniMSEProcessor(
        extractor,
        _tokenizer(config, train.rows),
        context_before=config.context_before,
        context_after=config.context_after,
        emotions=config.emotions,
    )


def _tokenizer(config: RunConfig, rows: Sequence[dict]):
    source = config.tokenizer or config.backbone
    if source is not None:
        return AutoTokenizer.from_pretrained(source)
    return build_tokenizer((row["text"] or "" for row in rows), config.emotions, config.vocab_size)


def build_model(config: RunConfig, processor: UniMSEProcessor) -> UniMSEForConditionalGeneration:
    """The model: from `config.backbone`, or from scratch with `config.model["text_config"]`.

    What belongs to a modality that the run does not use is frozen, and not compared with the text.
    """
    extractor = processor.feature_extractor
    settings = {
        "audio_feature_size": extractor.audio_feature_size,
        "visual_feature_size": extractor.visual_feature_size,
        "context_before": config.context_before,
        "context_after": config.context_after,
        "emotions": config.emotions,
        **config.model,
    }
    for name in MODALITIES:
        if name not in config.modalities:
            settings[f"{name}_contrastive_weight"] = 0.0
    if config.backbone is not None:
        model_config = UniMSEConfig.from_pretrained(config.backbone, **settings)
        model = UniMSEForConditionalGeneration.from_pretrained(
            config.backbone, config=model_config, dtype=torch.float32
        )
    else:
        text_config = {"vocab_size": _padded(len(processor.tokenizer)), **(settings.pop("text_config", None) or {})}
        model = UniMSEForConditionalGeneration(UniMSEConfig(text_config=T5Config(**text_config), **settings))
    model.generation_config.max_new_tokens = processor.label_trie().max_length
    freeze_unused(model, config.modalities)
    freeze_backbone(model, config.trainable_blocks)
    return model


def add_adapter_to(model: UniMSEForConditionalGeneration, config: RunConfig, base: Path) -> nn.Module:
    """The model with the adapter of `config.peft`; without one, the model as it is.

    Args:
        base: folder in which the model is kept as it is.
    """
    if config.peft is None:
        return model
    model = add_adapter(model, config.peft, base)
    freeze_unused(model, config.modalities)  # an adapter makes whole modules trainable
    return model


def freeze_unused(model: nn.Module, modalities: Sequence[str]) -> None:
    """Freezes what no gradient reaches; with several processes every trainable parameter must get one."""
    for name in MODALITIES:
        if name in modalities and model.config.fusion_layers:
            continue
        for part, module in model.named_modules():
            if part.split(".")[-1] in (f"{name}_encoder", f"{name}_attention"):
                module.requires_grad_(False)


def _padded(size: int, multiple: int = 64) -> int:
    return -(-size // multiple) * multiple
