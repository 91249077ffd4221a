"""Clips to features, several at a time: what a row's sound and pictures become, or why they become nothing.

`extract_all` does the clips of all rows and keeps each in a store as it is done; `ClipPool` gives them in order, from
the store where they are there. Killed at any moment, the next run does again only the clips that were being decoded.
"""

import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dataset_scripts.clip_store import ClipFeatures, ClipStore, clip_key
from dataset_scripts.clip_workers import Crash, Crew
from dataset_scripts.media import BROKEN, MISSING, MediaError, clip_seconds, decode_audio, decode_frames
from dataset_scripts.ranks import Ranks
from dataset_scripts.readers import Item, Span
from dataset_scripts.visual import VisualExtractor, visual_spec
from modeling_unimse.feature_extraction_unimse import UniMSEFeatureExtractor

MODALITIES = ("audio", "visual")
WRONGLY_CUT, EMPTY, NO_FACE = "wrongly cut", "empty", "no face"
NO_AUDIO, NO_VIDEO = "no audio track", "no video track"
CRASHED = "crashed the decoder"
BAD_CLIP = (MISSING, BROKEN, CRASHED)  # the reasons that `on_bad_clip="raise"` stops at
CLIPS_WORTH_A_POOL = 32  # fewer are done sooner in this process
CLIP_SECONDS = 600.0  # a clip that takes a process longer is taken to hang the decoder
JOBS_AHEAD = 8  # a worker; bounds what waits in memory when one clip takes long


class Interrupted(KeyboardInterrupt):
    """Ctrl-C during extraction; the message says what is kept."""


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

    def signature(self) -> str:
        """All that features depend on besides the clips, versions of packages included."""
        from av import __version__ as pyav

        audio = None if self.audio is None else self.audio.audio_spec
        visual = None if self.visual is None else visual_spec(self.visual)
        return json.dumps([pyav, np.__version__, audio, visual], sort_keys=True)

    def wanted(self, item: Item) -> dict[str, Span]:
        """The spans of an item that are decoded, by modality."""
        spans = {"audio": item.audio, "visual": item.visual}
        return {name: span for name, span in spans.items() if span is not None and getattr(self, name) is not None}


class _NoFeatures(Exception):
    """Why a clip gives no features of one modality: reason and detail."""


def extract_clip(item: Item, extractors: Extractors) -> ClipFeatures:
    """Features of one item's clip. What is wrong with the clip comes back as a problem, not as an exception."""
    found: dict[str, Any] = {}
    problems = []
    for modality, span in extractors.wanted(item).items():
        try:
            _check_clip(span, item)
            found.update((_audio_features if modality == "audio" else _visual_features)(span, item, extractors))
        except _NoFeatures as problem:
            problems.append((modality, *problem.args))
        except MediaError as error:
            problems.append((modality, error.reason, str(error)))
    if found.get("visual") is not None and not len(found["visual"]):
        found["visual"] = None
        problems.append(("visual", NO_FACE, f"{item.visual.path}: none in {found['frames']} frames"))
    return ClipFeatures(**found, problems=tuple(problems))


def _check_clip(span: Span, item: Item) -> None:
    if not os.path.isfile(span.path):
        raise _NoFeatures(MISSING, f"{span.path}: no such file")
    seconds = clip_seconds(span.path) if item.longest is not None else None
    if seconds is not None and seconds > item.longest:
        raise _NoFeatures(WRONGLY_CUT, f"{span.path}: {seconds:.0f} s for the text {item.example['text']!r}")


def _audio_features(span: Span, item: Item, extractors: Extractors) -> dict[str, Any]:
    sound = decode_audio(span.path, span.start, span.end)
    if sound is None:
        raise _NoFeatures(NO_AUDIO, str(span.path))
    waveform, rate = sound
    if len(waveform) == 0:
        raise _NoFeatures(EMPTY, f"{span.path}: no sound{_stretch(span)}")
    if not np.isfinite(waveform).all():
        raise _NoFeatures(BROKEN, f"{span.path}: NaN or infinite samples")
    return {"audio": extractors.audio.log_mel(waveform, rate, item.example["id"])}


