"""Custom data: the manifest, its options, and what it refuses."""

import pytest

from dataset_scripts import custom
from dataset_scripts.schema import validate_example

HEADER = ("id", "split", "text", "audio", "video", "sentiment", "emotion", "speaker", "dialogue_id")
ROWS = [
    ("-1", "train", "so,\nwell", "a/1.wav", "a/1.mp4", "1.5", "08", "Ann", "talk"),
    ("2", "dev", "", "", "a/2.mp4", "", "05", "", ""),
    ("3", "train", "yes", "a/3.flac", "", "-0.3", "", "Bob", "talk"),
    ("4", "test", "hm", "", "", "", "Calm", "", ""),
    ("5", "test", "left out", "", "", "", "", "", ""),
]
GOLDEN = [
    # id, split, dialogue, index, speaker, text, sentiment, emotion, polarity
    ("mine/train/-1", "train", "talk", 0, "Ann", "so, well", 1.5, "surprise", "positive"),
    ("mine/train/3", "train", "talk", 1, "Bob", "yes", -0.3, None, "negative"),
    ("mine/validation/2", "validation", "2", 0, None, None, None, "anger", "negative"),
    ("mine/test/4", "test", "4", 0, None, "hm", None, "calm", "neutral"),
]
EMOTION_MAP = {"08": "surprise", "05": "anger"}


@pytest.fixture
def manifest(raw, tmp_path):
    def write(rows, header=HEADER, **options):
        return raw.csv(tmp_path / "mine" / "manifest.csv", header, rows, **options)

    return write


def test_rows(manifest):
    path = manifest(ROWS)
    reading = custom.read(path.parent, emotion_map=EMOTION_MAP)
    columns = ("id", "split", "dialogue_id", "utterance_index", "speaker", "text", "sentiment", "emotion", "polarity")
    assert [tuple(item.example[name] for name in columns) for item in reading.items] == GOLDEN
    for item in reading.items:
        validate_example(item.example)
    media = [(item.audio and item.audio.path.name, item.visual and item.visual.path.name) for item in reading.items]
    assert media == [("1.wav", "1.mp4"), ("3.flac", None), ("2.mp4", "2.mp4"), (None, None)]
    assert reading.items[0].audio.path == path.parent / "a" / "1.wav"
    reason = "neither sentiment nor emotion, so no polarity"
    assert reading.skipped.as_dict() == {reason: {"count": 1, "first": "manifest.csv, line 7: mine/test/5"}}
    assert (reading.rows_read, reading.dataset, reading.layout) == (5, "mine", "manifest manifest.csv")


def test_only_id_split_and_a_label_are_needed(manifest):
    path = manifest([("a", "train", "1")], header=("id", "split", "sentiment"), encoding="utf-8-sig")
    (item,) = custom.read(path, name="other").items
    assert (item.example["id"], item.example["text"], item.audio) == ("other/train/a", None, None)


def test_other_columns_are_named_in_the_notes(manifest):
    path = manifest([("a", "train", "1", "x")], header=("id", "split", "sentiment", "camera"))
    assert custom.read(path).notes.as_dict() == {"column not used": {"count": 1, "first": "camera"}}


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
        (("id", "split"), ("", "train"), r"manifest.csv, line 2: id: expected a name, got an empty field"),
        (("id", "split"), ("a", "all"), r"line 2: split: expected train, validation or test, got 'all'"),
        (("id", "split", "sentiment"), ("a", "test", "good"), r"line 2: sentiment: expected a number, got 'good'"),
        (("id", "split", "emotion"), ("a", "test", "07"), r"line 2: emotion: expected a lower-case .* 'emotion_map'"),
    ],
)
def test_bad_manifests(manifest, header, row, message):
    with pytest.raises(ValueError, match=message):
        custom.read(manifest([row], header=header))


def test_an_id_listed_twice_is_refused_within_a_split_only(manifest):
    header = ("id", "split", "sentiment")
    assert len(custom.read(manifest([("a", "train", "1"), ("a", "test", "1")], header=header)).items) == 2
    with pytest.raises(ValueError, match=r"manifest.csv, line 3: id mine/train/a comes a second time"):
        custom.read(manifest([("a", "train", "1"), ("a", "train", "")], header=header))


def test_the_name_must_be_free_and_usable(manifest):
    path = manifest(ROWS[2:3])
    with pytest.raises(ValueError, match=r"custom: the name 'MELD' is a benchmark's; choose another with .* 'name'"):
        custom.read(path, name="MELD")
    with pytest.raises(ValueError, match=r"custom: dataset: expected a name of letters.*option 'name'"):
        custom.read(path, name="my data")


def test_which_file_is_the_manifest(raw, tmp_path):
    folder = tmp_path / "mine"
    with pytest.raises(FileNotFoundError, match=r"custom: .*mine is not a folder; expected a folder with manifest.csv"):
        custom.read(folder)
    header, row = ("id", "split", "sentiment"), ("a", "train", "1")
    raw.csv(folder / "list.csv", header, [row])
    assert custom.read(folder).layout == "manifest list.csv"
    raw.csv(folder / "other.csv", header, [row])
    with pytest.raises(FileNotFoundError, match=r"custom: expected manifest.csv .* found list.csv, other.csv"):
        custom.read(folder)
