import pytest
import torch
import torch.nn.functional as F
from transformers import AutoModelForSeq2SeqLM, T5ForConditionalGeneration

from modeling_unimse import UniMSEForConditionalGeneration, UniMSEModel
from modeling_unimse.configuration_unimse import FUSION_TYPES
from modeling_unimse.modeling_unimse import ContrastiveHead, info_nce
from modeling_unimse.sequence_unimse import LSTM, compact, last_step, masked_mean
from tests.conftest import make_batch, moved, tiny_config, tiny_model, tiny_text_config, without

SIDES = ("audio", "visual")


def logits(model, batch):
    with torch.no_grad():
        return model(**batch).logits


def cropped(sample: dict) -> dict:
    """A batch of one without its padding; a modality without a valid step is left out."""
    sample = dict(sample)
    masks = {"attention_mask": ("input_ids", "attention_mask", "segment_ids")}
    masks |= {f"{name}_features_mask": (f"{name}_features", f"{name}_features_mask") for name in SIDES}
    for mask, names in masks.items():
        length = int(sample[mask].sum())
        for name in names:
            sample[name] = sample[name][:, :length]
            if not length:
                del sample[name]
    return sample


def new_keys(name: str) -> bool:
    return any(part in name for part in ("fusion", "audio_encoder", "visual_encoder", "contrastive", "segment"))


@pytest.mark.parametrize("fuse_decoder", [False, True])
@pytest.mark.parametrize("fusion_type", FUSION_TYPES)
def test_step_0_is_the_backbone_bit_for_bit(t5_folder, fusion_type, fuse_decoder):
    t5 = T5ForConditionalGeneration.from_pretrained(t5_folder).eval()
    settings = {"fusion_type": fusion_type, "fuse_decoder": fuse_decoder, "visual_feature_size": 6}
    model = UniMSEForConditionalGeneration.from_pretrained(t5_folder, **settings).eval()
    batch = make_batch()
    expected = logits(t5, without(batch, *SIDES, "segment"))
    assert torch.equal(logits(model, without(batch, *SIDES)), expected)
    assert torch.equal(logits(model, batch), expected)


@pytest.mark.parametrize("gated", [False, True])
def test_a_t5_checkpoint_misses_only_the_new_keys(tmp_path, gated):
    changes = {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False} if gated else {}
    t5 = T5ForConditionalGeneration(tiny_text_config(**changes))
    if gated:  # as in the v1.1 checkpoints: a head of its own
        t5.lm_head.weight = torch.nn.Parameter(torch.randn_like(t5.lm_head.weight))
    t5.save_pretrained(tmp_path)
    model, info = UniMSEForConditionalGeneration.from_pretrained(tmp_path, output_loading_info=True)
    assert info["missing_keys"] and all(map(new_keys, info["missing_keys"]))
    assert not info["unexpected_keys"] and not info["mismatched_keys"]
    batch = without(make_batch(), *SIDES, "segment")
    reference = T5ForConditionalGeneration.from_pretrained(tmp_path).eval()
    assert torch.equal(logits(model.eval(), batch), logits(reference, batch))


@pytest.mark.parametrize("from_checkpoint", [False, True])
def test_new_parameters_start_as_they_should(t5_folder, from_checkpoint):
    settings = {"fusion_type": "cross_attention", "visual_feature_size": 6}
    if from_checkpoint:
        model = UniMSEForConditionalGeneration.from_pretrained(t5_folder, **settings)
    else:
        model = tiny_model(**settings)
    fusion = model.encoder.block[-1].fusion
    width = model.config.hidden_size
    assert torch.equal(fusion.output_proj.weight[:, :width], torch.eye(width))
    assert not fusion.output_proj.weight[:, width:].any() and not fusion.up_proj.weight.any()
    assert not model.encoder.segment_embedding.weight.any()
    expected = {
        fusion.down_proj.weight: 1e-3,
        fusion.audio_attention.key_value[0].weight: fusion.audio_attention.key_value[0].in_features ** -0.5,
        model.contrastive_heads["audio"][0].text_proj.weight: width**-0.5,
        model.encoder.audio_encoder.lstm.weight_ih_l0: (model.config.audio_hidden_size * 3) ** -0.5,
    }
    for weight, std in expected.items():
        assert weight.std().item() == pytest.approx(std, rel=0.2)


