"""The README's Python runs as printed, and its shell lines name commands and files that exist."""

import argparse
import re
import subprocess
import sys
from pathlib import Path

import torch

from modeling_unimse import UniMSEFeatureExtractor, UniMSEProcessor
from tests.conftest import tiny_model, tiny_text_config
from trainer.cli import build_parser
from trainer.tokenizer import build_tokenizer

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
CODE, PRINTED = re.search(r"```python\n(.*?)```\n\n```\n(.*?)```", README, re.DOTALL).groups()


def publish_model_that_knows(sentence: str, label: str, folder: Path):
    """A model overfitted on one sentence, so that what the code prints is known."""
    processor = UniMSEProcessor(UniMSEFeatureExtractor(), build_tokenizer([sentence]))
    model = tiny_model(
        text_config=tiny_text_config(vocab_size=len(processor.tokenizer)), visual_feature_size=64
    ).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    batch = processor(sentence, label=label)
    for _ in range(60):
        model(**batch).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.generation_config.max_new_tokens = processor.label_trie().max_length
    model.save_pretrained(folder)
    processor.save_pretrained(folder)


def test_the_code_prints_what_the_readme_shows(tmp_path):
    sentence = re.search(r'processor\("(.*?)"\)', CODE)[1]
    polarity, emotion = PRINTED.split()
    intensity = {"positive": "1.6", "neutral": "0.0", "negative": "-1.6"}[polarity]
    publish_model_that_knows(sentence, f"{polarity},{intensity},{emotion}", tmp_path / "demo" / "published")
    done = subprocess.run([sys.executable, "-c", CODE], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout == PRINTED
    assert len(CODE.strip().splitlines()) <= 10


def test_shell_lines_are_real_commands():
    """Every `unimse` line parses, and every config it names is there."""
    parser = build_parser()
    lines = [
        line.split("  #")[0]
        for block in re.findall(r"```bash\n(.*?)```", README, re.DOTALL)
        for line in block.splitlines()
    ]
    commands = [line.split()[1:] for line in lines if line.startswith("unimse ")]
    assert len(commands) >= 10
    for command in commands:
        try:
            parser.parse_args(
                [word.strip('"') for word in " ".join(command).replace('"I cannot believe it!"', "text").split()]
            )
        except (SystemExit, argparse.ArgumentError) as error:
            raise AssertionError(f"README: `unimse {' '.join(command)}` does not parse") from error
    for path in re.findall(r"trainer/configs/\w+\.yaml", README):
        assert (ROOT / path).is_file(), path


def test_no_placeholder_is_left():
    assert not re.search(r"^[A-Z]+_[A-Z_]+$", README, re.MULTILINE)


def test_the_makefile_has_the_readmes_targets():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"^make (\w+)", README, re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)
