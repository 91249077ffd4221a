"""Which form a folder is, and what is said when it is none."""

import os
import pickle

import pytest

from dataset_scripts.formats import RawFormat, choose_format

FORMATS = (
    RawFormat("first", "a.csv", lambda source: (source / "a.csv").is_file(), lambda source: None),
    RawFormat("second", "b.pkl", lambda source: source.name == "b.pkl" and source.is_file(), lambda source: None),
)


def test_the_first_form_that_fits_is_taken_unless_another_is_named(tmp_path):
    (tmp_path / "a.csv").touch()
    assert choose_format("mosi", tmp_path, FORMATS).name == "first"
    assert choose_format("mosi", tmp_path, FORMATS, "second").name == "second"
    with pytest.raises(ValueError, match="mosi: expected a format of first, second, got 'third'"):
        choose_format("mosi", tmp_path, FORMATS, "third")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ((), "raw is empty; expected a.csv .first.; or b.pkl .second."),
        (("x.csv",), r"raw is of none of the known forms \(found: x.csv, which is empty\)"),
        (("x.csv", "y.tar.gz"), "raw holds an archive, y.tar.gz, and nothing known unpacked: unpack it there"),
        (("a.csv.part",), "raw holds an unfinished download, a.csv.part: finish it"),
    ],
)
def test_what_is_there_instead_is_said(tmp_path, names, message):
    (tmp_path / "raw").mkdir()
    for name in names:
        (tmp_path / "raw" / name).touch()
    with pytest.raises(FileNotFoundError, match=message):
        choose_format("mosi", tmp_path / "raw", FORMATS)


def test_what_bears_a_name_without_being_a_file_is_told_apart(tmp_path):
    (tmp_path / "a.csv").mkdir()
    (tmp_path / "b.pkl").symlink_to("nowhere")
    (tmp_path / "c.csv").write_text("text")
    os.mkfifo(tmp_path / "d.csv")
    shown = r"found: a.csv/, b.pkl, a broken link, c.csv, d.csv, no plain file\)"
    with pytest.raises(FileNotFoundError, match=shown):
        choose_format("mosi", tmp_path, FORMATS)


def test_a_source_that_is_no_folder(tmp_path):
    os.mkfifo(tmp_path / "b.pkl")
    with pytest.raises(FileNotFoundError, match="mosi: .*b.pkl is neither a folder nor a plain file; expected a.csv"):
        choose_format("mosi", tmp_path / "b.pkl", FORMATS)
    with pytest.raises(FileNotFoundError, match="mosi: .*nowhere does not exist"):
        choose_format("mosi", tmp_path / "nowhere", FORMATS)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"version https://git-lfs.github.com/spec/v1\n", "; a.pkl: expected a pickle, but this is a Git LFS pointer"),
        (b"cos\nsystem\n.", "; a.pkl: refused, it names os.system"),
        (b"", "; a.pkl: the file is empty"),
        (pickle.dumps([1]), "; expected a.csv"),
    ],
    ids=["pointer", "unsafe", "empty", "another kind"],
)
def test_a_pickle_that_cannot_be_read_is_named_with_its_problem(tmp_path, content, problem):
    path = tmp_path / "raw" / "Processed" / "a.pkl"
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    for source, found in ((tmp_path / "raw", r" \(found: Processed/\)"), (path.parent, r" \(found: .*\)"), (path, "")):
        with pytest.raises(FileNotFoundError, match=f"is of none of the known forms{found}{problem}"):
            choose_format("mosi", source, FORMATS)
