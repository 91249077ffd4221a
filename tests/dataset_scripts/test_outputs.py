"""Outputs that are written aside: whole or not at all, one writer at a time, and nothing of a user's is removed."""

import errno
import json
import multiprocessing
import os
import shutil
import signal
import time
from pathlib import Path

import pytest

from dataset_scripts.utils.files import check_space, content_digest, file_digest, write_json, write_text
from dataset_scripts.utils.outputs import (
    FolderKind,
    check_files,
    check_folder,
    claimed,
    mark_stale,
    replaced_files,
    replaced_folder,
    settle,
    settle_below,
)

KIND = FolderKind("box", signs=("box.json",), files=("box.json", "parts/*"))


def make_box(folder, content="old"):
    (folder / "parts").mkdir(parents=True)
    (folder / "box.json").write_text(content)
    (folder / "parts" / f"{content}.txt").write_text(content)
    return folder


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


def replace_box(folder, content="new"):
    with claimed(folder), replaced_folder(folder, drop=KIND.files) as new:
        make_box(new, content)


def replace_pair(folder, content):
    with claimed(folder, "pair"), replaced_files(folder, "pair") as new:
        for name in ("a.txt", "b.txt"):
            (new / name).write_text(content)
        mark_stale(new, ["c.txt"])


# --- one file ---------------------------------------------------------------------------------------------------------


def test_a_file_is_the_old_one_until_the_new_one_is_whole(tmp_path, monkeypatch):
    write_text(tmp_path / "a.txt", "old")
    with pytest.raises(UnicodeEncodeError):
        write_text(tmp_path / "a.txt", "\ud800")
    assert contents(tmp_path) == {"a.txt": "old"}
    with pytest.raises(ValueError, match="Out of range float values"):
        write_json(tmp_path / "a.txt", {"a": float("nan")})
    assert contents(tmp_path) == {"a.txt": "old"}


def test_digests(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert file_digest(tmp_path / "a").startswith("ba7816bf8f01cfea")  # FIPS 180-2, example B.1
    assert content_digest([tmp_path / "a", tmp_path / "a"]) != content_digest([tmp_path / "a"])
    assert len(content_digest([tmp_path / "a"])) == 12


# --- what may be replaced ---------------------------------------------------------------------------------------------


def test_only_a_folder_of_the_kind_is_replaced(tmp_path):
    check_folder(tmp_path / "none", KIND, False)
    (tmp_path / "empty").mkdir()
    check_folder(tmp_path / "empty", KIND, False)
    box = make_box(tmp_path / "box")
    with pytest.raises(FileExistsError, match="box exists and is not empty; name another folder or pass --overwrite"):
        check_folder(box, KIND, False)
    check_folder(box, KIND, True)
    (box / "box.json").unlink()
    with pytest.raises(FileExistsError, match="is not empty and no box, so it is not replaced; name another folder"):
        check_folder(box, KIND, True)
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError, match="file is a file; name a folder"):
        check_folder(tmp_path / "file", KIND, True)


def test_what_is_read_is_not_replaced(tmp_path):
    box = make_box(tmp_path / "box")
    for source in (box, box / "parts", box / "box.json"):
        with pytest.raises(ValueError, match="holds what is read .* which would be replaced"):
            check_folder(box, KIND, True, [source])
    check_folder(box, KIND, True, [tmp_path])


def test_files_of_others_are_not_replaced(tmp_path):
    (tmp_path / "a").touch()
    (tmp_path / "b").mkdir()
    (tmp_path / "c").symlink_to(tmp_path / "nowhere")
    check_files([tmp_path / "a", tmp_path / "none"], lambda path: True)
    for name in "bc":
        with pytest.raises(FileExistsError, match=f"{name} exists and was not written by this command"):
            check_files([tmp_path / name], lambda path: True)
    with pytest.raises(FileExistsError, match="a exists and was not written by this command, so it is not replaced"):
        check_files([tmp_path / "a"], lambda path: False)


def test_a_disk_that_is_too_full_is_refused_with_what_is_needed(tmp_path):
    check_space(tmp_path / "not" / "yet", 1)
    with pytest.raises(OSError, match=r"yet: needs about 1073741824.0 GiB, and .* are free on its disk; free some"):
        check_space(tmp_path / "not" / "yet", 2**60)


# --- folders ----------------------------------------------------------------------------------------------------------


