"""Segments as token ids."""

import json
from collections.abc import Iterable
from functools import cached_property

from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from common.layouts.segments import TextSegment


class SegmentEncoder:
    """Encodes each segment by itself; only trusted ones may hold special tokens."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self._trusted, self._untrusted = _backend(tokenizer, False), _backend(tokenizer, True)

    def ids(self, segments: Iterable[TextSegment]) -> list[int]:
        """The ids of the segments, one behind the other."""
        ids: list[int] = []
        for segment in segments:
            ids += _encode(self._trusted if segment.trusted else self._untrusted, segment.text)
        return ids

    def starts(self, segments: Iterable[TextSegment]) -> list[int]:
        """At which character of the joined text each of `ids` begins; each token of a character at that."""
        starts: list[int] = []
        length = 0
        for segment in segments:
            encoding = self._untrimmed[segment.trusted].encode(segment.text, add_special_tokens=False)
            starts += [length + start for start, _ in encoding.offsets]
            length += len(segment.text)
        return starts

    @cached_property
    def _untrimmed(self) -> dict[bool, Tokenizer]:
        return {True: _untrimmed(self._trusted), False: _untrimmed(self._untrusted)}


def _untrimmed(backend: Tokenizer) -> Tokenizer:
    """The tokenizer without its post-processor, which takes white space off the beginnings of tokens."""
    settings = json.loads(backend.to_str()) | {"post_processor": None}
    plain = Tokenizer.from_str(json.dumps(settings))
    plain.encode_special_tokens = backend.encode_special_tokens
    return plain


def _encode(backend: Tokenizer, text: str) -> list[int]:
    """A batch of one is encoded without holding Python's lock, so that other threads go on; a single text isn't."""
    (encoding,) = backend.encode_batch_fast([text], add_special_tokens=False)
    return list(encoding.ids)


def _backend(tokenizer: PreTrainedTokenizerFast, ignore_special_tokens: bool) -> Tokenizer:
    """A copy of the tokenizer's backend, so that its settings are ours alone."""
    backend = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    backend.no_padding()
    backend.no_truncation()
    backend.encode_special_tokens = ignore_special_tokens
    return backend
