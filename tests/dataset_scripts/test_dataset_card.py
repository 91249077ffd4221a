"""The card of a prepared dataset: what it says, and that by its stamp a folder with other content is read anew."""

import datasets
import pytest
import yaml

from dataset_scripts.prepare import prepare_dataset
from dataset_scripts.prepared import load_prepared
from dataset_scripts.publish import stamp_card, write_split
from dataset_scripts.schema import FEATURE_COLUMNS, feature_or_none, features
from dataset_scripts.visual import FrozenConvExtractor
from tests.dataset_scripts.conftest import MANIFEST_HEADER as HEADER

EXTRACTOR = FrozenConvExtractor()


def test_the_card(raw, prepare, out, tmp_path):
    report = prepare("mosi", raw.mosi(tmp_path / "mosi"))
    _, head, body = (out / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    meta = yaml.safe_load(head)
    assert (meta["license"], meta["language"], meta["pretty_name"]) == ("other", ["en"], "CMU-MOSI")
    assert "unimse" in meta["tags"] and "text-classification" in meta["task_categories"]
    paths = {entry["split"]: entry["path"] for entry in meta["configs"][0]["data_files"]}
    assert paths == {split: f"data/default/{split}-*.parquet" for split in ("train", "validation", "test")}
    assert "| train | 2 | 1 | 2 | 2 | 2 | 1 | 0 | 1 |" in body
    assert f"fingerprint `{EXTRACTOR.fingerprint}`" in body
    assert f"fingerprint `{report['feature_sets']['default']['specs']['audio']['fingerprint']}`" in body
    assert "other numbers of CMU-MOSI rows (train 1284, validation 229, test 686)" in body
    assert "zadeh2016mosi" in body and "MMSA" in body and "## Licence" in body


def test_the_card_of_custom_data_says_nothing_of_language_or_paper(raw, prepare, out, tmp_path):
    raw.csv(tmp_path / "mine" / "manifest.csv", HEADER, [("1", "test", "a", "", "gone.mp4", "", "joy")])
    prepare("custom", tmp_path / "mine")
    _, head, body = (out / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    meta = yaml.safe_load(head)
    assert "language" not in meta and "Citation" not in body
    assert [entry["split"] for entry in meta["configs"][0]["data_files"]] == ["test"]
    assert "- kept without audio features: missing: 1" in body
    assert list(load_prepared(out)) == ["test"]


def test_frames_without_a_face_are_counted_and_said_in_the_card(raw, prepare, out, tmp_path):
    """A detector that sees a face wherever a frame's green is above a bound: in some frames of every clip."""

    class Faces(FrozenConvExtractor):
        finds_faces = True

        def __call__(self, frames):
            return super().__call__(frames[frames[:, 0, 0, 1] > 30])

    rows = [("a", "train", "so", "", "c.mp4", "1", ""), ("b", "test", "so", "", "c.mp4", "1", "")]
    raw.csv(tmp_path / "mine" / "manifest.csv", HEADER, rows)
    raw.clip(tmp_path / "mine" / "c.mp4")
    report = prepare("custom", tmp_path / "mine", extractor=Faces())
    frames = report["feature_sets"]["default"]["frames"]
    assert frames["sampled"] == 8 and 0 < frames["with_face"] < 8
    assert (
        len(feature_or_none(load_prepared(out)["test"].with_format("numpy")[0]["visual_features"])) * 2
        == frames["with_face"]
    )
    assert f"{frames['with_face']} of 8 sampled frames show a face" in (out / "README.md").read_text()


def test_names_that_yaml_would_change_are_quoted(raw, prepare, out, tmp_path):
    raw.csv(tmp_path / "mine" / "manifest.csv", HEADER, [("1", "train", "a", "", "", "1", "")])
    prepare("custom", tmp_path / "mine", name="1.0")
    meta = yaml.safe_load((out / "README.md").read_text(encoding="utf-8").split("---\n")[1])
    assert (meta["pretty_name"], meta["configs"][0]["config_name"]) == ("1.0", "default")
    assert datasets.load_dataset(str(out))["train"][0]["sentiment"] == 1.0


def test_only_a_card_of_ours_can_be_stamped(tmp_path):
    (tmp_path / "README.md").write_text("# Mine")
    write_split(tmp_path, "train", [], features({}))
    (tmp_path / "features.json").write_text('{"default": {}}')
    with pytest.raises(ValueError, match=r"README.md: expected a '  description: content <12 hex digits>'"):
        stamp_card(tmp_path)


LOADERS = pytest.mark.parametrize("load", [load_prepared, lambda folder: datasets.load_dataset(str(folder))])


@LOADERS
def test_a_folder_prepared_anew_is_not_served_from_the_cache(raw, prepare, out, tmp_path, load):
    source = raw.mosi(tmp_path / "mosi", clips=False)
    prepare("mosi", source)
    assert load(out)["train"][0]["sentiment"] == 2.6
    label = source / "label.csv"
    label.write_bytes(label.read_bytes().replace(b"2.6", b"1.6"))
    prepare("mosi", source, overwrite=True)
    assert load(out)["train"][0]["sentiment"] == 1.6


@LOADERS
def test_folders_of_one_name_are_told_apart(raw, tmp_path, load):
    for parent, score in (("a", "2.6"), ("b", "1.6")):
        source = raw.mosi(tmp_path / parent / "raw", clips=False)
        label = source / "label.csv"
        label.write_bytes(label.read_bytes().replace(b"2.6", score.encode()))
        prepare_dataset("mosi", source, tmp_path / parent / "mosi", extractor=EXTRACTOR)
    assert load(tmp_path / "a" / "mosi")["train"][0]["sentiment"] == 2.6
    assert load(tmp_path / "b" / "mosi")["train"][0]["sentiment"] == 1.6


@pytest.mark.parametrize("stamped", [False, True])
def test_files_changed_in_place_are_read_anew(raw, prepare, out, tmp_path, stamped):
    """By `load_prepared` in any case, by plain `load_dataset` once the card is stamped."""
    load = (lambda folder: datasets.load_dataset(str(folder))) if stamped else load_prepared
    prepare("mosi", raw.mosi(tmp_path / "mosi", clips=False))
    before = load(out)
    assert before["train"][0]["label_donor"] is None
    missing = dict.fromkeys(FEATURE_COLUMNS)
    rows = [{**row, **missing, "label_donor": "meld/train/x"} for row in before["train"]]
    write_split(out, "train", rows, before["train"].features)
    if stamped:
        stamp_card(out)
    assert load(out)["train"][0]["label_donor"] == "meld/train/x"
