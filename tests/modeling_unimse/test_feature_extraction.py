import librosa
import numpy as np
import pytest
import torch

from modeling_unimse import UniMSEFeatureExtractor


@pytest.fixture
def extractor():
    return UniMSEFeatureExtractor(visual_feature_size=6)


@pytest.mark.parametrize("seconds", [0.01, 0.5, 2.3])
def test_log_mel_is_librosas(extractor, seconds):
    samples = np.random.default_rng(0).normal(size=int(16_000 * seconds)) * 0.2
    power = librosa.feature.melspectrogram(y=samples, sr=16_000, n_mels=64)
    expected = np.log(np.maximum(power, 1e-10)).T
    features = extractor.log_mel(samples)
    assert features.dtype == np.float32
    np.testing.assert_allclose(features, expected, atol=1e-4)


def test_silence_is_the_floor(extractor):
    np.testing.assert_allclose(extractor.log_mel(np.zeros(4000)), np.log(1e-10), rtol=1e-6)


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100, 48_000])
def test_other_rates_are_resampled(extractor, rate):
    tone = np.sin(2 * np.pi * 440 * np.arange(rate) / rate)
    reference = np.sin(2 * np.pi * 440 * np.arange(16_000) / 16_000)
    features, expected = extractor.log_mel(tone, rate), extractor.log_mel(reference)
    assert features.shape == expected.shape
    band = expected.mean(0).argmax()
    assert features.mean(0).argmax() == band
    np.testing.assert_allclose(features[4:-4, band], expected[4:-4, band], atol=0.05)


def test_batches_are_padded_and_masked(extractor, waveform):
    visual = np.ones((3, 6), np.float32)
    batch = extractor(
        audio=[waveform, None, waveform[:5000]],
        visual_features=[None, visual, None],
        sampling_rate=16_000,
        return_tensors="pt",
    )
    assert batch["audio_features"].shape == (3, 32, 64)
    assert batch["audio_features_mask"].sum(1).tolist() == [32, 0, 10]
    assert batch["visual_features_mask"].tolist() == [[0] * 3, [1] * 3, [0] * 3]
    assert not batch["audio_features"][1].any() and not batch["audio_features"][2, 10:].any()
    np.testing.assert_array_equal(batch["audio_features"][0], extractor.log_mel(waveform))


def test_a_modality_that_nobody_has_is_left_out(extractor):
    batch = extractor(audio_features=[None, None], visual_features=[np.ones((2, 6)), np.zeros((0, 6))])
    assert set(batch) == {"visual_features", "visual_features_mask"}
    assert batch["visual_features_mask"].sum(1).tolist() == [2, 0]


BAD = [
    ({"audio": [np.full(800, np.nan)]}, "a: the waveform holds NaN"),
    ({"audio": [np.zeros((2, 800))]}, r"a: expected a mono waveform of shape \(n,\).*\(2, 800\)"),
    ({"audio": [np.zeros(0)]}, r"a: expected a mono waveform .*\(0,\)"),
    ({"audio_features": [np.zeros((5, 63))]}, r"a: expected audio_features of shape \(T, 64\), got \(5, 63\)"),
    ({"visual_features": [np.zeros(6)]}, r"a: expected visual_features of shape \(T, 6\), got \(6,\)"),
    ({"visual_features": [np.array([[0.0] * 6, [np.inf] * 6])]}, "a: visual_features hold NaN .* first in frame 1"),
    ({"audio": [np.zeros(800)], "audio_features": [np.zeros((5, 64))]}, "either `audio` .* or `audio_features`"),
]


@pytest.mark.parametrize(("inputs", "message"), BAD)
def test_bad_input_is_refused_naming_the_sample(extractor, inputs, message):
    with pytest.raises(ValueError, match=message):
        extractor(**inputs, sample_ids=["a"])


