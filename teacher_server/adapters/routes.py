"""The administrative routes: adapters listed, put under a name and deleted while the teacher runs."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

from fastapi import APIRouter, Path, Request
from pydantic import Field

from common.api import Body, ServedModel
from common.errors import UserError
from teacher_server.adapters.registry import NoRoom, UnknownModel
from teacher_server.adapters.store import Locked, NoFolder, OutsideRoot
from teacher_server.engine.protocol import Adapters, Engine
from teacher_server.http.errors import ApiError

AdapterName = Annotated[str, Path(max_length=256, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]

_ERRORS: dict[type[UserError], tuple[int, str]] = {
    OutsideRoot: (403, "path_not_allowed"),
    NoFolder: (404, "path_not_found"),
    UnknownModel: (404, "model_not_found"),
    NoRoom: (409, "no_room"),
    Locked: (503, "adapters_locked"),
    UserError: (422, "adapter_refused"),
}


class AdapterPlace(Body):
    """Body of `PUT /v1/adapters/NAME`."""

    path: str = Field(min_length=1, max_length=4096)
    """The adapter's folder, relative to the setting `adapter_loading.root`."""


class AdapterList(Body):
    """Answer of `GET /v1/adapters`."""

    adapters: list[ServedModel]


def adapter_routes(engine: Engine) -> APIRouter:
    """Routes for the adapters of a started `engine`; they refuse where its settings don't allow any."""
    routes = APIRouter(prefix="/v1/adapters")

    @routes.get("")
    async def list_adapters() -> AdapterList:
        """What is served beside the base, with revisions."""
        return AdapterList(adapters=[model for model in engine.describe().models if model.adapter])

    @routes.put("/{name}")
    async def put_adapter(name: AdapterName, place: AdapterPlace, request: Request) -> ServedModel:
        """Serve the adapter in `path` as `name`, in place of the one before, whose requests finish."""
        with _errors_answered():
            return await _adapters(engine, request).put(name, place.path)

    @routes.delete("/{name}", status_code=204)
    async def delete_adapter(name: AdapterName, request: Request) -> None:
        """Serve `name` no longer; its requests finish."""
        with _errors_answered():
            await _adapters(engine, request).delete(name)

    return routes


def _adapters(engine: Engine, request: Request) -> Adapters:
    if engine.adapters is None:
        message = "this teacher loads no adapters while it runs; start it with the setting adapter_loading.root"
        raise ApiError(403, "adapter_loading_off", message)
    client, allowed = request.state.client, engine.adapters.clients
    if allowed is not None and client not in allowed:
        message = f"the API key named {client!r} may not change adapters; see adapter_loading.clients"
        raise ApiError(403, "client_not_allowed", message)
    return engine.adapters


@contextmanager
def _errors_answered() -> Iterator[None]:
    """Turn what the user can mend into an answer."""
    try:
        yield
    except UserError as error:
        status, code = next(answer for kind, answer in _ERRORS.items() if isinstance(error, kind))
        param = "path" if isinstance(error, OutsideRoot | NoFolder) else None
        raise ApiError(status, code, str(error), param) from None
