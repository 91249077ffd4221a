import json
import shutil

import pytest
import torch
import yaml
from accelerate import Accelerator

from dataset_scripts.publish import parquet_path
from modeling_unimse import UniMSEForConditionalGeneration, UniMSEProcessor, format_label
from tests.trainer.test_resume import flip_a_bit
from trainer.arguments import RunConfig
from trainer.build import build_model, build_processor
from trainer.checkpointing import BEST, save_checkpoint, write_json
from trainer.cli import main
from trainer.data import Indexed, load_split
from trainer.evaluation import predict
from trainer.evaluator import Protocol, evaluate_checkpoint
from trainer.hub import publish_folder
from trainer.optimization import build_optimizer, group_of
from trainer.predictions_file import check_predictions
from trainer.results_file import read_results
from trainer.train import load_data, protocol, train


def build(settings: dict, **changes):
    config = RunConfig(**{**settings, **changes})
    data = load_data(config)
    torch.manual_seed(0)
    processor = build_processor(config, Indexed(data.train), data.specs)
    return config, data, processor, build_model(config, processor)


def validations(folder) -> list[dict]:
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [line for line in lines if "metrics" in line]


def test_a_run_leaves_everything_a_reader_needs(run_settings):
    config = RunConfig(**run_settings)
    (path,) = train(config, progress=False)
    folder = path.parent
    results = read_results(path).content
    assert results["seed"] == 1 and results["protocol"]["modalities"] == ["text", "audio", "visual"]
    assert results["data"]["meld"] == {**results["data"]["meld"], "rows": 10, "split": "test"}
    assert yaml.safe_load((folder / "config.yaml").read_text())["epochs"] == 2
    log = validations(folder)
    assert [line["epoch"] for line in log] == [1, 2] and any(line["best"] for line in log)
    assert log[1]["task_loss"] < log[0]["task_loss"]
    assert check_predictions(read_results(path)) == "recomputed"
    # The checkpoint is the one that was scored.
    (again,) = evaluate_checkpoint(folder / BEST, config.data, folder / "again.json")
    assert read_results(again).content["metrics"] == results["metrics"]
    assert (folder / "again.parquet").read_bytes() == (folder / "predictions.parquet").read_bytes()
    assert read_results(again).content["checkpoint"] == results["checkpoint"]


def test_eight_samples_are_learned_to_the_exact_label(run_settings):
    """Loss and generation agree: a model that overfits writes the targets themselves."""
    from trainer.data import Collator
    from trainer.step import train_step

    config, data, processor, model = build(run_settings)
    train_set = data.train["meld"]
    batch = Collator(processor)([(index, train_set[index]) for index in range(8)])
    batch.pop("sample_index")
    optimizer, scheduler = build_optimizer(model, config, 150)
    accelerator = Accelerator()
    model.train()
    for _ in range(150):
        train_step(accelerator, model, optimizer, scheduler, [batch], 1.0)
    model.eval()
    ids = model.generate(**{name: value for name, value in batch.items() if name != "labels"})
    targets = [format_label(train_set[index]["label"]()) for index in range(8)]
    assert processor.tokenizer.batch_decode(ids, skip_special_tokens=True) == targets


def test_the_learning_rates_are_the_papers_by_group(run_settings):
    config, _, _, model = build(run_settings, learning_rate=3e-4, fusion_learning_rate=1e-4)
    optimizer, _ = build_optimizer(model, config, 10)
    rates = {id(p): group["initial_lr"] for group in optimizer.param_groups for p in group["params"]}
    decays = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    for name, parameter in model.named_parameters():
        assert rates[id(parameter)] == (3e-4 if group_of(name) == "backbone" else 1e-4), name
        assert (decays[id(parameter)] > 0) == (parameter.dim() > 1), name
    new = {name for name, _ in model.named_parameters() if group_of(name) != "backbone"}
    assert any("lstm" in name for name in new) and any("output_proj" in name for name in new)
    assert not any("SelfAttention" in name or name == "shared.weight" for name in new)


def test_a_run_without_a_modality_neither_sees_nor_trains_it(run_settings):
    config, _, processor, model = build(run_settings, modalities=["visual"])
    assert list(model.contrastive_heads) == ["visual"]
    assert not any(parameter.requires_grad for parameter in model.encoder.audio_encoder.parameters())
    (path,) = train(config, progress=False)
    assert read_results(path).content["protocol"]["modalities"] == ["text", "visual"]
    out = path.with_name("again.json")
    (again,) = evaluate_checkpoint(path.parent / BEST, config.data, out)
    assert read_results(again).protocol["modalities"] == ["text", "visual"]
    with pytest.raises(ValueError, match="the model was trained with text, visual, got 'audio'"):
        evaluate_checkpoint(
            path.parent / BEST, config.data, path.with_name("other.json"), Protocol(modalities=["audio"])
        )


