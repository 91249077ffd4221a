import numpy as np
import pytest
import torch
from transformers import AutoFeatureExtractor, AutoProcessor

from modeling_unimse import UniMSEProcessor, UniversalLabel

JOY = UniversalLabel("positive", 1.6, "joy")


def texts_of(processor, batch, segment):
    rows = zip(batch["input_ids"], batch["segment_ids"], batch["attention_mask"], strict=True)
    return [
        processor.tokenizer.decode(ids[(segments == segment) & (mask == 1)], skip_special_tokens=True)
        for ids, segments, mask in rows
    ]


def test_context_surrounds_the_current_utterance(processor):
    batch = processor(
        ["the bus leaves", "leave me alone"],
        context_before=[["too far", "at nine", "I am glad"], []],
        context_after=[["came today"], ["what a day", "it was", "really"]],
    )
    assert texts_of(processor, batch, 1) == ["the bus leaves", "leave me alone"]
    assert texts_of(processor, batch, 0) == ["at nine I am glad came today", "what a day it was"]
    end = processor.tokenizer.eos_token_id
    assert [(row == end).sum().item() for row in batch["input_ids"]] == [1, 1]


def test_one_sample_is_a_batch_of_one(processor, waveform):
    visual = np.ones((3, 6), np.float32)
    single = processor("leave me", ["at nine"], audio=waveform, visual_features=visual, label=JOY, sampling_rate=16_000)
    batch = processor(
        ["leave me"], [["at nine"]], audio=[waveform], visual_features=[visual], label=[JOY], sampling_rate=16_000
    )
    assert single.keys() == batch.keys()
    for name, value in single.items():
        assert torch.equal(value, batch[name])
    assert set(single) == set(processor.model_input_names)


def test_labels_are_targets_with_their_end(processor):
    batch = processor(["a", "b"], label=[JOY, "negative,-2.0,fear"])
    assert processor.batch_decode_labels(batch["labels"].clamp(min=0)) == [
        JOY,
        UniversalLabel("negative", -2.0, "fear"),
    ]
    assert batch["labels"][0, -1] == -100  # one token shorter: it has no sign
    assert (batch["labels"] == processor.tokenizer.eos_token_id).sum(1).tolist() == [1, 1]


def test_far_context_gives_way_first(processor):
    processor.max_text_tokens = 12
    batch = processor("leave me alone now", ["one two three four five six", "at nine"], ["glad you came today"])
    assert batch["input_ids"].shape == (1, 12)
    assert texts_of(processor, batch, 1) == ["leave me alone now"]
    context = texts_of(processor, batch, 0)[0]
    assert "nine" in context and "glad" in context and "one" not in context and "today" not in context
    alone = processor("leave me alone now I am so glad you came today the bus leaves at nine")
    assert alone["input_ids"].shape == (1, 12) and alone["input_ids"][0, -1] == processor.tokenizer.eos_token_id


def test_length_buckets_and_missing_text(processor):
    batch = processor([None, "the bus"], pad_to_multiple_of=8)
    assert batch["input_ids"].shape == (2, 8)
    assert batch["attention_mask"].sum(1).tolist()[0] == 1


BAD = [
    ({"label": ["positive,1.6,bliss", JOY]}, "first: not a universal label: expected an emotion"),
    ({"label": [JOY]}, r"label: expected one entry per text \(2\), got 1"),
    ({"context_before": [["a"]]}, r"context_before: expected one entry per text \(2\), got 1"),
    ({"audio_features": [np.zeros((4, 3)), None]}, r"first: expected audio_features of shape \(T, 64\)"),
]


@pytest.mark.parametrize(("inputs", "message"), BAD)
def test_bad_input_names_the_sample(processor, inputs, message):
    with pytest.raises(ValueError, match=message):
        processor(["a", "b"], sample_ids=["first", "second"], **inputs)


def test_saved_and_loaded_it_gives_the_same(processor, tmp_path, waveform):
    processor.context_after = 0
    processor.feature_extractor.audio_mean = [0.5] * 64
    processor.feature_extractor.audio_std = [2.0] * 64
    processor.save_pretrained(tmp_path)
    loaded = AutoProcessor.from_pretrained(tmp_path)
    assert type(loaded) is UniMSEProcessor
    assert type(AutoFeatureExtractor.from_pretrained(tmp_path)) is type(processor.feature_extractor)
    inputs = {"text": "leave me", "context_before": ["a"], "context_after": ["b"], "audio": waveform}
    for left, right in zip(processor(**inputs).values(), loaded(**inputs).values(), strict=True):
        assert torch.equal(left, right)
