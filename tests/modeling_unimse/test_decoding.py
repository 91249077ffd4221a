import pytest
import torch
from transformers import AutoTokenizer, T5Tokenizer

from modeling_unimse import BENCHMARK_EMOTIONS, EMOTIONS, LabelLogitsProcessor, LabelTrie, parse_label
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
