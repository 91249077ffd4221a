"""The `unimse` command. Exit code 0 = done, 1 = failed, 2 = wrong usage, 130 = Ctrl-C; an error is one line."""

import argparse
import inspect
import json
import sys
from itertools import takewhile
from pathlib import Path

BENCHMARKS = ("mosi", "mosei", "meld", "iemocap", "custom")
INTERRUPTED = 130  # as shells have it: 128 + SIGINT
_DATA_ERRORS = (ValueError, OSError, FloatingPointError)  # OSError: files that are missing or in the way
_LONGEST_MESSAGE = 1000  # characters


def _sample(options) -> None:
    from dataset_scripts.sample import write_sample

    summary = write_sample(options.out, seed=options.seed)
    print(f"{options.out}: {summary['bytes'] / 2**20:.1f} MiB, {_count(summary['utterances'])} utterances")
    print("its faces are drawn, no detector finds them: prepare it with --visual-extractor frozen-conv")


def _count(utterances: dict) -> int:
    return sum(sum(splits.values()) for splits in utterances.values())


def _prepare(options) -> None:
    from dataset_scripts.hub import check_repo_name
    from dataset_scripts.prepare import prepare_dataset

    if options.push_to_hub:
        check_repo_name(options.push_to_hub)
    report = prepare_dataset(
        options.benchmark,
        options.source,
        options.out,
        extractor=options.visual_extractor,
        features=[name for name in options.features.split(",") if name != "none"],
        feature_sets=None if options.feature_sets is None else [*filter(None, options.feature_sets.split(","))],
        overwrite=options.overwrite,
        on_bad_clip=options.on_bad_clip,
        workers=options.workers,
        restart=options.restart,
        **_loader_options(options),
    )
    if report is None:  # another process of a distributed run writes and reports
        return
    _print_report(options.out, report)
    if options.push_to_hub:
        _push_dataset(options.out, options.push_to_hub, options.public)


def _loader_options(options) -> dict:
    """What only some loaders take, and only where it was given."""
    given = {
        "format": options.format,
        "name": options.name,
        "emotion_map": dict(options.emotion_map),
        "emotion_polarity": dict(options.emotion_polarity),
    }
    return {name: value for name, value in given.items() if value}


def _print_report(out: Path, report: dict) -> None:
    rows = ", ".join(f"{name} {split['rows']}" for name, split in report["splits"].items())
    print(f"{out}: {rows} rows ({report['layout']}); what was left out and why: prepare-report.json")
    for name, facts in report["feature_sets"].items():
        widths = [f"{modality} {spec['size']}" for modality, spec in facts["specs"].items() if spec]
        print(f"  feature set {name}: {', '.join(widths) or 'text and labels only'}")
    for line in report["explanation"]:
        print(f"  {line}")
    for reason, facts in report["skipped"].items():
        print(f"  left out: {facts['count']} rows, {reason}, first {facts['first']}")
    for modality, problems in report["clips"].items():
        for reason, facts in problems.items():
            print(f"  {modality}: {facts['count']} clips {reason}, first {facts['first']}")


def _push(options) -> None:
    from trainer.push import is_model_folder, is_run_folder, planned_files, push_model, push_run

    if options.dry_run:
        from dataset_scripts.hub import files_to_push

        is_model = is_run_folder(options.folder) or is_model_folder(options.folder)
        planned = (
            planned_files(options.folder, options.repo) if is_model else [(options.repo, files_to_push(options.folder))]
        )
        for title, files in planned:
            _print_files(title, files)
    elif is_run_folder(options.folder):
        for address in push_run(options.folder, options.repo, private=not options.public):
            print(f"{options.folder} -> {address}")
    elif is_model_folder(options.folder):
        print(f"{options.folder} -> {push_model(options.folder, options.repo, private=not options.public)}")
    else:
        _push_dataset(options.folder, options.repo, options.public)


def _print_files(title: str, files: list[tuple[str, int]]) -> None:
    print(f"{title}: {len(files)} files, {sum(size for _, size in files) / 2**20:.1f} MiB")
    for name, size in files:
        print(f"  {size:12,}  {name}")


def _push_dataset(folder: Path, repo: str, public: bool) -> None:
    from dataset_scripts.hub import push_prepared

    pushed = push_prepared(folder, repo, private=not public)
    print(f"{folder} -> {pushed['repo']}, version {pushed['version']}: {pushed['commit']}")


def _label(options) -> None:
    from dataset_scripts.text_embedders import embedder_by_name
    from dataset_scripts.universal_labels import label_datasets

    report = label_datasets(
        options.data,
        embedder_by_name(options.embedder, options.pooling),
        leaky_donors=options.leaky_donors,
        per_dataset_emotions=options.per_dataset_emotions,
        search=options.search,
    )
    print(
        f"universal labels by {report['embedder']} for {', '.join(map(str, options.data))}; "
        "to look at in each: labels.png, label-pairs.md, labels.json"
    )


