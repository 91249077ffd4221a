"""Clips to waveforms and frames. The only file that decodes media; PyAV brings its own FFmpeg.

A file that is missing, broken, cut short or beyond the limits below raises a `MediaError` that names it. A file without
the wanted track gives `None`: that is a clip which lacks a modality, not a bad one.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

MAX_FRAMES = 16
MAX_SECONDS = 240  # of sound or film for one utterance: beyond it a cut is wrong; bounds memory and time
MAX_SIDE = 4096  # pixels; a broken header can claim any size, and every frame would take that memory
SAMPLING_RATES = (1000, 768_000)  # Hz; beyond them a header is broken, and resampling would need huge filters
MISSING, BROKEN, TOO_LONG = "missing", "cannot be decoded", "too long"

_HALVES = (None, "left", "right")
_WARM_UP_SECONDS = 0.5  # audio is decoded from a little earlier: a frame of most codecs leans on the one before it
_TIME_TOLERANCE = 1e-3  # seconds; containers round the times of frames
_LAST_FRAME_SECONDS = 0.5  # how long the last frame of a film may be on show
_MAX_FRAMES_A_SECOND = 240  # where frames carry no times, their number stands for the length


class MediaError(ValueError):
    """A media file that cannot be used; the message is one line and names the file.

    `reason`: `MISSING`, `BROKEN` or `TOO_LONG`.
    """

    def __init__(self, message: str, reason: str = BROKEN):
        super().__init__(message)
        self.reason = reason


def decode_audio(path: Path, start: float | None = None, end: float | None = None) -> tuple[np.ndarray, int] | None:
    """The sound of a file or of a stretch of it, channels mixed down.

    Args:
        path: any audio or video file that FFmpeg reads.
        start, end: seconds; `None` = from the start, to the end.

    Returns:
        Waveform `(n,)` float32 in about [-1, 1] and its rate in Hz, as stored; n may be 0. `None`: no audio track.

    Raises:
        MediaError: the file is missing, cannot be decoded or has more than `MAX_SECONDS` in that stretch.
    """
    with _open(path) as container:
        if not container.streams.audio:
            return None
        stream = _known_stream(path, container.streams.audio)
        rate = stream.codec_context.sample_rate
        if not SAMPLING_RATES[0] <= rate <= SAMPLING_RATES[1]:
            raise MediaError(f"{path}: cannot be decoded (a sampling rate of {rate} Hz); re-encode the file")
        start, end = _absolute(container, start, end)
        waveform, first_time = _decode_samples(path, container, stream, start, end)
    low = 0 if start is None else max(0, round((start - first_time) * rate))
    high = len(waveform) if end is None else max(0, round((end - first_time) * rate))
    return np.ascontiguousarray(waveform[low:high]), rate


def decode_frames(
    path: Path,
    count: int = MAX_FRAMES,
    start: float | None = None,
    end: float | None = None,
    half: str | None = None,
    longest_side: int | None = None,
) -> np.ndarray | None:
    """Up to `count` frames, evenly over a clip or a stretch of it.

    Args:
        path: any video file that FFmpeg reads.
        count: largest number of frames; a stretch with fewer gives all it has.
        start, end: seconds; `None` = from the start, to the end. A stretch between two frames gives the one on show.
        half: `left` or `right` half of the picture, or `None` for all of it.
        longest_side: larger pictures are scaled down until their longer side has so many pixels; `None` = never.

    Returns:
        uint8 RGB `(T, H, W, 3)` in the size of the film, `T <= count`, `T` may be 0. `None`: no video track.

    Raises:
        MediaError: the file is missing, cannot be decoded, has more than `MAX_SECONDS` in that stretch, or pictures
            of more than `MAX_SIDE` pixels a side.
        ValueError: `count` below 1 or an unknown `half`.
    """
    if count < 1 or half not in _HALVES:
        raise ValueError(f"decode_frames: expected count >= 1 and half of {_HALVES}, got {count} and {half!r}")
    with _open(path) as container:
        if not container.streams.video:
            return None
        stream = _known_stream(path, container.streams.video)
        width, height = _picture_size(path, stream.codec_context, longest_side)
        start, end = _absolute(container, start, end)
        keep = _shrinker(width, height) if longest_side else _as_it_is
        chosen = _spread(_frames_between(path, container, stream, start, end), count, keep)
        images = _as_rgb(chosen, width, height)
    frames = np.stack(images) if images else np.zeros((0, height, width, 3), np.uint8)
    middle = width // 2
    columns = {None: slice(None), "left": slice(0, middle), "right": slice(middle, None)}[half]
    return np.ascontiguousarray(frames[:, :, columns])


def clip_seconds(path: Path) -> float | None:
    """Length of a file as its container states it, or `None`. Raises a `MediaError` as `decode_audio` does."""
    with _open(path) as container:
        return None if container.duration is None else container.duration / 1_000_000


def has_video(path: Path) -> bool:
    """Whether a file has a video track. Raises a `MediaError` as `decode_audio` does."""
    with _open(path) as container:
        return bool(container.streams.video)


@contextmanager
def _open(path: Path) -> Iterator:
    try:
        import av
    except ImportError as error:
        raise ImportError("decoding clips needs PyAV: pip install av (or prepare without audio and visual)") from error
    if not Path(path).is_file():
        raise MediaError(f"{path}: no such file", MISSING)
    try:
        with av.open(str(path), metadata_errors="replace") as container:
            yield container
    except MediaError:
        raise
    except av.error.FFmpegError as error:  # some of its kinds are OSErrors or ValueErrors as well
        raise MediaError(f"{path}: cannot be decoded ({error.strerror}); replace the file") from error
    except OSError as error:
        raise MediaError(f"{path}: cannot be read ({error.strerror}); check the file and its permissions") from error
    except (ValueError, ArithmeticError, LookupError, RuntimeError, EOFError, MemoryError) as error:
        # PyAV's own and NumPy's: sound whose format changes midway, times beyond 64 bits, sizes that do not fit
        detail = " ".join(str(error).split()) or type(error).__name__
        raise MediaError(f"{path}: cannot be decoded ({detail}); re-encode the file") from error


def _known_stream(path: Path, streams):
    """The first stream of its kind. Where the header names a codec that FFmpeg does not know, it has no context."""
    if streams[0].codec_context is None:
        raise MediaError(f"{path}: cannot be decoded (a codec that is not known); re-encode the file")
    return streams[0]


def _picture_size(path: Path, codec, longest_side: int | None) -> tuple[int, int]:
    """Width and height to give the frames of a stream."""
    width, height = codec.width, codec.height
    _check_size(path, width, height)
    scale = min(1.0, (longest_side or MAX_SIDE) / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def _check_size(path: Path, width: int, height: int) -> None:
    if not (0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE):
        raise MediaError(f"{path}: cannot be decoded (pictures of {width} x {height} pixels); re-encode the file")


def _absolute(container, start: float | None, end: float | None) -> tuple[float | None, float | None]:
    """Times from the beginning of a file as the times its frames carry: MPEG streams do not begin at 0."""
    origin = max(0, container.start_time or 0) / 1_000_000
    return (None if start is None else start + origin), (None if end is None else end + origin)


def _decode(container, stream, start: float | None) -> Iterator:
    """Decoded frames from a place at or before `start` on; where seeking misses, from the beginning of the file.

    MPEG streams have no index: a seek may land behind the goal or in the middle of a frame.
    """
    import av

    stream.codec_context.thread_count = 1  # clips are decoded side by side; threads within one would compete
    if start:
        try:
            container.seek(int(start / stream.time_base), stream=stream, backward=True)
            frames = container.decode(stream)
            first = next(frames, None)
        except av.error.FFmpegError:
            first = None
        if first is not None and first.time is not None and first.time <= start + _TIME_TOLERANCE:
            yield first
            yield from frames
            return
        container.seek(container.start_time or 0)
    yield from container.decode(stream)


def _decode_samples(path: Path, container, stream, start: float | None, end: float | None) -> tuple[np.ndarray, float]:
    """Samples from a little before `start` to `end`, the mean over the channels, and the time of the first of them."""
    import av

    resampler = av.AudioResampler(format="fltp")
    pieces, first_time, count = [np.zeros(0, np.float32)], None, 0
    most = (MAX_SECONDS + _WARM_UP_SECONDS) * stream.codec_context.sample_rate
    for frame in _decode(container, stream, max(0.0, (start or 0.0) - _WARM_UP_SECONDS)):
        if first_time is None:
            first_time = frame.time or 0.0
        if end is not None and frame.time is not None and frame.time >= end:
            break
        pieces += [piece.to_ndarray().mean(axis=0) for piece in resampler.resample(frame)]
        count += frame.samples
        if count > most:
            raise _too_long(path)
    return np.concatenate(pieces), first_time or 0.0


def _too_long(path: Path) -> MediaError:
    return MediaError(f"{path}: more than {MAX_SECONDS} s for one utterance; cut it or give its times", TOO_LONG)


def _frames_between(path: Path, container, stream, start: float | None, end: float | None) -> Iterator:
    """The frames whose time lies in [start, end); if none does, the frame on show at `start`."""
    on_show, count, first_time = None, 0, None
    for frame in _decode(container, stream, start):
        if start is not None or end is not None:
            if frame.time is None:
                raise MediaError(f"{path}: its frames carry no time, so a stretch of it cannot be cut; remux the file")
            if start is not None and frame.time < start - _TIME_TOLERANCE:
                on_show = frame
                continue
            if end is not None and frame.time >= end - _TIME_TOLERANCE:
                break
        count += 1
        if first_time is None:
            first_time = frame.time
        seconds = 0 if frame.time is None or first_time is None else frame.time - first_time
        if seconds > MAX_SECONDS or count > MAX_SECONDS * _MAX_FRAMES_A_SECOND:
            raise _too_long(path)
        _check_size(path, frame.width, frame.height)  # what is coded can differ from what the header says
        yield frame
    else:  # the film ended: a stretch that begins well behind its last frame shows nothing
        if on_show is not None and start - on_show.time > _LAST_FRAME_SECONDS:
            on_show = None
    if on_show is not None and not count:
        yield on_show


def _as_it_is(frame):
    return frame


def _shrinker(width: int, height: int) -> Callable:
    """Scales a decoded frame down to `width x height`, so that dozens of large ones can wait in memory."""
    from av.video.reformatter import VideoReformatter

    convert = VideoReformatter().reformat

    def shrink(frame):
        large = frame.width > width or frame.height > height
        return convert(frame, width, height, threads=1) if large else frame

    return shrink


def _spread(frames: Iterator, count: int, keep: Callable = _as_it_is) -> list:
    """Up to `count` of a stream of unknown length, evenly spread, holding fewer than `4 * count` at a time.

    Every `stride`-th frame is kept; when there are too many, every second is dropped and the stride doubles. At the
    end the kept frames nearest to the middles of `count` equal parts are taken: exact below `4 * count` frames, never
    off by more than a quarter of a part.
    """
    kept, stride, total = [], 1, 0
    for frame in frames:
        if total % stride == 0:
            kept.append(keep(frame))
        total += 1
        if len(kept) == 4 * count:
            kept, stride = kept[::2], stride * 2
    if total <= count:
        return kept
    middles = [int((place + 0.5) * total / count) for place in range(count)]
    return [kept[min(round(middle / stride), len(kept) - 1)] for middle in middles]


def _as_rgb(frames: list, width: int, height: int) -> list[np.ndarray]:
    """Frames as uint8 (height, width, 3). One converter for all: setting one up costs more than a small picture."""
    from av.video.reformatter import VideoReformatter

    convert = VideoReformatter().reformat
    return [convert(frame, width, height, format="rgb24", threads=1).to_ndarray() for frame in frames]
