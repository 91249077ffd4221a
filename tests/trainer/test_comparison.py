"""Two evaluations compared: numbers by hand and against scipy, what is refused, what is printed and written."""

import csv
import json
import random
from functools import partial

import numpy as np
import pytest
from results_files import BOOTSTRAP, MELD, make_results, make_rows, write_results
from scipy import stats

from trainer.cli import main
from trainer.comparison import compare
from trainer.comparison_report import render_text, write_comparison
from trainer.predictions_file import write_predictions
from trainer.results_file import write_results as write_results_file
from trainer.scoring import score
from trainer.significance import holm

FEW = {"resamples": 200}


def write(folder, run, rows, protocol=None, data=None, labels=MELD):
    """One results file made from prediction rows, with their Parquet beside it; `data`: fields to replace."""
    names = dict.fromkeys(row["dataset"] for row in rows)
    found = {name: {"fingerprint": f"of {name}", "rows": 0, "split": "test"} | (data or {}) for name in names}
    for row in rows:
        found[row["dataset"]]["rows"] += 1
    content = make_results() | {"run": run, "data": found} | score(rows, {"meld": labels}, BOOTSTRAP)
    content["protocol"] = content["protocol"] | (protocol or {})
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{run}.json"
    write_predictions(path.with_suffix(".parquet"), rows)
    write_results_file(path, content, path.with_suffix(".parquet"))
    return path


def sentiment_row(index, gold, predicted, dataset="mosi"):
    label = None if predicted is None else f"{np.sign(predicted)},{predicted},joy"
    return {
        **make_rows(rows=1)[0],
        **{"id": f"{dataset}/test/{index}", "dataset": dataset, "sentiment": gold, "emotion": None},
        **{"prediction": label, "predicted_sentiment": predicted, "predicted_emotion": label and "joy"},
    }


def emotion_row(index, gold, predicted, dataset="meld"):
    label = predicted and f"neutral,0.0,{predicted}"
    return {
        **make_rows(rows=1)[0],
        **{"id": f"{dataset}/test/{index}", "dataset": dataset, "sentiment": None, "emotion": gold},
        **{"prediction": label, "predicted_sentiment": label and 0.0, "predicted_emotion": predicted},
    }


def compare_rows(folder, rows_a, rows_b, **settings):
    files = write(folder, "first", rows_a), write(folder, "second", rows_b)
    return compare(*files, **{**FEW, **settings})


# --- p-values and intervals -------------------------------------------------------------------------------------------


def test_the_whole_path_by_hand(tmp_path):
    """Two samples, of which B misses one by 1: the interval from no change to a change of 1, and too few for a p."""
    gold = [1.0, 2.0]
    rows = [[sentiment_row(at, gold[at], value) for at, value in enumerate(side)] for side in ([1.0, 2.0], [1.0, 1.0])]
    found = compare_rows(tmp_path, *rows, resamples=10_000).content["benchmarks"]["mosi"]["metrics"]
    assert (found["mae"]["a"], found["mae"]["b"], found["mae"]["difference"]) == (0.0, 0.5, 0.5)
    assert found["mae"]["interval"] == [0.0, 1.0]
    assert (found["mae"]["p"], found["mae"]["p_holm"]) == (None, None)
    assert found["mae"]["reason"] == "no p of the bootstrap for 2 samples; expected at least 20"
    assert found["acc7"]["mcnemar"] == {"only_a_right": 1, "only_b_right": 0, "p": 1.0, "p_holm": 1.0}
    assert found["corr"]["reason"] == "B: predictions are constant"
    assert (found["corr"]["difference"], found["corr"]["p"], found["corr"]["p_holm"]) == (None, None, None)


