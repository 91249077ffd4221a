"""The builders of the `datasets` library give the rows that `prepare` writes; their version follows the content."""

import hashlib

import numpy as np
import pytest

from dataset_scripts import builders
from dataset_scripts.builders import IEMOCAP, MELD, MOSEI, MOSI, Custom
from dataset_scripts.dataset_card import VERSION
from dataset_scripts.prepare import prepare_dataset
from dataset_scripts.prepared import load_prepared
from dataset_scripts.readers import Item, StoredSet

BUILDERS = {"mosi": MOSI, "mosei": MOSEI, "meld": MELD, "iemocap": IEMOCAP}
# What the loaders make of the small raw folders of these tests, features left out. When one of these changes, users'
# caches must not serve the old content: raise dataset_card.VERSION, and write version and digests here anew.
CONTENT = {
    "version": "1.0.0",
    "mosi": "64ed5ab2df28",
    "mosei": "64184cdf48fb",
    "meld": "6efc60aaedd0",
    "iemocap": "f39875b256ac",
}


def built(builder, tmp_path):
    builder.download_and_prepare()
    return builder.as_dataset()


def cells(table) -> list:
    """Rows as bytes, so that missing features (NaN) equal each other."""
    return [
        [
            (name, value.tobytes() if isinstance(value, np.ndarray | np.generic) else value)
            for name, value in row.items()
        ]
        for row in table.with_format("numpy")
    ]


def digest(tables) -> str:
    """Of every cell of text tables, in order."""
    content = {split: table.to_list() for split, table in tables.items()}
    return hashlib.sha256(repr(content).encode()).hexdigest()[:12]


@pytest.mark.parametrize("name", BUILDERS)
def test_a_builder_gives_the_rows_of_prepare(raw, frozen, tmp_path, name):
    source = getattr(raw, name)(tmp_path / name)
    prepare_dataset(name, source, tmp_path / "out", extractor=frozen)
    expected = load_prepared(tmp_path / "out")
    found = built(BUILDERS[name](source=source, visual_extractor="frozen-conv", cache_dir=tmp_path / "c"), tmp_path)
    assert list(found) == list(expected)
    assert found["test"].features == expected["test"].features
    for split, table in expected.items():
        assert cells(found[split]) == cells(table)


def test_the_version_follows_the_content(raw, tmp_path):
    found = {"version": VERSION}
    for name, builder in BUILDERS.items():
        source = getattr(raw, name)(tmp_path / name, clips=False)
        found[name] = digest(built(builder(source=source, modalities=(), cache_dir=tmp_path / "c"), tmp_path))
        assert str(builder.VERSION) == VERSION
    assert found == CONTENT


def test_changed_raw_files_are_read_anew(raw, tmp_path):
    source = raw.mosi(tmp_path / "mosi", clips=False)

    def first_score() -> float:
        return built(MOSI(source=source, modalities=(), cache_dir=tmp_path / "c"), tmp_path)["train"][0]["sentiment"]

    assert first_score() == 2.6
    label = source / "label.csv"
    label.write_bytes(label.read_bytes().replace(b"2.6", b"1.6"))
    assert first_score() == 1.6


def test_a_changed_clip_is_read_anew(raw, tmp_path):
    rows = [("a", "train", "so", "../clips/a.wav", "1")]
    manifest = raw.csv(tmp_path / "mine" / "manifest.csv", ("id", "split", "text", "audio", "sentiment"), rows)

    def frames(seconds: float) -> int:
        raw.wav(tmp_path / "clips" / "a.wav", seconds)
        tables = built(Custom(source=manifest, cache_dir=tmp_path / "c"), tmp_path)
        return len(tables["train"].with_format("numpy")[0]["audio_features"])

    assert frames(1.0) > frames(0.5)


def test_arguments_are_checked(raw, tmp_path):
    source = raw.mosi(tmp_path / "mosi", clips=False)
    with pytest.raises(ValueError, match="features: expected a list of audio, visual, got 'audio'"):
        MOSI(source=source, modalities="audio")
    with pytest.raises(ValueError, match="mosi: unknown option 'foo'"):
        MOSI(source=source, options={"foo": 1})


def test_streaming_gives_the_same_rows(raw, tmp_path):
    source = raw.meld(tmp_path / "meld", clips=False)
    builder = MELD(source=source, modalities=(), cache_dir=tmp_path / "c")
    streamed = [row["id"] for row in builder.as_streaming_dataset("train")]
    assert streamed == ["meld/train/dia0_utt0", "meld/train/dia0_utt3"]


def test_a_manifest_with_its_options(raw, tmp_path):
    rows = [("a", "train", "so glad", "happy"), ("b", "test", "oh no", "sad")]
    manifest = raw.csv(tmp_path / "manifest.csv", ("id", "split", "text", "emotion"), rows)
    options = {"name": "mine", "emotion_map": {"happy": "joy", "sad": "sadness"}}
    tables = built(Custom(source=manifest, modalities=(), options=options, cache_dir=tmp_path / "c"), tmp_path)
    assert [(row["id"], row["emotion"], row["polarity"]) for row in tables["train"]] == [
        ("mine/train/a", "joy", "positive")
    ]


def test_a_stored_feature_set_by_name(raw, tmp_path, monkeypatch):
    read = builders.read_raw

    def with_covarep(benchmark, source, **options):
        reading = read(benchmark, source, **options)
        reading.items = [Item(item.example) for item in reading.items]
        reading.stored = [StoredSet("covarep", {"audio": 74}, "x.csd", lambda name: {"audio": np.ones((3, 74))})]
        return reading

    monkeypatch.setattr(builders, "read_raw", with_covarep)
    source = raw.mosi(tmp_path / "mosi", clips=False)
    tables = built(MOSI(source=source, feature_set="covarep", cache_dir=tmp_path / "c"), tmp_path)
    assert tables["test"].with_format("numpy")[0]["audio_features"].shape == (3, 74)
    with pytest.raises(ValueError, match="mosi: expected feature sets of default, covarep, got 'facet'"):
        MOSI(source=source, feature_set="facet", cache_dir=tmp_path / "c")


def test_a_wrong_folder_is_refused_at_once(tmp_path):
    with pytest.raises(FileNotFoundError, match="meld"):
        MELD(source=tmp_path / "nothing", cache_dir=tmp_path / "c")
