"""The model card: metadata that the Hub's own classes read back, numbers that can be traced, code that runs."""

import json
import re
import runpy
import shutil
from pathlib import Path

import pytest
import yaml
from huggingface_hub import ModelCard, ModelCardData, parse_eval_result_entries
from results_files import make_results, write_many, write_results

from tests.hub_cards import LICENSES, evaluation_errors, model_card_errors
from tests.hub_server import HubServer, run_client
from trainer.card_folder import add_results, card_differences, check_card, write_card
from trainer.card_metadata import PROJECT_MODEL_ID, CardSettings
from trainer.cli import main
from trainer.leaderboard_format import format_interval, format_value
from trainer.metric_names import METRICS, OFFICIAL_TEST_ROWS, benchmark_of
from trainer.model_card import card_files, project_model_card
from trainer.results_file import read_results, seal

ROOT = Path(__file__).parents[2]
SETTINGS = CardSettings("someone/unimse-tiny", "google-t5/t5-small", {"epochs": 3, "peft": {"type": "lora", "r": 2}})
# Publishes the folders in turn as a person would who only renews the metadata, and reads the repository back.
_RENEW = """
import json, sys
from pathlib import Path
import yaml
from huggingface_hub import HfApi, ModelCard, hf_hub_download, metadata_load, metadata_update, parse_eval_result_entries
first, *later = FOLDERS
repo, api, counts = "someone/unimse-tiny", HfApi(), []
api.create_repo(repo)
api.upload_folder(repo_id=repo, folder_path=first)
for folder in later:
    metadata_update(repo, metadata_load(Path(folder) / "README.md"), overwrite=True)
    api.upload_folder(repo_id=repo, folder_path=Path(folder) / ".eval_results", path_in_repo=".eval_results")
card = ModelCard.load(repo)
card.validate()
paths = sorted(path for path in api.list_repo_files(repo) if path.startswith(".eval_results/"))
files = {path: yaml.safe_load(Path(hf_hub_download(repo, path)).read_text("utf-8")) for path in paths}
print(json.dumps({
    "index": [[entry.dataset_type, entry.metric_name, entry.metric_value] for entry in card.data.eval_results],
    "metadata": {name: card.data.get(name) for name in ("pipeline_tag", "library_name", "license", "base_model")},
    "files": {path: [vars(entry) for entry in parse_eval_result_entries(data)] for path, data in files.items()},
    "shown": [vars(entry) for entry in api.model_info(repo, expand=["evalResults"]).eval_results],
}))
"""


def lay_out(folder, files, settings=SETTINGS, **arguments):
    """The card's part of a published folder, and its README."""
    add_results(folder, files[0], settings, files[1:], **arguments)
    return folder / "README.md"


@pytest.fixture
def card(tmp_path):
    files = write_many(tmp_path / "runs")
    path = lay_out(tmp_path / "out", files)
    return [path, *sorted(path.parent.glob(".eval_results/*"))], json.loads(files[0].read_text())


def metadata_of(text):
    return yaml.safe_load(text.split("---\n")[1])


def test_metadata_is_read_back_by_the_hub_library(card):
    (path, *_), published = card
    data = ModelCard.load(path).data
    assert (data.library_name, data.license, data.pipeline_tag) == ("transformers", "apache-2.0", "text-classification")
    assert (data.base_model, data.language) == ("google-t5/t5-small", "en")
    assert {"unimse", "custom_code"} <= set(data.tags)
    assert {"accuracy", "f1", "mae", "pearsonr"} == set(data.metrics)
    assert all({"text", "example_title"} == set(example) for example in data.widget)
    assert len(ModelCardData(**metadata_of(path.read_text("utf-8"))).eval_results) == len(data.eval_results)
    found = {(entry.dataset_type, entry.metric_name): entry for entry in data.eval_results}
    mae, f1 = found["cmu-mosi-unofficial", "MAE"], found["meld-unofficial", "Weighted F1"]
    assert mae.metric_value == pytest.approx(published["metrics"]["mosi/mae"], abs=1e-6)
    assert f1.metric_value == pytest.approx(published["metrics"]["meld/weighted_f1"], abs=1e-6)
    assert (mae.metric_type, f1.metric_type) == ("mae", "f1")
    protocol = "modalities text+audio+visual; split test; universal_labels true"
    assert all(entry.metric_args["protocol"].endswith(protocol) for entry in data.eval_results)
    assert (mae.task_type, f1.task_type) == ("multimodal-sentiment-analysis", "emotion-recognition-in-conversation")