def test_interval_agrees_with_scipy(tmp_path):
    generator = np.random.default_rng(5)
    gold = generator.integers(-9, 10, 150) / 3
    sides = [gold + generator.normal(0, 0.7, 150), 0.6 * gold + generator.normal(0, 0.5, 150)]
    rows = [[sentiment_row(at, *map(float, pair)) for at, pair in enumerate(zip(gold, x, strict=True))] for x in sides]
    interval = compare_rows(tmp_path, *rows, resamples=20_000).content["benchmarks"]["mosi"]["metrics"]["mae"][
        "interval"
    ]

    def difference(gold, a, b, axis=-1):
        return np.abs(b - gold).mean(axis=axis) - np.abs(a - gold).mean(axis=axis)

    options = {"paired": True, "vectorized": True, "n_resamples": 20_000, "method": "percentile", "rng": 2}
    theirs = stats.bootstrap((gold, *sides), difference, **options)
    assert interval == pytest.approx(theirs.confidence_interval, abs=0.08 * theirs.standard_error)


def test_a_real_difference_is_found(tmp_path):
    files = [
        write_results(tmp_path, True, run=run, seed=1, skill=skill) for run, skill in (("good", 0.8), ("bad", 0.3))
    ]
    found = compare(*files, **FEW).content["benchmarks"]
    assert found["meld"]["metrics"]["weighted_f1"]["p"] == 1 / 201
    assert found["meld"]["metrics"]["weighted_f1"]["interval"][1] < 0 < found["mosi"]["metrics"]["mae"]["interval"][0]


# --- what a comparison holds ------------------------------------------------------------------------------------------


@pytest.fixture
def two(tmp_path):
    shared = {"folder": tmp_path / "results", "predictions": True, "seed": 1}
    return write_results(**shared, run="full", skill=0.8), write_results(**shared, run="cross")


def test_values_are_those_of_the_results_files(two):
    contents = [json.loads(path.read_text()) for path in two]
    found = compare(*two, **FEW).content
    for name in ("mosi", "meld"):
        metrics = found["benchmarks"][name]["metrics"]
        for side, content in zip("ab", contents, strict=True):
            expected = {key.split("/")[1]: value for key, value in content["metrics"].items() if f"{name}/" in key}
            assert {key: part[side] for key, part in metrics.items()} == expected
            assert found[side]["digest"] == content["digest"]
        assert all(part["difference"] == part["b"] - part["a"] for part in metrics.values())
    for row in found["benchmarks"]["meld"]["classes"]:
        for side, content in zip("ab", contents, strict=True):
            expected = content["per_class"]["meld"][row["class"]]
            assert (row[side], row["support"]) == (expected["f1"], expected["support"])
    right = found["benchmarks"]["meld"]["metrics"]["accuracy"]
    counts = right["mcnemar"]["only_b_right"] - right["mcnemar"]["only_a_right"]
    assert counts / 120 == pytest.approx(right["difference"])


def test_holm_spans_all_benchmarks(two):
    parts = compare(*two, **FEW).content["benchmarks"].values()
    metrics = [metric for part in parts for metric in part["metrics"].values()]
    for family, size in ((metrics, 11), ([part["mcnemar"] for part in metrics if part["mcnemar"]], 5)):
        assert len(family) == size
        assert [part["p_holm"] for part in family] == holm([part["p"] for part in family])


def test_a_file_and_itself_do_not_differ(two):
    comparison = compare(two[0], two[0], **FEW)
    for part in comparison.content["benchmarks"].values():
        for metric in [*part["metrics"].values()]:
            assert (metric["difference"], metric["p"], metric["p_holm"]) == (0, 1.0, 1.0)
            assert metric["interval"] == [0, 0]
            assert metric["mcnemar"] is None or metric["mcnemar"]["p"] == 1.0
        assert part["error_changes"] == []
    assert comparison.flipped == []


def test_samples_are_paired_by_id_whatever_their_order(tmp_path):
    rows = [make_rows(run, rows=60) for run in ("a", "b")]
    straight = compare_rows(tmp_path / "straight", *rows)
    mixed = random.Random(0).sample(rows[1], len(rows[1]))
    shuffled = compare_rows(tmp_path / "shuffled", rows[0], mixed)
    assert shuffled.content["benchmarks"] == straight.content["benchmarks"]
    assert shuffled.flipped == straight.flipped


