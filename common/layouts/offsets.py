"""Where the tokens of segments begin."""

import json
from collections.abc import Iterable, Mapping

from tokenizers import Tokenizer

from common.layouts.segments import TextSegment


class TokenOffsets:
    """Where tokens begin that `backends` make: of trusted segments, and of others."""

    def __init__(self, backends: Mapping[bool, Tokenizer]) -> None:
        self._backends = {trusted: _untrimmed(backend) for trusted, backend in backends.items()}

    def starts(self, segments: Iterable[TextSegment]) -> list[int]:
        """At which character of the joined text each token begins; each token of a character at that."""
        starts: list[int] = []
        length = 0
        for segment in segments:
            encoding = self._backends[segment.trusted].encode(segment.text, add_special_tokens=False)
            starts += [length + start for start, _ in encoding.offsets]
            length += len(segment.text)
        return starts


def _untrimmed(backend: Tokenizer) -> Tokenizer:
    """The tokenizer without its post-processor, which takes white space off the beginnings of tokens."""
    settings = json.loads(backend.to_str()) | {"post_processor": None}
    plain = Tokenizer.from_str(json.dumps(settings))
    plain.encode_special_tokens = backend.encode_special_tokens
    return plain