def test_eval_results_are_read_back_by_the_hub_library(card):
    (readme, *files), published = card
    assert [path.relative_to(readme.parent).as_posix() for path in files] == [
        ".eval_results/meld.yaml",
        ".eval_results/mosi.yaml",
    ]
    data = yaml.safe_load(files[0].read_text("utf-8"))
    assert evaluation_errors(data) == []
    entries = parse_eval_result_entries(data)
    assert [entry.task_id for entry in entries] == ["accuracy", "weighted_f1", "macro_f1"]
    assert entries[0].value == pytest.approx(published["metrics"]["meld/accuracy"], abs=1e-6)
    assert entries[0].date == published["created"]
    low, high = (round(bound, 6) for bound in published["intervals"]["meld/accuracy"])
    notes = f"run full-seed1, seed 1, commit 0123abc; 95 % bootstrap interval {low} to {high}; context_after 2;"
    assert entries[0].notes.startswith(notes) and low < entries[0].value < high
    assert entries[0].source_url == "https://huggingface.co/someone/unimse-tiny/blob/main/results.json"


def test_another_protocol_does_not_replace_a_value(tmp_path):
    """By the Hub's own comparison; `test_names_are_constant_over_updates` sees that the same protocol does."""
    files = [write_results(tmp_path, seed=seed, modalities=names) for seed, names in ((1, ("text",)), (2, ("text",)))]
    files.append(write_results(tmp_path / "all"))
    cards = [ModelCard.load(lay_out(tmp_path / str(number), [file])) for number, file in enumerate(files)]
    text, again, whole = (card.data.eval_results for card in cards)
    assert all(one.is_equal_except_value(other) for one, other in zip(text, again, strict=True)) and text != again
    assert not any(one.is_equal_except_value(other) for one in text for other in whole)


def test_names_are_constant_over_updates(tmp_path):
    """An update with other numbers, by the Hub's own client, replaces what is there: nothing stands twice."""
    files = [write_results(tmp_path / "runs", run="full", seed=seed) for seed in (1, 2)]
    folders = [lay_out(tmp_path / str(number), [file]).parent for number, file in enumerate(files)]
    first, second = (json.loads(file.read_text())["metrics"] for file in files)
    assert all(first[key] != second[key] for key in ("mosi/mae", "meld/accuracy"))
    with HubServer() as hub:
        found = run_client(hub, f"FOLDERS = {list(map(str, folders))!r}\n{_RENEW}", tmp_path / "home")
        assert hub.unknown == []
    assert len(found["index"]) == len(ModelCard.load(folders[0] / "README.md").data.eval_results) == 11
    values = {(data, name): value for data, name, value in found["index"]}
    assert len(values) == len(found["index"])
    assert values["cmu-mosi-unofficial", "MAE"] == round(second["mosi/mae"], 6)
    assert found["metadata"] == {
        "pipeline_tag": "text-classification",
        "library_name": "transformers",
        "license": "apache-2.0",
        "base_model": "google-t5/t5-small",
    }
    assert found["shown"] == [entry for entries in found["files"].values() for entry in entries]
    renewed = {(entry["dataset_id"], entry["task_id"]): entry["value"] for entry in found["shown"]}
    assert len(renewed) == len(found["shown"]) == 11
    assert renewed["meld-unofficial", "accuracy"] == round(second["meld/accuracy"], 6)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("license", "apache", '"license" must be one of'),
        ("language", "English", '"language" must be ISO 639'),
        ("datasets", [None], '"datasets" must be an array of strings'),
        ("base_model", "a b", '"base_model" must hold names of repositories'),
        ("widget", {"text": "x"}, '"widget" must be an array'),
        ("pipeline_tag", "Text classification", '"pipeline_tag" must be an identifier'),
        ("model-index", [{"name": "x", "results": [{}]}], '"model-index[0].results[0].task.type" is required'),
    ],
)
def test_the_local_hub_refuses_wrong_metadata(field, value, message, card):
    metadata = metadata_of(card[0][0].read_text("utf-8"))
    assert model_card_errors(metadata) == []
    assert message in model_card_errors({**metadata, field: value})[0]