def test_statistics_standardise_and_are_saved(tmp_path):
    features = np.random.default_rng(0).normal(3, 2, size=(50, 64)).astype(np.float32)
    settings = {"audio_mean": features.mean(0).tolist(), "audio_std": features.std(0).tolist()}
    UniMSEFeatureExtractor(**settings).save_pretrained(tmp_path)
    loaded = UniMSEFeatureExtractor.from_pretrained(tmp_path)
    out = loaded(audio_features=[features], return_tensors="pt")["audio_features"][0]
    torch.testing.assert_close(out.mean(0), torch.zeros(64), atol=1e-5, rtol=0)
    torch.testing.assert_close(out.std(0, correction=0), torch.ones(64), atol=1e-4, rtol=0)


@pytest.mark.parametrize(("normalization", "same"), [("dataset", False), ("level", True), ("utterance", True)])
def test_normalisation_takes_out_the_level(normalization, same):
    extractor = UniMSEFeatureExtractor(audio_normalization=normalization)
    features = np.random.default_rng(0).normal(size=(40, 64)).astype(np.float32)
    quiet, loud = (extractor(audio_features=[features + level])["audio_features"] for level in (0, 5))
    assert np.allclose(quiet, loud, atol=1e-4) == same
    tilted = extractor(audio_features=[features + np.linspace(0, 5, 64, dtype=np.float32)])["audio_features"]
    assert np.allclose(quiet, tilted, atol=1e-4) == (normalization == "utterance")


def test_silent_ends_are_cut_and_pauses_kept():
    levels = np.array([-20.0, -9.0, 0.0, -18.0, -1.0, -2.0, -19.0], np.float32)  # nepers of power
    features = np.repeat(levels[:, None], 64, axis=1)
    extractor = UniMSEFeatureExtractor(silence_threshold=25)  # dB: 5.76 nepers
    assert extractor(audio_features=[features])["audio_features"][0, :, 0].tolist() == [0.0, -18.0, -1.0, -2.0]
    assert UniMSEFeatureExtractor()(audio_features=[features])["audio_features"].shape[1] == 7


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"silence_threshold": -1}, "silence_threshold: expected dB > 0 or None, got -1"),
        ({"max_audio_frames": 0}, "max frames: expected at least 1, got 0 and 100"),
    ],
)
def test_wrong_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        UniMSEFeatureExtractor(**settings)


@pytest.mark.parametrize("rate", [0, -1, 44_100.5])
def test_wrong_rates_are_named(extractor, waveform, rate):
    with pytest.raises(ValueError, match="sampling_rate: expected a whole number of Hz > 0"):
        extractor.log_mel(waveform, rate)


def test_an_unknown_normalisation_is_named():
    with pytest.raises(ValueError, match="audio_normalization: expected one of dataset, level, utterance, got 'none'"):
        UniMSEFeatureExtractor(audio_normalization="none")


def test_long_sequences_are_thinned_evenly():
    extractor = UniMSEFeatureExtractor(visual_feature_size=1, max_visual_frames=5)
    out = extractor(visual_features=[np.arange(101, dtype=np.float32)[:, None]])["visual_features"]
    assert out[0, :, 0].tolist() == [0, 25, 50, 75, 100]


def test_features_of_another_extractor_are_refused(extractor):
    extractor.visual_spec = {"name": "faces", "size": 6, "fingerprint": "aaa"}
    extractor.check_specs({"audio": extractor.audio_spec, "visual": extractor.visual_spec}, "data/meld")
    extractor.check_specs({"audio": None, "visual": None}, "data/meld")
    other = {"audio": None, "visual": {"name": "conv", "size": 6, "fingerprint": "bbb"}}
    with pytest.raises(ValueError, match=r"data/meld: visual features were made by conv \(bbb\).* faces \(aaa\)"):
        extractor.check_specs(other, "data/meld")
    changed = UniMSEFeatureExtractor(hop_length=160).audio_spec
    with pytest.raises(ValueError, match="data/meld: audio features"):
        extractor.check_specs({"audio": changed, "visual": None}, "data/meld")
