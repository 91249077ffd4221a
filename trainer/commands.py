"""What each command of `unimse` does with its options; libraries are imported when a command needs them."""

import json
from itertools import takewhile
from pathlib import Path


def sample(options) -> None:
    from dataset_scripts.sample import write_sample

    summary = write_sample(options.out, seed=options.seed)
    print(f"{options.out}: {summary['bytes'] / 2**20:.1f} MiB, {_count(summary['utterances'])} utterances")
    print("its faces are drawn, no detector finds them: prepare it with --visual-extractor frozen-conv")


def _count(utterances: dict) -> int:
    return sum(sum(splits.values()) for splits in utterances.values())


def prepare(options) -> None:
    from dataset_scripts.hub_names import check_repo_name
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


def push(options) -> None:
    from dataset_scripts.utils.outputs import settle
    from trainer.adapters import is_adapter
    from trainer.push import is_model_folder, is_run_folder, is_space_folder, push_model, push_run, push_space

    folder, private = options.folder, not options.public
    settle(folder)
    if seeds := sorted(map(str, folder.glob("seed-*"))):
        raise ValueError(f"{folder}: expected the run folder of one seed, such as {seeds[0]}")
    if options.with_predictions and not is_run_folder(folder):
        raise ValueError(f"{folder}: --with-predictions is for run folders; other folders are sent as they are")
    _quiet_libraries()
    if options.dry_run:
        _print_planned(folder, options.repo, options.with_predictions)
    elif is_run_folder(folder):
        for address in push_run(folder, options.repo, private, options.with_predictions):
            print(f"{folder} -> {address}")
    elif is_space_folder(folder):
        print(f"{folder} -> {push_space(folder, options.repo, private)}")
    elif is_model_folder(folder):
        if any(folder.rglob("predictions.parquet")):
            print(f"{folder}: with predictions, and in them ids and gold labels")
        print(f"{folder} -> {push_model(folder, options.repo, private)}")
    elif is_adapter(folder):
        raise ValueError(f"{folder}: an adapter alone is not pushed, its base must go with it; push the run folder")
    elif (folder / "features.json").is_file():
        _push_dataset(folder, options.repo, options.public)
    else:
        kinds = "prepared dataset, run folder of one seed, published model, metric or Space"
        raise ValueError(f"{folder}: expected a folder of one of these kinds: {kinds}; it is none of them")


def _print_planned(folder: Path, repo: str, with_predictions: bool) -> None:
    from dataset_scripts.hub import files_to_push
    from trainer.push import is_model_folder, is_run_folder, is_space_folder, planned_files

    if is_run_folder(folder) or is_space_folder(folder) or is_model_folder(folder):
        plans = planned_files(folder, repo, with_predictions=with_predictions)
    else:
        plans = iter([(repo, files_to_push(folder))])
    for title, files in plans:
        _print_files(title, files)


def _print_files(title: str, files: list[tuple[str, int]]) -> None:
    print(f"{title}: {len(files)} files, {sum(size for _, size in files) / 2**20:.1f} MiB")
    for name, size in files:
        print(f"  {size:12,}  {name}")


def _push_dataset(folder: Path, repo: str, public: bool) -> None:
    from dataset_scripts.hub import push_prepared

    pushed = push_prepared(folder, repo, private=not public)
    print(f"{folder} -> {pushed['repo']}, version {pushed['version']}: {pushed['commit']}")


def label(options) -> None:
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


def train(options) -> None:
    from dataset_scripts.ranks import is_helper
    from trainer.arguments import load_config
    from trainer.summary import check_summary, write_summary

    words = [word for word in options.overrides if word != "--debug"]
    options.debug = options.debug or len(words) < len(options.overrides)
    files = [options.config, *takewhile(lambda word: not word.startswith("--"), words)]
    configs = [load_config(file, words[len(files) - 1 :]) for file in files]
    _check_together(configs)
    for config in configs:
        check_summary(Path(config.output_dir) / config.run)
    check_summary(_table_folder(configs))
    _quiet_libraries()
    paths, failed = _train_each(configs)
    if len(paths) > 1 and not is_helper():
        folder = _table_folder(configs)
        print(f"\n{write_summary(paths, folder)}\n{folder / 'summary.md'}")
    if failed:
        raise FloatingPointError("; ".join(failed))


def _table_folder(configs) -> Path:
    """Where the table of all runs of a command is written."""
    return Path(configs[0].output_dir) / ("" if len(configs) > 1 else configs[0].run)


def _check_together(configs) -> None:
    """Refuses, before anything starts, configs that one command cannot run."""
    from trainer.watching import check_trackers

    names = [config.run for config in configs]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise ValueError(f"run {twice!r} stands in two configs; give each a name of its own (field run)")
    precisions = dict.fromkeys(config.mixed_precision for config in configs)
    if len(precisions) > 1:
        raise ValueError(f"mixed_precision: expected the same in all configs of a command, got {', '.join(precisions)}")
    for config in configs:
        check_trackers(config)


def _train_each(configs) -> tuple[list[Path], list[str]]:
    """Results files, and what went wrong in runs whose loss became no number: the others are run all the same."""
    from dataset_scripts.ranks import is_helper
    from trainer.summary import write_summary
    from trainer.train import train

    paths, failed = [], []
    for config in configs:
        try:
            found = train(config)
        except KeyboardInterrupt:
            raise KeyboardInterrupt("interrupted; the same command goes on from the newest state") from None
        except FloatingPointError as error:
            failed.append(f"{config.run}: {error}")
            continue
        if not is_helper():
            _print_results(config, found)
            write_summary(found, Path(config.output_dir) / config.run)
        paths += found
    return paths, failed


