"""Which tokens end what a model generates: its files may name several, the tokenizer only one of them."""

import json
from pathlib import Path

from transformers.utils.hub import cached_file

FILES = ("generation_config.json", "config.json")
"""Where `eos_token_id` is looked for: the first of them that is there counts, as for vLLM and transformers."""


def end_token_ids(model: str) -> list[int]:
    """The ends of sequence of the model in a folder or of a hub name; none where its files don't say."""
    for name in FILES:
        file = cached_file(
            model, name, _raise_exceptions_for_missing_entries=False, _raise_exceptions_for_connection_errors=False
        )
        if file is not None:
            ends = json.loads(Path(file).read_text(encoding="utf-8")).get("eos_token_id")
            return ends if isinstance(ends, list) else [] if ends is None else [ends]
    return []
