from types import SimpleNamespace

import pytest
import torch
from transformers import AutoTokenizer, T5Tokenizer
from transformers.modeling_outputs import BaseModelOutput

from modeling_unimse import (
    BENCHMARK_EMOTIONS,
    EMOTIONS,
    LabelLogitsProcessor,
    LabelPosterior,
    LabelTrie,
    UniversalLabel,
    label_posterior,
    parse_label,
)
from modeling_unimse.universal_label_unimse import all_labels, format_label
from tests.conftest import make_batch, moved, tiny_model, without


def paths(trie: LabelTrie) -> set[tuple[int, ...]]:
    """All token sequences of a trie, by walking its tables."""
    found, open_paths = set(), [((), 0)]
    while open_paths:
        path, state = open_paths.pop()
        for column in trie.allowed[state].nonzero().flatten().tolist():
            target = trie.next_state[state, column].item()
            extended = (*path, trie.token_ids[column].item())
            if target == 1:
                found.add(extended)
            else:
                open_paths.append((extended, target))
    return found


@pytest.mark.parametrize("emotions", [EMOTIONS, BENCHMARK_EMOTIONS["iemocap"], ("neutral", "calm")])
def test_the_trie_is_exactly_the_language(tokenizer, emotions):
    ids = tokenizer([format_label(label) for label in all_labels(emotions)]).input_ids
    assert paths(LabelTrie(tokenizer, emotions)) == set(map(tuple, ids))


def test_real_t5_vocabulary_writes_short_labels(shared):
    tokenizer = AutoTokenizer.from_pretrained(shared / "data" / "t5_tokenizer")
    labels = [format_label(label) for label in all_labels()]
    sizes = {label: len(tokenizer.tokenize(label)) for label in labels}
    # "3.0" is no piece of that vocabulary: it takes two, and the longest emotion makes one label of ten.
    assert [label for label, size in sizes.items() if size > 9] == ["negative,-3.0,sadness"]
    assert max(sizes.values()) == 10
    assert LabelTrie(tokenizer).max_length == 11  # with the end token


@pytest.mark.parametrize(
    "settings", [{}, {"num_beams": 4}, {"num_beams": 4, "num_return_sequences": 4}, {"cache_implementation": "static"}]
)
@pytest.mark.parametrize("benchmark", [None, "meld", "iemocap"])
def test_everything_generated_is_a_label(processor, settings, benchmark):
    for seed in range(3):
        model = moved(tiny_model(seed), seed)
        ids = model.generate(
            **without(make_batch(seed), "labels"),
            logits_processor=processor.logits_processor(benchmark),
            max_new_tokens=processor.label_trie().max_length,
            **settings,
        )
        labels = processor.batch_decode_labels(ids)
        assert None not in labels
        assert {label.emotion for label in labels} <= set(BENCHMARK_EMOTIONS.get(benchmark, EMOTIONS))


def test_sampling_stays_in_the_language_and_uses_all_of_it(processor):
    torch.manual_seed(0)
    model = tiny_model()
    batch = {name: value[:1].repeat_interleave(200, 0) for name, value in without(make_batch(), "labels").items()}
    ids = model.generate(
        **batch, do_sample=True, temperature=3.0, logits_processor=processor.logits_processor(), max_new_tokens=11
    )
    labels = processor.batch_decode_labels(ids)
    assert None not in labels
    assert {label.polarity for label in labels} == {"negative", "neutral", "positive"}
    assert len({label.emotion for label in labels}) == len(EMOTIONS)


def test_allowed_scores_pass_unchanged_and_rows_do_not_mix(tokenizer):
    trie = LabelTrie(tokenizer)
    labels = ["positive,1.6,joy", "negative,-2.0,fear"]
    ids = torch.tensor(tokenizer(labels).input_ids[0:1] + [tokenizer(labels).input_ids[1][:6]])
    prompt = torch.cat([torch.zeros(2, 1, dtype=torch.long), ids[:, :3]], dim=1)
    scores = torch.randn(2, len(tokenizer))
    processed = LabelLogitsProcessor(trie)(prompt, scores)
    for row, label in enumerate(labels):
        prefix = tokenizer(label).input_ids[:3]
        wanted = {path[3] for path in paths(trie) if list(path[:3]) == prefix}
        allowed = torch.isfinite(processed[row]).nonzero().flatten().tolist()
        assert set(allowed) == wanted
        assert torch.equal(processed[row, allowed], scores[row, allowed])


