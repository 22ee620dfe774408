"""Between text and ids, for OpenAI's API: prompts, chats, and the bytes of single tokens."""

import json
import re
from collections.abc import Sequence
from functools import cached_property, lru_cache
from typing import NamedTuple

from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast
from transformers.convert_slow_tokenizer import bytes_to_unicode

from common.errors import UserError
from common.render import Renderer
from common.toolbench.rows import Turn
from teacher_server.http.errors import ApiError

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

    def chat_ids(self, turns: Sequence[Turn]) -> list[int]:
        """The ids of a chat up to where the assistant's answer begins, as training renders the same turns.

        Special tokens in what the turns say are plain characters. Raises ApiError (422) when the model has no chat
        template, or one that can't render these turns.
        """
        try:
            return self._chat.turn_ids(tuple(turns))
        except UserError as error:
            said = str(error).rpartition("; ")[0] or str(error)
            raise ApiError(
                422, "unsupported_messages", f"{said}; or send /v1/completions a prompt", "messages"
            ) from None

    def end_of_turn_ids(self) -> list[int]:
        """Ids that end an assistant's turn: the chat template's own and the end of sequence."""
        return self._chat.stop_token_ids

    def is_special(self, token_id: int) -> bool:
        """Whether the token never shows in what is written."""
        return self._added.get(token_id) in self._special

    def special_ids(self, texts: Sequence[str]) -> list[int]:
        """Ids of those `texts` that are special tokens, which no stop string can find in what is written."""
        return [self._special[text] for text in texts if text in self._special]

    @cached_property
    def _chat(self) -> Renderer:
        if not self._tokenizer.chat_template:
            message = "this model has no chat template, as base models have none; send /v1/completions a prompt"
            raise ApiError(422, "no_chat_template", message, "messages")
        return Renderer(self._tokenizer, "chat", None)

    def _token_bytes(self, token_id: int) -> bytes:
        if token_id in self._added:
            return self._added[token_id].encode()
        token = self._backend.id_to_token(token_id) or ""
        if self._byte_level:
            return bytes(BYTE_OF[character] for character in token)
        byte = BYTE_TOKEN.fullmatch(token)
        return bytes.fromhex(byte[1]) if byte else token.replace("\u2581", " ").encode()
