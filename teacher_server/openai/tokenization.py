"""Between text and ids, for OpenAI's API: prompts, and the bytes of single tokens."""

import json
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast
from transformers.convert_slow_tokenizer import bytes_to_unicode

BYTE_OF = {character: byte for byte, character in bytes_to_unicode().items()}
"""What a byte-level tokenizer's vocabulary writes for each byte, backwards."""
BYTE_TOKEN = re.compile("<0x([0-9A-F]{2})>")
"""What a tokenizer with byte fallback calls a single byte."""


class EchoedPrompt(NamedTuple):
    """A prompt that is given back with what was written."""

    ids: list[int]
    text: str


class TextTokenizer:
    """Text as one tokenizer sees it. Methods may be called from several threads at once."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self._tokenizer = tokenizer
        self._backend = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
        self._backend.no_padding()
        self._backend.no_truncation()
        added = tokenizer.added_tokens_decoder
        self._added = {id: token.content for id, token in added.items()}
        self._special = {token.content: id for id, token in added.items() if token.special}
        decoder = json.loads(self._backend.to_str())["decoder"]
        self._byte_level = "ByteLevel" in json.dumps(decoder)
        self.token_bytes = lru_cache(maxsize=1 << 16)(self._token_bytes)
        """The bytes that a token id stands for; a character may be spread over several tokens."""

    def prompt_ids(self, text: str) -> list[int]:
        """The ids of a text prompt, with the tokens that the tokenizer puts around a text, as BOS."""
        return list(self._backend.encode(text).ids)

    def echoed(self, prompt: str | list[int]) -> EchoedPrompt:
        """A prompt as it is given back: a text as it came, ids without special tokens, which no written text shows."""
        if isinstance(prompt, str):
            return EchoedPrompt(self.prompt_ids(prompt), prompt)
        return EchoedPrompt(prompt, self._backend.decode(prompt, skip_special_tokens=True))

    def truncated(self, ids: list[int], most: int) -> list[int]:
        """The last `most` ids of a prompt; a BOS at its beginning stays there."""
        start = [id for id in ids[:1] if id == self._tokenizer.bos_token_id]
        return ids if len(ids) <= most else [*start, *ids[len(ids) - most + len(start) :]]

    def is_special(self, token_id: int) -> bool:
        """Whether the token never shows in what is written."""
        return self._added.get(token_id) in self._special

    def special_ids(self, texts: Sequence[str]) -> list[int]:
        """Ids of those `texts` that are special tokens, which no stop string can find in what is written."""
        return [self._special[text] for text in texts if text in self._special]

    def _token_bytes(self, token_id: int) -> bytes:
        if token_id in self._added:
            return self._added[token_id].encode()
        token = self._backend.id_to_token(token_id) or ""
        if self._byte_level:
            return bytes(BYTE_OF[character] for character in token)
        byte = BYTE_TOKEN.fullmatch(token)
        return bytes.fromhex(byte[1]) if byte else token.replace("\u2581", " ").encode()
