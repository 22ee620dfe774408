"""OpenAI's framework for agents runs its loop, with Python tools, on a student that is served in ToolBench's layout."""

from pathlib import Path
from typing import Any

import pytest

from tests.interop.environments import answer_of, python_of
from tests.loopback import serving
from tests.service import make_service
from tests.unit.teacher_server.openai.chat.scripted import ScriptedEngine, react

pytestmark = pytest.mark.anyio
OSLO, SUM = '{"city": "Oslo", "days": 2}', '{"numbers": [1, 2.5]}'
FINISH = react("Finish", '{"return_type": "give_answer", "final_answer": "It rains, and 3.5"}')
TASK: dict[str, Any] = {
    "model": "teacher", "question": "Rain?", "stream": False, "max_turns": 5, "strict": False, "settings": {},
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def installed() -> None:
    python_of("openai-agents")


async def answer(folder: Path, *turns: str, **changes: Any) -> tuple[dict[str, Any], ScriptedEngine]:
    """What the agent says of itself where the student writes `turns`; and the engine that wrote them."""
    engine = ScriptedEngine(*turns)
    async with serving(make_service(engine)) as url:
        told = await answer_of("openai-agents", TASK | changes, url, folder=folder)
    return told, engine


@pytest.mark.parametrize("stream", [False, True])
async def test_an_agent_calls_its_tools_and_answers(tmp_path: Path, stream: bool):
    told, _ = await answer(tmp_path, react("get_weather", OSLO), react("add", SUM), FINISH, stream=stream)
    assert told["output"] == "It rains, and 3.5"
    assert told["calls"] == [["get_weather", "Oslo", 2], ["add", [1, 2.5]]]
    assert len(told["sent"]) == 3


async def test_each_prompt_holds_what_was_called_and_seen(tmp_path: Path):
    _, engine = await answer(tmp_path, react("get_weather", OSLO), react("add", SUM), FINISH)
    last = engine.texts[-1]
    assert last.startswith("System: Be fair.\n\nYou are AutoGPT")
    dialogue = last[last.index("\nUser: ") :]
    assert dialogue == (
        f"\nUser: \nRain?\nBegin!\n\nAssistant: {react('get_weather', OSLO)}\nFunction: rain in Oslo for 2 days"
        f"\nAssistant: {react('add', SUM)}\nFunction: 3.5\nAssistant: "
    )


async def test_an_agent_that_never_ends_is_stopped(tmp_path: Path):
    told, _ = await answer(tmp_path, react("get_weather", OSLO), max_turns=3)
    assert "Max turns (3) exceeded" in told["error"]
    assert len(told["calls"]) == 3


async def test_text_that_is_no_call_ends_the_loop(tmp_path: Path):
    told, _ = await answer(tmp_path, "I wonder")
    assert (told["output"], told["calls"]) == ("I wonder", [])


async def test_strict_schemas_are_refused_by_name(tmp_path: Path):
    """The framework's default: nothing here can promise it, so the caller says `strict_mode=False`."""
    told, _ = await answer(tmp_path, FINISH, strict=True)
    assert "tools.0.function.strict" in told["error"]
