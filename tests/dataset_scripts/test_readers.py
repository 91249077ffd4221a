"""The table and csd readers: what people's files look like, and what the message says where they are broken."""

import csv
import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataset_scripts.csd import read_csd
from dataset_scripts.readers import Item, Reading, Tally, clean_text, natural_key
from dataset_scripts.schema import new_example
from dataset_scripts.tables import read_csv, read_jsonl, read_text, split_lines


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


@pytest.mark.parametrize(
    ("encoding", "name"),
    [("cp1252", "cp1252"), ("utf-16", "utf-16"), ("utf-8-sig", "utf-8"), ("utf-8", "utf-8")],
)
def test_encodings_are_found_and_named(table, encoding, name):
    path = table("id,text\r\n1,it’s caf\u00e9\r\n".encode(encoding))
    read = read_csv(path, ("id", "text"))
    assert (read.rows, read.encoding) == ([{"id": "1", "text": "it’s caf\u00e9"}], name)
    assert read_text(path) == "id,text\r\n1,it’s caf\u00e9\r\n"


def test_columns_by_another_spelling_are_found_and_named(table):
    read = read_csv(table(b"dialogue id,UTTERANCE,Start-Time\n1,a,2\n"), ("Dialogue_ID", "Utterance"), ("StartTime",))
    assert read.rows == [{"Dialogue_ID": "1", "Utterance": "a", "StartTime": "2"}]
    assert read.renamed == {"dialogue id": "Dialogue_ID", "UTTERANCE": "Utterance", "Start-Time": "StartTime"}


def test_a_column_of_the_exact_name_comes_first(table):
    read = read_csv(table(b"ID,id,Text\n7,1,a\n"), ("id", "Text"))
    assert (read.rows, read.renamed) == ([{"ID": "7", "id": "1", "Text": "a"}], {})


def test_unnamed_columns_and_blank_rows_are_passed_over(table):
    read = read_csv(table(b",id,text,\n0,1,a,\n,,,\n \n1,2,b,\n"), ("id", "text"))
    assert (read.rows, read.columns) == ([{"id": "1", "text": "a"}, {"id": "2", "text": "b"}], ("id", "text"))


def test_old_line_ends_and_tabs(table):
    read = read_csv(table(b'id\ttext\r1\ta,b\r2\t"c\td"\r'), ("id", "text"), delimiter="\t")
    assert [row["text"] for row in read.rows] == ["a,b", "c\td"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"table.csv: expected a table with the columns id, text, but the file is empty"),
        (b"\n \n", r"table.csv: expected a table with the columns id, text, but the file is empty"),
        (b"id,text\n,\n", r"table.csv: a header and no rows"),
        (b"id,txt\n1,a\n", r"the column 'text' is missing; the nearest is 'txt' \(found: id, txt\)"),
        (b"id,zzz\n1,a\n", r"the column 'text' is missing \(found: id, zzz\)"),
        (b"text,zz\x07z\n1,a\n", r"the column 'id' is missing \(found: text, zz\?z\)"),
        (b"iid,emotion\n1,a\n", r"the column 'id' is missing; the nearest is 'iid' \(found: iid, emotion\)"),
        (b"id,text,id\n1,a,2\n", r"the column 'id' comes more than once; keep one"),
        (b"Id,text,ID\n1,a,2\n", r"the column 'id' comes more than once \(as Id, ID\); keep one"),
        (b"id,text,emotoin\n1,a,joy\n", r"unknown column 'emotoin'; rename it to 'emotion'"),
        (b"id,text\n1,a\n2,b,c\n", r"table.csv, line 3: expected 2 fields \(id, text\), got 3"),
        (b"id,text\n1\n2,b,c\n", r"^2 rows are wrong, first: .*table.csv, line 2: expected 2 fields .*, got 1"),
        (b'id,text\n1,"a\nb",c\n', r"table.csv, lines 2 to 3: expected 2 fields"),
        (b'id,text\n1,"a\n2,b\n3,c\n', r"table.csv, line 2: a quotation mark is not closed"),
        (b'id,text\n1,"' + b"a" * 200_000, r"line 2: not a table \(field larger than .*quotation mark not closed"),
        (b"id,text\n1,\x81\xff\n", r"line 2: byte 0x81 is neither UTF-8 nor cp1252"),
        (b"id,text\n1,a\n2,\0\n", r"line 3: holds a NUL byte"),
        ("id,text\n1,a\n".encode("utf-16-le"), r"line 1: holds a NUL byte"),
        (b"\xff\xfei\0d\0,", r"begins as UTF-16 and goes on otherwise"),
        (b"id;text\n1;a\n", r"its fields are separated by ';', expected ','; save it so$"),
        (b"id\ttext\n1\ta\n", r"separated by tabs, expected ','; save it so, or with the ending .tsv"),
    ],
)
def test_broken_csv(table, content, message):
    with pytest.raises(ValueError, match=message):
        read_csv(table(content), ("id", "text"), ("emotion",))


def test_a_column_that_means_something_else_is_not_suggested(table):
    with pytest.raises(ValueError, match=r"the column 'Utterance' is missing \(found: Utterance_ID, Text\)"):
        read_csv(table(b"Utterance_ID,Text\n1,a\n"), ("Utterance", "Utterance_ID"))


_CELLS = st.text(st.characters(codec="utf-8", exclude_characters="\0\r"))


