"""The card of a published repository, made from files in that repository, so that whoever has it can make it again.

results.json             of the published checkpoint; alone it fills the metadata
results/<run>/           further results (seeds, ablations) of the card's tables
predictions.parquet      beside a results.json, and only where asked: it holds labels that may not be passed on
card.yaml                what the card says besides (`CardSettings`)
README.md .eval_results/ made from the others
"""

import dataclasses
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from dataset_scripts.utils.outputs import claimed, mark_stale, replaced_files, settle
from trainer.card_metadata import EVALUATIONS, CardSettings
from trainer.fields import check_fields
from trainer.model_card import card_files
from trainer.results_file import Results, read_results

RESULTS = "results.json"
OTHERS = "results"
SETTINGS = "card.yaml"
_BESIDE = ("predictions", "states")
_SETTING_TYPES = {"model_id": str, "base_model": (str, type(None)), "training": dict, "dataset_ids": dict}
_SETTING_NAMES = {str: "a Hub name", (str, type(None)): "a Hub name or null", dict: "fields and values"}


def add_results(
    folder: Path, results: Path, settings: CardSettings, others: Sequence[Path] = (), with_predictions: bool = False
) -> None:
    """Put results files into a repository's folder and write its card from them.

    Args:
        results: the published checkpoint's own.
        others: further ones, for the tables.
        with_predictions: also the files beside them: ids, gold labels and predictions of each sample, and states.

    Raises:
        ValueError: a wrong results file; one evaluation given twice; no predictions where they are asked for.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _copy(read_results(results), folder, with_predictions)
    for path in others:
        other = read_results(path)
        _copy(other, _own_folder(folder / OTHERS, other), with_predictions)
    _write_settings(folder, settings)
    write_card(folder)


def _own_folder(folder: Path, results: Results) -> Path:
    """A folder that no other results have: those of one run under several protocols are numbered."""
    name = re.sub(r"[^\w.-]+", "-", f"{results.group}-seed-{results.seed}")
    number, path = 1, folder / name
    while path.exists():
        number += 1
        path = folder / f"{name}-{number}"
    return path


def _copy(results: Results, folder: Path, with_predictions: bool) -> None:
    """A results file under the name that it has in a repository, and what lies beside it where asked."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(results.path, folder / RESULTS)
    if not with_predictions:
        return
    for name in _BESIDE:
        path = results.beside(name)
        if path is not None:
            shutil.copyfile(path, folder / path.name)
        elif name == "predictions":
            raise ValueError(
                f"{results.path}: expected its predictions beside it, to be published; leave --with-predictions out"
            )


def write_card(folder: Path) -> list[Path]:
    """Write README.md and `.eval_results` of a repository's folder from the results files and `card.yaml` in it.

    Returns:
        The files written, the card first. Evaluation files that the results do not give are removed.

    Raises:
        FileNotFoundError: no results or no `card.yaml` there.
        ValueError: a wrong one.
    """
    settle(folder)
    settings = read_settings(folder)
    with claimed(folder), claimed(folder, "card"):
        return _replace_card(folder, settings)


def _replace_card(folder: Path, settings: CardSettings) -> list[Path]:
    """Write `card.yaml` and the card made with it, all or none; to be used under `claimed(folder, "card")`."""
    made = card_files(_results_files(folder), settings)
    with replaced_files(folder, "card") as new:
        _write_settings(new, settings)
        for path, text in made.items():
            (new / path).parent.mkdir(exist_ok=True)
            (new / path).write_text(text, encoding="utf-8")
        mark_stale(new, _evaluation_files(folder) - set(made))
    return [folder / path for path in made]


def card_differences(folder: Path) -> list[str]:
    """The files that `write_card` would change; none where the card is what the results give, byte for byte."""
    settle(folder)
    made = card_files(_results_files(folder), read_settings(folder))
    changed = [
        path
        for path, text in made.items()
        if not (folder / path).is_file() or (folder / path).read_bytes() != text.encode("utf-8")
    ]
    return changed + sorted(_evaluation_files(folder) - set(made))


def check_card(folder: Path) -> str:
    """Check all that a repository says of its numbers; returns in a line what was found.

    Raises:
        FileNotFoundError: no results or no `card.yaml` there.
        ValueError: the card is not what the results give; the results are not what the predictions give, where these
            are published; the weights are not those that were scored.
    """
    from trainer.evaluation import check_scored_weights
    from trainer.predictions_file import check_predictions

    if changed := card_differences(folder):
        raise ValueError(
            f"{folder}: {', '.join(changed)} not as {RESULTS} and {SETTINGS} give them; `unimse card {folder}` writes "
            "them again"
        )
    published, *others = (read_results(path) for path in _results_files(folder))
    checks = dict.fromkeys([check_predictions(published), *map(check_predictions, others)])
    found = f"README.md and {EVALUATIONS} as {RESULTS} gives them; its numbers: {', '.join(checks)}"
    if not [*folder.glob("*.safetensors")]:
        return f"{found}; no weights here"
    check_scored_weights(folder, published)
    return f"{found}; weights: those that were scored"


def is_card_folder(folder: Path) -> bool:
    """Whether a folder holds what its card is made from."""
    settle(folder)
    return (folder / SETTINGS).is_file() and (folder / RESULTS).is_file()


def read_settings(folder: Path) -> CardSettings:
    """The content of `card.yaml`.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is no mapping, or has unknown fields or wrong values.
    """
    import yaml

    path = folder / SETTINGS
    if not path.is_file():
        raise FileNotFoundError(f"{path}: expected a folder that `unimse publish` laid out; there is no {SETTINGS}")
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    if not isinstance(content, dict):
        raise ValueError(f"{path}: expected fields such as model_id, got {type(content).__name__}")
    try:
        check_fields(content, _SETTING_TYPES)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    for name, value in content.items():
        if not isinstance(value, _SETTING_TYPES[name]):
            raise ValueError(f"{path}: {name}: expected {_SETTING_NAMES[_SETTING_TYPES[name]]}, got {value!r}")
    return CardSettings(**content)


def rename_model(folder: Path, model_id: str) -> None:
    """Give the model of a card another Hub name, and write the card again."""
    with claimed(folder), claimed(folder, "card"):
        _replace_card(folder, dataclasses.replace(read_settings(folder), model_id=model_id))


def _write_settings(folder: Path, settings: CardSettings) -> None:
    import yaml

    text = yaml.safe_dump(dataclasses.asdict(settings), sort_keys=False, allow_unicode=True)
    (folder / SETTINGS).write_text(text, encoding="utf-8")


def _results_files(folder: Path) -> list[Path]:
    """The published checkpoint's own first."""
    return [folder / RESULTS, *sorted(folder.glob(f"{OTHERS}/*/{RESULTS}"))]


def _evaluation_files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.glob(f"{EVALUATIONS}/*.yaml")}
