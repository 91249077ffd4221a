"""UniMSE: T5 with acoustic and visual fusion inside its layers (Hu et al., EMNLP 2022, arXiv 2211.11256).

    text ids ── embedding + segment ──> T5 layers ... T5 layer j ── PMF ── T5 layer j+1 ── PMF ──> decoder ──> label
    audio  ── LSTM ── summary x_a ───────────────────────────────────^────────────────────^
    visual ── LSTM ── summary x_v ───────────────────────────────────^────────────────────^

What differs from the paper's code: PMF starts as the identity (`fusion_init="paper"` gives theirs), sits in the encoder
only unless `fuse_decoder`, contrastive losses are taken at every fusion layer with masked means and trained
projections, and a missing modality is a mask. T5 itself is the library's: subclasses add to it, nothing is copied, so
the keys of any T5 checkpoint load as they are.
"""

import copy
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn
from transformers import PreTrainedModel, T5ForConditionalGeneration, T5Model
from transformers import initialization as init
from transformers.modeling_outputs import BaseModelOutput, Seq2SeqLMOutput, Seq2SeqModelOutput
from transformers.models.t5.modeling_t5 import T5Block, T5LayerFF, T5PreTrainedModel, T5Stack
from transformers.utils import can_return_tuple
from transformers.utils.output_capturing import OutputRecorder, maybe_install_capturing_hooks

from .configuration_unimse import UniMSEConfig
from .sequence_unimse import LSTM, compact, gather_batch, last_step, masked_mean

MODALITIES = ("audio", "visual")


class EncodedModality(NamedTuple):
    """One modality of a batch: `(B, T, hidden)` states, their `(B, T)` bool mask, the `(B, hidden)` summary."""

    states: torch.Tensor
    mask: torch.Tensor
    summary: torch.Tensor


@dataclass
class UniMSEEncoderOutput(BaseModelOutput):
    """Encoder output. Without a modality in the whole batch its fields are `None`.

    Args:
        last_hidden_state: `(B, S, d_model)`.
        hidden_states, attentions: as in T5, when asked for.
        fusion_hidden_states: output of each fusion layer, `(B, S, d_model)`, when asked for.
        audio_states, visual_states: LSTM states, `(B, T, hidden)`, valid steps first.
        audio_states_mask, visual_states_mask: `(B, T)` bool.
        audio_summary, visual_summary: `(B, hidden)`; zero where a sample lacks the modality.
    """

    fusion_hidden_states: tuple[torch.Tensor, ...] | None = None
    audio_states: torch.Tensor | None = None
    audio_states_mask: torch.Tensor | None = None
    audio_summary: torch.Tensor | None = None
    visual_states: torch.Tensor | None = None
    visual_states_mask: torch.Tensor | None = None
    visual_summary: torch.Tensor | None = None

    def modalities(self) -> dict[str, EncodedModality | None]:
        """The encoded modalities by name; `None` where the batch has none."""
        fields = ("states", "states_mask", "summary")
        parts = {name: [getattr(self, f"{name}_{field}") for field in fields] for name in MODALITIES}
        return {name: None if part[0] is None else EncodedModality(*part) for name, part in parts.items()}


@dataclass
class UniMSEModelOutput(Seq2SeqModelOutput):
    """`Seq2SeqModelOutput` plus the whole encoder output, `encoder_outputs`."""

    encoder_outputs: UniMSEEncoderOutput | None = None


@dataclass
class UniMSEOutput(Seq2SeqLMOutput):
    """Output of `UniMSEForConditionalGeneration`.

    Args:
        loss: `task_loss` plus the weighted contrastive losses; with `labels` only.
        task_loss: mean cross-entropy of the target tokens.
        audio_contrastive_loss, visual_contrastive_loss: InfoNCE, summed over the fusion layers, not weighted; `None`
            where the batch has no such modality, its weight is 0, or no `labels` were given.
        logits: `(B, L, vocab_size)`.
        encoder_outputs: the whole encoder output.
    """

    task_loss: torch.Tensor | None = None
    audio_contrastive_loss: torch.Tensor | None = None
    visual_contrastive_loss: torch.Tensor | None = None
    encoder_outputs: UniMSEEncoderOutput | None = None


