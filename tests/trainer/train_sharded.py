"""`python -m trainer.train` of several configs with FSDP2 or DeepSpeed on CPUs; `killed.yaml` is killed once before.

accelerate shards on accelerators only: on CPUs it drops its plugin and goes on with whole models. Here it has the state
that it would have on GPUs; everything else, of accelerate, torch and DeepSpeed, is what runs there.
"""

import os
import sys
from datetime import timedelta
from pathlib import Path

from accelerate import Accelerator, PartialState
from accelerate.utils import DeepSpeedPlugin, DistributedType, FullyShardedDataParallelPlugin, InitProcessGroupKwargs

from trainer import train
from trainer.arguments import load_config
from trainer.loop import Loop

KILLED_AT = 4


class Killed(BaseException):
    """Stands for a kill: nothing catches it."""


class ShardingAccelerator(Accelerator):
    """Shards by the plugin that the launcher described in the environment."""

    def __init__(self, **settings):
        # A process that waits for the others in vain must fail, not hang.
        patience = InitProcessGroupKwargs(timeout=timedelta(seconds=60))
        super().__init__(**{**settings, "kwargs_handlers": [*settings["kwargs_handlers"], patience]})
        if os.environ.get("ACCELERATE_USE_DEEPSPEED") == "true":
            self._use_deepspeed(settings["mixed_precision"])
        else:
            self.state.fsdp_plugin = FullyShardedDataParallelPlugin()
            self.state.distributed_type = PartialState().distributed_type = DistributedType.FSDP

    def _use_deepspeed(self, mixed_precision: str) -> None:
        from deepspeed import comm

        comm.init_distributed(dist_backend="gloo", auto_mpi_discovery=False)
        plugin = DeepSpeedPlugin()
        plugin.set_mixed_precision(mixed_precision)
        plugin.select(_from_accelerator_state=True)
        self.state.deepspeed_plugins, self.state._mixed_precision, self.native_amp = plugin, "no", False
        self.state.distributed_type = PartialState().distributed_type = DistributedType.DEEPSPEED


def kill(path: str) -> None:
    """Train until a step, and no further, on every process."""
    step, steps = Loop._step, []

    def killed(loop, group):
        steps.append(group)
        if len(steps) == KILLED_AT:
            raise Killed
        step(loop, group)

    Loop._step = killed
    try:
        train.train(load_config(path))
    except Killed:
        Loop._step = step
    else:
        raise RuntimeError(f"{path}: was not killed")


if __name__ == "__main__":
    train.Accelerator = ShardingAccelerator
    for config in sys.argv[1:]:
        if Path(config).stem == "killed":
            kill(config)
        train.train(load_config(config))
