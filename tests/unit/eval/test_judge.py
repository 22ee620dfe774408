"""Judging a model: against a stand-in teacher that speaks the whole HTTP protocol."""

import asyncio
import json
import math

import httpx
import numpy as np
import pytest

from common import wire
from common.client import TeacherClient
from common.errors import UserError
from common.render import Renderer
from common.toolbench.rows import PromptRow, Turn
from eval.judge import Judge, Judgement, first_rows, mean_loss, same_action
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
WRITTEN = {
    "good": GOOD,
    "invented_api": GOOD.replace("forecast_for_weather", "forecast_of_nothing"),
    "no_parameter": GOOD.replace('{"city": "Paris"}', "{}"),
    "no_action": "\nI would rather talk.",
}


@pytest.fixture(scope="module")
def renderer(tmp_path_factory: pytest.TempPathFactory) -> Renderer:
    return Renderer(save_tiny_tokenizer(tmp_path_factory.mktemp("tokenizer")), "toolbench", 2048)


def make_row(name: str, completion: str | None = GOOD) -> PromptRow:
    turns = (Turn("system", SYSTEM), Turn("user", "\nWeather in Paris?\nBegin!\n"))
    return PromptRow(name, "Weather in Paris?", turns, completion, name, 1, "seen")


def stand_in(renderer: Renderer, logprob: float) -> httpx.MockTransport:
    """A teacher that gives every scored token `logprob` and writes what WRITTEN says for the row's id."""

    def answer(request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content)
        answers = []
        for sequence in body["sequences"]:
            scoring = sequence.get("completion_token_ids") is not None
            ids = sequence["completion_token_ids"] if scoring else renderer.completion_ids(WRITTEN[sequence["id"]])
            tokens = np.array(ids, np.int32)
            column = np.full(len(tokens), logprob, np.float32)
            answers.append(
                wire.TeacherAnswer(
                    id=sequence["id"],
                    model=body["model"],
                    revision="r",
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


def judge(renderer: Renderer, rows: list[PromptRow], logprob: float = -0.5) -> Judgement:
    async def run() -> Judgement:
        async with TeacherClient("http://teacher", "secret", transport=stand_in(renderer, logprob)) as client:
            return await Judge(client, "ft", "adapter", renderer, 64, 4, progress=lambda: None).judge("seen", rows)

    return asyncio.run(run())


def test_loss_is_the_mean_over_completion_tokens(renderer: Renderer) -> None:
    found = judge(renderer, [make_row("good")], logprob=-0.5)
    assert found.tokens == len(renderer.completion_ids(GOOD))
    assert found.loss == pytest.approx(0.5)
    assert found.perplexity == pytest.approx(math.exp(0.5))


def test_each_check_counts_its_own_failures(renderer: Renderer) -> None:
    found = judge(renderer, [make_row(name) for name in WRITTEN])
    assert (found.model, found.group, found.rows) == ("ft", "seen", 4)
    assert found.parses == 0.75
    assert found.names_offered_api == 0.5
    assert found.valid == 0.25
    assert found.action_match == 0.5


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