def test_flipped_samples_and_error_changes_by_hand(tmp_path):
    a = [
        sentiment_row(0, 1.0, 1.4),
        sentiment_row(1, -2.0, 0.0),
        sentiment_row(2, 0.0, 0.2),
        sentiment_row(3, 3.0, 1.0),
    ]
    b = [
        sentiment_row(0, 1.0, 1.6),
        sentiment_row(1, -2.0, -1.8),
        sentiment_row(2, 0.0, 0.4),
        sentiment_row(3, 3.0, -1.0),
    ]
    a += [emotion_row(0, "joy", "joy"), emotion_row(1, "fear", "joy"), emotion_row(2, "anger", "joy")]
    b += [emotion_row(0, "joy", None), emotion_row(1, "fear", "fear"), emotion_row(2, "anger", "sadness")]
    comparison = compare_rows(tmp_path, a, b)
    flips = [(row["change"], row["gold_field"], row["id"], row["gold"]) for row in comparison.flipped]
    assert flips == [
        ("A right, B wrong", "sentiment", "mosi/test/0", 1.0),
        ("A wrong, B right", "sentiment", "mosi/test/1", -2.0),
        ("A right, B wrong", "emotion", "meld/test/0", "joy"),
        ("A wrong, B right", "emotion", "meld/test/1", "fear"),
    ]
    assert [comparison.flipped[2][name] for name in ("a", "a_label", "b")] == ["joy", "neutral,0.0,joy", None]
    parts = comparison.content["benchmarks"]
    assert parts["meld"]["flipped"] == {"emotion": {"only_a_right": 1, "only_b_right": 1}}
    changes = [(row["id"], round(row["error_change"], 9)) for row in parts["mosi"]["error_changes"]]
    assert changes == [("mosi/test/3", 2.0), ("mosi/test/1", -1.8), ("mosi/test/0", 0.2), ("mosi/test/2", 0.2)]


def test_outputs_that_are_no_label(tmp_path):
    """They are wrong, leave MAE and Corr without a value, and are counted."""
    a = [sentiment_row(at, gold, gold) for at, gold in enumerate((-2.0, -1.0, 0.0, 1.0, 2.0))]
    b = [dict(row) for row in a]
    b[4] = sentiment_row(4, 2.0, None)
    comparison = compare_rows(tmp_path, a, b)
    content = comparison.content
    metrics = content["benchmarks"]["mosi"]["metrics"]
    assert content["parse_failures"] == [0, 1] and content["samples"] == 5
    assert (metrics["mae"]["difference"], metrics["mae"]["p"]) == (None, None)
    assert metrics["mae"]["reason"] == "B: 1 parse failures and no failure_penalty"
    assert metrics["acc2_has0"]["difference"] == pytest.approx(-0.2)
    classes = {(row["class"], row["metric"]): row for row in content["benchmarks"]["mosi"]["classes"]}
    assert classes["positive", "mae"]["reason"] == "an output that is no label"
    assert classes["negative", "mae"]["b"] == 0.0
    text = write_comparison(comparison, tmp_path / "out")[0].read_text(encoding="utf-8")
    assert "| `mosi/test/4` | 2 | 2 (1.0,2.0,joy) | no label |" in text
    assert "- MAE: B: 1 parse failures and no failure_penalty" in text
    assert "NaN" not in (tmp_path / "out" / "comparison.json").read_text()


def test_a_value_that_some_resamples_lack_has_no_interval(tmp_path):
    rows = [emotion_row(at, "joy" if at else "fear", "joy") for at in range(6)]
    (fear,) = [
        row
        for row in compare_rows(tmp_path, rows, rows).content["benchmarks"]["meld"]["classes"]
        if row["class"] == "fear"
    ]
    assert (fear["a"], fear["difference"], fear["support"], fear["interval"]) == (0.0, 0.0, 1, None)
    assert fear["reason"].startswith("undefined in ") and fear["reason"].endswith(" of 200 resamples")


