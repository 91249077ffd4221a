"""The leaderboard's pictures: which are drawn, and that what they draw is what the files hold."""

import json
from dataclasses import replace

import numpy as np
import pytest
from results_files import make_results, with_states, write_many, write_results

pytest.importorskip("matplotlib", reason="pictures need matplotlib")

from trainer import leaderboard, plots_intensity, plots_states
from trainer.cli import main
from trainer.leaderboard_plots import write_plots
from trainer.plots_confusion import draw_confusion, summed_confusion
from trainer.plots_intensity import draw_intensity, intensities, opacity
from trainer.plots_metrics import draw_metrics, spread
from trainer.plots_states import NO_EMOTION, choose, draw_states, embed
from trainer.predictions_file import read_predictions, write_predictions
from trainer.results_file import Results, read_all_results, read_results, seal
from trainer.results_file import write_results as write_results_file
from trainer.results_groups import Score, build_sections


@pytest.fixture
def drawn(monkeypatch):
    """Figures as they were just before they were written, by file name."""
    figures = {}

    def keep(figure, path, *arguments):
        figures[path.name] = figure
        return original(figure, path, *arguments)

    from trainer import plots_confusion, plots_metrics, plots_style

    original = plots_style.save
    for module in (plots_confusion, plots_intensity, plots_metrics, plots_states):
        monkeypatch.setattr(module, "save", keep)
    return figures


def sections_of(files, benchmark):
    return build_sections(read_all_results(files))[benchmark]


def test_pictures_of_every_benchmark(tmp_path):
    files = write_many(tmp_path / "runs", predictions=True)
    pictures = write_plots(build_sections(read_all_results(files)), tmp_path / "plots")
    names = {picture.path.stem for picture in pictures}
    assert names == {
        *("overall-emotion_accuracy", "mosi-mae", "mosi-metrics", "meld-weighted_f1", "meld-metrics"),
        *("mosi-protocol1-intensity", "mosi-protocol2-intensity"),
        *("meld-protocol1-confusion", "meld-protocol2-confusion"),
    }
    for picture in pictures:
        assert picture.path.read_bytes().startswith(b"\x89PNG") and picture.path.stat().st_size > 3000
        assert picture.benchmark in picture.title and picture.caption and picture.width > 300 < picture.height + 100


def test_every_entry_can_be_drawn(tmp_path):
    files = [write_results(tmp_path, run=run, rows=30) for run in ("one", "two", "three")]
    sections = {"meld": sections_of(files, "meld")}
    names = [picture.path.stem for picture in write_plots(sections, tmp_path / "plots", all_entries=True)]
    assert names[2:] == [f"meld-protocol1-confusion{end}" for end in ("", "-2", "-3")]