def test_names_in_the_metadata_are_those_of_the_libraries(card):
    from transformers.modelcard import METRIC_TAGS
    from transformers.pipelines import SUPPORTED_TASKS

    data = ModelCard.load(card[0][0]).data
    assert data.pipeline_tag in SUPPORTED_TASKS and data.license in LICENSES
    assert {*data.metrics, *(entry.metric_type for entry in data.eval_results)} <= {*METRIC_TAGS, "mae"}
    assert data.library_name in ("transformers", "peft")


def test_only_official_rows_carry_the_name_of_the_benchmark(tmp_path):
    file = write_results(tmp_path, rows=OFFICIAL_TEST_ROWS["meld"][0])
    path = lay_out(tmp_path / "out", [file], CardSettings(dataset_ids={"meld": "someone/meld"}))
    names = {entry.dataset_type: entry.dataset_name for entry in ModelCard.load(path).data.eval_results}
    assert names == {
        "cmu-mosi-unofficial": "CMU-MOSI (rows other than the official test split)",
        "someone/meld": "MELD",
    }
    text = path.read_text("utf-8")
    assert "**Not benchmark scores: mosi.**" in text
    assert "(data aa11); meld, 2610 rows of split test (data bb22, the official split by row count)." in text


def test_every_number_is_traced(card):
    text = card[0][0].read_text("utf-8")
    assert (
        "The published checkpoint is run `full-seed1`, seed 1; the SHA-256 over its weights begins with `0123456789ab`."
        in text
    )
    assert "| `results.json` | full-seed1 | 1 | 0123abc | 2026-01-01T10:00:00+00:00 | `unimse evaluate" in text
    assert "Versions: torch 2.13.0, transformers 5.23.0." in text
    assert "| `results/text-only-seed-1/results.json` | text-only-seed1 | 1 |" in text
    assert "| epochs | 3 |" in text and "| peft | {type: lora, r: 2} |" in text and "| seconds, train | 61.5 |" in text
    assert "No checkpoint" not in text
    for heading in (
        "How to use",
        "Results",
        "Training",
        "Intended use",
        "Limits",
        "Bias",
        "Where the numbers come from",
    ):
        assert f"\n\n## {heading}\n" in text


def test_what_results_do_not_have_is_not_said(tmp_path):
    content = make_results()
    content["seconds"], content["checkpoint"] = {}, {"weights": "0123456789ab", "repo": "me/x", "revision": "f" * 40}
    file = tmp_path / "run.json"
    file.write_text(json.dumps(seal(content)))
    text = lay_out(tmp_path / "out", [file], CardSettings()).read_text("utf-8")
    assert "seconds" not in text and "base_model" not in text and "Predictions of single samples" not in text
    assert f"It was scored as `me/x`, revision `{'f' * 40}`." in text


def test_a_null_metric_stays_out_of_the_metadata(tmp_path):
    content = make_results()
    for part in ("metrics", "intervals"):
        content[part]["mosi/corr"] = None
    content["reasons"] |= dict.fromkeys(("mosi/corr", "intervals/mosi/corr"), "predictions are constant")
    file = tmp_path / "run.json"
    file.write_text(json.dumps(seal(content)))
    path = lay_out(tmp_path / "out", [file])
    assert "Corr" not in {entry.metric_name for entry in ModelCard.load(path).data.eval_results}
    assert "| mosi | Corr | n/a (seed 1: predictions are constant) |  |" in path.read_text("utf-8")


