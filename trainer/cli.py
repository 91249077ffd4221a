"""The `unimse` command. Exit code 0 = done, 1 = failed, 2 = wrong usage; an error is one line."""

import argparse
import json
import sys
from pathlib import Path

BENCHMARKS = ("mosi", "mosei", "meld", "iemocap", "custom")
_DATA_ERRORS = (ValueError, OSError, FloatingPointError)  # OSError: files that are missing or in the way


def _sample(options) -> None:
    from dataset_scripts.sample import write_sample

    summary = write_sample(options.out, seed=options.seed)
    print(f"{options.out}: {summary['bytes'] / 2**20:.1f} MiB, {_count(summary['utterances'])} utterances")


def _count(utterances: dict) -> int:
    return sum(sum(splits.values()) for splits in utterances.values())


def _prepare(options) -> None:
    from dataset_scripts.media import visual_extractor
    from dataset_scripts.prepare import prepare_dataset

    own = {}
    if options.benchmark == "custom":
        own = {
            "name": options.name,
            "emotion_map": dict(options.emotion_map),
            "emotion_polarity": dict(options.emotion_polarity),
        }
        own = {key: value for key, value in own.items() if value}
    report = prepare_dataset(
        options.benchmark,
        options.source,
        options.out,
        extractor=visual_extractor(options.visual_extractor),
        features=[name for name in options.features.split(",") if name != "none"],
        overwrite=options.overwrite,
        on_bad_clip=options.on_bad_clip,
        **own,
    )
    rows = ", ".join(f"{name} {split['rows']}" for name, split in report["splits"].items())
    print(f"{options.out}: {rows} rows ({report['layout']}); what was left out and why: prepare-report.json")
    for modality, problems in report["clips"].items():
        for reason, facts in problems.items():
            print(f"  {modality}: {facts['count']} clips {reason}, first {facts['first']}")


def _label(options) -> None:
    from dataset_scripts.text_similarity import TfidfEmbedder, sentence_embedder
    from dataset_scripts.universal_labels import label_datasets

    embedder = sentence_embedder(options.embedder) if options.embedder else TfidfEmbedder()
    report = label_datasets(options.data, embedder, leaky_donors=options.leaky_donors)
    print(f"universal labels by {report['embedder']} for {', '.join(map(str, options.data))}; details: labels.json")


def _train(options) -> None:
    from trainer.arguments import load_config
    from trainer.train import train

    overrides = [word for word in options.overrides if word != "--debug"]
    options.debug = options.debug or len(overrides) < len(options.overrides)
    config = load_config(options.config, overrides)
    _quiet_libraries()
    for path in train(config):
        metrics = json.loads(path.read_text(encoding="utf-8"))["metrics"]
        shown = {name: value for name, value in metrics.items() if name == config.metric or name == "parse_failures"}
        print(f"{path}: {', '.join(f'{name} {value:.4g}' for name, value in shown.items() if value is not None)}")


def _quiet_libraries() -> None:
    """One progress bar, ours, instead of one for every file the libraries touch."""
    import datasets
    from transformers.utils import logging

    datasets.disable_progress_bars()
    logging.disable_progress_bar()


def _evaluate(options) -> None:
    from trainer.checkpointing import write_json
    from trainer.evaluation import evaluate_checkpoint, write_predictions

    _quiet_libraries()
    modalities = options.modalities and [name for name in options.modalities.split(",") if name != "text"]
    rows, results = evaluate_checkpoint(options.model, options.data, options.split, modalities, options.batch_size)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    write_predictions(options.out.with_suffix(".parquet"), rows)
    write_json(options.out, results)
    for name, value in results["metrics"].items():
        print(f"{name:28} {'-' if value is None else f'{value:.4f}' if isinstance(value, float) else value}")
    print(options.out)


def _leaderboard(options) -> None:
    from trainer.leaderboard import write_leaderboard

    for path in write_leaderboard(options.results, options.out):
        print(path)


def _predict(options) -> None:
    from trainer.prediction import predict_clip

    label = predict_clip(options.model, options.text, options.clip)
    print(json.dumps(label) if options.json else label["label"])


def _publish(options) -> None:
    from trainer.hub import publish_folder

    print(publish_folder(options.run_folder, options.out, overwrite=options.overwrite))


def _demo(options) -> None:
    from trainer.demo import run_demo

    _quiet_libraries()
    run_demo(options.out)


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise argparse.ArgumentTypeError(f"expected NAME=VALUE such as happy=joy, got {text!r}")
    return name, value


