"""A step is the same however its samples are cut into micro-batches; parameters are grouped and frozen by name."""

import pytest
import torch
from accelerate import Accelerator

from tests.conftest import make_batch, moved, tiny_model
from trainer.arguments import RunConfig
from trainer.optimization import build_optimizer, freeze_backbone, group_of, learning_rates
from trainer.step import train_step

SETTINGS = {"run": "x", "data": ["x"], "learning_rate": 1e-2, "fusion_learning_rate": 1e-2, "warmup_ratio": 0.0}


def halves(batch: dict) -> list[dict]:
    return [{name: value[part] for name, value in batch.items()} for part in (slice(0, 2), slice(2, 4))]


def step(batches: list[dict], **changes) -> tuple[dict, dict]:
    """Losses of one step and the gradients before it."""
    model = moved(tiny_model(audio_contrastive_weight=0.0, visual_contrastive_weight=0.0, **changes)).train()
    optimizer, scheduler = build_optimizer(model, RunConfig(**SETTINGS), 10)
    gradients = {}
    optimizer.register_step_pre_hook(
        lambda *_: gradients.update(
            {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
        )
    )
    losses, _ = train_step(Accelerator(), model, optimizer, scheduler, batches, 1e9)
    return losses, gradients


def test_accumulated_micro_batches_are_one_batch():
    """Rows have targets of different length, so that a mean of means would be another number."""
    batch = make_batch()
    losses, gradients = step([batch])
    parted, parted_gradients = step(halves(batch))
    assert losses["task_loss"].item() == pytest.approx(parted["task_loss"].item(), rel=1e-5)
    assert gradients.keys() == parted_gradients.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(parted_gradients[name], gradient, rtol=1e-4, atol=1e-7)
    model = tiny_model()
    means = [model(**half).task_loss.item() for half in halves(batch)]
    assert abs(sum(means) / 2 - model(**batch).task_loss.item()) > 1e-4  # what the step must not do


def test_contrastive_losses_are_the_mean_over_micro_batches():
    model = tiny_model().train()
    optimizer, scheduler = build_optimizer(model, RunConfig(**SETTINGS), 10)
    parts = halves(make_batch())
    expected = sum(model(**part).audio_contrastive_loss.item() for part in parts) / 2
    losses, norm = train_step(Accelerator(), model, optimizer, scheduler, parts, 1.0)
    assert losses["audio_contrastive_loss"].item() == pytest.approx(expected, rel=1e-5)
    assert losses["loss"] > losses["task_loss"] and norm > 0


def test_a_step_that_the_scaler_left_out_has_no_norm_and_no_schedule(monkeypatch):
    """fp16 overflows now and then: the infinite norm of a step that changed nothing must not stop the run."""
    monkeypatch.setattr(Accelerator, "optimizer_step_was_skipped", True)
    model = tiny_model().train()
    optimizer, scheduler = build_optimizer(model, RunConfig(**{**SETTINGS, "warmup_ratio": 0.5}), 10)
    before = scheduler.get_last_lr()
    _, norm = train_step(Accelerator(), model, optimizer, scheduler, [make_batch()], 1.0)
    assert norm == 0 and scheduler.get_last_lr() == before


def test_each_group_has_its_rate():
    config = RunConfig(
        **{**SETTINGS, "learning_rate": 1e-3, "fusion_learning_rate": 2e-3, "contrastive_learning_rate": 3e-3}
    )
    assert learning_rates(config) == {
        **{"backbone": 1e-3, "fusion": 2e-3, "modality_encoders": 2e-3, "contrastive": 3e-3}
    }
    model = tiny_model()
    optimizer, _ = build_optimizer(model, config, 10)
    rates = {id(p): (group["name"], group["initial_lr"]) for group in optimizer.param_groups for p in group["params"]}
    for name, parameter in model.named_parameters():
        assert rates[id(parameter)] == (group_of(name), learning_rates(config)[group_of(name)])
    assert group_of("encoder.block.2.fusion.down.weight") == "fusion"
    assert group_of("encoder.audio_encoder.lstm.weight") == "modality_encoders"
    assert group_of("contrastive_heads.audio.text.weight") == "contrastive"
    assert group_of("decoder.block.0.layer.0.SelfAttention.q.weight") == "backbone"


def test_only_the_chosen_blocks_of_the_backbone_are_trained():
    model = tiny_model()
    freeze_backbone(model, [1])
    trained = {name for name, p in model.named_parameters() if p.requires_grad and group_of(name) == "backbone"}
    assert trained and all(".block.1." in name for name in trained)
    assert {name.split(".")[0] for name in trained} == {"encoder", "decoder"}
    assert all(p.requires_grad for name, p in model.named_parameters() if group_of(name) != "backbone")
    freeze_backbone(model, [])
    assert not any(p.requires_grad for name, p in model.named_parameters() if group_of(name) == "backbone")
    with pytest.raises(ValueError, match="trainable_blocks: expected numbers of 0 to 3, got 9"):
        freeze_backbone(tiny_model(), [9])