def test_emotions_of_all_benchmarks_together(tmp_path):
    """Over two data sets with emotions one more line; over one it would be that one's accuracy again."""
    sides = []
    for run in "ab":
        rows = make_rows(run, rows=40)
        sides.append(rows + [row | {"id": f"own/{row['id']}", "dataset": "own"} for row in rows if row["emotion"]])
    found = compare_rows(tmp_path / "two", *sides).content["benchmarks"]
    assert list(found) == ["overall", "mosi", "meld", "own"] and list(found["overall"]["metrics"]) == [
        "emotion_accuracy"
    ]
    overall, meld = found["overall"]["metrics"]["emotion_accuracy"], found["meld"]["metrics"]["accuracy"]
    assert overall["difference"] == pytest.approx(meld["difference"])
    assert overall["mcnemar"]["only_a_right"] == 2 * meld["mcnemar"]["only_a_right"]
    assert overall["interval"] != meld["interval"]
    without_mosi = [row for row in sides[1] if row["dataset"] != "mosi"]
    assert "overall" not in compare_rows(tmp_path / "other", sides[0], without_mosi).content["benchmarks"]
    assert "overall" not in compare_rows(tmp_path / "one", *(side[:80] for side in sides)).content["benchmarks"]


def test_a_data_set_with_both_kinds_of_gold(tmp_path):
    rows = [emotion_row(at, MELD[at % 3], MELD[at % 2], "own") | {"sentiment": at - 2.0} for at in range(5)]
    part = compare_rows(tmp_path, rows, rows).content["benchmarks"]["own"]
    assert {"mae", "accuracy"} <= set(part["metrics"]) and set(part["flipped"]) == {"sentiment", "emotion"}


# --- flagged and refused ----------------------------------------------------------------------------------------------


def test_other_protocols_are_flagged(tmp_path, capsys):
    rows = make_rows(rows=30)
    a = write(tmp_path, "full", rows)
    b = write(tmp_path, "text", rows, {"modalities": ["text"], "split": "validation"}, {"split": "validation"})
    assert main(["compare", str(a), str(b), "--resamples", "20"]) == 0
    printed = capsys.readouterr().out
    assert (
        "Warning: the protocols differ in modalities (A text+audio+visual, B text), split (A test, B validation); the "
        "weights are the same, so the differences are the protocol's.\n"
    ) in printed
    assert "mosi: 30 samples of test / validation, data of mosi" in printed
    content = json.loads(b.read_text()) | {"checkpoint": {"weights": "other", "repo": None, "revision": None}}
    write_results_file(b, content, b.with_suffix(".parquet"))
    assert main(["compare", str(a), str(b), "--resamples", "20"]) == 0
    assert "; the differences are those of model and protocol together.\n" in capsys.readouterr().out


def test_a_benchmark_that_only_one_has_is_flagged(tmp_path):
    rows = make_rows(rows=30)
    a, b = write(tmp_path, "both", rows), write(tmp_path, "one", [row for row in rows if row["dataset"] == "meld"])
    comparison = compare(b, a, **FEW)
    content = comparison.content
    assert (content["only_a"], content["only_b"], list(content["benchmarks"])) == ([], ["mosi"], ["meld"])
    report = write_comparison(comparison, tmp_path / "out")[0].read_text(encoding="utf-8")
    assert "**Warning:** mosi only in B: not compared, and neither are the metrics over all benchmarks." in report


def test_other_prepared_files_of_the_same_samples_are_flagged(tmp_path):
    rows = make_rows(rows=30)
    first, second = write(tmp_path, "first", rows), write(tmp_path, "second", rows, data={"fingerprint": "other"})
    comparison = compare(first, second, **FEW)
    assert set(comparison.content["data_differences"]) == {"mosi", "meld"}
    assert "Warning: the prepared files of mosi differ (A " in render_text(comparison)


def test_one_sample_proves_nothing(tmp_path):
    rows = [sentiment_row(0, 1.0, 1.0)], [sentiment_row(0, 1.0, -2.0)]
    found = compare_rows(tmp_path, *rows).content["benchmarks"]["mosi"]["metrics"]["mae"]
    assert (found["difference"], found["interval"], found["p"]) == (3.0, None, None)
    assert found["reason"] == "fewer than two samples"


