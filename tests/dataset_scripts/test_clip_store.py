"""Finished clips on disk: keys, whole files or none, and work that goes on after it was killed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from dataset_scripts.clip_store import ClipFeatures, ClipStore, clip_key, resume_folder
from dataset_scripts.extraction import Extractors, extract_all
from dataset_scripts.prepare import prepare_dataset
from tests.dataset_scripts.raw_clips import LoggedExtractor, coloured_clips, make_item

ROOT = Path(__file__).resolve().parents[2]
CLIP = ClipFeatures(
    audio=np.arange(128, dtype=np.float32).reshape(2, 64),
    visual=None,
    problems=(("visual", "no face", "a.mp4: none in 3 frames"),),
    frames=3,
    frames_with_face=0,
)


@pytest.fixture
def store(tmp_path):
    return ClipStore(resume_folder(tmp_path / "out"))


def test_what_is_written_is_read(store):
    assert store.folder.name == "out.resume"
    assert ("ab12" in store, store.read("ab12")) == (False, None)
    store.write("ab12", CLIP)
    assert "ab12" in store
    found = store.read("ab12")
    np.testing.assert_array_equal(found.audio, CLIP.audio)
    assert (found.visual, found.problems, found.frames, found.frames_with_face) == (None, CLIP.problems, 3, 0)
    both = ClipFeatures(audio=CLIP.audio, visual=np.ones((3, 5), np.float32), frames=3)
    store.write("ab12", both)
    np.testing.assert_array_equal(store.read("ab12").visual, both.visual)
    assert store.read("ab12").frames_with_face is None


@pytest.mark.parametrize(
    "damage", [lambda raw: raw[:-1], lambda raw: raw[:90], lambda raw: b"", lambda raw: raw + b"x"]
)
def test_a_spoilt_file_is_not_there(store, damage):
    store.write("ab12", CLIP)
    place = store.folder / "clips" / "ab" / "ab12"
    place.write_bytes(damage(place.read_bytes()))
    assert store.read("ab12") is None


def test_a_write_that_fails_leaves_the_old_file(store, monkeypatch):
    store.write("ab12", CLIP)
    monkeypatch.setattr(os, "replace", lambda *paths: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        store.write("ab12", ClipFeatures())
    assert store.read("ab12").frames == 3


def test_removing_drops_everything_but_what_is_a_users(store, tmp_path):
    for key in ("ab" * 20, "cd" * 20):
        store.begin(key)
    store.write("ab" * 20, CLIP)
    store.remove()
    store.remove()
    assert list(tmp_path.iterdir()) == []
    store.write("ab" * 20, CLIP)
    mine = [store.folder / name for name in ("clips/wedding.mp4", "rank-list.txt", "clips/ab/notes.txt")]
    for path in mine:
        path.write_text("a user's")
    store.remove()
    assert sorted(path for path in store.folder.rglob("*") if path.is_file()) == sorted(mine)


def test_the_key_follows_row_file_and_extractors(raw, tmp_path):
    clip = raw.clip(tmp_path / "a.mp4")
    first = clip_key(make_item("1", clip), "s")
    assert clip_key(make_item("1", clip), "s") == first
    others = {clip_key(make_item("2", clip), "s"), clip_key(make_item("1", clip), "t")}
    others |= {clip_key(make_item("1", clip, longest=3.0), "s"), clip_key(make_item("1", clip, half="left"), "s")}
    os.utime(clip, ns=(0, 0))
    others.add(clip_key(make_item("1", clip), "s"))
    clip.unlink()
    others.add(clip_key(make_item("1", clip), "s"))
    assert len(others | {first}) == 7
    assert clip_key(make_item("1", tmp_path / ("x" * 5000)), "s")


def test_a_clip_begun_here_is_known_until_it_is_done(store):
    assert not store.was_begun(["ab12"])
    store.begin("ab12")
    assert (store.was_begun(["ab12"]), store.was_begun(["cd34"])) == (True, False)
    store.write("ab12", CLIP)
    assert not store.was_begun(["ab12"])


def test_stored_clips_are_not_done_again_but_spoilt_and_changed_ones_are(store, tmp_path):
    items = coloured_clips(tmp_path / "raw", 4)
    log = tmp_path / "log"
    extractors = Extractors(None, LoggedExtractor(log))
    for _ in range(2):
        assert extract_all(items, extractors, store)
    assert sorted(LoggedExtractor(log).calls()) == [0, 1, 2, 3]
    os.utime(items[2].visual.path, ns=(0, 0))
    assert extract_all(items, extractors, store)
    assert sorted(LoggedExtractor(log).calls()) == [0, 1, 2, 2, 3]


RUN = """
import sys
from pathlib import Path
from dataset_scripts.prepare import prepare_dataset
from tests.dataset_scripts.raw_clips import LoggedExtractor
if __name__ == "__main__":
    source, out, log = map(Path, sys.argv[1:])
    prepare_dataset("custom", source, out, extractor=LoggedExtractor(log, wait=0.02), workers=2, name="mine")
"""


def run(source, out, log):
    command = [sys.executable, "-c", RUN, str(source), str(out), str(log)]
    return subprocess.Popen(command, cwd=ROOT, start_new_session=True, stderr=subprocess.PIPE)


def test_killed_twice_the_output_is_that_of_an_unbroken_run(raw, tmp_path):
    """SIGKILL to all its processes: no clip is done twice but those in flight, one a process."""
    source = tmp_path / "raw"
    coloured_clips(source, 25)
    coloured_clips(source / "more", 15)
    paths = [f"{number}.mp4" for number in range(25)] + [f"more/{number}.mp4" for number in range(15)]
    rows = [(number, "train", f"text {number}", path, "1") for number, path in enumerate(paths)]
    raw.csv(source / "manifest.csv", ["id", "split", "text", "video", "sentiment"], rows)
    extractor = LoggedExtractor(tmp_path / "log-straight")
    prepare_dataset("custom", source, tmp_path / "straight", extractor=extractor, workers=1, name="mine")
    log = LoggedExtractor(tmp_path / "log")
    for clips in (8, 25):
        process = run(source, tmp_path / "out", log.log)
        while len(log.calls()) < clips:
            assert process.poll() is None, process.stderr.read().decode()
            time.sleep(0.005)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert not (tmp_path / "out").exists()
    last = run(source, tmp_path / "out", log.log)
    assert last.wait() == 0, last.stderr.read().decode()
    assert 40 <= len(log.calls()) <= 40 + 2 * 2
    files = sorted(path.relative_to(tmp_path / "out") for path in (tmp_path / "out").rglob("*") if path.is_file())
    assert files == sorted(
        p.relative_to(tmp_path / "straight") for p in (tmp_path / "straight").rglob("*") if p.is_file()
    )
    for path in files:
        assert (tmp_path / "out" / path).read_bytes() == (tmp_path / "straight" / path).read_bytes(), path
    assert not (tmp_path / "out.resume").exists()
