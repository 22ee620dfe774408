"""A wrong address of a teacher: at the first contact the right one is told, where a likely one has the teacher."""

from collections.abc import Sequence

import httpx

from common.api import DistillRequest, TeacherCard
from common.errors import UserError
from common.teacher_client.calls import TeacherCalls
from common.teacher_client.failures import CallFailed, TeacherRefused
from common.wire import TeacherAnswer

NOT_FOUND = 404


class AddressedTeacher:
    """The teacher of `calls`, which serves `model`; until it is met, nothing found there is looked for elsewhere.

    `known` are addresses of the same teacher, which need not be told.
    """

    def __init__(self, calls: TeacherCalls, model: str, known: Sequence[str]) -> None:
        self._calls, self._model = calls, model
        self._known = {address.rstrip("/") for address in known}
        self._was_met = False

    async def teacher(self) -> TeacherCard:
        """What it says about itself; UserError where the teacher is at a likely other address instead."""
        try:
            card = await self._calls.teacher()
        except TeacherRefused as error:
            if error.status == NOT_FOUND and not self._was_met:
                await self._look_elsewhere()
            raise  # it may still be coming up
        self._was_met = True
        return card

    async def distill(self, request: DistillRequest) -> list[TeacherAnswer]:
        """Its answers, in the request's order."""
        return await self._calls.distill(request)

    async def _look_elsewhere(self) -> None:
        own = self._calls.base_url
        for address in likely_addresses(own):
            if address not in self._known and await self._serves(address):
                raise UserError(f"no teacher is at {own}, one that serves {self._model} is at {address}: set url to it")

    async def _serves(self, address: str) -> bool:
        try:
            card = await self._calls.at(address).teacher()
        except (CallFailed, UserError):
            return False
        return any(served.name == self._model for served in card.models)


def likely_addresses(base_url: str) -> list[str]:
    """Where the teacher may be that was looked for at `base_url`: without a route of its API, at the usual prefix."""
    url = httpx.URL(base_url)
    prefix = f"{url.path}/".partition("/v1/")[0].rstrip("/")
    paths = dict.fromkeys((prefix, "/teacher", ""))
    return [str(url.copy_with(path=path or "/")).rstrip("/") for path in paths if path != url.path.rstrip("/")]