def test_a_tokenizer_that_loses_labels_is_refused():
    lossy = T5Tokenizer(vocab=[("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁positive", 0.0)], extra_ids=0)
    with pytest.raises(ValueError, match="cannot write label 'negative,-3.0,neutral'"):
        LabelTrie(lossy)


def test_parsing_agrees_with_the_trie(processor):
    for label in all_labels():
        assert parse_label(format_label(label)) == label
    ids = processor.tokenizer(["positive,1.6,joy", "positive,1.6", "I am so glad"], padding=True).input_ids
    decoded = processor.batch_decode_labels(ids)
    assert format_label(decoded[0]) == "positive,1.6,joy" and decoded[1:] == [None, None]


def log_likelihood(model, tokenizer, label: UniversalLabel, batch: dict, row: int) -> float:
    """log p(label | one sample), from the loss of a forward pass of its own."""
    targets = tokenizer(format_label(label), return_tensors="pt").input_ids
    sample = {name: value[row : row + 1] for name, value in batch.items()}
    with torch.no_grad():
        return -model(**sample, labels=targets).task_loss.item() * targets.shape[1]


def check_posterior(model, tokenizer, emotions, batch: dict, **settings) -> LabelPosterior:
    """Probabilities sum to 1 and stand to each other as those of labels that are scored one by one."""
    found = label_posterior(model, LabelTrie(tokenizer, emotions), **settings, **batch)
    rows, labels = found.log_probabilities.shape
    assert found.labels == tuple(all_labels(emotions)) and (rows, labels) == (
        len(batch["input_ids"]),
        61 * len(emotions),
    )
    assert found.log_probabilities.dtype == torch.float32
    torch.testing.assert_close(found.log_probabilities.exp().sum(1), torch.ones(rows), atol=1e-5, rtol=0)
    chosen = torch.randperm(labels, generator=torch.Generator().manual_seed(0))[:8].tolist()
    for row in range(rows):
        alone = [log_likelihood(model, tokenizer, found.labels[place], batch, row) for place in chosen]
        given = found.log_probabilities[row, chosen]
        torch.testing.assert_close(given - given[0], torch.tensor(alone) - alone[0], atol=2e-4, rtol=1e-5)
    return found


@pytest.mark.parametrize("emotions", [EMOTIONS, *BENCHMARK_EMOTIONS.values(), ("calm",)])
def test_the_posterior_is_that_of_labels_scored_one_by_one(tokenizer, emotions):
    check_posterior(moved(tiny_model()), tokenizer, emotions, without(make_batch(), "labels"))


@pytest.mark.parametrize(
    "changes",
    [
        {"fusion_type": "cross_attention"},
        {"fuse_decoder": True},
        {"fuse_decoder": True, "fusion_type": "cross_attention"},
        {"fusion_layers": []},
    ],
    ids=str,
)
@pytest.mark.parametrize("absent", [("labels",), ("labels", "audio", "visual"), ("labels", "mask", "segment")], ids=str)
def test_the_posterior_with_every_fusion_and_input(tokenizer, changes, absent):
    check_posterior(moved(tiny_model(**changes)), tokenizer, ("neutral", "joy"), without(make_batch(), *absent))


def test_the_posterior_of_an_adapter(tokenizer):
    from peft import LoraConfig, get_peft_model

    settings = LoraConfig(task_type="SEQ_2_SEQ_LM", r=2, target_modules=["q", "v"], modules_to_save=["fusion"])
    batch = without(make_batch(), "labels")
    plain = check_posterior(moved(tiny_model()), tokenizer, ("neutral", "joy"), batch)
    model = get_peft_model(moved(tiny_model()), settings).eval()
    torch.manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name or "modules_to_save" in name:
                parameter.add_(0.05 * torch.randn(parameter.shape))
    found = check_posterior(model, tokenizer, ("neutral", "joy"), batch)
    assert not torch.allclose(found.log_probabilities, plain.log_probabilities, atol=1e-2)