def _train(options) -> None:
    from accelerate import PartialState

    from trainer.arguments import load_config
    from trainer.summary import write_summary
    from trainer.train import train

    words = [word for word in options.overrides if word != "--debug"]
    options.debug = options.debug or len(words) < len(options.overrides)
    files = [options.config, *takewhile(lambda word: not word.startswith("--"), words)]
    configs = [load_config(file, words[len(files) - 1 :]) for file in files]
    _check_names(configs)
    _quiet_libraries()
    paths = []
    for config in configs:
        found = train(config)
        if PartialState().is_main_process:
            _print_results(config, found)
            write_summary(found, Path(config.output_dir) / config.run)
        paths += found
    if len(paths) > 1 and PartialState().is_main_process:
        folder = Path(configs[0].output_dir) / ("" if len(configs) > 1 else configs[0].run)
        print(f"\n{write_summary(paths, folder)}\n{folder / 'summary.md'}")


def _check_names(configs) -> None:
    """Refuses two configs of one name before anything starts: they would be one run."""
    names = [(config.output_dir, config.run) for config in configs]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise ValueError(f"run {twice[1]!r} stands in two configs; give each a name of its own (field run)")


def _print_results(config, paths: list[Path]) -> None:
    for path in paths:
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

    label = predict_clip(options.model, options.text, options.clip, options.visual_extractor)
    print(json.dumps(label) if options.json else label["label"])


def _publish(options) -> None:
    from trainer.hub import publish_folder

    print(publish_folder(options.run_folder, options.out, overwrite=options.overwrite))


def _merge(options) -> None:
    from trainer.adapters import merge_checkpoint
    from trainer.evaluation import find_checkpoint

    print(merge_checkpoint(find_checkpoint(options.adapter), options.out, options.overwrite))


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

    _add_prepare_command(commands)

    label = commands.add(
        "label", _label, "universal labels from donors, over all folders together", "data/mosi data/meld"
    )
    label.add_argument("data", type=Path, nargs="+", help="prepared folders")
    label.add_argument(
        "--embedder",
        default="princeton-nlp/sup-simcse-bert-base-uncased",
        help="sentence-transformers model, checkpoint, folder, or tf-idf; default: the paper's %(default)s",
    )
    label.add_argument("--pooling", choices=["mean", "cls", "pooler"], help="default: what the model was made for")
    label.add_argument(
        "--leaky-donors", action="store_true", help="take donors from all splits, as the authors' code does"
    )
    label.add_argument(
        "--per-dataset-emotions",
        action="store_true",
        help="also write an emotion from MELD and one from IEMOCAP for each row, as the authors' code does",
    )
    label.add_argument("--search", default="exact", choices=["exact", "faiss"], help="default: %(default)s")


def _add_prepare_command(commands):
    example = "meld downloads/MELD.Raw data/meld --push-to-hub me/meld-unimse"
    prepare = commands.add("prepare", _prepare, "raw dataset, in any of its forms -> prepared dataset", example)
    prepare.add_argument("benchmark", choices=BENCHMARKS)
    prepare.add_argument(
        "source", help="raw folder, a pickle or manifest, or owner/name of a Hub dataset with raw files"
    )
    prepare.add_argument("out", type=Path, help="folder to make")
    prepare.add_argument("--format", help="form of the raw data; default: told by the folder's contents")
    prepare.add_argument("--features", default="audio,visual", help="to extract from clips: audio,visual, one, or none")
    prepare.add_argument(
        "--feature-sets", help="sets to write, such as default,covarep; default: all that the raw data give"
    )
    prepare.add_argument(
        "--visual-extractor",
        default="efficientnet-lite0",
        help="efficientnet-lite0, emotiefflib:MODEL, timm:MODEL, transformers:MODEL, a folder, frozen-conv (the "
        "sample's drawn faces) or none; default: %(default)s",
    )
    prepare.add_argument("--on-bad-clip", default="keep", choices=["keep", "raise"])
    prepare.add_argument("--workers", type=int, help="processes that decode; default: one a core")
    prepare.add_argument(
        "--restart", action="store_true", help="drop what a killed run had done; default: go on from it"
    )
    prepare.add_argument("--overwrite", action="store_true", help="replace OUT")
    prepare.add_argument("--push-to-hub", metavar="OWNER/NAME", help="push the result to this Hub dataset")
    prepare.add_argument("--public", action="store_true", help="if the Hub dataset is made, make it public")
    prepare.add_argument("--name", help="custom: name of the dataset")
    prepare.add_argument(
        "--emotion-map", type=_pair, action="append", default=[], metavar="RAW=EMOTION", help="custom; repeatable"
    )
    prepare.add_argument(
        "--emotion-polarity",
        type=_pair,
        action="append",
        default=[],
        metavar="EMOTION=POLARITY",
        help="custom; repeatable",
    )


