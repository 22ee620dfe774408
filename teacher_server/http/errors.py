"""Every error of the service in OpenAI's shape: {"error": {"message", "type", "param", "code"}}."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from teacher_server.engine.protocol import EngineUnavailable

MAX_NAMES = 20
"""Unknown fields that one message lists."""


class ApiError(Exception):
    """A request that is answered by an error. The message says what was got, what was expected and what helps."""

    def __init__(
        self, status: int, code: str, message: str, param: str | None = None, retry_after_s: int | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.param = param
        self.retry_after_s = retry_after_s

    def response(self, more_headers: Mapping[str, str] | None = None) -> JSONResponse:
        """The answer to send."""
        kind = "server_error" if self.status >= 500 else "invalid_request_error"
        error = {"message": str(self), "type": kind, "param": self.param, "code": self.code}
        headers = dict(more_headers or {})
        if self.retry_after_s is not None:
            headers["Retry-After"] = str(self.retry_after_s)
        if self.status == HTTPStatus.UNAUTHORIZED:
            headers["WWW-Authenticate"] = "Bearer"
        return _CountedError(self.code, {"error": error}, self.status, headers)


class _CountedError(JSONResponse):
    """Leaves its code in `scope["state"]["error_code"]`, for access log and metrics."""

    def __init__(self, code: str, content: dict[str, Any], status: int, headers: dict[str, str]) -> None:
        super().__init__(content, status, headers)
        self._code = code

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope.setdefault("state", {})["error_code"] = self._code
        await super().__call__(scope, receive, send)


def install(app: FastAPI, retry_after_s: int) -> None:
    """Make every error of `app`, FastAPI's own ones too, leave in the one shape."""

    @app.exception_handler(ApiError)
    async def refused(request: Request, error: ApiError) -> JSONResponse:
        return error.response()

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        problems = error.errors()
        status = 400 if problems[0]["type"] == "json_invalid" else 422
        return _invalid(problems, status).response()

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> JSONResponse:
        message = f"{request.method} {request.url.path}: {error.detail}; GET /openapi.json describes every route"
        headers = {"Allow": _allowed(request)} if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED else error.headers
        return ApiError(error.status_code, HTTPStatus(error.status_code).name.lower(), message).response(headers)

    @app.exception_handler(EngineUnavailable)
    async def engine_unavailable(request: Request, error: EngineUnavailable) -> JSONResponse:
        message = f"the engine can't answer now: {error}; try again later"
        return ApiError(503, "engine_unavailable", message, retry_after_s=retry_after_s).response()

    @app.exception_handler(500)
    async def failed(request: Request, error: Exception) -> JSONResponse:
        error = ApiError(500, "internal_error", "the teacher failed on this request; its log says why")
        return error.response()


def _allowed(request: Request) -> str:
    """The methods of every route at the request's path; Starlette names those of the first alone."""
    described = request.app.openapi()["paths"]
    path = getattr(request.scope.get("route"), "path_format", request.url.path)
    return ", ".join(sorted(method.upper() for method in described.get(path, {})))


def _invalid(problems: Sequence[Any], status: int) -> ApiError:
    """What is wrong with a body: all of its unknown fields, else the first problem that pydantic found."""
    unknown = [_param(problem) for problem in problems if problem["type"] == "extra_forbidden"]
    if unknown:
        names = ", ".join(repr(name) for name in unknown[:MAX_NAMES])
        more = f" and {len(unknown) - MAX_NAMES} more" if len(unknown) > MAX_NAMES else ""
        fields = "field" if len(unknown) == 1 else "fields"
        message = f"got the unknown {fields} {names}{more}; remove them or check their spelling"
        return ApiError(status, "unknown_field", message, unknown[0])
    problem, param = problems[0], _param(problems[0])
    if problem["type"] == "json_invalid":
        reason = problem["ctx"]["error"]
        return ApiError(status, "invalid_json", f"got a body that isn't JSON: {reason}; send one whole JSON document")
    if problem["type"] == "missing":
        return ApiError(status, "missing_field", f"the field {param or 'body'!r} is required and missing", param)
    return ApiError(status, "invalid_value", f"{param or 'the body'}: {problem['msg']}", param)


def _param(problem: Any) -> str | None:
    """Where the problem is, like `sequences.0.id`; without FastAPI's own first part, and never longer than a line."""
    path = ".".join(str(part) for part in problem["loc"][1:])
    return path.encode("utf-8", "replace").decode()[:200] or None
