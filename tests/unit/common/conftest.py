"""A tiny byte-level tokenizer whose special tokens are Llama 3's, and rows of ToolBench's shape."""

from collections.abc import Callable
from pathlib import Path

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from common.render import load_tokenizer
from common.toolbench.rows import PromptRow, Turn

SPECIAL = ["<pad>", "</s>", "<|eot_id|>", "<|start_header_id|>", "<|end_header_id|>"]


@pytest.fixture(scope="session")
def tokenizer_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved tokenizer with a byte alphabet, some merges and SPECIAL as its first ids."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    backend.train_from_iterator(["Assistant: \n\nThought: the\nAction: forecast\nAction Input: {}"] * 9, trainer)
    folder = tmp_path_factory.mktemp("tokenizer")
    PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="</s>", pad_token="</s>").save_pretrained(folder)
    return folder


@pytest.fixture
def tokenizer(tokenizer_folder: Path) -> PreTrainedTokenizerFast:
    """A fresh copy, so that a test may set its template or tokens."""
    return load_tokenizer(tokenizer_folder)


@pytest.fixture
def row() -> PromptRow:
    """The second step of a trace, with a mid-dialogue user turn."""
    return make_row()


@pytest.fixture
def numbered_row() -> Callable[[int], PromptRow]:
    return make_row


def make_row(number: int = 0) -> PromptRow:
    turns = (
        Turn("system", "You are AutoGPT.\nSpecifically, you have access to the following APIs: [{'name': 'Finish'}]"),
        Turn("user", "\nWeather in Zürich?\nBegin!\n"),
        Turn("assistant", '\nThought: look\nAction: forecast\nAction Input: {"city": "Zürich"}'),
        Turn("function", '{"error": "", "response": "rain"}'),
        Turn("user", "This is not the first time you try this task."),
    )
    completion = '\nThought: done ☂\nAction: Finish\nAction Input: {"return_type": "give_answer"}'
    return PromptRow(f"trace-{number}/2", "Weather in Zürich?", turns, completion, f"trace-{number}", 2, "train")
