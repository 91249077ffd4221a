"""The leaderboard: grouping, ranking, formats, quoted numbers, and byte-equal files."""

import csv
import importlib.util
import json
import math
import re
import shutil
import statistics
import subprocess
import sys

import pytest
from results_files import BOOTSTRAP, MELD, make_results, make_rows, with_states, write_many, write_results

from trainer import leaderboard_plots
from trainer.leaderboard import write_leaderboard
from trainer.leaderboard_format import format_score
from trainer.metric_names import METRICS, OFFICIAL_TEST_ROWS
from trainer.predictions_file import write_predictions
from trainer.published_results import PUBLISHED, read_published
from trainer.results_file import read_all_results, seal
from trainer.results_file import write_results as write_results_file
from trainer.results_groups import Score, build_sections
from trainer.scoring import score


@pytest.fixture(autouse=True)
def tables_only(request, monkeypatch):
    """Pictures take most of the time: only tests that ask for `pictures` draw them."""
    if "pictures" not in request.fixturenames:
        monkeypatch.setattr(leaderboard_plots, "find_spec", lambda name: None)


@pytest.fixture
def pictures():
    pytest.importorskip("matplotlib", reason="pictures need matplotlib")


@pytest.fixture
def files(tmp_path):
    return write_many(tmp_path / "runs")


def sections_of(files, benchmark):
    return build_sections(read_all_results(files))[benchmark]


def write(folder, name, **fields):
    """A correct file with top-level fields replaced; other metrics come without intervals."""
    path = folder / f"{name}.json"
    fields = {"intervals": {}} | fields if "metrics" in fields else fields
    path.write_text(json.dumps(seal(make_results() | {"run": name} | fields)), encoding="utf-8")
    return path


def with_metrics(folder, name, **metrics):
    """A file whose MOSI metrics are the given ones only."""
    return write(
        folder, name, metrics={f"mosi/{key}": value for key, value in metrics.items()}, confusion={}, per_class={}
    )


