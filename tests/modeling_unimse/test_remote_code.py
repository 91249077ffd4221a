"""A published folder must work where this project is not installed: fresh process, our sources off the path."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.conftest import make_batch, moved, tiny_model, without

PROJECT = Path(__file__).resolve().parents[2]
_FRESH = """
import importlib.util, sys
sys.path = [entry for entry in sys.path if entry not in ("", sys.argv[2])]
def is_editable(finder):
    return "editable" in getattr(finder, "__name__", repr(finder)).lower()
sys.meta_path = [finder for finder in sys.meta_path if not is_editable(finder)]
assert importlib.util.find_spec("modeling_unimse") is None, "the project is still importable"
import torch
from transformers import AutoConfig, AutoFeatureExtractor, AutoModel, AutoModelForSeq2SeqLM, AutoProcessor
folder = sys.argv[1]
config = AutoConfig.from_pretrained(folder, trust_remote_code=True)
model = AutoModelForSeq2SeqLM.from_pretrained(folder, trust_remote_code=True).eval()
bare = AutoModel.from_pretrained(folder, trust_remote_code=True).eval()
processor = AutoProcessor.from_pretrained(folder, trust_remote_code=True)
extractor = AutoFeatureExtractor.from_pretrained(folder, trust_remote_code=True)
names = [type(part).__name__ for part in (config, model, bare, processor, extractor)]
assert all(type(part).__module__.startswith("transformers_modules.") for part in (config, model, bare, processor))
batch = torch.load(f"{folder}/../batch.pt")
with torch.no_grad():
    logits = model(**batch).logits
inputs = {name: value for name, value in batch.items() if name != "labels"}
ids = model.generate(**inputs, logits_processor=processor.logits_processor("meld"), max_new_tokens=10)
again = f"{folder}-again"
model.save_pretrained(again)
processor.save_pretrained(again)
AutoModelForSeq2SeqLM.from_pretrained(again, trust_remote_code=True)
labels = list(map(str, processor.batch_decode_labels(ids)))
torch.save({"names": names, "logits": logits, "labels": labels}, sys.argv[3])
"""


@pytest.fixture(scope="module")
def published(tmp_path_factory, tokenizer) -> tuple[Path, dict]:
    from modeling_unimse import UniMSEFeatureExtractor, UniMSEProcessor

    folder = tmp_path_factory.mktemp("hub") / "model"
    model = moved(tiny_model())
    processor = UniMSEProcessor(UniMSEFeatureExtractor(visual_feature_size=6), tokenizer)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    batch = make_batch()
    torch.save(batch, folder.parent / "batch.pt")
    with torch.no_grad():
        logits = model(**batch).logits
    ids = model.generate(
        **without(batch, "labels"), logits_processor=processor.logits_processor("meld"), max_new_tokens=10
    )
    return folder, {"logits": logits, "labels": list(map(str, processor.batch_decode_labels(ids)))}


def test_a_fresh_process_loads_it_and_computes_the_same(published, tmp_path):
    folder, expected = published
    found = tmp_path / "found.pt"
    command = [sys.executable, "-c", _FRESH, str(folder), str(PROJECT), str(found)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    result = torch.load(found)
    assert result["names"] == [
        "UniMSEConfig",
        "UniMSEForConditionalGeneration",
        "UniMSEModel",
        "UniMSEProcessor",
        "UniMSEFeatureExtractor",
    ]
    assert torch.equal(result["logits"], expected["logits"])
    assert result["labels"] == expected["labels"]


def test_the_folder_is_flat_and_whole(published):
    folder, _ = published
    sources = {path.name for path in (PROJECT / "modeling_unimse").glob("*_unimse.py")}
    copied = {path.relative_to(folder).as_posix() for path in folder.rglob("*.py")}
    assert copied == sources
    for path in folder.glob("*.py"):
        for module in re.findall(r"^\s*from (\.[\w.]*) import", path.read_text(encoding="utf-8"), re.MULTILINE):
            assert f"{module[1:]}.py" in sources, f"{path.name} imports {module}"
