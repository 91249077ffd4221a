"""The model card: metadata that the Hub's own classes read back, numbers that can be traced, code that runs."""

import json
import re
import runpy
from pathlib import Path

import pytest
import yaml
from huggingface_hub import ModelCard, ModelCardData, parse_eval_result_entries
from results_files import make_results, write_many, write_results

from trainer.metric_names import OFFICIAL_TEST_ROWS
from trainer.model_card import PROJECT_MODEL_ID, project_model_card, write_model_card

ROOT = Path(__file__).parents[2]
REFRESH = "python -c \"from pathlib import Path; from trainer.model_card import project_model_card; \
Path('model_card.md').write_text(project_model_card(), encoding='utf-8')\""


@pytest.fixture
def card(tmp_path):
    files = write_many(tmp_path / "runs")
    arguments = {"model_id": "someone/unimse-tiny", "base_model": "google-t5/t5-small", "training": {"epochs": 3}}
    written = write_model_card(files, tmp_path / "out" / "README.md", **arguments)
    return written, json.loads(files[0].read_text())


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
    assert (mae.task_type, f1.task_type) == ("multimodal-sentiment-analysis", "emotion-recognition-in-conversation")


def test_eval_results_are_read_back_by_the_hub_library(card):
    (readme, *files), published = card
    assert [path.relative_to(readme.parent).as_posix() for path in files] == [
        ".eval_results/mosi.yaml",
        ".eval_results/meld.yaml",
    ]
    entries = parse_eval_result_entries(yaml.safe_load(files[1].read_text("utf-8")))
    assert [entry.task_id for entry in entries] == ["accuracy", "weighted_f1", "macro_f1"]
    assert entries[0].value == pytest.approx(published["metrics"]["meld/accuracy"], abs=1e-6)
    assert entries[0].date == published["created"]
    assert entries[0].notes.startswith("run full-seed1, seed 1, commit 0123abc; context_after 2;")


def test_names_are_constant_over_updates(tmp_path):
    """An update with other numbers has the same entries but for the values, so the Hub replaces them."""
    cards = []
    for seed in (1, 2):
        path, *_ = write_model_card([write_results(tmp_path, run="full", seed=seed)], tmp_path / f"{seed}.md")
        cards.append(ModelCard.load(path).data.eval_results)
    for old, new in zip(*cards, strict=True):
        assert old.is_equal_except_value(new)
    assert any(old.metric_value != new.metric_value for old, new in zip(*cards, strict=True))


def test_only_official_rows_carry_the_name_of_the_benchmark(tmp_path):
    file = write_results(tmp_path, rows=OFFICIAL_TEST_ROWS["meld"][0])
    path, *_ = write_model_card([file], tmp_path / "README.md", dataset_ids={"meld": "someone/meld"})
    names = {entry.dataset_type: entry.dataset_name for entry in ModelCard.load(path).data.eval_results}
    assert names == {
        "cmu-mosi-unofficial": "CMU-MOSI (rows other than the official test split)",
        "someone/meld": "MELD",
    }
    assert "**Not benchmark scores: mosi.**" in path.read_text("utf-8")


def test_every_number_is_traced(card):
    text = card[0][0].read_text("utf-8")
    assert "The published checkpoint is run `full-seed1`, seed 1." in text
    assert "| `full-seed1.json` | full-seed1 | 1 | 0123abc | 2026-01-01T10:00:00+00:00 | `unimse evaluate" in text
    assert "Versions: torch 2.13.0, transformers 5.23.0." in text
    assert "| epochs | 3 |" in text
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


def test_a_null_metric_stays_out_of_the_metadata(tmp_path):
    content = make_results()
    content["metrics"]["mosi/corr"], content["reasons"]["mosi/corr"] = None, "predictions are constant"
    file = tmp_path / "run.json"
    file.write_text(json.dumps(content))
    path, *_ = write_model_card([file], tmp_path / "README.md")
    assert "Corr" not in {entry.metric_name for entry in ModelCard.load(path).data.eval_results}
    assert "Corr: n/a (seed 1: predictions are constant)" in path.read_text("utf-8")


def test_card_is_byte_equal_on_a_second_run(tmp_path):
    files = write_many(tmp_path / "runs")
    first = [path.read_bytes() for path in write_model_card(files, tmp_path / "README.md")]
    assert [path.read_bytes() for path in write_model_card(files, tmp_path / "README.md")] == first


def test_without_results_there_is_no_published_card(tmp_path):
    with pytest.raises(ValueError, match=r"expected at least one results file; without one use project_model_card\(\)"):
        write_model_card([], tmp_path / "README.md")


def test_project_card_is_the_template_without_results():
    text = project_model_card()
    assert "**No checkpoint has been published yet.**" in text
    metadata = metadata_of(text)
    assert "model-index" not in metadata
    assert "base_model" not in metadata
    assert not re.search(r"\{[{%#]|[%#]\}", text.replace("{{UniMSE}", ""))  # nothing of the template is left
    assert all(len(line) <= 120 for line in text.splitlines())


def test_project_card_on_disk_is_fresh():
    on_disk = (ROOT / "model_card.md").read_text("utf-8")
    assert on_disk == project_model_card(), f"model_card.md is stale; write it again: {REFRESH}"


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
