"""An address that is nearly right ends the first contact with the one that is."""

from typing import Any

import httpx
import pytest

from common.errors import UserError
from common.teacher_client.address import AddressedTeacher, likely_addresses
from common.teacher_client.calls import TeacherCalls
from common.teacher_client.failures import TeacherRefused
from tests.unit.student_trainer.stand_in import StandInTeacher

RIGHT = "http://host:8000/teacher"
pytestmark = pytest.mark.anyio


async def ask(url: str, at: tuple[str, ...] = (RIGHT,), model: str = "teacher", known: tuple[str, ...] = ()) -> None:
    card = (await StandInTeacher().teacher()).model_dump_json()
    found = [f"{address}/v1/teacher" for address in at]

    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, text=card) if str(request.url) in found else httpx.Response(404)

    async with TeacherCalls(url, "key", transport=httpx.MockTransport(answer)) as calls:
        teacher = AddressedTeacher(calls, model, known)
        assert (await teacher.teacher()).model_dump_json() == card
        found.remove(f"{url}/v1/teacher")
        with pytest.raises(TeacherRefused, match="404"):  # it was met: it is waited for, whoever is elsewhere
            await teacher.teacher()


@pytest.mark.parametrize(
    "url",
    [f"{RIGHT}/v1", f"{RIGHT}/v1/", f"{RIGHT}/v1/distill", "http://host:8000", "http://host:8000/teachr"],
)
async def test_the_right_address_is_named(url: str):
    with pytest.raises(UserError, match=rf"no teacher is at {url.rstrip('/')}, one that serves .* is at {RIGHT}"):
        await ask(url)


async def test_one_behind_no_prefix_is_found_too():
    with pytest.raises(UserError, match="is at http://host:8000: set"):
        await ask("http://host:8000/v1", at=("http://host:8000",))


async def test_one_that_is_met_is_waited_for_from_then():
    await ask(RIGHT, at=(RIGHT, "http://host:8000"))


@pytest.mark.parametrize(
    "changes",
    [{"model": "another"}, {"at": ("http://elsewhere",)}, {"known": (f"{RIGHT}/",)}],
    ids=["that serves something else", "nowhere", "that is known to be another endpoint of it"],
)
async def test_a_teacher_that_may_still_come_up_is_waited_for(changes: dict[str, Any]):
    with pytest.raises(TeacherRefused, match="404"):
        await ask(f"{RIGHT}/v1", **changes)


def test_no_address_is_suggested_instead_of_itself():
    assert likely_addresses(RIGHT) == ["http://host:8000"]
