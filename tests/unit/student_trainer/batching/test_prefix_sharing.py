"""Steps of one trace: which become one sequence, and that they learn in it what they learn apart."""

from collections.abc import Callable
from functools import partial
from itertools import permutations
from pathlib import Path
from typing import Any, Literal

import pytest

from common.render import Renderer
from common.toolbench.rows import PromptRow, Turn
from student_trainer.batching.prefix_sharing import MergedTrace, merge_traces
from student_trainer.data.plan import Example, Key
from student_trainer.learning.student import Student, load_student
from student_trainer.loop import train
from student_trainer.persistence import run_folder
from tests.unit.student_trainer.learning.steps import (
    Ids,
    apart,
    assert_same,
    in_float64,
    learn,
    make_example,
    packed,
    padded,
    random_ids,
    wake,
)
from tests.unit.student_trainer.stand_in import tiny_tokenizer
from tests.unit.student_trainer.students import ALONE, SFT, short_run, student_settings

CLOSED = (
    "{% for m in messages %}{{ m.role }}: {{ m.content }}<|eos|>{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)
"""A chat template that ends every turn."""


def make_trace(steps: int, seed: int = 0) -> list[Example]:
    """Steps of a trace whose assistant turns are all closed: each prompt goes on where the step before ended."""
    examples: list[Example] = []
    history: Ids = random_ids(seed, 6)
    for step in range(steps):
        completion = random_ids(seed + step + 1, 3 + step)
        examples.append(make_example(10 * seed + step, history, completion))
        history = history + completion + random_ids(seed + step + 100, 2)
    return examples


def trace_rows(name: str, question: str) -> list[PromptRow]:
    """Three steps of a trace, as a converter gives them."""
    turns = [Turn("system", "Be brief."), Turn("user", question)]
    rows = []
    for step in range(1, 4):
        said = f"\nThought: {step}\nAction: look\nAction Input: {{}}"
        rows.append(PromptRow(f"{name}/{step}", question, tuple(turns), said, name, step, "train"))
        turns += [Turn("assistant", said), Turn("function", "rain")]
    return rows


TRACE = make_trace(4)
FIRST = TRACE[0].sequence
BRANCH = make_example(20, TRACE[1].sequence.prompt_ids, random_ids(9, 8))
"""Another second step after the same first one."""
TWIN = make_example(21, FIRST.prompt_ids, FIRST.completion_ids)
OTHERS = make_trace(3, seed=7)


def merged(examples: list[Example]) -> list[set[int]]:
    return [{example.key.index for example in trace.examples} for trace in merge_traces(examples)]


def test_a_trace_is_one_sequence_as_long_as_its_last_step():
    (trace,) = merge_traces(TRACE)
    assert trace.sequence == TRACE[-1].sequence
    assert trace.tokens_saved == sum(len(example.sequence) for example in TRACE[:-1])


def test_merged_traces_follow_from_the_examples_not_from_their_order():
    expected = [{0, 1, 2, 3}, {70, 71, 72}, {20}]
    some = [TRACE[0], TRACE[3], BRANCH, OTHERS[2]]
    rest = [TRACE[1], TRACE[2], *OTHERS[:2]]
    for order in permutations(some):
        assert merged([*order, *rest]) == expected


def test_branches_are_not_merged_and_a_history_goes_into_one_of_them():
    assert merged([*TRACE[:2], BRANCH]) == [{0, 20}, {1}]


def test_equal_steps_stay_two_alone_and_both_learn_inside_a_longer_one():
    assert merged([TRACE[0], TWIN]) == [{0}, {21}]
    assert merged([*TRACE[:2], TWIN]) == [{0, 1, 21}]


@pytest.mark.parametrize("writer", ["teacher", "student"])
def test_turns_that_the_dataset_did_not_write_stay_apart(writer: Literal["teacher", "student"]):
    written = [make_example(e.key.index, e.sequence.prompt_ids, e.sequence.completion_ids, writer) for e in TRACE]
    assert len(merge_traces([written[0], *TRACE[1:]])) == 2
    assert len(merge_traces([*TRACE[:3], written[3]])) == 2


def test_a_completion_must_end_inside_the_prompt():
    prompt, completion = FIRST.prompt_ids, FIRST.completion_ids
    longer = make_example(1, prompt, (*completion, 5))
    assert merged([TRACE[0], longer]) == [{1}, {0}]


@pytest.mark.parametrize(("template", "sequences"), [("chat", 1), ("toolbench", 3)])
def test_real_layouts(template: Literal["chat", "toolbench"], sequences: int):
    """Where every turn is closed, steps of a trace merge; ToolBench's layout closes the last turn alone."""
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = CLOSED
    renderer = Renderer(tokenizer, template, None)
    examples = [Example(renderer.sequence(row), None, Key(0, row.step)) for row in trace_rows("t", "Weather?")]
    assert len(merge_traces(examples)) == sequences


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize(("cast", "tolerance"), [(None, 1e-5), (in_float64, 1e-12)])
def test_merged_equals_apart(
    tmp_path: Path, cast: Callable[[Student], Student] | None, tolerance: float, checkpointing: bool
):
    """Each step keeps what the teacher said about it alone: here every step has an answer of its own."""
    settings = student_settings(tmp_path / "student", gradient_checkpointing=checkpointing)
    student = wake(load_student(settings, ALONE.device, seed=0))
    if cast:
        cast(student)
    examples = [*TRACE, BRANCH, TWIN, *OTHERS]
    expected = learn(student, apart(examples), examples)
    for batches in (padded(examples, 2), packed(examples, 40), packed(examples, 1000)):
        assert sum(batch.tokens + batch.tokens_saved for batch in batches) == sum(len(e.sequence) for e in examples)
        assert sorted(id for batch in batches for id in batch.ids) == sorted(e.sequence.id for e in examples)
        assert_same(learn(student, batches, examples), expected, tolerance)


def test_a_run_on_whole_traces_learns_the_same_and_says_what_it_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Six traces of three steps, two of them to an optimizer step, which read every step but the last for nothing."""
    rows = [row for trace in range(6) for row in trace_rows(f"t{trace}", f"Weather in {trace}?")]
    data = {"train": tmp_path / "data", "max_length": 256, "template": "chat"}
    make = partial(short_run, tmp_path, rows=rows, data=data, shuffle="traces", batch_size=6, **SFT)
    make()
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = CLOSED
    tokenizer.save_pretrained(tmp_path / "student")

    def run(**changes: Any) -> list[dict[str, Any]]:
        settings = make(**changes)
        run_folder.prepare(settings)
        train(settings, ALONE)
        return run_folder.read_metrics(settings.run_folder)

    merged = run(run_folder=tmp_path / "merged", micro_batch_size=None, micro_batch_tokens=300)
    with monkeypatch.context() as patch:
        patch.setattr(
            "student_trainer.batching.batch.merge_traces", lambda examples: [MergedTrace([each]) for each in examples]
        )
        separate = run(run_folder=tmp_path / "separate", micro_batch_size=1)
    for one, other in zip(merged, separate, strict=True):
        assert one["train/loss"] == pytest.approx(other["train/loss"], rel=1e-5)
        assert one["progress/tokens"] == other["progress/tokens"]
        assert one["progress/tokens_saved"] > 0 == other["progress/tokens_saved"]
