"""Clips are prepared in one go, then again with SIGKILL at five random moments; nothing may be lost or done over.

    python benchmarks/kill_and_resume.py --clips 300 --extractor frozen-conv --workers 2

Every process of a run is killed at once. Afterwards all files of both outputs are compared byte by byte, and a log, to
which the extractor writes before it does a clip, tells which clips were begun twice: at most one a process and kill,
the one in flight. Exit code 1 if anything differs.
"""

import argparse
import csv
import hashlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from dataset_scripts.prepare import prepare_dataset
from dataset_scripts.visual import visual_extractor

KILLS = 5
SECONDS, FPS, SIDE, RATE = 1.5, 12, 96, 16_000


class LoggedExtractor:
    """An extractor that first appends a digest of the frames, one line a clip, to a file."""

    def __init__(self, name: str, log: Path):
        self._extractor, self._log = visual_extractor(name), log
        for fact in ("name", "size", "fingerprint", "settings", "frames", "longest_side", "finds_faces"):
            setattr(self, fact, getattr(self._extractor, fact))

    def __call__(self, frames: np.ndarray) -> np.ndarray:
        with self._log.open("a") as file:
            file.write(hashlib.sha256(frames.tobytes()).hexdigest() + "\n")
        return self._extractor(frames)


def write_clip(path: Path, number: int) -> None:
    """A moving square on a background of the clip's own, and a tone of its own."""
    import av

    rng = np.random.default_rng(number)
    background = rng.integers(0, 256, (6, 6, 3), dtype=np.uint8).repeat(SIDE // 6, 0).repeat(SIDE // 6, 1)
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=FPS)
        video.width, video.height, video.pix_fmt = SIDE, SIDE, "yuv420p"
        audio = container.add_stream("aac", rate=RATE, layout="mono")
        for index in range(round(SECONDS * FPS)):
            image = background.copy()
            image[40:56, 4 * index : 4 * index + 16] = 255
            container.mux(video.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        tone = 0.3 * np.sin(2 * np.pi * (200 + number) * np.arange(round(SECONDS * RATE)) / RATE)
        frame = av.AudioFrame.from_ndarray((tone * 32767).astype(np.int16)[None], format="s16", layout="mono")
        frame.sample_rate, frame.pts = RATE, 0
        container.mux(audio.encode(frame))
        container.mux(audio.encode(None))
        container.mux(video.encode(None))


def write_source(folder: Path, clips: int) -> None:
    """A manifest and its clips."""
    folder.mkdir()
    rows = []
    for number in range(clips):
        write_clip(folder / f"{number}.mp4", number)
        rows.append([number, ("train", "validation", "test")[number % 3], f"text {number}", f"{number}.mp4", 1])
    with (folder / "manifest.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["id", "split", "text", "video", "sentiment"], *rows])


def start(folder: Path, out: str, options: argparse.Namespace) -> subprocess.Popen:
    """One preparation, in a process group of its own so that it can be killed whole."""
    command = [sys.executable, __file__, "--run", str(folder), out]
    command += ["--extractor", options.extractor, "--workers", str(options.workers)]
    return subprocess.Popen(command, start_new_session=True)


def lines(log: Path) -> list[str]:
    return log.read_text().splitlines() if log.exists() else []


def killed_run(folder: Path, options: argparse.Namespace, targets: list[int], rng: random.Random) -> None:
    """Kill the run each time so many clips have been begun, then let it finish. Prints a line a run."""
    log, kept = folder / "broken.log", folder / "broken.resume" / "clips"
    for number, target in enumerate([*targets, None], 1):
        before, process = len(lines(log)), start(folder, "broken", options)
        while process.poll() is None and (target is None or len(lines(log)) < target):
            time.sleep(0.01)
        if process.poll() is None:
            time.sleep(rng.random() * 0.1)
            os.killpg(process.pid, signal.SIGKILL)
        elif process.returncode or target is not None:
            sys.exit(f"run {number} ended by itself before it was killed, exit code {process.returncode}")
        process.wait()
        begun = lines(log)
        stored = sum(len(files) for _, _, files in os.walk(kept)) if target else options.clips
        twice = len(begun) - len(set(begun))
        end = "finished" if target is None else f"killed at {target}"
        print(f"| {number} | {end} | {len(begun) - before} | {stored} | {twice} |", flush=True)


def compare(folder: Path, options: argparse.Namespace) -> bool:
    """Whether both outputs are the same and no more was done twice than was in flight."""
    first, second = folder / "straight", folder / "broken"
    names = sorted(path.relative_to(first) for path in first.rglob("*") if path.is_file())
    others = sorted(path.relative_to(second) for path in second.rglob("*") if path.is_file())
    same = names == others and all((first / name).read_bytes() == (second / name).read_bytes() for name in names)
    begun = lines(folder / "broken.log")
    twice, allowed = len(begun) - len(set(begun)), KILLS * options.workers
    whole = set(begun) == set(lines(folder / "straight.log")) and len(set(begun)) == options.clips
    size = sum((first / name).stat().st_size for name in names)
    print(f"\n{len(names)} files, {size / 2**20:.1f} MiB, byte for byte the same: {'yes' if same else 'NO'}")
    print(f"all {options.clips} clips done: {'yes' if whole else 'NO'}")
    print(f"clips begun twice: {twice}, in flight at {KILLS} kills of {options.workers} processes: at most {allowed}")
    return same and whole and twice <= allowed and not (folder / "broken.resume").exists()


def benchmark(options: argparse.Namespace) -> int:
    rng = random.Random(options.seed)
    targets = sorted(rng.sample(range(5, options.clips - 10), KILLS))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_source(folder / "source", options.clips)
        began = time.monotonic()
        if start(folder, "straight", options).wait():
            sys.exit("the unbroken run failed")
        seconds = time.monotonic() - began
        print(f"{options.clips} clips, {options.extractor}, {options.workers} processes, seed {options.seed}")
        print(f"unbroken run: {seconds:.1f} s with the start of Python\n")
        print("| run | end | clips begun | clips kept after it | begun twice so far |\n|---|---|---|---|---|")
        killed_run(folder, options, targets, rng)
        return 0 if compare(folder, options) else 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=300)
    parser.add_argument("--extractor", default="frozen-conv", help="as in unimse prepare; default: %(default)s")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument(
        "--run", nargs=2, metavar=("FOLDER", "OUT"), help="one preparation; used by the benchmark itself"
    )
    options = parser.parse_args()
    if options.run is None:
        return benchmark(options)
    folder, out = Path(options.run[0]), options.run[1]
    extractor = LoggedExtractor(options.extractor, folder / f"{out}.log")
    prepare_dataset(
        "custom", folder / "source", folder / out, extractor=extractor, workers=options.workers, name="mine"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
