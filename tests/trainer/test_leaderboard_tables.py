"""The leaderboard's tables as data: spread, what was checked, missing modalities, values to sort by."""

import json
import statistics

import pytest
from results_files import make_results, make_rows, write_many, write_results

from trainer.leaderboard import build_board
from trainer.leaderboard_format import describe_protocol, legend
from trainer.leaderboard_tables import Cell, Table
from trainer.predictions_file import write_predictions
from trainer.results_file import read_results, seal
from trainer.results_file import write_results as write_results_file

INCOMPLETE = {
    "T+A": ("text", "audio"),
    "T+V": ("text", "visual"),
    "A+V": ("audio", "visual"),
    "T": ("text",),
    "A": ("audio",),
    "V": ("visual",),
}


def table(board, benchmark, name):
    return next(one for one in board.tables[benchmark] if one.name == name)


def cells(one: Table, row: int) -> dict[str, Cell]:
    return dict(zip(one.header, one.rows[row], strict=True))


def rewrite(path, predictions=None, **fields):
    """The file once more with other fields, sealed, its predictions beside it."""
    content = {name: value for name, value in json.loads(path.read_text("utf-8")).items() if name != "digest"}
    write_results_file(path, content | fields, predictions or path.with_suffix(".parquet"))
    return path


def write_sweep(folder, run="full", seeds=(1, 2), conditions=INCOMPLETE, **fields):
    """One training under T+A+V and other sets of modalities, the worse the fewer."""
    files = [write_results(folder / "complete", run=run, seed=seed) for seed in seeds]
    for number, (name, modalities) in enumerate(conditions.items()):
        for seed in seeds:
            skill = 0.6 - 0.05 * number
            files.append(write_results(folder / name, run=run, seed=seed, skill=skill, modalities=modalities))
    return files


# --- spread and checks ------------------------------------------------------------------------------------------------


def test_one_seed_has_its_interval_several_their_deviation(tmp_path):
    board = build_board(write_many(tmp_path))
    single = cells(table(board, "meld", "protocol-2"), 0)["Weighted F1 ↑"]
    content = next(one.content for one in board.runs if one.run == "text-only-seed1")
    value, (low, high) = content["metrics"]["meld/weighted_f1"], content["intervals"]["meld/weighted_f1"]
    assert single == Cell(f"{100 * value:.2f} [{100 * low:.1f}, {100 * high:.1f}]", value)
    several = cells(table(board, "meld", "protocol-1"), 0)["Weighted F1 ↑"]
    assert "±" in several.text and "[" not in several.text


def test_the_legend_says_what_the_intervals_are(tmp_path):
    with_intervals = read_results(write_results(tmp_path))
    (line,) = [line for line in legend([with_intervals]) if line.startswith("One seed")]
    assert "95% interval" in line and "60 resamples of the scored utterances" in line
    plain = with_intervals.content | {"bootstrap": None, "intervals": {}}
    (tmp_path / "plain.json").write_text(json.dumps(seal(plain)))
    assert not [line for line in legend([read_results(tmp_path / "plain.json")]) if line.startswith("One seed")]


def test_the_legend_says_what_checked_means(tmp_path):
    runs = [read_results(write_results(tmp_path))]
    (line,) = set(legend(runs)) - set(legend(runs, checked=False))
    assert line.startswith("checked: recomputed = every number was made again from the predictions beside the results")
    assert line.endswith("no predictions = shown as written there.")


def test_the_column_checked_says_what_was_recomputed(tmp_path):
    both = [write_results(tmp_path, run="both", seed=1, predictions=True), write_results(tmp_path, run="both", seed=2)]
    files = [*both, write_results(tmp_path, run="all", predictions=True), write_results(tmp_path, run="none")]
    board = build_board(files)
    one = table(board, "mosi", "protocol-1")
    found = {row["run"].text: row["checked"].text for row in (cells(one, index) for index in range(3))}
    assert found == {"both": "recomputed 1 of 2", "all": "recomputed", "none": "no predictions"}


@pytest.mark.parametrize("field", ["metrics", "intervals"])
def test_a_number_that_its_predictions_do_not_give_is_refused(tmp_path, field):
    path = write_results(tmp_path, predictions=True)
    content = json.loads(path.read_text("utf-8"))
    value = content[field]["meld/macro_f1"]
    content[field]["meld/macro_f1"] = [value[0] / 2, value[1]] if field == "intervals" else value + 0.001
    rewrite(path, **{field: content[field]})
    with pytest.raises(ValueError, match=rf"full-seed1.json: {field}.meld/macro_f1: expected .* as the predictions"):
        build_board([path])


def test_predictions_of_another_run_are_refused(tmp_path):
    path = write_results(tmp_path, predictions=True)
    write_predictions(path.with_suffix(".parquet"), make_rows(run="other"))
    with pytest.raises(ValueError, match="expected the predictions written with full-seed1.json, got other content"):
        build_board([path])


