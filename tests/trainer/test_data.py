import pickle

import numpy as np
import pytest
import torch

from modeling_unimse import UniMSEFeatureExtractor, UniMSEProcessor, UniversalLabel
from modeling_unimse.universal_label_unimse import EMOTIONS
from tests.trainer.conftest import VISUAL_SPEC, write_prepared
from trainer.augmentation import Augmentation
from trainer.batching import Draw
from trainer.data import Collator, Indexed, feature_specs, feature_statistics, load_split
from trainer.tokenizer import build_tokenizer


@pytest.fixture
def collator():
    extractor = UniMSEFeatureExtractor(visual_feature_size=6)
    return Collator(UniMSEProcessor(extractor, build_tokenizer(["utterance is plain"])))


def test_context_stays_in_its_dialogue_and_split(prepared):
    data = load_split(prepared, "train", context_before=2, context_after=1)["meld"]
    texts = [row["text"] for row in data.rows]
    assert data[0]["context_before"] == [] and data[0]["context_after"] == [texts[1]]
    assert data[3]["context_before"] == texts[1:3] and data[3]["context_after"] == []
    assert data[4]["context_before"] == []
    other = load_split(prepared, "test", context_before=2, context_after=1)["meld"]
    assert all(row["split"] == "test" for row in other.rows)
    test_texts = {row["text"] for row in other.rows}
    assert all(set(other[i]["context_before"] + other[i]["context_after"]) <= test_texts for i in range(len(other)))


def test_a_pickled_dataset_reads_the_same_features_and_carries_none(prepared):
    data = load_split(prepared, "train")["meld"]
    expected = [data[index] for index in range(len(data))]
    again = pickle.loads(pickle.dumps(data))
    assert "features" not in vars(again)
    for index, sample in enumerate(expected):
        for name in ("audio_features", "visual_features"):
            np.testing.assert_equal(again[index][name], sample[name])
    assert [sample["visual_features"] is None for sample in expected[:4]] == [False, False, False, True]


def test_targets_are_universal_or_native(prepared):
    universal = load_split(prepared, "train")
    assert universal["mosi"][0]["label"]() == UniversalLabel("positive", 1.8, "joy")  # emotion of a MELD donor
    assert universal["meld"][1]["label"]() == UniversalLabel("negative", -2.2, "anger")  # intensity of a MOSI donor
    native = load_split(prepared, "train", universal_labels=False)
    assert native["mosi"][1]["label"]() == UniversalLabel("negative", -2.2, "sadness")
    assert native["meld"][1]["label"]() == UniversalLabel("negative", -1.0, "anger")


def test_unlabelled_data_say_what_to_do(tmp_path):
    folder = write_prepared(tmp_path / "meld", "meld", {"train": 3})
    with pytest.raises(ValueError, match="meld/train/0: no universal label yet. Run `unimse label`"):
        load_split([folder], "train")["meld"][0]["label"]()


def test_wrong_folders_are_refused(prepared, tmp_path):
    with pytest.raises(ValueError, match="dataset 'meld' is given twice"):
        load_split([prepared[1], prepared[1]], "train")
    only_train = write_prepared(tmp_path / "few", "iemocap", {"train": 3})
    with pytest.raises(ValueError, match="no test split in"):
        load_split([only_train], "test")
    other = write_prepared(tmp_path / "other", "iemocap", {"train": 3}, {**VISUAL_SPEC, "fingerprint": "zzz"})
    with pytest.raises(ValueError, match=r"visual features were made by test-visual \(zzz\)"):
        feature_specs([*prepared, other])


def test_statistics_count_frames_not_samples(prepared):
    data = Indexed(load_split(prepared, "train"))
    frames = np.concatenate([data[i][1]["audio_features"] for i in range(len(data))]).astype(np.float64)
    mean, std = feature_statistics(data.joined, "audio")
    np.testing.assert_allclose(mean, frames.mean(0), rtol=1e-6)
    np.testing.assert_allclose(std, frames.std(0), rtol=1e-6)


def test_batches_keep_order_gaps_and_every_modality(prepared, collator):
    data = Indexed(load_split(prepared, "train"))
    batch = collator([data[3], data[25]])
    assert batch["sample_index"].tolist() == [3, 25]
    assert batch["visual_features_mask"].any(1).tolist() == [False, True]
    alone = collator([data[3]])
    assert alone["visual_features"].shape == (1, 1, 6) and not alone["visual_features_mask"].any()
    text_only = Collator(collator.processor, modalities=())([data[3]])
    assert not any("features" in name for name in text_only)