class ModalityEncoder(nn.Module):
    """Unidirectional LSTM over one modality and its summary (paper, section 3.3: "the last hidden state").

    Unidirectional, so what stands at a valid step does not depend on the padding behind it.
    """

    def __init__(self, input_size: int, hidden_size: int, num_layers: int, dropout: float, summary: str):
        super().__init__()
        self.input_size = input_size
        self.summary = summary
        self.lstm = LSTM(input_size, hidden_size, num_layers)
        self.dropout = nn.Dropout(dropout)

    def forward(self, features: torch.Tensor, mask: torch.Tensor | None) -> EncodedModality:
        """Encodes `(B, T, input_size)` with its `(B, T)` mask.

        Masked steps, wherever they stand, are taken out; valid ones move to the front. A sample without a valid step
        has summary 0.
        """
        features, mask = compact(features, mask)
        states = self.dropout(self.lstm(self.dropout(features)))  # (B, T, hidden)
        summary = last_step(states, mask) if self.summary == "last" else masked_mean(states, mask)
        return EncodedModality(states, mask, summary)


class CrossModalAttention(nn.Module):
    """Text tokens attend over one modality's sequence: the authors' `cross_attention` (2 layers, 2 heads, 30-d)."""

    def __init__(self, config: UniMSEConfig, modality_size: int):
        super().__init__()
        size = config.cross_attention_size
        self.heads = config.cross_attention_heads
        self.query_input = nn.Linear(config.hidden_size, size)
        self.memory_input = nn.Linear(modality_size, size)
        layers = range(config.cross_attention_layers)
        self.query = nn.ModuleList([nn.Linear(size, size) for _ in layers])
        self.key_value = nn.ModuleList([nn.Linear(size, 2 * size) for _ in layers])
        self.output = nn.ModuleList([nn.Linear(size, size) for _ in layers])
        self.norm = nn.ModuleList([nn.LayerNorm(size) for _ in layers])

    def forward(self, hidden_states: torch.Tensor, states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """`(B, S, d_model)` attends over `(B, T, hidden)` with `(B, T)` mask -> `(B, S, size)`, 0 without a step."""
        present = mask.any(1)
        # A row without a valid step attends to all of its padding, and the result is dropped below: no 0/0.
        visible = (mask | ~present[:, None])[:, None, None, :]  # (B, 1, 1, T)
        attended, memory = self.query_input(hidden_states), self.memory_input(states)
        for query, key_value, output, norm in zip(self.query, self.key_value, self.output, self.norm, strict=True):
            key, value = (self._split(part) for part in key_value(memory).chunk(2, dim=-1))
            context = F.scaled_dot_product_attention(self._split(query(attended)), key, value, attn_mask=visible)
            context = context.transpose(1, 2).flatten(2)  # (B, S, size)
            attended = norm(attended + output(context))
        return attended * present[:, None, None]

    def _split(self, states: torch.Tensor) -> torch.Tensor:
        return states.unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (B, heads, length, size / heads)


class ModalityFusion(nn.Module):
    """PMF, the adapter after the feed-forward of a fusion layer (paper, section 3.4, equations 1-4).

    F = [h; x_a; x_v], F_d = sigmoid(W_d F + b_d), F_u = W_u F_d + b_u, h' = W (F_u + F) + b. In `parallel` the
    bottleneck reads the feed-forward's input; in `cross_attention` x_a and x_v are attended per token. Identity init: W
    = [I 0 0], b = 0, W_u = 0, b_u = 0, so h' = h exactly.
    """

    def __init__(self, config: UniMSEConfig):
        super().__init__()
        self.config = config
        self.attends = config.fusion_type == "cross_attention"
        self.side_sizes = [config.audio_hidden_size, config.visual_hidden_size]
        if self.attends:
            self.audio_attention = CrossModalAttention(config, config.audio_hidden_size)
            self.visual_attention = CrossModalAttention(config, config.visual_hidden_size)
            self.side_sizes = [config.cross_attention_size] * 2
        width = config.hidden_size + sum(self.side_sizes)
        self.down_proj = nn.Linear(width, config.fusion_bottleneck_size)
        self.up_proj = nn.Linear(config.fusion_bottleneck_size, width)
        self.output_proj = nn.Linear(width, config.hidden_size)

    def forward(self, ff_input: torch.Tensor, ff_output: torch.Tensor, encoded: dict) -> torch.Tensor:
        """Input and output of the feed-forward, `(B, S, d_model)`, and the modalities by name -> `(B, S, d_model)`."""
        sides = self._sides(ff_output, encoded)
        fused = torch.cat([ff_output, *sides], dim=-1)  # (B, S, width)
        source = torch.cat([ff_input, *sides], dim=-1) if self.config.fusion_type == "parallel" else fused
        update = self.up_proj(torch.sigmoid(self.down_proj(source)))
        # The residual stream passes through here. T5 keeps it in the weights' precision under autocast, and so must we.
        with torch.autocast(ff_output.device.type, enabled=False):
            return self.output_proj((update + fused).to(self.output_proj.weight.dtype))

    def _sides(self, hidden_states: torch.Tensor, encoded: dict) -> list[torch.Tensor]:
        """What each modality adds to every token, `(B, S, side)`; one that nobody has adds nothing, as zeros do."""
        sides = []
        for name, size in zip(MODALITIES, self.side_sizes, strict=True):
            modality = encoded[name]
            if modality is None:
                sides.append(hidden_states.new_zeros(*hidden_states.shape[:2], size))
            elif self.attends:
                attention = getattr(self, f"{name}_attention")
                sides.append(attention(hidden_states, modality.states, modality.mask))
            else:
                sides.append(modality.summary.to(hidden_states.dtype)[:, None].expand(-1, hidden_states.shape[1], -1))
        return sides

    def init_weights(self):
        """Identity or paper init; the paper's code draws both bottleneck matrices from N(0, 0.001)."""
        for linear in (self.down_proj, self.up_proj, self.output_proj):
            init.zeros_(linear.bias)
        init.normal_(self.down_proj.weight, mean=0.0, std=1e-3)
        if self.config.fusion_init == "paper":
            init.normal_(self.up_proj.weight, mean=0.0, std=1e-3)
            init.kaiming_uniform_(self.output_proj.weight, a=5**0.5)  # torch's default for a linear layer
        else:
            init.zeros_(self.up_proj.weight)
            init.copy_(self.output_proj.weight, torch.eye(*self.output_proj.weight.shape))  # [I 0 0]


class DeferredFeedForward(T5LayerFF):
    """T5's feed-forward, called by the fusion block instead of inside T5's own block, which so stops in front of it."""

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        return hidden_states

    def feed_forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        return super().forward(hidden_states)


class UniMSEBlock(T5Block):
    """A T5 block followed by PMF."""

    def __init__(self, stack_config, layer_idx: int, config: UniMSEConfig):
        super().__init__(stack_config, has_relative_attention_bias=layer_idx == 0, layer_idx=layer_idx)
        self.layer[-1] = DeferredFeedForward(stack_config)
        self.fusion = ModalityFusion(config)

    def forward(self, hidden_states, *args, encoded_modalities: dict, **kwargs):
        """As T5's block; `encoded_modalities`: an `EncodedModality` or `None` for each name in `MODALITIES`."""
        hidden_states, *biases = super().forward(hidden_states, *args, **kwargs)
        ff_output = self.layer[-1].feed_forward(hidden_states)
        return self.fusion(hidden_states, ff_output, encoded_modalities), *biases


class ContrastiveHead(nn.Module):
    """Projects text and one modality into a shared space and compares them (paper, section 3.5, equations 5-7)."""

    def __init__(self, text_size: int, modality_size: int, config: UniMSEConfig):
        super().__init__()
        self.temperature = config.contrastive_temperature
        # A 1x1 convolution over time is a linear layer applied to every step.
        self.text_proj = nn.Linear(text_size, config.contrastive_size, bias=False)
        self.modality_proj = nn.Linear(modality_size, config.contrastive_size, bias=False)

    def forward(self, text, text_mask, states, states_mask) -> torch.Tensor:
        """Mean over valid steps, L2 norm, InfoNCE with the text as anchor and in-batch negatives of all processes.

        Args:
            text: `(B, S, text_size)` with `(B, S)` bool mask; states: `(B, T, modality_size)` with `(B, T)` bool mask.

        Returns:
            A scalar; its mean over processes is the loss over the joined batch. 0 where no sample has the modality.
        """
        text = F.normalize(masked_mean(self.text_proj(text), text_mask).float(), dim=-1)  # (B, size)
        modality = F.normalize(masked_mean(self.modality_proj(states), states_mask).float(), dim=-1)  # (B, size)
        return info_nce(text, modality, states_mask.any(1), self.temperature)


def info_nce(anchors: torch.Tensor, candidates: torch.Tensor, present: torch.Tensor, temperature: float):
    """InfoNCE over the batch of all processes: candidate i is the positive of anchor i, the others are negatives.

    Args:
        anchors, candidates: `(B, size)`, normalised; `present`: `(B,)` bool. A row that is not present is neither an
            anchor nor a negative.

    Returns:
        Scalar. Sum over this process's rows, divided by the mean number of present rows per process.
    """
    gathered, gathered_present, rank, processes = gather_batch(candidates, present)
    logits = anchors @ gathered.T / temperature  # (B, B * processes)
    logits = logits.masked_fill(~gathered_present[None, :], torch.finfo(logits.dtype).min)
    target = torch.arange(len(anchors), device=anchors.device) + rank * len(anchors)
    losses = F.cross_entropy(logits, target, reduction="none")
    total = torch.where(present, losses, 0.0).sum()
    return total * processes / gathered_present.sum().clamp(min=1)


class SegmentEmbedding(nn.Embedding):
    """Added to token embeddings: row 0 for context tokens, row 1 for the current utterance; starts as zero."""


class UniMSEPreTrainedModel(T5PreTrainedModel):
    config: UniMSEConfig
    base_model_prefix = "transformer"
    _no_split_modules = ["T5Block", "UniMSEBlock"]

    @torch.no_grad()
    def _init_weights(self, module):
        super()._init_weights(module)
        if isinstance(module, ModalityFusion):
            module.init_weights()
        elif isinstance(module, CrossModalAttention):
            for linear in (child for child in module.modules() if isinstance(child, nn.Linear)):
                init.normal_(linear.weight, mean=0.0, std=linear.in_features**-0.5)
        elif isinstance(module, LSTM):
            bound = module.hidden_size**-0.5
            for parameter in module.parameters():
                init.uniform_(parameter, -bound, bound)  # torch's default for an LSTM
        elif isinstance(module, ContrastiveHead):
            for linear in (module.text_proj, module.modality_proj):
                init.normal_(linear.weight, mean=0.0, std=linear.in_features**-0.5)
        elif isinstance(module, SegmentEmbedding):
            init.zeros_(module.weight)

    def _initialize_weights(self, module, is_custom_code: bool = False):
        # For code outside the library the parent skips modules without parameters of their own, which are exactly the
        # containers whose children `_init_weights` sets above.
        super()._initialize_weights(module, False)

    def save_pretrained(self, save_directory, **kwargs):
        """As in the library; the checkpoint names a class for `AutoModel` and for `AutoModelForSeq2SeqLM`."""
        # The library enters only the class that is saved.
        classes = {"AutoModel": "UniMSEModel", "AutoModelForSeq2SeqLM": "UniMSEForConditionalGeneration"}
        auto_map = {auto: f"modeling_unimse.{name}" for auto, name in classes.items()}
        self.config.auto_map = {**(getattr(self.config, "auto_map", None) or {}), **auto_map}
        super().save_pretrained(save_directory, **kwargs)

    def _build_backbone(self, config: UniMSEConfig):
        text = config.text_config
        self.model_dim = text.d_model
        self.shared = nn.Embedding(text.vocab_size, text.d_model)
        self.encoder = UniMSEEncoder(config)
        self.decoder = FusionStack(config, is_decoder=True, num_layers=text.num_decoder_layers)

    def _encoder_outputs(self, encoder_outputs, kwargs: dict, **inputs) -> UniMSEEncoderOutput:
        """Runs the encoder unless its outputs are given; outputs of another class are taken by position."""
        if encoder_outputs is None:
            return self.encoder(**inputs, **{key: value for key, value in kwargs.items() if key.startswith("output_")})
        if isinstance(encoder_outputs, BaseModelOutput) and hasattr(encoder_outputs, "modalities"):
            return encoder_outputs
        return UniMSEEncoderOutput(last_hidden_state=encoder_outputs[0])

    def _decoder_sides(self, encoder_outputs: UniMSEEncoderOutput) -> dict:
        return {"encoded_modalities": encoder_outputs.modalities()} if self.config.fuse_decoder else {}


class FusionStack(UniMSEPreTrainedModel, T5Stack):
    """A T5 stack whose fusion layers fuse; the other layers are T5's own."""

    def __init__(self, config: UniMSEConfig, **stack_settings):
        stack_config = copy.deepcopy(config.text_config)
        for name, value in stack_settings.items():
            setattr(stack_config, name, value)
        T5Stack.__init__(self, stack_config)
        if config.fuse_decoder or not self.is_decoder:
            for layer in config.fusion_layers:
                self.block[layer] = UniMSEBlock(stack_config, layer, config)
        self.post_init()


class UniMSEEncoder(FusionStack):
    """T5's encoder with the modality encoders, the segment embedding and fusion after the chosen layers."""

    _can_record_outputs = {
        **T5PreTrainedModel._can_record_outputs,
        "fusion_hidden_states": OutputRecorder(ModalityFusion),
    }

    def __init__(self, config: UniMSEConfig):
        super().__init__(config, is_decoder=False, use_cache=False)
        for name in MODALITIES:
            sizes = [getattr(config, f"{name}_{size}") for size in ("feature_size", "hidden_size", "num_layers")]
            encoder = ModalityEncoder(*sizes, config.modality_encoder_dropout, config.sequence_summary)
            setattr(self, f"{name}_encoder", encoder)
        self.segment_embedding = SegmentEmbedding(2, config.hidden_size) if config.segment_embedding else None
        self.post_init()
        # The library installs its recording hooks at first use, which a compiled first step could not trace.
        maybe_install_capturing_hooks(self)

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        segment_ids: torch.LongTensor | None = None,
        audio_features: torch.Tensor | None = None,
        audio_features_mask: torch.Tensor | None = None,
        visual_features: torch.Tensor | None = None,
        visual_features_mask: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        **kwargs,
    ) -> UniMSEEncoderOutput:
        """Encodes text with both modalities; arguments as in `UniMSEForConditionalGeneration.forward`."""
        encoded = {
            "audio": self._encode("audio", audio_features, audio_features_mask),
            "visual": self._encode("visual", visual_features, visual_features_mask),
        }
        if inputs_embeds is None and input_ids is not None:
            inputs_embeds = self.embed_tokens(input_ids)
        if segment_ids is not None and self.segment_embedding is not None:
            inputs_embeds = inputs_embeds + self.segment_embedding(segment_ids)
        outputs = super().forward(
            attention_mask=attention_mask, inputs_embeds=inputs_embeds, encoded_modalities=encoded, **kwargs
        )
        sides = {}
        for name, modality in encoded.items():
            if modality is not None:
                fields = (f"{name}_states", f"{name}_states_mask", f"{name}_summary")
                sides.update(zip(fields, modality, strict=True))
        return UniMSEEncoderOutput(
            last_hidden_state=outputs.last_hidden_state,
            hidden_states=outputs.get("hidden_states"),
            attentions=outputs.get("attentions"),
            fusion_hidden_states=outputs.get("fusion_hidden_states"),
            **sides,
        )

    def _encode(self, name: str, features: torch.Tensor | None, mask: torch.Tensor | None) -> EncodedModality | None:
        if features is None:
            return None
        encoder = getattr(self, f"{name}_encoder")
        if features.dim() != 3 or features.shape[1] == 0 or features.shape[2] != encoder.input_size:
            raise ValueError(
                f"{name}_features: expected shape (batch, time >= 1, {encoder.input_size}), got {tuple(features.shape)}"
            )
        return encoder(features, mask)


