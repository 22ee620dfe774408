"""An address that is nearly right ends the first contact with the one that is."""

import httpx
import pytest

from common.errors import UserError
from common.teacher_client.address import check_address, likely_addresses
from common.teacher_client.calls import TeacherCalls
from common.teacher_client.settings import TeacherClientSettings
from tests.unit.student_trainer.stand_in import StandInTeacher

RIGHT = "http://host:8000/teacher"
pytestmark = pytest.mark.anyio


async def check(url: str, at: str = RIGHT, model: str = "teacher") -> None:
    card = (await StandInTeacher().teacher()).model_dump_json()

    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, text=card) if str(request.url) == f"{at}/v1/teacher" else httpx.Response(404)

    async with TeacherCalls(url, "key", transport=httpx.MockTransport(answer)) as teacher:
        await check_address(teacher, TeacherClientSettings(url=url, model=model))


@pytest.mark.parametrize(
    "url",
    [f"{RIGHT}/v1", f"{RIGHT}/v1/", f"{RIGHT}/v1/distill", "http://host:8000", "http://host:8000/teachr"],
)
async def test_the_right_address_is_named(url: str):
    with pytest.raises(UserError, match=rf"no teacher is at {url.rstrip('/')}, one is at {RIGHT}: set the url to that"):
        await check(url)


async def test_one_behind_no_prefix_is_found_too():
    with pytest.raises(UserError, match="one is at http://host:8000: set"):
        await check("http://host:8000/v1", at="http://host:8000")


async def test_a_teacher_that_is_there_or_serves_something_else_or_may_come_up_is_waited_for():
    await check(RIGHT)
    await check(f"{RIGHT}/v1", model="another")
    await check(f"{RIGHT}/v1", at="http://elsewhere")


def test_no_address_is_suggested_instead_of_itself():
    assert likely_addresses(RIGHT) == ["http://host:8000"]
