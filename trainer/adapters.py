"""Parameter-efficient fine-tuning: an adapter inside the backbone, while all that UniMSE adds is trained whole.

    <run folder>/base/             the model before training: backbone and fresh fusion; what the adapter stands on
    <run folder>/checkpoint-best/  adapter_config.json, adapter_model.safetensors (adapter, PMF, modality encoders,
                                   contrastive heads, segment embedding), processor

On the Hub both lie in one repository: the adapter on `main`, its base on the branch `base`, where the adapter's
configuration points, so that `AutoPeftModelForSeq2SeqLM` finds both.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path

from torch import nn
from transformers.utils.peft_utils import find_adapter_config_file

from dataset_scripts.utils.files import check_space, folder_size, write_text
from dataset_scripts.utils.outputs import claimed, replaced_folder
from modeling_unimse import UniMSEForConditionalGeneration, UniMSEProcessor
from trainer.checkpointing import MODEL, check_model_folder, write_checkpoint
from trainer.optimization import BACKBONE, group_of
from trainer.peft_settings import adapter_config

BASE = "base"
_CONFIG_FILE = "adapter_config.json"


def add_adapter(model: UniMSEForConditionalGeneration, settings: Mapping, base: Path):
    """The model with an adapter in its backbone. The backbone's own weights are frozen; modules that UniMSE adds are
    trained unless they were frozen before.

    Args:
        base: folder of the model as it is, which the adapter's configuration names.
    """
    from peft import get_peft_model

    config = adapter_config(settings)
    own = added_modules(model)
    config.modules_to_save = [*(config.modules_to_save or []), *_trained(own)]
    model.name_or_path = str(base.resolve())  # peft writes it into the adapter's configuration
    if hasattr(config, "exclude_modules") and config.exclude_modules is None:
        config.exclude_modules = "|".join(rf"{re.escape(name)}(\..*)?" for name in own)  # one regular expression
    try:
        return get_peft_model(model, config)
    except (TypeError, ValueError) as error:  # such as target_modules that the model does not have
        raise ValueError(f"peft: {' '.join(str(error).split())}") from error


def added_modules(model: nn.Module) -> dict[str, nn.Module]:
    """The outermost modules that UniMSE adds to the backbone and that can be called, by name."""
    found: dict[str, nn.Module] = {}
    for name, module in model.named_modules():
        inside = any(name.startswith(f"{outer}.") for outer in found)
        container = isinstance(module, (nn.ModuleDict, nn.ModuleList))
        if name and not inside and not container and group_of(f"{name}.weight") != BACKBONE:
            found[name] = module
    return found


def _trained(modules: Mapping[str, nn.Module]) -> list[str]:
    return [name for name, module in modules.items() if any(part.requires_grad for part in module.parameters())]


def load_model(checkpoint: str | Path) -> nn.Module:
    """A saved model: `UniMSEForConditionalGeneration`, or a `PeftModel` around one where the checkpoint is an adapter.

    Args:
        checkpoint: folder or Hub name. The base of an adapter in a run folder is the `base` beside it, since these
            are moved (peft itself reads the absolute path in the adapter's configuration); elsewhere it is what that
            names.

    Raises:
        OSError: no checkpoint there.
    """
    if not is_adapter(checkpoint):
        return UniMSEForConditionalGeneration.from_pretrained(checkpoint)
    from peft import AutoPeftModelForSeq2SeqLM, PeftModel

    if beside := _base_beside(checkpoint):
        return PeftModel.from_pretrained(UniMSEForConditionalGeneration.from_pretrained(beside), checkpoint)
    return AutoPeftModelForSeq2SeqLM.from_pretrained(str(checkpoint))


def base_of(adapter: str | Path) -> tuple[str, str | None]:
    """Folder or Hub name of the model that an adapter stands on, and its revision on the Hub."""
    if beside := _base_beside(adapter):
        return str(beside), None
    from peft import PeftConfig

    settings = PeftConfig.from_pretrained(str(adapter))
    return settings.base_model_name_or_path, settings.revision


def _base_beside(checkpoint: str | Path) -> Path | None:
    """The base in the adapter's own run folder."""
    beside = Path(checkpoint).parent / BASE
    return beside if beside.is_dir() and (beside.parent / "environment.json").is_file() else None


def is_adapter(checkpoint: str | Path) -> bool:
    """Whether a folder or Hub repository holds an adapter."""
    return find_adapter_config_file(str(checkpoint)) is not None


def merged(model: nn.Module) -> UniMSEForConditionalGeneration:
    """A loaded model with its adapter's weights added to the backbone's; a plain model as it is."""
    if not hasattr(model, "merge_and_unload"):
        return model
    from peft.utils import ModulesToSaveWrapper

    # Only LoRA's merge takes these wrappers off; the other types stumble over them.
    for name, module in [*model.named_modules()]:
        if isinstance(module, ModulesToSaveWrapper):
            model.set_submodule(name, module.modules_to_save[module.active_adapters[0]])
    return model.merge_and_unload()


def merge_checkpoint(checkpoint: str | Path, out: Path, overwrite: bool = False) -> Path:
    """Write an adapter and its base as one ordinary model with its processor, which needs no peft to be loaded.

    Raises:
        ValueError: the checkpoint is no adapter.
        FileExistsError: `out` is not empty and `overwrite` is not given, is no model, or is being written.
        OSError: `out` cannot be written, or its disk is too full.
    """
    if not is_adapter(checkpoint):
        raise ValueError(f"{checkpoint}: expected an adapter ({_CONFIG_FILE}); it is a whole model, nothing to merge")
    base, _ = base_of(checkpoint)
    parts = [Path(part) for part in (base, checkpoint) if Path(part).is_dir()]
    with claimed(out):
        check_model_folder(out, overwrite, parts)
        check_space(out, sum(map(folder_size, parts)))
        model, processor = merged(load_model(checkpoint)), UniMSEProcessor.from_pretrained(checkpoint)
        with replaced_folder(out, drop=MODEL.files) as new:
            write_checkpoint(new, model, processor)
    return out


def parameter_count(model: nn.Module) -> int:
    """Parameters of a model; of modules that are trained whole beside an adapter, those that replace the old ones."""
    own = (value for name, value in model.named_parameters() if ".original_module." not in name)
    return sum(getattr(value, "ds_numel", value.numel()) for value in own)  # ds_numel: DeepSpeed holds a part of it


def point_to_hub(adapter: Path, repo: str) -> None:
    """Makes the configuration of a saved adapter name its base as the branch `base` of a Hub repository."""
    path = adapter / _CONFIG_FILE
    content = json.loads(path.read_text(encoding="utf-8"))
    content.update(base_model_name_or_path=repo, revision=BASE)
    write_text(path, json.dumps(content, indent=2, sort_keys=True) + "\n")  # a hard link elsewhere keeps the old text
