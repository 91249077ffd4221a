"""Acoustic and visual features: waveform to log-Mel bands, and padding, masking and checking of both sequences.

The spectrogram is the one librosa's defaults give for a 16 kHz signal (window 2048, hop 512, 64 Slaney bands), which is
also what the 157 frames of the authors' 5 s clips tell; here it stands in natural logarithm. Visual features arrive
computed (one face embedding a frame); this class pads and checks them.
"""

import hashlib
import json
from collections.abc import Sequence
from math import gcd

import numpy as np
from transformers import BatchFeature, FeatureExtractionMixin
from transformers.audio_utils import mel_filter_bank, spectrogram, window_function

NORMALIZATIONS = ("dataset", "level", "utterance")


class UniMSEFeatureExtractor(FeatureExtractionMixin):
    """Pads and masks acoustic and visual sequences; computes log-Mel bands where a waveform is given.

    Args:
        audio_feature_size: number of Mel bands, 64 in the paper.
        visual_feature_size: width of a visual embedding.
        sampling_rate: in Hz, of the spectrogram; other rates are resampled.
        n_fft, hop_length: window and step of the spectrogram, in samples.
        mel_floor: smallest power before the logarithm.
        max_audio_frames, max_visual_frames: longer sequences are thinned evenly to this length.
        audio_mean, audio_std, visual_mean, visual_std: per-band statistics of a training set; where given, features are
            standardised with them, so training and inference cannot differ.
        audio_normalization: what is taken out of an utterance before the statistics above are applied: `dataset`
            nothing; `level` its mean over frames and bands, that is its loudness; `utterance` mean and deviation of
            every band over its frames, that is loudness, channel and average spectrum.
        silence_threshold: leading and trailing frames more than so many dB below the loudest one are cut off; `None`
            keeps them. Recordings with long pauses around the speech need it: an LSTM's last step would lie in one.
        visual_spec: name, size and fingerprint of the extractor that made the visual features of the training set;
            data made by another one is refused (`check_specs`).
        stored_audio_spec: the same for acoustic features that came with the raw data, such as COVAREP; `None` = they
            are the log-Mel bands of this class.
    """

    model_input_names = ["audio_features", "audio_features_mask", "visual_features", "visual_features_mask"]

    def __init__(
        self,
        audio_feature_size: int = 64,
        visual_feature_size: int = 64,
        sampling_rate: int = 16_000,
        n_fft: int = 2048,
        hop_length: int = 512,
        mel_floor: float = 1e-10,
        max_audio_frames: int = 1000,
        max_visual_frames: int = 100,
        audio_mean: list[float] | None = None,
        audio_std: list[float] | None = None,
        visual_mean: list[float] | None = None,
        visual_std: list[float] | None = None,
        audio_normalization: str = "dataset",
        silence_threshold: float | None = None,
        visual_spec: dict | None = None,
        stored_audio_spec: dict | None = None,
        **kwargs,
    ):
        if audio_normalization not in NORMALIZATIONS:
            expected = ", ".join(NORMALIZATIONS)
            raise ValueError(f"audio_normalization: expected one of {expected}, got {audio_normalization!r}")
        if silence_threshold is not None and not silence_threshold > 0:
            raise ValueError(f"silence_threshold: expected dB > 0 or None, got {silence_threshold}")
        if min(max_audio_frames, max_visual_frames) < 1:
            raise ValueError(f"max frames: expected at least 1, got {max_audio_frames} and {max_visual_frames}")
        super().__init__(**kwargs)
        self.audio_feature_size = audio_feature_size
        self.visual_feature_size = visual_feature_size
        self.sampling_rate = sampling_rate
        self.n_fft = n_fft
        self.hop_length = hop_length
        self.mel_floor = mel_floor
        self.max_audio_frames = max_audio_frames
        self.max_visual_frames = max_visual_frames
        self.audio_mean, self.audio_std = audio_mean, audio_std
        self.visual_mean, self.visual_std = visual_mean, visual_std
        self.audio_normalization = audio_normalization
        self.silence_threshold = silence_threshold
        self.visual_spec = visual_spec
        self.stored_audio_spec = stored_audio_spec

    @property
    def audio_spec(self) -> dict:
        """Name, size, settings and fingerprint of the acoustic features; stored with prepared data."""
        if self.stored_audio_spec is not None:
            return self.stored_audio_spec
        settings = {
            "sampling_rate": self.sampling_rate,
            "n_fft": self.n_fft,
            "hop_length": self.hop_length,
            "mel_floor": self.mel_floor,
            "scale": "slaney, natural log of power",
        }
        text = json.dumps([self.audio_feature_size, settings], sort_keys=True)
        fingerprint = hashlib.sha256(text.encode()).hexdigest()[:12]
        return {"name": "log-mel", "size": self.audio_feature_size, "fingerprint": fingerprint, "settings": settings}

    def check_specs(self, specs: dict, source: str) -> None:
        """Raise a `ValueError` if data were made by other extractors than this processor was built for.

        Args:
            specs: `{"audio": spec | None, "visual": spec | None}` as stored with prepared data; `None` = none.
            source: named in the message.
        """
        for modality, own in (("audio", self.audio_spec), ("visual", self.visual_spec)):
            theirs = specs.get(modality)
            if theirs is None or own is None or theirs["fingerprint"] == own["fingerprint"]:
                continue
            raise ValueError(
                f"{source}: {modality} features were made by {theirs['name']} ({theirs['fingerprint']}), but the "
                f"processor expects {own['name']} ({own['fingerprint']}). Prepare the data again with {own['name']}."
            )

    def log_mel(self, waveform: np.ndarray, sampling_rate: int | None = None, sample: str = "audio") -> np.ndarray:
        """Log-Mel bands of one waveform.

        Args:
            waveform: `(n,)` mono samples in [-1, 1].
            sampling_rate: in Hz; `None` = already at `self.sampling_rate`.
            sample: names the sample in error messages.

        Returns:
            `(1 + n // hop_length, audio_feature_size)` float32, natural logarithm of the power.

        Raises:
            ValueError: empty, not one-dimensional, NaN or infinite samples; or the acoustic features of this processor
                are stored ones, which cannot be made from a waveform.
        """
        if self.stored_audio_spec is not None:
            name = self.stored_audio_spec["name"]
            raise ValueError(
                f"{sample}: this processor was built for the stored acoustic features {name}, which cannot be made of "
                "a waveform here; pass audio_features"
            )
        waveform = np.asarray(waveform, dtype=np.float64)
        if waveform.ndim != 1 or waveform.size == 0:
            raise ValueError(f"{sample}: expected a mono waveform of shape (n,), n > 0, got shape {waveform.shape}")
        if not np.isfinite(waveform).all():
            raise ValueError(f"{sample}: the waveform holds NaN or infinite samples; repair or drop the clip")
        waveform = self._resample(waveform, self.sampling_rate if sampling_rate is None else sampling_rate)
        log_mel = spectrogram(
            waveform,
            window_function(self.n_fft, "hann"),
            frame_length=self.n_fft,
            hop_length=self.hop_length,
            power=2.0,
            pad_mode="constant",
            mel_filters=self._mel_filters(),
            mel_floor=self.mel_floor,
            log_mel="log",
        )  # (bands, T)
        return np.ascontiguousarray(log_mel.T, dtype=np.float32)  # (T, bands)

    def __call__(
        self,
        audio: Sequence[np.ndarray | None] | None = None,
        audio_features: Sequence[np.ndarray | None] | None = None,
        visual_features: Sequence[np.ndarray | None] | None = None,
        sampling_rate: int | None = None,
        sample_ids: Sequence[str] | None = None,
        return_tensors: str | None = None,
    ) -> BatchFeature:
        """Features of a batch, padded with zeros at the end, with masks (1 = keep).

        Args:
            audio: waveforms `(n,)`, or `None` where a sample has none. Exclusive with `audio_features`.
            audio_features: `(T_a, audio_feature_size)` each, or `None`.
            visual_features: `(T_v, visual_feature_size)` each, or `None`.
            sampling_rate: of `audio`, in Hz.
            sample_ids: name the samples in error messages; by default their place in the batch.
            return_tensors: `pt` or `np`.

        Returns:
            A `BatchFeature` with the modalities that at least one sample has; a modality that none has is left out.

        Raises:
            ValueError: NaN, infinite values or a wrong width, naming the sample.
        """
        if audio is not None and audio_features is not None:
            raise ValueError("expected either `audio` waveforms or `audio_features`, got both")
        given = next((batch for batch in (audio, audio_features, visual_features) if batch is not None), ())
        names = list(sample_ids) if sample_ids is not None else [f"sample {i}" for i in range(len(given))]
        if audio is not None:
            audio_features = [
                None if wave is None else self.log_mel(wave, sampling_rate, name)
                for wave, name in zip(audio, names, strict=True)
            ]
        features = {}
        for modality, batch in (("audio", audio_features), ("visual", visual_features)):
            if batch is not None and any(sequence is not None for sequence in batch):
                checked = [self._check(modality, seq, name) for seq, name in zip(batch, names, strict=True)]
                padded, mask = _pad(checked, getattr(self, f"{modality}_feature_size"))
                features[f"{modality}_features"], features[f"{modality}_features_mask"] = padded, mask
        return BatchFeature(features, tensor_type=return_tensors)

    def _check(self, modality: str, sequence: np.ndarray | None, sample: str) -> np.ndarray | None:
        """One sequence: checked, thinned to the longest length allowed, standardised. No frame at all = missing."""
        if sequence is None:
            return None
        sequence = np.asarray(sequence, dtype=np.float32)
        size = getattr(self, f"{modality}_feature_size")
        if sequence.ndim != 2 or sequence.shape[1] != size:
            raise ValueError(f"{sample}: expected {modality}_features of shape (T, {size}), got {sequence.shape}")
        if not np.isfinite(sequence).all():
            frame = int(np.argwhere(~np.isfinite(sequence))[0][0])
            raise ValueError(f"{sample}: {modality}_features hold NaN or infinite values, first in frame {frame}")
        if len(sequence) == 0:
            return None
        if modality == "audio":
            sequence = self.normalise_utterance(sequence)
        longest = getattr(self, f"max_{modality}_frames")
        if len(sequence) > longest:
            sequence = sequence[np.linspace(0, len(sequence) - 1, longest).round().astype(int)]
        return self._standardise(modality, sequence)

    def normalise_utterance(self, sequence: np.ndarray) -> np.ndarray:
        """`(T, audio_feature_size)` without silent ends and what `audio_normalization` takes out of an utterance."""
        if self.silence_threshold is not None:
            sequence = _trim(sequence, self.silence_threshold)
        if self.audio_normalization == "level":
            return sequence - sequence.mean()
        if self.audio_normalization == "utterance":
            return (sequence - sequence.mean(0)) / (sequence.std(0) + 1e-3)
        return sequence

    def _standardise(self, modality: str, sequence: np.ndarray) -> np.ndarray:
        mean, std = getattr(self, f"{modality}_mean"), getattr(self, f"{modality}_std")
        if mean is None or std is None:
            return sequence
        return (sequence - np.asarray(mean, np.float32)) / np.maximum(np.asarray(std, np.float32), 1e-5)

    def _mel_filters(self) -> np.ndarray:
        return mel_filter_bank(
            num_frequency_bins=1 + self.n_fft // 2,
            num_mel_filters=self.audio_feature_size,
            min_frequency=0.0,
            max_frequency=self.sampling_rate / 2,
            sampling_rate=self.sampling_rate,
            norm="slaney",
            mel_scale="slaney",
        )

    def _resample(self, waveform: np.ndarray, sampling_rate: int) -> np.ndarray:
        if sampling_rate != int(sampling_rate) or sampling_rate < 1:
            raise ValueError(f"sampling_rate: expected a whole number of Hz > 0, got {sampling_rate}")
        sampling_rate = int(sampling_rate)
        if sampling_rate == self.sampling_rate:
            return waveform
        try:
            from scipy.signal import resample_poly
        except ImportError as error:
            raise ImportError(
                f"a {sampling_rate} Hz waveform must be resampled to {self.sampling_rate} Hz: pip install scipy"
            ) from error
        divisor = gcd(self.sampling_rate, sampling_rate)
        return resample_poly(waveform, self.sampling_rate // divisor, sampling_rate // divisor)


def _trim(log_mel: np.ndarray, threshold: float) -> np.ndarray:
    """`(T, bands)` natural-log power without the frames at both ends that are `threshold` dB below the loudest."""
    decibels = 10 / np.log(10) * np.log(np.exp(log_mel).mean(1))  # (T,)
    loud = np.flatnonzero(decibels > decibels.max() - threshold)
    return log_mel[loud[0] : loud[-1] + 1]


def _pad(sequences: list[np.ndarray | None], size: int) -> tuple[np.ndarray, np.ndarray]:
    """Zero-padded `(B, T, size)` float32 and its `(B, T)` int64 mask; a missing sequence has no valid step."""
    longest = max(len(sequence) for sequence in sequences if sequence is not None)
    padded = np.zeros((len(sequences), longest, size), np.float32)
    mask = np.zeros((len(sequences), longest), np.int64)
    for row, sequence in enumerate(sequences):
        if sequence is not None:
            padded[row, : len(sequence)] = sequence
            mask[row, : len(sequence)] = 1
    return padded, mask