def test_the_order_of_modalities_in_a_config_makes_no_other_protocol(run_settings):
    written = [protocol(RunConfig(**{**run_settings, "modalities": names})) for names in (["visual", "audio"], [])]
    assert [one["modalities"] for one in written] == [["text", "audio", "visual"], ["text"]]


@pytest.mark.parametrize("modalities", [[], ["audio"], ["audio", "visual"]])
@pytest.mark.parametrize("model", [{"fusion_type": "cross_attention"}, {"fusion_type": "ffn"}, {"fusion_layers": []}])
def test_every_trainable_parameter_gets_a_gradient(run_settings, model, modalities):
    """With several processes a parameter without one is an error."""
    from trainer.data import Collator

    settings = {**run_settings, "modalities": modalities, "model": {**run_settings["model"], **model}}
    config, data, processor, built = build(settings)
    samples = Indexed(data.train)
    batch = Collator(processor, modalities)([samples[index] for index in range(8)])
    batch.pop("sample_index")
    built.train()(**batch).loss.backward()
    assert not [name for name, p in built.named_parameters() if p.requires_grad and p.grad is None]


def test_a_selection_metric_without_a_value_loses(run_settings, monkeypatch):
    import trainer.loop as module

    values = iter([None, 0.1])
    monkeypatch.setattr("trainer.train.check_data", lambda config, data: None)
    monkeypatch.setattr(module, "score", lambda *_: {"metrics": {"mosi/corr": next(values)}})
    (path,) = train(RunConfig(**{**run_settings, "metric": "mosi/corr"}), progress=False)
    log = validations(path.parent)
    assert log[1]["best"]


def test_the_best_epoch_is_kept_not_the_last(run_settings, monkeypatch):
    import trainer.loop as module

    values = iter([0.2, 0.9, 0.5])
    saved = []
    monkeypatch.setattr("trainer.train.check_data", lambda config, data: None)
    monkeypatch.setattr(module, "score", lambda *_: {"metrics": {"emotion_accuracy": next(values)}})
    monkeypatch.setattr(module, "save_checkpoint", lambda *arguments: saved.append(save_checkpoint(*arguments)))
    (path,) = train(RunConfig(**{**run_settings, "epochs": 3}), progress=False)
    log = validations(path.parent)
    assert [line["best"] for line in log] == [True, True, False] and len(saved) == 2


def test_patience_stops_and_smaller_can_be_better(run_settings, monkeypatch):
    import trainer.loop as module

    values = iter([1.0, 1.2, 1.3, 0.1])
    monkeypatch.setattr("trainer.train.check_data", lambda config, data: None)
    monkeypatch.setattr(module, "score", lambda *_: {"metrics": {"mosi/mae": next(values)}})
    settings = {**run_settings, "epochs": 4, "metric": "mosi/mae", "greater_is_better": False, "patience": 2}
    (path,) = train(RunConfig(**settings), progress=False)
    log = validations(path.parent)
    assert [line["best"] for line in log] == [True, False, False]


def test_an_unknown_selection_metric_is_named(run_settings):
    with pytest.raises(ValueError, match="metric: the validation data give mosi/mae.*got 'meld/accuracyy'"):
        train(RunConfig(**{**run_settings, "metric": "meld/accuracyy", "epochs": 1}), progress=False)


def test_emotions_outside_the_grammar_are_named_before_training(run_settings):
    with pytest.raises(
        ValueError, match=r"meld: emotions anger are not in the grammar; --emotions \[neutral, joy, anger"
    ):
        train(RunConfig(**{**run_settings, "emotions": ["neutral", "joy"], "universal_labels": False}), progress=False)


