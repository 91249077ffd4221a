import pytest
import torch

from modeling_unimse.configuration_unimse import FUSION_TYPES
from tests.conftest import make_batch, moved, tiny_model, without
from trainer.text_states import TextStates


def states_of(model, batch: dict) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    with TextStates(model) as states:
        model.generate(**without(batch, "labels"), max_new_tokens=2)
    return states.before, states.after


@pytest.mark.parametrize("fusion_type", FUSION_TYPES)
def test_fusion_that_is_still_the_identity_leaves_the_text_as_it_is(fusion_type):
    before, after = states_of(tiny_model(fusion_layers=[2], fusion_type=fusion_type), make_batch())
    assert before.shape == (4, 32) and before.dtype == torch.float32
    torch.testing.assert_close(after, before)
    for changed in (
        moved(tiny_model(fusion_layers=[2], fusion_type=fusion_type)),
        tiny_model(fusion_layers=[2], fusion_type=fusion_type, fusion_init="paper"),
    ):
        before, after = states_of(changed, make_batch())
        assert not torch.isclose(before, after, atol=1e-2).all(1).any()


@pytest.mark.parametrize("changes", [{}, {"fuse_decoder": True}], ids=str)
def test_states_are_those_around_the_first_and_the_last_fusion(changes):
    model, batch = moved(tiny_model(**changes)), make_batch()
    batch["segment_ids"][0] = 0  # nothing was said: the context counts
    keep = batch["attention_mask"].bool() & (batch["segment_ids"] == 1)
    keep[0] = True
    with torch.no_grad():
        inputs = without(batch, "labels")
        inner = model.encoder(**inputs, output_fusion_hidden_states=True).fusion_hidden_states
        # The first fusion in front of everything it does: the same model, its first fusion set back to the identity.
        identity = moved(tiny_model(**changes))
        identity.encoder.block[1].fusion.load_state_dict(tiny_model(**changes).encoder.block[1].fusion.state_dict())
        first = identity.encoder(**inputs, output_fusion_hidden_states=True).fusion_hidden_states[0]
    before, after = states_of(model, batch)
    for row in range(4):
        torch.testing.assert_close(before[row], first[row, keep[row]].mean(0))
        torch.testing.assert_close(after[row], inner[-1][row, keep[row]].mean(0))


def test_padding_context_and_neighbours_do_not_count():
    model, batch = moved(tiny_model()), make_batch()
    batch["segment_ids"][1, 5:] = 1  # padding, whatever its segment
    together = states_of(model, batch)
    for row in range(4):
        sample = {name: value[row : row + 1] for name, value in batch.items()}
        length = int(sample["attention_mask"].sum())
        sample.update({name: sample[name][:, :length] for name in ("input_ids", "attention_mask", "segment_ids")})
        for alone, all_rows in zip(states_of(model, sample), together, strict=True):
            torch.testing.assert_close(alone[0], all_rows[row], atol=1e-5, rtol=1e-5)
    whole = states_of(model, without(batch, "segment"))
    assert not torch.allclose(whole[1][2], together[1][2], atol=1e-3)


def test_without_masks_every_token_counts():
    model, batch = moved(tiny_model()), without(make_batch(), "labels", "attention", "segment")
    with torch.no_grad():
        last = model.encoder(**batch, output_fusion_hidden_states=True).fusion_hidden_states[-1]
        with TextStates(model) as states:
            model.encoder(**batch)
    torch.testing.assert_close(states.after, last.mean(1))


def test_a_model_without_fusion_has_no_states():
    assert states_of(tiny_model(fusion_layers=[]), make_batch()) == (None, None)


def test_an_adapter_gives_the_states_of_the_model_inside():
    from peft import LoraConfig, get_peft_model

    settings = LoraConfig(task_type="SEQ_2_SEQ_LM", r=2, target_modules=["q", "v"], modules_to_save=["fusion"])
    plain, batch = moved(tiny_model()), make_batch()
    expected = states_of(plain, batch)
    for found, wanted in zip(states_of(get_peft_model(plain, settings).eval(), batch), expected, strict=True):
        torch.testing.assert_close(found, wanted)


def test_nothing_is_collected_outside_and_the_latest_run_counts():
    model, batch = moved(tiny_model()), make_batch()
    with TextStates(model) as states:
        model.generate(**without(batch, "labels"), max_new_tokens=2)
        first = states.after
        model.generate(**without(make_batch(1, rows=5), "labels"), max_new_tokens=2)
        assert len(states.after) == len(states.before) == 5
    kept = states.after
    model.generate(**without(batch, "labels"), max_new_tokens=2)
    assert states.after is kept and len(first) == 4 and not kept.requires_grad