def table_rows(text, first_cell):
    """Cells of the table lines that begin with `first_cell`."""
    lines = [line for line in text.splitlines() if line.startswith(f"| {first_cell} |")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


# --- grouping and ranking ---------------------------------------------------------------------------------------------


def test_mean_and_deviation_over_seeds(files):
    values = [json.loads(path.read_text())["metrics"]["mosi/mae"] for path in files[:3]]
    full = next(entry for entry in sections_of(files, "mosi")[0].entries if entry.name == "full")
    assert full.seeds == [1, 2, 3]
    assert full.scores["mae"].mean == pytest.approx(sum(values) / 3)
    assert full.scores["mae"].std == pytest.approx(math.sqrt(sum((v - sum(values) / 3) ** 2 for v in values) / 2))


def test_protocols_are_never_ranked_together(files):
    sections = sections_of(files, "meld")
    assert [[entry.name for entry in section.entries] for section in sections] == [["full", "cross"], ["text-only"]]
    assert [[entry.rank for entry in section.entries] for section in sections] == [[1, 2], [1]]
    assert sections[1].protocol["modalities"] == ["text"]


def test_other_scored_data_is_another_section(tmp_path):
    content = make_results()
    moved = content["data"] | {"mosi": content["data"]["mosi"] | {"fingerprint": "cc33"}}
    files = [write(tmp_path, "one"), write(tmp_path, "two", data=moved)]
    assert len(sections_of(files, "mosi")) == 2
    assert len(sections_of(files, "meld")) == 1
    write_leaderboard(files, tmp_path / "out")
    assert "it differs in: scored data." in (tmp_path / "out" / "mosi.md").read_text("utf-8")


@pytest.mark.parametrize(
    ("metric", "values", "ranks"),
    [
        ("mae", {"a": 0.9, "b": 0.7, "c": 0.8}, {"b": 1, "c": 2, "a": 3}),
        ("mae", {"a": 0.7, "b": 0.7, "c": 0.8}, {"a": 1, "b": 1, "c": 3}),
        ("weighted_f1", {"a": 0.2, "b": 0.9, "c": 0.3}, {"b": 1, "c": 2, "a": 3}),
    ],
)
def test_rank_follows_the_direction_of_the_metric(tmp_path, metric, values, ranks):
    files = [with_metrics(tmp_path, name, **{metric: value}) for name, value in values.items()]
    (section,) = sections_of(files, "mosi")
    assert {entry.name: entry.rank for entry in section.entries} == ranks
    assert [entry.name for entry in section.entries] == list(ranks)


def test_a_training_scored_again_counts_once(tmp_path):
    """Train scores all benchmarks, `unimse evaluate` one of them again: still one seed, hence no deviation."""
    first = write_results(tmp_path, run="full", seed=1)
    content = json.loads(first.read_text())
    again = {**content, "data": {"meld": content["data"]["meld"]}, "command": "unimse evaluate"}
    for field in ("metrics", "intervals"):
        again[field] = {name: value for name, value in content[field].items() if name.startswith("meld/")}
    path = tmp_path / "again.json"
    path.write_text(json.dumps(seal(again)))
    (section,) = build_sections(read_all_results([first, path]))["meld"]
    (entry,) = section.entries
    assert [one.seed for one in entry.results] == [1] and entry.scores["accuracy"].std is None
    again["metrics"]["meld/macro_f1"] -= 0.01
    path.write_text(json.dumps(seal(again)))
    with pytest.raises(ValueError, match="expected the meld scores of .*same run, seed, protocol and data; got others"):
        build_sections(read_all_results([first, path]))


def test_of_two_evaluations_the_one_that_can_be_made_again_is_shown(tmp_path):
    first = write_results(tmp_path / "a")
    rows = [row for row in make_rows() if row["dataset"] == "meld"]
    content = json.loads(first.read_text())
    content["data"].pop("mosi")
    write_predictions(tmp_path / "z.parquet", rows)
    write_results_file(tmp_path / "z.json", content | score(rows, {"meld": MELD}, BOOTSTRAP), tmp_path / "z.parquet")
    (section,) = sections_of([first, tmp_path / "z.json"], "meld")
    (entry,) = section.entries
    assert [one.path.name for one in entry.results] == ["z.json"]


def test_a_missing_value_of_one_seed_is_never_averaged_away(tmp_path):
    runs = []
    for seed, mae in ((1, 0.5), (2, None)):
        reasons = {"mosi/mae": "4 parse failures and no failure_penalty"} if mae is None else {}
        fields = {"run": "full", "seed": seed, "metrics": {"mosi/mae": mae}, "reasons": reasons, "confusion": {}}
        runs.append(write(tmp_path, f"full-{seed}", **fields))
    (section,) = sections_of(runs, "mosi")
    assert section.entries[0].scores["mae"].mean is None
    assert section.entries[0].rank is None
    write_leaderboard(runs, tmp_path / "out")
    text = (tmp_path / "out" / "mosi.md").read_text("utf-8")
    assert "- full, MAE: n/a (seed 2: 4 parse failures and no failure_penalty)" in text
    assert (table_rows(text, "–")[0][3], table_rows(text, "–")[0][7]) == ("no predictions", "n/a")


# --- formats ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "score", "text"),
    [
        ("accuracy", Score(0.85204, 0.0031), "85.20 ± 0.31"),
        ("accuracy", Score(1.0, None), "100.00"),
        ("accuracy", Score(0.85204, None, None, (0.82149, 0.88)), "85.20 [82.1, 88.0]"),
        ("mae", Score(0.69149, None, None, (0.6449, 0.745)), "0.691 [0.64, 0.74]"),
        ("parse_failures", Score(2.0, None, None, (1.0, 4.0)), "2 [1, 4]"),
        ("mae", Score(0.69149, 0.0101), "0.691 ± 0.010"),
        ("corr", Score(-0.5, None), "-0.500"),
        ("parse_failures", Score(2.0, None), "2"),
        ("parse_failures", Score(1.5, 0.5), "1.5 ± 0.5"),
        ("mae", Score(None, None, "no samples"), "n/a"),
        ("mae", None, "n/a"),
    ],
)
def test_format_of_a_score(key, score, text):
    assert format_score(METRICS[key], score) == text


def test_markdown_has_numbers_protocol_and_trace(files, tmp_path):
    write_leaderboard(files, tmp_path / "out")
    text = (tmp_path / "out" / "meld.md").read_text("utf-8")
    values = [json.loads(path.read_text())["metrics"]["meld/weighted_f1"] for path in files[:3]]
    shown = f"{100 * statistics.fmean(values):.2f} ± {100 * statistics.stdev(values):.2f}"
    first = table_rows(text, "1")[0]
    assert first[:7] == ["1", "full", "1, 2, 3", "no predictions", "2/2", "T+A+V", "constrained greedy"]
    assert first[-3:] == ["unimse-t5-tiny", "ffn", "1,234,567"]
    assert shown == first[8]
    assert "- Not comparable with protocol 1; it differs in: modalities." in text
    assert "- Scored: 120 rows of split test (not the official test split), data bb22." in text
    assert "| `full-seed2.json` | full-seed2 | 2 | 0123abc | 2026-01-02T10:00:00+00:00 |" in text
    assert "| run | neutral (" in text
    assert str(tmp_path) not in text