def _visual_features(span: Span, item: Item, extractors: Extractors) -> dict[str, Any]:
    visual = extractors.visual
    frames = decode_frames(span.path, visual.frames, span.start, span.end, span.half, visual.longest_side)
    if frames is None:
        raise _NoFeatures(NO_VIDEO, str(span.path))
    if len(frames) == 0:
        raise _NoFeatures(EMPTY, f"{span.path}: no frame{_stretch(span)}")
    features = visual(frames)
    with_face = len(features) if visual.finds_faces else None
    return {"visual": features, "frames": len(frames), "frames_with_face": with_face}


def _stretch(span: Span) -> str:
    return "" if span.start is None and span.end is None else f" between {span.start} and {span.end} s"


def extract_all(
    items: Sequence[Item],
    extractors: Extractors,
    store: ClipStore,
    *,
    workers: int | None = None,
    name: str = "clips",
    check: Callable[[dict[str, Any], tuple], None] | None = None,
    restart: bool = False,
) -> bool:
    """Decode the clips of all items into a store; clips that are there already are not decoded again.

    Under `torchrun` or `accelerate launch` each process takes its share, and the main one returns when all are done.

    Args:
        items: rows; those without a clip are passed over.
        extractors: what to make.
        store: where finished clips are kept; `ClipPool` reads them from there.
        workers: processes of this one; by default a core each.
        name: shown beside the progress bar.
        check: called with row and problems of each clip that is done now, in order; what it raises stops the work.
        restart: drop what is in the store first.

    Returns:
        Whether this process is to go on and write the dataset; the others are done.

    Raises:
        Interrupted: Ctrl-C. ChildProcessError: another process of the run failed, or processes cannot be started.
        ValueError: `restart` in a distributed run, where one process would drop what another has just done.
    """
    if restart:
        _drop(store)
    with_clips = [item for item in items if extractors.wanted(item)]
    signature = extractors.signature() if with_clips else ""
    with Ranks.of_environment(store.folder) as ranks:
        mine = ranks.share(with_clips)
        missing = [item for item in mine if clip_key(item, signature) not in store]
        bar = _progress(len(mine), len(missing), name, ranks)
        try:
            with bar:
                _extract_missing(missing, extractors, store, workers, ranks, bar, check)
        except KeyboardInterrupt as error:
            kept = sum(clip_key(item, signature) in store for item in mine)
            raise Interrupted(
                f"stopped; {kept} of {len(mine)} clips are kept in {store.folder}, the same command goes on from there"
            ) from error
        if ranks.is_main and ranks.world > 1:
            _wait_for_others(with_clips, signature, extractors, store, workers, ranks, check)
        return ranks.is_main


def _drop(store: ClipStore) -> None:
    if Ranks.of_environment(store.folder).world > 1:
        raise ValueError(f"restart: not possible with several processes; delete {store.folder} before the run")
    store.remove()


def _progress(total: int, missing: int, name: str, ranks: Ranks):
    from tqdm import tqdm

    hidden = True if not ranks.is_main or not total else None  # None: only where someone can see it
    return tqdm(total=total, initial=total - missing, desc=f"{name} clips", unit="clip", disable=hidden, smoothing=0.1)


def _extract_missing(items, extractors, store, workers, ranks: Ranks, bar, check) -> None:
    with ClipPool(extractors, workers, len(items), store) as pool:
        for item, clip in zip(items, pool.extract(items), strict=True):
            if check is not None:
                check(item.example, clip.problems)
            ranks.check()
            bar.update()


def _wait_for_others(items, signature, extractors, store, workers, ranks: Ranks, check) -> None:
    """Until all clips are there. Those that the others seem to have given up are done here."""
    keys = {clip_key(item, signature): item for item in items}
    with _progress(len(keys), sum(key not in store for key in keys), "all", ranks) as bar:
        left = ranks.wait_for([key for key in keys if key not in store], store.__contains__, bar.update)
        _extract_missing([keys[key] for key in left], extractors, store, workers, ranks, bar, check)


