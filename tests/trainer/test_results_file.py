"""Results files: each wrong field is refused in one line that names file and field."""

import json

import pytest
from results_files import make_results, write_results

from trainer.results_file import read_all_results, read_results, seal

_REMOVE = object()


def write(folder, content, name="run.json"):
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(seal(content)), encoding="utf-8")
    return path


def edited(field, value):
    """A correct file with one dotted field replaced or removed."""
    content = make_results()
    *parents, last = field.split("|")
    target = content
    for parent in parents:
        target = target[parent]
    if value is _REMOVE:
        del target[last]
    else:
        target[last] = value
    return content


def test_a_correct_file_is_read(tmp_path):
    results = read_results(write_results(tmp_path, run="full", seed=3))
    assert (results.run, results.group, results.seed) == ("full-seed3", "full", 3)
    assert results.benchmarks == ["overall", "mosi", "meld"]
    assert set(results.scores("meld")) == {"accuracy", "weighted_f1", "macro_f1"}
    assert set(results.scores("overall")) == {"emotion_accuracy", "parse_failures"}
    assert results.data("overall") == {"fingerprint": "bb22+aa11", "rows": 240, "split": "test"}


@pytest.mark.parametrize(
    ("run", "seed", "group"),
    [
        ("full-seed1", 1, "full"),
        ("full_s1", 1, "full"),
        ("full/seed-12", 12, "full"),
        ("full", 1, "full"),
        ("full-seed1", 2, "full-seed1"),  # not this run's seed: part of the name
        ("wav2vec2", 2, "wav2vec2"),
        ("seed1", 1, "seed1"),
    ],
)
def test_group_is_the_name_without_the_seed(tmp_path, run, seed, group):
    content = make_results(seed=1) | {"run": run, "seed": seed}
    assert read_results(write(tmp_path, content)).group == group


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("model|fusion_type", 5, "model.fusion_type: expected a non-empty string or null, got 5"),
        ("model|layers", [1], r"model.layers: expected a string, a finite number, true, false or null, got \[1\]"),
        ("model|layers", 10**400, "model.layers: expected a string, a finite number, true, false or null, got 1000"),
        ("checkpoint|weights", {}, "checkpoint.weights: expected a string, a finite number, .*, got {}"),
        ("versions|torch", [], r"versions.torch: expected a string, a finite number, .*, got \[\]"),
        ("seconds|train", 1e300, "seconds.train: expected a string, a finite number, .*, got 1e"),
        ("seed", 2**64, r"seed: expected an integer in \[0, 9007199254740992\], got 18446744073709551616"),
        ("data|mosi|rows", 10**400, r"data.mosi.rows: expected an integer in \[1, 9007199254740992\], got 1000"),
        ("metrics|parse_failures", 10**400, "metrics.parse_failures: expected a finite number or null, got 1000"),
        ("metrics|mosi/mae", 1e300, "metrics.mosi/mae: expected a finite number or null, got 1e"),
        ("metrics|mosi/x/mae", 0.5, 'metrics: expected `benchmark/metric` or `metric`, .*, got "mosi/x/mae"'),
        ("metrics|mosi/", 0.5, 'metrics: expected `benchmark/metric` or `metric`, .*, got "mosi/"'),
        ("metrics|overall/mae", 0.5, r"metrics.overall/mae: expected a benchmark of data \(mosi, meld\)"),
        ("metrics|a\nb/mae", 0.5, r"metrics.a b/mae: expected a benchmark of data \(mosi, meld\)"),
        ("reasons|mosi/mae", 5, "reasons.mosi/mae: expected a non-empty string, got 5"),
        ("data|my data", {}, 'data: expected names of at most 64 letters, digits, `_`, `-` and `.`, .*, got "my data"'),
        ("data|..", {}, 'data: expected names of at most 64 letters, .*, got "[.][.]"'),
        ("data|" + "m" * 65, {}, "data: expected names of at most 64 letters, .*, got "),
        ("data|Leaderboard", {}, 'data: expected names of .*, other than overall, leaderboard, got "Leaderboard"'),
        ("protocol|modalities", ["audio", "text"], "protocol.modalities: expected a list of text, audio, visual, in"),
        ("protocol|modalities", ["text", "text"], "protocol.modalities: expected .* each at most once"),
        ("protocol|modalities", [], "protocol.modalities: expected a list of text, audio, visual, in"),
        ("bootstrap|resamples", 100_001, r"bootstrap.resamples: expected an integer in \[1, 100000\], got 100001"),
        ("predictions", {"file": ".", "sha256": "0"}, "predictions.file: expected a file name without a folder"),
        ("predictions", {"file": "..", "sha256": "0"}, "predictions.file: expected a file name without a folder"),
        ("states", {"file": "a\0b", "sha256": "0"}, "states.file: expected a file name without a folder"),
        (
            "states",
            {"file": "x" * 300, "sha256": "0"},
            "states.file: expected a file name without a folder, of at most",
        ),
        ("confusion|meld|other", [2**60] * 7, "confusion.meld.other: expected 7 counts"),
        ("schema_version", 1, "schema_version: expected 2; evaluate the model again, got 1"),
        ("schema_version", _REMOVE, "schema_version: expected 2"),
        ("run", "", 'run: expected a non-empty string, got ""'),
        ("seed", _REMOVE, "seed: expected this field; it is missing"),
        ("seed", "1", r'seed: expected an integer in \[0, 9007199254740992\], got "1"'),
        ("seed", True, r"seed: expected an integer in \[0, 9007199254740992\], got true"),
        ("commit", 7, "commit: expected a commit id or null, got 7"),
        ("created", "yesterday", "created: expected an ISO 8601 date and time, got 'yesterday'"),
        ("model|parameters", 0, r"model.parameters: expected an integer in \[1, 9007199254740992\], got 0"),
        ("model", [], r"model: expected an object, got \[\]"),
        ("protocol|context_before", _REMOVE, "protocol.context_before: expected this field"),
        ("protocol|modalities", ["text", "smell"], "protocol.modalities: expected a list of text, audio, visual, in"),
        ("protocol|universal_labels", "yes", "protocol.universal_labels: expected true or false"),
        ("data", {}, "data: expected at least one benchmark"),
        ("data|mosi|fingerprint", None, "data.mosi.fingerprint: expected a non-empty string, got null"),
        ("data|mosi|split", "validation", "data.mosi.split: expected 'test' as in protocol.split"),
        ("data|leaderboard", {}, "data: expected names of at most 64 letters, .*other than overall, leaderboard"),
        ("metrics|mosi/mae", "0.7", 'metrics.mosi/mae: expected a finite number or null, got "0.7"'),
        ("metrics|mosi/mae", -0.1, r"metrics.mosi/mae: expected a number in \[0, inf\], got -0.1"),
        ("metrics|mosi/corr", 1.2, r"metrics.mosi/corr: expected a number in \[-1, 1\], got 1.2"),
        ("metrics|meld/weighted_f1", 65.5, r"metrics.meld/weighted_f1: expected a number in \[0, 1\], got 65.5"),
        ("metrics|mosi/corr", None, "reasons.mosi/corr: expected why the value is null, got null"),
        ("metrics|iemocap/accuracy", 0.5, r"metrics.iemocap/accuracy: expected a benchmark of data \(mosi, meld\)"),
        ("metrics|meld/accuracy", 0.99, r"metrics.meld/accuracy: expected \d+/120 as in confusion.meld, got 0.99"),
        ("checkpoint", _REMOVE, "checkpoint: expected this field"),
        ("intervals|mosi/mae", [0.9, 0.1], r"intervals.mosi/mae: expected \[low, high\] or null, got \[0.9, 0.1\]"),
        ("intervals|meld/accuracy", [5, 9], r"intervals.meld/accuracy: expected numbers in \[0, 1\], got \[5, 9\]"),
        ("confusion|meld|labels", ["joy"] * 7, "confusion.meld.labels: expected a list of different names"),
        ("confusion|meld|other", _REMOVE, "confusion.meld.other: expected this field; it is missing"),
        ("intervals|mosi/mae", None, "reasons.intervals/mosi/mae: expected why the interval is null, got null"),
        ("intervals|mosi/mea", [0.1, 0.2], 'intervals.mosi/mea: expected the name of a metric, got "mosi/mea"'),
        ("bootstrap", None, "bootstrap: expected how the intervals were made, got null"),
        ("bootstrap|confidence_level", 95, r"bootstrap.confidence_level: expected a number in \(0, 1\), got 95"),
        ("predictions", {"file": "../x", "sha256": "0"}, "predictions.file: expected a file name without a folder"),
        ("states", "x", 'states: expected an object or null, got "x"'),
        ("confusion|meld|matrix", [[1]], "confusion.meld.matrix: expected 7 rows of 7 counts"),
        ("confusion|meld|other", [1, 2], "confusion.meld.other: expected 7 counts"),
        ("confusion|meld|labels", _REMOVE, "confusion.meld.labels: expected this field"),
        ("confusion|iemocap", {}, r"confusion.iemocap: expected a benchmark of data \(mosi, meld\)"),
        ("per_class|meld|joy|f1", 2, r"per_class.meld.joy.f1: expected a number in \[0, 1\] or null, got 2"),
        ("per_class|meld|joy|support", _REMOVE, "per_class.meld.joy.support: expected this field"),
    ],
)
def test_a_wrong_field_is_named(tmp_path, field, value, message):
    path = write(tmp_path, edited(field, value))
    with pytest.raises(ValueError, match=message) as error:
        read_results(path)
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "expected JSON"),
        ("[" * 100_000, "expected JSON .*recursion"),
        ("[1]", r"the file: expected an object, got \[1\]"),
        ('{"schema_version": NaN}', "NaN is not a number of a results file; a value that does not exist is null"),
    ],
)
def test_a_file_that_is_no_results_file_is_refused(tmp_path, text, message):
    with pytest.raises(ValueError, match=message) as error:
        read_results(write(tmp_path, text))
    assert "run.json: " in str(error.value)


