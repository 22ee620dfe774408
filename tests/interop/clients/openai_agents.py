"""An agent of OpenAI's framework with two Python tools: `python openai_agents.py TASK.json ANSWER.json`.

TASK has `model`, `question`, `stream`, `max_turns`, `strict`, and `settings` of the model. ANSWER: `output` or `error`;
the `calls` as the tools saw them; the bodies that were `sent` to /v1/chat/completions.
"""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import httpx2
from agents import (
    Agent,
    ModelSettings,
    Runner,
    function_tool,
    set_default_openai_api,
    set_default_openai_client,
    set_tracing_disabled,
)
from agents.exceptions import MaxTurnsExceeded
from openai import AsyncOpenAI, UnprocessableEntityError

calls: list[list[Any]] = []
sent: list[dict[str, Any]] = []


def get_weather(city: str, days: int = 1) -> str:
    """The weather of a city.

    Args:
        city: Its name.
        days: How far to look.
    """
    calls.append(["get_weather", city, days])
    return f"rain in {city} for {days} days"


def add(numbers: list[float]) -> float:
    """The sum of numbers."""
    calls.append(["add", numbers])
    return sum(numbers)


async def keep(request: httpx2.Request) -> None:
    """Remember what was sent."""
    sent.append(json.loads(request.content))


async def answer(task: dict[str, Any]) -> dict[str, Any]:
    """Run the agent to its end."""
    tools = [function_tool(tool, strict_mode=task["strict"]) for tool in (get_weather, add)]
    settings = ModelSettings(**task["settings"])
    agent = Agent(name="assistant", instructions="Be fair.", model=task["model"], model_settings=settings, tools=tools)
    try:
        if task["stream"]:
            result = Runner.run_streamed(agent, task["question"], max_turns=task["max_turns"])
            async for _ in result.stream_events():
                pass
        else:
            result = await Runner.run(agent, task["question"], max_turns=task["max_turns"])
    except (MaxTurnsExceeded, UnprocessableEntityError) as error:
        return {"error": str(error)}
    return {"output": result.final_output}


def main(task: Path, place: Path) -> None:
    """Answer a task."""
    set_tracing_disabled(True)
    set_default_openai_api("chat_completions")
    set_default_openai_client(AsyncOpenAI(http_client=httpx2.AsyncClient(event_hooks={"request": [keep]})))
    told = asyncio.run(answer(json.loads(task.read_text())))
    place.write_text(json.dumps(told | {"calls": calls, "sent": sent}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
