"""Clips for the tests of extraction: two faces side by side, mutated files, extractors that misbehave."""

import os
import signal
import time
from pathlib import Path

import numpy as np

from dataset_scripts.readers import Item, Span
from dataset_scripts.visual import FrozenConvExtractor


def make_item(name: str, clip: Path | None, longest: float | None = None, half: str | None = None) -> Item:
    span = None if clip is None else Span(clip, half=half)
    row = {"id": f"mine/test/{name}", "dataset": "mine", "text": "hello"}
    return Item(row, None if half else span, span, longest)


def write_film(path: Path, frames: np.ndarray, fps: int = 8) -> Path:
    """Frames (T, H, W, 3) as an mp4 without sound."""
    import av

    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=fps, options={"crf": "10"})
        video.height, video.width = frames.shape[1:3]
        video.pix_fmt = "yuv420p"
        for frame in frames:
            container.mux(video.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")))
        container.mux(video.encode(None))
    return path


class LoggedExtractor(FrozenConvExtractor):
    """Notes each clip it does in a file, by the clip's mean colour; the colour can make it fail."""

    def __init__(self, log: Path, kill: int | None = None, once: bool = False, hang: bool = False, wait: float = 0.0):
        super().__init__()
        self.log, self.kill, self.once, self.hang, self.wait = log, kill, once, hang, wait

    def __call__(self, frames):
        mark = int(round(float(frames[0, ..., 1].mean()) / 10))
        again = self.calls().count(mark)
        with self.log.open("a") as file:
            file.write(f"{mark}\n")
        time.sleep(self.wait)
        if mark == self.kill and not (self.once and again):
            if self.hang:
                time.sleep(600)
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__call__(frames)

    def calls(self) -> list[int]:
        return [int(line) for line in self.log.read_text().split()] if self.log.exists() else []


def coloured_clips(folder: Path, count: int) -> list[Item]:
    """Clip `k` is of green `10 * k`, without sound."""
    folder.mkdir(parents=True, exist_ok=True)
    items = []
    for number in range(count):
        frames = np.zeros((2, 32, 32, 3), np.uint8)
        frames[..., 1] = 10 * number
        items.append(make_item(str(number), write_film(folder / f"{number}.mp4", frames)))
    return items
