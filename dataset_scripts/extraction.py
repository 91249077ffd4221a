"""Clips to features, several at a time: what a row's sound and pictures become, or why they become nothing."""

import multiprocessing
import os
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Any

import numpy as np

from dataset_scripts.media import MediaError, VisualExtractor, clip_seconds, decode_audio, decode_frames, visual_spec
from dataset_scripts.readers import Item, Span
from modeling_unimse.feature_extraction_unimse import UniMSEFeatureExtractor

MODALITIES = ("audio", "visual")
BAD_CLIP = ("missing", "cannot be decoded")  # the reasons that `on_bad_clip="raise"` stops at
CLIPS_WORTH_A_POOL = 32  # fewer are done sooner in this process
JOBS_AHEAD = 8  # a worker; bounds what waits in memory when writing is slower than decoding


@dataclass
class Extractors:
    """What turns sound and pictures into features; `None` = that modality is not wanted."""

    audio: UniMSEFeatureExtractor | None
    visual: VisualExtractor | None

    def specs(self, splits: dict[str, Any]) -> dict[str, Any]:
        """The content of features.json: `None` for a modality that no row has."""
        found = {modality: any(counts[modality] for counts in splits.values()) for modality in MODALITIES}
        return {
            "audio": self.audio.audio_spec if found["audio"] else None,
            "visual": visual_spec(self.visual) if found["visual"] else None,
        }


@dataclass(frozen=True)
class ClipFeatures:
    """Features of one clip. `problems`: (modality, reason, detail) for each that is `None` though a clip was named."""

    audio: np.ndarray | None = None
    visual: np.ndarray | None = None
    problems: tuple[tuple[str, str, str], ...] = ()


class _NoFeatures(Exception):
    """Why a clip gives no features of one modality: reason and detail."""


def extract_clip(item: Item, extractors: Extractors) -> ClipFeatures:
    """Features of one item's clip. What is wrong with the clip comes back as a problem, not as an exception."""
    found: dict[str, np.ndarray] = {}
    problems = []
    for modality, span in (("audio", item.audio), ("visual", item.visual)):
        if span is None or getattr(extractors, modality) is None:
            continue
        try:
            _check_clip(span, item)
            found[modality] = (_audio_features if modality == "audio" else _visual_features)(span, item, extractors)
        except _NoFeatures as problem:
            problems.append((modality, *problem.args))
        except MediaError as error:
            problems.append((modality, "cannot be decoded", str(error)))
    return ClipFeatures(**found, problems=tuple(problems))


def _check_clip(span: Span, item: Item) -> None:
    if not span.path.is_file():
        raise _NoFeatures("missing", f"{span.path}: no such file")
    seconds = clip_seconds(span.path) if item.longest is not None else None
    if seconds is not None and seconds > item.longest:
        raise _NoFeatures("wrongly cut", f"{span.path}: {seconds:.0f} s for the text {item.example['text']!r}")


def _audio_features(span: Span, item: Item, extractors: Extractors) -> np.ndarray:
    sound = decode_audio(span.path, span.start, span.end)
    if sound is None:
        raise _NoFeatures("no audio track", str(span.path))
    waveform, rate = sound
    if len(waveform) == 0:
        raise _NoFeatures("empty", f"{span.path}: no sound{_stretch(span)}")
    if not np.isfinite(waveform).all():
        raise _NoFeatures("cannot be decoded", f"{span.path}: NaN or infinite samples")
    return extractors.audio.log_mel(waveform, rate, item.example["id"])


def _visual_features(span: Span, item: Item, extractors: Extractors) -> np.ndarray:
    frames = decode_frames(span.path, start=span.start, end=span.end, half=span.half)
    if frames is None:
        raise _NoFeatures("no video track", str(span.path))
    if len(frames) == 0:
        raise _NoFeatures("empty", f"{span.path}: no frame{_stretch(span)}")
    return extractors.visual(frames)


def _stretch(span: Span) -> str:
    return "" if span.start is None and span.end is None else f" between {span.start} and {span.end} s"


class ClipPool:
    """Extracts clips in parallel, gives the results in order. Few clips are done in this process."""

    def __init__(self, extractors: Extractors, workers: int | None, clips: int):
        self.extractors = extractors
        self.workers = available_cores() if workers is None else workers
        if self.workers < 1:
            raise ValueError(f"workers: expected at least 1, got {workers}")
        self._pool = None
        if self.workers > 1 and clips >= CLIPS_WORTH_A_POOL:
            self._pool = ProcessPoolExecutor(
                self.workers, mp_context=_process_context(), initializer=_start_worker, initargs=(extractors,)
            )

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def extract(self, items: Iterable[Item]) -> Iterator[ClipFeatures]:
        if self._pool is None:
            yield from (extract_clip(item, self.extractors) for item in items)
            return
        waiting: deque = deque()
        try:
            for item in items:
                waiting.append(self._pool.submit(_extract_in_worker, item))
                if len(waiting) > JOBS_AHEAD * self.workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool as error:
            raise RuntimeError(
                "a process that decodes clips was ended from outside, most often for lack of memory; "
                "pass fewer workers (workers=1 shows which clip it is)"
            ) from error


def available_cores() -> int:
    """The cores this process may use, which can be fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _process_context():
    """Forking starts at once and needs no main guard in the caller's script; elsewhere the platform's own way."""
    return multiprocessing.get_context("fork" if sys.platform == "linux" else None)


_worker_extractors: Extractors | None = None


def _start_worker(extractors: Extractors) -> None:
    """One thread a process: after a fork, torch's own thread pool is not there any more."""
    import torch

    global _worker_extractors
    torch.set_num_threads(1)
    _worker_extractors = extractors


def _extract_in_worker(item: Item) -> ClipFeatures:
    return extract_clip(item, _worker_extractors)