def _add_model_commands(commands):
    example = "trainer/configs/sample_cpu.yaml --seeds [1,2,3]"
    train = commands.add("train", _train, "train; any field of the config can follow as --field value", example)
    train.add_argument("-h", "--help", action=_HelpWithFields, help="show this and every field of a config")
    train.add_argument("config", type=Path, help="YAML file; of several, each is run, and one table made of all")
    train.add_argument("overrides", nargs=argparse.REMAINDER, help="--field value ...")

    example = "runs/sample_cpu/seed-1/checkpoint-best data/meld --out results/meld.json"
    evaluate = commands.add("evaluate", _evaluate, "score a checkpoint on prepared datasets", example)
    evaluate.add_argument("model", help="folder or Hub name")
    evaluate.add_argument("data", nargs="+", help="prepared folders, or owner/name of prepared Hub datasets")
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
    predict.add_argument("--visual-extractor", help="where the model's visual extractor lies, if it came from a folder")
    predict.add_argument("--json", action="store_true")

    publish = commands.add(
        "publish", _publish, "lay out a finished run as a model repository", "runs/sample_cpu/seed-1 published"
    )
    publish.add_argument("run_folder", type=Path)
    publish.add_argument("out", type=Path)
    publish.add_argument("--overwrite", action="store_true", help="replace OUT")

    example = "runs/lora_base_all/seed-1 merged"
    merge = commands.add("merge", _merge, "an adapter and its base -> one ordinary model", example)
    merge.add_argument("adapter", help="run folder, checkpoint folder or Hub name")
    merge.add_argument("out", type=Path)
    merge.add_argument("--overwrite", action="store_true", help="replace OUT")

    summary = (
        "push a prepared dataset, a run (what is pending, then its best checkpoint) or a published folder to the Hub"
    )
    push = commands.add("push", _push, summary, "data/meld me/meld-unimse")
    push.add_argument("folder", type=Path, help="prepared dataset, run folder or published folder")
    push.add_argument("repo", help="owner/name")
    push.add_argument("--public", action="store_true", help="if the repository is made, make it public")
    push.add_argument("--dry-run", action="store_true", help="list files and sizes; nothing is sent")

    demo = commands.add("demo", _demo, "all of the above on the embedded sample, offline, in minutes", "demo")
    demo.add_argument("out", type=Path, nargs="?", default=Path("demo"))


class _HelpWithFields(argparse.Action):
    """Help of a command that takes every field of a run; they are read only when somebody asks."""

    def __init__(self, option_strings, dest, help=None):
        super().__init__(option_strings, dest=argparse.SUPPRESS, nargs=0, help=help)

    def __call__(self, parser, *_):
        from trainer.arguments import RunConfig

        print(f"{parser.format_help()}\n{inspect.cleandoc(RunConfig.__doc__)}")
        parser.exit()


class _Commands:
    """Subcommands that all end their help with an example."""

    def __init__(self, parser: argparse.ArgumentParser):
        self.parsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(self, name: str, run, summary: str, example: str) -> argparse.ArgumentParser:
        parser = self.parsers.add_parser(
            name,
            help=summary,
            description=summary,
            epilog=f"example: unimse {name} {example}",
            conflict_handler="resolve",
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


def _one_line(message: str) -> str:
    """Without line breaks, and without the middle where a whole damaged file is quoted."""
    line = " ".join(message.split())
    return line if len(line) <= _LONGEST_MESSAGE else f"{line[: _LONGEST_MESSAGE - 200]} ... {line[-200:]}"


def main(arguments: list[str] | None = None) -> int:
    """Runs one command; returns its exit code."""
    options = build_parser().parse_args(arguments)
    try:
        options.run(options)
    except KeyboardInterrupt as error:
        print(f"unimse {options.command}: {error or 'interrupted'}", file=sys.stderr)
        return INTERRUPTED
    except _DATA_ERRORS as error:
        if options.debug:
            raise
        print(f"unimse {options.command}: {_one_line(str(error))}", file=sys.stderr)
        return 1
    except ImportError as error:
        if options.debug:
            raise
        remedy = "" if "pip install" in str(error) else "; install the extras: pip install 'unimse[all]'"
        print(f"unimse {options.command}: {error}{remedy}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
