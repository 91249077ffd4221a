"""One table of finished runs: test metrics, mean and sample standard deviation over the seeds of each.

Made for ablations: the runs of a table differ in what their names say, so their protocols may differ, while the scored
rows may not. `unimse leaderboard` is for results of any origin.
"""

import csv
from collections.abc import Sequence
from pathlib import Path

from trainer.leaderboard_format import format_score
from trainer.leaderboard_markdown import markdown_table
from trainer.metric_names import METRICS
from trainer.results_file import Results, read_all_results
from trainer.results_groups import Score, score_over_seeds

SHOWN = ("mae", "acc2_non0", "weighted_f1", "emotion_accuracy")


def write_summary(paths: Sequence[Path], folder: Path) -> str:
    """Write `summary.md` and `summary.csv` to a folder; returns the Markdown.

    Args:
        paths: results files; a line of the table for each run, in this order.

    Raises:
        ValueError: a wrong results file.
    """
    runs = _by_run(read_all_results(paths))
    columns = _columns(runs)
    scores = {name: [score_over_seeds(*column, results) for column in columns] for name, results in runs.items()}
    text = "\n".join(_markdown(runs, columns, scores)) + "\n"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "summary.md").write_text(text, encoding="utf-8")
    _write_csv(folder / "summary.csv", runs, columns, scores)
    return text


def _by_run(results: Sequence[Results]) -> dict[str, list[Results]]:
    runs: dict[str, list[Results]] = {}
    for one in results:
        runs.setdefault(one.entry, []).append(one)
    return runs


def _columns(runs: dict[str, list[Results]]) -> list[tuple[str, str]]:
    """(benchmark, metric) of the columns: those of SHOWN that any run has."""
    scored = [(one, name) for results in runs.values() for one in results for name in one.benchmarks]
    return list(dict.fromkeys((name, key) for key in SHOWN for one, name in scored if key in one.scores(name)))


def _markdown(runs, columns, scores: dict[str, list[Score]]) -> list[str]:
    titles = [f"{name} {METRICS[key].title} {'↓' if METRICS[key].lower_is_better else '↑'}" for name, key in columns]
    rows = []
    for name, results in runs.items():
        shown = [format_score(METRICS[key], one) for (_, key), one in zip(columns, scores[name], strict=True)]
        rows.append([name, _seeds(results), *shown])
    everything = [one for results in runs.values() for one in results]
    commits = sorted({one.content["commit"] or "none" for one in everything})
    lines = [*markdown_table(["run", "seeds", *titles], rows), ""]
    lines += [
        "Test sets, scored once; mean ± sample standard deviation over seeds, [bootstrap interval] of one seed. "
        f"Commit {', '.join(commits)}."
    ]
    lines += [f"Scored: {line}." for line in _scored(everything)]
    return lines


def _seeds(results: Sequence[Results]) -> str:
    return ", ".join(str(one.seed) for one in results)


def _scored(results: Sequence[Results]) -> list[str]:
    """What was scored, a line for each set of rows; more than one means that the lines cannot be compared."""
    sets: dict[str, list[str]] = {}
    for one in results:
        parts = (f"{name} {part['rows']} rows ({part['fingerprint']})" for name, part in one.content["data"].items())
        sets.setdefault(", ".join(parts), []).append(one.entry)
    if len(sets) == 1:
        return list(sets)
    return [
        f"{', '.join(dict.fromkeys(names))} on {shown}; not comparable with the others" for shown, names in sets.items()
    ]


def _write_csv(path: Path, runs, columns, scores: dict[str, list[Score]]) -> None:
    """Full precision: a row for each run and metric."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["run", "seeds", "benchmark", "metric", "mean", "std", "reason"])
        for name, results in runs.items():
            for (benchmark, key), score in zip(columns, scores[name], strict=True):
                row = [score.mean, score.std, score.reason]
                writer.writerow(
                    [name, _seeds(results), benchmark, key, *("" if cell is None else cell for cell in row)]
                )
