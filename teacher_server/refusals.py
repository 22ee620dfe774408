"""Every error of the service in OpenAI's shape: {"error": {"message", "type", "param", "code"}}."""

from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from teacher_server.engine import EngineUnavailable


class Refusal(Exception):
    """A request that is answered by an error. The message says what was got, what was expected and what helps."""

    def __init__(
        self, status: int, code: str, message: str, param: str | None = None, retry_after_s: int | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.param = param
        self.retry_after_s = retry_after_s

    def response(self) -> JSONResponse:
        """The answer to send."""
        kind = "server_error" if self.status >= 500 else "invalid_request_error"
        error = {"message": str(self), "type": kind, "param": self.param, "code": self.code}
        headers = {} if self.retry_after_s is None else {"Retry-After": str(self.retry_after_s)}
        if self.status == HTTPStatus.UNAUTHORIZED:
            headers["WWW-Authenticate"] = "Bearer"
        return _CountedError(self.code, {"error": error}, self.status, headers)


class _CountedError(JSONResponse):
    """Leaves its code in `scope["state"]["refused"]`, for the metrics."""

    def __init__(self, code: str, content: dict[str, Any], status: int, headers: dict[str, str]) -> None:
        super().__init__(content, status, headers)
        self._code = code

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope.setdefault("state", {})["refused"] = self._code
        await super().__call__(scope, receive, send)


def install(app: FastAPI, retry_after_s: int) -> None:
    """Make every error of `app`, FastAPI's own ones too, leave in the one shape."""

    @app.exception_handler(Refusal)
    async def refused(request: Request, error: Refusal) -> JSONResponse:
        return error.response()

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        problem = error.errors()[0]
        param = ".".join(str(part) for part in problem["loc"] if part != "body") or None
        return Refusal(422, "invalid_value", _explain(param, problem["type"], problem["msg"]), param).response()

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> JSONResponse:
        message = f"{request.method} {request.url.path}: {error.detail}; see GET /v1/teacher and POST /v1/distill"
        return Refusal(error.status_code, HTTPStatus(error.status_code).name.lower(), message).response()

    @app.exception_handler(EngineUnavailable)
    async def engine_unavailable(request: Request, error: EngineUnavailable) -> JSONResponse:
        message = f"the engine can't answer now: {error}; try again later"
        return Refusal(503, "engine_unavailable", message, retry_after_s=retry_after_s).response()

    @app.exception_handler(500)
    async def failed(request: Request, error: Exception) -> JSONResponse:
        return Refusal(500, "internal_error", "the teacher failed on this request; its log says why").response()


def _explain(param: str | None, kind: str, message: str) -> str:
    if kind == "extra_forbidden":
        return f"got the unknown field {param!r}; remove it or check its spelling"
    if kind == "missing":
        return f"the field {param!r} is required and missing"
    return f"{param or 'the body'}: {message}"
