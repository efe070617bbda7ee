"""Folders of other libraries opened as models of ours."""

import json
from pathlib import Path

import pytest
import torch
import transformers
from bundle_writer import write_bundle
from test_hub_tensorflow import SIZES, original_weights

from support import layout_of
from trivium.core.batch import reading
from trivium.core.errors import HubError
from trivium.data.tokenizer import Tokenizer
from trivium.hub.open import is_foreign, open_pretrained

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "sea", "##s", "is", "calm"]


def theirs(folder: Path) -> transformers.BertForPreTraining:
    """The folder of google-research/bert and the model whose weights lie in it."""
    torch.manual_seed(5)
    config = transformers.BertConfig(**{**SIZES, "vocab_size": len(WORDS)})
    model = transformers.BertForPreTraining(config).eval()
    state = {key: value for key, value in model.state_dict().items() if not key.startswith("cls.predictions.decoder.")}
    write_bundle(folder / "bert_model.ckpt", original_weights(state))
    options = {key: value for key, value in config.to_dict().items() if key in {**SIZES, "hidden_act": ""}}
    (folder / "bert_config.json").write_text(json.dumps({**options, "vocab_size": len(WORDS)}), encoding="utf-8")
    (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n", encoding="utf-8")
    return model


def test_the_original_bert_is_opened_without_tensorflow(tmp_path: Path) -> None:
    model = theirs(tmp_path)
    assert is_foreign(tmp_path)
    opened = open_pretrained(tmp_path, speaks=True)
    tokenizer = Tokenizer.from_bytes(opened.tokenizer)
    ids = [tokenizer.special.bos, *tokenizer.encode("The seas is calm"), tokenizer.special.eos]
    assert tokenizer.token_texts(ids) == ["[CLS]", "the", "sea", "##s", "is", "calm", "[SEP]"]
    tokens_BL = torch.tensor([ids])
    with torch.inference_mode():
        expected = model(input_ids=tokens_BL).prediction_logits
        found = opened.network.head(opened.network(reading(tokens_BL, layout_of([[0] * len(ids)], causal=False))))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_a_body_without_a_head_speaks_to_nobody(tmp_path: Path) -> None:
    config = transformers.BertConfig(**{**SIZES, "vocab_size": len(WORDS)})
    transformers.BertModel(config).save_pretrained(tmp_path)
    (tmp_path / "vocab.txt").write_text("\n".join(WORDS) + "\n", encoding="utf-8")
    with pytest.raises(HubError, match="without a head over the vocabulary"):
        open_pretrained(tmp_path, speaks=True)
    body = transformers.BertModel.from_pretrained(tmp_path).embeddings.word_embeddings.weight
    assert torch.equal(open_pretrained(tmp_path, speaks=False).network.reader.embedding.tokens.weight, body)
