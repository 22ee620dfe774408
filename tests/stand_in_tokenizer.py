"""The tokenizer of the stand-in engine: one id per letter, two for an "é", and a chat template."""

from functools import cache

from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

SPECIAL = ["<|pad|>", "<|eos|>", "<|system|>", "<|user|>", "<|assistant|>"]
CHARACTERS = "abcdefghilmnoprstuvwy:"
REFUSED_CHARACTER = "z"
"""Its id is the one that the stand-in engine refuses."""
VOCABULARY_SIZE = 32
TEMPLATE = """
{%- for message in messages %}{{ '<|' ~ message.role ~ '|>' ~ message.content }}
{%- if message.role == 'assistant' %}{{ '<|eos|>' }}{% endif %}{% endfor %}
{%- if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"""


@cache
def make_tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level tokenizer of VOCABULARY_SIZE ids; characters it doesn't know are left out of a text."""
    tokens = [*SPECIAL, *CHARACTERS, "Ġ", "Ċ", "Ã", "©"]
    vocabulary = {token: id for id, token in enumerate(tokens)} | {REFUSED_CHARACTER: VOCABULARY_SIZE - 1}
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens(SPECIAL)
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="<|pad|>", eos_token="<|eos|>", chat_template=TEMPLATE
    )
