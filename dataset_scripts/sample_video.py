"""Encoding of the embedded sample with PyAV: mp4 (H.264 + AAC), avi (MPEG-4) and wav, the same bytes every time.

One encoder thread, and the muxers' and encoders' bit-exact mode: no version strings, no creation times. Equal bytes are
promised for one build of FFmpeg; another build may encode differently.
"""

from fractions import Fraction
from pathlib import Path

import numpy as np

# Constant quantiser, no B-frames, no weighted prediction, no scene cuts: nothing that asks x264's lookahead. On such
# small pictures it reads memory that it never wrote, and one clip in five came out with other bytes each time.
H264_OPTIONS = {"qp": "31", "preset": "veryfast", "threads": "1", "bf": "0", "weightp": "0", "sc_threshold": "0"}
# A fixed quantiser: the default, a bit rate, leaves blocks where the mouth was.
MPEG4_OPTIONS = {"qmin": "7", "qmax": "7", "threads": "1"}
# Left alone, the encoder cuts the upper bands off at a low bit rate; clips and wav files would then differ by more than
# two emotions do.
AAC_OPTIONS = {"aac_coder": "fast", "cutoff": "8000", "threads": "1"}
AAC_BIT_RATE = 28_000
AAC_BLOCK, ADPCM_BLOCK = 1024, 2041  # samples that the codecs take at once


def write_mp4(path: Path, frames: np.ndarray, frame_rate: int, waveform: np.ndarray, sampling_rate: int) -> None:
    """An H.264 clip with an AAC track.

    Args:
        path: file to write.
        frames: uint8 RGB (T, H, W, 3), height and width even.
        frame_rate: frames per second.
        waveform: float32 mono (n,) within [-1, 1].
        sampling_rate: in Hz.
    """
    with _open(path, "mp4") as container:
        video = _video_stream(container, "libx264", frames, frame_rate, H264_OPTIONS)
        audio = _audio_stream(container, "aac", sampling_rate, AAC_OPTIONS)
        audio.codec_context.bit_rate = AAC_BIT_RATE
        _encode_video(container, video, frames)
        _encode_audio(container, audio, "fltp", waveform[None, :])


def write_avi(path: Path, frames: np.ndarray, frame_rate: int) -> None:
    """An MPEG-4 (DivX) clip without sound; frames as in `write_mp4`."""
    with _open(path, "avi") as container:
        video = _video_stream(container, "mpeg4", frames, frame_rate, MPEG4_OPTIONS)
        _encode_video(container, video, frames)


def write_wav(path: Path, waveform: np.ndarray, sampling_rate: int) -> None:
    """A mono wav with IMA ADPCM (4 bits a sample), a quarter of the size of 16-bit PCM; waveform as in `write_mp4`."""
    with _open(path, "wav") as container:
        audio = _audio_stream(container, "adpcm_ima_wav", sampling_rate, {})
        samples = np.rint(waveform * 32767.0).astype(np.int16)
        _encode_audio(container, audio, "s16p", samples[None, :])


def _open(path: Path, container_format: str):
    import av

    path.parent.mkdir(parents=True, exist_ok=True)
    return av.open(str(path), "w", format=container_format, options={"fflags": "+bitexact"})


def _video_stream(container, codec: str, frames: np.ndarray, frame_rate: int, options: dict[str, str]):
    stream = container.add_stream(codec, rate=frame_rate, options=dict(options))
    stream.height, stream.width = frames.shape[1:3]
    stream.pix_fmt = "yuv420p"
    stream.codec_context.thread_count = 1
    _be_bit_exact(stream)
    return stream


def _audio_stream(container, codec: str, sampling_rate: int, options: dict[str, str]):
    stream = container.add_stream(codec, rate=sampling_rate, layout="mono", options=dict(options))
    stream.codec_context.time_base = Fraction(1, sampling_rate)
    _be_bit_exact(stream)
    return stream


def _be_bit_exact(stream) -> None:
    from av.codec.context import Flags

    stream.codec_context.flags |= Flags.bitexact


def _encode_video(container, stream, frames: np.ndarray) -> None:
    import av

    for image in frames:
        container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
    container.mux(stream.encode(None))


def _encode_audio(container, stream, sample_format: str, samples: np.ndarray) -> None:
    """Feeds the encoder frame by frame; `samples` is (1, n)."""
    import av

    stream.codec_context.open(strict=False)
    size = stream.codec_context.frame_size or samples.shape[1]
    for start in range(0, samples.shape[1], size):
        part = np.ascontiguousarray(samples[:, start : start + size])
        frame = av.AudioFrame.from_ndarray(part, format=sample_format, layout="mono")
        frame.sample_rate = stream.codec_context.sample_rate
        frame.pts = start
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))