def test_a_folder_is_replaced_and_a_users_files_in_it_stay(tmp_path):
    box = make_box(tmp_path / "box")
    (box / "notes").mkdir()
    (box / "notes" / "thesis.txt").write_text("years")
    (box / "link").symlink_to("notes")
    (box / "empty" / "inner").mkdir(parents=True)
    replace_box(box)
    assert contents(box) == {"box.json": "new", "parts/new.txt": "new", "notes/thesis.txt": "years"}
    assert (box / "link").is_symlink() and (box / "empty" / "inner").is_dir()
    assert [path.name for path in tmp_path.iterdir()] == ["box"]


def test_an_error_leaves_the_folder_as_it_was(tmp_path):
    box = make_box(tmp_path / "box")
    with pytest.raises(KeyError), claimed(box), replaced_folder(box) as new:
        (new / "half").touch()
        raise KeyError
    assert contents(tmp_path) == {"box/box.json": "old", "box/parts/old.txt": "old"}


def test_a_swap_that_cannot_be_finished_is_undone(tmp_path, monkeypatch):
    box, replace = make_box(tmp_path / "box"), os.replace

    def fail(source, target):
        if str(source).endswith("unimse-new"):
            raise OSError(errno.EIO, "no")
        return replace(source, target)

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="no"):
        replace_box(box)
    assert contents(tmp_path) == {"box/box.json": "old", "box/parts/old.txt": "old"}


@pytest.mark.parametrize("left", ["old", "old, new"])
def test_a_swap_between_its_two_renames_is_completed_or_undone(tmp_path, left):
    make_box(tmp_path / ".box.unimse-old")
    if "new" in left:
        make_box(tmp_path / ".box.unimse-new", "new")
    settle(tmp_path / "box")
    assert (tmp_path / "box" / "box.json").read_text() == left.rsplit(" ", 1)[-1]
    assert [path.name for path in tmp_path.iterdir()] == ["box"]


def test_the_next_writer_completes_a_swap_too(tmp_path):
    make_box(tmp_path / ".box.unimse-old")
    with claimed(tmp_path / "box"), pytest.raises(FileExistsError, match="exists and is not empty"):
        check_folder(tmp_path / "box", KIND, False)


def test_a_folder_made_meanwhile_is_no_output(tmp_path):
    """`mkdir -p OUT` of a script, after a kill between the two renames."""
    make_box(tmp_path / ".box.unimse-old")
    make_box(tmp_path / ".box.unimse-new", "new")
    (tmp_path / "box").mkdir()
    with claimed(tmp_path / "box"):
        assert (tmp_path / "box" / "box.json").read_text() == "new"
    make_box(tmp_path / ".box.unimse-old")
    make_box(tmp_path / ".box.unimse-new", "newer")
    with pytest.raises(FileExistsError, match="box: was made by another program .* move it away, and the next command"):
        with claimed(tmp_path / "box"):
            pass
    (tmp_path / "box").rename(tmp_path / "elsewhere")
    settle(tmp_path / "box")
    assert (tmp_path / "box" / "box.json").read_text() == "newer"


def test_a_half_removed_folder_is_never_put_back(tmp_path, monkeypatch):
    box = make_box(tmp_path / "box")
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", lambda *arguments, **named: None)  # killed while it removes
        replace_box(box)
    shutil.rmtree(box)  # by the user
    settle(box)
    assert not box.exists()
    replace_box(box, "newer")
    assert [path.name for path in tmp_path.iterdir()] == ["box"]


def test_a_folder_that_cannot_be_removed_is_named_before_the_work(tmp_path, monkeypatch):
    box = make_box(tmp_path / "box")
    monkeypatch.setattr(shutil, "rmtree", lambda *arguments, **named: None)
    replace_box(box)
    with pytest.raises(FileExistsError, match="box.unimse-gone: is left of an earlier box and cannot be removed"):
        with replaced_folder(box):
            pytest.fail("worked")


def test_a_folder_that_cannot_be_moved_is_refused_before_the_work(tmp_path, monkeypatch):
    box = make_box(tmp_path / "box")
    monkeypatch.chdir(box / "parts")
    with pytest.raises(ValueError, match="box: is, or holds, the working directory; give the command from another"):
        check_folder(box, KIND, True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os.path, "ismount", lambda path: True)
    with pytest.raises(ValueError, match="box: is a mount point, which cannot be replaced; name a folder in it"):
        check_folder(box, KIND, True)


