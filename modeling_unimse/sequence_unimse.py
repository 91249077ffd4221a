"""Tensor functions on masked sequences: compaction, summaries, an LSTM that compiles whole, gathering."""

from contextlib import nullcontext

import torch
import torch.distributed as dist
from torch import nn


def compact(features: torch.Tensor, mask: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
    """Moves the valid steps of `(B, T, D)` to the front, in order, and zeroes the rest.

    Args:
        mask: `(B, T)`, non-zero = valid; `None` = every step is valid.

    Returns:
        `(B, T, D)` and its `(B, T)` bool mask. Values under the mask never reach a result, NaN included.
    """
    if mask is None:
        return features, torch.ones(features.shape[:2], dtype=torch.bool, device=features.device)
    mask = mask.bool()
    order = torch.argsort((~mask).to(torch.uint8), dim=1, stable=True)  # (B, T)
    mask = mask.gather(1, order)
    features = features.gather(1, order[..., None].expand_as(features))
    return torch.where(mask[..., None], features, 0.0), mask


def last_step(states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """`(B, T, D)` with a compact `(B, T)` mask -> the last valid step, `(B, D)`; 0 where there is none."""
    last = mask.sum(1).clamp(min=1) - 1  # (B,)
    picked = states.gather(1, last[:, None, None].expand(-1, 1, states.shape[-1])).squeeze(1)
    return torch.where(mask.any(1)[:, None], picked, 0.0)


def masked_mean(states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """`(B, T, D)` -> the mean over valid steps, `(B, D)`; 0 where there is none."""
    total = torch.where(mask[..., None], states, 0.0).sum(1)
    return total / mask.sum(1, keepdim=True).clamp(min=1).to(total.dtype)


def gather_batch(candidates: torch.Tensor, present: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, int, int]:
    """The rows of all processes, with gradient to each; plus this process's rank and the number of processes.

    Every process must hold the same number of rows.
    """
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return candidates, present, 0, 1
    from torch.distributed.nn.functional import all_gather

    gathered_present = [torch.empty_like(present) for _ in range(dist.get_world_size())]
    dist.all_gather(gathered_present, present.contiguous())
    gathered = torch.cat(all_gather(candidates.contiguous()))  # (B * processes, D)
    return gathered, torch.cat(gathered_present), dist.get_rank(), dist.get_world_size()


class LSTM(nn.Module):
    """Unidirectional LSTM with the parameters, names and results of `torch.nn.LSTM(batch_first=True)`.

    The compiler refuses `torch.nn.LSTM`, and would unroll its steps and compile again for each length. Compiled, this
    one is a single opaque operator; otherwise it calls the kernel that `torch.nn.LSTM` calls.
    """

    def __init__(self, input_size: int, hidden_size: int, num_layers: int):
        super().__init__()
        self.input_size, self.hidden_size, self.num_layers = input_size, hidden_size, num_layers
        for name, parameter in nn.LSTM(input_size, hidden_size, num_layers).named_parameters():
            self.register_parameter(name, parameter)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """`(B, T, input_size)` -> the states of the last layer, `(B, T, hidden_size)`."""
        run = _lstm_operator if torch.compiler.is_compiling() else _run_lstm
        weights = list(self.parameters())
        return run(features.to(weights[0].dtype), weights, self.hidden_size, self.num_layers)


def _run_lstm(features, weights, hidden_size, num_layers):
    start = features.new_zeros(num_layers, features.shape[0], hidden_size)
    # CPUs without AVX-512 have no LSTM in bfloat16: there it runs in the type of its weights, under autocast too.
    plain = torch.autocast("cpu", enabled=False) if features.device.type == "cpu" else nullcontext()
    with plain:
        return torch.lstm(features, (start, start), weights, True, num_layers, 0.0, False, False, True)[0]


@torch.library.custom_op("unimse::lstm", mutates_args=())
def _lstm_operator(
    features: torch.Tensor, weights: list[torch.Tensor], hidden_size: int, num_layers: int
) -> torch.Tensor:
    return _run_lstm(features, weights, hidden_size, num_layers).contiguous()


@_lstm_operator.register_fake
def _(features, weights, hidden_size, num_layers):
    return features.new_empty(features.shape[0], features.shape[1], hidden_size)


@torch.library.custom_op("unimse::lstm_backward", mutates_args=())
def _lstm_backward_operator(
    gradient: torch.Tensor, features: torch.Tensor, weights: list[torch.Tensor], hidden_size: int, num_layers: int
) -> list[torch.Tensor]:
    layers = [weights[4 * layer : 4 * layer + 4] for layer in range(num_layers)]
    inputs = [features]
    for layer in layers[:-1]:
        inputs.append(_run_lstm(inputs[-1], layer, hidden_size, 1))
    gradients = []
    for layer_input, layer in zip(reversed(inputs), reversed(layers), strict=True):
        gradient, layer_gradients = _layer_backward(gradient, layer_input, layer, hidden_size)
        gradients = layer_gradients + gradients
    return [gradient, *gradients]


def _layer_backward(gradient, features, weights, hidden_size):
    """Backpropagation through time of one layer, from its input and output gradient `(B, T, hidden)`.

    Inside an operator autograd is off, so the equations of the cell stand here; the states are computed again.
    """
    weight_ih, weight_hh, bias_ih, bias_hh = weights
    states = _run_lstm(features, weights, hidden_size, 1)
    previous = torch.cat([torch.zeros_like(states[:, :1]), states[:, :-1]], dim=1)  # h of step t - 1, (B, T, hidden)
    gates = features @ weight_ih.T + previous @ weight_hh.T + bias_ih + bias_hh  # (B, T, 4 * hidden)
    input_gate, forget_gate, candidate, output_gate = gates.chunk(4, dim=-1)
    input_gate, forget_gate, output_gate = (gate.sigmoid() for gate in (input_gate, forget_gate, output_gate))
    candidate = candidate.tanh()
    cells = [torch.zeros_like(states[:, 0])]
    for step in range(features.shape[1]):
        cells.append(forget_gate[:, step] * cells[-1] + input_gate[:, step] * candidate[:, step])
    squashed = torch.stack(cells[1:], dim=1).tanh()  # (B, T, hidden)
    # What a unit of gradient at the cell, or at the state, becomes before each gate's nonlinearity.
    to_gates = torch.cat(
        [
            candidate * input_gate * (1 - input_gate),
            torch.stack(cells[:-1], dim=1) * forget_gate * (1 - forget_gate),
            input_gate * (1 - candidate**2),
        ],
        dim=-1,
    )  # (B, T, 3 * hidden)
    to_output_gate = squashed * output_gate * (1 - output_gate)
    to_cell = output_gate * (1 - squashed**2)
    gate_gradients = torch.empty_like(gates)
    state_gradient, cell_gradient = torch.zeros_like(cells[0]), torch.zeros_like(cells[0])
    for step in reversed(range(features.shape[1])):
        state_gradient = state_gradient + gradient[:, step]
        cell_gradient = cell_gradient + state_gradient * to_cell[:, step]
        inner = cell_gradient.repeat(1, 3) * to_gates[:, step]
        gate_gradients[:, step] = torch.cat([inner, state_gradient * to_output_gate[:, step]], dim=-1)
        state_gradient = gate_gradients[:, step] @ weight_hh
        cell_gradient = cell_gradient * forget_gate[:, step]
    flat = gate_gradients.flatten(0, 1)  # (B * T, 4 * hidden)
    bias_gradient = flat.sum(0)
    layer_gradients = [flat.T @ features.flatten(0, 1), flat.T @ previous.flatten(0, 1), bias_gradient]
    return gate_gradients @ weight_ih, [*layer_gradients, bias_gradient.clone()]


@_lstm_backward_operator.register_fake
def _(gradient, features, weights, hidden_size, num_layers):
    return [torch.empty_like(tensor, memory_format=torch.contiguous_format) for tensor in (features, *weights)]


def _save_for_backward(ctx, inputs, output):
    features, weights, ctx.hidden_size, ctx.num_layers = inputs
    ctx.save_for_backward(features, *weights)


def _lstm_gradient(ctx, gradient):
    features, *weights = ctx.saved_tensors
    gradients = _lstm_backward_operator(gradient, features, weights, ctx.hidden_size, ctx.num_layers)
    return gradients[0], gradients[1:], None, None


_lstm_operator.register_autograd(_lstm_gradient, setup_context=_save_for_backward)