class ClipPool:
    """Extracts clips in parallel, gives the results in order. Few clips are done in this process.

    Args:
        extractors: what to make.
        workers: processes; by default one a core, shared with the other ranks of this machine.
        clips: about how many will come.
        store: where finished clips are looked up and kept; `None` = nowhere.
    """

    def __init__(self, extractors: Extractors, workers: int | None, clips: int, store: ClipStore | None = None):
        self.extractors, self.store = extractors, store
        self.workers = _default_workers() if workers is None else workers
        if self.workers < 1:
            raise ValueError(f"workers: expected at least 1, got {workers}")
        self._many, self._crew, self._signature = clips >= CLIPS_WORTH_A_POOL, None, None

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        if self._crew is not None:
            self._crew.close()

    def extract(self, items: Iterable[Item]) -> Iterator[ClipFeatures]:
        """The features of each item, in the items' order.

        A clip that ends its process is tried once more, alone; then it is a problem of that clip, `CRASHED`.
        """
        items = list(items)
        keys = self._keys(items)
        if not self._many and not (self.store and self.store.was_begun([key for key in keys if key])):
            for item, key in zip(items, keys, strict=True):
                yield self._stored(key) or self._extract_here(item, key)
            return
        yield from self._extract_there(items, keys)

    def _keys(self, items: list[Item]) -> list[str | None]:
        """Keys in the store; `None` for an item without a clip, or where nothing is kept."""
        if self.store is None:
            return [None] * len(items)
        if self._signature is None and any(self.extractors.wanted(item) for item in items):
            self._signature = self.extractors.signature()
        return [clip_key(item, self._signature) if self.extractors.wanted(item) else None for item in items]

    def _stored(self, key: str | None) -> ClipFeatures | None:
        return None if key is None else self.store.read(key)

    def _extract_here(self, item: Item, key: str | None) -> ClipFeatures:
        if key is None:
            return extract_clip(item, self.extractors)
        self.store.begin(key)
        clip = extract_clip(item, self.extractors)
        self.store.write(key, clip)
        return clip

    def _extract_there(self, items: list[Item], keys: list[str | None]) -> Iterator[ClipFeatures]:
        crew = self._started_crew()
        done: dict[int, ClipFeatures] = {}
        given = taken = 0
        while taken < len(items):
            while given < len(items) and given - taken < JOBS_AHEAD * self.workers and crew.has_room:
                known = self._stored(keys[given]) if self.extractors.wanted(items[given]) else ClipFeatures()
                if known is None:
                    crew.submit(given, (items[given], keys[given]))
                else:
                    done[given] = known
                given += 1
            while taken in done:
                yield done.pop(taken)
                taken += 1
            if crew.busy:
                done.update((number, self._result(items, keys, number, result)) for number, result in crew.wait())

    def _started_crew(self) -> Crew:
        if self._crew is None:
            self._crew = Crew(_make_worker, (self.extractors, self.store), self.workers, CLIP_SECONDS)
        return self._crew

    def _result(self, items, keys, number: int, result: ClipFeatures | Crash) -> ClipFeatures:
        if not isinstance(result, Crash):
            return result
        wanted = self.extractors.wanted(items[number])
        problems = tuple((name, CRASHED, f"{span.path}: {result.detail}") for name, span in wanted.items())
        clip = ClipFeatures(problems=problems)
        if keys[number] is not None:
            self.store.write(keys[number], clip)
        return clip


def available_cores() -> int:
    """The cores this process may use, which can be fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _default_workers() -> int:
    here = os.environ.get("LOCAL_WORLD_SIZE", "1")
    return max(1, available_cores() // max(1, int(here) if here.isdecimal() else 1))


def _make_worker(extractors: Extractors, store: ClipStore | None) -> Callable[[tuple], ClipFeatures]:
    """What a process of the pool does. It keeps a clip itself, so that only unfinished ones are ever lost."""
    import torch

    torch.set_num_threads(1)  # the processes are the parallelism

    def extract(task: tuple[Item, str | None]) -> ClipFeatures:
        item, key = task
        clip = extract_clip(item, extractors)
        if key is not None:
            store.write(key, clip)
        return clip

    return extract