def test_paper_init_breaks_the_backbone_as_theirs_does(t5_folder):
    settings = {"fusion_init": "paper", "visual_feature_size": 6}
    model = UniMSEForConditionalGeneration.from_pretrained(t5_folder, **settings).eval()
    fusion = model.encoder.block[-1].fusion
    assert fusion.up_proj.weight.std().item() == pytest.approx(1e-3, rel=0.2)
    bound = fusion.output_proj.in_features**-0.5
    assert fusion.output_proj.weight.abs().max().item() == pytest.approx(bound, rel=0.05)
    t5 = T5ForConditionalGeneration.from_pretrained(t5_folder).eval()
    batch = without(make_batch(), *SIDES, "segment")
    assert not torch.allclose(logits(model, batch), logits(t5, batch), atol=1e-2)


@pytest.mark.parametrize("fusion_type", FUSION_TYPES)
def test_fusion_follows_the_equations(fusion_type):
    model = moved(tiny_model(fusion_type=fusion_type))
    fusion, batch = model.encoder.block[-1].fusion, make_batch()
    ff_input, ff_output = torch.randn(4, 11, 32), torch.randn(4, 11, 32)
    with torch.no_grad():
        encoded = model.encoder(**without(batch, "labels")).modalities()
        if fusion_type == "cross_attention":
            x_a = fusion.audio_attention(ff_output, encoded["audio"].states, encoded["audio"].mask)
            x_v = fusion.visual_attention(ff_output, encoded["visual"].states, encoded["visual"].mask)
        else:
            x_a, x_v = (encoded[name].summary[:, None].repeat(1, 11, 1) for name in SIDES)
        joined = torch.cat([ff_output, x_a, x_v], -1)
        source = torch.cat([ff_input, x_a, x_v], -1) if fusion_type == "parallel" else joined
        down = torch.sigmoid(source @ fusion.down_proj.weight.T + fusion.down_proj.bias)
        up = down @ fusion.up_proj.weight.T + fusion.up_proj.bias
        expected = (up + joined) @ fusion.output_proj.weight.T + fusion.output_proj.bias
        torch.testing.assert_close(fusion(ff_input, ff_output, encoded), expected)


def test_fusion_sits_in_the_chosen_layers_only():
    model = tiny_model(fusion_layers=[0, -1])
    assert [hasattr(block, "fusion") for block in model.encoder.block] == [True, False, False, True]
    assert not any(hasattr(block, "fusion") for block in model.decoder.block)
    model = tiny_model(fusion_layers=[1], fuse_decoder=True)
    assert [hasattr(block, "fusion") for block in model.decoder.block] == [False, True, False, False]


@pytest.mark.parametrize("summary", ["last", "mean"])
@pytest.mark.parametrize("fusion_type", FUSION_TYPES)
def test_a_sample_gives_the_same_alone_and_padded_among_others(fusion_type, summary):
    model = moved(tiny_model(fusion_type=fusion_type, fuse_decoder=True, sequence_summary=summary))
    batch = make_batch()
    together = logits(model, batch)
    for row in range(len(together)):
        alone = cropped({name: value[row : row + 1] for name, value in batch.items()})
        torch.testing.assert_close(logits(model, alone)[0], together[row], atol=1e-5, rtol=1e-4)
    # Garbage under the mask must not matter either.
    noisy = {name: value.clone() for name, value in batch.items()}
    for name in SIDES:
        noisy[f"{name}_features"][noisy[f"{name}_features_mask"] == 0] = float("nan")
    torch.testing.assert_close(logits(model, noisy), together)


@pytest.mark.parametrize("fusion_type", FUSION_TYPES)
@pytest.mark.parametrize("missing", [("audio",), ("visual",), SIDES])
def test_a_masked_modality_is_an_absent_modality(fusion_type, missing):
    model = moved(tiny_model(fusion_type=fusion_type, fuse_decoder=True))
    batch = make_batch()
    masked = {name: value.clone() for name, value in batch.items()}
    for name in missing:
        masked[f"{name}_features_mask"].zero_()
    absent = without(batch, *missing)
    torch.testing.assert_close(logits(model, masked), logits(model, absent))
    assert not torch.allclose(logits(model, batch), logits(model, absent), atol=1e-4)


def test_losses_of_a_missing_modality_are_left_out():
    model, batch = tiny_model(), make_batch()
    outputs = model(**without(batch, "visual"))
    assert outputs.visual_contrastive_loss is None
    torch.testing.assert_close(outputs.loss, outputs.task_loss + 0.5 * outputs.audio_contrastive_loss)
    masked = {**batch, "audio_features_mask": torch.zeros_like(batch["audio_features_mask"])}
    assert model(**masked).audio_contrastive_loss.item() == 0
    assert model(**without(batch, "labels"), decoder_input_ids=batch["labels"].clamp(min=0)).loss is None


