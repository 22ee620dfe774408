"""A teacher without weights behind real Ray Serve, whose answers are the same bits every time: for faults around it."""

from typing import Any

from ray.serve import Application

from common.api import ServedModel, TeacherCard
from common.render import load_tokenizer, tokenizer_fingerprint
from teacher_server.adapters import AdapterRegistry
from teacher_server.settings import TeacherSettings
from tests.serving import application
from tests.stand_in_engine import StandInEngine


class StandInTeacher(StandInEngine):
    """Says that it has the name, and the tokenizer in the model's folder, that its settings name."""

    def __init__(self, settings: TeacherSettings) -> None:
        super().__init__()
        self.models = AdapterRegistry(self.loader, ServedModel(name=settings.name, adapter=False, revision="r0"), 2)
        self._fingerprint = tokenizer_fingerprint(load_tokenizer(settings.model))

    def describe(self) -> TeacherCard:
        return super().describe().model_copy(update={"tokenizer_fingerprint": self._fingerprint})


def build(args: dict[str, Any]) -> Application:
    """What `serve deploy` imports."""
    return application(StandInTeacher, **args)