def _print_results(config, paths: list[Path]) -> None:
    for path in paths:
        metrics = json.loads(path.read_text(encoding="utf-8"))["metrics"]
        shown = {name: value for name, value in metrics.items() if name == config.metric or name == "parse_failures"}
        print(f"{path}: {', '.join(f'{name} {value:.4g}' for name, value in shown.items() if value is not None)}")


def _quiet_libraries() -> None:
    """One progress bar, ours, instead of one for every file the libraries touch."""
    import datasets
    import huggingface_hub.utils
    from transformers.utils import logging

    datasets.disable_progress_bars()
    huggingface_hub.utils.disable_progress_bars()
    logging.disable_progress_bar()


def evaluate(options) -> None:
    from dataset_scripts.ranks import is_helper
    from trainer.evaluator import Protocol, evaluate_checkpoint

    _quiet_libraries()
    protocol = Protocol(
        split=options.split,
        modalities=options.modalities and options.modalities.split(","),
        missing_modalities=options.missing_modalities,
        context=options.context,
        decoding=options.decoding,
        states=options.states,
        batch_size=options.batch_size,
    )
    paths = evaluate_checkpoint(options.model, options.data, options.out, protocol, options.overwrite)
    if not is_helper():
        _print_evaluations(paths)


def _print_evaluations(paths: list[Path]) -> None:
    """The protocol, then a line a metric, a column an evaluation; with intervals where there is one only."""
    from trainer.leaderboard_format import describe_protocol, modality_letters
    from trainer.results_file import read_results

    results = [read_results(path) for path in paths]
    shared = {name: value for name, value in results[0].protocol.items() if name != "modalities"}
    print(f"Protocol: {describe_protocol(shared)}")
    scored = (
        f"{name} {part['rows']} rows ({part['fingerprint']})" for name, part in results[0].content["data"].items()
    )
    print(f"Scored: {', '.join(scored)}")
    print(f"{'':28} " + " ".join(f"{modality_letters(one.protocol['modalities']):>8}" for one in results))
    for name in results[0].content["metrics"]:
        print(_metric_line(name, results))
    for name, reason in results[0].content["reasons"].items():
        print(f"  {name}: {reason}")
    for path in paths:
        print(path)


def _metric_line(name: str, results: list) -> str:
    from trainer.leaderboard_format import MISSING, format_interval, format_value
    from trainer.metric_names import METRICS, Metric

    key = name.split("/")[-1]
    metric = METRICS.get(key, Metric(key, key, "number"))
    values = (one.content["metrics"].get(name) for one in results)
    cells = " ".join(f"{MISSING if value is None else format_value(metric, value):>8}" for value in values)
    interval = results[0].content["intervals"].get(name) if len(results) == 1 else None
    return f"{name:28} {cells}" + (f"  {format_interval(metric, interval)}" if interval else "")


def leaderboard(options) -> None:
    from trainer.leaderboard import write_leaderboard
    from trainer.results_sources import fetch_results, find_results

    if not options.results and not options.from_hub:
        raise ValueError("expected results files, folders with some, or --from-hub OWNER/NAME; got none of them")
    files = find_results(options.results)
    if options.from_hub:
        from huggingface_hub.utils import disable_progress_bars

        disable_progress_bars()
        files = find_results([*files, *fetch_results(options.from_hub, options.out / "hub")])
    for path in write_leaderboard(files, options.out, options.all_entries):
        print(path)


def compare(options) -> None:
    from trainer.comparison import compare as compare_results
    from trainer.comparison_report import check_output, render_text, write_comparison

    if options.out:
        check_output(options.out)
    comparison = compare_results(options.a, options.b, options.resamples, options.seed)
    written = write_comparison(comparison, options.out) if options.out else []
    print(render_text(comparison))
    for path in written:
        print(path)


def predict(options) -> None:
    from trainer.prediction import predict_clip

    label = predict_clip(options.model, options.text, options.clip, options.visual_extractor)
    print(json.dumps(label) if options.json else label["label"])


def publish(options) -> None:
    from trainer.card_metadata import PROJECT_MODEL_ID
    from trainer.hub import publish_folder

    out = publish_folder(
        options.run_folder,
        options.out,
        options.results,
        options.overwrite,
        options.repo or PROJECT_MODEL_ID,
        options.with_predictions,
    )
    print(out)


def card(options) -> None:
    from trainer.card_folder import check_card, write_card
    from trainer.model_card import check_project_card, write_project_card

    if options.folder is None:
        print(check_project_card() if options.check else write_project_card())
    elif options.check:
        print(f"{options.folder}: {check_card(options.folder)}")
    else:
        for path in write_card(options.folder):
            print(path)


def merge(options) -> None:
    from trainer.adapters import merge_checkpoint
    from trainer.evaluator import find_checkpoint

    print(merge_checkpoint(find_checkpoint(options.adapter), options.out, options.overwrite))


def demo(options) -> None:
    from trainer.demo import run_demo

    _quiet_libraries()
    run_demo(options.out)