@pytest.mark.parametrize("changes", [{}, {"fuse_decoder": True, "fusion_type": "cross_attention"}], ids=str)
def test_the_posterior_does_not_depend_on_neighbours_padding_or_passes(tokenizer, changes):
    model, trie = moved(tiny_model(**changes)), LabelTrie(tokenizer, ("neutral", "joy"))
    batch = without(make_batch(), "labels")
    together = label_posterior(model, trie, **batch).log_probabilities
    for row in range(4):
        sample = {name: value[row : row + 1] for name, value in batch.items()}
        length = int(sample["attention_mask"].sum())
        sample.update({name: sample[name][:, :length] for name in ("input_ids", "attention_mask", "segment_ids")})
        alone = label_posterior(model, trie, **sample).log_probabilities
        torch.testing.assert_close(alone, together[row : row + 1], atol=1e-5, rtol=1e-6)
    for rows_per_pass in (7, 100, 300):  # parts of the 122 labels; two samples at a time
        found = label_posterior(model, trie, rows_per_pass=rows_per_pass, **batch).log_probabilities
        torch.testing.assert_close(found, together, atol=1e-5, rtol=1e-6)
    with pytest.raises(ValueError, match="rows_per_pass: expected a whole number >= 1, got 0"):
        label_posterior(model, trie, rows_per_pass=0, **batch)


class Bigrams:
    """Stands in for a model: the scores of a token hang on the token before it only."""

    def __init__(self, table: torch.Tensor):
        self.table, self.config = table, SimpleNamespace(decoder_start_token_id=0)

    def get_encoder(self):
        return lambda input_ids: BaseModelOutput(last_hidden_state=input_ids[..., None].to(self.table))

    def __call__(self, decoder_input_ids, encoder_outputs, attention_mask, cache, use_cache):
        return SimpleNamespace(logits=self.table[decoder_input_ids])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_the_posterior_by_hand_in_every_precision(tokenizer, dtype):
    """Whatever the precision of the scores, their logarithms are taken and added in float32."""
    table = (3 * torch.randn(320, 320, generator=torch.Generator().manual_seed(0))).to(dtype)
    steps = table.float().log_softmax(dim=1)
    scores = []
    for label in all_labels():
        tokens = [0, *tokenizer(format_label(label)).input_ids]
        scores.append(sum(steps[before, after] for before, after in zip(tokens, tokens[1:], strict=False)))
    found = label_posterior(Bigrams(table), LabelTrie(tokenizer), input_ids=torch.ones(2, 3, dtype=torch.long))
    expected = torch.stack(scores).log_softmax(dim=0)
    torch.testing.assert_close(found.log_probabilities, expected.expand(2, -1), atol=1e-4, rtol=0)


def test_the_posterior_of_a_model_in_half_precision(tokenizer):
    model, trie = moved(tiny_model()), LabelTrie(tokenizer)
    batch = without(make_batch(), "labels")
    exact = label_posterior(model, trie, **batch).log_probabilities
    batch.update({name: value.bfloat16() for name, value in batch.items() if value.is_floating_point()})
    found = label_posterior(model.bfloat16(), trie, **batch).log_probabilities
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.exp().sum(1), torch.ones(4), atol=1e-5, rtol=0)
    torch.testing.assert_close(found, exact, atol=0.5, rtol=0)


