"""A served policy: rendered as in training, its sampled ids kept, its reasoning apart."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from common import wire
from common.agents.environment import InfrastructureFailure
from common.agents.policies.served import ServedPolicy
from common.agents.policy import BoundReached, Sampling
from common.agents.types import WrittenTurn
from common.api import DistillRequest, TeacherCard
from common.layouts.segments import TemplateMisfit
from common.render import Renderer
from common.teacher_client.failures import PromptFailed
from common.teacher_client.settings import TeacherClientSettings
from common.toolbench.finish import finish_with
from common.toolbench.react import Step, render_step
from common.toolbench.rows import Turn
from tests.models import save_tiny_tokenizer
from tests.unit.common.agents.search.scripted import OPENING
from tests.unit.common.layouts.templates import MARKED_JSON

TURNS = (Turn("system", "s"), Turn("user", "q"))
ONE = Sampling(seed=5)
TEXT = "\nThought: t\nAction: f\nAction Input: {}"


@pytest.fixture(scope="module")
def renderer(tmp_path_factory: pytest.TempPathFactory) -> Renderer:
    return Renderer(save_tiny_tokenizer(tmp_path_factory.mktemp("tokenizer")), "toolbench", None)


class Writer:
    """A teacher that writes `ids`, as many times as it is asked for samples, and remembers the requests."""

    def __init__(
        self, ids: list[int], finish_reason: str = "stop", failure: Callable[[], Exception] | None = None
    ) -> None:
        self._ids, self._reason, self._failure = ids, finish_reason, failure
        self.asked: list[DistillRequest] = []

    async def teacher(self) -> TeacherCard:
        raise NotImplementedError("a policy asks for turns alone")

    async def distill(self, request: DistillRequest) -> list[wire.TeacherAnswer]:
        self.asked.append(request)
        if self._failure:
            raise self._failure()
        tokens = np.array(self._ids, np.int32)
        column = np.full(len(tokens), -1.0, np.float32)
        answer = wire.TeacherAnswer(
            "turn", request.model, "r7", self._reason, None, tokens, column, tokens[:, None], column[:, None], column
        )
        return [answer] * request.number_of_answers


def write(renderer: Renderer, writer: Writer, sampling: Sampling = ONE, max_length: int = 512) -> list[WrittenTurn]:
    return asyncio.run(policy_of(renderer, writer, max_length).write(TURNS, sampling))


def policy_of(renderer: Renderer, writer: Writer, max_length: int = 512) -> ServedPolicy:
    asked = TeacherClientSettings(url="http://unused", model="student", top_k=1)
    return ServedPolicy(writer, asked, renderer, max_length, "student")


def test_a_turn_is_what_was_sampled(renderer: Renderer):
    ids = renderer.completion_ids(TEXT)
    writer = Writer(ids)
    turns = write(renderer, writer, Sampling(seed=5, n=2, temperature=0.4, top_p=0.8, max_tokens=9))
    assert [turn.text for turn in turns] == [TEXT] * 2
    assert (turns[0].token_ids, turns[0].revision, turns[0].finish_reason) == (tuple(ids), "r7", "stop")
    [sequence] = writer.asked[0].sequences
    assert sequence.prompt_token_ids == renderer.turn_ids(TURNS)
    options = sequence.generate
    assert options is not None
    assert (options.n, options.seed, options.temperature, options.top_p, options.max_tokens) == (2, 5, 0.4, 0.8, 9)
    assert options.stop_token_ids == renderer.stop_token_ids


def test_a_prefix_is_given_and_stands_in_the_turn(renderer: Renderer):
    prefix = renderer.opening_ids(TURNS, "\nThought: so")
    writer = Writer(renderer.completion_ids(" on"))
    [turn] = write(renderer, writer, Sampling(seed=5, prefix="\nThought: so"))
    assert writer.asked[0].sequences[0].prompt_token_ids == [*renderer.turn_ids(TURNS), *prefix]
    assert turn.text == "\nThought: so on"
    assert list(turn.token_ids[: len(prefix)]) == prefix


def test_what_was_thought_aloud_is_no_part_of_the_turn(renderer: Renderer):
    [turn] = write(renderer, Writer(renderer.completion_ids(f"<think>\nhm\n</think>\n\n{TEXT}")))
    assert (turn.reasoning, turn.text.strip()) == ("hm", TEXT.strip())


def test_a_templates_own_calls_are_turns_in_toolbenchs_form(tmp_path: Path):
    tokenizer = save_tiny_tokenizer(tmp_path)
    tokenizer.chat_template = MARKED_JSON
    renderer = Renderer(tokenizer, "tools", None)
    said = '<think>hm</think>\nSo.\n<tool_call>\n{"name": "f", "arguments": {"a": 1}}\n</tool_call>'
    for text, turn in ((said, '\nThought: So.\nAction: f\nAction Input: {"a": 1}'), ("It rains.", None)):
        [found] = write(renderer, Writer([*tokenizer.encode(text), renderer.terminator]))
        assert found.text == (turn or render_step(finish_with("It rains.")))
        assert found.reasoning == ("hm" if turn else "")
    [cut] = write(renderer, Writer(tokenizer.encode("It ra"), "length"))
    assert cut.text == "It ra"


def test_a_turn_cut_by_length_keeps_its_last_token(renderer: Renderer):
    ids = renderer.completion_ids(TEXT)[:-1]
    [turn] = write(renderer, Writer(ids, "length"))
    assert (turn.text, turn.finish_reason) == (TEXT, "length")


def test_no_room_is_a_bound_and_a_turn_has_what_is_left(renderer: Renderer):
    prompt = len(renderer.turn_ids(TURNS))
    with pytest.raises(BoundReached) as reached:
        write(renderer, Writer([1]), max_length=prompt)
    assert reached.value.stop == "max_length"
    writer = Writer([1])
    write(renderer, writer, max_length=prompt + 3)
    assert writer.asked[0].sequences[0].generate is not None
    assert writer.asked[0].sequences[0].generate.max_tokens == 3


@pytest.mark.parametrize("arguments", ["{'city': 1}", '{"a":' * 900 + "1" + "}" * 900])
def test_a_call_that_a_template_can_not_show_ends_its_episode_alone(tmp_path: Path, arguments: str):
    tokenizer = save_tiny_tokenizer(tmp_path)
    tokenizer.chat_template = MARKED_JSON
    policy = policy_of(Renderer(tokenizer, "tools", None), Writer([1]), 65_536)
    said = Turn("assistant", render_step(Step("", "look", arguments)))
    with pytest.raises(BoundReached) as reached:
        asyncio.run(policy.write((*OPENING, said, Turn("function", "no")), ONE))
    assert reached.value.stop == "unrenderable"
    unreadable = Turn("system", "\nSpecifically, you have access to the following APIs: nothing")
    with pytest.raises(TemplateMisfit):  # no episode's opening fits: this is the settings' mistake
        asyncio.run(policy.write((unreadable, *OPENING[1:]), ONE))


def test_what_the_teacher_can_not_answer_is_not_the_agents_failure(renderer: Renderer):
    failing = Writer([1], failure=lambda: PromptFailed("failed", "no answer in 6 attempts"))
    with pytest.raises(InfrastructureFailure, match="no turn was written: no answer in 6 attempts"):
        write(renderer, failing)