def test_the_command_draws_every_entry_when_asked(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(leaderboard, "write_leaderboard", lambda files, out, every: asked.append(every) or [])
    arguments = ["leaderboard", str(write_results(tmp_path, rows=30)), "--out", str(tmp_path / "out")]
    assert main(arguments) == main([*arguments, "--all-entries"]) == 0
    assert asked == [False, True]


# --- bars -------------------------------------------------------------------------------------------------------------


def test_whiskers_are_the_interval_of_one_seed_or_the_deviation_of_several():
    assert spread(Score(0.5, None, None, (0.4, 0.55))) == (0.4, 0.55)
    assert spread(Score(0.5, 0.1)) == (0.4, 0.6)
    assert spread(Score(0.5, None)) == (0.5, 0.5)


def test_bars_and_whiskers_have_the_lengths_of_the_numbers(tmp_path, drawn):
    sections = sections_of([write_results(tmp_path, run="only")], "meld")
    score = sections[0].entries[0].scores["weighted_f1"]
    (primary, _) = draw_metrics("meld", sections, tmp_path / "plots")
    axis = drawn["meld-weighted_f1.png"].axes[0]
    assert axis.patches[0].get_width() == pytest.approx(100 * score.mean)
    ends = axis.collections[0].get_segments()[0][:, 0]
    assert ends == pytest.approx([100 * bound for bound in score.interval])
    assert "Whiskers: the bootstrap interval for one seed" in primary.caption
    panels = drawn["meld-metrics.png"].axes
    assert [panel.get_xlabel().split(" (")[0] for panel in panels] == ["Accuracy", "Weighted F1", "Macro F1"]


def test_a_missing_value_is_no_bar_and_a_long_section_is_cut(tmp_path, drawn):
    (section,) = sections_of([write_results(tmp_path, run="only", rows=30)], "mosi")
    entry = section.entries[0]
    none = replace(entry, scores={"mae": Score(None, None, "no samples")})
    (picture,) = draw_metrics("mosi", [replace(section, entries=(entry, none))], tmp_path)[:1]
    axis = drawn["mosi-mae.png"].axes[0]
    assert len(axis.patches) == 1 and " n/a" in [text.get_text() for text in axis.texts]
    assert "Only the first" not in picture.caption
    picture = draw_metrics("mosi", [replace(section, entries=(entry,) * 13)], tmp_path)[0]
    assert "Only the first 12 entries of protocol 1 are drawn." in picture.caption
    assert len(drawn["mosi-mae.png"].axes[0].patches) == 12


def test_only_the_first_of_very_many_protocols_are_drawn(tmp_path, drawn):
    (section,) = sections_of([write_results(tmp_path, run="only", rows=30)], "meld")
    many = [replace(section, number=number) for number in range(1, 301)]
    pictures = write_plots({"meld": many}, tmp_path / "plots")
    assert len(pictures) == 2 + 12 and len(drawn["meld-weighted_f1.png"].axes[0].patches) == 12
    assert "Only the first 12 of 300 protocols are drawn." in pictures[0].caption
    assert "protocols are drawn" not in write_plots({"meld": many[:12]}, tmp_path / "plots")[0].caption


# --- confusion matrices -----------------------------------------------------------------------------------------------


def test_confusion_is_summed_over_seeds(tmp_path):
    files = write_many(tmp_path)
    entry = sections_of(files, "meld")[0].entries[0]
    labels, columns, matrix = summed_confusion(entry)
    parts = [json.loads(path.read_text())["confusion"]["meld"] for path in files[:3]]
    assert labels == columns == parts[0]["labels"]
    assert matrix[2, 3] == sum(part["matrix"][2][3] for part in parts)
    assert summed_confusion(sections_of(files, "mosi")[0].entries[0])[0] == []


def test_a_matrix_too_large_to_read_is_not_drawn(tmp_path):
    labels = [f"label {number}" for number in range(41)]
    content = make_results(rows=30)
    content["confusion"]["meld"] = {"labels": labels, "matrix": [[1] * 41] * 41}
    results = Results(tmp_path / "wide.json", content)
    (section,) = build_sections([results])["meld"]
    assert draw_confusion(section, section.entries[0], tmp_path / "wide.png") is None


def test_outputs_without_a_label_have_a_column_of_their_own(tmp_path, drawn):
    content = make_results()
    content["confusion"]["meld"] = {"labels": ["joy", "fear"], "matrix": [[3, 0], [1, 2]], "other": [1, 0]}
    content |= {"metrics": {"meld/accuracy": 5 / 7}, "intervals": {}}
    (tmp_path / "run.json").write_text(json.dumps(seal(content)))
    (section,) = sections_of([tmp_path / "run.json"], "meld")
    labels, columns, matrix = summed_confusion(section.entries[0])
    assert (labels, columns) == (["joy", "fear"], ["joy", "fear", "no label"])
    assert matrix.tolist() == [[3, 0, 1], [1, 2, 0]]
    picture = draw_confusion(section, section.entries[0], tmp_path / "confusion.png")
    image = drawn["confusion.png"].axes[0].images[0].get_array()
    assert np.allclose(image, [[0.75, 0, 0.25], [1 / 3, 2 / 3, 0]]), "each row is shares of its gold class"
    assert "no label: the output was no label" in picture.caption
    assert picture.title == "Confusion matrix, meld, protocol 1 (T+A+V, 2/2, constrained greedy): full"


# --- intensities ------------------------------------------------------------------------------------------------------


def test_intensities_are_the_predictions_of_all_seeds(tmp_path, drawn):
    files = [write_results(tmp_path, True, run="one", seed=seed, rows=30) for seed in (1, 2)]
    (section,) = sections_of(files, "mosi")
    gold, predicted, unparsed = intensities(section.entries[0])
    rows = [row for one in read_all_results(files) for row in read_predictions(one) if row["dataset"] == "mosi"]
    assert list(gold) == [row["sentiment"] for row in rows] and unparsed == 0
    assert list(predicted) == [row["predicted_sentiment"] for row in rows]
    picture = draw_intensity(section, section.entries[0], tmp_path / "plot.png")
    points = drawn["plot.png"].axes[0].collections[0].get_offsets()
    assert drawn["plot.png"].axes[0].collections[0].get_alpha() == opacity(60)
    assert np.abs(points - np.column_stack([gold, predicted])).max() <= 0.05
    assert "Seeds 1, 2: 60 predictions" in picture.caption and "no label" not in picture.caption
    assert "MAE" in drawn["plot.png"].get_suptitle() and "Corr" in drawn["plot.png"].get_suptitle()


def test_outputs_that_are_no_label_are_counted_in_the_caption(tmp_path):
    path = write_results(tmp_path, True, rows=30)
    rows = read_predictions(read_results(path))
    for row in rows[-3:]:
        row |= {"prediction": None, "predicted_sentiment": None, "predicted_emotion": None}
    write_predictions(path.with_suffix(".parquet"), rows)
    content = {name: value for name, value in json.loads(path.read_text()).items() if name != "digest"}
    write_results_file(path, content, path.with_suffix(".parquet"))
    (section,) = sections_of([path], "mosi")
    assert intensities(section.entries[0])[2] == 3
    picture = draw_intensity(section, section.entries[0], tmp_path / "plot.png")
    assert "27 predictions" in picture.caption and "3 outputs that are no label are not drawn" in picture.caption


def test_many_points_are_fainter_than_few():
    assert opacity(100) == 0.35 > opacity(4000) > opacity(14_000) == 0.12


def test_without_predictions_or_gold_sentiment_there_is_no_picture(tmp_path):
    (mosi,) = sections_of([write_results(tmp_path / "without", rows=30)], "mosi")
    assert draw_intensity(mosi, mosi.entries[0], tmp_path / "plot.png") is None
    (meld,) = sections_of([write_results(tmp_path / "with", True, rows=30)], "meld")
    assert draw_intensity(meld, meld.entries[0], tmp_path / "plot.png") is None


# --- text states ------------------------------------------------------------------------------------------------------


@pytest.fixture
def quick(monkeypatch):
    """The first two numbers of a state in place of t-SNE."""
    monkeypatch.setattr(plots_states, "embed", lambda states: states[:, :2])


def test_states_are_coloured_by_the_emotion_and_data_set_of_their_id(tmp_path, quick, drawn):
    one = read_results(with_states(write_results(tmp_path, True, rows=20)))
    picture = draw_states(one, "overall", tmp_path / "states.png")
    axes = drawn["states.png"].axes
    assert [axis.get_title(loc="left") for axis in axes[:4]] == [
        *("before fusion, by gold emotion", "before fusion, by data set"),
        *("after fusion, by gold emotion", "after fusion, by data set"),
    ]
    groups = {part.get_label(): part for part in axes[2].collections}
    rows = read_predictions(one)
    joy = [row for row in rows if row["emotion"] == "joy"]
    assert set(groups[f"joy ({len(joy)})"].get_offsets()[:, 0]) == {len("joy")}, "the made-up state of its emotion"
    assert f"{NO_EMOTION} (20)" in groups, "MOSI has no gold emotion"
    assert sorted(part.get_label() for part in axes[3].collections) == ["meld (20)", "mosi (20)"]
    assert "40 samples" in picture.caption and picture.title == "t-SNE, Text states of full-seed1, seed 1, T+A+V"


def test_t_sne_gives_the_same_bytes_and_bears_states_that_are_all_one_point():
    states = np.random.default_rng(1).normal(size=(60, 50)).astype(np.float32)
    first = embed(states)
    assert first.shape == (60, 2) and first.tobytes() == embed(states).tobytes()
    assert not embed(np.ones((6, 4), dtype=np.float32)).any()


def test_at_most_two_thousand_samples_are_drawn():
    assert list(choose(4)) == [0, 1, 2, 3]
    chosen = choose(5000)
    assert len(chosen) == len(set(chosen)) == 2000 and list(chosen) == sorted(chosen) == list(choose(5000))


def test_states_of_unknown_samples_are_refused(tmp_path, quick):
    path = with_states(write_results(tmp_path, True, rows=20))
    states = path.with_name(f"{path.stem}-states.parquet")
    from trainer.states_file import write_states

    write_states(states, [f"x{index}" for index in range(6)], np.eye(6), np.eye(6))
    content = {name: value for name, value in json.loads(path.read_text()).items() if name != "digest"}
    write_results_file(path, content, path.with_suffix(".parquet"), states)
    with pytest.raises(ValueError, match="full-seed1.json: states: expected ids of the predictions, got 'x0'"):
        draw_states(read_results(path), "overall", tmp_path / "states.png")


def test_without_states_or_predictions_there_is_no_picture(tmp_path, quick):
    assert draw_states(read_results(write_results(tmp_path, True)), "overall", tmp_path / "x.png") is None
    path = with_states(write_results(tmp_path / "gone", True))
    path.with_suffix(".parquet").unlink()
    assert draw_states(read_results(path), "overall", tmp_path / "x.png") is None
