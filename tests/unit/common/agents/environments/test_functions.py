"""A user's functions as an environment: what is offered, answered and judged, and that none of them harms another."""

import asyncio
import json
import math
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Literal

import psutil
import pytest
from pydantic import BaseModel

from common.agents.bounds import BoundedEnvironment, BoundSettings, Deadline
from common.agents.environment import InfrastructureFailure
from common.agents.environments.answers import ANSWER_CHARACTERS
from common.agents.environments.function_calls import process
from common.agents.environments.functions import FunctionEnvironment, FunctionTools
from common.agents.types import Action, Observation, Status, Task
from common.errors import UserError
from common.toolbench.system_prompt import FINISH, offered_functions
from tests.unit.common.agents.environments.running import ends

TASK = Task("1", "Sum up?", data={"sum": 5})
ANSWER = '{"return_type": "give_answer", "final_answer": "5"}'
CYCLE: list[Any] = []
CYCLE.append(CYCLE)
DEEP: list[Any] = []
for _ in range(10_000):
    DEEP = [DEEP]


class Unit(Enum):
    CELSIUS = "celsius"
    KELVIN = "kelvin"


@dataclass
class Place:
    city: str
    country: str | None = None


class Weather(BaseModel):
    degrees: float


def Weather_Of(place: Place, days: list[int], unit: Unit = Unit.CELSIUS, source: str | None = None) -> Weather:
    """Weather of a place.

    Nobody reads this.

    Args:
        place: where it is
        days: from today,
            0 being today
    """
    return Weather(degrees=days[0] + (273 if unit is Unit.KELVIN else 0))


def add(a: int, b: int = 0, id: Literal["x", "y"] = "x") -> int:
    """:param a: the first"""
    return a + b


async def later(a: int) -> int:
    await asyncio.sleep(0.01)
    return a


def give(what: str) -> Any:
    """Whatever Python can return, JSON or not."""
    return {
        "bytes": b"\xff\xfe",
        "half": "\ud800",
        "nan": [math.nan],
        "cycle": CYCLE,
        "deep": DEEP,
        "object": object(),
        "endless": iter(int, 1),
        "long": "x" * 10_000_000,
        "none": None,
        "places": [Place("Rome")],
    }[what]


def lie() -> int:
    return "many"


def fail(how: str) -> str:
    if how == "raise":
        Path("/home/somebody/secret/key.txt").read_text()
    if how == "unspeakable":
        raise Unspeakable
    if how == "exit":
        sys.exit(3)
    if how == "leave":
        os._exit(3)
    os.kill(os.getpid(), signal.SIGSEGV)
    return ""


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise RuntimeError


def hang(how: str) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if how == "spin":
        while True:
            pass
    if how == "hold":  # the interpreter's lock, for minutes
        re.match(r"(a+)+b", "a" * 40)
    subprocess.run(["sleep", "601"], check=False)


def solved(task: Task, answer: str, observations: Sequence[Observation]) -> bool:
    if answer == "raise":
        raise LookupError("no such table")
    if answer == "sleep":
        time.sleep(600)
    told = [json.loads(each.text)["response"] for each in observations if each.status == Status.OK]
    return answer == str(task.data["sum"]) and task.data["sum"] in told


class Basket:
    def __init__(self, kept: Any = None) -> None:
        self.items: list[str] = []
        self.kept = kept

    def put(self, item: str) -> list[str]:
        self.items.append(item)
        return self.items

    def stay(self, seconds: float) -> None:
        time.sleep(seconds)


def basket() -> list[Callable[..., Any]]:
    made = Basket()
    return [made.put, made.stay]


@pytest.fixture(scope="module")
def tools() -> Iterator[FunctionTools]:
    made = FunctionTools([Weather_Of, add, later, give, lie, fail, hang], solved)
    yield made
    made.close()


def run(tools: FunctionTools, episode: Callable[[FunctionEnvironment], Coroutine[Any, Any, Any]]) -> Any:
    """What `episode` returns of an environment that was reset."""

    async def whole() -> Any:
        environment = tools.environment()
        await environment.reset(TASK)
        try:
            return await episode(environment)
        finally:
            await environment.close()

    return asyncio.run(whole())


