"""What benchmarks of whole runs train on: rows of an exact number of tokens, and the settings of a run on them."""

import random
from itertools import islice
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerFast

from common.render import Renderer
from common.toolbench.rows import PromptRow, Turn, write_rows
from teacher_server.settings import EngineSettings

ROW = "row-"
"""How the ids of these rows begin: no other request of a run has such an id."""
ROOM = 64
"""Tokens more than a row has, that the handshake writes."""
_SPACE = "Ġ"  # byte-level BPE's sign for a space


def save_rows(
    folder: Path, tokenizer: PreTrainedTokenizerFast, rows: int, prompt: int, completion: int
) -> list[list[int]]:
    """Write `rows` random rows into `folder`, each with so many tokens of prompt and of completion, the terminator
    among them. Returns the ids of their prompts.
    """
    renderer, words = Renderer(tokenizer, "toolbench", None), _words(tokenizer)
    draw, around = random.Random(0), renderer.sequence(_row(0, words[:1], words[:1]))
    prompt_words = prompt - len(around.prompt_ids) + 1
    completion_words = completion - len(around.completion_ids) + 1
    made = [
        _row(number, draw.choices(words, k=prompt_words), draw.choices(words, k=completion_words))
        for number in range(rows)
    ]
    sequences = [renderer.sequence(row) for row in made]
    lengths = {(len(sequence.prompt_ids), len(sequence.completion_ids)) for sequence in sequences}
    assert lengths == {(prompt, completion)}, lengths
    write_rows(folder, made)
    return [list(sequence.prompt_ids) for sequence in sequences]


def run_settings(
    folder: Path, student: Path, max_length: int, top_k: int, batch_size: int, steps: int
) -> dict[str, Any]:
    """Of a run on the rows in `folder`/data: a float32 student in one micro-batch a step, on one thread."""
    return {
        "run_folder": str(folder / "run"),
        "data": {"train": str(folder / "data"), "max_length": max_length},
        "student": {"model": str(student), "dtype": "float32"},
        "teacher": {"url": "http://unset", "model": "teacher", "top_k": top_k},
        "loss": {"alpha": 1.0},
        "optimizer": {"learning_rate": 1e-3, "schedule": "constant", "warmup_fraction": 0.0},
        "workers": {"count": 1, "gpus": 0, "threads": 1},
        "batch_size": batch_size,
        "micro_batch_size": batch_size,
        "max_steps": steps,
        "epochs": steps,
        "checkpoint_every": steps,
    }


def engine_settings(length: int, top_k: int) -> EngineSettings:
    """Of a float32 teacher that reads rows of so many tokens, each of them anew."""
    return EngineSettings(
        dtype="float32",
        max_length=length + ROOM,
        max_top_k=top_k,
        kv_cache_gib=0.25,
        prefix_caching=False,
        enforce_eager=True,
    )


def _words(tokenizer: PreTrainedTokenizerFast) -> list[str]:
    """Words of one token each, with the space before them, whatever stands around them."""
    named = ((token, id) for token, id in sorted(tokenizer.get_vocab().items()) if token.startswith(_SPACE))
    plain = ((" " + token[1:], id) for token, id in named if token[1:].isascii() and token[1:].isalpha())
    return list(islice((word for word, id in plain if tokenizer.encode(word) == [id]), 1000))


def _row(number: int, prompt: list[str], completion: list[str]) -> PromptRow:
    turns = (Turn("user", "".join(prompt)),)
    return PromptRow(f"{ROW}{number}", "", turns, "".join(completion), f"trace-{number}", 1, "train")
