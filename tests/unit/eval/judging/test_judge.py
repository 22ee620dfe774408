"""Judging a model: against a stand-in teacher that speaks the whole HTTP protocol."""

import asyncio
import json
import math
from collections.abc import Iterable, Iterator
from itertools import repeat

import httpx
import numpy as np
import pytest

from common import wire
from common.client import TeacherClient
from common.errors import UserError
from common.render import Renderer
from common.toolbench.rows import PromptRow, Turn
from eval.judging.judge import Judge, Judgement, first_rows, mean_loss, same_action
from tests.models import save_tiny_tokenizer

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


def stand_in(renderer: Renderer, logprob: float, max_length: int, revisions: Iterator[str]) -> httpx.MockTransport:
    """A teacher that gives every scored token `logprob` and writes what WRITTEN says for the row's id.

    It refuses what is longer than `max_length`. Each answer is of the next of `revisions`.
    """

    def answer(request: httpx.Request) -> httpx.Response:
        body, revision = json.loads(request.content), next(revisions)
        answers = []
        for sequence in body["sequences"]:
            asked = sequence.get("completion_token_ids") or range(sequence["generate"]["max_tokens"])
            if len(sequence["prompt_token_ids"]) + len(asked) > max_length:
                return httpx.Response(422, text="too long")
            scoring = sequence.get("completion_token_ids") is not None
            ids = sequence["completion_token_ids"] if scoring else renderer.completion_ids(WRITTEN[sequence["id"]])
            tokens = np.array(ids, np.int32)
            column = np.full(len(tokens), logprob, np.float32)
            answers.append(
                wire.TeacherAnswer(
                    id=sequence["id"],
                    model=body["model"],
                    revision=revision,
                    finish_reason="scored" if scoring else "stop",
                    error=None,
                    token_ids=tokens,
                    token_logprobs=column,
                    topk_ids=tokens[:, None],
                    topk_logprobs=column[:, None].astype(np.float16),
                    tail_logprob=np.log1p(-np.exp(column)),
                )
            )
        return httpx.Response(200, content=wire.encode(answers, 1))

    return httpx.MockTransport(answer)


def judge(
    renderer: Renderer,
    rows: list[PromptRow],
    logprob: float = -0.5,
    max_length: int = LONGEST,
    revisions: Iterable[str] = repeat("r"),
) -> Judgement:
    settled: list[int] = []

    async def run() -> Judgement:
        transport = stand_in(renderer, logprob, max_length, iter(revisions))
        async with TeacherClient("http://teacher", "secret", transport=transport) as client:
            judge = Judge(client, "ft", "adapter", renderer, max_length, 64, 4, progress=settled.append)
            return await judge.judge("seen", rows)

    found = asyncio.run(run())
    assert sum(settled) == 2 * len(rows)
    return found


def test_loss_is_the_mean_over_completion_tokens(renderer: Renderer) -> None:
    found = judge(renderer, [make_row("good")], logprob=-0.5)
    assert found.tokens == len(renderer.completion_ids(GOOD))
    assert found.loss == pytest.approx(0.5)
    assert found.perplexity == pytest.approx(math.exp(0.5))


def test_each_check_counts_its_own_failures(renderer: Renderer) -> None:
    found = judge(renderer, [make_row(name) for name in WRITTEN])
    assert (found.model, found.group, found.rows, found.left_out) == ("ft", "seen", 5, 0)
    assert found.parses == 0.8
    assert found.names_offered_api == 0.6
    assert found.arguments_are_json == 0.6
    assert found.required_present == 0.2
    assert found.valid == 0.2
    assert found.action_match == 0.6


def test_a_row_that_is_too_long_is_left_out_by_name(renderer: Renderer, caplog: pytest.LogCaptureFixture) -> None:
    endless = make_row("endless", question="rain " * LONGEST)
    found = judge(renderer, [endless, make_row("good"), make_row("no_action")])
    assert (found.rows, found.left_out, found.valid) == (2, 1, 0.5)
    assert "ft on seen leaves out row endless" in caplog.text
    with pytest.raises(UserError, match="no row of the group 'seen' fits into max_length 2048"):
        judge(renderer, [endless])


def test_a_completion_is_asked_for_in_the_room_left(renderer: Renderer) -> None:
    row = make_row("good")
    sequence = renderer.sequence(row)
    longest = len(sequence.prompt_ids) + len(sequence.completion_ids)
    assert judge(renderer, [row], max_length=longest).valid == 1


def test_a_query_without_completion_is_refused_by_name(renderer: Renderer) -> None:
    with pytest.raises(UserError, match="row good has no recorded completion"):
        judge(renderer, [make_row("good", completion=None)])


def test_long_answers_weigh_more_than_short_ones() -> None:
    def answer(length: int, logprob: float) -> wire.TeacherAnswer:
        column = np.full(length, logprob, np.float32)
        ids = np.zeros(length, np.int32)
        return wire.TeacherAnswer("x", "m", "r", "scored", None, ids, column, ids[:, None], column[:, None], column)

    assert mean_loss([answer(3, -1.0), answer(1, -5.0)]) == (2.0, 4)


def test_an_unreadable_completion_never_matches() -> None:
    assert same_action(GOOD, GOOD)
    assert not same_action(GOOD, "nothing")


def test_an_empty_group_is_refused() -> None:
    with pytest.raises(UserError, match="group 'seen' holds no rows"):
        first_rows([], 3, "seen")


def test_a_model_that_is_replaced_meanwhile_is_not_judged(renderer: Renderer):
    with pytest.raises(UserError, match=r"adapter changed while it was judged \(revisions r0, r1\)"):
        judge(renderer, [make_row("good")], revisions=["r0", "r1"])