def test_what_is_shown_of_a_posterior_is_what_was_scored(tmp_path):
    """The label that is written may be another than the emotion that is most probable over all labels."""
    a = [emotion_row(at, "joy", "joy") for at in range(3)]
    b = [dict(row) for row in a]
    b[1] |= {"prediction": "neutral,0.0,joy", "predicted_emotion": "anger"}
    comparison = compare_rows(tmp_path, a, b)
    (flipped,) = comparison.flipped
    assert (flipped["a"], flipped["b"], flipped["b_label"]) == ("joy", "anger", "neutral,0.0,joy")


def remove_predictions(folder, rows):
    path = write(folder, "second", rows)
    path.with_suffix(".parquet").unlink()
    return path


def edit_number(folder, rows):
    path = write(folder, "second", rows)
    content = json.loads(path.read_text())
    content["metrics"]["mosi/mae"] += 0.001
    write_results_file(path, content, path.with_suffix(".parquet"))  # with a digest that fits
    return path


def change_row(folder, rows, at, **fields):
    changed = [dict(row) for row in rows]
    changed[at] |= fields
    return write(folder, "second", changed)


REFUSED = [
    (remove_predictions, "second.json: expected its predictions beside it, .* there is no second.parquet"),
    (edit_number, "second.json: metrics.mosi/mae: expected .* as the predictions give"),
    (
        partial(change_row, at=3, id="meld/test/x"),
        "second.json: meld: expected the samples of .*'meld/test/3' is missing",
    ),
    (
        partial(change_row, at=0, emotion="fear"),
        "second.json: meld: 'meld/test/0': expected the gold emotion 'sadness' as in .*first.json, got 'fear'",
    ),
    (
        partial(change_row, at=31, sentiment=0.25),
        "second.json: mosi: 'mosi/test/1': expected the gold sentiment .*, got 0.25",
    ),
    (partial(change_row, at=4, id="meld/test/3"), "second.json: meld: expected each sample once, 'meld/test/3' comes"),
    (
        partial(write, run="second", labels=MELD[::-1]),
        "second.json: confusion.meld.labels: expected .*'neutral', 'joy'",
    ),
]


@pytest.mark.parametrize(("make", "message"), REFUSED)
def test_what_cannot_be_compared_is_refused_in_one_line(tmp_path, make, message, capsys):
    rows = make_rows(rows=30)
    first, second = write(tmp_path, "first", rows), make(tmp_path, rows=rows)
    with pytest.raises(ValueError, match=message) as error:
        compare(first, second, **FEW)
    assert "\n" not in str(error.value)
    assert main(["compare", str(first), str(second), "--out", str(tmp_path / "out")]) == 1
    assert capsys.readouterr().err.startswith("unimse compare: ") and not (tmp_path / "out").exists()


def test_a_sample_that_only_b_has_is_named(tmp_path):
    rows = make_rows(rows=30)
    first, second = write(tmp_path, "first", rows[1:]), write(tmp_path, "second", rows)
    with pytest.raises(
        ValueError, match="first.json: meld: expected the samples of .*second.json, 'meld/test/0' is miss"
    ):
        compare(first, second, **FEW)


def test_no_benchmark_in_common_is_refused(tmp_path):
    rows = make_rows(rows=10)
    a, b = (write(tmp_path, name, [row for row in rows if row["dataset"] == name]) for name in ("mosi", "meld"))
    with pytest.raises(ValueError, match=r"meld.json: expected a benchmark of .*mosi.json \(mosi\), got meld"):
        compare(a, b)


@pytest.mark.parametrize(
    ("option", "message"),
    [("--resamples=0", "resamples: expected a whole number >= 1"), ("--seed=-1", "seed: expected")],
)
def test_wrong_settings_are_refused(two, option, message, capsys):
    assert main(["compare", *map(str, two), option]) == 1
    assert message in capsys.readouterr().err


# --- what is printed and written --------------------------------------------------------------------------------------


def test_files_of_a_user_are_not_taken_for_a_comparison(two, tmp_path, capsys):
    out = tmp_path / "out"
    out.mkdir()
    (out / "flipped.csv").write_text("a user's")
    assert main(["compare", *map(str, two), "--out", str(out), "--resamples", "10"]) == 1
    assert "out/flipped.csv exists and was not written by this command" in capsys.readouterr().err
    assert [path.name for path in out.iterdir()] == ["flipped.csv"]


