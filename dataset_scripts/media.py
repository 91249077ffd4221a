"""Clips to waveforms, frames and visual features. The only file that decodes media; PyAV brings its own FFmpeg.

A file that is missing, broken or cut short raises a `MediaError` that names it. A file without the wanted track gives
`None`: that is a clip which lacks a modality, not a bad one.
"""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch.nn import functional

MAX_FRAMES = 16
_HALVES = (None, "left", "right")
_WARM_UP_SECONDS = 0.5  # audio is decoded from a little earlier: a frame of most codecs leans on the one before it
_TIME_TOLERANCE = 1e-3  # seconds; containers round the times of frames


class MediaError(ValueError):
    """A media file that cannot be used; the message is one line and names the file."""


def decode_audio(path: Path, start: float | None = None, end: float | None = None) -> tuple[np.ndarray, int] | None:
    """The sound of a file or of a stretch of it, channels mixed down.

    Args:
        path: any audio or video file that FFmpeg reads.
        start, end: seconds; `None` = from the start, to the end.

    Returns:
        Waveform `(n,)` float32 in about [-1, 1] and its rate in Hz, as stored; n may be 0. `None`: no audio track.

    Raises:
        MediaError: the file is missing or cannot be decoded.
    """
    with _open(path) as container:
        if not container.streams.audio:
            return None
        stream = container.streams.audio[0]
        rate = stream.codec_context.sample_rate
        start, end = _absolute(container, start, end)
        waveform, first_time = _decode_samples(container, stream, start, end)
    low = 0 if start is None else max(0, round((start - first_time) * rate))
    high = len(waveform) if end is None else max(0, round((end - first_time) * rate))
    return np.ascontiguousarray(waveform[low:high]), rate


def decode_frames(
    path: Path,
    count: int = MAX_FRAMES,
    start: float | None = None,
    end: float | None = None,
    half: str | None = None,
) -> np.ndarray | None:
    """Up to `count` frames, evenly over a clip or a stretch of it.

    Args:
        path: any video file that FFmpeg reads.
        count: largest number of frames; a stretch with fewer gives all it has.
        start, end: seconds; `None` = from the start, to the end. A stretch between two frames gives the one on show.
        half: `left` or `right` half of the picture, or `None` for all of it.

    Returns:
        uint8 RGB `(T, H, W, 3)` in the size of the film, `T <= count`, `T` may be 0. `None`: no video track.

    Raises:
        MediaError: the file is missing or cannot be decoded.
        ValueError: `count` below 1 or an unknown `half`.
    """
    if count < 1 or half not in _HALVES:
        raise ValueError(f"decode_frames: expected count >= 1 and half of {_HALVES}, got {count} and {half!r}")
    with _open(path) as container:
        if not container.streams.video:
            return None
        stream = container.streams.video[0]
        start, end = _absolute(container, start, end)
        chosen = _spread(_frames_between(path, container, stream, start, end), count)
        width, height = stream.codec_context.width, stream.codec_context.height
        images = _as_rgb(chosen, width, height)
    frames = np.stack(images) if images else np.zeros((0, height, width, 3), np.uint8)
    middle = width // 2
    columns = {None: slice(None), "left": slice(0, middle), "right": slice(middle, None)}[half]
    return np.ascontiguousarray(frames[:, :, columns])


def clip_seconds(path: Path) -> float | None:
    """Length of a file as its container states it, or `None`. Raises a `MediaError` as `decode_audio` does."""
    with _open(path) as container:
        return None if container.duration is None else container.duration / 1_000_000


@contextmanager
def _open(path: Path) -> Iterator:
    try:
        import av
    except ImportError as error:
        raise ImportError("decoding clips needs PyAV: pip install av (or prepare without audio and visual)") from error
    if not Path(path).is_file():
        raise MediaError(f"{path}: no such file")
    try:
        with av.open(str(path), metadata_errors="replace") as container:
            yield container
    except MediaError:
        raise
    except av.error.FFmpegError as error:
        raise MediaError(f"{path}: cannot be decoded ({error.strerror}); replace the file") from error
    except ValueError as error:  # PyAV's own, such as sound whose format changes midway
        raise MediaError(f"{path}: cannot be decoded ({error}); re-encode the file") from error


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


def _decode_samples(container, stream, start: float | None, end: float | None) -> tuple[np.ndarray, float]:
    """Samples from a little before `start` to `end`, the mean over the channels, and the time of the first of them."""
    import av

    resampler = av.AudioResampler(format="fltp")
    pieces, first_time = [np.zeros(0, np.float32)], None
    for frame in _decode(container, stream, max(0.0, (start or 0.0) - _WARM_UP_SECONDS)):
        if first_time is None:
            first_time = frame.time or 0.0
        if end is not None and frame.time is not None and frame.time >= end:
            break
        pieces += [piece.to_ndarray().mean(axis=0) for piece in resampler.resample(frame)]
    return np.concatenate(pieces), first_time or 0.0


def _frames_between(path: Path, container, stream, start: float | None, end: float | None) -> Iterator:
    """The frames whose time lies in [start, end); if none does, the frame on show at `start`."""
    on_show, found = None, False
    for frame in _decode(container, stream, start):
        if start is not None or end is not None:
            if frame.time is None:
                raise MediaError(f"{path}: its frames carry no time, so a stretch of it cannot be cut; remux the file")
            if start is not None and frame.time < start - _TIME_TOLERANCE:
                on_show = frame
                continue
            if end is not None and frame.time >= end - _TIME_TOLERANCE:
                break
        found = True
        yield frame
    if on_show is not None and not found:
        yield on_show


