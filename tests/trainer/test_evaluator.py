"""`unimse evaluate`: protocols, missing modalities, decoding, several processes, the same bytes twice."""

import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import datasets
import pytest
import torch

from modeling_unimse import UniMSEProcessor
from tests.trainer.conftest import make_prepared, make_settings
from trainer.arguments import RunConfig
from trainer.cli import main
from trainer.decoders import GreedyDecoder
from trainer.evaluation import predict
from trainer.evaluator import Protocol, _conditions, evaluate_checkpoint
from trainer.prediction import predict_clip
from trainer.predictions_file import check_predictions, read_predictions
from trainer.results_file import read_results
from trainer.train import train

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder of a finished run, and its data."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", folder / "cache")
        settings = make_settings(make_prepared(folder), folder)
        (path,) = train(RunConfig(**{**settings, "epochs": 1}), progress=False)
    return path.parent, settings["data"]


@pytest.fixture
def run(trained, tmp_path):
    """A copy, which a test may change."""
    folder, data = trained
    return Path(shutil.copytree(folder, tmp_path / "run")), data


def evaluate(run, out, **protocol):
    folder, data = run
    return [read_results(path) for path in evaluate_checkpoint(folder, data, out, Protocol(**protocol))]


def test_all_six_incomplete_sets_of_modalities_in_one_run(run, tmp_path, capsys):
    folder, data = run
    out = tmp_path / "results" / "all.json"
    assert main(["evaluate", str(folder), *data, "--out", str(out), "--missing-modalities"]) == 0
    printed = capsys.readouterr().out
    results = [read_results(path) for path in sorted(out.parent.glob("*.json"))]
    seen = {tuple(one.protocol["modalities"]) for one in results}
    assert len(results) == 7 and seen == {
        ("text", "audio", "visual"),
        *{("text", "audio"), ("text", "visual"), ("audio", "visual"), ("text",), ("audio",), ("visual",)},
    }
    assert all(check_predictions(one) == "recomputed" for one in results)
    lines = printed.splitlines()
    assert lines[0].startswith("Protocol: context_after 2; context_before 2; decoding constrained greedy;")
    assert lines[1].startswith("Scored: mosi 10 rows (")
    assert lines[2].split() == ["T+A+V", "T+A", "T+V", "A+V", "T", "A", "V"]
    whole, trained = read_results(out), read_results(folder / "results.json")
    assert whole.content["metrics"] == trained.content["metrics"]
    assert whole.content["intervals"] == trained.content["intervals"]


def test_modalities_are_written_in_one_order_whatever_that_of_training():
    """A checkpoint may hold them in the order of its config."""
    found = list(_conditions(["text", "visual", "audio"], Protocol(missing_modalities=True)))
    assert found[:2] == [["text", "audio", "visual"], ["text", "audio"]] and len(found) == 7


def test_without_text_no_word_is_read(run, tmp_path, monkeypatch):
    """Neither the sample's nor its context's; the model sees the end token and what else there is."""
    import trainer.evaluation as module

    seen = []
    original = module.DECODERS["greedy"].__call__

    def record(self, model, inputs):
        seen.append({name: value.clone() for name, value in inputs.items()})
        return original(self, model, inputs)

    monkeypatch.setattr(module.DECODERS["greedy"], "__call__", record)
    evaluate(run, tmp_path / "audio.json", modalities=["audio"])
    assert all(batch["attention_mask"].sum(1).eq(1).all() for batch in seen)
    assert all("visual_features" not in batch and batch["audio_features_mask"].any() for batch in seen)
    seen.clear()
    evaluate(run, tmp_path / "text.json", modalities=["text"])
    assert all(batch["attention_mask"].sum(1).gt(1).all() and "audio_features" not in batch for batch in seen)


def test_the_context_is_what_was_asked_for(run, tmp_path):
    default = evaluate(run, tmp_path / "default.json")[0]
    before = evaluate(run, tmp_path / "before.json", context=(1, 0))[0]
    assert (default.protocol["context_before"], default.protocol["context_after"]) == (2, 2)
    assert (before.protocol["context_before"], before.protocol["context_after"]) == (1, 0)
    shares = [[row["label_probability"] for row in read_predictions(one)] for one in (default, before)]
    assert shares[0] != shares[1]


