"""The `unimse` command. Exit code 0 = done, 1 = failed, 2 = wrong usage, 130 = Ctrl-C; an error is one line."""

import argparse
import dataclasses
import inspect
import sys
import warnings
from pathlib import Path

from trainer import commands as run

BENCHMARKS = ("mosi", "mosei", "meld", "iemocap", "custom")
INTERRUPTED = 130  # as shells have it: 128 + SIGINT
_DATA_ERRORS = (ValueError, OSError, FloatingPointError)  # OSError: files that are missing or in the way
_LONGEST_MESSAGE = 1000  # characters
_library_warning = warnings.formatwarning


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise argparse.ArgumentTypeError(f"expected NAME=VALUE such as happy=joy, got {text!r}")
    return name, value


def _context(text: str) -> tuple[int, int]:
    before, slash, after = text.partition("/")
    if not (slash and before.isdecimal() and after.isdecimal()):
        raise argparse.ArgumentTypeError(f"expected BEFORE/AFTER such as 2/0, got {text!r}")
    return int(before), int(after)


def _add_data_commands(commands):
    sample = commands.add(
        "sample", run.sample, "write the embedded sample: four small benchmarks in their own layouts", "raw"
    )
    sample.add_argument("out", type=Path, help="folder to make")
    sample.add_argument("--seed", type=int, default=0)

    _add_prepare_command(commands)

    label = commands.add(
        "label", run.label, "universal labels from donors, over all folders together", "data/mosi data/meld"
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
    prepare = commands.add("prepare", run.prepare, "raw dataset, in any of its forms -> prepared dataset", example)
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
    train = commands.add("train", run.train, "train; any field of the config can follow as --field value", example)
    train.add_argument("-h", "--help", action=_HelpWithFields, help="show this and every field of a config")
    train.add_argument("config", type=Path, help="YAML file; of several, each is run, and one table made of all")
    train.add_argument(
        "overrides",
        nargs=argparse.REMAINDER,
        help="--field value, --field.of.it value, --out DIR, --extends CONFIG ...",
    )

    _add_evaluation_commands(commands)

    example = 'published --text "I cannot believe it!" clip.mp4'
    predict = commands.add("predict", run.predict, "the label of one utterance", example)
    predict.add_argument("model", help="folder or Hub name")
    predict.add_argument("clip", nargs="?", type=Path, help="audio or video file")
    predict.add_argument("--text", default="", help="what is said")
    predict.add_argument("--visual-extractor", help="where the model's visual extractor lies, if it came from a folder")
    predict.add_argument("--json", action="store_true")

    publish = commands.add(
        "publish", run.publish, "lay out a finished run as a model repository", "runs/sample_cpu/seed-1 published"
    )
    publish.add_argument("run_folder", type=Path)
    publish.add_argument("out", type=Path)
    publish.add_argument("--overwrite", action="store_true", help="replace OUT")
    publish.add_argument("--repo", metavar="OWNER/NAME", help="Hub name of the model, for its card")
    publish.add_argument(
        "--results", type=Path, nargs="+", default=[], help="results of other seeds or ablations, for the card's tables"
    )
    _add_with_predictions(publish)

    card = commands.add(
        "card", run.card, "write a published folder's README.md again from the results in it", "published --check"
    )
    card.add_argument("folder", type=Path, nargs="?", help="default: model_card.md of this checkout of the project")
    card.add_argument("--check", action="store_true", help="write nothing; fail where something would change")

    example = "runs/lora_base_all/seed-1 merged"
    merge = commands.add("merge", run.merge, "an adapter and its base -> one ordinary model", example)
    merge.add_argument("adapter", help="run folder, checkpoint folder or Hub name")
    merge.add_argument("out", type=Path)
    merge.add_argument("--overwrite", action="store_true", help="replace OUT")

    summary = (
        "push a prepared dataset, a run (what is pending, then its best checkpoint), a published folder or a Space, "
        "such as a metric, to the Hub"
    )
    push = commands.add("push", run.push, summary, "data/meld me/meld-unimse")
    push.add_argument("folder", type=Path, help="prepared dataset, run folder, published folder or Space")
    push.add_argument("repo", help="owner/name")
    push.add_argument("--public", action="store_true", help="if the repository is made, make it public")
    _add_with_predictions(push)
    push.add_argument("--dry-run", action="store_true", help="list files and sizes; nothing is sent")

    demo = commands.add("demo", run.demo, "all of the above on the embedded sample, offline, in minutes", "demo")
    demo.add_argument("out", type=Path, nargs="?", default=Path("demo"))


def _add_with_predictions(parser):
    parser.add_argument(
        "--with-predictions",
        action="store_true",
        help="also the test predictions, with ids and gold labels; most benchmarks' may not be passed on",
    )


def _add_evaluation_commands(commands):
    example = "runs/sample_cpu/seed-1 data/mosi data/meld --out results/sample.json --missing-modalities"
    evaluate = commands.add("evaluate", run.evaluate, "score a model or an adapter on prepared datasets", example)
    evaluate.add_argument("model", help="run folder, checkpoint folder or Hub name")
    evaluate.add_argument("data", nargs="+", help="prepared folders, or owner/name of prepared Hub datasets")
    evaluate.add_argument("--out", type=Path, required=True, help="results JSON; predictions lie beside it as Parquet")
    evaluate.add_argument("--split", default="test", choices=["train", "validation", "test"])
    evaluate.add_argument(
        "--modalities", help="what the model may see, such as text,audio or audio; default: all it was trained with"
    )
    evaluate.add_argument(
        "--missing-modalities", action="store_true", help="besides, with every smaller set of modalities: six of three"
    )
    evaluate.add_argument(
        "--context", type=_context, metavar="BEFORE/AFTER", help="utterances it may read around each, such as 2/0"
    )
    evaluate.add_argument(
        "--decoding",
        default="greedy",
        choices=["greedy", "posterior"],
        help="greedy: the label that is written; posterior: mean intensity and most probable emotion over all labels",
    )
    evaluate.add_argument("--states", action="store_true", help="keep text states around fusion, for the t-SNE picture")
    evaluate.add_argument("--batch-size", type=int, default=64)
    evaluate.add_argument("--overwrite", action="store_true", help="replace results that are there")

    board = commands.add(
        "leaderboard",
        run.leaderboard,
        "tables and plots from the results of runs, on disk and on the Hub",
        "runs --out board --from-hub me/unimse-base",
    )
    board.add_argument("results", type=Path, nargs="*", metavar="RUNS", help="results files, or folders with some")
    board.add_argument("--out", type=Path, required=True)
    board.add_argument(
        "--from-hub",
        nargs="+",
        action="extend",
        default=[],
        metavar="OWNER/NAME[@REVISION]",
        help="model repositories on the Hub; their results are kept in OUT/hub",
    )
    board.add_argument(
        "--all-entries",
        action="store_true",
        help="confusion, intensity and t-SNE of every entry, not of the first only",
    )

    _add_compare_command(commands)


def _add_compare_command(commands):
    summary = "whether two evaluations of the same samples differ, and where: tests, classes, samples that flipped"
    example = "runs/full/seed-1 runs/text_only/seed-1 --out comparison"
    compare = commands.add("compare", run.compare, summary, example)
    compare.add_argument("a", type=Path, help="results file with its predictions beside it, or run folder")
    compare.add_argument("b", type=Path, help="the same of the other model; differences are B - A")
    compare.add_argument("--out", type=Path, help="folder for comparison.md, comparison.json and flipped.csv")
    compare.add_argument("--resamples", type=int, default=10_000, help="of the paired bootstrap; default: %(default)s")
    compare.add_argument("--seed", type=int, default=0, help="of the resampling; default: %(default)s")


class _HelpWithFields(argparse.Action):
    """Help of a command that takes every field of a run; they are read only when somebody asks."""

    def __init__(self, option_strings, dest, help=None):
        super().__init__(option_strings, dest=argparse.SUPPRESS, nargs=0, help=help)

    def __call__(self, parser, *_):
        from trainer.arguments import RunConfig
        from trainer.augmentation import Augmentation
        from trainer.batching import Mixing
        from trainer.uploads import PushSettings

        print(f"{parser.format_help()}\n{inspect.cleandoc(RunConfig.__doc__)}\n\nDefaults:")
        for item in dataclasses.fields(RunConfig):
            default = item.default if item.default_factory is dataclasses.MISSING else item.default_factory()
            shown = "must be given" if default is dataclasses.MISSING else default
            print(f"    {item.name}: {getattr(item.type, '__name__', item.type)} = {shown}")
        for name, kind in (("mixing", Mixing), ("augmentation", Augmentation), ("push_to_hub", PushSettings)):
            print(f'\nFields of {name}, such as --{name} "{{...}}":\n\n{inspect.cleandoc(kind.__doc__)}')
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


def _warning_line(message, category, filename, lineno, line=None) -> str:
    """What a user is warned of; where it stands in the code is of use for libraries only."""
    if category is UserWarning and Path(filename).parent == Path(__file__).parent:
        return f"warning: {_one_line(str(message))}\n"
    return _library_warning(message, category, filename, lineno, line)


def main(arguments: list[str] | None = None) -> int:
    """Runs one command; returns its exit code."""
    options = build_parser().parse_args(arguments)
    warnings.formatwarning = _warning_line
    try:
        options.run(options)
    except KeyboardInterrupt as error:
        print(f"unimse {options.command}: {str(error) or 'interrupted'}", file=sys.stderr)
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
