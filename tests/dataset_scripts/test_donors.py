"""The donor rules, as properties of random corpora and one by one."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

from dataset_scripts import text_similarity
from dataset_scripts.donors import assign_labels, donated_emotions, label_without_donor
from modeling_unimse.universal_label_unimse import UniversalLabel, target_intensity
from tests.dataset_scripts.raw_labels import TASKS, corpora, make_row


def brute_force(at, rows, embeddings, may_give):
    """(id, similarity) of the donor by the definition, pair by pair in plain Python; (None, None) where none is."""

    def usable(other):
        return (rows[other]["text"] or "").strip() and any(embeddings[other])

    row = rows[at]
    if row["polarity"] == "neutral" or not usable(at):
        return None, None
    found = []
    for other, donor in enumerate(rows):
        if donor["polarity"] == row["polarity"] and usable(other) and may_give(donor):
            left, right = embeddings[at].tolist(), embeddings[other].tolist()
            product = sum(a * b for a, b in zip(left, right, strict=True))
            cosine = product / math.sqrt(sum(a * a for a in left) * sum(b * b for b in right))
            found.append((-round(cosine, 6), donor["id"]))
    return (min(found)[1], -min(found)[0]) if found else (None, None)


def same_task(row, other):
    return TASKS.get(row["dataset"]) is not None and TASKS.get(row["dataset"]) == TASKS.get(other["dataset"])


# --- properties of random corpora -------------------------------------------------------------------------------------


@given(corpora(), st.booleans())
def test_donor_is_the_brute_force_donor(corpus, leaky):
    rows, embeddings = corpus
    labels = assign_labels(rows, embeddings, leaky_donors=leaky)
    for at, (row, label) in enumerate(zip(rows, labels, strict=True)):
        missing = [name for name in ("sentiment", "emotion") if row[name] is None]
        expected = (None, None)
        if len(missing) == 1:
            expected = brute_force(
                at,
                rows,
                embeddings,
                lambda donor, row=row, field=missing[0]: (
                    donor[field] is not None and (leaky or donor["split"] == "train") and not same_task(row, donor)
                ),
            )
        assert label.donor == expected[0]
        assert label.similarity == (None if expected[0] is None else pytest.approx(expected[1], abs=1.1e-6))


@given(corpora(), st.booleans())
def test_no_leak_pure_polarity_other_task_and_untouched_gold(corpus, leaky):
    rows, embeddings = corpus
    by_id = {row["id"]: row for row in rows}
    for row, label in zip(rows, assign_labels(rows, embeddings, leaky_donors=leaky), strict=True):
        UniversalLabel(row["polarity"], label.intensity, label.emotion)  # raises where the sign is not the polarity's
        if row["sentiment"] is not None:
            assert label.intensity == target_intensity(row["sentiment"])
        if row["emotion"] is not None:
            assert label.emotion == row["emotion"]
        if label.donor is not None:
            donor = by_id[label.donor]
            assert leaky or donor["split"] == "train"
            assert donor["polarity"] == row["polarity"] != "neutral"
            assert donor is not row and not same_task(row, donor)
            if row["emotion"] is None:
                assert label.emotion == donor["emotion"] is not None
            else:
                assert donor["sentiment"] is not None and label.intensity == target_intensity(donor["sentiment"])


@given(corpora(), st.sampled_from(["meld", "iemocap"]), st.booleans())
def test_emotions_of_one_data_set_by_brute_force(corpus, dataset, leaky):
    rows, embeddings = corpus
    for at, given_one in enumerate(donated_emotions(rows, embeddings, dataset, leaky_donors=leaky)):
        row = rows[at]
        own = row["dataset"] == dataset and row["emotion"] is not None
        donor, similarity = (None, None) if own else brute_force(at, rows, embeddings, lambda donor: (
            donor["dataset"] == dataset and donor["emotion"] is not None and (leaky or donor["split"] == "train")
        ))  # fmt: skip
        assert given_one.donor == donor
        assert given_one.similarity == (None if donor is None else pytest.approx(similarity, abs=1.1e-6))
        donated = next((other["emotion"] for other in rows if other["id"] == donor), None)
        neutral = "neutral" if row["polarity"] == "neutral" else None
        assert given_one.emotion == (row["emotion"] if own else donated or neutral)
        assert given_one.source == (
            "gold" if own else "neutral" if neutral else "donor" if donor
            else "no donor" if (row["text"] or "").strip() else "no text"
        )  # fmt: skip


@given(corpora(), st.randoms(use_true_random=False))
def test_order_of_rows_and_block_size_do_not_matter(corpus, generator):
    rows, embeddings = corpus
    order = list(range(len(rows)))
    generator.shuffle(order)
    for make in (assign_labels, lambda *arguments: donated_emotions(*arguments, "meld")):
        expected = {row["id"]: label for row, label in zip(rows, make(rows, embeddings), strict=True)}
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(text_similarity, "BLOCK_BYTES", 4)
            labels = make([rows[at] for at in order], csr_matrix(embeddings[order]))
        assert {rows[at]["id"]: label for at, label in zip(order, labels, strict=True)} == expected


# --- single rules -----------------------------------------------------------------------------------------------------


def test_leaky_donors_come_from_the_test_split():
    rows = [make_row("a", sentiment=1.0), make_row("b", split="test", emotion="joy")]
    embeddings = np.ones((2, 3), dtype=np.float32)
    assert assign_labels(rows, embeddings)[0].donor is None
    assert assign_labels(rows, embeddings, leaky_donors=True)[0].donor == "b"


@pytest.mark.parametrize(
    ("seeker", "giver", "gives"),
    [
        ("mosi", "meld", True),
        ("mosi", "iemocap", True),
        ("mosi", "mosei", False),
        ("mosei", "mosi", False),
        ("mosei", "mine", True),
        ("mine", "mosi", True),
        ("mine", "mine", True),
    ],
)
def test_a_benchmark_takes_from_the_other_task(seeker, giver, gives):
    rows = [make_row("a", dataset=seeker, sentiment=1.0), make_row("b", dataset=giver, sentiment=2.0, emotion="joy")]
    label = assign_labels(rows, np.ones((2, 3), dtype=np.float32))[0]
    assert label.donor == ("b" if gives else None)


def test_custom_emotions_outside_the_union_are_given_as_they_are():
    rows = [make_row("a", sentiment=1.0), make_row("b", dataset="mine", emotion="relieved")]
    assert assign_labels(rows, np.ones((2, 3), dtype=np.float32))[0].emotion == "relieved"


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