@pytest.mark.parametrize("count", [1, 7])
def test_every_metric_of_the_published_checkpoint_stands_with_its_interval(count, tmp_path):
    files = write_many(tmp_path / "runs")[:count]
    published = read_results(files[0])
    text = lay_out(tmp_path / "out", files).read_text("utf-8")
    for key in published.content["metrics"]:
        benchmark, name = benchmark_of(key), key.split("/")[-1]
        value, interval = published.content["metrics"][key], published.interval(benchmark, name)
        shown = format_interval(METRICS[name], interval) if interval else ""
        row = f"| {benchmark} | {METRICS[name].title} | {format_value(METRICS[name], value)} | {shown} |"
        assert text.count(row) == 1, row
    assert len(published.content["intervals"]) == len(published.content["metrics"]) - 1  # parse failures have none
    assert "- Scored: mosi, 120 rows of split test (data aa11); meld, 120 rows of split test (data bb22)." in text
    assert ("| rank | run | seeds | MAE" in text) == (count > 1) and ("\n### meld: F1" in text) == (count == 1)
    assert text.count("joy (") == (1 if count == 1 else 2)  # F1 per class; of all runs under both protocols


def test_the_card_is_made_again_byte_for_byte_by_who_has_only_the_repository(card, tmp_path, capsys):
    """Copied elsewhere; every kind of change is told, and the results give the same bytes again."""
    files = card[0]
    copy = shutil.copytree(files[0].parent, tmp_path / "copy")
    assert main(["card", str(copy), "--check"]) == 0
    assert "as results.json gives them; its numbers: no predictions; no weights here" in capsys.readouterr().out
    names = [path.relative_to(files[0].parent) for path in files]
    before = {name: (copy / name).read_bytes() for name in names}
    (copy / "README.md").write_text((copy / "README.md").read_text("utf-8").replace("0.", "0.9", 1), encoding="utf-8")
    (copy / ".eval_results" / "meld.yaml").unlink()
    (copy / ".eval_results" / "old.yaml").write_text("[]")
    assert card_differences(copy) == ["README.md", ".eval_results/meld.yaml", ".eval_results/old.yaml"]
    assert main(["card", str(copy), "--check"]) == 1
    assert f"`unimse card {copy}` writes them again" in capsys.readouterr().err
    assert main(["card", str(copy)]) == 0
    assert {name: (copy / name).read_bytes() for name in names} == before and card_differences(copy) == []
    assert not (copy / ".eval_results" / "old.yaml").exists()


def test_a_check_sees_other_weights_and_edited_results(tmp_path):
    path = lay_out(tmp_path / "out", [write_results(tmp_path)])
    (path.parent / "model.safetensors").write_bytes(b"others")
    with pytest.raises(ValueError, match="weights: expected 0123456789ab, which were scored in .*results.json, got"):
        check_card(path.parent)
    results = path.with_name("results.json")
    results.write_text(results.read_text().replace('"seed": 1', '"seed": 2', 1))
    with pytest.raises(ValueError, match="digest: expected"):
        check_card(path.parent)


def test_predictions_are_published_only_where_asked(tmp_path):
    """Without them the digest stays, and readers see that they are not there."""
    files = [write_results(tmp_path / "runs", predictions=True, run=name) for name in ("full", "text")]
    closed, open_ = lay_out(tmp_path / "closed", files), lay_out(tmp_path / "open", files, with_predictions=True)
    assert not [*closed.parent.rglob("*.parquet")]
    assert json.loads(closed.with_name("results.json").read_text())["predictions"]["file"] == "full-seed1.parquet"
    assert "Predictions of single samples, which stand beside ids and gold labels, are not part" in closed.read_text()
    assert check_card(closed.parent).endswith("its numbers: no predictions; no weights here")
    found = {path.relative_to(open_.parent).as_posix() for path in open_.parent.rglob("*.parquet")}
    assert found == {"full-seed1.parquet", "results/text-seed-1/text-seed1.parquet"}
    assert "`full-seed1.parquet` holds id, gold label and prediction of every scored sample" in open_.read_text()
    assert check_card(open_.parent).endswith("its numbers: recomputed; no weights here")
    other = open_.parent / "results" / "text-seed-1" / "text-seed1.parquet"
    other.write_bytes(other.read_bytes() + b"x")
    with pytest.raises(ValueError, match="text-seed-1"):
        check_card(open_.parent)
    files[0].with_suffix(".parquet").unlink()
    with pytest.raises(ValueError, match="expected its predictions beside it, to be published"):
        lay_out(tmp_path / "none", files, with_predictions=True)