def test_posterior_decoding_is_a_protocol_of_its_own(run, tmp_path):
    results = evaluate(run, tmp_path / "posterior.json", decoding="posterior")[0]
    assert results.protocol["decoding"] == "label posterior"
    assert check_predictions(results) == "recomputed"
    greedy = evaluate(run, tmp_path / "greedy.json")[0]
    for row, other in zip(read_predictions(results), read_predictions(greedy), strict=True):
        emotions = row["emotion_probabilities"]
        assert sum(emotions.values()) == pytest.approx(1, abs=1e-4)
        assert sum(row["polarity_probabilities"].values()) == pytest.approx(1, abs=1e-4)
        assert row["predicted_emotion"] == max(emotions, key=emotions.get)
        assert -3 <= row["predicted_sentiment"] <= 3
        assert 0 < row["label_probability"] <= 1 and 0 < other["label_probability"] <= 1
        if row["dataset"] == "meld":
            assert set(emotions) == {"neutral", "joy", "surprise", "anger", "sadness", "disgust", "fear"}


def test_the_probability_of_a_written_label_is_the_products_of_its_steps(run, tmp_path):
    """By the logits of the model along the label, renormalised over what the grammar allows at each step."""
    from modeling_unimse import UniMSEForConditionalGeneration
    from trainer.data import Collator, load_split

    folder, data = run
    row = next(row for row in read_predictions(evaluate(run, tmp_path / "a.json")[0]) if row["dataset"] == "meld")
    processor = UniMSEProcessor.from_pretrained(folder / "checkpoint-best")
    model = UniMSEForConditionalGeneration.from_pretrained(folder / "checkpoint-best").eval()
    batch = Collator(processor, with_labels=False)([(0, load_split(data, "test", False)["meld"][0])])
    batch.pop("sample_index")
    ids = processor.tokenizer(row["prediction"], return_tensors="pt").input_ids
    with torch.no_grad():
        logits = model(**batch, decoder_input_ids=torch.nn.functional.pad(ids[:, :-1], (1, 0), value=0)).logits[0]
    (constrain,), total = processor.logits_processor("meld"), 0.0
    for at, token in enumerate(ids[0]):
        prefix = torch.nn.functional.pad(ids[:, :at], (1, 0), value=0)
        total += constrain(prefix, logits[at : at + 1]).log_softmax(-1)[0, token].item()
    assert row["label_probability"] == pytest.approx(math.exp(total), abs=2e-6)


def test_what_stands_behind_the_end_is_no_choice_of_the_model(run):
    """A shorter label of a batch is padded; the probability of that padding is not part of the label's."""
    processor = UniMSEProcessor.from_pretrained(run[0] / "checkpoint-best")
    end, pad = processor.tokenizer.eos_token_id, processor.tokenizer.pad_token_id
    written = SimpleNamespace(sequences=torch.tensor([[pad, 5, end, pad], [pad, 5, 6, end]]), scores=())
    steps = torch.tensor([[-1.0, -2.0, -9.0], [-1.0, -2.0, -3.0]])
    model = SimpleNamespace(generate=lambda **_: written, compute_transition_scores=lambda *_, **__: steps)
    found = GreedyDecoder(processor, "meld", synced=False)(model, {})
    assert found["log_probability"].tolist() == [-3.0, -6.0]


def test_names_with_dots_keep_their_predictions_apart(run, tmp_path):
    results = [evaluate(run, tmp_path / f"model-{name}.json")[0] for name in ("0.5", "0.6")]
    assert [check_predictions(one) for one in results] == ["recomputed", "recomputed"]
    assert (tmp_path / "model-0.5.parquet").is_file()


def test_nothing_that_was_evaluated_is_lost_unasked(run, tmp_path, capsys):
    folder, data = run
    arguments = ["evaluate", str(folder), *data, "--out", str(folder / "results.json")]
    before = (folder / "results.json").read_bytes()
    assert main(arguments) == 1
    assert "results.json: exists; name another file or pass --overwrite" in capsys.readouterr().err
    assert (folder / "results.json").read_bytes() == before
    assert main([*arguments, "--overwrite"]) == 0
    assert read_results(folder / "results.json").content["seconds"].keys() == {"evaluate"}


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def asks(monkeypatch, last: int):
    """The sets of modalities that are asked from now on; the `last`-th is interrupted."""
    asked = []

    def counted(*arguments, modalities, **settings):
        asked.append("-".join(modalities))
        if len(asked) == last:
            raise KeyboardInterrupt
        return predict(*arguments, modalities=modalities, **settings)

    monkeypatch.setattr("trainer.evaluator.predict", counted)
    return asked


