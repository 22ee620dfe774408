"""The OpenAPI document: every route with every answer that the middleware around it may give."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from teacher_server.http.auth import OPEN_PATHS

ERRORS = {
    "400": "headers, Host, or a body that isn't whole JSON",
    "401": "no valid token",
    "403": "this teacher's settings don't allow it",
    "404": "no such model, or nothing at this path",
    "405": "another method is needed; see Allow",
    "408": "the body came too slowly",
    "409": "there is no room for it now",
    "413": "the body is larger than limits.max_body_bytes",
    "414": "path and query are too long",
    "415": "the body isn't application/json, or is compressed",
    "421": "the Host isn't among limits.allowed_hosts",
    "422": "a field is unknown, missing, of the wrong type or out of its bounds",
    "429": "the client has its share of requests in flight; see Retry-After",
    "431": "the headers are too large",
    "500": "the teacher failed; its log says why",
    "503": "overloaded, or the engine is unavailable; see Retry-After",
}
BARE_ERRORS = ("400", "405", "413", "414", "415", "431", "500", "503")
"""What an open path may answer."""
ERROR_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["error"],
    "additionalProperties": False,
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "additionalProperties": False,
            "properties": {
                "message": {"type": "string", "description": "what was got, what was expected, and what helps"},
                "type": {"enum": ["invalid_request_error", "server_error"]},
                "param": {"type": ["string", "null"], "description": "the field that is wrong, like sequences.0.id"},
                "code": {"type": "string"},
            },
        }
    },
}
BINARY = {"type": "string", "format": "binary"}
RETRY_AFTER = {"Retry-After": {"description": "seconds to wait", "schema": {"type": "integer", "minimum": 1}}}


def document(app: FastAPI) -> dict[str, Any]:
    """The document of `app`'s routes: FastAPI's, with bearer authentication and the errors that all routes share."""
    made = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
    made.setdefault("components", {})["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    made["components"].setdefault("schemas", {})["Error"] = ERROR_SCHEMA
    for unused in ("HTTPValidationError", "ValidationError"):
        made["components"]["schemas"].pop(unused, None)
    for path, operations in made["paths"].items():
        is_open = path in OPEN_PATHS
        for operation in operations.values():
            operation["security"] = [] if is_open else [{"token": []}]
            operation["responses"] |= {status: _error(status) for status in (BARE_ERRORS if is_open else ERRORS)}
    return made


class DocumentedApi(FastAPI):
    """FastAPI that answers GET /openapi.json, behind an API key like every other path, with the whole document."""

    def openapi(self) -> dict[str, Any]:
        """The document, made when it is first asked for."""
        if self.openapi_schema is None:
            self.openapi_schema = document(self)
        return self.openapi_schema


def _error(status: str) -> dict[str, Any]:
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    answer: dict[str, Any] = {"description": ERRORS[status], "content": content}
    return answer | ({"headers": RETRY_AFTER} if status in ("429", "503") else {})
