"""What tells whether two tokenizers are the same."""

import hashlib
import json

from transformers import PreTrainedTokenizerFast


def tokenizer_fingerprint(tokenizer: PreTrainedTokenizerFast) -> str:
    """SHA-256, in hex, of all that decides which ids a text becomes and which text ids become.

    That is the backend's own JSON: vocabulary, merges, added tokens, normalization and pre-tokenization. Left out are
    padding and truncation, which callers set as they need, and the post-processor, which puts tokens around a text.
    """
    backend = json.loads(tokenizer.backend_tokenizer.to_str())
    for part in ("padding", "truncation", "post_processor"):
        backend.pop(part, None)
    return _fingerprint(backend)


def chat_template_fingerprint(tokenizer: PreTrainedTokenizerFast) -> str | None:
    """SHA-256, in hex, of the chat template; None where there is none."""
    return _fingerprint(tokenizer.chat_template) if tokenizer.chat_template else None


def _fingerprint(facts: object) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
