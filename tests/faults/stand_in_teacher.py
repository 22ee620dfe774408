"""A teacher without weights behind real Ray Serve, whose answers are the same bits every time: for faults around it."""

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Any

from ray.serve import Application

from common.api import ServedModel, TeacherCard
from common.fingerprints import chat_template_fingerprint, tokenizer_fingerprint
from common.render import load_tokenizer, terminators
from teacher_server.adapters.registry import AdapterRegistry
from teacher_server.settings import TeacherServerSettings
from tests.serving import application
from tests.stand_in_engine import StandInEngine


class StandInTeacher(StandInEngine):
    """Says that it has the name, and the tokenizer in the model's folder, that its settings name.

    It works on `at_once` prompts at a time, each for `seconds`.
    """

    def __init__(self, seconds: float, at_once: int, settings: TeacherServerSettings) -> None:
        super().__init__()
        self.models = AdapterRegistry(self.loader, ServedModel(name=settings.name, adapter=False, revision="r0"), 2)
        tokenizer = load_tokenizer(settings.model)
        self._speaks = {
            "tokenizer_fingerprint": tokenizer_fingerprint(tokenizer),
            "chat_template_fingerprint": chat_template_fingerprint(tokenizer),
            "terminators": terminators(tokenizer),
            "end_token_ids": [tokenizer.eos_token_id],
        }
        self._seconds, self._places = seconds, asyncio.Semaphore(at_once)

    def describe(self) -> TeacherCard:
        return super().describe().model_copy(update=self._speaks)

    async def _work(self, model: str, task: str, top_k: int, prompt: Sequence[int]) -> None:
        async with self._places:
            await asyncio.sleep(self._seconds)
            await super()._work(model, task, top_k, prompt)


def build(args: dict[str, Any]) -> Application:
    """What `serve deploy` imports; `seconds` and `at_once` stand beside what `teacher_server` takes."""
    make = partial(StandInTeacher, args.get("seconds", 0.0), args.get("at_once", 64))
    return application(make, **{name: args[name] for name in args if name not in ("seconds", "at_once")})
