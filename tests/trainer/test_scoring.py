"""Prediction rows -> metrics: gold fields only, nothing guessed, and the same numbers again from the Parquet."""

import json
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import evaluate
import pyarrow.parquet
import pytest
from results_files import BOOTSTRAP, MELD, make_rows, write_results

from trainer import scoring
from trainer.predictions_file import check_predictions, read_predictions, write_predictions
from trainer.results_file import read_results, seal
from trainer.results_file import write_results as write_results_file
from trainer.scoring import score


def row(dataset, sentiment, emotion, prediction):
    parsed = prediction is not None
    return {
        **{"dataset": dataset, "sentiment": sentiment, "emotion": emotion, "prediction": prediction},
        "predicted_sentiment": 1.0 if parsed else None,
        "predicted_emotion": "joy" if parsed else None,
    }


def test_only_gold_fields_are_scored():
    rows = [
        row("mosi", 2.0, None, "positive,1.0,joy"),
        row("mosi", -1.0, None, None),
        row("meld", None, "joy", "positive,1.0,joy"),
        row("meld", None, "neutral", None),
    ]
    found = score(rows, {})
    assert found["metrics"]["emotion_accuracy"] == found["metrics"]["meld/accuracy"] == 0.5
    assert found["metrics"]["parse_failures"] == 2
    assert found["metrics"]["mosi/mae"] is None and "mosi/mae" in found["reasons"]
    assert found["metrics"]["mosi/acc2_has0"] == 0.5  # an output that is no label is wrong, not 0.0
    assert "mosi/accuracy" not in found["metrics"] and "meld/mae" not in found["metrics"]
    assert found["intervals"] == {} and found["bootstrap"] is None


def test_intervals_stand_under_the_names_of_their_metrics():
    rows = make_rows()
    found = score(rows, {"meld": MELD}, BOOTSTRAP)
    assert set(found["intervals"]) == set(found["metrics"]) - {"parse_failures"}
    for name, (low, high) in found["intervals"].items():
        assert low <= found["metrics"][name] <= high, name
    rows = [one for one in rows if one["dataset"] == "meld"] + [
        {**one, "predicted_sentiment": 1.0} for one in rows[-3:]
    ]
    found = score(rows, {"meld": MELD}, BOOTSTRAP)
    assert found["intervals"]["mosi/corr"] is None and "intervals/mosi/corr" in found["reasons"]


def test_every_number_is_made_again_from_the_predictions(tmp_path):
    """Exactly: floats go through JSON and Parquet unchanged."""
    results = read_results(write_results(tmp_path, predictions=True))
    made = score(read_predictions(results), {"meld": MELD}, BOOTSTRAP)
    assert json.loads(json.dumps(made)) == {name: results.content[name] for name in made}
    assert check_predictions(results) == "recomputed"
    assert check_predictions(read_results(write_results(tmp_path / "alone"))) == "no predictions"


def test_probabilities_come_back_as_they_were(tmp_path):
    first, *rest = make_rows(rows=2)
    shares = {"emotion_probabilities": {"joy": 0.25, "anger": 0.75}, "polarity_probabilities": {"positive": 1.0}}
    path = write_results(tmp_path, rows=2)
    rows = [first | shares | {"prediction": None, "predicted_emotion": None}, *rest]
    write_predictions(tmp_path / "rows.parquet", rows)
    content = json.loads(path.read_text())
    write_results_file(path, content, tmp_path / "rows.parquet")
    assert read_predictions(read_results(path)) == rows


@pytest.mark.parametrize(
    ("field", "key", "value", "message"),
    [
        ("metrics", "mosi/mae", 0.5, r"metrics.mosi/mae: expected 0\.\d+ as the predictions give, got 0.5"),
        ("intervals", "mosi/mae", [0.1, 0.2], "intervals.mosi/mae: expected"),
        (
            *("data", "meld", {"fingerprint": "bb22", "rows": 119, "split": "test"}),
            "full-seed1.parquet: expected 239 rows, as data of the results says, got 240",
        ),
    ],
)
def test_an_edited_number_is_refused_even_with_a_new_digest(tmp_path, field, key, value, message):
    path = write_results(tmp_path, predictions=True)
    content = json.loads(path.read_text())
    content[field][key] = value
    path.write_text(json.dumps(seal(content)))
    with pytest.raises(ValueError, match=message):
        check_predictions(read_results(path))


