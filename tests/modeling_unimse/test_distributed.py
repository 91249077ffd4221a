"""Two processes of batch B give the contrastive loss and gradients of one process of batch 2 B."""

import os
import socket

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from modeling_unimse.modeling_unimse import ContrastiveHead
from tests.conftest import tiny_config

ROWS, PROCESSES = 6, 2


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def head_and_inputs():
    torch.manual_seed(0)
    head = ContrastiveHead(8, 5, tiny_config())
    inputs = [torch.randn(ROWS, 4, 8), torch.ones(ROWS, 4, dtype=torch.bool)]
    inputs += [torch.randn(ROWS, 7, 5), torch.ones(ROWS, 7, dtype=torch.bool)]
    inputs[3][1] = False  # one row of the first process lacks the modality, so the shares are uneven
    return head, inputs


def run_process(rank: int, port: int, folder: str):
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=PROCESSES)
    head, inputs = head_and_inputs()
    share = slice(rank * ROWS // PROCESSES, (rank + 1) * ROWS // PROCESSES)
    loss = head(*(part[share] for part in inputs))
    loss.backward()
    for parameter in head.parameters():  # what DistributedDataParallel does
        dist.all_reduce(parameter.grad)
        parameter.grad /= PROCESSES
    dist.all_reduce(loss := loss.detach().clone())
    if rank == 0:
        torch.save({"loss": loss / PROCESSES, "grads": [p.grad for p in head.parameters()]}, f"{folder}/found.pt")
    dist.destroy_process_group()


@pytest.mark.skipif(not dist.is_available(), reason="torch was built without torch.distributed")
def test_negatives_are_gathered_with_their_gradients(tmp_path):
    mp.spawn(run_process, args=(free_port(), str(tmp_path)), nprocs=PROCESSES)
    found = torch.load(tmp_path / "found.pt")
    head, inputs = head_and_inputs()
    loss = head(*inputs)
    loss.backward()
    torch.testing.assert_close(found["loss"], loss.detach())
    for gradient, parameter in zip(found["grads"], head.parameters(), strict=True):
        torch.testing.assert_close(gradient, parameter.grad)