def test_missing_and_binary_files_are_refused(tmp_path):
    with pytest.raises(
        FileNotFoundError, match="none.json: expected a results file of `unimse evaluate`; there is none"
    ):
        read_results(tmp_path / "none.json")
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match="binary.json: expected UTF-8 text"):
        read_results(tmp_path / "binary.json")


def test_an_edited_number_is_refused(tmp_path):
    path = write_results(tmp_path)
    content = json.loads(path.read_text())
    content["metrics"]["mosi/mae"] += 0.001
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"full-seed1.json: digest: expected \w{12} for this content, got \w{12}; "):
        read_results(path)


def test_a_run_scored_twice_counts_once_and_with_other_numbers_is_refused(tmp_path):
    first = write_results(tmp_path / "a")
    second = write_results(tmp_path / "b", predictions=True)
    assert [one.path for one in read_all_results([first, second])] == [second]  # the one that can be checked
    content = json.loads(first.read_text())
    content["metrics"]["mosi/mae"] += 0.01
    other = write(tmp_path, content, "other.json")
    with pytest.raises(ValueError, match="other.json: expected the numbers of .*the same run 'full', seed 1, protocol"):
        read_all_results([second, other])
    other_protocol = write_results(tmp_path / "c", modalities=("text",))
    assert len(read_all_results([first, other_protocol])) == 2
