import json

import pytest
from transformers import AutoConfig, T5Config

from modeling_unimse import UniMSEConfig
from tests.conftest import tiny_config


def test_defaults_are_the_papers():
    config = UniMSEConfig()
    assert (config.text_config.d_model, config.text_config.num_layers) == (768, 12)
    assert config.fusion_layers == [9, 10, 11]
    assert (config.audio_hidden_size, config.visual_hidden_size, config.fusion_bottleneck_size) == (64, 64, 64)
    assert (config.audio_contrastive_weight, config.visual_contrastive_weight) == (0.5, 0.5)
    assert (config.contrastive_size, config.contrastive_temperature) == (30, 0.1)
    assert (config.context_before, config.context_after, config.sequence_summary) == (2, 2, "last")


WRONG = [
    ({"fusion_layers": [4]}, r"fusion_layers: expected layers of 0\.\.3 .*, got 4"),
    ({"fusion_layers": [-5]}, "fusion_layers: .*got -5"),
    ({"fusion_layers": [1.5]}, "fusion_layers: .*got 1.5"),
    ({"fusion_layers": 3}, "fusion_layers: expected a list of layers, got 3"),
    ({"text_config": {"num_layers": 0}}, "text_config.num_layers: expected a whole number >= 1, got 0"),
    ({"segment_embedding": "no"}, "segment_embedding: expected true or false, got 'no'"),
    ({"emotions": "joy"}, "emotions: expected a list of names, got 'joy'"),
    ({"fusion_type": "late"}, "fusion_type: expected one of ffn, parallel, cross_attention, got 'late'"),
    ({"fusion_init": "zero"}, "fusion_init: expected one of identity, paper, got 'zero'"),
    ({"sequence_summary": "max"}, "sequence_summary: expected one of last, mean, got 'max'"),
    ({"audio_hidden_size": 0}, "audio_hidden_size: expected a whole number >= 1, got 0"),
    ({"visual_feature_size": 2.5}, "visual_feature_size: expected a whole number >= 1, got 2.5"),
    ({"contrastive_temperature": 0}, "contrastive_temperature: expected a number > 0, got 0"),
    ({"audio_contrastive_weight": -1}, "audio_contrastive_weight: expected a number >= 0, got -1"),
    ({"modality_encoder_dropout": 1.0}, r"modality_encoder_dropout: expected \[0, 1\), got 1.0"),
    ({"cross_attention_size": 31}, r"cross_attention_size: expected a multiple of cross_attention_heads \(2\), got 31"),
    ({"context_before": -1}, "context_before: expected a whole number >= 0, got -1"),
    ({"emotions": ["joy", "joy"]}, "expected every name once"),
    ({"emotions": []}, "expected at least one name"),
]


@pytest.mark.parametrize(("change", "message"), WRONG)
def test_wrong_values_are_named_with_their_bound(change, message):
    with pytest.raises(ValueError, match=message):
        tiny_config(**change)


def test_the_checks_hold_for_changes_at_loading_too(tmp_path):
    tiny_config().save_pretrained(tmp_path)
    assert UniMSEConfig.from_pretrained(tmp_path, fusion_layers=[-1]).fusion_layers == [3]
    with pytest.raises(ValueError, match="fusion_type"):
        UniMSEConfig.from_pretrained(tmp_path, fusion_type="late")


def test_decoder_fusion_needs_the_layers_in_the_decoder_too():
    text_config = {"num_layers": 4, "num_decoder_layers": 2}
    with pytest.raises(ValueError, match=r"expected layers of 0\.\.1"):
        tiny_config(text_config=text_config, fuse_decoder=True)


def test_saved_and_loaded_it_is_the_same(tmp_path):
    text_config = T5Config(d_model=32, num_layers=2, feed_forward_proj="gated-gelu", tie_word_embeddings=False)
    config = UniMSEConfig(text_config=text_config, fusion_type="parallel", emotions=["neutral", "calm"])
    config.save_pretrained(tmp_path)
    loaded = AutoConfig.from_pretrained(tmp_path)
    assert type(loaded) is UniMSEConfig
    assert json.loads(loaded.to_json_string()) == json.loads((tmp_path / "config.json").read_text())
    assert loaded.fusion_type == "parallel" and loaded.emotions == ["neutral", "calm"]
    assert not loaded.scale_decoder_outputs


def test_a_plain_t5_configuration_becomes_the_backbone(tmp_path):
    T5Config(d_model=48, num_layers=5).save_pretrained(tmp_path)
    config = UniMSEConfig.from_pretrained(tmp_path, text_config={"dropout_rate": 0.3})
    assert (config.text_config.d_model, config.text_config.dropout_rate) == (48, 0.3)
    assert config.fusion_layers == [2, 3, 4]
    assert config.decoder_start_token_id == 0
