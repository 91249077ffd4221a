"""Voices of the embedded sample: a harmonic source shaped with numpy, nine ways of speaking.

The source-filter picture of speech (Fant 1960), much simplified: a wavetable a syllable holds the harmonics of the
glottal source (spectral tilt) under the resonances of one vowel; the pitch runs through it with melody, glide and
tremor; a syllable-rate envelope opens and closes it; breath adds high-passed noise. Words cannot be heard. Which values
go with which emotion follows the usual findings (loud, bright and fast for arousal; low, dull and slow for sadness;
tremor for fear), exaggerated so that the nine are told apart for certain.
"""

from dataclasses import astuple, dataclass

import numpy as np

SAMPLING_RATE = 16_000
TABLE_SIZE = 2048
NOISE_FLOOR = 4e-4  # of full scale: the light noise of a quiet room
# First three formants in Hz (Peterson & Barney 1952, men's means) of a, e, i, o, u and the neutral vowel.
VOWELS = (
    (730, 1090, 2440),
    (530, 1840, 2480),
    (270, 2290, 3010),
    (570, 840, 2410),
    (300, 870, 2240),
    (500, 1500, 2500),
)
FORMANT_WIDTHS = (90.0, 130.0, 200.0)  # Hz


@dataclass(frozen=True)
class Voice:
    """What stays the same in a speaker's voice: pitch in Hz and the factor on the formants (vocal tract length)."""

    pitch: float
    formant_scale: float


@dataclass(frozen=True)
class Manner:
    """How an emotion is spoken.

    Args:
        pitch: factor on the speaker's pitch.
        melody: pitch movement within a syllable, as a share of the pitch.
        glide: octaves from the start to the end of the utterance.
        level: dB relative to full scale (RMS of the voiced sound).
        rate: syllables per second.
        tremor: depth of the shaking of pitch and loudness at `TREMOR_RATE`.
        tilt: dB per octave of harmonic number; near 0 is bright, very negative is dull.
        breath: share of noise in the voice.
        creak: how much every second glottal pulse is weakened.
        legato: loudness left between two syllables, as a share.
    """

    pitch: float
    melody: float
    glide: float
    level: float
    rate: float
    tremor: float
    tilt: float
    breath: float
    creak: float
    legato: float


TREMOR_RATE = 9.0  # Hz
# Order of the values: pitch, melody, glide, level, rate, tremor, tilt, breath, creak, legato.
MANNERS = {
    "neutral": Manner(1.00, 0.05, -0.10, -26.0, 4.0, 0.00, -12.0, 0.03, 0.00, 0.30),
    "joy": Manner(1.35, 0.22, 0.25, -20.0, 5.0, 0.00, -9.0, 0.05, 0.00, 0.45),
    "surprise": Manner(1.50, 0.05, 1.30, -20.0, 2.4, 0.00, -9.0, 0.15, 0.00, 0.75),
    "anger": Manner(1.15, 0.08, -0.30, -10.0, 4.5, 0.00, -3.0, 0.04, 0.45, 0.05),
    "sadness": Manner(0.82, 0.03, -0.35, -39.0, 2.2, 0.05, -18.0, 0.12, 0.00, 0.60),
    "disgust": Manner(0.72, 0.05, -0.15, -21.0, 2.8, 0.00, -6.0, 0.03, 0.90, 0.35),
    "fear": Manner(1.55, 0.04, 0.05, -25.0, 5.5, 0.80, -11.0, 0.45, 0.00, 0.55),
    "excited": Manner(1.80, 0.30, 0.30, -13.0, 7.5, 0.00, -6.0, 0.08, 0.00, 0.20),
    "frustrated": Manner(0.95, 0.06, -0.60, -16.0, 2.4, 0.00, -8.0, 0.60, 0.10, 0.10),
}
WEAKEST = 0.7  # share of the way from neutral to the full manner that the weakest expression goes


def draw_voice(gender: str, rng: np.random.Generator) -> Voice:
    """A speaker's voice; `gender` is "F" or "M" and sets the range of pitch and formants."""
    low, high, formant_scale = (175.0, 215.0, 1.15) if gender == "F" else (100.0, 130.0, 1.0)
    return Voice(pitch=float(rng.uniform(low, high)), formant_scale=formant_scale * float(rng.uniform(0.97, 1.03)))


def manner_of(emotion: str, strength: float) -> Manner:
    """The manner between neutral and the emotion's own: `WEAKEST` of the way at strength 0, all of it at 1."""
    share = WEAKEST + (1.0 - WEAKEST) * strength
    pairs = zip(astuple(MANNERS["neutral"]), astuple(MANNERS[emotion]), strict=True)
    return Manner(*((1.0 - share) * plain + share * full for plain, full in pairs))


