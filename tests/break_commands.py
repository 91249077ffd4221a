"""The writing commands of `unimse` as data, for `tests.break_writes`: what is run, on what, and what it may change.

A sandbox is put together from ingredients (tiny datasets, a trained run, results), then an older output is made where
the command is to replace one, then foreign files are laid beside and into it. All paths are relative to the sandbox.
"""

import functools
import json
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

Words = Sequence[str]
NOTES = "not of this project\n"
LORA = {"type": "lora", "r": 2, "target_modules": ["q", "v"]}
RUN, PUBLISH = "runs/tiny/seed-1", ("publish", "runs/tiny/seed-1", "published")
SCORE = ("evaluate", RUN, "data/mosi", "data/meld", "--out", "results/full.json")
OTHER_SCORE = ("evaluate", "runs/other/seed-1", *SCORE[2:])
MANIFEST = ("prepare", "custom", "manifest.csv", "data/mine", "--name", "mine", "--features", "audio", "--workers", "1")


@dataclass(frozen=True)
class Variant:
    """One command on one sandbox.

    Args:
        words: the command line without `unimse`.
        outputs: files, folders, or patterns of them, that the command writes.
        needs: ingredients of the sandbox.
        older: what makes the output that is there before: command lines, or functions called in the sandbox.
        foreign: files of somebody else, which nobody may touch, with their text.
        readers: the commands that come next, whichever they are.
        reads_old: whether these accept the older output.
        separate: the outputs are whole each for itself; otherwise all are old or all are new.
        unfinished_between: outputs that grow over many steps and go on later, as a run folder: they are only loaded.
        code: how the undisturbed command ends.
        may_refuse: whether it may instead refuse in a line what it finds there; then nothing is broken.
    """

    command: str
    name: str
    words: Words
    outputs: Sequence[str]
    needs: Sequence[str] = ()
    older: Sequence[Words | Callable[[], None]] = ()
    foreign: Mapping[str, str] = field(default_factory=dict)
    readers: Sequence[Words] = ()
    reads_old: bool = True
    separate: bool = False
    unfinished_between: bool = False
    code: int = 0
    may_refuse: bool = False

    @property
    def title(self) -> str:
        return f"{self.command}/{self.name}"


def _beside(out: str) -> dict[str, str]:
    """Names that a careless command takes for its own."""
    return {f"{out}{ending}/notes.txt": NOTES for ending in (".old", ".partial", ".outgoing")}


def _folder(variants: Sequence[Variant], words: Words, older: Sequence, out: str, **shared) -> list[Variant]:
    """Fresh, replacing, and replacing a folder that holds a foreign file, of a command that makes one folder."""
    command = words[0]
    made = Variant(command, "fresh", words, [out], foreign=_beside(out), **shared)
    replacing = [*words, *variants]
    inside = {f"{out}/notes.txt": NOTES}
    return [
        made,
        Variant(command, "replace", replacing, [out], older=older, foreign=_beside(out), **shared),
        Variant(command, "notes", replacing, [out], older=older, foreign=inside, may_refuse=True, **shared),
    ]


def _train() -> list[Variant]:
    shared = {
        "outputs": ["runs/tiny"],
        "readers": [["push", RUN, "me/x", "--dry-run"]],
        "reads_old": False,  # it was removed when the new training began, or stands whole
        "unfinished_between": True,
    }
    words, beside = ["train", "tiny.yaml"], {"runs/tiny.old/notes.txt": NOTES, **_beside(RUN), "runs/notes.txt": NOTES}
    again, older = [*words, "--overwrite", "true"], [["train", "older.yaml"]]
    return [
        Variant("train", "fresh", words, needs=["config"], foreign=beside, **shared),
        Variant("train", "replace", again, needs=["config"], older=older, foreign=beside, **shared),
        Variant(
            *("train", "notes", again),
            **{
                **shared,
                "needs": ["config"],
                "older": older,
                "foreign": {f"{RUN}/notes.txt": NOTES},
                "may_refuse": True,
            },
        ),
        Variant("train", "lora", ["train", "lora.yaml", "--run", "tiny"], needs=["config"], foreign=beside, **shared),
    ]


def _evaluate() -> list[Variant]:
    shared = {
        "outputs": ["results/full.json", "results/full.*.json", "results/full*.parquet"],
        "needs": ["results"],
        "readers": [["compare", "results/full.json", "results/b.json", "--resamples", "100"]],
        "foreign": {"results/notes.txt": NOTES, "results/fuller.json": NOTES, "results/full.old": NOTES},
    }
    every = ["--missing-modalities", "--states"]
    replacing = [[*SCORE, "--overwrite"], [*SCORE, *every, "--overwrite"]]
    return [
        Variant("evaluate", "fresh", SCORE, **shared),
        Variant("evaluate", "replace", replacing[0], older=[OTHER_SCORE], **shared),
        Variant("evaluate", "fresh-all", [*SCORE, *every], **shared),
        Variant("evaluate", "replace-all", replacing[1], older=[[*OTHER_SCORE, *every]], **shared),
    ]