async def observe(environment: Any, name: str, **arguments: Any) -> tuple[Status, str]:
    observation, done = await environment.step(Action(name, json.dumps(arguments)))
    assert not done
    said = json.loads(observation.text)
    return observation.status, said["error"] or said["response"]


def test_functions_are_offered_by_their_signature_and_docstring(tools: FunctionTools):
    prompt, user = run(tools, lambda environment: environment.reset(TASK))
    weather, plus, *_, finish = offered_functions(prompt.content)
    assert (weather["name"], weather["description"]) == ("weather_of", "Weather of a place.")
    place = {"city": {"type": "string"}, "country": {"type": "string"}}
    assert weather["parameters"] == {
        "type": "object",
        "properties": {
            "place": {"type": "object", "description": "where it is", "properties": place, "required": ["city"]},
            "days": {"type": "array", "description": "from today, 0 being today", "items": {"type": "integer"}},
            "unit": {"type": "string", "description": "", "enum": ["celsius", "kelvin"]},
            "source": {"type": "string", "description": ""},
        },
        "required": ["place", "days"],
        "optional": ["unit", "source"],
    }
    assert plus["parameters"]["properties"]["a"] == {"type": "integer", "description": "the first"}
    assert plus["parameters"]["properties"]["id"]["enum"] == ["x", "y"]
    assert finish == FINISH
    assert "\n1.weather_of: Weather of a place.\n2.add: None\n" in prompt.content
    assert user.content == "\nSum up?\nBegin!\n"


GOOD = [
    ("weather_of", {"place": {"city": "Rome"}, "days": [1], "unit": "kelvin"}, {"degrees": 274.0}),
    ("add", {"a": 2, "b": 3, "id": "y"}, 5),
    ("later", {"a": 7}, 7),
    ("give", {"what": "none"}, None),
    ("give", {"what": "places"}, [{"city": "Rome", "country": None}]),
]


@pytest.mark.parametrize(("name", "arguments", "response"), GOOD)
def test_a_call_is_answered(tools: FunctionTools, name: str, arguments: dict[str, Any], response: Any):
    assert run(tools, lambda environment: observe(environment, name, **arguments)) == (Status.OK, response)


BAD = [
    ("nothing", {}, Status.NO_SUCH_FUNCTION, "No such function name: nothing"),
    ("add", {"a": "2"}, Status.BAD_INPUT, "a: Input should be a valid integer"),
    ("add", {"a": True}, Status.BAD_INPUT, "a: Input should be a valid integer"),
    ("add", {"a": 1, "id": "z"}, Status.BAD_INPUT, "id: Input should be 'x' or 'y'"),
    ("add", {"a": 1, "c": 2}, Status.BAD_INPUT, "c: Extra inputs are not permitted"),
    ("add", {}, Status.BAD_INPUT, "a: Field required"),
    ("add", {"a": math.nan}, Status.BAD_INPUT, "the input is not JSON"),
    ("give", {"what": "\ud800"}, Status.BAD_INPUT, "Invalid JSON"),
    ("weather_of", {"place": {}, "days": [1.5]}, Status.BAD_INPUT, "place.city: Field required; days.0: Input"),
    ("give", {"what": "bytes"}, Status.ERROR_IN_MESSAGE, "give returned bytes, which JSON has no form for"),
    ("give", {"what": "half"}, Status.ERROR_IN_MESSAGE, "give returned str, which JSON has no form for"),
    ("give", {"what": "nan"}, Status.ERROR_IN_MESSAGE, "Out of range float"),
    ("give", {"what": "cycle"}, Status.ERROR_IN_MESSAGE, "Circular reference"),
    ("give", {"what": "deep"}, Status.ERROR_IN_MESSAGE, "recursion"),
    ("give", {"what": "object"}, Status.ERROR_IN_MESSAGE, "give returned object"),
    ("give", {"what": "endless"}, Status.ERROR_IN_MESSAGE, "may never end"),
    ("lie", {}, Status.ERROR_IN_MESSAGE, "lie returned str, which isn't what it says: Input should be a valid integer"),
    ("fail", {"how": "raise"}, Status.ERROR_IN_MESSAGE, "No such file or directory: 'key.txt'"),
    ("fail", {"how": "unspeakable"}, Status.ERROR_IN_MESSAGE, "Unspeakable:"),
    ("fail", {"how": "exit"}, Status.SENDING_FAILED, "fail wanted to end its process"),
    ("fail", {"how": "leave"}, Status.SENDING_FAILED, "fail ended its process"),
    ("fail", {"how": "signal"}, Status.SENDING_FAILED, "fail ended its process"),
]


