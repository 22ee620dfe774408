"""The student writes: as without batch, padding and cache, and with shards as whole."""

from pathlib import Path

import pytest
import torch

from common.quality.looks import Written
from common.render import Renderer
from student_trainer.distributed.process_group import ProcessGroup
from student_trainer.guard_settings import WatchdogSettings
from student_trainer.learning.sharding import fill
from student_trainer.learning.step import Learner, make_learner
from student_trainer.settings import TrainSettings
from student_trainer.watchdog.writing import Prompt, prompts_of, write
from tests.unit.student_trainer.pair import run_pair
from tests.unit.student_trainer.stand_in import TOKENIZER, make_row
from tests.unit.student_trainer.students import ALONE, WORKERS, student_settings
from tests.unit.student_trainer.watchdog.offering import LONGEST, NEW_TOKENS, offering_row, watched_run

RENDERER = Renderer(TOKENIZER, "toolbench", LONGEST)
WATCHING = WatchdogSettings(prompts=3, max_new_tokens=24)


def clear_student(settings: TrainSettings, world: ProcessGroup) -> Learner:
    """A student whose likeliest token is clear, drawn alike on every worker; it ends the second prompt's early."""
    learner = make_learner(settings, 10, world)
    weights = learner.student.weights()
    draw = torch.Generator().manual_seed(11)
    fill(weights, {name: torch.randn(each.shape, generator=draw) * 0.3 for name, each in weights.items()})
    return learner


def prompts(settings: TrainSettings, number: int) -> list[Prompt]:
    rows = [offering_row(length * 7) for length in range(number)]
    return prompts_of(rows, settings, WATCHING.model_copy(update={"prompts": number}), RENDERER)


def one_by_one(learner: Learner, prompt: Prompt) -> list[int]:
    """Greedy tokens, all of the prompt read again for each."""
    ids, student = list(prompt.ids), learner.student.eval()
    for _ in range(WATCHING.max_new_tokens):
        with torch.no_grad():
            ids.append(int(student.base(torch.tensor([ids])).logits[0, -1].argmax()))
        if ids[-1] in RENDERER.stop_token_ids:
            break
    return ids[len(prompt.ids) :]


@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_batch_with_cache_writes_what_each_prompt_gives_alone(tmp_path: Path, checkpointing: bool):
    student = student_settings(tmp_path / "student", lora=None, gradient_checkpointing=checkpointing).model_dump()
    settings = watched_run(tmp_path, student=student)
    learner, asked = clear_student(settings, ALONE), prompts(settings, 4)
    learner.student.train()
    written = write(learner.student, asked, settings, WATCHING, RENDERER, ALONE)
    assert learner.student.training
    for prompt, got in zip(asked, written, strict=True):
        alone = one_by_one(learner, prompt)
        ended = alone[-1] in RENDERER.stop_token_ids
        assert (got.id, got.text, got.tokens, got.ended) == (
            prompt.id, RENDERER.text(alone), len(alone) - ended, ended,
        )  # fmt: skip
    assert len({each.text for each in written}) > 1


def check_together(world: ProcessGroup, settings: TrainSettings, alone: list[Written]) -> None:
    learner = clear_student(settings, world)
    for number in (3, 1):  # of one prompt the second worker has no share
        written = write(learner.student, prompts(settings, number), settings, WATCHING, RENDERER, world)
        assert [each.text for each in written] == [each.text for each in alone[:number]]


@pytest.mark.parametrize("parallelism", ["ddp", "fsdp"])
def test_two_workers_write_what_one_does(tmp_path: Path, parallelism: str):
    student = student_settings(tmp_path / "student", lora=None).model_dump()
    settings = watched_run(tmp_path, student=student, workers=WORKERS | {"parallelism": parallelism})
    alone = write(clear_student(settings, ALONE).student, prompts(settings, 3), settings, WATCHING, RENDERER, ALONE)
    assert alone[1].tokens < WATCHING.max_new_tokens == alone[0].tokens  # the second worker has done before the first
    run_pair(check_together, settings, alone)


def test_prompts_are_taken_evenly_from_those_that_can_be_judged(tmp_path: Path):
    settings = watched_run(tmp_path)
    rows = [make_row(0), *(offering_row(number) for number in range(9)), offering_row(LONGEST - NEW_TOKENS)]
    found = prompts_of(rows, settings, WATCHING, RENDERER)
    assert [prompt.id for prompt in found] == ["row-0", "row-3", "row-6"]
    assert found[0].offered == [{"name": "go"}]
    assert prompts_of([make_row(0)], settings, WATCHING, RENDERER) == []
