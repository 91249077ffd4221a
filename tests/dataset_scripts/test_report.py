"""Every difference from the published counts is explained."""

from dataset_scripts.readers import DUPLICATE, LABEL_OUTSIDE, Item, Reading, Tally
from dataset_scripts.report import make_report
from dataset_scripts.schema import new_example


def reading(rows: dict[str, int], expected: dict[str, int]) -> Reading:
    found = Reading("meld", "meld-csv", expected=expected, rows_read=sum(rows.values()))
    for split, count in rows.items():
        for number in range(count):
            text = None if number == 0 else "words"
            found.items.append(Item(new_example(id=f"meld/{split}/{number}", split=split, text=text)))
    return found


def report_of(found: Reading, clip_rows=None, sets=None) -> dict:
    splits = {split: {"rows": sum(i.example["split"] == split for i in found.items)} for split in ("train", "test")}
    return make_report(found, splits, {"audio": Tally(), "visual": Tally()}, clip_rows or {}, sets or {})


def test_skipped_rows_and_rows_that_were_never_there():
    found = reading({"train": 5, "test": 3}, {"train": 9, "test": 3})
    found.skipped.add(LABEL_OUTSIDE, "line 4", split="train")
    found.skipped.add(f"{LABEL_OUTSIDE}: code xxx", "line 5", split="train")
    found.skipped.add("in no fold", "line 6", split="train")
    found.skipped.add(DUPLICATE, "line 7", split="train")
    report = report_of(found)
    assert report["difference"] == {"train": -4, "test": 0}
    assert report["explanation"] == [
        "train: 5 rows, published 9: 1 skipped (in no fold), 3 are not in the raw files; besides, left out: "
        "1 label outside the set, 1 label outside the set: code xxx, 1 duplicate of an earlier row"
    ]
    assert report["summary"]["labels_outside_the_set"] == 2
    assert (report["summary"]["duplicates"], report["summary"]["empty_text"]) == (1, 2)


def test_more_rows_than_published_and_rows_of_no_split():
    found = reading({"train": 5, "test": 1}, {"train": 4, "test": 2})
    found.skipped.add("in no split", "video x", 3)
    assert report_of(found)["explanation"] == [
        "train: 5 rows, published 4: the raw files hold 1 labelled rows more than published",
        "test: 1 rows, published 2: 1 are not in the raw files",
        "of no known split, so that some may be among the missing: 3 rows (in no split)",
    ]


def test_names_of_files_that_are_no_text_can_be_written():
    found = reading({"train": 2}, {})
    found.layout = "csv: \udcff.csv"
    found.notes.add("column not used", "\udcfe.csv")
    report = report_of(found, sets={"covarep": {"source": "\udcff", "cells_repaired": 0, "steps_dropped": 0}})
    assert report["layout"] == "csv: ?.csv" and report["feature_sets"]["covarep"]["source"] == "?"
    assert report["notes"]["column not used"]["first"] == "?.csv"


def test_as_many_as_published_needs_no_word():
    assert report_of(reading({"train": 2, "test": 1}, {"train": 2, "test": 1}))["explanation"] == []


def test_the_summary_counts_clips_and_cells():
    rows = {"missing": 2, "cannot be decoded": 1, "crashed the decoder": 3, "wrongly cut": 1, "too long": 1}
    facts = {
        "one": {"cells_repaired": 2, "steps_dropped": 1},
        "two": {"cells_repaired": 3, "steps_dropped": 0},
    }
    summary = report_of(reading({"train": 1}, {}), rows, facts)["summary"]
    assert (summary["clips_missing"], summary["clips_corrupt"], summary["clips_too_long"]) == (2, 4, 2)
    assert (summary["cells_repaired"], summary["steps_dropped"]) == (5, 1)
