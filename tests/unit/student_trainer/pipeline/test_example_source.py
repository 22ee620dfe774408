"""Sources: every planned prompt is used, quarantined or dropped; answers come in the global order, verified."""

import asyncio
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from common.api import DistillRequest
from common.errors import UserError
from common.fingerprints import chat_template_fingerprint
from common.render import Renderer, terminators
from common.teacher_client.failures import TeacherRefused
from common.wire import TeacherAnswer
from student_trainer.data.plan import Key, StepExamples, TeacherStats, Unused, plan_steps
from student_trainer.data.prompt_stream import PromptStream
from student_trainer.pipeline.build import open_source
from student_trainer.pipeline.example_source import ExampleSource
from student_trainer.settings import TrainSettings
from tests.unit.student_trainer.stand_in import (
    TOKENIZER,
    VOCABULARY_SIZE,
    StandInTeacher,
    connect_to,
    make_row,
    make_settings,
)

SFT = {"mode": "sft", "teacher": None}
TEACHER_WRITES = {"writer": {"teacher": 1.0}, "max_new_tokens": 6}


@contextmanager
def opened(settings: TrainSettings, teacher: StandInTeacher | None = None, rank: int = 0) -> Iterator[ExampleSource]:
    stream = PromptStream(settings.data.train, settings.shuffle_seed)
    renderer = Renderer(TOKENIZER, settings.data.template, settings.data.max_length)
    connect = connect_to(teacher or StandInTeacher())
    with open_source(settings, stream, renderer, VOCABULARY_SIZE, rank, 1, connect) as source:
        yield source


def take(settings: TrainSettings, teacher: StandInTeacher | None = None, epochs: int = 1) -> list[StepExamples]:
    rows = len(PromptStream(settings.data.train, settings.shuffle_seed))
    with opened(settings, teacher) as source:
        return list(source.steps(plan_steps(rows, settings.batch_size, epochs, None, 0, 1)))


def ids(steps: list[StepExamples]) -> list[str]:
    return [example.sequence.id for step in steps for example in step.examples]


def stats(steps: list[StepExamples]) -> list[TeacherStats]:
    return [step.teacher for step in steps if step.teacher]


def unused(steps: list[StepExamples]) -> list[Unused]:
    return [prompt for step in steps for prompt in step.unused]


def test_sft_takes_recorded_completions_in_the_global_order(tmp_path: Path):
    settings = make_settings(tmp_path, **SFT)
    steps = take(settings, epochs=2)
    stream = PromptStream(settings.data.train, settings.shuffle_seed)
    assert ids(steps) == [stream.row(epoch, index).id for epoch in (0, 1) for index in range(20)]
    assert all(example.answer is None for step in steps for example in step.examples)
    first = steps[0].examples[0]
    assert TOKENIZER.decode(first.sequence.completion_ids) == "yes<|eos|>"


def test_sft_without_a_recorded_completion_names_the_row(tmp_path: Path):
    settings = make_settings(tmp_path, [make_row(7, completion=None)], **SFT)
    with pytest.raises(UserError, match="row-7 has no recorded completion; mode sft needs recorded completions"):
        take(settings)


def test_live_answers_come_in_the_global_order_within_the_window(tmp_path: Path):
    settings, teacher = make_settings(tmp_path), StandInTeacher()
    steps = take(settings, teacher)
    assert ids(steps) == ids(take(make_settings(tmp_path, **SFT)))
    assert 1 < teacher.most_in_flight <= 4
    for example in chain(*(step.examples for step in steps)):
        assert example.answer is not None
        assert example.sequence.id == example.answer.id
        assert tuple(example.answer.token_ids) == example.sequence.completion_ids
        assert example.sequence.provenance == "dataset"


def test_asking_begins_before_the_first_step_is_taken_and_stays_ahead(tmp_path: Path):
    settings, teacher = make_settings(tmp_path), StandInTeacher()
    with opened(settings, teacher) as source:
        probes = len(teacher.requests)
        steps = source.steps(plan_steps(20, 4, 1, None, 0, 1))
        source.answer_rows([])  # gives the loop a turn
        assert len(teacher.requests) - probes == 4
        next(steps)
        source.answer_rows([])
        assert len(teacher.requests) - probes == 8