def _spread(frames: Iterator, count: int) -> list:
    """Up to `count` of a stream of unknown length, evenly spread, holding fewer than `4 * count` at a time.

    Every `stride`-th frame is kept; when there are too many, every second is dropped and the stride doubles. At the
    end the kept frames nearest to the middles of `count` equal parts are taken: exact below `4 * count` frames, never
    off by more than a quarter of a part.
    """
    kept, stride, total = [], 1, 0
    for frame in frames:
        if total % stride == 0:
            kept.append(frame)
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


class VisualExtractor(Protocol):
    """Frames to one feature vector each. `fingerprint` tells features of different extractors apart."""

    name: str
    size: int
    fingerprint: str
    settings: dict

    def __call__(self, frames: np.ndarray) -> np.ndarray:
        """uint8 RGB `(T, H, W, 3)` to float32 `(T, size)`."""


def visual_spec(extractor: VisualExtractor) -> dict:
    """What is stored with the features of an extractor: name, size, fingerprint and settings."""
    return {
        "name": extractor.name,
        "size": extractor.size,
        "fingerprint": extractor.fingerprint,
        "settings": extractor.settings,
    }


def visual_extractor(name: str = "frozen-conv") -> VisualExtractor | None:
    """The extractor of that name; `none` gives `None`. An unknown name is a `ValueError`."""
    if name == "none":
        return None
    if name == "frozen-conv":
        return FrozenConvExtractor()
    raise ValueError(f"visual extractor: expected 'frozen-conv' or 'none', got {name!r}")


class FrozenConvExtractor:
    """A small convolutional network whose weights are drawn once from a seed and never trained.

    Three convolutions with ReLU; the last map is averaged to a 4 x 4 grid of 8 channels, so it stays known where in the
    picture something is: mouth and brows fall into different cells. Kernels have mean 0 and norm 1 (flat areas and
    brightness drop out); each picture is standardised before and each output vector after, by its own statistics. No
    face is looked for: it suits clips in which one face fills the picture, such as the embedded sample's.

    Weights come from numpy's PCG64, hence are the same everywhere, and so is the fingerprint (SHA-256 of weights and
    settings). The mathematics run on one thread, picture by picture: a clip gives the same bits in any company.
    """

    name = "frozen-conv"
    size = 128

    def __init__(self, seed: int = 0):
        self.settings = {
            "seed": seed,
            "picture": 64,
            "channels": [16, 32, 8],
            "kernels": [5, 3, 3],
            "grid": 4,
            "max_frames": MAX_FRAMES,
        }
        rng = np.random.Generator(np.random.PCG64(seed))
        widths = [3, *self.settings["channels"]]
        kernels = self.settings["kernels"]
        arrays = [_zero_mean_kernels(rng, widths[i + 1], widths[i], kernels[i]) for i in range(3)]
        digest = hashlib.sha256(json.dumps(self.settings, sort_keys=True).encode())
        for array in arrays:
            digest.update(array.astype("<f4").tobytes())
        self.fingerprint = digest.hexdigest()[:12]
        self._weights = [torch.from_numpy(array) for array in arrays]

    @torch.no_grad()
    def __call__(self, frames: np.ndarray) -> np.ndarray:
        if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8:
            raise ValueError(f"frames: expected uint8 (T, H, W, 3), got {frames.dtype} of shape {frames.shape}")
        if len(frames) == 0:
            return np.zeros((0, self.size), np.float32)
        with _single_thread():
            return torch.cat([self._embed(self._picture(frame)) for frame in frames]).numpy()

    def _picture(self, frame: np.ndarray) -> torch.Tensor:
        """One frame resized and standardised, (1, 3, S, S)."""
        picture = torch.from_numpy(frame).permute(2, 0, 1)[None].float() / 255
        side = self.settings["picture"]
        if picture.shape[-2:] != (side, side):
            picture = functional.interpolate(picture, (side, side), mode="bilinear", antialias=True)
        return _standardise(picture, (1, 2, 3))

    def _embed(self, picture: torch.Tensor) -> torch.Tensor:
        first, second, third = self._weights
        x = functional.relu(functional.conv2d(picture, first, stride=2, padding=2))  # (1, 16, S/2, S/2)
        x = functional.avg_pool2d(x, 2)
        x = functional.relu(functional.conv2d(x, second, padding=1))  # (1, 32, S/4, S/4)
        x = functional.avg_pool2d(x, 2)
        x = functional.relu(functional.conv2d(x, third, padding=1))  # (1, 8, S/8, S/8)
        return _standardise(functional.adaptive_avg_pool2d(x, self.settings["grid"]).flatten(1), (1,))


def _zero_mean_kernels(rng: np.random.Generator, outputs: int, inputs: int, side: int) -> np.ndarray:
    """Kernels (outputs, inputs, side, side): every plane has mean 0, every output norm 1."""
    kernels = rng.standard_normal((outputs, inputs, side, side))
    kernels -= kernels.mean(axis=(2, 3), keepdims=True)
    kernels /= np.sqrt((kernels**2).sum(axis=(1, 2, 3), keepdims=True))
    return kernels.astype(np.float32)


def _standardise(values: torch.Tensor, dims: tuple[int, ...]) -> torch.Tensor:
    centred = values - values.mean(dims, keepdim=True)
    return centred / (centred.square().mean(dims, keepdim=True).sqrt() + 1e-3)


@contextmanager
def _single_thread() -> Iterator[None]:
    """One thread for the sums, so that their order, and with it the last bit, does not depend on the machine's load."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