def test_work_of_other_commands_inside_is_completed_and_kept(tmp_path):
    box = make_box(tmp_path / "box")
    for name in (".mine.json.unimse-ready/mine.json", ".big.json.unimse-new/done.json"):
        (box / name).parent.mkdir()
        (box / name).write_text("evaluated")
    replace_box(box)
    assert {"mine.json", ".big.json.unimse-new/done.json"} < set(contents(box))


def test_what_lies_in_a_folder_that_a_kill_took_away_is_found(tmp_path):
    make_box(tmp_path / ".box.unimse-old")
    settle(tmp_path / "box" / "parts" / "old.txt")
    assert (tmp_path / "box" / "parts" / "old.txt").is_file()
    make_box(tmp_path / "deep" / ".other.unimse-old")
    settle_below(tmp_path)
    assert (tmp_path / "deep" / "other" / "box.json").is_file()


def test_rights_of_a_folder_stay(tmp_path):
    box = make_box(tmp_path / "box")
    box.chmod(0o700)
    replace_box(box)
    assert box.stat().st_mode & 0o777 == 0o700


def test_names_alike_of_a_user_stay(tmp_path):
    box = make_box(tmp_path / "box")
    for name in ("box.old", "box.partial", "box.outgoing", ".box.lock"):
        (tmp_path / name).mkdir()
    replace_box(box)
    assert {"box.old", "box.partial", "box.outgoing", ".box.lock"} < {path.name for path in tmp_path.iterdir()}


# --- files in a folder of others --------------------------------------------------------------------------------------


def test_files_are_replaced_together_and_others_stay(tmp_path):
    for name in ("a.txt", "c.txt", "mine.txt"):
        (tmp_path / name).write_text("old")
    replace_pair(tmp_path, "new")
    assert contents(tmp_path) == {"a.txt": "new", "b.txt": "new", "mine.txt": "old"}


@pytest.mark.parametrize("moment", range(1, 6))
def test_files_are_completed_after_a_kill_at_any_rename(tmp_path, moment):
    (tmp_path / "c.txt").write_text("old")
    replace_pair(tmp_path, "old")
    (tmp_path / "c.txt").write_text("old")
    child = multiprocessing.get_context("fork").Process(target=_die_at, args=(tmp_path, moment))
    child.start()
    child.join()
    settle(tmp_path / "a.txt")
    there = {name: text for name, text in contents(tmp_path).items() if ".unimse-new" not in name}
    old, new = {"a.txt": "old", "b.txt": "old", "c.txt": "old"}, {"a.txt": "new", "b.txt": "new"}
    assert {name: text for name, text in there.items() if "unimse" not in name} in (old, new)
    replace_pair(tmp_path, "new")
    assert contents(tmp_path) == new


def _die_at(folder, moment):
    replace, done = os.replace, []

    def die(source, target):
        done.append(target)
        if len(done) == moment:
            os.kill(os.getpid(), signal.SIGKILL)
        return replace(source, target)

    os.replace = die
    replace_pair(folder, "new")


def test_files_of_others_move_nothing_outside_their_folder(tmp_path):
    """A folder may have been unpacked, or cloned, from anybody."""
    home, got = tmp_path / "home", tmp_path / "got"
    home.mkdir()
    for name in ("keys", "bye", "docs"):
        (home / name).write_text("a user's")
    ready = got / ".x.unimse-ready"
    (ready / "link").mkdir(parents=True)
    (ready / "link" / "keys").write_text("evil")
    (ready / ".unimse-stale").write_text(json.dumps(["../home/bye", "link/bye", str(home / "bye")]))
    (got / "link").symlink_to(home)
    (got / ".y.unimse-ready").symlink_to(home)
    settle(got)
    assert contents(home) == dict.fromkeys(("keys", "bye", "docs"), "a user's")
    assert sorted(path.name for path in got.iterdir()) == [".y.unimse-ready", "link"]


def test_a_part_stays_in_its_folder_whatever_has_its_name(tmp_path):
    (tmp_path / "site").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "pair").symlink_to(tmp_path / "site")
    replace_pair(tmp_path / "out", "new")
    assert contents(tmp_path / "site") == {} and (tmp_path / "out" / "a.txt").read_text() == "new"


