"""Custom data: the manifest as csv, tsv and jsonl, its options, and what it refuses."""

import json
import re

import pytest

from dataset_scripts import custom
from dataset_scripts.readers import Span
from dataset_scripts.schema import validate_example

HEADER = ("id", "split", "text", "audio", "video", "start", "end", "sentiment", "emotion", "speaker", "dialogue_id")
ROWS = [
    ("-1", "train", "so,\nwell", "a/1.wav", "a/1.mp4", "0.5", "2", "1.5", "08", "Ann", "talk"),
    ("2", "dev", "", "", "a/2.mp4", "", "", "", "05", "", ""),
    ("3", "train", "yes", "/abs/3.flac", "", "1", "", "-0.3", "", "Bob", "talk"),
    ("4", "test", "hm", "", "", "", "", "", "Calm", "", ""),
    ("5", "test", "left out", "", "", "", "", "", "", "", ""),
]
COLUMNS = ("id", "split", "dialogue_id", "utterance_index", "speaker", "text", "sentiment", "emotion", "polarity")
GOLDEN = [
    ("mine/train/-1", "train", "talk", 0, "Ann", "so, well", 1.5, "surprise", "positive"),
    ("mine/train/3", "train", "talk", 1, "Bob", "yes", -0.3, None, "negative"),
    ("mine/validation/2", "validation", "2", 0, None, None, None, "anger", "negative"),
    ("mine/test/4", "test", "4", 0, None, "hm", None, "calm", "neutral"),
]
EMOTION_MAP = {"08": "surprise", "05": "anger"}


def rows(reading):
    return [tuple(item.example[name] for name in COLUMNS) for item in reading.items]


def write_jsonl(path, header, lines):
    objects = [{name: value or None for name, value in zip(header, line, strict=True)} for line in lines]
    for row in objects:
        if row.get("sentiment"):
            row["sentiment"] = float(row["sentiment"])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(map(json.dumps, objects)))
    return path


@pytest.fixture
def manifest(raw, tmp_path):
    def write(rows, header=HEADER, **options):
        return raw.csv(tmp_path / "mine" / "manifest.csv", header, rows, **options)

    return write


@pytest.fixture
def as_form(raw, tmp_path):
    """Writes `ROWS` as `mine/<name>.<ending>`."""

    def write(ending, name="manifest"):
        path = tmp_path / "mine" / f"{name}.{ending}"
        if ending == "jsonl":
            return write_jsonl(path, HEADER, ROWS)
        raw.csv(path, HEADER, ROWS)
        if ending == "tsv":
            cells = [[cell if "\n" not in cell else f'"{cell}"' for cell in line] for line in (HEADER, *ROWS)]
            path.write_text("".join("\t".join(line) + "\n" for line in cells))
        return path

    return write


@pytest.mark.parametrize(("ending", "line"), [("csv", 7), ("tsv", 7), ("jsonl", 5)])
def test_rows(as_form, ending, line):
    path = as_form(ending)
    reading = custom.read(path.parent, emotion_map=EMOTION_MAP)
    assert rows(reading) == GOLDEN
    for item in reading.items:
        validate_example(item.example)
    folder = path.parent
    assert [(item.audio, item.visual) for item in reading.items] == [
        (Span(folder / "a/1.wav", 0.5, 2.0), Span(folder / "a/1.mp4", 0.5, 2.0)),
        (Span(reading.items[1].audio.path, 1.0, None), None),
        (Span(folder / "a/2.mp4"), Span(folder / "a/2.mp4")),
        (None, None),
    ]
    assert str(reading.items[1].audio.path) == "/abs/3.flac"
    assert [item.example["start"] for item in reading.items] == [0.5, 1.0, None, None]
    left_out = {"count": 1, "first": f"manifest.{ending}, line {line}: mine/test/5", "splits": {"test": 1}}
    assert reading.skipped.as_dict() == {"neither sentiment nor emotion, so no polarity": left_out}
    assert (reading.rows_read, reading.dataset, reading.layout) == (5, "mine", f"manifest-{ending}: manifest.{ending}")


def test_only_id_split_and_a_label_are_needed(manifest):
    path = manifest([("a", "train", "1")], header=("id", "split", "sentiment"), encoding="utf-8-sig")
    (item,) = custom.read(path, name="other").items
    assert (item.example["id"], item.example["text"], item.audio) == ("other/train/a", None, None)


