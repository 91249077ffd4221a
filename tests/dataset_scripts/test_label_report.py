"""The files by which a person judges labels: a picture, pairs to read, numbers."""

import json

import pytest

from dataset_scripts.donors import AssignedLabel
from dataset_scripts.label_report import draw_report, pairs_table, summarize_labels, write_report
from dataset_scripts.publish import LABEL_REPORT
from tests.dataset_scripts.raw_labels import make_row


def corpus(count=60):
    """Rows of MOSI with donors of MELD, similarities -0.15 to 0.95."""
    rows, labels = [], {}
    for number in range(count):
        rows.append(make_row(f"mosi/train/{number:02}", text=f"text {number}", sentiment=2.0, dataset="mosi"))
        similarity = round(-0.15 + 1.1 * number / (count - 1), 6)
        labels[rows[-1]["id"]] = AssignedLabel(2.0, "joy" if number % 3 else "relieved", "d", similarity, "donor")
    rows.append(make_row("meld/train/0", emotion="joy"))
    labels["meld/train/0"] = AssignedLabel(1.0, "joy", None, None, "no donor")
    texts = {row["id"]: row["text"] for row in rows} | {"d": "donor's text"}
    return rows, labels, texts


def make_report(**changes):
    return {"embedder": "tf-idf", **summarize_labels(*corpus())} | changes


def test_numbers_by_data_set_and_over_all():
    report = make_report()
    mosi, meld = report["datasets"]["mosi"], report["datasets"]["meld"]
    assert mosi["emotion"] == {"joy": 40, "relieved": 20}
    assert (sum(mosi["similarity"]), sum(meld["similarity"])) == (60, 0)
    assert report["similarity"]["counts"] == mosi["similarity"]
    by_edge = dict(zip(report["similarity"]["edges"], mosi["similarity"], strict=False))
    assert [edge for edge, count in by_edge.items() if count] == [round(-0.2 + step / 10, 1) for step in range(12)]
    assert report["similarity"]["edges"][-1] == 1.0
    assert report["warnings"] == [
        "1 positive rows of meld found no donor and have intensity 1.0 without one: label mosi, mosei or custom data "
        "with sentiments together with them"
    ]


def test_twenty_pairs_are_drawn_and_do_not_depend_on_the_order():
    rows, labels, texts = corpus()
    pairs = summarize_labels(rows, labels, texts)["pairs"]
    assert len({pair["id"] for pair in pairs}) == 20
    assert [pair["id"] for pair in pairs] != sorted(pair["id"] for pair in pairs)
    assert summarize_labels(rows[::-1], labels, texts)["pairs"] == pairs
    assert pairs[0]["donor_text"] == "donor's text"


def test_pairs_as_a_table_to_read():
    pair = {"id": "mosi/train/-a|b", "text": "one | two\nthree <b>", "donor": "meld/train/7", "donor_text": "`four`"}
    pairs = [
        pair | {"polarity": "positive", "similarity": 0.1234, "taken": {"emotion": "joy"}},
        pair | {"id": "m", "polarity": "negative", "similarity": 0.5, "taken": {"intensity": -1.4}},
    ]
    lines = pairs_table(make_report(pairs=pairs)).splitlines()
    assert lines[:5:2] == ["# Pairs of row and donor", lines[2], "| similarity | polarity | row | donor | taken |"]
    assert lines[2] == "2 drawn at random, the most similar first. Embedder: tf-idf."
    row = "one \\| two three &lt;b> (`{}`) | \\`four\\` (`meld/train/7`)"
    assert lines[6] == f"| 0.500 | negative | {row.format('m')} | intensity -1.4 |"
    assert lines[7] == f"| 0.123 | positive | {row.format('mosi/train/-a')} | emotion joy |".replace("-a`", "-a\\|b`")
    assert len(lines) == 8


def test_the_same_report_gives_the_same_bytes(tmp_path):
    pytest.importorskip("matplotlib", reason="needs matplotlib")
    import matplotlib

    report = make_report(embedder=r"some_$\frac$model")  # mathematics, and wrong ones at that
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        write_report(report, tmp_path / name)
        matplotlib.rcParams["axes.facecolor"] = "red"  # a user's style
    matplotlib.rcdefaults()
    for name in LABEL_REPORT:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    assert json.loads((tmp_path / "one" / "labels.json").read_text(encoding="utf-8")) == report
    assert b"matplotlib" not in (tmp_path / "one" / "labels.png").read_bytes()


def test_the_picture_shows_what_the_report_says(tmp_path):
    """Pixels change with the similarities and with the emotions; a data set more makes it higher."""
    pytest.importorskip("matplotlib", reason="needs matplotlib")
    from matplotlib.image import imread

    def draw(report):
        draw_report(report, tmp_path / "a.png")
        return imread(tmp_path / "a.png")

    report = make_report()
    first = draw(report)
    half = first.shape[1] // 2
    for key, side in (("similarity", slice(0, half - 60)), ("emotion", slice(half, None))):
        changed = json.loads(json.dumps(report))
        if key == "similarity":
            changed["datasets"]["mosi"]["similarity"][-1] += 9
        else:
            changed["datasets"]["mosi"]["emotion"]["joy"] += 5
        second = draw(changed)
        assert (first[:, side] != second[:, side]).any(), key
    changed["datasets"]["mosi"]["emotion_iemocap"] = {"emotion": {"joy": 1}}
    third = draw(changed)
    changed["datasets"]["mosi"]["emotion_iemocap"]["emotion"]["frustrated"] = 1  # an emotion that no other label has
    assert (third[:, half:] != draw(changed)[:, half:]).any()
    only = report | {"datasets": {"mosi": report["datasets"]["mosi"]}}
    assert draw(only).shape[0] < first.shape[0]
