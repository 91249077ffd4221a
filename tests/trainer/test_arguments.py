from pathlib import Path

import pytest
import yaml

from modeling_unimse import UniMSEConfig
from trainer.arguments import load_config


@pytest.fixture
def config_file(tmp_path):
    path = tmp_path / "first.yaml"
    path.write_text(yaml.safe_dump({"data": ["data/meld"], "learning_rate": "1e-3", "model": {"fusion_type": "ffn"}}))
    return path


def test_defaults_are_the_papers(config_file):
    config = load_config(config_file, ["--learning_rate", "3e-4"])
    assert (config.run, config.learning_rate, config.fusion_learning_rate) == ("first", 3e-4, 1e-4)
    assert (config.context_before, config.context_after, config.universal_labels) == (2, 2, True)


def test_the_command_line_overrides_any_field(config_file):
    overrides = ["--seeds", "[1, 2]", "--model.fusion_type=parallel", "--modalities", "[]", "--weight-decay", "0"]
    config = load_config(config_file, overrides)
    assert config.seeds == [1, 2] and config.modalities == [] and config.weight_decay == 0.0
    assert config.model == {"fusion_type": "parallel"}


WRONG = [
    (["--learning_rat", "1"], "unknown field 'learning_rat'; did you mean 'learning_rate'"),
    (["--model.fusion_typ", "ffn"], "unknown field 'model.fusion_typ'; did you mean 'fusion_type'"),
    (["--epochs", "0"], "epochs: expected a whole number >= 1, got 0"),
    (["--epochs", "1.5"], "epochs: expected int, got 1.5"),
    (["--learning_rate", "fast"], "learning_rate: expected float, got 'fast'"),
    (["--universal_labels", "1"], "universal_labels: expected bool, got 1"),
    (["--modalities", "[smell]"], "modalities: expected names of audio, visual, got 'smell'"),
    (["--modality_dropout", "1.0"], r"modality_dropout: expected a number in \[0, 1\)"),
    (["--mixed_precision", "int8"], "mixed_precision: expected no, bf16 or fp16, got 'int8'"),
    (["--data", "[]"], "data and seeds: expected at least one entry each"),
    (["--seeds", "[a]"], r"seeds\[0\]: expected int, got 'a'"),
    (["--seeds", "[1, 1]"], "seeds: expected every entry once"),
    (["--trackers", "[tensorbord]"], "trackers: expected a known name, got 'tensorbord'; did you mean 'tensorboard'"),
    (["--trackers", "[wandb, wandb]"], "trackers: expected every entry once"),
    (["--scheduler", "linaer"], "scheduler: expected a known name, got 'linaer'; did you mean 'linear'"),
    (["--learning_rate", "-1"], "learning_rate: expected a number > 0, got -1.0"),
    (["--warmup_ratio", "2"], r"warmup_ratio: expected a number in \[0, 1\], got 2.0"),
    (["--patience", "0"], "patience: expected a whole number >= 1 or null, got 0"),
    (["--augmentation", "{noize: 1}"], "unknown field 'augmentation.noize'; did you mean 'noise'"),
    (["--emotions", "[Joy]"], "expected a lower-case word"),
    (["--model.emotions", "[joy]"], "model.emotions: set emotions at the top level"),
    (["--model.fusion_type", "sum"], "fusion_type: expected one of ffn, parallel, cross_attention, got 'sum'"),
    (["--model.fusion_layers", "[99]"], "fusion_layers: expected layers of 0..11"),
    (["--extends", "3"], "extends: expected the path of a config file, got 3"),
    (["--push_to_hub.true", "3"], "unknown field 'push_to_hub.true'"),
    (["--mixing.wieghts", "1"], "unknown field 'mixing.wieghts'; did you mean 'weights'"),
    (["--model.text_config.num_layer", "2"], "unknown field 'model.text_config.num_layer'; did you mean 'num_layers'"),
    (["--lr", "1"], "unknown field 'lr'; did you mean 'learning_rate'"),
    (["--seeds", "1"], r"seeds: expected list, such as \[1\], got 1"),
    (["--run", "../victim"], "run: expected the name of one folder, got '../victim'; --out DIR says where it lies"),
    (["--run_name", "a/b"], "run: expected the name of one folder, got 'a/b'"),
    (["--run", '""'], "run: expected the name of one folder, got ''"),
    (["--run", ".."], "run: expected the name of one folder, got '..'"),
    (["--run.x", "1"], "--run.x: 'run' has no fields of its own"),
    (["epochs", "3"], "expected an override such as"),
    (["--epochs"], "--epochs: a value is missing"),
]


