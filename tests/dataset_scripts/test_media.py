"""Decoding, on clips made here and on real ones."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataset_scripts.media import (
    MediaError,
    _spread,
    clip_seconds,
    decode_audio,
    decode_frames,
)
from tests.dataset_scripts.raw_clips import write_film


@pytest.fixture(scope="module")
def clip(raw, tmp_path_factory):
    """4 s at 8 frames a second, 32 frames; frame k has green 20 * k (mod 240), left half red, right half blue."""
    return raw.clip(tmp_path_factory.mktemp("clip") / "clip.mp4", seconds=4.0)


def frame_numbers(frames):
    """Which of the first 12 greens each frame has."""
    return [round(float(frame[..., 1].mean()) / 20) for frame in frames]


def test_wav_is_read_as_written(raw, tmp_path):
    waveform, rate = decode_audio(raw.wav(tmp_path / "a.wav", seconds=0.5, frequency=440, rate=22_050))
    assert (waveform.shape, waveform.dtype, rate) == ((11_025,), np.float32, 22_050)
    expected = 0.5 * np.sin(2 * np.pi * 440 * np.arange(11_025) / 22_050)
    np.testing.assert_allclose(waveform, expected, atol=1e-4)


def test_channels_are_averaged(tmp_path):
    import soundfile

    left, right = np.full(800, 0.5), np.full(800, -0.1)
    soundfile.write(tmp_path / "stereo.flac", np.stack([left, right], axis=1), 16_000)
    waveform, _ = decode_audio(tmp_path / "stereo.flac")
    np.testing.assert_allclose(waveform, 0.2, atol=1e-3)


@pytest.mark.parametrize("suffix", ["flac", "mp3", "ogg"])
def test_other_formats(tmp_path, suffix):
    import soundfile

    tone = 0.5 * np.sin(2 * np.pi * 300 * np.arange(16_000) / 16_000)
    soundfile.write(tmp_path / f"a.{suffix}", tone, 16_000)
    waveform, rate = decode_audio(tmp_path / f"a.{suffix}")
    assert rate == 16_000
    assert abs(len(waveform) - 16_000) < 2500  # mp3 pads
    assert np.std(waveform[4000:12_000]) == pytest.approx(0.5 / np.sqrt(2), rel=0.05)


def test_a_stretch_of_sound_is_that_part_of_the_whole(clip):
    whole, rate = decode_audio(clip)
    part, _ = decode_audio(clip, start=2.25, end=3.0)
    np.testing.assert_allclose(part, whole[round(2.25 * rate) : round(3.0 * rate)], atol=1e-3)
    assert len(decode_audio(clip, start=9.0, end=10.0)[0]) == 0
    assert len(decode_audio(clip, end=0.5)[0]) == rate // 2


def test_all_frames_of_a_short_stretch(clip):
    frames = decode_frames(clip, start=1.0, end=1.5)
    assert (frames.shape, frames.dtype) == ((4, 32, 32, 3), np.uint8)
    assert frame_numbers(frames) == [8, 9, 10, 11]


def test_no_more_than_count_and_evenly(clip):
    frames = decode_frames(clip, count=4, end=1.5)  # 12 frames, the middles of four thirds
    assert frame_numbers(frames) == [1, 4, 7, 10]
    assert len(decode_frames(clip)) == 16
    assert len(decode_frames(clip, count=100)) == 32


@given(st.integers(1, 20), st.integers(0, 700))
def test_spread_is_even_over_streams_of_any_length(count, total):
    chosen = _spread(iter(range(total)), count)
    if total <= count:
        assert chosen == list(range(total))
        return
    part = total / count
    middles = [int((place + 0.5) * part) for place in range(count)]
    off = np.abs(np.subtract(chosen, middles)).max()
    assert off <= (0 if total < 4 * count else part / 4 + 1)
    assert chosen == sorted(set(chosen)) and len(chosen) == count


def test_a_stretch_between_two_frames_gives_the_one_on_show(clip):
    assert frame_numbers(decode_frames(clip, start=1.05, end=1.07)) == [8]


def test_halves(clip):
    left, right = decode_frames(clip, count=1, half="left"), decode_frames(clip, count=1, half="right")
    assert left.shape == right.shape == (1, 32, 16, 3)
    assert left[..., 0].mean() > 120 > 60 > left[..., 2].mean()
    assert right[..., 2].mean() > 120 > 60 > right[..., 0].mean()


def test_a_clip_without_the_track_gives_none(raw, tmp_path):
    assert decode_audio(raw.clip(tmp_path / "silent.mp4", sound=False)) is None
    assert decode_frames(raw.wav(tmp_path / "a.wav")) is None


def test_zero_length_sound_is_empty_not_an_error(raw, tmp_path):
    waveform, rate = decode_audio(raw.wav(tmp_path / "a.wav", seconds=0))
    assert (waveform.shape, rate) == ((0,), 16_000)


@pytest.mark.parametrize("decode", [decode_audio, decode_frames, clip_seconds])
@pytest.mark.parametrize("content", [b"", b"not a film at all", "half"])
def test_a_broken_file_is_named(clip, tmp_path, decode, content):
    path = tmp_path / "broken.mp4"
    path.write_bytes(clip.read_bytes()[:2000] if content == "half" else content)
    with pytest.raises(MediaError, match=r"broken.mp4: cannot be decoded \(.+\); replace the file"):
        decode(path)


def test_a_codec_that_nobody_knows_is_named(raw, tmp_path):
    film, sound = raw.clip(tmp_path / "film.mp4"), raw.wav(tmp_path / "sound.wav")
    film.write_bytes(film.read_bytes().replace(b"avc1", b"zzzz"))
    sound.write_bytes(sound.read_bytes()[:20] + b"\x99\x99" + sound.read_bytes()[22:])
    for decode, path in ((decode_frames, film), (decode_audio, sound)):
        with pytest.raises(MediaError, match=rf"{path.name}: cannot be decoded \(a codec that is not known\)"):
            decode(path)


def test_large_pictures_are_shrunk_where_asked(raw, tmp_path):
    path = raw.clip(tmp_path / "wide.mp4", seconds=1.0, width=96)
    whole, small = decode_frames(path), decode_frames(path, longest_side=48)
    assert (whole.shape, small.shape) == ((8, 32, 96, 3), (8, 16, 48, 3))
    np.testing.assert_allclose(small[:, 4:12, 4:20].mean(), whole[:, 8:24, 8:40].mean(), atol=4)
    np.testing.assert_array_equal(decode_frames(path, longest_side=96), whole)
    assert decode_frames(path, half="left", longest_side=48).shape == (8, 16, 24, 3)


def test_a_broken_header_cannot_ask_for_any_memory(raw, tmp_path):
    huge = raw.clip(tmp_path / "huge.mp4", width=4112)
    with pytest.raises(MediaError, match=r"huge.mp4: cannot be decoded \(pictures of 4112 x 32 pixels\); re-encode"):
        decode_frames(huge)
    wav = raw.wav(tmp_path / "fast.wav")
    for rate in (0, 12, 2_000_000_000):
        wav.write_bytes(wav.read_bytes()[:24] + rate.to_bytes(4, "little") + wav.read_bytes()[28:])
        with pytest.raises(MediaError, match=r"fast.wav: cannot be decoded \("):
            decode_audio(wav)


def test_frames_larger_than_the_header_says_are_bounded_as_well(tmp_path, monkeypatch):
    """Two bare H.264 streams, one after the other; the header is the first one's."""
    films = [np.full((4, 32, width, 3), 90, np.uint8) for width in (32, 96)]
    streams = [write_film(tmp_path / f"{film.shape[2]}.h264", film) for film in films]
    path = tmp_path / "grows.h264"
    path.write_bytes(b"".join(stream.read_bytes() for stream in streams))
    assert decode_frames(path).shape == (8, 32, 32, 3)
    monkeypatch.setattr("dataset_scripts.media.MAX_SIDE", 64)
    with pytest.raises(MediaError, match=r"grows.h264: cannot be decoded \(pictures of 96 x 32 pixels\)"):
        decode_frames(path)


