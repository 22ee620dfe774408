"""What is asked of a teacher, be it one address (`calls.py`) or several (`pool.py`)."""

from typing import Protocol

from common.api import DistillRequest, TeacherCard
from common.wire import TeacherAnswer


class Teacher(Protocol):
    """A live teacher."""

    async def teacher(self) -> TeacherCard:
        """What it says about itself."""

    async def distill(self, request: DistillRequest) -> list[TeacherAnswer]:
        """Its answers, in the request's order, n samples after each other; look at `error` of each."""
