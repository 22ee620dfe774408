"""A teacher's address that is nearly right, told at the first contact."""

import httpx

from common.errors import UserError
from common.teacher_client.calls import TeacherCalls
from common.teacher_client.failures import CallFailed, TeacherRefused
from common.teacher_client.settings import TeacherClientSettings

NOT_FOUND = 404


async def check_address(teacher: TeacherCalls, settings: TeacherClientSettings) -> None:
    """Raise UserError when nothing is at the teacher's address and one that serves the model is at a likely other one.

    Where there is none either, the teacher may still be coming up: whoever asks it waits.
    """
    try:
        await teacher.teacher()
    except TeacherRefused as error:
        if error.status != NOT_FOUND:
            return
    except (CallFailed, UserError):
        return
    for address in likely_addresses(teacher.base_url):
        if await _serves(teacher.at(address), settings.model):
            raise UserError(f"no teacher is at {teacher.base_url}, one is at {address}: set the url to that")


def likely_addresses(base_url: str) -> list[str]:
    """Where the teacher may be that was looked for at `base_url`: without a route of its API, at the usual prefix."""
    url = httpx.URL(base_url)
    prefix = f"{url.path}/".partition("/v1/")[0].rstrip("/")
    paths = dict.fromkeys((prefix, "/teacher", ""))
    return [str(url.copy_with(path=path or "/")).rstrip("/") for path in paths if path != url.path.rstrip("/")]


async def _serves(teacher: TeacherCalls, model: str) -> bool:
    try:
        card = await teacher.teacher()
    except (CallFailed, UserError):
        return False
    return any(served.name == model for served in card.models)