def test_hours_are_too_long_for_one_utterance_but_a_stretch_of_them_is_not(raw, clip, monkeypatch):
    monkeypatch.setattr("dataset_scripts.media.MAX_SECONDS", 2)
    for decode in (decode_audio, decode_frames):
        with pytest.raises(MediaError, match=r"clip.mp4: more than 2 s for one utterance; cut it") as caught:
            decode(clip)
        assert caught.value.reason == "too long"
        assert decode(clip, start=1.0, end=2.5) is not None


@pytest.mark.parametrize("suffix", ["mp4", "avi", "wav"])
def test_spoilt_files_end_in_one_line_or_in_features(raw, tmp_path, suffix):
    """A hundred of each with bytes changed, cut out or cut off: a `MediaError`, or arrays of the right kind."""
    rng = np.random.default_rng(5)
    write = raw.wav if suffix == "wav" else raw.clip
    whole = np.frombuffer(write(tmp_path / f"whole.{suffix}").read_bytes(), np.uint8)
    path = tmp_path / f"spoilt.{suffix}"
    for number in range(100):
        spoilt = whole.copy()
        places = rng.integers(0, len(whole), 1 + number % 20)
        spoilt[places] = rng.integers(0, 256, len(places))
        if number % 3 == 1:
            spoilt = spoilt[: places[0]]
        if number % 3 == 2:
            spoilt = np.delete(spoilt, slice(places[0], places[0] + 50))
        path.write_bytes(spoilt.tobytes())
        for decode in (decode_audio, decode_frames):
            try:
                found = decode(path)
            except MediaError as error:
                assert "\n" not in str(error) and str(path) in str(error)
            else:
                assert found is None or isinstance(found, np.ndarray) or len(found) == 2


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(MediaError, match="nowhere.mp4: no such file"):
        decode_frames(tmp_path / "nowhere.mp4")