def test_what_was_done_is_kept_for_the_next_call(tmp_path):
    with pytest.raises(KeyError), claimed(tmp_path / "x"), replaced_files(tmp_path / "x", keep=True) as new:
        (new / "a.txt").write_text("done")
        raise KeyError
    assert not (tmp_path / "a.txt").exists()
    with claimed(tmp_path / "x"), replaced_files(tmp_path / "x", keep=True) as new:
        assert contents(new) == {"a.txt": "done"}
    assert contents(tmp_path) == {"a.txt": "done"}
    with pytest.raises(KeyError), claimed(tmp_path / "y"), replaced_files(tmp_path / "y", keep=True):
        raise KeyError
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


# --- claims and errors ------------------------------------------------------------------------------------------------


def test_one_writer_at_a_time_whatever_the_name(tmp_path):
    make_box(tmp_path / "box")
    (tmp_path / "alias").symlink_to("box")
    with claimed(tmp_path / "box"):
        for name in ("box", "alias"):
            with pytest.raises(FileExistsError, match=f"{name}: another process is writing it; wait for it, or end it"):
                with claimed(tmp_path / name):
                    pass
    assert sorted(path.name for path in tmp_path.iterdir()) == ["alias", "box"]


def test_a_claim_that_comes_to_nothing_leaves_nothing(tmp_path):
    with pytest.raises(KeyError), claimed(tmp_path / "a" / "b" / "box"):
        raise KeyError
    assert not list(tmp_path.iterdir())


def test_of_many_processes_one_holds_it_at_any_time(tmp_path):
    """Three contend, so that one arrives while another takes over from a third."""
    fork = multiprocessing.get_context("fork")
    crew = [fork.Process(target=_contend, args=(tmp_path,)) for _ in range(3)]
    for process in crew:
        process.start()
    for process in crew:
        process.join()
    assert [process.exitcode for process in crew] == [0, 0, 0]
    assert contents(tmp_path) == {}


def _contend(folder):
    for _ in range(60):
        with claimed(folder / "box", wait=20):
            (folder / "held").touch(exist_ok=False)
            time.sleep(0.001)
            (folder / "held").unlink()


def test_a_reader_does_not_fail_at_a_writer_that_lives(tmp_path, monkeypatch):
    """Its claim outlasts its swap."""
    monkeypatch.setattr("dataset_scripts.utils.outputs.SETTLE_SECONDS", 0.0)
    box, ready = make_box(tmp_path / "box"), tmp_path / ".x.unimse-ready"
    ready.mkdir()
    with claimed(tmp_path, "x"):
        assert not ready.exists()
        ready.mkdir()
        with pytest.raises(FileExistsError, match="another process is writing it"):
            settle(tmp_path)
        ready.rmdir()
        settle(tmp_path)
    box.rename(tmp_path / ".box.unimse-old")
    with monkeypatch.context() as patch:
        patch.setattr("dataset_scripts.utils.outputs._complete", lambda *_: None)
        with claimed(box):
            with pytest.raises(FileExistsError, match="another process is writing it"):
                settle(box)


def test_links_are_hard_where_there_are_such(tmp_path):
    box = make_box(tmp_path / "box")
    (box / "mine.bin").write_text("large")
    number = (box / "mine.bin").stat().st_ino
    replace_box(box)
    assert (box / "mine.bin").stat().st_ino == number


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="needs a file system that nobody may write to: /proc")
def test_a_file_system_that_takes_no_files_is_named():
    with pytest.raises(PermissionError, match="/proc/out: cannot be written; name a place that you may write to"):
        with claimed(Path("/proc/out")):
            pass


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError, match="out: a part of its path is a file; name a place in a folder"):
        with claimed(tmp_path / "file" / "out"):
            pass


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError("[Errno 28] Error writing bytes to file. Detail: [errno 28] No space left on device"),  # pyarrow
        RuntimeError("I/O error: No space left on device (os error 28)"),  # safetensors
    ],
)
def test_a_full_disk_is_said_with_what_it_was_about(tmp_path, error):
    box = make_box(tmp_path / "box")
    with pytest.raises(OSError, match="box: the disk is full, .* are free; what was there before is kept. Free some"):
        with claimed(box), replaced_folder(box):
            raise error
    assert contents(tmp_path) == {"box/box.json": "old", "box/parts/old.txt": "old"}


def test_errors_about_other_files_go_through(tmp_path):
    box = make_box(tmp_path / "box")
    with pytest.raises(PermissionError, match="source.csv"), claimed(box), replaced_folder(box):
        raise PermissionError(errno.EACCES, "Permission denied", "/data/source.csv")