def test_a_long_wait_says_what_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture):
    class Slow(StandInTeacher):
        """Answers all but the first row of a step at once."""

        async def distill(self, request: DistillRequest) -> list[TeacherAnswer]:
            if len(self.requests) == 2 + 3:  # after two to probe
                await asyncio.sleep(0.5)
            return await super().distill(request)

    monkeypatch.setattr("student_trainer.pipeline.example_source.FIRST_SAID_S", 0.1)
    with caplog.at_level(logging.INFO, "student_trainer"):
        take(make_settings(tmp_path), Slow())
    (said,) = (message for message in caplog.messages if "waits for" in message)
    assert re.fullmatch(r"step 1 waits for the teacher: [0-3] of 4 are here after 0 s", said)


def test_an_abandoned_source_closes(tmp_path: Path):
    with opened(make_settings(tmp_path)) as source:
        next(source.steps(plan_steps(20, 4, 1, None, 0, 1)))


def test_written_completions_follow_the_key_and_not_the_order_of_asking(tmp_path: Path):
    options = {"completion": TEACHER_WRITES | {"keep_length_cut": True}}
    steps = take(make_settings(tmp_path, **options))
    again = take(make_settings(tmp_path, **options, batch_size=10, run_folder=tmp_path / "again"))
    one, other = ({e.sequence.id: e.sequence for step in run for e in step.examples} for run in (steps, again))
    assert one == other
    assert len(one) == 20
    assert {sequence.provenance for sequence in one.values()} == {"teacher"}
    assert {sequence.finish_reason for sequence in one.values()} == {"stop", "length"}
    reseeded = take(make_settings(tmp_path, **options, seed=1))
    assert {e.sequence.id: e.sequence for step in reseeded for e in step.examples} != one


def test_requests_to_write_say_how(tmp_path: Path):
    settings, teacher = make_settings(tmp_path, completion=TEACHER_WRITES | {"temperature": 0.5}), StandInTeacher()
    take(settings, teacher)
    requests = [request.sequences[0] for request in teacher.requests[2:]]
    assert len({sequence.generate.seed for sequence in requests if sequence.generate}) == 20
    for sequence in requests:
        assert sequence.generate is not None
        assert (sequence.generate.max_tokens, sequence.generate.temperature) == (6, 0.5)
        assert sequence.generate.stop_token_ids == [TOKENIZER.eos_token_id]


def test_completions_cut_by_length_are_dropped_and_counted(tmp_path: Path):
    settings = make_settings(tmp_path, completion=TEACHER_WRITES)
    steps = take(settings)
    dropped = sum(step.dropped_by_length for step in steps)
    assert 0 < dropped < 20
    assert len(ids(steps)) + dropped == 20
    assert {prompt.kind for prompt in unused(steps)} == {"cut_by_length"}
    assert sorted(ids(steps) + [prompt.id for prompt in unused(steps)]) == sorted(f"row-{i}" for i in range(20))


def test_writers_mix_by_fraction(tmp_path: Path):
    rows = [make_row(number) for number in range(200)]
    mixed = {"writer": {"teacher": 0.25, "dataset": 0.75}, "max_new_tokens": 6, "keep_length_cut": True}
    steps = take(make_settings(tmp_path, rows, completion=mixed))
    provenances = [example.sequence.provenance for step in steps for example in step.examples]
    assert 30 <= provenances.count("teacher") <= 70
    assert len(provenances) == 200


def test_a_dataset_draw_without_completion_says_what_to_set(tmp_path: Path):
    with pytest.raises(UserError, match=r"row-3 has no recorded completion.*set completion.writer"):
        take(make_settings(tmp_path, [make_row(3, completion=None)]))


def test_writer_student_is_refused(tmp_path: Path):
    with pytest.raises(UserError, match="student, which is not supported yet"):
        take(make_settings(tmp_path, completion={"writer": {"student": 0.5, "teacher": 0.5}}))


def test_prompts_that_cannot_be_answered_are_quarantined_with_their_reason(tmp_path: Path):
    rows = [make_row(number) for number in range(8)]
    rows[2] = make_row(2, query="long " * 50)  # no room for its completion
    settings = make_settings(tmp_path, rows)

    def spoil(answer: TeacherAnswer) -> TeacherAnswer:
        return replace(answer, error="poison") if answer.id == "row-5" else answer

    teacher = StandInTeacher(spoil, refuse=lambda sequence: 422 if sequence.id == "row-4" else None)
    steps = take(settings, teacher)
    assert sorted(ids(steps)) == ["row-0", "row-1", "row-3", "row-6", "row-7"]
    assert sum(step.quarantined for step in steps) == 3
    reasons = {prompt.id: prompt.reason for prompt in unused(steps)}
    assert "together more than 128" in reasons["row-2"]
    assert "422" in reasons["row-4"]
    assert reasons["row-5"] == "poison"
    kinds = {prompt.id: prompt.kind for prompt in unused(steps)}
    assert kinds == {"row-2": "does_not_fit", "row-4": "refused", "row-5": "refused"}
    assert [sum(each.asked for each in stats(steps)), sum(each.unanswered for each in stats(steps))] == [7, 2]
    assert teacher.asked("row-4") == 1
    assert all(prompt.key.index in step.plan.indices for step in steps for prompt in step.unused)


