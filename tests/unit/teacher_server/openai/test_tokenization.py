"""Bytes of single tokens for both families of tokenizers, and the tokens around a prompt."""

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

from teacher_server.openai.tokenization import TextTokenizer
from tests.stand_in_tokenizer import make_tokenizer


@pytest.fixture
def byte_fallback() -> PreTrainedTokenizerFast:
    """Of Llama 2's kind: "▁" for a space, `<0xC3>` for a byte that no token holds, BOS before each text."""
    vocabulary = {token: id for id, token in enumerate(["<unk>", "<s>", "▁", "a", "▁a", "<0xC3>", "<0xA9>"])}
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[("▁", "a")], unk_token="<unk>", byte_fallback=True))
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never")
    backend.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    backend.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", unk_token="<unk>")


def test_byte_fallback(byte_fallback: PreTrainedTokenizerFast):
    texts = TextTokenizer(byte_fallback)
    ids = texts.prompt_ids("a aé")
    assert ids == [1, 3, 4, 5, 6]
    assert [texts.token_bytes(id) for id in ids] == [b"<s>", b"a", b" a", b"\xc3", b"\xa9"]
    assert [texts.is_special(id) for id in ids] == [True] + [False] * 4
    assert texts.special_ids(["<s>", "a", "s>"]) == [1]


def test_byte_level():
    texts = TextTokenizer(make_tokenizer())
    ids = texts.prompt_ids("a é\n<|eos|>")
    assert b"".join(map(texts.token_bytes, ids)) == "a é\n<|eos|>".encode()
    assert len(ids) == 6


def test_an_id_that_no_token_has_is_no_text():
    assert TextTokenizer(make_tokenizer()).token_bytes(10**6) == b""


def test_padding_and_truncation_of_the_tokenizer_are_not_ours():
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=make_tokenizer().backend_tokenizer, pad_token="<|pad|>")
    tokenizer("a b", max_length=2, padding="max_length", truncation=True)
    assert len(TextTokenizer(tokenizer).prompt_ids("a b c")) == 5
