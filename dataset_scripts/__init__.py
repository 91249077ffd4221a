"""Raw benchmark folders to prepared datasets: loaders, media features, universal labels, the embedded sample.

Public here: `prepare_dataset`, `load_prepared`, `push_prepared`, `read_features`, `visual_extractor`,
`validate_example` and `features`. They are imported on first use, so that `import dataset_scripts` stays light.
"""

from importlib import import_module

_PUBLIC = {
    "prepare_dataset": "prepare",
    "load_prepared": "prepared",
    "push_prepared": "hub",
    "read_features": "publish",
    "visual_extractor": "visual",
    "validate_example": "schema",
    "features": "schema",
}
__all__ = list(_PUBLIC)


def __getattr__(name: str):
    if name not in _PUBLIC:
        raise AttributeError(f"module 'dataset_scripts' has no attribute {name!r}")
    return getattr(import_module(f"dataset_scripts.{_PUBLIC[name]}"), name)
