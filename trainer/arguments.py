"""The one description of a run: a YAML file, with any field overridden on the command line."""

import dataclasses
import re
import types
import typing
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from transformers import SchedulerType, T5Config

from modeling_unimse.configuration_unimse import UniMSEConfig
from modeling_unimse.universal_label_unimse import EMOTIONS, check_emotions
from trainer.augmentation import Augmentation
from trainer.batching import Mixing
from trainer.fields import check_fields, nearest
from trainer.peft_settings import adapter_config
from trainer.uploads import PushSettings

MODALITIES = ("audio", "visual")
# `torchrun` takes --run for a beginning of its own options, also behind the module that it starts.
_SHORT = {"out": "output_dir", "run_name": "run"}
TRACKERS = ("trackio", "tensorboard", "wandb")

_TEXT_FIELDS = {
    *(item.name for item in dataclasses.fields(T5Config)),
    *T5Config.attribute_map,
    *("bos_token_id", "decoder_start_token_id", "scale_decoder_outputs", "tie_word_embeddings"),
}


@dataclass
class RunConfig:
    """Everything that decides a run. Paths are relative to the working directory.

    Args:
        run: name, one part of a path; the run folder is `output_dir/run/seed-N`.
        data: prepared dataset folders, or `owner/name` of prepared datasets on the Hub.
        feature_sets: where features come from: each modality from the first named set that has it, such as
            `[covarep, facet]`; empty = the main set of each dataset.
        output_dir: where runs are kept.
        seeds: one training each.
        backbone: T5 or UniMSE checkpoint (folder or Hub name); `None` = from scratch with `model.text_config`.
        tokenizer: folder or Hub name; `None` = the backbone's, or one built from the training text.
        vocab_size: largest size of a tokenizer that is built.
        model: fields of `UniMSEConfig`.
        modalities: what the model sees besides text, of `audio` and `visual`.
        context_before, context_after: utterances of dialogue context (paper: 2, 2).
        universal_labels: train on donors' halves too; `False` = the data set's own half and constants.
        emotions: emotion set of the labels.
        audio_normalization: `dataset`, `level` or `utterance`, see `UniMSEFeatureExtractor`.
        silence_threshold: dB, see `UniMSEFeatureExtractor`; `None` = nothing is cut.
        augmentation: fields of `trainer.augmentation.Augmentation`, for training batches.
        modality_dropout: probability that a training sample loses a modality, such as
            `{audio: 0.1, visual: 0.3}`; one number is for each.
        mixing: how often each dataset is seen, see `trainer.batching.Mixing`; by default every sample once an epoch.
        length_bucketing: samples of similar length share a batch.
        data_workers: processes that read and pad batches; 0 = this one.
        epochs, batch_size, eval_batch_size: as usual; batch sizes are per process.
        gradient_accumulation: micro-batches of `batch_size` a process and optimisation step.
        learning_rate: of the backbone (paper: 3e-4).
        fusion_learning_rate: of PMF and segment embedding (paper: 1e-4).
        encoder_learning_rate, contrastive_learning_rate: of the modality encoders and of the contrastive heads;
            `None` = `fusion_learning_rate`, as in the paper.
        trainable_blocks: blocks of the backbone that are trained, the rest of it is frozen; `None` = all of it.
        peft: adapter in a frozen backbone, such as `{type: lora, r: 8, target_modules: [q, v]}`: `type` and fields of
            any configuration of the peft library that has `modules_to_save`; `None` = no adapter.
        weight_decay, warmup_ratio, scheduler, max_grad_norm: as in transformers.
        mixed_precision: `no`, `bf16` or `fp16`.
        compile: whether the model is compiled by `torch.compile`.
        activation_checkpointing: whether activations are computed anew in the backward pass, for less memory.
        metric: validation metric that picks the best checkpoint; the names of `results.json`.
        greater_is_better: direction of `metric`.
        evaluate_every: epochs between validations.
        save_every: optimisation steps between training states; `None` = one at every validation.
        keep_last: training states that are kept; `checkpoint-best` is kept beside them.
        resume: `auto` = go on from the newest whole state of this run and seed, if there is one; `never`.
        log_every: optimisation steps between lines of the log.
        push_to_hub: such as `{repo: me/unimse-mosi, every: 1, private: true, only_best: true}`, see
            `trainer.uploads.PushSettings`; `None` = nothing is uploaded.
        trackers: where the log goes besides, of `trackio`, `tensorboard` and `wandb`, see `trainer.watching`.
        overwrite: train again where a finished run of this name and seed stands; otherwise that is refused.
        patience: stop after so many validations without a better one; `None` = never.
    """

    run: str
    data: list[str]
    feature_sets: list[str] = field(default_factory=list)
    output_dir: str = "runs"
    seeds: list[int] = field(default_factory=lambda: [1])
    backbone: str | None = None
    tokenizer: str | None = None
    vocab_size: int = 8000
    model: dict = field(default_factory=dict)
    modalities: list[str] = field(default_factory=lambda: list(MODALITIES))
    context_before: int = 2
    context_after: int = 2
    universal_labels: bool = True
    emotions: list[str] = field(default_factory=lambda: list(EMOTIONS))
    audio_normalization: str = "dataset"
    silence_threshold: float | None = None
    augmentation: dict = field(default_factory=dict)
    modality_dropout: dict = field(default_factory=dict)
    mixing: dict = field(default_factory=dict)
    length_bucketing: bool = True
    data_workers: int = 0
    epochs: int = 10
    batch_size: int = 32
    eval_batch_size: int = 64
    gradient_accumulation: int = 1
    learning_rate: float = 3e-4
    fusion_learning_rate: float = 1e-4
    encoder_learning_rate: float | None = None
    contrastive_learning_rate: float | None = None
    trainable_blocks: list[int] | None = None
    peft: dict | None = None
    weight_decay: float = 0.01
    warmup_ratio: float = 0.1
    scheduler: str = "linear"
    max_grad_norm: float = 1.0
    mixed_precision: str = "no"
    compile: bool = False
    activation_checkpointing: bool = False
    metric: str = "emotion_accuracy"
    greater_is_better: bool = True
    evaluate_every: int = 1
    save_every: int | None = None
    keep_last: int = 1
    resume: str = "auto"
    log_every: int = 10
    trackers: list[str] = field(default_factory=lambda: ["trackio"])
    patience: int | None = None
    push_to_hub: dict | None = None
    overwrite: bool = False

    def __post_init__(self):
        if isinstance(self.modality_dropout, int | float) and not isinstance(self.modality_dropout, bool):
            self.modality_dropout = dict.fromkeys(self.modalities, float(self.modality_dropout))
        for item in dataclasses.fields(self):
            setattr(self, item.name, _checked(item.name, item.type, getattr(self, item.name)))
        check_run_name(self.run)
        if not self.data or not self.seeds:
            raise ValueError("data and seeds: expected at least one entry each")
        for name in self.modalities:
            if name not in MODALITIES:
                raise ValueError(f"modalities: expected names of {', '.join(MODALITIES)}, got {name!r}")
        for name in self.trackers:
            if name not in TRACKERS:
                raise ValueError(f"trackers: expected a known name, got {name!r}{nearest(name, TRACKERS)}")
        for name in ("seeds", "modalities", "data", "feature_sets", "trackers"):
            if len(set(getattr(self, name))) != len(getattr(self, name)):
                raise ValueError(f"{name}: expected every entry once, got {getattr(self, name)}")
        check_emotions(self.emotions)
        Mixing.from_settings(self.mixing)
        Augmentation.from_settings(self.augmentation)
        self._check_optimization()
        self._check_model()
        if self.peft is not None:
            self._check_peft()
        if self.push_to_hub is not None:
            PushSettings.from_settings(self.push_to_hub)

    def _check_model(self):
        """Fields that the run sets for model and processor alike must not be set for the model alone."""
        known = {item.name for item in dataclasses.fields(UniMSEConfig)}
        check_fields(self.model, known, "model")
        for name in self.model:
            if name in ("emotions", "context_before", "context_after"):
                raise ValueError(f"model.{name}: set {name} at the top level, where the processor reads it too")
        text_config = self.model.get("text_config") or {}
        check_fields(text_config, _TEXT_FIELDS, "model.text_config")
        settings = dict(self.model)
        if self.backbone is not None and "text_config" not in settings:
            settings.pop("fusion_layers", None)  # which layers there are, the backbone will tell
        UniMSEConfig(**settings)

    def _check_peft(self):
        adapter_config(self.peft)
        if self.trainable_blocks is not None:
            raise ValueError("peft, trainable_blocks: expected one of them, got both; an adapter freezes the backbone")

    def _check_optimization(self):
        if self.scheduler not in (names := [kind.value for kind in SchedulerType]):
            raise ValueError(
                f"scheduler: expected a known name, got {self.scheduler!r}{nearest(self.scheduler, names)}"
            )
        rates = ("learning_rate", "fusion_learning_rate", "encoder_learning_rate", "contrastive_learning_rate")
        for name in (*rates, "max_grad_norm"):
            if getattr(self, name) is not None and not getattr(self, name) > 0:
                raise ValueError(f"{name}: expected a number > 0, got {getattr(self, name)}")
        if not 0 <= self.warmup_ratio <= 1:
            raise ValueError(f"warmup_ratio: expected a number in [0, 1], got {self.warmup_ratio}")
        for name in ("patience", "save_every"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise ValueError(f"{name}: expected a whole number >= 1 or null, got {getattr(self, name)}")
        counts = ("epochs", "batch_size", "eval_batch_size", "evaluate_every", "gradient_accumulation")
        for name in (*counts, "keep_last", "log_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: expected a whole number >= 1, got {getattr(self, name)}")
        if self.data_workers < 0:
            raise ValueError(f"data_workers: expected a whole number >= 0, got {self.data_workers}")
        check_fields(self.modality_dropout, MODALITIES, "modality_dropout")
        for value in self.modality_dropout.values():
            if not isinstance(value, int | float) or not 0 <= value < 1:
                raise ValueError(f"modality_dropout: expected a number in [0, 1), got {value!r}")
        if self.resume not in ("auto", "never"):
            raise ValueError(f"resume: expected auto or never, got {self.resume!r}")
        if self.mixed_precision not in ("no", "bf16", "fp16"):
            raise ValueError(f"mixed_precision: expected no, bf16 or fp16, got {self.mixed_precision!r}")


def check_run_name(name: str) -> None:
    """Raise a `ValueError` unless a name is that of one folder: a run stays in its `output_dir`."""
    if not name.strip(". ") or re.search(r"[/\\\x00-\x1f]", name):
        raise ValueError(f"run: expected the name of one folder, got {name!r}; --out DIR says where it lies")


def load_config(path: str | Path, overrides: typing.Sequence[str] = ()) -> RunConfig:
    """Reads a YAML file and applies overrides such as `["--learning_rate", "1e-4", "--model.fusion_type=parallel"]`.

    `extends: other.yaml` in a file takes every field from another one but those that it gives itself; mappings such as
    `model` are merged. `--extends FILE` extends FILE instead, so that ablations can be run over any config. `--out DIR`
    is short for `--output_dir DIR`, and `--run_name NAME` is `--run NAME`, which torchrun does not let through.

    Raises:
        ValueError: unknown fields (with the nearest known one) and wrong values, before anything starts.
        FileNotFoundError: no such file.
    """
    pairs = _parse_overrides(overrides)
    path = Path(path)
    values = _read_fields(path, next((value for name, value in pairs if name == "extends"), None))
    values.setdefault("run", path.stem)
    for name, value in pairs:
        if name == "extends":
            continue
        *parents, last = name.split(".")
        target = values
        for parent in parents:
            if target.get(parent) is None:
                target[parent] = {}
            target = target[parent]
            if not isinstance(target, dict):
                raise ValueError(f"--{name}: {parent!r} has no fields of its own")
        target[last] = value
    check_fields(values, (item.name for item in dataclasses.fields(RunConfig)))
    if "data" not in values:
        raise ValueError(f"{path}: field 'data' is missing: name the prepared dataset folders")
    return RunConfig(**values)


def _read_fields(path: Path, parent: str | None = None, children: tuple[Path, ...] = ()) -> dict:
    """The fields of a file, over those of the file that it extends.

    Args:
        parent: extended instead of the file's own `extends`, which is relative to the file.
        children: files that led here by `extends`.
    """
    if path.resolve() in children:
        raise ValueError(f"{path}: extends itself ({' <- '.join(map(str, children))})")
    values = _read_mapping(path)
    own = values.pop("extends", None)
    for given in (parent, own):
        if not isinstance(given, str | None):
            raise ValueError(f"{path}: extends: expected the path of a config file, got {given!r}")
    if parent is None and own is None:
        return values
    inherited = _read_fields(Path(parent or path.parent / own), children=(*children, path.resolve()))
    inherited.pop("run", None)  # the name is each file's own
    return _merged(inherited, values)


def _read_mapping(path: Path) -> dict:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such config file")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise ValueError(f"{path}: expected a YAML mapping of fields, got {type(values).__name__}")
    return values


def _merged(below: dict, above: dict) -> dict:
    """Fields of both; where both have one, mappings are merged and of other values the one above counts."""
    merged = {**below, **above}
    for name in below.keys() & above.keys():
        if isinstance(below[name], dict) and isinstance(above[name], dict):
            merged[name] = _merged(below[name], above[name])
    return merged


def _parse_overrides(arguments: typing.Sequence[str]) -> list[tuple[str, object]]:
    pairs, rest = [], list(arguments)
    while rest:
        name = rest.pop(0)
        if not name.startswith("--"):
            raise ValueError(f"expected an override such as --learning_rate 1e-4, got {name!r}")
        name, equals, text = name[2:].partition("=")
        if not equals:
            if not rest:
                raise ValueError(f"--{name}: a value is missing")
            text = rest.pop(0)
        name = name.replace("-", "_")
        pairs.append((_SHORT.get(name, name), yaml.safe_load(text)))
    return pairs


def _checked(name: str, kind, value):
    """The value as its annotated type; YAML reads `1e-4` as a string, and whole numbers are fine where floats stand."""
    if isinstance(kind, types.UnionType):
        if value is None:
            return None
        kind = next(part for part in typing.get_args(kind) if part is not types.NoneType)
    origin = typing.get_origin(kind) or kind
    if origin is float and isinstance(value, (int, str)) and not isinstance(value, bool):
        try:
            return float(value)
        except ValueError:
            pass
    if origin is list and isinstance(value, list):
        (inner,) = typing.get_args(kind)
        return [_checked(f"{name}[{index}]", inner, entry) for index, entry in enumerate(value)]
    if not isinstance(value, origin) or (isinstance(value, bool) and origin is not bool):
        hint = f", such as [{value}]" if origin is list else ""
        raise ValueError(f"{name}: expected {getattr(kind, '__name__', kind)}{hint}, got {value!r}")
    return value
