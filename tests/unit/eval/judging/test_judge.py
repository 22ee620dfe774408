"""Judging a model: against a stand-in teacher that speaks the whole HTTP protocol."""

import asyncio
import math
from dataclasses import replace

import numpy as np
import pytest

from common import wire
from common.api import DistillRequest, DistillSequence, TeacherCard
from common.errors import UserError
from common.render import Renderer
from common.teacher_client.failures import PromptFailed
from common.teacher_client.protocol import Teacher
from common.teacher_client.settings import TeacherClientSettings
from common.toolbench.rows import PromptRow, Turn
from eval.judging.judge import Judge, first_rows, run_together
from eval.judging.judgement import judgement_of
from eval.results import Judgement, RowResult
from eval.row_sources import RowSources
from tests.models import save_tiny_tokenizer
from tests.unit.common.teacher_client.served import A, B, Served, pool_over
from tests.unit.student_trainer.stand_in import TOKENIZER, Spoil
from tests.virtual_time import run

OFFERED = [
    {
        "name": "forecast_for_weather",
        "description": "",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    }
]
SYSTEM = f"You are AutoGPT.\nSpecifically, you have access to the following APIs: {OFFERED}"
GOOD = '\nThought: look it up\nAction: forecast_for_weather\nAction Input: {"city": "Paris"}'
LONGEST = 2048
WRITTEN = {
    "good": GOOD,
    "invented_api": GOOD.replace("forecast_for_weather", "forecast_of_nothing"),
    "no_parameter": GOOD.replace('{"city": "Paris"}', "{}"),
    "no_object": GOOD.replace('{"city": "Paris"}', "Paris"),
    "no_action": "\nI would rather talk.",
}


@pytest.fixture(scope="module")
def renderer(tmp_path_factory: pytest.TempPathFactory) -> Renderer:
    return Renderer(save_tiny_tokenizer(tmp_path_factory.mktemp("tokenizer")), "toolbench", LONGEST)


def make_row(name: str, completion: str | None = GOOD, question: str = "Weather in Paris?") -> PromptRow:
    turns = (Turn("system", SYSTEM), Turn("user", f"\n{question}\nBegin!\n"))
    return PromptRow(name, "Weather in Paris?", turns, completion, name, 1, "seen")


class StandIn:
    """A teacher that gives every scored token `logprob` and writes what WRITTEN says for the row's id.

    It refuses what is longer than `max_length`.
    """

    def __init__(self, renderer: Renderer, logprob: float, max_length: int) -> None:
        self._renderer, self._logprob, self._max_length = renderer, logprob, max_length

    async def teacher(self) -> TeacherCard:
        raise NotImplementedError("a judge asks for answers alone")

    async def distill(self, request: DistillRequest) -> list[wire.TeacherAnswer]:
        return [self._answer(request, sequence) for sequence in request.sequences]

    def _answer(self, request: DistillRequest, sequence: DistillSequence) -> wire.TeacherAnswer:
        scored = sequence.completion_token_ids
        length = len(scored) if scored is not None else sequence.generate.max_tokens if sequence.generate else 0
        if len(sequence.prompt_token_ids) + length > self._max_length:
            raise PromptFailed("refused", "too long")
        ids = self._renderer.completion_ids(WRITTEN[sequence.id]) if scored is None else scored
        tokens, column = np.array(ids, np.int32), np.full(len(ids), self._logprob, np.float32)
        tail = np.log1p(-np.exp(column))
        return wire.TeacherAnswer(
            sequence.id, request.model, "r", "stop" if scored is None else "scored", None, tokens, column,
            tokens[:, None], column[:, None], tail,
        )  # fmt: skip


def judging(
    renderer: Renderer,
    teacher: Teacher,
    settled: list[int],
    model: str = "adapter",
    max_length: int = LONGEST,
    sources: RowSources | None = None,
) -> Judge:
    asked = TeacherClientSettings(url="http://unused", model=model, top_k=1, logprob_dtype="float32")
    told = sources or RowSources()
    return Judge(teacher, "ft", asked, renderer, max_length, 64, 4, lambda: settled.append(1), told)


def judge(
    renderer: Renderer,
    rows: list[PromptRow],
    logprob: float = -0.5,
    max_length: int = LONGEST,
    sources: RowSources | None = None,
) -> tuple[Judgement, list[RowResult]]:
    settled: list[int] = []
    teacher = StandIn(renderer, logprob, max_length)
    judged = asyncio.run(
        judging(renderer, teacher, settled, max_length=max_length, sources=sources).judge("seen", rows)
    )
    assert len(settled) == len(rows)
    return judgement_of("ft", "seen", judged), judged.rows


def test_loss_is_the_mean_over_completion_tokens(renderer: Renderer) -> None:
    found, _ = judge(renderer, [make_row("good")], logprob=-0.5)
    assert found.tokens == len(renderer.completion_ids(GOOD))
    assert found.loss == pytest.approx(0.5)
    assert found.perplexity == pytest.approx(math.exp(0.5))


def test_each_check_counts_its_own_failures(renderer: Renderer) -> None:
    found, _ = judge(renderer, [make_row(name) for name in WRITTEN])
    assert (found.model, found.group, found.rows, found.left_out) == ("ft", "seen", 5, {})
    values = {name: figure.value for name, figure in found.measures.items()}
    assert values == pytest.approx(
        {
            "loss": 0.5,
            "has_thought": 0.8,
            "has_action": 0.8,
            "has_action_input": 0.8,
            "parses": 0.8,
            "names_offered_api": 0.6,
            "arguments_are_json": 0.6,
            "required_present": 0.2,
            "valid": 0.2,
            "hallucinates": 0.25,
            "same_action": 0.6,
            "arguments_exact": 0.2,
            "arguments_equal": 0.2,
            "calls": 0.6,
            "abstains": None,
            "finishes_early": 0.0,
            "gives_up": 0.0,
            "is_raw_json": 0.0,
            "repetition": 0.0,
            "cut_off": 0.0,
        }
    )
    assert (found.measures["hallucinates"].rows, found.measures["abstains"].rows) == (4, 0)