def _label() -> list[Variant]:
    folders = ["data/mosi", "data/meld"]
    shared = {
        "outputs": folders,
        "needs": ["unlabelled"],
        "readers": [["push", folder, "me/x", "--dry-run"] for folder in folders],
        "separate": True,
        "foreign": {"data/mosi/notes.txt": NOTES, "data/mosi/data/mine.txt": NOTES, "data/mosi.csv": NOTES},
    }
    words = ["label", *folders, "--embedder", "tf-idf"]
    return [
        Variant("label", "fresh", words, **shared),
        Variant("label", "replace", words, older=[[*words, "--per-dataset-emotions"]], **shared),
    ]


def _tables() -> list[Variant]:
    words = ["compare", "results/a.json", "results/b.json", "--out", "comparison", "--resamples", "100"]
    turned = ["compare", "results/b.json", "results/a.json", *words[3:]]
    written = ["comparison"]
    shared = {"needs": ["results"], "foreign": {"comparison/notes.txt": NOTES, **_beside("comparison")}}
    board = ["leaderboard", "results/a.json", "--out", "board"]
    older = ["leaderboard", "results", "--out", "board", "--all-entries"]
    foreign = {f"board/{name}": NOTES for name in ("notes.txt", "mosei.csv", "plots/mine.png", "plots.old/mine.png")}
    return [
        Variant("compare", "fresh", words, written, **shared),
        Variant("compare", "replace", words, written, older=[turned], **shared),
        Variant("leaderboard", "fresh", board, ["board"], ["results"], foreign=foreign),
        Variant("leaderboard", "replace", board, ["board"], ["results"], older=[older], foreign=foreign),
    ]


def _edit_card() -> None:
    path = Path("published/README.md")
    path.write_text(path.read_text(encoding="utf-8") + "\nAn older end.\n", encoding="utf-8")
    Path("published/.eval_results/older.yaml").write_text("[]\n", encoding="utf-8")


def _plain_model() -> None:
    shutil.copytree(f"{RUN}/checkpoint-best", "merged")


def _models() -> list[Variant]:
    check = ["card", "published", "--check"]
    other = ["publish", "runs/other/seed-1", "published"]
    merge = ["merge", "runs/lora/seed-1", "merged"]
    dry = ["push", "merged", "me/x", "--dry-run"]
    written = ["published/README.md", "published/.eval_results"]
    card = Variant("card", "replace", check[:2], written, ["run"], [PUBLISH, _edit_card], readers=[check])
    notes = {"published/notes.txt": NOTES, "published/.eval_results/notes.txt": NOTES, **_beside("published")}
    return [
        *_folder(["--overwrite"], PUBLISH, [other], "published", needs=["run", "other"], readers=[check]),
        Variant(**{**vars(card), "foreign": notes, "reads_old": False}),
        *_folder(["--overwrite"], merge, [_plain_model], "merged", needs=["lora", "run"], readers=[dry]),
    ]


def _push() -> list[Variant]:
    """What it does on this side; without a network, sending itself fails in a line."""
    folders = {"dry": RUN, "run": RUN, "data": "data/mosi", "model": "published"}
    foreign = {name: {f"{out}/notes.txt": NOTES, **_beside(out)} for name, out in folders.items()}
    return [
        Variant("push", "dry", ["push", RUN, "me/x", "--dry-run"], [RUN], ["run"], foreign=foreign["dry"]),
        Variant("push", "run", ["push", RUN, "me/x"], [RUN], ["run"], foreign=foreign["run"], code=1),
        Variant(
            "push", "data", ["push", "data/mosi", "me/x"], ["data/mosi"], ["stale"], foreign=foreign["data"], code=1
        ),
        Variant(
            *("push", "model", ["push", "published", "me/x"], ["published"], ["run"], [PUBLISH]),
            **{"foreign": foreign["model"], "code": 1, "readers": [["card", "published", "--check"]]},
        ),
    ]


def all_variants() -> list[Variant]:
    """Every command with its sandboxes, in the order in which a user comes to them."""
    older = [["prepare", "custom", "older.csv", *MANIFEST[3:]]]
    read = [["push", "data/mine", "me/x", "--dry-run"]]
    sample = ["sample", "raw"]
    return [
        Variant("sample", "fresh", sample, ["raw"], foreign=_beside("raw")),
        Variant("sample", "there", sample, ["raw"], older=[[*sample, "--seed", "1"]], may_refuse=True),
        *_folder(["--overwrite"], MANIFEST, older, "data/mine", needs=["clips"], readers=read),
        *_label(),
        *_train(),
        *_evaluate(),
        *_tables(),
        *_models(),
        *_push(),
    ]