def test_the_command_prints_and_writes(two, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["compare", *map(str, two), "--out", str(out), "--resamples", "500", "--seed", "3"]) == 0
    printed = capsys.readouterr().out
    assert printed.isascii()
    lines = printed.splitlines()
    assert lines[0].startswith("A: full-seed1 (full-seed1.json; seed 1, weights 0123456789ab, digest ")
    assert "mosi: 120 samples of test, data aa11" in lines
    header = lines[lines.index("meld: 120 samples of test, data bb22") + 1]
    accuracy = lines[lines.index("meld: 120 samples of test, data bb22") + 2]
    assert header.split() == (
        "metric A B B - A 95% interval p p Holm better only A right only B right McNemar p p Holm".split()
    )
    assert accuracy.split()[:4] == ["Accuracy", "80.83", "75.83", "-5.00"] and len(accuracy) <= len(header) < 130
    assert "flipped (emotion): 22 right in A only, 16 in B only" in lines
    assert "11 bootstrap and 5 McNemar tests were made; p Holm is adjusted for those of its kind." in lines
    assert lines[-3:] == [str(out / name) for name in ("comparison.md", "comparison.json", "flipped.csv")]
    content = json.loads((out / "comparison.json").read_text())
    assert content["schema_version"] == 1
    assert content["settings"] == {"resamples": 500, "seed": 3, "confidence_level": 0.95}
    with (out / "flipped.csv").open(newline="") as file:
        flipped = list(csv.DictReader(file))
    counts = [part["flipped"] for part in content["benchmarks"].values()]
    assert len(flipped) == sum(sum(kind.values()) for part in counts for kind in part.values()) == 94
    report = (out / "comparison.md").read_text(encoding="utf-8")
    table = report.split("A right, B wrong (the first 20 of 35, all in flipped.csv):\n\n")[1].split("\n\n")[0]
    assert len(table.splitlines()) == 2 + 20


def test_the_verdict_names_the_better_side(tmp_path, capsys):
    files = [
        write_results(tmp_path, True, run=run, seed=1, skill=skill) for run, skill in (("bad", 0.3), ("good", 0.9))
    ]
    assert main(["compare", *map(str, files), "--resamples", "2000"]) == 0
    printed = capsys.readouterr().out
    assert "Bootstrap p Holm is below 0.05 (*) for 11 of 11 differences." in printed
    assert "\nmeld: B is better in Accuracy, Weighted F1, Macro F1.\n" in printed
    assert "\nmosi: B is better in MAE, " in printed  # lower MAE is better
    assert main(["compare", str(files[0]), str(files[0]), "--resamples", "50"]) == 0
    printed = capsys.readouterr().out
    assert "Bootstrap p Holm is below 0.05 (*) for none of 11 differences." in printed
    assert "[0.00, 0.00]" in printed and "+0.0" not in printed and "-0.0" not in printed


def test_made_again_it_is_byte_equal(two, tmp_path):
    first, second = (write_comparison(compare(*two, **FEW), tmp_path / name) for name in ("first", "second"))
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
    other = write_comparison(compare(*two, **FEW, seed=1), tmp_path / "other")
    assert other[1].read_bytes() != first[1].read_bytes()


def test_run_folders_stand_for_their_results(two, tmp_path):
    folders = []
    for path in two:
        content = json.loads(path.read_text())
        folders.append(tmp_path / "runs" / content["run"])
        folders[-1].mkdir(parents=True)
        path.with_suffix(".parquet").rename(folders[-1] / "predictions.parquet")
        write_results_file(folders[-1] / "results.json", content, folders[-1] / "predictions.parquet")
    content = compare(*folders, **FEW).content
    assert [content[side]["file"] for side in "ab"] == ["full-seed1/results.json", "cross-seed1/results.json"]
    with pytest.raises(FileNotFoundError, match="results.json: expected a results file"):
        compare(folders[0], tmp_path, **FEW)