def test_a_model_that_knows_its_labels_is_sure_of_them(processor):
    texts, labels = ["I am so glad", "Leave me alone now"], ["positive,1.6,joy", "negative,-3.0,sadness"]
    batch = processor(texts, label=labels)
    model = tiny_model(audio_contrastive_weight=0.0, visual_contrastive_weight=0.0)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    for _ in range(60):
        model(**batch).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    inputs = without(batch, "labels")
    found = label_posterior(model, processor.label_trie(), **inputs)
    assert not found.log_probabilities.requires_grad
    assert found.most_probable() == [parse_label(label) for label in labels]
    greedy = model.generate(**inputs, logits_processor=processor.logits_processor(), max_new_tokens=11)
    assert found.most_probable() == processor.batch_decode_labels(greedy)
    emotions = found.emotion_probabilities()
    assert emotions[0, EMOTIONS.index("joy")] > 0.95 and emotions[1, EMOTIONS.index("sadness")] > 0.95
    torch.testing.assert_close(found.mean_intensity(), torch.tensor([1.6, -3.0]), atol=0.1, rtol=0)


def test_no_label_beats_the_most_probable_one_and_greedy_decoding_can_miss_it(processor):
    missed = 0
    for seed in range(4):
        model, batch = moved(tiny_model(seed), seed), without(make_batch(seed), "labels")
        found = label_posterior(model, processor.label_trie(), **batch)
        ids = model.generate(**batch, logits_processor=processor.logits_processor(), max_new_tokens=11, num_beams=1)
        for row, label in enumerate(processor.batch_decode_labels(ids)):
            best = found.most_probable()[row]
            gap = log_likelihood(model, processor.tokenizer, best, batch, row)
            gap -= log_likelihood(model, processor.tokenizer, label, batch, row)
            assert gap >= -1e-4
            missed += gap > 0.01
    assert missed


def test_marginals_and_mean_by_hand():
    labels = [
        ("negative", -2.0, "fear"),
        ("negative", -1.0, "anger"),
        ("neutral", 0.0, "fear"),
        ("positive", 3.0, "joy"),
    ]
    probabilities = torch.tensor([[0.1, 0.2, 0.3, 0.4], [0.25, 0.5, 0.25, 0.0]])
    found = LabelPosterior(probabilities.log(), tuple(UniversalLabel(*label) for label in labels))
    assert found.emotions == ("fear", "anger", "joy")
    torch.testing.assert_close(found.emotion_probabilities(), torch.tensor([[0.4, 0.2, 0.4], [0.5, 0.5, 0.0]]))
    torch.testing.assert_close(found.polarity_probabilities(), torch.tensor([[0.3, 0.3, 0.4], [0.75, 0.25, 0.0]]))
    torch.testing.assert_close(found.mean_intensity(), torch.tensor([0.8, -1.0]))
    assert [format_label(label) for label in found.most_probable()] == ["positive,3.0,joy", "negative,-1.0,anger"]


@pytest.mark.parametrize("emotions", [EMOTIONS, BENCHMARK_EMOTIONS["iemocap"]], ids=len)
def test_the_probability_of_a_generated_label_comes_from_the_library(processor, emotions):
    """What the constrained model, renormalised at each step, gives to its own answer."""
    model, batch = moved(tiny_model(1)), without(make_batch(rows=12), "labels")
    model.shared.weight.data.mul_(0.1)  # unsure enough to write labels of different lengths
    torch.manual_seed(0)
    constrain = processor.logits_processor(emotions=emotions)
    scores = {"output_scores": True, "return_dict_in_generate": True}
    out = model.generate(**batch, logits_processor=constrain, max_new_tokens=11, do_sample=True, **scores)
    steps = model.compute_transition_scores(out.sequences, out.scores, normalize_logits=True)
    # Behind the end the processor allows two tokens, which are no part of the label.
    written = out.sequences[:, 1:] != processor.tokenizer.pad_token_id
    assert not written.all()
    found = torch.where(written, steps, 0.0).sum(1)
    trie = processor.label_trie(emotions)
    with torch.no_grad():
        logits = model(**batch, decoder_input_ids=out.sequences[:, :-1]).logits
    for row in range(12):
        tokens = out.sequences[row, 1:][written[row]].tolist()
        expected = 0.0
        for position, token in enumerate(tokens):
            allowed = sorted({path[position] for path in paths(trie) if list(path[:position]) == tokens[:position]})
            expected += logits[row, position, allowed].log_softmax(0)[allowed.index(token)].item()
        assert found[row].item() == pytest.approx(expected, abs=1e-4)