def test_loss_weights_and_every_layer_count():
    model = tiny_model(audio_contrastive_weight=0.25, visual_contrastive_weight=2.0, fusion_layers=[1, 3])
    outputs = model(**make_batch())
    weighted = 0.25 * outputs.audio_contrastive_loss + 2.0 * outputs.visual_contrastive_loss
    torch.testing.assert_close(outputs.loss, outputs.task_loss + weighted)
    assert [len(heads) for heads in model.contrastive_heads.values()] == [2, 2]
    assert "audio" not in tiny_model(audio_contrastive_weight=0.0).contrastive_heads


def test_info_nce_by_hand():
    anchors = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    candidates = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    everyone = torch.tensor([True, True, True])
    # Similarities / 0.5: [2, 2, 0], [0, 0, 2], [2, 2, 0]; positives on the diagonal.
    rows = [torch.tensor([2.0, 2.0, 0.0]), torch.tensor([0.0, 0.0, 2.0]), torch.tensor([2.0, 2.0, 0.0])]
    expected = sum(torch.logsumexp(row, 0) - row[index] for index, row in enumerate(rows)) / 3
    torch.testing.assert_close(info_nce(anchors, candidates, everyone, 0.5), expected)
    # Without row 1 it is neither an anchor nor a negative.
    rows = [torch.tensor([2.0, 0.0]), torch.tensor([2.0, 0.0])]
    expected = sum(torch.logsumexp(row, 0) - row[index] for index, row in enumerate(rows)) / 2
    torch.testing.assert_close(info_nce(anchors, candidates, torch.tensor([True, False, True]), 0.5), expected)


def test_padding_does_not_enter_the_contrastive_means():
    head = ContrastiveHead(8, 5, tiny_config())
    text, states = torch.randn(3, 6, 8), torch.randn(3, 9, 5)
    text_mask, states_mask = torch.ones(3, 6, dtype=torch.bool), torch.ones(3, 9, dtype=torch.bool)
    text_mask[0, 4:], states_mask[1, 2:] = False, False
    loss = head(text, text_mask, states, states_mask)
    text[0, 4:], states[1, 2:] = 100.0, -100.0
    torch.testing.assert_close(head(text, text_mask, states, states_mask), loss)


@pytest.mark.parametrize("fusion_type", FUSION_TYPES)
def test_gradients_reach_every_parameter(fusion_type):
    model = moved(tiny_model(fusion_type=fusion_type, fuse_decoder=True)).train()
    model(**make_batch()).loss.backward()
    silent = [
        name for name, parameter in model.named_parameters() if parameter.grad is None or not parameter.grad.any()
    ]
    assert silent == []


def test_task_gradient_reaches_the_modalities_after_one_step_from_identity():
    model = tiny_model(audio_contrastive_weight=0.0, visual_contrastive_weight=0.0).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    for _ in range(2):
        optimizer.zero_grad()
        model(**make_batch()).loss.backward()
        optimizer.step()
    for name in SIDES:
        assert getattr(model.encoder, f"{name}_encoder").lstm.weight_ih_l0.grad.abs().sum() > 0


def test_num_items_in_batch_makes_the_task_loss_a_sum():
    model, batch = tiny_model(), make_batch()
    tokens = (batch["labels"] != -100).sum()
    mean = model(**batch).task_loss
    torch.testing.assert_close(model(**batch, num_items_in_batch=2 * tokens).task_loss, mean / 2)


@pytest.mark.parametrize("fusion_type", FUSION_TYPES)
def test_gradient_checkpointing_changes_nothing(fusion_type):
    model = moved(tiny_model(fusion_type=fusion_type)).train()
    batch, gradients = make_batch(), []
    for _ in range(2):
        model.zero_grad()
        model(**batch).loss.backward()
        gradients.append({name: parameter.grad.clone() for name, parameter in model.named_parameters()})
        model.activation_checkpointing_enable()
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, msg=name)


def test_step_0_is_the_backbone_under_autocast_too(t5_folder):
    t5 = T5ForConditionalGeneration.from_pretrained(t5_folder).eval()
    model = UniMSEForConditionalGeneration.from_pretrained(t5_folder, visual_feature_size=6).eval()
    batch = make_batch()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(logits(model, batch), logits(t5, without(batch, *SIDES, "segment")))


def test_bf16_autocast_is_close_to_float32():
    model, batch = moved(tiny_model()), make_batch()
    expected = model(**batch).loss
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outputs = model(**batch)
    assert outputs.logits.dtype == torch.bfloat16
    torch.testing.assert_close(outputs.loss.float(), expected, rtol=0.02, atol=0.02)