def test_states_go_with_the_predictions(tmp_path):
    from trainer.results_file import write_results as write_results_file

    file = write_results(tmp_path, predictions=True)
    states = tmp_path / "states.npz"
    states.write_bytes(b"states")
    write_results_file(file, json.loads(file.read_text()), file.with_suffix(".parquet"), states)
    for asked in (False, True):
        folder = lay_out(tmp_path / str(asked), [file], with_predictions=asked).parent
        assert (folder / "states.npz").exists() is asked


def test_one_run_under_two_protocols_is_kept_apart(tmp_path):
    files = [
        write_results(tmp_path / str(number), run="full", modalities=modalities)
        for number, modalities in enumerate((["text", "audio", "visual"], ["text", "audio"], ["text"]))
    ]
    path = lay_out(tmp_path / "out", files)
    names = sorted(one.parent.name for one in path.parent.glob("results/*/results.json"))
    assert names == ["full-seed-1", "full-seed-1-2"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "expected fields such as model_id, got list"),
        ("model: x", "unknown field 'model'; did you mean 'model_id'"),
        ("training:", "training: expected fields and values, got None"),
        ("base_model: [a/b]", "base_model: expected a Hub name or null, got ['a/b']"),
    ],
)
def test_wrong_settings_are_named(text, message, card):
    folder = card[0][0].parent
    (folder / "card.yaml").write_text(text)
    with pytest.raises(ValueError, match=re.escape(message)):
        write_card(folder)


def test_a_folder_without_results_has_no_card(tmp_path, capsys):
    with pytest.raises(ValueError, match=r"expected at least one results file; without one use project_model_card\(\)"):
        card_files([], SETTINGS)
    assert main(["card", str(tmp_path)]) == 1
    assert "expected a folder that `unimse publish` laid out; there is no card.yaml" in capsys.readouterr().err


def test_project_card_is_the_template_without_results():
    text = project_model_card()
    assert "**No checkpoint has been published yet.**" in text
    metadata = metadata_of(text)
    assert "model-index" not in metadata
    assert "base_model" not in metadata
    assert not re.search(r"\{[{%#]|[%#]\}", text.replace("{{UniMSE}", ""))  # nothing of the template is left
    assert all(len(line) <= 120 for line in text.splitlines())


def test_project_card_on_disk_is_fresh(monkeypatch, tmp_path, capsys):
    assert main(["card", "--check"]) == 0, capsys.readouterr().err
    stale = tmp_path / "model_card.md"
    stale.write_text("stale")
    monkeypatch.setattr("trainer.model_card._project_card", lambda: stale)
    assert main(["card", "--check"]) == 1
    assert "differs from what its template gives; `unimse card` writes it again" in capsys.readouterr().err
    assert main(["card"]) == 0
    assert stale.read_bytes() == (ROOT / "model_card.md").read_bytes()


def test_the_code_of_the_card_runs(tmp_path, capsys):
    """Against a model of random weights: what it prints is a label of the grammar."""
    code = re.search(r"```python\n(.*?)```", project_model_card(), re.DOTALL).group(1)
    assert PROJECT_MODEL_ID in code
    save_tiny_model(tmp_path / "model")
    script = tmp_path / "card.py"
    script.write_text(code.replace(PROJECT_MODEL_ID, str(tmp_path / "model")))
    runpy.run_path(str(script))
    printed = capsys.readouterr().out.strip()
    assert re.fullmatch(r"UniversalLabel\(polarity='\w+', intensity=-?\d\.\d, emotion='\w+'\)", printed)


def save_tiny_model(folder):
    from transformers import T5Config

    from modeling_unimse import (
        EMOTIONS,
        UniMSEConfig,
        UniMSEFeatureExtractor,
        UniMSEForConditionalGeneration,
        UniMSEProcessor,
    )
    from trainer.tokenizer import build_tokenizer

    tokenizer = build_tokenizer(["I can't believe you did this for me!", "Okay, what is it?"], EMOTIONS, 400)
    sizes = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 3, "num_heads": 2}
    config = UniMSEConfig(text_config=T5Config(vocab_size=len(tokenizer), decoder_start_token_id=0, **sizes))
    UniMSEForConditionalGeneration(config).save_pretrained(folder)
    extractor = UniMSEFeatureExtractor(visual_feature_size=config.visual_feature_size)
    UniMSEProcessor(extractor, tokenizer).save_pretrained(folder)