@pytest.mark.parametrize(("overrides", "message"), WRONG)
def test_wrong_fields_fail_before_anything_starts(config_file, overrides, message):
    with pytest.raises(ValueError, match=message):
        load_config(config_file, overrides)


def test_wrong_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="no.yaml: no such config file"):
        load_config(tmp_path / "no.yaml")
    (tmp_path / "list.yaml").write_text("- a\n")
    with pytest.raises(ValueError, match="expected a YAML mapping of fields, got list"):
        load_config(tmp_path / "list.yaml")
    (tmp_path / "broken.yaml").write_text("a: [1\n")
    with pytest.raises(ValueError, match="broken.yaml: not valid YAML"):
        load_config(tmp_path / "broken.yaml")
    (tmp_path / "empty.yaml").write_text("run: x\n")
    with pytest.raises(ValueError, match="field 'data' is missing"):
        load_config(tmp_path / "empty.yaml")


def write_config(folder, name: str, **fields):
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(yaml.safe_dump(fields))
    return path


def test_a_config_extends_another(config_file, tmp_path):
    child = write_config(tmp_path, "sub/child.yaml", extends="../first.yaml", epochs=3, model={"audio_hidden_size": 8})
    config = load_config(child, ["--model.visual_hidden_size", "9"])
    assert (config.run, config.epochs, config.learning_rate) == ("child", 3, 1e-3)
    assert config.model == {"fusion_type": "ffn", "audio_hidden_size": 8, "visual_hidden_size": 9}
    other = write_config(tmp_path, "other.yaml", run="named", data=["data/mosi"])
    config = load_config(child, ["--extends", str(other), "--out", "there"])
    assert (config.run, config.data, config.output_dir) == ("child", ["data/mosi"], "there")
    assert config.model == {"audio_hidden_size": 8}


def test_a_config_that_extends_itself_or_nothing_is_named(tmp_path):
    write_config(tmp_path, "a.yaml", extends="b.yaml")
    write_config(tmp_path, "b.yaml", extends="a.yaml")
    with pytest.raises(ValueError, match=r"a.yaml: extends itself \(.*a.yaml <- .*b.yaml\)"):
        load_config(tmp_path / "a.yaml")
    with pytest.raises(FileNotFoundError, match="no.yaml: no such config file"):
        load_config(write_config(tmp_path, "c.yaml", extends="no.yaml"))


SHIPPED = sorted((Path(__file__).parents[2] / "trainer" / "configs").rglob("*.yaml"))


@pytest.mark.parametrize(
    "path", [path for path in SHIPPED if path.parent.name != "accelerate"], ids=lambda path: path.stem
)
def test_shipped_configs_are_whole(path):
    """Each is read as it is; ablations also over the sample's config, whose layers they name."""
    config = load_config(path)
    assert config.run == path.stem and config.data
    if path.parent.name == "ablations":
        sample = load_config(path, ["--extends", str(path.parents[1] / "sample_ablations.yaml")])
        text_config = sample.model.pop("text_config")
        UniMSEConfig(text_config=text_config, **sample.model)


def test_the_papers_setting_is_the_papers():
    config = load_config(SHIPPED[0].parents[1] / "base_all.yaml")
    assert (config.batch_size, config.learning_rate, config.fusion_learning_rate) == (96, 3e-4, 1e-4)
    model = UniMSEConfig(**config.model)
    assert model.fusion_layers == [9, 10, 11] and model.audio_contrastive_weight == 0.5
    assert (model.audio_hidden_size, model.contrastive_temperature) == (64, 0.1)
