"""Two processes train one model and evaluate every sample exactly once."""

import json
import os
import subprocess
import sys
from pathlib import Path

import datasets
import pytest
import torch
import yaml

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.skipif(not torch.distributed.is_available(), reason="torch was built without torch.distributed")
def test_two_processes_share_a_run(run_settings, tmp_path):
    config = tmp_path / "two.yaml"
    config.write_text(yaml.safe_dump({**run_settings, "epochs": 1}))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    environment = {**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    environment["HF_DATASETS_CACHE"] = str(tmp_path / "cache")
    done = subprocess.run(
        [*command, "-m", "trainer.train", str(config)], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    folder = tmp_path / "runs" / "tiny" / "seed-1"
    assert json.loads((folder / "environment.json").read_text())["processes"] == 2
    ids = datasets.Dataset.from_parquet(str(folder / "predictions.parquet"))["id"]
    assert sorted(ids) == sorted(f"{name}/test/{index}" for name in ("mosi", "meld") for index in range(10))
    log = [line for line in (folder / "log.jsonl").read_text().splitlines() if "metrics" in line]
    assert len(log) == 1
