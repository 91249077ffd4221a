"""The csv and csd readers: what people's files look like, and what the message says where they are broken."""

import csv
import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataset_scripts.readers import (
    Tally,
    clean_text,
    natural_key,
    read_csd,
    read_csv,
    refuse_duplicates,
    require_files,
)


@pytest.fixture
def table(tmp_path):
    def write(content: bytes):
        path = tmp_path / "table.csv"
        path.write_bytes(content)
        return path

    return write


@pytest.mark.parametrize(
    "content",
    [
        b'id,text\n-7,hi\n007,"a\nb"\n',
        b'id,text\r\n-7,hi\r\n007,"a\r\nb"\r\n',
        b'\xef\xbb\xbfid,text\n-7,hi\n007,"a\nb"\n',
        b' id , text \n-7,hi\n\n007,"a\nb"',
    ],
    ids=["plain", "crlf", "byte order mark", "blanks in header, empty line, no last line end"],
)
def test_csv_forms(table, content):
    read = read_csv(table(content), ("id", "text"))
    assert [row["id"] for row in read.rows] == ["-7", "007"]
    assert clean_text(read.rows[1]["text"]) == "a b"
    assert read.encoding == "utf-8"


def test_lines_are_those_where_rows_end(table):
    assert read_csv(table(b'id,text\n1,"a\nb"\n2,c\n'), ("id",)).lines == [3, 4]


def test_cp1252_is_read_and_named(table):
    read = read_csv(table("id,text\n1,it’s caf\u00e9\n".encode("cp1252")), ("id", "text"))
    assert (read.rows[0]["text"], read.encoding) == ("it’s caf\u00e9", "cp1252")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"table.csv: expected a csv file with the columns id, text, but the file is empty"),
        (b"id,txt\n1,a\n", r"the column 'text' is missing; the nearest is 'txt' \(found: id, txt\)"),
        (b"id,zzz\n1,a\n", r"the column 'text' is missing \(found: id, zzz\)"),
        (b"id,text,id\n1,a,2\n", r"the column 'id' comes more than once"),
        (b"id,text,emotoin\n1,a,joy\n", r"unknown column 'emotoin'; rename it to 'emotion'"),
        (b"id,text\n1,a\n2,b,c\n", r"line 3: expected 2 fields \(id, text\), got 3"),
        (b"id,text\n1,\x81\xff\n", r"line 2: byte 0x81 is neither UTF-8 nor cp1252"),
    ],
)
def test_broken_csv(table, content, message):
    with pytest.raises(ValueError, match=message):
        read_csv(table(content), ("id", "text"), ("emotion",))


@given(st.lists(st.tuples(st.text(min_size=1), st.text()), max_size=5))
def test_whatever_the_csv_module_writes_is_read_back(tmp_path_factory, rows):
    rows = [tuple(field.encode("utf-8", "ignore").decode().replace("\r", "\n") for field in row) for row in rows]
    rows = [row for row in rows if row[0]]
    buffer = io.StringIO(newline="")
    csv.writer(buffer, quoting=csv.QUOTE_ALL).writerows([("id", "text"), *rows])
    path = tmp_path_factory.getbasetemp() / "round_trip.csv"
    path.write_bytes(buffer.getvalue().encode())
    assert [(row["id"], row["text"]) for row in read_csv(path, ("id", "text")).rows] == rows


def test_csd_is_read_with_its_intervals(raw, tmp_path):
    path = raw.csd(tmp_path / "a.csd", "words", {"-x": (np.array([[b"hi"]]), [(0.25, 0.5)])})
    features, intervals = read_csd(path)["-x"]
    assert features[0, 0] == b"hi"
    np.testing.assert_array_equal(intervals, [[0.25, 0.5]])


def test_broken_csd(raw, tmp_path):
    path = raw.csd(tmp_path / "a.csd", "words", {"x": (np.zeros((2, 1)), [(0, 1)])})
    with pytest.raises(ValueError, match=r"a.csd: expected the group '/All Labels/data', found the groups \['words'\]"):
        read_csd(path, "All Labels")
    with pytest.raises(
        ValueError, match=r"a.csd, x: expected features \(n, d\) and intervals \(n, 2\), got \(2, 1\) and"
    ):
        read_csd(path)
    (tmp_path / "b.csd").write_bytes(b"<html>404</html>")
    with pytest.raises(ValueError, match=r"b.csd: cannot be read as a csd \(HDF5\) file"):
        read_csd(tmp_path / "b.csd")


def test_csd_without_intervals(tmp_path):
    import h5py

    with h5py.File(tmp_path / "a.csd", "w") as file:
        file["words/data/x/features"] = np.zeros((1, 1))
    with pytest.raises(ValueError, match="a.csd, x: expected 'features' and 'intervals', but 'intervals' is missing"):
        read_csd(tmp_path / "a.csd")


def test_folders_that_are_not_there_or_empty(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"mosi: .*nowhere is not a folder; expected a folder with label.csv"):
        require_files(tmp_path / "nowhere", "mosi", ["label.csv"], "label.csv")
    with pytest.raises(FileNotFoundError, match=r"mosi: .* is empty; expected label.csv"):
        require_files(tmp_path, "mosi", ["label.csv"], "label.csv")
    (tmp_path / "other.txt").touch()
    with pytest.raises(FileNotFoundError, match=r"mosi: label.csv not found in"):
        require_files(tmp_path, "mosi", ["label.csv"], "label.csv")


def test_duplicates_name_both_places():
    with pytest.raises(ValueError, match=r"line 4: id 7 comes a second time \(first: line 2\)"):
        refuse_duplicates([("id 7", "line 2"), ("id 8", "line 3"), ("id 7", "line 4")])


def test_tally_keeps_the_first_example():
    tally = Tally()
    tally.add("missing", "a.mp4")
    tally.add("missing", "b.mp4", 3)
    assert tally.as_dict() == {"missing": {"count": 4, "first": "a.mp4"}}
    assert (tally.count("missing"), tally.count("corrupt")) == (4, 0)


def test_natural_order():
    names = ["10", "9", "a2", "a10", "²", "1b", "1"]
    assert sorted(names, key=natural_key) == ["1", "1b", "9", "10", "a2", "a10", "²"]
