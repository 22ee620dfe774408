"""What an MCP server answers to a call, as an observation."""

import json
from typing import Any

from mcp import MCPError
from mcp_types import CONNECTION_CLOSED, INVALID_PARAMS, PARSE_ERROR, CallToolResult

from common.agents.environments.answers import answer, failure
from common.agents.types import Observation, Status

_STATUSES = {
    INVALID_PARAMS: Status.BAD_INPUT,
    PARSE_ERROR: Status.SENDING_FAILED,
    CONNECTION_CLOSED: Status.SENDING_FAILED,
}


def observation_of(result: CallToolResult) -> Observation:
    """The result's texts, one below the other; parts of other kinds are named in their places."""
    text = "\n".join(map(_shown, result.content))
    if not result.content and result.structured_content is not None:
        text = json.dumps(result.structured_content, ensure_ascii=False)
    if result.is_error:
        return Observation(answer("", error=text), Status.ERROR_IN_MESSAGE)
    return Observation(answer(text), Status.OK)


def observation_of_error(error: MCPError) -> Observation:
    """What a server answers that doesn't run a tool."""
    return failure(error.message, _STATUSES.get(error.code, Status.ERROR_IN_MESSAGE))


def _shown(part: Any) -> str:
    if part.type == "text":
        return str(part.text)
    about = getattr(part, "mime_type", None) or getattr(getattr(part, "resource", part), "uri", "")
    return f"[{part.type}: {about}]"