def test_an_interrupted_evaluation_goes_on(run, tmp_path, monkeypatch):
    out = tmp_path / "results" / "all.json"
    asks(monkeypatch, last=4)
    with pytest.raises(KeyboardInterrupt):
        evaluate(run, out, missing_modalities=True)
    assert not [path for path in out.parent.iterdir() if not path.name.startswith(".")]
    other = asks(monkeypatch, last=1)  # another protocol begins anew, and takes nothing of the first with it
    with pytest.raises(KeyboardInterrupt):
        evaluate(run, out, missing_modalities=True, context=(0, 0))
    assert other == ["text-audio-visual"]
    asked = asks(monkeypatch, last=4)
    with pytest.raises(KeyboardInterrupt):
        evaluate(run, out, missing_modalities=True)
    rest = asks(monkeypatch, last=0)
    results = evaluate(run, out, missing_modalities=True)
    assert asked == ["text-audio-visual", "text-audio", "text-visual", "audio-visual"]
    assert rest == ["audio-visual", "text", "audio", "visual"]
    assert len(results) == 7 and all(check_predictions(one) == "recomputed" for one in results)
    assert not [path for path in out.parent.iterdir() if path.name.startswith(".")]


def test_results_are_overwritten_together_or_not_at_all(run, tmp_path, monkeypatch):
    out = tmp_path / "results" / "all.json"
    evaluate(run, out, missing_modalities=True, states=True)
    (out.parent / "notes.txt").write_text("a user's")
    before = contents(out.parent)
    asks(monkeypatch, last=7)
    with pytest.raises(KeyboardInterrupt):
        evaluate_checkpoint(*run, out, Protocol(missing_modalities=True, context=(0, 0)), overwrite=True)
    assert {name: text for name, text in contents(out.parent).items() if not name.startswith(".")} == before
    asks(monkeypatch, last=0)
    evaluate_checkpoint(*run, out, Protocol(missing_modalities=True, context=(0, 0)), overwrite=True)
    after = contents(out.parent)
    assert set(before) - set(after) == {"all.states.parquet"}  # of the replaced results; the new ones have none
    assert after["notes.txt"] == b"a user's"
    assert all(read_results(path).protocol["context_before"] == 0 for path in out.parent.glob("*.json"))


def test_predictions_of_other_results_are_not_replaced(run, tmp_path):
    """A results file that was copied names the files of the first one."""
    folder, data = run
    shutil.copyfile(folder / "results.json", folder / "copy.json")
    evaluate_checkpoint(folder, data, folder / "copy.json", overwrite=True)
    assert check_predictions(read_results(folder / "results.json")) == "recomputed"
    (folder / "copy.parquet").write_bytes(b"a user's")  # another content than the results are of
    with pytest.raises(FileExistsError, match="copy.parquet exists and was not written by this command"):
        evaluate_checkpoint(folder, data, folder / "copy.json", overwrite=True)


def test_what_was_done_with_states_is_not_taken_without(run, tmp_path, monkeypatch):
    out = tmp_path / "all.json"
    asks(monkeypatch, last=2)
    with pytest.raises(KeyboardInterrupt):
        evaluate(run, out, missing_modalities=True, states=True)
    asked = asks(monkeypatch, last=0)
    results = evaluate(run, out, missing_modalities=True)
    assert len(asked) == 7 and results[0].content["states"] is None
    assert not list(tmp_path.glob("*.states.parquet"))


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("name", ["mine.json", "mine.parquet", "mine.states.parquet", "mine.text.parquet"])
def test_no_file_of_a_user_is_taken_for_results(run, tmp_path, name, overwrite, monkeypatch):
    (tmp_path / name).write_text('{"my": "own"}')
    monkeypatch.setattr("trainer.evaluator.predict", lambda *_, **__: pytest.fail("asked before it looked"))
    protocol = Protocol(missing_modalities=True, states=True)
    message = "written by this command" if overwrite or not name.endswith(".json") else "exists; name another file"
    with pytest.raises(FileExistsError, match=message):
        evaluate_checkpoint(*run, tmp_path / "mine.json", protocol, overwrite)
    assert (tmp_path / name).read_text() == '{"my": "own"}'