def test_a_row_that_is_too_long_is_left_out_by_name(renderer: Renderer, caplog: pytest.LogCaptureFixture) -> None:
    endless = make_row("endless", question="rain " * LONGEST)
    found, rows = judge(renderer, [endless, make_row("good"), make_row("no_action")])
    assert [row.row for row in rows] == ["good", "no_action"]
    assert (found.rows, list(found.left_out), found.valid) == (2, ["endless"], 0.5)
    assert "ft on seen leaves out endless: row endless: a prompt of" in caplog.text
    with pytest.raises(UserError, match=r"no row of the group 'seen' can be judged.*more than 2048"):
        judge(renderer, [endless])


def test_a_completion_is_asked_for_in_the_room_left(renderer: Renderer) -> None:
    row = make_row("good")
    sequence = renderer.sequence(row)
    longest = len(sequence.prompt_ids) + len(sequence.completion_ids)
    assert judge(renderer, [row], max_length=longest)[0].valid == 1


def test_a_query_without_completion_is_refused_by_name(renderer: Renderer) -> None:
    with pytest.raises(UserError, match="row good has no recorded completion"):
        judge(renderer, [make_row("good", completion=None)])


def test_rows_say_their_tool_parts_and_step(renderer: Renderer) -> None:
    sources = RowSources({"weather": "Sky"}, {("Weather in Paris?", GOOD): 2.0, ("Weather in Paris?", "another"): 9.0})
    found, [row] = judge(renderer, [make_row("good")], logprob=-0.25, sources=sources)
    assert (row.model, row.group, row.row, row.trace, row.step) == ("ft", "seen", "good", "good", 1)
    assert (row.tool, row.tools, row.category) == ("weather", ["weather"], "Sky")
    assert row.tokens == sum(part.tokens for part in row.parts.values()) == len(renderer.completion_ids(GOOD))
    assert row.nats == pytest.approx(0.25 * row.tokens)
    assert row.written_tokens == row.tokens - 1
    assert found.measures["excess"].value == pytest.approx(0.25 * row.tokens - 2.0)
    assert {part: loss.tokens for part, loss in found.parts.items()} == {
        part: len(renderer.completion_ids(text)) - 1 + (part == "action_input")
        for part, text in (
            ("thought", "\nThought: look it up"),
            ("action", "\nAction: forecast_for_weather"),
            ("action_input", '\nAction Input: {"city": "Paris"}'),
        )
    }


def test_without_a_world_no_excess_is_made_up(renderer: Renderer) -> None:
    found, [row] = judge(renderer, [make_row("good")])
    assert row.floor_nats is None
    assert "excess" not in found.measures


def test_an_empty_group_is_refused() -> None:
    with pytest.raises(UserError, match="group 'seen' holds no rows"):
        first_rows([], 3, "seen")


def test_rows_that_can_not_be_judged_are_named_and_the_others_judged(renderer: Renderer) -> None:
    odd = replace(make_row("odd"), turns=(Turn("system", "You have no list of APIs."), Turn("user", "\nx\nBegin!\n")))
    whole = len(renderer.sequence(make_row("good")))
    refused = make_row("no_action", question="Weather in Paris? " * 9)
    found, _ = judge(renderer, [odd, make_row("good"), refused], max_length=whole)
    assert found.rows == 1
    assert "no readable list of APIs" in found.left_out["odd"]
    assert found.left_out["no_action"] == "too long"


def not_a_number(answer: wire.TeacherAnswer) -> wire.TeacherAnswer:
    return replace(answer, token_logprobs=np.full_like(answer.token_logprobs, np.nan))


def of_another_sequence(answer: wire.TeacherAnswer) -> wire.TeacherAnswer:
    return replace(answer, token_ids=answer.token_ids + 1)


@pytest.mark.parametrize("spoil", [not_a_number, of_another_sequence])
def test_answers_are_verified_as_the_trainer_does(spoil: Spoil) -> None:
    """Where one address answers badly the other is asked; where each does, nothing is judged."""
    renderer = Renderer(TOKENIZER, "toolbench", LONGEST)

    def bad(answer: wire.TeacherAnswer) -> wire.TeacherAnswer:
        return spoil(answer) if answer.finish_reason == "scored" and answer.id == "row-0" else answer

    async def judged(*served: Served) -> list[RowResult]:
        async with pool_over(dict(zip((A, B), served, strict=False)), top_k=1) as pool:
            return (await judging(renderer, pool, [], "teacher").judge("seen", [make_row("row-0")])).rows

    assert len(run(judged(Served(spoil=bad, max_length=LONGEST), Served(max_length=LONGEST)))) == 1
    with pytest.raises(UserError, match=r"can be judged.*row-0.*no answer in 4 attempts"):
        run(judged(Served(spoil=bad, max_length=LONGEST)))


def test_the_first_error_ends_the_others() -> None:
    ended: list[str] = []

    async def slow() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.append("slow")

    async def fails() -> None:
        raise UserError("no")

    with pytest.raises(UserError, match="no"):
        asyncio.run(run_together([slow(), fails()]))
    assert ended == ["slow"]