# ---- ingredients: each is made in a sandbox that holds those it needs


def _make_unlabelled() -> None:
    from tests.trainer.conftest import write_prepared

    for name in ("mosi", "meld"):
        write_prepared(Path("data", name), name, {"train": 24, "validation": 8, "test": 10})


def _make_data() -> None:
    from dataset_scripts.universal_labels import label_datasets

    label_datasets([Path("data/mosi"), Path("data/meld")])


def _make_stale() -> None:
    """A card whose stamp is not that of the files, as after an edit by hand: a push writes it again."""
    path = Path("data/mosi/README.md")
    path.write_text(re.sub("content [0-9a-f]{12}", f"content {'0' * 12}", path.read_text(encoding="utf-8")))


def _make_clips() -> None:
    from tests.dataset_scripts.conftest import MANIFEST_HEADER, write_csv, write_wav

    splits = ("train", "test")
    for manifest, score in (("manifest.csv", "1.5"), ("older.csv", "-0.5")):
        rows = [(f"{at}", split, f"words {at}", f"{at}.wav", "", score, "") for at, split in enumerate(splits)]
        write_csv(Path(manifest), MANIFEST_HEADER, rows)
    for at, _ in enumerate(splits):
        write_wav(Path(f"{at}.wav"), seconds=0.2, frequency=300.0 + 50 * at)


def _make_config() -> None:
    import yaml

    from tests.trainer.conftest import make_settings

    tiny = make_settings([Path("data/mosi"), Path("data/meld")], Path())
    tiny |= {"trackers": [], "save_every": 2}
    older = {**tiny, "epochs": 1, "learning_rate": 1e-3}
    configs = {"tiny": tiny, "older": older, "other": {**older, "run": "other"}, "lora": {**older, "run": "lora"}}
    configs["lora"] |= {"peft": LORA}
    for name, content in configs.items():
        Path(f"{name}.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")


@dataclass(frozen=True)
class Ingredient:
    """Something that a sandbox can hold: made by a function called in one, or by command lines."""

    needs: Sequence[str]
    steps: Sequence[Words | Callable[[], None]]


INGREDIENTS = {
    "unlabelled": Ingredient([], [_make_unlabelled]),
    "data": Ingredient(["unlabelled"], [_make_data]),
    "stale": Ingredient(["data"], [_make_stale]),
    "clips": Ingredient([], [_make_clips]),
    "config": Ingredient(["data"], [_make_config]),
    "run": Ingredient(["config"], [["train", "tiny.yaml"]]),
    "other": Ingredient(["config"], [["train", "other.yaml"]]),
    "lora": Ingredient(["config"], [["train", "lora.yaml"]]),
    "results": Ingredient(
        ["run", "other"],
        [
            ["evaluate", RUN, "data/mosi", "data/meld", "--out", "results/a.json", "--states"],
            ["evaluate", "runs/other/seed-1", "data/mosi", "data/meld", "--out", "results/b.json", "--states"],
        ],
    ),
}


# ---- what runs in a forked process


def run_command(words: Words) -> int:
    """Run one command line as a user does; the sample is a small one, of one benchmark."""
    import dataset_scripts.sample
    from trainer.cli import main

    dataset_scripts.sample.DATASETS = ("mosi",)
    dataset_scripts.sample.write_sample = functools.partial(dataset_scripts.sample.write_sample, scale=0.02)
    return main([*words])


def check_run(folder: Path) -> list[str]:
    """Load what a run folder shows to others; what is wrong with it. Results must be those of the weights there."""
    from modeling_unimse import UniMSEProcessor
    from trainer.adapters import load_model
    from trainer.evaluation import describe_checkpoint
    from trainer.predictions_file import check_predictions
    from trainer.results_file import read_results

    best, problems = folder / "checkpoint-best", []
    try:
        if best.is_dir():
            UniMSEProcessor.from_pretrained(best)
            load_model(best)
        for path in (folder / "validation.json", folder / "results.json"):
            if path.is_file():
                check_predictions(read_results(path))
        if (folder / "results.json").is_file():
            scored = json.loads((folder / "results.json").read_text(encoding="utf-8"))["checkpoint"]["weights"]
            if not best.is_dir() or describe_checkpoint(best)["weights"] != scored:
                problems.append("results.json is not of the checkpoint beside it")
            if not (folder / "predictions.parquet").is_file():
                problems.append("results.json without predictions.parquet")
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        problems.append(f"run folder cannot be read: {type(error).__name__}: {str(error)[:150]}")
    return problems