def synthesize(voice: Voice, emotion: str, strength: float, seconds: float, rng: np.random.Generator) -> np.ndarray:
    """One utterance as a mono waveform at 16 kHz.

    Args:
        voice: the speaker.
        emotion: one of `MANNERS`.
        strength: in [0, 1].
        seconds: length, independent of the emotion.
        rng: draws vowels, syllable lengths and noise.

    Returns:
        float32 array (round(16000 * seconds),) within [-1, 1].
    """
    manner = manner_of(emotion, strength)
    time = np.arange(round(SAMPLING_RATE * seconds)) / SAMPLING_RATE
    syllable, place = _syllables(time, manner.rate, rng)
    shaking = manner.tremor * np.sin(2 * np.pi * (TREMOR_RATE * time + rng.random()))
    pitch = _pitch_curve(voice, manner, place, time / seconds, shaking)
    voiced = _harmonics(voice, manner, pitch, syllable, rng)
    noise = np.diff(rng.standard_normal(len(time) + 1)) / np.sqrt(2.0)  # a first difference: 6 dB per octave high-pass
    envelope = _envelope(manner, place, time, seconds) * (1.0 + 0.6 * shaking)
    sound = envelope * (voiced / _rms(voiced) + manner.breath * noise)
    level = 10.0 ** ((manner.level + rng.uniform(-1.0, 1.0)) / 20.0)
    waveform = level * sound / _rms(sound) + room_noise(len(time), rng)
    return np.clip(waveform, -0.999, 0.999).astype(np.float32)


def room_noise(samples: int, rng: np.random.Generator) -> np.ndarray:
    """The background alone, as between two utterances: float32 (samples,)."""
    return (NOISE_FLOOR * rng.standard_normal(samples)).astype(np.float32)


def _syllables(time: np.ndarray, rate: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Number of the syllable (int) and the place within it in [0, 1), both (n,)."""
    count = max(2, round(rate * time[-1]))
    lengths = rng.uniform(0.8, 1.2, count)
    edges = np.concatenate(([0.0], np.cumsum(lengths))) / lengths.sum() * (time[-1] + 1.0 / SAMPLING_RATE)
    syllable = np.searchsorted(edges, time, side="right") - 1
    return syllable, (time - edges[syllable]) / np.diff(edges)[syllable]


def _pitch_curve(
    voice: Voice, manner: Manner, place: np.ndarray, progress: np.ndarray, shaking: np.ndarray
) -> np.ndarray:
    """Pitch in Hz, (n,): the speaker's, moved by melody, glide and tremor."""
    melody = 1.0 - manner.melody * np.cos(2 * np.pi * place)
    return voice.pitch * manner.pitch * 2.0 ** (manner.glide * (progress - 0.5)) * melody * (1.0 + 0.12 * shaking)


def _harmonics(
    voice: Voice, manner: Manner, pitch: np.ndarray, syllable: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """The voiced sound, (n,): each syllable's wavetable read at the running phase of the pitch."""
    vowels = rng.integers(len(VOWELS), size=int(syllable[-1]) + 1)
    mean_pitch = voice.pitch * manner.pitch
    # Harmonics that the highest pitch would carry over 8 kHz are left out: they would fold back.
    count = min(int(SAMPLING_RATE / 2 / pitch.max()), 60)
    tables = np.stack([_wavetable(mean_pitch, VOWELS[v], voice.formant_scale, manner.tilt, count) for v in vowels])
    cycles = np.cumsum(pitch) / SAMPLING_RATE
    sound = tables[syllable, (cycles * TABLE_SIZE).astype(np.int64) % TABLE_SIZE]
    return sound * (1.0 - manner.creak * (cycles.astype(np.int64) % 2))


def _wavetable(pitch: float, formants: tuple[int, ...], formant_scale: float, tilt: float, count: int) -> np.ndarray:
    """One period (TABLE_SIZE,) of a vowel with unit RMS."""
    order = np.arange(1, count + 1)
    gain = sum(
        weight / (1.0 + ((order * pitch - formant * formant_scale) / width) ** 2)
        for formant, width, weight in zip(formants, FORMANT_WIDTHS, (1.0, 0.7, 0.5), strict=True)
    )
    spectrum = np.zeros(TABLE_SIZE // 2 + 1, dtype=np.complex128)
    # Phases of a quadratic chirp spread the energy over the period: no clipping peaks.
    spectrum[1 : count + 1] = (gain + 0.08) * 10.0 ** (tilt / 20.0 * np.log2(order)) * np.exp(1j * 0.35 * order**2)
    table = np.fft.irfft(spectrum)
    return table / _rms(table)


def _envelope(manner: Manner, place: np.ndarray, time: np.ndarray, seconds: float) -> np.ndarray:
    """Loudness over time in [0, 1], (n,): open in the middle of a syllable, silent at both ends of the utterance."""
    opening = manner.legato + (1.0 - manner.legato) * np.sin(np.pi * place) ** 2
    return opening * np.clip(np.minimum(time, seconds - time) / 0.04, 0.0, 1.0)


def _rms(signal: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(signal))))