def test_arguments_are_checked(clip):
    with pytest.raises(ValueError, match="expected count >= 1 and half of .*, got 0 and None"):
        decode_frames(clip, count=0)
    with pytest.raises(ValueError, match="got 1 and 'top'"):
        decode_frames(clip, count=1, half="top")


def test_seconds(clip):
    assert clip_seconds(clip) == pytest.approx(4.0, abs=0.1)


@pytest.mark.parametrize("name", ["single_face.mp4", "no_face.mp4", "bbaf2n.mpg", "swiz3n.mpg"])
def test_real_clips(real_data, name):
    path = real_data("clips") / name
    frames = decode_frames(path)
    assert frames.shape[0] == 16
    whole, rate = decode_audio(path)
    assert (rate, abs(len(whole) / rate - clip_seconds(path)) < 0.05) == (44_100, True)
    # MPEG files have no index, so seeking misses: the stretch must be right all the same.
    part, _ = decode_audio(path, start=1.0, end=1.5)
    np.testing.assert_allclose(part, whole[rate : rate + rate // 2], atol=1e-4)
    all_frames, some = decode_frames(path, count=1000), decode_frames(path, count=1000, start=1.0, end=1.5)
    offset = next(k for k in range(len(all_frames)) if np.array_equal(all_frames[k], some[0]))
    assert np.array_equal(all_frames[offset : offset + len(some)], some)
    assert offset / len(all_frames) == pytest.approx(1.0 / clip_seconds(path), abs=0.02)


def test_a_stretch_behind_the_end_of_a_film_shows_nothing(raw, tmp_path):
    clip = raw.clip(tmp_path / "a.mp4", seconds=1.0)
    assert len(decode_frames(clip, start=0.9, end=1.2)) == 1  # the last frame is still on show
    assert len(decode_frames(clip, start=50.0, end=60.0)) == len(decode_frames(clip, start=50.0)) == 0
