"""SmolLM2's GGUF file as an ordinary model folder: a pretrained model that takes turns, for a machine without a hub."""

from pathlib import Path

import torch
from tokenizers.pre_tokenizers import ByteLevel, Digits, Sequence
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig, GgufConfig, PreTrainedTokenizerFast

END_OF_TEXT = "<|endoftext|>"
"""Ends a document, where `<|im_end|>`, the tokenizer's EOS, ends a turn: what is generated ends with either."""


def convert(file: Path, out: Path) -> None:
    """Write the model in the GGUF `file` to `out`: bfloat16 safetensors, tokenizer, chat template, ends of sequence."""
    tokenizer = read_tokenizer(file)
    unpacked = GgufConfig(dequantize=True)  # a quantised model could not be saved
    model = AutoModelForCausalLM.from_pretrained(
        file.parent, gguf_file=file.name, quantization_config=unpacked, dtype=torch.bfloat16
    )
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=[tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids(END_OF_TEXT)],
        pad_token_id=tokenizer.pad_token_id,
    )
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)


def read_tokenizer(file: Path) -> PreTrainedTokenizerFast:
    """The tokenizer that SmolLM2 was trained with: it takes each digit alone, which reading GGUF leaves out."""
    read = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    backend = read.backend_tokenizer
    backend.pre_tokenizer = Sequence([Digits(individual_digits=True), ByteLevel(add_prefix_space=False)])
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, chat_template=read.chat_template, clean_up_tokenization_spaces=False,
        bos_token=read.bos_token, eos_token=read.eos_token, pad_token=read.pad_token, unk_token=read.unk_token,
    )  # fmt: skip