def test_other_columns_and_spellings_are_named_in_the_notes(manifest):
    path = manifest([("a", "train", "1", "x", "d")], header=("ID", "split", "Sentiment", "camera", "Dialogue ID"))
    reading = custom.read(path)
    assert reading.items[0].example["dialogue_id"] == "d"
    notes = {reason: (entry["count"], entry["first"]) for reason, entry in reading.notes.as_dict().items()}
    assert notes == {
        "column not used": (1, "camera"),
        "column by another spelling": (3, "manifest.csv: 'ID' read as 'id'"),
    }


def test_polarity_of_other_emotions_can_be_given(manifest):
    path = manifest([("a", "train", "boredom")], header=("id", "split", "emotion"))
    with pytest.raises(ValueError, match=r"line 2: the polarity of emotion 'boredom' is not known; .*emotion_polarity"):
        custom.read(path)
    (item,) = custom.read(path, emotion_polarity={"boredom": "negative"}).items
    assert (item.example["emotion"], item.example["polarity"]) == ("boredom", "negative")
    with pytest.raises(ValueError, match=r"emotion_polarity of 'boredom': expected one of negative, .*, got 'bad'"):
        custom.read(path, emotion_polarity={"boredom": "bad"})


def test_the_sentiment_decides_the_polarity(manifest):
    path = manifest([("a", "train", "joy", "-1")], header=("id", "split", "emotion", "sentiment"))
    assert custom.read(path).items[0].example["polarity"] == "negative"


@pytest.mark.parametrize(
    ("header", "row", "message"),
    [
        (("id", "sentiment"), ("a", "1"), r"manifest.csv: the column 'split' is missing"),
        (("id", "split", "emotoin"), ("a", "train", "joy"), r"unknown column 'emotoin'; rename it to 'emotion'"),
        (("id", "split"), ("", "train"), r"^manifest.csv, line 2: id: expected a name, got an empty field"),
        (("id", "split"), ("a", "all"), r"line 2: split: expected train, validation or test, got 'all'"),
        (("id", "split", "sentiment"), ("a", "test", "good"), r"line 2: sentiment: expected a number, got 'good'"),
        (("id", "split", "sentiment"), ("a", "test", "3.5"), r"sentiment: expected a number in \[-3, 3\], got 3.5"),
        (("id", "split", "sentiment"), ("a", "test", "nan"), r"sentiment: expected a number in \[-3, 3\], got nan"),
        (("id", "split", "start"), ("a", "test", "-1"), r"start: expected a number of at least 0, got -1"),
        (("id", "split", "end"), ("a", "test", "inf"), r"end: expected a number of at least 0, got inf"),
        (("id", "split", "start", "end"), ("a", "test", "2", "2"), r"end: expected more than start = 2, got 2"),
        (("id", "split", "end"), ("a", "test", "0"), r"end: expected more than start = 0, got 0"),
        (("id", "split", "emotion"), ("a", "test", "07"), r"line 2: emotion: expected a lower-case .* 'emotion_map'"),
    ],
)
def test_bad_manifests(manifest, header, row, message):
    with pytest.raises(ValueError, match=message):
        custom.read(manifest([row], header=header))


def test_all_wrong_rows_are_counted(manifest):
    lines = [("a", "train", "1"), ("", "train", "1"), ("b", "all", "1"), ("c", "test", "9"), ("a", "train", "2")]
    with pytest.raises(ValueError, match=r"^4 rows are wrong, first: manifest.csv, line 3: id: expected a name"):
        custom.read(manifest(lines, header=("id", "split", "sentiment")))


def test_wrong_lines_of_a_jsonl_manifest_are_named(tmp_path):
    path = tmp_path / "mine" / "manifest.jsonl"
    path.parent.mkdir()
    path.write_text('{"id": "a", "split": "test", "sentiment": [1]}\n{"id": "b"\n')
    with pytest.raises(
        ValueError, match=r"2 rows are wrong, first: .*manifest.jsonl, line 1: 'sentiment': expected text"
    ):
        custom.read(path.parent)
    path.write_text('{"id": "a", "split": "test", "sentiment": 4}\n')
    with pytest.raises(ValueError, match=r"manifest.jsonl, line 1: sentiment: expected a number in \[-3, 3\], got 4"):
        custom.read(path.parent)


