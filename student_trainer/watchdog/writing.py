"""The student writes: greedily, with a cache of keys and values, all workers together.

Legend: B = prompts of this worker, P = longest of them, T = tokens written.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig

from common.errors import UserError
from common.quality.looks import Written, look_at
from common.render import Renderer
from common.toolbench.rows import PromptRow
from common.toolbench.system_prompt import offered_functions
from student_trainer.distributed.process_group import ProcessGroup, is_sharded
from student_trainer.guard_settings import WatchdogSettings
from student_trainer.learning.student import Student
from student_trainer.settings import TrainSettings


@dataclass(frozen=True)
class Prompt:
    """A held-out prompt, as token ids, and the functions that it offers."""

    id: str
    ids: list[int]
    offered: list[dict[str, Any]]


def prompts_of(
    rows: Iterable[PromptRow], settings: TrainSettings, watching: WatchdogSettings, renderer: Renderer
) -> list[Prompt]:
    """As many as `watching` says, evenly from those of `rows` that offer functions and leave room to write."""
    longest = settings.data.max_length - watching.max_new_tokens
    found = []
    for row in rows:
        try:
            prompt = Prompt(row.id, renderer.prompt_ids(row), offered_functions(row.turns[0].content))
        except UserError:
            continue
        if len(prompt.ids) <= longest:
            found.append(prompt)
    number = min(len(found), watching.prompts)
    return [found[at * len(found) // number] for at in range(number)]


def write(
    student: Student,
    prompts: Sequence[Prompt],
    settings: TrainSettings,
    watching: WatchdogSettings,
    renderer: Renderer,
    world: ProcessGroup,
) -> list[Written]:
    """What the student writes for `prompts`, one at least, in their order; each worker writes a share of them.

    Every worker must call it. One without a share writes along, so that a sharded student is gathered everywhere.
    """
    own = list(range(world.rank, len(prompts), world.size))
    shares = [prompts[at] for at in own] or [prompts[0]]
    options = GenerationConfig(  # what isn't said here, the model's own generation_config.json says
        max_new_tokens=watching.max_new_tokens,
        do_sample=False,
        temperature=1.0,
        top_k=50,
        top_p=1.0,
        num_beams=1,
        repetition_penalty=1.0,
        no_repeat_ngram_size=0,
        eos_token_id=renderer.stop_token_ids,
        pad_token_id=renderer.terminator,
    )
    ids, mask = _side_by_side([prompt.ids for prompt in shares], renderer.terminator, world.device)
    student.eval()
    tokens = student.write(ids, mask, options, is_sharded(settings, world)).tolist()
    student.train()
    judged = [(at, _judge(prompts[at], row, renderer)) for at, row in zip(own, tokens, strict=False)]
    return [written for _, written in sorted(world.joined(judged), key=lambda each: each[0])]


def _side_by_side(prompts: Sequence[Sequence[int]], pad_id: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Input ids [B, P], padded on the left, and their mask."""
    longest = max(map(len, prompts))
    ids = [[pad_id] * (longest - len(prompt)) + list(prompt) for prompt in prompts]
    mask = [[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts]
    return torch.tensor(ids, device=device), torch.tensor(mask, device=device)


def _judge(prompt: Prompt, tokens: list[int], renderer: Renderer) -> Written:
    """Judge what was written up to the first end; behind it stands padding."""
    ends = set(renderer.stop_token_ids)
    end = next((at for at, token in enumerate(tokens) if token in ends), None)
    written = tokens[:end]
    text = renderer.react(renderer.text(written))
    return look_at(prompt.id, text, len(written), end is not None, prompt.offered)