class UniMSEModel(UniMSEPreTrainedModel, T5Model):
    """UniMSE without the language-modelling head: what `AutoModel` loads."""

    # What a checkpoint with the head holds beyond this model.
    _keys_to_ignore_on_load_unexpected = [*T5Model._keys_to_ignore_on_load_unexpected, r"lm_head", r"contrastive_heads"]

    def __init__(self, config: UniMSEConfig):
        PreTrainedModel.__init__(self, config)
        self._build_backbone(config)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        segment_ids: torch.LongTensor | None = None,
        audio_features: torch.Tensor | None = None,
        audio_features_mask: torch.Tensor | None = None,
        visual_features: torch.Tensor | None = None,
        visual_features_mask: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        encoder_outputs: UniMSEEncoderOutput | tuple | None = None,
        **kwargs,
    ) -> UniMSEModelOutput:
        """Arguments as in `UniMSEForConditionalGeneration.forward`, without `labels`."""
        encoder_outputs = self._encoder_outputs(
            encoder_outputs,
            kwargs,
            input_ids=input_ids,
            attention_mask=attention_mask,
            segment_ids=segment_ids,
            audio_features=audio_features,
            audio_features_mask=audio_features_mask,
            visual_features=visual_features,
            visual_features_mask=visual_features_mask,
            inputs_embeds=inputs_embeds,
        )
        outputs = super().forward(
            encoder_outputs=encoder_outputs,
            attention_mask=attention_mask,
            **self._decoder_sides(encoder_outputs),
            **kwargs,
        )
        return UniMSEModelOutput(**outputs, encoder_outputs=encoder_outputs)


