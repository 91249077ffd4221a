"""Rules that hold over the whole tree: which package may import which, and what a stranger may find in the text."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LAYERS = ("modeling_unimse", "dataset_scripts", "trainer", "space", "benchmarks", "tests")
REMOTE_CODE_MAY_IMPORT = {"numpy", "torch", "transformers", "scipy"}


def imports(path: Path) -> list[tuple[str, int]]:
    """(module, level) of every import of a file, wherever it stands."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [(alias.name, 0) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found.append((node.module or "", node.level))
    return found


@pytest.mark.parametrize("layer", LAYERS)
def test_imports_point_one_way(layer):
    later = set(LAYERS[LAYERS.index(layer) + 1 :])
    for path in (ROOT / layer).rglob("*.py"):
        wrong = [module for module, level in imports(path) if not level and module.split(".")[0] in later]
        assert not wrong, f"{path.relative_to(ROOT)} imports {wrong}"


def test_remote_code_imports_siblings_and_few_libraries():
    for path in (ROOT / "modeling_unimse").glob("*_unimse.py"):
        for module, level in imports(path):
            if level:
                assert level == 1 and (ROOT / "modeling_unimse" / f"{module}.py").is_file(), f"{path.name}: .{module}"
            else:
                name = module.split(".")[0]
                assert name in sys.stdlib_module_names | REMOTE_CODE_MAY_IMPORT, f"{path.name} imports {module}"


def test_the_label_grammar_is_standard_library_only():
    modules = {module.split(".")[0] for module, _ in imports(ROOT / "modeling_unimse" / "universal_label_unimse.py")}
    assert modules <= sys.stdlib_module_names


def test_metrics_import_nothing_of_ours():
    for path in (ROOT / "trainer" / "metrics").rglob("*.py"):
        assert not [module for module, level in imports(path) if level or module.split(".")[0] in LAYERS], path


def test_importing_downloads_and_decodes_nothing():
    """Optional libraries are imported where they are used, so the model works without the extras."""
    code = "import sys, modeling_unimse; print([m for m in ('av', 'datasets', 'h5py', 'sklearn') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip().splitlines()[-1] == "[]"