def test_whatever_a_call_does_it_is_answered_in_one_line_and_the_next_goes_on(tools: FunctionTools):
    async def episode(environment: FunctionEnvironment) -> None:
        for name, arguments, status, words in BAD:
            got, said = await observe(environment, name, **arguments)
            assert (got, words in said, "\n" in said) == (status, True, False), (name, arguments, said)
            assert await observe(environment, "add", a=2) == (Status.OK, 2)
        for arguments in ("", "[1]", "[" * 100_000, '{"a": 1' + "0" * 5000 + "}"):
            assert (await environment.step(Action("add", arguments)))[0].status == Status.BAD_INPUT

    run(tools, episode)


def test_a_long_answer_is_cut(tools: FunctionTools):
    async def episode(environment: FunctionEnvironment) -> Observation:
        return (await environment.step(Action("give", '{"what": "long"}')))[0]

    observation = run(tools, episode)
    assert observation.status == Status.OK
    assert len(observation.text) == ANSWER_CHARACTERS + len("...")


def test_calls_that_hang_cost_their_episodes_their_time_and_no_other_episode_anything(tools: FunctionTools):
    hows = ["spin", "hold"] + 30 * ["sleep"]

    async def hanging(how: str) -> tuple[Status, tuple[Status, Any]]:
        own = tools.environment()
        environment = BoundedEnvironment(own, BoundSettings(call_s=2), Deadline(60))
        await environment.reset(TASK)
        observation, _ = await environment.step(Action("hang", json.dumps({"how": how})))
        after = await observe(own, "add", a=1)
        await environment.close()
        return observation.status, after

    async def whole() -> tuple[list[Any], int]:
        together = [asyncio.create_task(hanging(how)) for how in hows]
        other, calls = tools.environment(), 0
        await other.reset(TASK)
        while not all(task.done() for task in together):
            assert await observe(other, "add", a=1) == (Status.OK, 1)
            calls += 1
        await other.close()
        return [task.result() for task in together], calls

    outcomes, calls = asyncio.run(whole())
    assert outcomes == [(Status.TIMEOUT, (Status.OK, 1))] * len(hows)
    assert calls > 20
    assert ends("sleep", "601")


def test_what_functions_keep_is_the_episodes_own_and_forks_with_it():
    tools = FunctionTools(basket)

    async def episode(environment: FunctionEnvironment) -> None:
        assert await observe(environment, "put", item="a") == (Status.OK, ["a"])
        other = await environment.fork()
        assert await observe(other, "put", item="b") == (Status.OK, ["a", "b"])
        assert await observe(environment, "put", item="c") == (Status.OK, ["a", "c"])
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(environment.step(Action("stay", '{"seconds": 600}')), 0.2)
        lost = (Status.SENDING_FAILED, "what the functions kept was lost with an earlier call")
        assert await observe(environment, "put", item="d") == lost
        assert await observe(await environment.fork(), "put", item="d") == lost
        await environment.reset(TASK)
        assert await observe(environment, "put", item="d") == (Status.OK, ["d"])
        await other.close()

    run(tools, episode)
    tools.close()


def test_what_cannot_be_copied_is_said_when_it_is_to_fork():
    tools = FunctionTools(lambda: [Basket(threading.Lock()).put])

    async def episode(environment: FunctionEnvironment) -> None:
        with pytest.raises(UserError, match=r"what the tools keep can't be copied .*TypeError"):
            await environment.fork()

    run(tools, episode)
    tools.close()