class UniMSEForConditionalGeneration(UniMSEPreTrainedModel, T5ForConditionalGeneration):
    """UniMSE that writes universal labels such as `positive,1.6,joy`.

    `from_pretrained` takes a UniMSE checkpoint or any T5 one; of the latter only the keys that UniMSE adds are missing.
    """

    def __init__(self, config: UniMSEConfig):
        PreTrainedModel.__init__(self, config)
        self._build_backbone(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        weights = {name: getattr(config, f"{name}_contrastive_weight") for name in MODALITIES}
        self.contrastive_weights = {name: weight for name, weight in weights.items() if weight > 0}
        heads = {name: self._contrastive_heads(config, name) for name in self.contrastive_weights}
        self.contrastive_heads = nn.ModuleDict(heads if config.fusion_layers else {})
        self.post_init()

    @staticmethod
    def _contrastive_heads(config: UniMSEConfig, name: str) -> nn.ModuleList:
        size = getattr(config, f"{name}_hidden_size")
        return nn.ModuleList([ContrastiveHead(config.hidden_size, size, config) for _ in config.fusion_layers])

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        segment_ids: torch.LongTensor | None = None,
        audio_features: torch.Tensor | None = None,
        audio_features_mask: torch.Tensor | None = None,
        visual_features: torch.Tensor | None = None,
        visual_features_mask: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        decoder_input_ids: torch.LongTensor | None = None,
        encoder_outputs: UniMSEEncoderOutput | tuple | None = None,
        labels: torch.LongTensor | None = None,
        num_items_in_batch: torch.Tensor | int | None = None,
        **kwargs,
    ) -> UniMSEOutput:
        """One pass over text, both modalities and the target.

        Args:
            input_ids: `(B, S)` text of the current utterance and its context; or `inputs_embeds`, `(B, S, d_model)`.
            attention_mask: `(B, S)`, 1 = keep.
            segment_ids: `(B, S)`, 1 = token of the current utterance, 0 = context.
            audio_features: `(B, T_a, audio_feature_size)` with `audio_features_mask` `(B, T_a)`, 1 = keep. `None`: no
                sample has audio. A row of zeros in the mask: that sample has none. The mask defaults to all ones.
            visual_features: `(B, T_v, visual_feature_size)` with `visual_features_mask`; likewise.
            decoder_input_ids: `(B, L)`; made from `labels` where not given.
            encoder_outputs: of an earlier pass; then the inputs above are not read, but for `attention_mask`.
            labels: `(B, L)` target tokens, -100 = ignored.
            num_items_in_batch: target tokens of the whole optimisation step (all accumulated batches); the task loss is
                then the sum over tokens divided by it. By default the mean over this batch.
            kwargs: as in `T5ForConditionalGeneration.forward`.

        Raises:
            ValueError: for features of a wrong shape.
        """
        compares = labels is not None and len(self.contrastive_heads) > 0
        encoder_outputs = self._encoder_outputs(
            encoder_outputs,
            {**kwargs, "output_fusion_hidden_states": True} if compares else kwargs,
            input_ids=input_ids,
            attention_mask=attention_mask,
            segment_ids=segment_ids,
            audio_features=audio_features,
            audio_features_mask=audio_features_mask,
            visual_features=visual_features,
            visual_features_mask=visual_features_mask,
            inputs_embeds=inputs_embeds,
        )
        if labels is not None and decoder_input_ids is None and kwargs.get("decoder_inputs_embeds") is None:
            decoder_input_ids = self._shift_right(labels)
        outputs = super().forward(
            encoder_outputs=encoder_outputs,
            attention_mask=attention_mask,
            decoder_input_ids=decoder_input_ids,
            **self._decoder_sides(encoder_outputs),
            **kwargs,
        )
        losses = {}
        if labels is not None:
            task_loss = _token_loss(outputs.logits, labels, num_items_in_batch)
            losses = self._losses(task_loss, encoder_outputs, attention_mask)
        return UniMSEOutput(**{**outputs, **losses}, encoder_outputs=encoder_outputs)

    def _losses(self, task_loss: torch.Tensor, encoder_outputs: UniMSEEncoderOutput, attention_mask) -> dict:
        """L = L_task + sum over modalities m of weight_m * sum over fusion layers j of L_m(j) (paper, equation 8)."""
        losses = {"loss": task_loss, "task_loss": task_loss}
        texts = encoder_outputs.fusion_hidden_states
        if texts is None:
            return losses
        if attention_mask is None:
            attention_mask = texts[0].new_ones(texts[0].shape[:2])
        encoded = encoder_outputs.modalities()
        for name, heads in self.contrastive_heads.items():
            if encoded[name] is not None:
                states, mask, _ = encoded[name]
                pairs = zip(heads, texts, strict=True)
                total = sum(head(text, attention_mask.bool(), states, mask) for head, text in pairs)
                losses[f"{name}_contrastive_loss"] = total
                losses["loss"] = losses["loss"] + self.contrastive_weights[name] * total
        return losses


def _token_loss(logits: torch.Tensor, labels: torch.Tensor, num_items_in_batch) -> torch.Tensor:
    """Cross-entropy of `(B, L, V)` logits against `(B, L)` labels, -100 ignored."""
    labels = labels.to(logits.device).flatten()
    if num_items_in_batch is None:
        return F.cross_entropy(logits.flatten(0, 1), labels, ignore_index=-100)
    return F.cross_entropy(logits.flatten(0, 1), labels, ignore_index=-100, reduction="sum") / num_items_in_batch