def test_csv_has_exact_numbers_and_protocol_columns(files, tmp_path):
    write_leaderboard(files, tmp_path / "out")
    rows = list(csv.DictReader((tmp_path / "out" / "mosi.csv").open(encoding="utf-8")))
    values = [json.loads(path.read_text())["metrics"]["mosi/corr"] for path in files[:3]]
    assert (rows[0]["section"], rows[0]["rank"], rows[0]["run"], rows[0]["seeds"]) == ("1", "1", "full", "1 2 3")
    assert float(rows[0]["corr_mean"]) == statistics.fmean(values)
    assert float(rows[0]["corr_std"]) == statistics.stdev(values)
    assert (rows[0]["corr_low"], rows[0]["corr_high"], rows[0]["checked"]) == ("", "", "no predictions")
    interval = json.loads(files[-1].read_text())["intervals"]["mosi/corr"]
    assert [float(rows[2]["corr_low"]), float(rows[2]["corr_high"])] == interval and rows[2]["corr_std"] == ""
    assert (rows[0]["protocol_context_after"], rows[0]["protocol_modalities"]) == ("2", "text+audio+visual")
    assert rows[0]["files"] == "full-seed1.json full-seed2.json full-seed3.json"
    assert [row["section"] for row in rows] == ["1", "1", "2", "quoted"]


def test_official_rows_are_told_from_others(tmp_path):
    write_leaderboard([write_results(tmp_path, rows=OFFICIAL_TEST_ROWS["mosi"][0])], tmp_path / "out")
    mosi, meld = ((tmp_path / "out" / f"{name}.md").read_text("utf-8") for name in ("mosi", "meld"))
    assert "(official split by row count)" in mosi
    assert "do not compare them with these numbers" not in mosi
    assert "(not the official test split)" in meld
    assert "do not compare them with these numbers" in meld


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@SUM(A1)"])
def test_no_text_is_a_formula_of_a_spreadsheet(tmp_path, name):
    content = make_results()
    write_leaderboard([write(tmp_path, "x", run=name, model=content["model"] | {"name": name})], tmp_path / "out")
    row = next(csv.DictReader((tmp_path / "out" / "mosi.csv").open(encoding="utf-8")))
    assert (row["run"], row["model"]) == (f"'{name}", f"'{name}")


def test_negative_numbers_stay_numbers_in_csv(tmp_path):
    write_leaderboard([with_metrics(tmp_path, "x", corr=-0.5)], tmp_path / "out")
    row = next(csv.DictReader((tmp_path / "out" / "mosi.csv").open(encoding="utf-8")))
    assert (row["corr_mean"], row["corr_std"]) == ("-0.5", "")


def test_a_metric_that_is_not_ours_has_no_arrow(tmp_path):
    write_leaderboard([with_metrics(tmp_path, "x", mae=0.5, perplexity=3.5)], tmp_path / "out")
    text = (tmp_path / "out" / "mosi.md").read_text("utf-8")
    assert "| MAE ↓ | perplexity |" in text


def test_a_pipe_in_a_name_does_not_break_the_table(tmp_path):
    write_leaderboard([with_metrics(tmp_path, "a|b", mae=0.5)], tmp_path / "out")
    assert "| a\\|b |" in (tmp_path / "out" / "mosi.md").read_text("utf-8")


# --- quoted numbers ---------------------------------------------------------------------------------------------------


def test_quoted_numbers_are_marked_and_sourced(files, tmp_path):
    write_leaderboard(files, tmp_path / "out")
    (row,) = table_rows((tmp_path / "out" / "mosi.md").read_text("utf-8"), "UniMSE (T5-base) (quoted)")
    assert row[1:8] == ["0.691", "0.809", "48.68", "85.85", "86.90", "85.83", "86.42"]
    assert "arXiv 2211.11256" in row[-1]
    text = (tmp_path / "out" / "meld.md").read_text("utf-8")
    names = ["UniMSE (T5-base)", "text-CNN, text only", "bcLSTM, text only", "EmoBERTa (RoBERTa-large), text only"]
    assert [table_rows(text, f"{name} (quoted)")[0][2] for name in names] == ["65.51", "55.00", "56.40", "65.61"]