def test_a_model_whose_weights_are_no_numbers_is_refused(run, tmp_path):
    """Decoding cannot leave the grammar, so it would write labels all the same."""
    from safetensors.torch import load_file, save_file

    weights = run[0] / "checkpoint-best" / "model.safetensors"
    broken = {name: torch.full_like(value, math.nan) for name, value in load_file(weights).items()}
    save_file(broken, weights, metadata={"format": "pt"})
    for decoding in ("greedy", "posterior"):
        with pytest.raises(FloatingPointError, match="mosi/test/0: label_probability is nan; weights or features hold"):
            evaluate(run, tmp_path / f"{decoding}.json", decoding=decoding)
    with pytest.raises(FloatingPointError, match="probabilities that are none; its weights hold NaN or infinity"):
        predict_clip(run[0], "I am glad")


def test_gold_emotions_that_are_not_scored_are_named_before_anything_is_predicted(run, tmp_path, monkeypatch):
    monkeypatch.setattr("trainer.evaluator.predict", None)
    monkeypatch.setattr("trainer.evaluation.BENCHMARK_EMOTIONS", {"meld": ("joy", "anger")})
    with pytest.raises(ValueError, match="meld/test/2: emotion: expected one of joy, anger, .* got 'neutral'"):
        evaluate(run, tmp_path / "out.json")


def test_the_same_command_gives_the_same_bytes(run, tmp_path):
    for name in ("a", "b"):
        evaluate(run, tmp_path / name / "out.json", decoding="posterior", states=True)
    for suffix in (".parquet", ".states.parquet"):
        first, second = (tmp_path / name / f"out{suffix}" for name in ("a", "b"))
        assert first.read_bytes() == second.read_bytes()
    contents = [json.loads((tmp_path / name / "out.json").read_text()) for name in ("a", "b")]
    for content in contents:
        for changing in ("created", "seconds", "digest"):
            content.pop(changing)
    assert contents[0] == contents[1]


@pytest.mark.skipif(not torch.distributed.is_available(), reason="torch was built without torch.distributed")
def test_two_processes_evaluate_each_sample_once(run, tmp_path):
    folder, data = run
    out = tmp_path / "two.json"
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m"]
    command += ["trainer.cli", "evaluate", str(folder), *data, "--out", str(out), "--batch-size", "3", "--states"]
    environment = {**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    environment["HF_DATASETS_CACHE"] = str(tmp_path / "cache")
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count(str(out)) == 1
    one, two = evaluate(run, tmp_path / "one.json", batch_size=3, states=True)[0], read_results(out)
    assert read_predictions(two) == read_predictions(one)
    assert two.content["metrics"] == one.content["metrics"]


def test_a_model_of_the_hub_is_named_with_its_revision(run, tmp_path, monkeypatch):
    """The digest of the weights is that of the same checkpoint on the disk."""
    from trainer import evaluation

    folder, _ = run
    snapshot = tmp_path / "snapshots" / "0123456789abcdef"
    snapshot.parent.mkdir()
    snapshot.symlink_to(folder / "checkpoint-best")
    monkeypatch.setattr(evaluation, "snapshot_download", lambda repo, allow_patterns: str(snapshot))
    found = evaluation.describe_checkpoint("owner/model")
    assert found == {
        "weights": evaluation.describe_checkpoint(folder / "checkpoint-best")["weights"],
        **{"repo": "owner/model", "revision": "0123456789abcdef"},
    }


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (["--modalities", "smell"], "modalities: the model was trained with text, audio, visual, got 'smell'"),
        (["--modalities", "text", "--missing-modalities"], "expected several modalities, got text alone"),
        (["--modalities", ","], "modalities: the model was trained with text, audio, visual, got ''"),
        (["--split", "train", "--modalities", "text,text"], "modalities: expected each once, got text, text"),
        (["--out", "results.parquet"], "results.parquet: expected the name of a results file, such as results.json"),
    ],
)
def test_a_wrong_protocol_is_one_line(run, tmp_path, option, message, capsys):
    folder, data = run
    assert main(["evaluate", str(folder), *data, "--out", str(tmp_path / "out.json"), *option]) == 1
    assert capsys.readouterr().err.strip().endswith(message)
    assert not (tmp_path / "out.json").exists()


def test_a_wrong_context_is_refused_by_the_parser(capsys):
    with pytest.raises(SystemExit):
        main(["evaluate", "model", "data", "--out", "x.json", "--context", "two"])
    assert "expected BEFORE/AFTER such as 2/0, got 'two'" in capsys.readouterr().err