def test_rows_are_counted_for_each_benchmark_too(tmp_path):
    path = write_results(tmp_path, predictions=True)
    content = json.loads(path.read_text())
    for name, rows in (("meld", 119), ("mosi", 121)):
        content["data"][name]["rows"] = rows
    path.write_text(json.dumps(seal(content)))
    with pytest.raises(ValueError, match=r"data\.mosi\.rows: expected 120 as in the predictions, got 121"):
        check_predictions(read_results(path))


def test_rows_are_counted_before_they_are_read(tmp_path, monkeypatch):
    path = write_results(tmp_path, predictions=True)
    content = json.loads(path.read_text())
    content["data"]["meld"]["rows"] = 1
    path.write_text(json.dumps(seal(content)))
    monkeypatch.setattr(pyarrow.parquet.ParquetFile, "read", lambda *_, **__: pytest.fail("read"))
    with pytest.raises(ValueError, match="expected 121 rows"):
        read_predictions(read_results(path))


def test_what_is_no_parquet_file_of_predictions_is_refused(tmp_path):
    path = write_results(tmp_path)
    (tmp_path / "rows.parquet").write_bytes(b"PAR1 of nothing")
    write_results_file(path, json.loads(path.read_text()), tmp_path / "rows.parquet")
    with pytest.raises(ValueError, match=r"rows\.parquet: expected Parquet with id \(string\), .* cannot be read"):
        read_predictions(read_results(path))


def test_predictions_of_another_run_are_refused(tmp_path):
    path, other = (write_results(tmp_path, predictions=True, run=run) for run in ("full", "cross"))
    other.with_suffix(".parquet").replace(path.with_suffix(".parquet"))
    with pytest.raises(ValueError, match="full-seed1.parquet: expected the predictions written with full-seed1.json"):
        check_predictions(read_results(path))


def test_one_sample_gives_a_file_that_is_read(tmp_path):
    """Its intervals are null, each with its reason, those over all datasets included."""
    content = json.loads(write_results(tmp_path).read_text())
    rows = make_rows(rows=1)
    for part in content["data"].values():
        part["rows"] = 1
    content |= score(rows, {"meld": MELD}, BOOTSTRAP)
    assert content["intervals"]["emotion_accuracy"] is None
    write_predictions(tmp_path / "one.parquet", rows)
    write_results_file(tmp_path / "one.json", content, tmp_path / "one.parquet")
    assert check_predictions(read_results(tmp_path / "one.json")) == "recomputed"


def test_what_could_not_be_read_is_not_written(tmp_path):
    content = json.loads(write_results(tmp_path).read_text()) | {"seed": "1"}
    with pytest.raises(ValueError, match="seed: expected an integer"):
        write_results_file(tmp_path / "other.json", content)
    assert not (tmp_path / "other.json").exists()


def test_several_threads_score_at_once():
    """As a server does for its readers."""
    rows = make_rows()
    expected = score(rows, {"meld": MELD}, BOOTSTRAP)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: score(rows, {"meld": MELD}, BOOTSTRAP), range(12)))
    assert all(one == expected for one in found)


def test_a_refused_score_leaves_nothing_behind(tmp_path, monkeypatch):
    """No file of the library's cache, on whose lock other processes would wait, and no rows for the next to count."""
    monkeypatch.setattr(evaluate.config, "HF_METRICS_CACHE", tmp_path)
    monkeypatch.setattr(scoring, "_metric", cache(scoring._metric.__wrapped__))
    rows = make_rows()
    expected = score(rows, {"meld": MELD})
    with pytest.raises(ValueError, match=r"references\[\d+\]: expected one of joy, anger"):
        score(rows, {"meld": ["joy", "anger"]})
    assert score(rows, {"meld": MELD}) == expected
    assert not list(tmp_path.rglob("*.arrow*"))