@pytest.mark.parametrize("fusion_type", FUSION_TYPES)
def test_one_graph_serves_all_length_buckets(fusion_type):
    """A whole training step compiles without a break, once, and gives the gradients of the uncompiled one."""
    torch._dynamo.reset()
    model = moved(tiny_model(fusion_type=fusion_type, text_config=tiny_text_config(num_layers=1))).train()
    compiled = torch.compile(model, fullgraph=True, dynamic=True, backend="aot_eager")
    with torch._dynamo.config.patch(error_on_recompile=True):
        for text, audio, visual in ((11, 20, 7), (16, 33, 5), (24, 50, 9)):
            batch = make_batch(text=text, audio=audio, visual=visual)
            gradients = []
            for run in (compiled, model):
                model.zero_grad()
                run(**batch).loss.backward()
                gradients.append({name: parameter.grad.clone() for name, parameter in model.named_parameters()})
            for name, gradient in gradients[1].items():
                torch.testing.assert_close(gradients[0][name], gradient, msg=name, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("layers", [1, 2])
def test_the_lstm_operator_has_the_gradients_of_torchs_lstm(layers):
    own, reference = LSTM(5, 7, layers).double(), torch.nn.LSTM(5, 7, layers, batch_first=True).double()
    reference.load_state_dict(own.state_dict())
    features = torch.randn(3, 9, 5, dtype=torch.double, requires_grad=True)
    weight = torch.randn(3, 9, 7, dtype=torch.double)
    expected = torch.autograd.grad((reference(features)[0] * weight).sum(), [features, *reference.parameters()])
    compiled = torch.compile(own, fullgraph=True, backend="aot_eager")
    for run in (own, compiled):
        found = torch.autograd.grad((run(features) * weight).sum(), [features, *own.parameters()])
        for left, right in zip(found, expected, strict=True):
            torch.testing.assert_close(left, right)


def test_compact_drops_masked_steps_wherever_they_stand():
    features = torch.arange(8.0).view(1, 8, 1)
    mask = torch.tensor([[0, 1, 1, 0, 0, 1, 0, 0]])
    compacted, valid = compact(features, mask)
    assert compacted[0, :, 0].tolist() == [1, 2, 5, 0, 0, 0, 0, 0]
    assert valid[0].tolist() == [True] * 3 + [False] * 5
    assert last_step(compacted, valid).item() == 5
    assert masked_mean(compacted, valid).item() == pytest.approx(8 / 3)


@pytest.mark.parametrize("settings", [{}, {"num_beams": 3}, {"cache_implementation": "static"}])
def test_generation_fuses_in_both_stacks(settings):
    """Cached generation must choose what a full forward pass chooses, decoder fusion and beams included."""
    model, batch = moved(tiny_model(fuse_decoder=True)), without(make_batch(), "labels")
    ids = model.generate(**batch, max_new_tokens=5, min_new_tokens=5, **settings)
    without_audio = model.generate(**without(batch, "audio"), max_new_tokens=5, min_new_tokens=5, **settings)
    assert ids.shape == without_audio.shape == (4, 6)
    alone = model.generate(
        **{name: value[3:] for name, value in batch.items()}, max_new_tokens=5, min_new_tokens=5, **settings
    )
    assert torch.equal(alone[0], ids[3])
    if "num_beams" not in settings:
        scores = logits(model, {**batch, "decoder_input_ids": ids[:, :-1]})
        scores[:, :, 1] = -torch.inf  # min_new_tokens forbids the end
        assert torch.equal(scores.argmax(-1), ids[:, 1:])


def test_features_of_a_wrong_width_are_refused():
    batch = make_batch()
    batch["audio_features"] = batch["audio_features"][..., :10]
    with pytest.raises(ValueError, match=r"audio_features: expected shape \(batch, time >= 1, 64\), got \(4, 20, 10\)"):
        tiny_model()(**batch)


def test_the_bare_model_shares_the_weights(tmp_path):
    model = moved(tiny_model())
    model.save_pretrained(tmp_path)
    bare, info = UniMSEModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]
    batch = without(make_batch(), "labels")
    decoder_input_ids = make_batch()["labels"].clamp(min=0)
    with torch.no_grad():
        hidden = bare.eval()(**batch, decoder_input_ids=decoder_input_ids)
        expected = model(**batch, decoder_input_ids=decoder_input_ids)
    torch.testing.assert_close(hidden.encoder_last_hidden_state, expected.encoder_last_hidden_state)
    scaled = hidden.last_hidden_state * model.model_dim**-0.5
    torch.testing.assert_close(F.linear(scaled, model.lm_head.weight), expected.logits)


def test_installed_auto_class_loads_it(tmp_path):
    tiny_model().save_pretrained(tmp_path)
    assert type(AutoModelForSeq2SeqLM.from_pretrained(tmp_path)) is UniMSEForConditionalGeneration