def test_an_exact_repeat_is_skipped_and_another_row_of_its_id_refused(manifest):
    header = ("id", "split", "sentiment")
    assert len(custom.read(manifest([("a", "train", "1"), ("a", "test", "1")], header=header)).items) == 2
    reading = custom.read(manifest([("a", "train", "1"), ("a", "train", "1")], header=header))
    assert (len(reading.items), reading.skipped.count("duplicate of an earlier row", "train")) == (1, 1)
    with pytest.raises(ValueError, match=r"manifest.csv, line 3: mine/train/a comes a second time with other content"):
        custom.read(manifest([("a", "train", "1"), ("a", "train", "2")], header=header))


def test_the_name_must_be_free_and_usable(manifest):
    path = manifest(ROWS[2:3])
    with pytest.raises(ValueError, match=r"custom: the name 'MELD' is a benchmark's; choose another with .* 'name'"):
        custom.read(path, name="MELD")
    with pytest.raises(ValueError, match=r"custom: dataset: expected a name of at most 64 letters.*option 'name'"):
        custom.read(path, name="my data")


@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl"])
def test_a_single_table_is_the_manifest(as_form, ending):
    path = as_form(ending, name="LIST")
    (path.parent / "notes.txt").touch()
    (path.parent / f"._LIST.{ending}").touch()
    assert custom.read(path.parent, emotion_map=EMOTION_MAP).layout == f"manifest-{ending}: LIST.{ending}"
    assert rows(custom.read(path, emotion_map=EMOTION_MAP)) == GOLDEN


def test_which_of_several_files_is_the_manifest(as_form, tmp_path):
    folder = as_form("csv", "list").parent
    as_form("jsonl", "other")
    with pytest.raises(
        FileNotFoundError, match=r"custom: .*mine holds several tables, list.csv, other.jsonl; name the"
    ):
        custom.read(folder)
    assert custom.read(folder, format="manifest-jsonl", emotion_map=EMOTION_MAP).layout.endswith("other.jsonl")
    with pytest.raises(FileNotFoundError, match=r"expected manifest.tsv or a single .tsv file in .*, found none"):
        custom.read(folder, format="manifest-tsv")
    as_form("tsv", "manifest")
    assert custom.read(folder, emotion_map=EMOTION_MAP).layout == "manifest-tsv: manifest.tsv"
    assert custom.read(folder, format="manifest-csv", emotion_map=EMOTION_MAP).layout == "manifest-csv: list.csv"


def test_no_manifest(tmp_path):
    looked_for = re.escape(
        "expected manifest.csv or a single .csv file with the columns id and split (manifest-csv); or"
    )
    with pytest.raises(FileNotFoundError, match=rf"custom: .*mine does not exist; {looked_for}"):
        custom.read(tmp_path / "mine")
    with pytest.raises(FileNotFoundError, match=rf"custom: .* is empty; {looked_for}"):
        custom.read(tmp_path)
    (tmp_path / "a.txt").touch()
    with pytest.raises(FileNotFoundError, match=r"custom: the file a.txt is of none of the known forms"):
        custom.read(tmp_path / "a.txt")


def test_a_table_with_another_separator_says_so(as_form):
    path = as_form("tsv")
    path = path.rename(path.with_suffix(".csv"))
    with pytest.raises(ValueError, match=r"separated by tabs, expected ','; save it so, or with the ending .tsv"):
        custom.read(path)


@pytest.mark.parametrize(("name", "value"), [("id", "a\nb"), ("dialogue_id", "a\x1bb"), ("id", "a\u2028b")])
def test_names_stay_on_one_line(tmp_path, name, value):
    row = {"id": "1", "split": "train", "sentiment": 1, name: value}
    (tmp_path / "m.jsonl").write_text(json.dumps(row))
    with pytest.raises(ValueError, match=re.escape(f"line 1: {name}: expected a name on one line, got {value!r}")):
        custom.read(tmp_path / "m.jsonl")


@pytest.mark.parametrize("name", ["caf\u00e9 1", "a\u00a0b", "\u6620\u753b\u30001", "../a"])
def test_names_may_be_of_any_script_and_hold_blanks(manifest, name):
    """Ids are names, not paths: what looks like one leads nowhere."""
    (item,) = custom.read(manifest([(name, "train", "1")], header=("id", "split", "sentiment"))).items
    assert item.example["id"] == f"mine/train/{name}"


def test_an_id_in_several_splits_is_noted(manifest):
    rows = [("a", "train", "1"), ("a", "test", "1"), ("b", "test", "1")]
    notes = custom.read(manifest(rows, header=("id", "split", "sentiment"))).notes.as_dict()
    reason = "id that comes in several splits; the split is part of the row's"
    assert notes == {reason: {"count": 1, "first": "a", "splits": {"any": 1}}}