@given(st.lists(st.tuples(_CELLS.filter(str.strip), _CELLS), min_size=1, max_size=5))
def test_whatever_the_csv_module_writes_is_read_back(tmp_path_factory, rows):
    buffer = io.StringIO(newline="")
    csv.writer(buffer, quoting=csv.QUOTE_ALL).writerows([("id", "text"), *rows])
    path = tmp_path_factory.getbasetemp() / "round_trip.csv"
    path.write_bytes(buffer.getvalue().encode())
    assert [(row["id"], row["text"]) for row in read_csv(path, ("id", "text")).rows] == rows


@given(st.binary(max_size=200))
def test_whatever_bytes_a_table_holds_it_is_read_or_one_line(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "any.csv"
    path.write_bytes(b"id,text\n" + content)
    for read in (read_csv, read_jsonl):
        try:
            read(path, ("id", "text"))
        except ValueError as error:
            assert str(path) in str(error) and "\n" not in str(error)


def test_jsonl(table):
    lines = [
        '{"ID": "-7", "text": "a, \\"b\\"\\nc", "sentiment": -0.5}',
        "",
        '{"ID": 12, "text": null, "other": 1e3}',
        '{"ID": "007"}',
    ]
    read = read_jsonl(table("\r\n".join(lines).encode("utf-8-sig")), ("id", "text"), ("sentiment",))
    assert [row["id"] for row in read.rows] == ["-7", "12", "007"]
    assert [row["text"] for row in read.rows] == ['a, "b"\nc', "", ""]
    assert [row["sentiment"] for row in read.rows] == ["-0.5", "", ""]
    assert (read.lines, read.renamed, read.columns) == ([1, 3, 4], {"ID": "id"}, ("id", "text", "sentiment", "other"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b" \n", r"expected one JSON object a line, but the file is empty"),
        (b'{"id": 1}\n[1]\n', r"table.csv, line 2: expected a JSON object, got list"),
        (b'{"id": 1\n', r"line 1: not a JSON object \(Expecting ',' delimiter at character 9\)"),
        (b'{"id": 1}\n{"id": {}}\n{"id": [2]}', r"^2 rows are wrong, first: .*line 2: 'id': expected text, .* dict"),
        (b'{"id": true}', r"'id': expected text, a number or null, got bool"),
        (b'{"id": NaN}', r"expected numbers that are finite, got NaN; write null"),
        (b'{"id": 1, "id": 2}', r"the key 'id' comes twice"),
        (b'{"id": "\\ud800"}', r"'id': holds a character that is no text"),
        (b'{"id": "a\\u0000"}', r"'id': holds a character that is no text"),
        (b'{"id": ' + b"[" * 100_000, r"line 1: expected a JSON object, got values nested too deeply"),
        (b'{"id": 1' + b"0" * 5000 + b"}", r"line 1: Exceeds the limit"),
        (b'{"idd": 1}', r"the column 'id' is missing; the nearest is 'idd'"),
    ],
)
def test_broken_jsonl(table, content, message):
    with pytest.raises(ValueError, match=message):
        read_jsonl(table(content), ("id",))


def test_lines_end_at_line_ends_only():
    assert split_lines("a\r\nb\x0cc\u2028d\re\n") == ["a", "b\x0cc\u2028d", "e", ""]


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


def test_an_exact_repeat_is_counted_and_another_row_of_its_id_is_refused():
    def item(text):
        return Item(new_example(id="mine/test/1", dataset="mine", split="test", text=text))

    reading = Reading("mine", "layout")
    assert reading.add(item("a"), "line 2")
    assert not reading.add(item("a"), "line 3")
    repeat = {"count": 1, "first": "line 3: mine/test/1", "splits": {"test": 1}}
    assert (len(reading.items), reading.skipped.as_dict()) == (1, {"duplicate of an earlier row": repeat})
    with pytest.raises(ValueError, match=r"line 4: mine/test/1 comes a second time with other .* \(first: line 2\)"):
        reading.add(item("b"), "line 4")


def test_tally_keeps_the_first_example():
    tally = Tally()
    tally.add("missing", "a.mp4", split="train")
    tally.add("missing", "b.mp4", 3)
    assert tally.as_dict() == {"missing": {"count": 4, "first": "a.mp4", "splits": {"train": 1, "any": 3}}}
    assert (tally.count("missing"), tally.count("missing", "train"), tally.count("corrupt")) == (4, 1, 0)


def test_natural_order():
    names = ["10", "9", "a2", "a10", "²", "1b", "1"]
    assert sorted(names, key=natural_key) == ["1", "1b", "9", "10", "a2", "a10", "²"]


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_one_line_of_another_encoding_does_not_spoil_the_others(tmp_path, end):
    path = tmp_path / "a.csv"
    lines = ["id,text", '1,"It’s', 'café"', "2,"]
    path.write_bytes(end.join(line.encode() for line in lines) + b"it\x92s" + end)
    table = read_csv(path, ("id", "text"))
    assert [clean_text(row["text"]) for row in table.rows] == ["It’s café", "it’s"]
    assert table.encoding == "utf-8, and cp1252 in 1 line"
    path.write_bytes(path.read_bytes() + "3,“so”".encode() + end + b"4,\x9d" + end)
    with pytest.raises(ValueError, match="a.csv, line 6: byte 0x9d is neither UTF-8 nor cp1252"):
        read_csv(path, ("id", "text"))
