"""`unimse demo`: everything, once, on the embedded sample, offline."""

import csv
import json
import os
import subprocess
import sys
import time
from pathlib import Path

BENCHMARKS = ("mosi", "mosei", "meld", "iemocap")
CONFIG = Path(__file__).parent / "configs" / "sample_cpu.yaml"
SHOWN = 12

# Runs in a process of its own, from another folder, without the project: only the published folder is there.
_FRESH_PROCESS = """
import sys
def is_editable(finder):
    return "editable" in getattr(finder, "__name__", repr(finder)).lower()
sys.meta_path = [finder for finder in sys.meta_path if not is_editable(finder)]
sys.path = [entry for entry in sys.path if entry]
from datasets import load_dataset
from transformers import AutoModelForSeq2SeqLM, AutoProcessor
folder, data, wanted = sys.argv[1], sys.argv[2], sys.argv[3].split(",")
processor = AutoProcessor.from_pretrained(folder, trust_remote_code=True)
model = AutoModelForSeq2SeqLM.from_pretrained(folder, trust_remote_code=True).eval()
assert "modeling_unimse" not in sys.modules and "trainer" not in sys.modules
rows = [row for row in load_dataset(data, split="test").with_format("numpy") if row["id"] in wanted]
inputs = processor(
    [row["text"] for row in rows],
    audio_features=[row["audio_features"] for row in rows],
    visual_features=[row["visual_features"] for row in rows],
)
ids = model.generate(**inputs, logits_processor=processor.logits_processor("meld"))
for row, label in zip(rows, processor.batch_decode_labels(ids)):
    print(row["id"], label.polarity, label.intensity, label.emotion, sep="\\t")
"""


def run_demo(out: Path):
    """Writes everything below `out`; an earlier demo's sample is used again, its results are replaced."""
    from dataset_scripts.sample import TRUTH, write_sample

    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    began = time.monotonic()
    raw = out / "raw"
    _step("1 Write the embedded sample: four small benchmarks, each in its own raw layout")
    if not (raw / TRUTH).is_file():  # that of an earlier demo is the same, byte for byte
        write_sample(raw)
    _step("2 Prepare the four benchmarks and give every utterance a universal label")
    folders = _prepare(raw, out / "data")
    _step("3 Train with all modalities, then the same without audio and video")
    full, text_only = _train(folders, out / "runs")
    _step("4 Evaluate the full model once more with every set of modalities; is it better than the words alone?")
    evaluated = _evaluate(full, text_only, folders, out)
    _step("5 Leaderboard, plots and model card")
    _publish(full, [*evaluated, text_only], out)
    _step("6 Load the published folder in a fresh process that does not import this project")
    _show_predictions(raw / "truth.csv", out / "published", out / "data" / "meld")
    _say_what_next(full, text_only, out, time.monotonic() - began)


def _step(title: str):
    print(f"\n== {title}", flush=True)


def _prepare(raw: Path, out: Path) -> list[Path]:
    from dataset_scripts.prepare import prepare_dataset
    from dataset_scripts.universal_labels import label_datasets

    folders = [out / name for name in BENCHMARKS]
    for name, folder in zip(BENCHMARKS, folders, strict=True):
        report = prepare_dataset(name, raw / name, folder, extractor="frozen-conv", overwrite=True)
        counts = ", ".join(f"{split} {facts['rows']}" for split, facts in report["splits"].items())
        print(f"{name}: {counts} utterances")
    label_datasets(folders)
    return folders


def _train(folders: list[Path], runs: Path) -> tuple[Path, Path]:
    """Results files of the full model and of the text-only ablation."""
    from trainer.arguments import load_config
    from trainer.train import train

    common = ["--data", str([str(folder) for folder in folders]), "--output_dir", str(runs), "--overwrite", "true"]
    common += ["--trackers", "[]"]  # trackio would write beside `out`
    (full,) = train(load_config(CONFIG, common))
    (text_only,) = train(load_config(CONFIG, [*common, "--run", "sample_cpu_text_only", "--modalities", "[]"]))
    return full, text_only


def _evaluate(full: Path, text_only: Path, folders: list[Path], out: Path) -> list[Path]:
    """Results files of the full model under each set of modalities; prints how it compares with the text-only model."""
    from trainer.comparison import compare
    from trainer.comparison_report import render_verdict, write_comparison
    from trainer.evaluator import Protocol, evaluate_checkpoint

    protocol = Protocol(missing_modalities=True, states=True)
    evaluated = evaluate_checkpoint(full.parent, folders, out / "results" / "full.json", protocol, overwrite=True)
    comparison = compare(text_only, evaluated[0])
    write_comparison(comparison, out / "comparison")
    print(f"A: text only, B: all modalities. {render_verdict(comparison)}")
    return evaluated


def _publish(full: Path, results: list[Path], out: Path):
    from trainer.hub import publish_folder
    from trainer.leaderboard import write_leaderboard

    for path in write_leaderboard(results, out / "leaderboard"):
        print(path)
    print(f"\n{(out / 'leaderboard' / 'overall.md').read_text(encoding='utf-8')}")
    publish_folder(full.parent, out / "published", results=results[1:], overwrite=True)


def _show_predictions(truth_file: Path, published: Path, data: Path):
    """Predictions of a process that has only the published folder, beside the truth and what tells it."""
    with truth_file.open(encoding="utf-8", newline="") as lines:
        truth = {row["id"]: row for row in csv.DictReader(lines)}
    # A few of each kind: the words tell, the voice tells, the face tells.
    chosen = []
    for teller in ("text", "voice", "face"):
        told = [name for name, row in truth.items() if name.startswith("meld/test/") and row["teller"] == teller]
        chosen += [name for name in told if truth[name]["emotion"] != "neutral"][: SHOWN // 3]
    paths = [str(path.resolve()) for path in (published, data)]
    command = [sys.executable, "-c", _FRESH_PROCESS, *paths, ",".join(chosen)]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"}
    done = subprocess.run(
        command, cwd=published.parent, env=environment, stdout=subprocess.PIPE, text=True, check=False
    )
    if done.returncode:
        raise ValueError(f"{published}: a fresh process could not load it (exit code {done.returncode}, see above)")
    predicted = dict(line.split("\t", 1) for line in done.stdout.splitlines())
    print(f"{'utterance':26} {'told by':8} {'truth':10} prediction")
    for name in chosen:
        print(
            f"{name:26} {truth[name]['teller']:8} {truth[name]['emotion']:10} {','.join(predicted[name].split(chr(9)))}"
        )


def _say_what_next(full: Path, text_only: Path, out: Path, seconds: float):
    scores = [json.loads(path.read_text(encoding="utf-8"))["metrics"]["emotion_accuracy"] for path in (full, text_only)]
    print(f"\nEmotion accuracy on the test sets: {scores[0]:.3f} with all modalities, {scores[1]:.3f} with text only.")
    print(f"Done in {seconds:.0f} s. What you can do next:")
    print(f"  open {out / 'leaderboard' / 'leaderboard.html'} and {out / 'published' / 'README.md'}")
    print(f'  unimse predict {out / "published"} --text "This is wonderful!"')
    print("  unimse prepare meld YOUR_MELD_FOLDER data/meld      (also mosi, mosei, iemocap, custom)")
    print("  unimse label data/meld data/mosi && unimse train YOUR_CONFIG.yaml")