@pytest.mark.parametrize("mode", [SFT, {}, {"completion": TEACHER_WRITES}], ids=["sft", "scored", "written"])
def test_a_row_that_the_chat_template_rewords_is_quarantined(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: dict[str, Any]
):
    """The others are learnt from, whoever writes the completion."""
    template = "{% for m in messages %}{{ m.role }}: {{ m.content.split('</think>')[-1].lstrip() }}\n{% endfor %}"
    monkeypatch.setattr(TOKENIZER, "chat_template", template + "{% if add_generation_prompt %}assistant: {% endif %}")
    rows = [make_row(number) for number in range(4)] + [make_row(4, query="a</think>b")]
    settings = make_settings(tmp_path, rows, **mode)
    chat = settings.model_copy(update={"data": settings.data.model_copy(update={"template": "chat"})})
    card = {"terminators": terminators(TOKENIZER), "chat_template_fingerprint": chat_template_fingerprint(TOKENIZER)}
    steps = take(chat, StandInTeacher(**card))
    (prompt,) = [prompt for prompt in unused(steps) if prompt.kind == "does_not_render"]
    assert prompt.id == "row-4"
    assert prompt.reason.startswith("row row-4: the chat template alters a user turn's text")


def test_bad_answers_are_asked_again_and_quarantined_in_the_end(tmp_path: Path):
    settings, seen = make_settings(tmp_path), {"row-1": 0, "row-6": 0}

    def spoil(answer: TeacherAnswer) -> TeacherAnswer:
        if answer.id not in seen:
            return answer
        seen[answer.id] += 1
        bad = answer.id == "row-6" or seen[answer.id] == 1  # row-1 answers well the second time
        return replace(answer, tail_logprob=np.full_like(answer.tail_logprob, np.nan)) if bad else answer

    steps = take(settings, StandInTeacher(spoil))
    assert seen == {"row-1": 2, "row-6": 6}
    assert sorted({f"row-{i}" for i in range(20)} - set(ids(steps))) == ["row-6"]
    (prompt,) = unused(steps)
    assert "tail_logprob has NaN" in prompt.reason
    assert prompt.kind == "bad_answer"
    assert sum(each.counts["rejected"] for each in stats(steps)) == 7


def test_a_refusal_of_the_whole_run_stops_it(tmp_path: Path):
    teacher = StandInTeacher(refuse=lambda sequence: 401 if sequence.id == "row-1" else None)
    with pytest.raises(TeacherRefused, match="401"):
        take(make_settings(tmp_path), teacher)


def test_another_revision_in_midrun_stops_it(tmp_path: Path):
    teacher = StandInTeacher(lambda answer: replace(answer, revision="r2") if answer.id == "row-9" else answer)
    with pytest.raises(UserError, match="revision r2 of teacher, the run began with r1"):
        take(make_settings(tmp_path), teacher)
    accepting = make_settings(tmp_path).teacher.model_dump() | {"on_new_revision": "accept"}
    assert len(ids(take(make_settings(tmp_path, teacher=accepting), teacher))) == 20


def test_a_rank_without_prompts_gets_empty_steps(tmp_path: Path):
    settings = make_settings(tmp_path)
    with opened(settings, rank=0) as source:
        steps = list(source.steps(plan_steps(20, 1, 1, None, 0, 2)))
    assert [step.plan.step for step in steps] == list(range(1, 21))
    assert ids(steps) == []


def test_rows_outside_the_stream_are_answered_too(tmp_path: Path):
    rows = [make_row(50), make_row(51, query="long " * 50), make_row(52)]
    with opened(make_settings(tmp_path)) as source:
        examples = source.answer_rows(enumerate(rows))
    assert [(example.sequence.id, example.key) for example in examples] == [
        ("row-50", Key(-1, 0)),
        ("row-52", Key(-1, 2)),
    ]
    with opened(make_settings(tmp_path, **SFT)) as source:
        assert [example.answer for example in source.answer_rows(enumerate(rows))] == [None, None]