def test_modality_dropout_drops_about_that_share_of_each(prepared, collator):
    collator.modality_dropout = {"audio": 0.3}
    data = Indexed(load_split(prepared, "train"))
    batches = [collator([data[Draw(index, 24 * number + index)] for index in range(24)]) for number in range(20)]
    present = torch.cat([batch["audio_features_mask"].any(1) for batch in batches]).float().mean()
    assert 0.6 < present < 0.8
    assert all(batch["visual_features_mask"][[0, 1, 2]].any(1).all() for batch in batches)


def test_what_is_random_about_a_sample_is_its_own(prepared, collator):
    """The same in another batch, at another place, and not touching the generator of the layers."""
    collator.augmentation = Augmentation(0.2, 2, 4, 4, 0.5, 0.3)
    data = Indexed(load_split(prepared, "train"))
    state = torch.get_rng_state()
    one, other, again = Draw(3, 11), Draw(4, 12), Draw(3, 13)
    alone, pair = collator([data[one]]), collator([data[other], data[one]])
    assert torch.equal(state, torch.get_rng_state())
    for name in ("input_ids", "audio_features", "visual_features"):
        width = alone[name].shape[1]
        assert torch.equal(alone[name][0], pair[name][1, :width]), name
    assert not torch.equal(alone["audio_features"], collator([data[again]])["audio_features"])


def test_augmentation_changes_what_it_says_and_nothing_else():
    rng = np.random.default_rng(0)
    audio = np.arange(40 * 64, dtype=np.float32).reshape(40, 64)
    assert Augmentation().stretched(audio, rng) is audio
    lengths = {len(Augmentation(time_stretch=0.25).stretched(audio, rng)) for _ in range(50)}
    assert min(lengths) >= 30 and max(lengths) <= 50 and len(lengths) > 5
    shifted = Augmentation(frequency_shift=3).stretched(audio, rng)
    assert shifted.shape == audio.shape and np.isin(shifted[0], audio[0]).all()
    shares = []
    for _ in range(50):
        features = torch.ones(40, 64)
        Augmentation(time_mask=8, frequency_mask=10).mask(features, rng)
        shares.append((features == 0).float().mean().item())
    assert 0.05 < np.mean(shares) < 0.3 and max(shares) <= 8 / 40 + 10 / 64
    features = torch.ones(300, 64)
    Augmentation(noise=0.5).add_noise(features, rng)
    assert features.std().item() == pytest.approx(0.5, rel=0.1)


def test_token_mask_keeps_the_end(collator):
    rng = np.random.default_rng(0)
    tokenizer = collator.processor.tokenizer
    ids = torch.full((1000,), 9)
    ids[800], ids[801:] = tokenizer.eos_token_id, tokenizer.pad_token_id
    hidden = ids.clone()
    Augmentation(token_mask=0.4).hide_tokens(hidden, tokenizer, rng)
    assert torch.equal(hidden[800:], ids[800:])
    assert 0.3 < (hidden[:800] == tokenizer.unk_token_id).float().mean().item() < 0.5


def test_wrong_augmentation_is_named():
    with pytest.raises(ValueError, match="unknown field 'augmentation.pitch'; known are frequency_mask"):
        Augmentation.from_settings({"pitch": 1})
    with pytest.raises(ValueError, match="augmentation.noise: expected a number >= 0, got -1"):
        Augmentation.from_settings({"noise": -1})


def test_a_built_tokenizer_writes_words_and_labels_as_pieces():
    texts = ["The bus leaves at nine, really", "the bus is late"]
    tokenizer = build_tokenizer(texts)
    assert tokenizer.tokenize("the bus leaves") == ["▁the", "▁bus", "▁leaves"]
    assert tokenizer.tokenize("negative,-2.5,fear") == ["▁negative", ",", "-", "2.5", ",", "fear"]
    assert tokenizer.unk_token_id not in tokenizer("Zebra 42 (unseen)?").input_ids
    again = build_tokenizer(texts)
    assert again.get_vocab() == tokenizer.get_vocab()
    assert all(emotion in tokenizer.get_vocab() for emotion in EMOTIONS)