def test_a_finished_run_is_not_trained_over(run_settings, capsys):
    config = RunConfig(**{**run_settings, "epochs": 1})
    (path,) = train(config, progress=False)
    written = path.stat().st_mtime_ns
    assert train(config, progress=False) == [path] and path.stat().st_mtime_ns == written
    assert "finished before; nothing to do" in capsys.readouterr().out
    with pytest.raises(FileExistsError, match=r"a finished run stands here \(changed since: weight_decay\)"):
        train(RunConfig(**{**run_settings, "epochs": 1, "weight_decay": 0.5}), progress=False)
    with pytest.raises(FileExistsError, match="but resume is never"):
        train(RunConfig(**{**run_settings, "epochs": 1, "resume": "never"}), progress=False)
    train(RunConfig(**{**run_settings, "epochs": 1, "overwrite": True}), progress=False)
    assert path.stat().st_mtime_ns != written


def test_a_run_folder_stands_for_its_best_checkpoint(run_settings, tmp_path):
    from trainer.evaluator import find_checkpoint

    (path,) = train(RunConfig(**{**run_settings, "epochs": 1}), progress=False)
    assert find_checkpoint(path.parent) == path.parent / BEST
    with pytest.raises(FileNotFoundError, match="expected a checkpoint or a run folder"):
        find_checkpoint(tmp_path)
    assert find_checkpoint("owner/model") == "owner/model"


def test_the_same_seed_gives_the_same_weights(run_settings):
    folders = []
    for run in ("a", "b"):
        (path,) = train(RunConfig(**{**run_settings, "run": run, "epochs": 1}), progress=False)
        folders.append(path.parent / BEST)
    left, right = (UniMSEForConditionalGeneration.from_pretrained(folder).state_dict() for folder in folders)
    assert all(torch.equal(left[name], right[name]) for name in left)


def test_training_starts_from_a_t5_checkpoint(run_settings, t5_folder, tmp_path, processor):
    processor.tokenizer.save_pretrained(t5_folder)
    settings = {**run_settings, "backbone": str(t5_folder), "model": {"fusion_layers": [3]}}
    _, _, built, model = build(settings)
    reference = UniMSEForConditionalGeneration.from_pretrained(t5_folder)
    assert torch.equal(model.shared.weight, reference.shared.weight)
    assert model.config.fusion_layers == [3] and model.config.visual_feature_size == 6
    assert built.tokenizer.get_vocab() == processor.tokenizer.get_vocab()


def test_a_prediction_that_fails_leaves_the_model_in_training(run_settings):
    _, data, processor, model = build(run_settings)
    torch.nn.init.constant_(model.shared.weight, float("nan"))
    with pytest.raises(FloatingPointError, match="mosi/test/0: label_probability is nan"):
        predict(model.train(), processor, data.test, Accelerator(), progress=False)
    assert model.training


def test_predictions_do_not_depend_on_the_batch(run_settings):
    _, data, processor, model = build(run_settings)
    rows = [predict(model, processor, data.test, Accelerator(), batch_size=size, progress=False) for size in (1, 7, 64)]
    assert rows[0] == rows[1] == rows[2]
    assert [row["id"] for row in rows[0]] == [row["id"] for test in data.test.values() for row in test.rows]


def test_data_of_another_extractor_is_refused_at_load(run_settings, prepared):
    config = RunConfig(**{**run_settings, "epochs": 1})
    (path,) = train(config, progress=False)
    specs = json.loads((prepared[1] / "features.json").read_text())
    specs["default"]["visual"]["fingerprint"] = "other"
    write_json(prepared[1] / "features.json", specs)
    with pytest.raises(ValueError, match="visual features were made by test-visual"):
        evaluate_checkpoint(path.parent / BEST, [prepared[1]], path.with_name("again.json"))
    with pytest.raises(ValueError, match="modalities: the model was trained with text, audio, visual, got 'smell'"):
        evaluate_checkpoint(
            path.parent / BEST, [prepared[0]], path.with_name("again.json"), Protocol(modalities=["smell"])
        )


def test_a_checkpoint_is_replaced_whole(tmp_path, run_settings, monkeypatch):
    _, _, processor, model = build(run_settings)
    save_checkpoint(tmp_path / BEST, model, processor)
    before = {path.name: path.read_bytes() for path in (tmp_path / BEST).iterdir()}

    def fail(folder):
        raise RuntimeError("killed")

    monkeypatch.setattr(processor, "save_pretrained", fail)
    with torch.no_grad():
        model.shared.weight.add_(1)
    with pytest.raises(RuntimeError, match="killed"):
        save_checkpoint(tmp_path / BEST, model, processor)
    assert {path.name: path.read_bytes() for path in (tmp_path / BEST).iterdir()} == before