def _add_data_commands(commands):
    sample = commands.add(
        "sample", _sample, "write the embedded sample: four small benchmarks in their own layouts", "raw"
    )
    sample.add_argument("out", type=Path, help="folder to make")
    sample.add_argument("--seed", type=int, default=0)

    example = "meld downloads/MELD.Raw data/meld"
    prepare = commands.add("prepare", _prepare, "raw dataset folder -> prepared dataset", example)
    prepare.add_argument("benchmark", choices=BENCHMARKS)
    prepare.add_argument("source", type=Path, help="raw folder; for custom: the manifest csv or its folder")
    prepare.add_argument("out", type=Path, help="folder to make")
    prepare.add_argument("--features", default="audio,visual", help="audio, visual, audio,visual or none")
    prepare.add_argument("--visual-extractor", default="frozen-conv", help="frozen-conv or none")
    prepare.add_argument("--on-bad-clip", default="keep", choices=["keep", "raise"])
    prepare.add_argument("--overwrite", action="store_true", help="replace OUT")
    prepare.add_argument("--name", help="custom: name of the dataset")
    prepare.add_argument(
        "--emotion-map", type=_pair, action="append", default=[], metavar="RAW=EMOTION", help="repeatable"
    )
    prepare.add_argument(
        "--emotion-polarity", type=_pair, action="append", default=[], metavar="EMOTION=POLARITY", help="repeatable"
    )

    label = commands.add(
        "label", _label, "universal labels from donors, over all folders together", "data/mosi data/meld"
    )
    label.add_argument("data", type=Path, nargs="+", help="prepared folders")
    label.add_argument("--embedder", help="sentence-transformers model or folder; without it TF-IDF is used")
    label.add_argument(
        "--leaky-donors", action="store_true", help="take donors from all splits, as the authors' code does"
    )


def _add_model_commands(commands):
    example = "trainer/configs/sample_cpu.yaml --seeds [1,2,3]"
    train = commands.add("train", _train, "train; any field of the config can follow as --field value", example)
    train.add_argument("config", type=Path)
    train.add_argument("overrides", nargs=argparse.REMAINDER, help="--field value ...")

    example = "runs/sample_cpu/seed-1/checkpoint-best data/meld --out results/meld.json"
    evaluate = commands.add("evaluate", _evaluate, "score a checkpoint on prepared datasets", example)
    evaluate.add_argument("model", help="folder or Hub name")
    evaluate.add_argument("data", type=Path, nargs="+", help="prepared folders")
    evaluate.add_argument("--out", type=Path, required=True, help="results JSON; predictions go beside it as Parquet")
    evaluate.add_argument("--split", default="test", choices=["train", "validation", "test"])
    evaluate.add_argument("--modalities", help="what the model may see, such as text,audio; default: all it knows")
    evaluate.add_argument("--batch-size", type=int, default=64)

    board = commands.add(
        "leaderboard", _leaderboard, "tables and plots from results files", "runs/*/*/results.json --out board"
    )
    board.add_argument("results", type=Path, nargs="+")
    board.add_argument("--out", type=Path, required=True)

    example = 'published --text "I cannot believe it!" clip.mp4'
    predict = commands.add("predict", _predict, "the label of one utterance", example)
    predict.add_argument("model", help="folder or Hub name")
    predict.add_argument("clip", nargs="?", type=Path, help="audio or video file")
    predict.add_argument("--text", default="", help="what is said")
    predict.add_argument("--json", action="store_true")

    publish = commands.add(
        "publish", _publish, "lay out a finished run as a model repository", "runs/sample_cpu/seed-1 published"
    )
    publish.add_argument("run_folder", type=Path)
    publish.add_argument("out", type=Path)
    publish.add_argument("--overwrite", action="store_true", help="replace OUT")

    demo = commands.add("demo", _demo, "all of the above on the embedded sample, offline, in minutes", "demo")
    demo.add_argument("out", type=Path, nargs="?", default=Path("demo"))


class _Commands:
    """Subcommands that all end their help with an example."""

    def __init__(self, parser: argparse.ArgumentParser):
        self.parsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(self, name: str, run, summary: str, example: str) -> argparse.ArgumentParser:
        parser = self.parsers.add_parser(
            name, help=summary, description=summary, epilog=f"example: unimse {name} {example}"
        )
        parser.set_defaults(run=run)
        parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
        return parser


def build_parser() -> argparse.ArgumentParser:
    """The parser of all subcommands."""
    parser = argparse.ArgumentParser(prog="unimse", description=__doc__)
    commands = _Commands(parser)
    _add_data_commands(commands)
    _add_model_commands(commands)
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Runs one command; returns its exit code."""
    options = build_parser().parse_args(arguments)
    try:
        options.run(options)
    except _DATA_ERRORS as error:
        if options.debug:
            raise
        print(f"unimse {options.command}: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    except ImportError as error:
        if options.debug:
            raise
        print(f"unimse {options.command}: {error}; install the extras: pip install 'unimse[all]'", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
