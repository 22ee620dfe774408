"""A judge behind a real HTTP server on loopback, whose replies a test makes."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response

from tests.loopback import serving

Reply = str | int | dict[str, str]
"""What the judge says, or the status of its failure, or the error of a refusal."""


@dataclass
class JudgeServer:
    """Answers each prompt with `reply(prompt)`; what it was sent stands in `bodies`."""

    reply: Callable[[str], Reply]
    model: str = "judge-1"
    fingerprint: str | None = "f1"
    finish_reason: str = "stop"
    url: str = ""
    bodies: list[dict[str, Any]] = field(default_factory=list)

    @property
    def prompts(self) -> list[str]:
        return [body["messages"][0]["content"] for body in self.bodies]

    def app(self) -> FastAPI:
        app = FastAPI()

        @app.post("/v1/chat/completions")
        async def complete(request: Request) -> Response:
            body = await request.json()
            self.bodies.append(body)
            said = self.reply(body["messages"][0]["content"])
            if isinstance(said, int):
                return JSONResponse({"error": {"message": "broken"}}, said)
            if isinstance(said, dict):
                return JSONResponse({"error": said}, 400)
            message = {"role": "assistant", "content": said}
            choices = [{"index": 0, "message": message, "finish_reason": self.finish_reason}]
            usage = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
            head = {"id": "1", "object": "chat.completion", "created": 0, "model": self.model}
            return JSONResponse(head | {"system_fingerprint": self.fingerprint, "choices": choices, "usage": usage})

        return app


@contextmanager
def served_judge(reply: Callable[[str], Reply], **changes: Any) -> Iterator[JudgeServer]:
    """The judge, served in a thread of its own while the context lasts."""
    server = JudgeServer(reply, **changes)
    ready, over = threading.Event(), asyncio.Event()
    loop = asyncio.new_event_loop()

    async def serve() -> None:
        async with serving(server.app()) as url:
            server.url = f"{url}/v1"
            ready.set()
            await over.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),), daemon=True)
    thread.start()
    assert ready.wait(30)
    try:
        yield server
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join(30)
        loop.close()


def label(prompt: str, **labels: str) -> str:
    """A reply with the label of the prompt's kind; `labels` gives them by kind, Solved, Solvable and A without."""
    kind = kind_of(prompt)
    heading = {"task_status": "Task Status", "better_answer": "Better Answer"}.get(kind, "Answer Status")
    default = {"task_status": "Solvable", "better_answer": "A"}.get(kind, "Solved")
    return f"Because.\n{heading}: {labels.get(kind, default)}"


def kind_of(prompt: str) -> str:
    """The kind of a prompt of the project's own."""
    if "<functions>" in prompt:
        return "task_status"
    if "<path_a>" in prompt:
        return "better_answer"
    if "<path>" in prompt:
        return "path_status"
    return "final_answer" if "how it was found" in prompt else "answer_status"
