"""BFCL's multi-turn categories: its gold answers in our wire format, and its own handler on the real service."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from common.render import Renderer
from common.tool_calls import conversation_turns
from teacher_server.openai.chat.protocol import ChatBody
from teacher_server.openai.chat.turns import CallRules, TurnReader
from tests.interop.bfcl_tasks import bfcl, few
from tests.interop.environments import python_of
from tests.loopback import serving
from tests.service import make_service
from tests.unit.teacher_server.openai.chat.scripted import OTHER_END, Layout, ScriptedEngine, byte_tokenizer

pytestmark = pytest.mark.anyio
CALLS = 4_625
"""In all gold answers."""
Calls = list[dict[str, str]]


@pytest.fixture(scope="module", autouse=True)
def installed() -> None:
    python_of("bfcl")


@pytest.fixture(scope="module")
async def gold(installed: None, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Gold calls of all entries, and the tools that they call."""
    return await bfcl(tmp_path_factory.mktemp("gold"), do="gold")


def messages_of(turns: Iterable[Calls]) -> Iterator[dict[str, Any]]:
    """A chat in which each turn's calls are made at once and answered, and then the user is told so."""
    for number, calls in enumerate(turns):
        yield {"role": "user", "content": f"request {number}"}
        made = [
            {"id": f"call_{number}_{place}", "type": "function", "function": {"name": name, "arguments": arguments}}
            for place, call in enumerate(calls)
            for name, arguments in call.items()
        ]
        if made:
            yield {"role": "assistant", "content": None, "tool_calls": made}
        yield from ({"role": "tool", "tool_call_id": call["id"], "content": "so"} for call in made)
        yield {"role": "assistant", "content": "done"}


def spoken(gold: Any, id: str) -> list[str]:
    """What an agent in ToolBench's layout writes that gives the gold answer: a step per call, Finish after each turn.

    The chat passes the server's own body.
    """
    answer = gold["answers"][id]
    chat = {"messages": list(messages_of(answer["turns"])), "tools": gold["tools"][answer["classes"]]}
    body = ChatBody.model_validate({"model": "teacher"} | chat)
    turns = conversation_turns(
        [message.record for message in body.messages], [tool.record for tool in body.tools or []]
    )
    return [turn.content for turn in turns if turn.role == "assistant"]


def read(renderer: Renderer, tools: list[Any], texts: Iterable[str]) -> list[list[Calls]]:
    """The steps of each of the user's turns, read back from the ids of what was written."""
    names = tuple(tool["function"]["name"] for tool in tools)
    reader = TurnReader(renderer, CallRules(names, required=False, single=False), [], [])
    asked = conversation_turns([{"role": "user", "content": "a request"}], tools[:1])
    turns: list[list[Calls]] = [[]]
    for text in texts:
        turn = reader.read(renderer.completion_ids(text, asked))
        assert turn.invalid is None
        if turn.calls:
            turns[-1].append([{call.name: call.arguments} for call in turn.calls])
        else:
            assert turn.content == "done"
            turns.append([])
    return turns[:-1]


@pytest.mark.parametrize("layout", ["toolbench", "chat", "tools"])
async def test_all_gold_answers_survive_our_wire_format(gold: Any, tmp_path: Path, layout: Layout):
    """Calls, messages, turns in the layout, ids and back; then its simulators execute them and its checker looks."""
    renderer = Renderer(byte_tokenizer(), layout, None, [OTHER_END])
    results = {
        id: read(renderer, gold["tools"][answer["classes"]], spoken(gold, id)) for id, answer in gold["answers"].items()
    }
    told = await bfcl(tmp_path, do="check", model="gold", results=results)
    wrong = {id: kind for id, kind in told.items() if kind}
    print(f"\nbfcl, {layout}: {len(told) - len(wrong)} of {len(told)} gold answers are valid")
    assert sum(len(turn) for turns in results.values() for turn in turns) == CALLS
    assert (len(told), wrong) == (800, {})


async def test_a_call_that_is_wrong_is_seen(gold: Any, tmp_path: Path):
    """So that the checks above and below can fail."""
    id = "multi_turn_base_0"
    turns = [[[call] for call in calls] for calls in gold["answers"][id]["turns"]]
    results = {id: [[], *turns[1:]], "multi_turn_base_1": [turns[0]]}
    told = await bfcl(tmp_path, do="check", model="wrong", results=results)
    assert told == {id: "multi_turn:empty_turn_model_response", "multi_turn_base_1": "multi_turn:force_terminated"}


async def test_its_handler_gets_from_the_service_what_the_student_writes(gold: Any, tmp_path: Path):
    """A student that writes the gold answers solves whatever is asked, so a score of 0 is the student's own."""
    ids = few(gold)
    engine = ScriptedEngine(*[text for id in ids for text in spoken(gold, id)])
    async with serving(make_service(engine)) as url:
        told = await bfcl(
            tmp_path, url, do="run", model="teacher", ids=ids, steps=20, max_tokens=1_000, temperature=0.001
        )
    wrong = {id: entry["wrong"] for id, entry in told["entries"].items() if entry["wrong"]}
    print(f"\nbfcl: a student that writes the gold answers solves {len(ids) - len(wrong)} of {len(ids)}")
    assert (len(ids), wrong) == (12, {})
    assert told["requests"] == len(engine.prompts) > 12