@pytest.mark.parametrize(("calls", "answer", "verdict"), [([2], "5", True), ([1], "5", False), ([2], "4", False)])
def test_success_is_told_from_answer_and_observations(
    tools: FunctionTools, calls: list[int], answer: str, verdict: bool
):
    async def episode(environment: FunctionEnvironment) -> list[tuple[Observation, bool]]:
        for number in calls:
            await observe(environment, "add", a=number, b=3)
        finish = [{"return_type": "give_answer"}, {"return_type": "give_answer", "final_answer": answer}]
        finish.append({"return_type": "give_up_and_restart"})
        return [await environment.step(Action("Finish", json.dumps(arguments))) for arguments in finish]

    steps = [(observation.status, observation.solved, done) for observation, done in run(tools, episode)]
    ended = (Status.FINISHED, verdict, True)
    assert steps == [(Status.BAD_INPUT, None, False), ended, (Status.GAVE_UP, False, True)]


@pytest.mark.parametrize(("answer", "words"), [("raise", "LookupError: no such table"), ("sleep", "longer than 0.2 s")])
def test_a_verdict_that_fails_is_not_the_agents_failure(
    tools: FunctionTools, monkeypatch: pytest.MonkeyPatch, answer: str, words: str
):
    monkeypatch.setattr(process, "ASIDE_S", 0.2)
    arguments = json.dumps({"return_type": "give_answer", "final_answer": answer})
    with pytest.raises(InfrastructureFailure, match=f"success of the task 1 can't be told: .*{words}"):
        run(tools, lambda environment: environment.step(Action("Finish", arguments)))


def test_tools_that_cannot_be_made_are_no_agents_failure():
    here = os.getpid()

    def make_tools() -> list[Callable[..., Any]]:
        if os.getpid() != here:
            raise ConnectionError("the database is away")
        return [add]

    tools = FunctionTools(make_tools)
    with pytest.raises(InfrastructureFailure, match="the tools can't be made: ConnectionError: the database is away"):
        run(tools, lambda environment: observe(environment, "add", a=1))
    tools.close()


def test_a_script_without_a_guard_gives_tools_and_leaves_nothing_when_it_is_killed(tmp_path: Path):
    """Ten lines: functions of `__main__`, whose annotations are text, reach their process; nothing outlives them."""
    script = tmp_path / "own.py"
    script.write_text("""
from __future__ import annotations
import asyncio, os, signal, sys, time
from common.agents.environments.function_calls import process
from common.agents.environments.functions import FunctionTools
from common.agents.types import Action, Task
FACTOR = 2
def double(number: int) -> int: return FACTOR * number
def hang() -> None: time.sleep(600)
async def main():
    environment = FunctionTools([double, hang]).environment()
    await environment.reset(Task("1", "?"))
    print((await environment.step(Action("double", '{"number": 4}')))[0].text, flush=True)
    asyncio.create_task(environment.step(Action("hang", "{}")))
    await asyncio.sleep(0.2)
    os.kill(os.getpid(), signal.SIGKILL)
asyncio.run(main())
""")
    before = {each.pid for each in psutil.Process().children(recursive=True)}
    root = str(Path(__file__).parents[5])
    done = subprocess.run(
        [sys.executable, script], env=os.environ | {"PYTHONPATH": root}, capture_output=True, text=True, timeout=60
    )
    assert (done.stdout, done.returncode) == ('{"error": "", "response": 8}\n', -signal.SIGKILL), done.stderr
    deadline = time.monotonic() + 10
    while left := [each for each in psutil.Process().children(recursive=True) if each.pid not in before]:
        assert time.monotonic() < deadline, left
        for each in left:  # they are this process's now, which waits for its own
            os.waitpid(each.pid, os.WNOHANG)
        time.sleep(0.05)


def test_tools_of_a_file(tmp_path: Path):
    file = tmp_path / "own_tools_of_a_test.py"
    file.write_text('def one() -> int:\n    "One."\n    return 1\ntools = [one]\nsuccess = lambda *given: True\n')
    tools = FunctionTools.of_module(str(file))

    async def episode(environment: FunctionEnvironment) -> tuple[Any, Any]:
        return await observe(environment, "one"), await environment.step(Action("Finish", ANSWER))

    called, (finished, done) = run(tools, episode)
    assert (called, finished.solved, done) == ((Status.OK, 1), True, True)
    tools.close()
