"""The field `peft` of a run -> a configuration of the peft library."""

import dataclasses
from collections.abc import Mapping

from trainer.fields import check_fields, nearest

# The run sets these itself.
_OWN_FIELDS = ("peft_type", "task_type", "base_model_name_or_path", "revision", "inference_mode", "auto_mapping")


def adapter_config(settings: Mapping):
    """The `PeftConfig` of settings such as `{type: lora, r: 8, target_modules: [q, v]}`.

    Args:
        settings: `type`, a name of `peft.PeftType`, and fields of its configuration class.

    Raises:
        ValueError: no such type or field; a type that cannot train and save UniMSE's own modules beside it.
    """
    from peft import PEFT_TYPE_TO_CONFIG_MAPPING, PromptLearningConfig, TaskType

    types = {str(kind.value).lower(): kind for kind in PEFT_TYPE_TO_CONFIG_MAPPING}
    fields = dict(settings)
    name = str(fields.pop("type", "")).lower()
    if name not in types:
        raise ValueError(
            f"peft.type: expected one of the peft library, such as lora, got {name!r}{nearest(name, types)}"
        )
    kind = PEFT_TYPE_TO_CONFIG_MAPPING[types[name]]
    known = {item.name for item in dataclasses.fields(kind) if item.init} - set(_OWN_FIELDS)
    if "modules_to_save" not in known or issubclass(kind, PromptLearningConfig):
        raise ValueError(f"peft.type: {name} cannot train and save the fusion modules beside it; use one such as lora")
    if name == "adalora":
        raise ValueError("peft.type: adalora changes its ranks by a schedule that this loop does not drive; use lora")
    check_fields(fields, known, "peft")
    try:
        return kind(task_type=TaskType.SEQ_2_SEQ_LM, **fields)
    except (TypeError, ValueError) as error:
        raise ValueError(f"peft: {' '.join(str(error).split())}") from error