def test_published_results_are_fractions_of_known_benchmarks():
    for result in read_published():
        assert result["benchmark"] in OFFICIAL_TEST_ROWS
        assert re.search(r"\(arXiv \d{4}\.\d{5}\)$", result["source"]), "a publication that can be looked up"
        assert all(0 < value <= 1 for value in result["metrics"].values()), result["name"]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("benchmark: mosi", "bench: mosi", "entry 1: expected benchmark, metrics, name, source"),
        ("mae: 0.691", "mea: 0.691", r"entry 1: expected metrics of mae, .*got \['mea'\]"),
    ],
)
def test_a_wrong_published_entry_is_named(tmp_path, old, new, message):
    path = tmp_path / "published.yaml"
    path.write_text(PUBLISHED.read_text("utf-8").replace(old, new, 1), encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        read_published(path)


# --- files ------------------------------------------------------------------------------------------------------------


def test_files_are_byte_equal_on_a_second_run_and_in_any_order(tmp_path, pictures):
    folder = tmp_path / "runs"
    files = [write_results(folder, True, run=run, seed=seed, rows=40) for run, seed in (("a", 1), ("a", 2), ("b", 1))]
    files[0] = with_states(files[0])
    written = write_leaderboard(files, tmp_path / "one", all_entries=True)
    names = {path.relative_to(tmp_path / "one").as_posix() for path in written}
    assert {"leaderboard.html", "leaderboard.md", "overall.md", "mosi.md", "mosi.csv", "meld.csv"} <= names
    assert {f"plots/{name}.png" for name in ("meld-protocol1-confusion-2", "overall-protocol1-states")} <= names
    write_leaderboard(list(reversed(files)), tmp_path / "two", all_entries=True)
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes(), name
    before = {path: path.read_bytes() for path in written}
    assert write_leaderboard(files, tmp_path / "one", all_entries=True) == written
    assert {path: path.read_bytes() for path in written} == before


def test_what_an_earlier_call_wrote_and_this_one_does_not_is_removed(files, tmp_path):
    out, others = tmp_path / "out", ["notes.md", "iemocap.csv", "plots/mine.png", "hub/me/x/results.json"]
    before = write_leaderboard(files, out)
    for name in others:
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_text("the user's")
    drawn = out / "plots" / "mosi-mae.png"
    drawn.write_bytes(b"")
    with (out / ".leaderboard-files").open("a") as listed:
        listed.write("plots/mosi-mae.png\n../outside.md\nhub/me/x/results.json\n")
    (tmp_path / "outside.md").write_text("not ours")
    after = write_leaderboard([with_metrics(tmp_path, "one", mae=0.5)], out)
    assert {path.name for path in before} - {path.name for path in after} == {
        *("meld.md", "meld.csv", "overall.md", "overall.csv")
    }
    found = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    assert found == {".leaderboard-files", *others, *(path.name for path in after)}
    assert (tmp_path / "outside.md").is_file()


def test_a_file_that_no_earlier_call_wrote_is_not_replaced(files, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "mosi.csv").write_text("a user's")
    with pytest.raises(FileExistsError, match="out/mosi.csv exists and was not written by this command"):
        write_leaderboard(files, out)
    assert [path.name for path in out.iterdir()] == ["mosi.csv"]
    (out / "mosi.csv").rename(out / "mine.csv")
    write_leaderboard(files, out)
    write_leaderboard(files, out)
    assert (out / "mine.csv").read_text() == "a user's"


def test_numbers_do_not_depend_on_where_the_files_lie(files, tmp_path):
    elsewhere = [shutil.copy(path, tmp_path / f"moved-{path.name}") for path in files]
    write_leaderboard(files, tmp_path / "one")
    write_leaderboard(elsewhere, tmp_path / "two")
    moved = (tmp_path / "two" / "meld.md").read_text("utf-8").replace("moved-", "")
    assert moved == (tmp_path / "one" / "meld.md").read_text("utf-8")


def test_no_files_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="expected at least one results file; write one with `unimse evaluate"):
        write_leaderboard([], tmp_path)


def test_without_matplotlib_the_tables_are_written(files, tmp_path):
    assert {path.suffix for path in write_leaderboard(files, tmp_path / "out")} == {".html", ".md", ".csv"}


def test_importing_the_leaderboard_needs_neither_torch_nor_matplotlib():
    code = (
        "import sys, trainer.leaderboard, trainer.model_card; print(sorted({'torch', 'matplotlib'} & set(sys.modules)))"
    )
    root = importlib.util.find_spec("trainer").submodule_search_locations[0]
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=f"{root}/..")
    assert run.stdout.strip() == "[]"