# --- missing modalities -----------------------------------------------------------------------------------------------


def test_missing_modalities_stand_in_one_row(tmp_path):
    board = build_board(write_sweep(tmp_path))
    one = table(board, "mosi", "missing-modalities-1")
    assert one.header[2:10] == ("T+A+V", *INCOMPLETE, "mean of the 6 incomplete")
    row = cells(one, 0)
    values = {
        (one.seed, len(one.protocol["modalities"]), one.protocol["modalities"][0]): one.content["metrics"]["mosi/mae"]
        for one in board.runs
    }
    assert row["V"].value == pytest.approx(statistics.fmean(values[seed, 1, "visual"] for seed in (1, 2)))
    by_seed = [
        statistics.fmean(
            one.content["metrics"]["mosi/mae"]
            for one in board.runs
            if one.seed == seed and len(one.protocol["modalities"]) < 3
        )
        for seed in (1, 2)
    ]
    mean = row["mean of the 6 incomplete"]
    assert mean.value == pytest.approx(statistics.fmean(by_seed))
    assert mean.text == f"{statistics.fmean(by_seed):.3f} ± {statistics.stdev(by_seed):.3f}"
    assert "One training in each row, the same weights in every column." in one.notes[0]
    assert "Protocol apart from modalities: context_after 2;" in one.notes[1] and "modalities text" not in one.notes[1]
    assert [part.name for part in board.tables["mosi"]].count("missing-modalities-1") == 1


def test_the_mean_needs_all_six(tmp_path):
    board = build_board(write_sweep(tmp_path, conditions={"T": ("text",)}))
    row = cells(table(board, "meld", "missing-modalities-1"), 0)
    assert row["T"].value is not None and (row["A"].text, row["A"].value) == ("n/a", None)
    assert row["mean of the 6 incomplete"] == Cell("n/a", None)


def test_other_weights_are_not_the_same_training(tmp_path):
    files = write_sweep(tmp_path, seeds=(1,), conditions={"T": ("text",)})
    files += write_sweep(tmp_path / "more", run="same", seeds=(1,), conditions={"T": ("text",)})
    content = json.loads(files[1].read_text("utf-8"))
    files[1].write_text(json.dumps(seal(content | {"checkpoint": content["checkpoint"] | {"weights": "ffff"}})))
    one = table(build_board(files), "mosi", "missing-modalities-1")
    assert [row[0].text for row in one.rows] == ["same"]
    assert one.footnotes == ("Left out, other seeds or weights in each set of modalities: full.",)


def test_runs_that_saw_one_set_of_modalities_have_no_such_table(tmp_path):
    board = build_board(write_many(tmp_path))
    assert not [one for parts in board.tables.values() for one in parts if one.name.startswith("missing")]


def test_another_protocol_has_a_table_of_its_own(tmp_path):
    files = write_sweep(tmp_path, seeds=(1,), conditions={"T": ("text",)})
    for path in write_sweep(tmp_path / "online", seeds=(1,), conditions={"T": ("text",)}):
        content = json.loads(path.read_text("utf-8"))
        path.write_text(json.dumps(seal(content | {"protocol": content["protocol"] | {"context_after": 0}})))
        files.append(path)
    board = build_board(files)
    names = [one.title for one in board.tables["mosi"] if one.name.startswith("missing")]
    assert names == ["mosi, missing modalities", "mosi, missing modalities 2"]


# --- the rest ---------------------------------------------------------------------------------------------------------


def test_sections_with_most_modalities_come_first(tmp_path):
    board = build_board(write_sweep(tmp_path, seeds=(1,)))
    shown = [section.protocol["modalities"] for section in board.sections["mosi"]]
    assert shown == [["text", "audio", "visual"], *(list(part) for part in INCOMPLETE.values())]


def test_every_row_has_a_cell_for_each_column(tmp_path):
    board = build_board([*write_many(tmp_path), *write_sweep(tmp_path / "sweep", run="swept")])
    for parts in board.tables.values():
        assert len({one.name for one in parts}) == len(parts)
        for one in parts:
            assert one.rows and all(len(row) == len(one.header) for row in one.rows), one.title


def test_columns_of_numbers_sort_as_numbers():
    mixed = Table("t", "t", ("a", "b", "c"), ((Cell("1", 1.0), Cell("x", "x"), Cell("n/a", None)),) * 2)
    assert [mixed.is_numeric(column) for column in range(3)] == [True, False, False]


def test_an_empty_list_of_the_protocol_is_said():
    protocol = make_results()["protocol"] | {"feature_sets": []}
    assert "; feature_sets none; modalities text+audio+visual;" in describe_protocol(protocol)