def test_a_published_folder_has_card_code_and_results(run_settings, tmp_path):
    (path,) = train(RunConfig(**{**run_settings, "epochs": 1}), progress=False)
    out = publish_folder(path.parent, tmp_path / "published")
    names = {file.relative_to(out).as_posix() for file in out.rglob("*") if file.is_file()}
    assert {"README.md", "results.json", "config.json", "model.safetensors", "modeling_unimse.py"} <= names
    assert any(name.startswith(".eval_results/") for name in names)
    assert type(UniMSEProcessor.from_pretrained(out)) is UniMSEProcessor
    with pytest.raises(FileExistsError, match="exists and is not empty"):
        publish_folder(path.parent, out)
    with pytest.raises(FileNotFoundError, match="expected a finished run folder"):
        publish_folder(tmp_path, tmp_path / "nothing")
    mine = {path.parent / BEST / name: f"my {name}" for name in ("notes.txt", "results.json", "card.yaml")}
    for file, text in mine.items():
        file.write_text(text)
    assert main(["push", str(path.parent), "me/x", "--dry-run"]) == 0
    assert {file: file.read_text() for file in mine} == mine
    (out / "notes.txt").write_text("a user's")
    stale = out / ".eval_results" / "mosei.yaml"  # of another run that was published there before
    stale.write_text("[]")
    publish_folder(path.parent, out, overwrite=True)
    assert not stale.exists()
    assert (out / "notes.txt").read_text() == "a user's"
    other = shutil.copytree(path.parent, tmp_path / "other")
    with pytest.raises(FileExistsError, match="checkpoint-best: is a part of the run in .*other; name another folder"):
        publish_folder(path.parent, other / BEST, overwrite=True)
    for mine in (tmp_path / "mine", path.parent / BEST, path.parent):
        mine.mkdir(exist_ok=True)
        (mine / "config.json").write_text("{}") if mine.name == "mine" else None
        with pytest.raises(
            (FileExistsError, ValueError), match="no UniMSE model, so it is not replaced|holds what is read"
        ):
            publish_folder(path.parent, mine, overwrite=True)


def test_weights_that_were_not_scored_are_neither_published_nor_pushed(run_settings, tmp_path, capsys):
    (path,) = train(RunConfig(**{**run_settings, "epochs": 1}), progress=False)
    out = publish_folder(path.parent, tmp_path / "published")
    for folder in (path.parent / BEST, out):
        flip_a_bit(folder / "model.safetensors")
    with pytest.raises(
        ValueError, match=r"checkpoint-best: weights: expected \w{12}, which were scored in .*, got \w{12}"
    ):
        publish_folder(path.parent, tmp_path / "again")
    assert not (tmp_path / "again").exists()
    for folder in (path.parent, out):
        assert main(["push", str(folder), "me/x"]) == 1
        assert "which were scored" in capsys.readouterr().err


def test_splits_that_are_missing_are_named(run_settings, prepared):
    assert set(load_split(prepared, "validation")) == {"mosi", "meld"}
    for folder in prepared:
        parquet_path(folder, "validation").unlink()
    with pytest.raises((ValueError, FileNotFoundError), match="validation"):
        train(RunConfig(**run_settings), progress=False)


@pytest.mark.parametrize("changes", [{"data_workers": 2}, {"activation_checkpointing": True}, {"log_every": 1}])
def test_how_a_run_is_carried_out_does_not_change_it(run_settings, changes):
    settings = {**run_settings, "modality_dropout": 0.3, "augmentation": {"noise": 0.2}}
    logs = []
    for name, more in (("plain", {}), ("changed", changes)):
        (path,) = train(RunConfig(**{**settings, "run": name, **more}), progress=False)
        logs.append(validations(path.parent))
    for plain, changed in zip(*logs, strict=True):
        assert changed["task_loss"] == pytest.approx(plain["task_loss"], rel=1e-6)
        assert changed["metrics"] == plain["metrics"]


def test_datasets_are_weighted_as_the_config_says(run_settings):
    changes = {"mixing": {"by": "weights", "weights": {"mosi": 3, "meld": 1}}, "epochs": 1}
    (path,) = train(RunConfig(**{**run_settings, **changes}), progress=False)
    assert yaml.safe_load((path.parent / "config.yaml").read_text())["mixing"]["weights"] == {"mosi": 3, "meld": 1}
    with pytest.raises(ValueError, match="mixing.weights: expected the datasets mosi, meld, got mosi"):
        train(
            RunConfig(**{**run_settings, "run": "x", "mixing": {"by": "weights", "weights": {"mosi": 3}}}),
            progress=False,
        )
