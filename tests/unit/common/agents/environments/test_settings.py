"""Settings of environments of a user's own tools, and their tasks: what contradicts itself is refused by name."""

from pathlib import Path
from typing import Any

import pytest

from common.agents.environments.settings import FunctionEnvironmentSettings, McpEnvironmentSettings
from common.agents.environments.tasks import read_tasks
from common.agents.types import Task
from common.errors import UserError
from common.settings import validate


def test_tasks_are_read_with_what_else_they_hold(tmp_path: Path):
    file = tmp_path / "tasks.jsonl"
    file.write_text('\ufeff{"id": "a", "query": "Sum\u2028up?", "sum": 5}\n\n{"id": "b", "query": ""}')
    settings = FunctionEnvironmentSettings(kind="functions", module="own", tasks=file)
    assert settings.read_tasks() == [Task("a", "Sum\u2028up?", data={"sum": 5}), Task("b", "")]


BAD_TASKS = [
    (None, "can't read the tasks in .*No such file"),
    (b"\xff", "can't read the tasks in .*utf-8"),
    (b"\n", "holds no tasks"),
    (b'{"id": "a", "query": "?"}\n{"id": "b"', "line 2 is no JSON"),
    (b"[" * 100_000, "line 1 is no JSON"),
    (b'{"id": 1, "query": "?"}', "line 1.id' holds a whole number|line 1.id' holds 1"),
    (b'{"id": "a"}', "line 1.query' is missing"),
    (b'{"id": "a", "query": "\\ud800"}', "line 1.query' holds half a character"),
    (b'{"id": "a", "query": "?"}\n{"id": "a", "query": "!"}', "got the id 'a' twice"),
]


@pytest.mark.parametrize(("data", "words"), BAD_TASKS)
def test_tasks_that_cannot_be_read_are_refused_by_name(tmp_path: Path, data: bytes | None, words: str):
    if data is not None:
        (tmp_path / "tasks.jsonl").write_bytes(data)
    with pytest.raises(UserError, match=words):
        read_tasks(tmp_path / "tasks.jsonl")


HASH = "0" * 64
GOOD = {"command": "shop", "args": ["--stdio"], "env": {"A": "1"}, "inherit": ["PATH"], "tools_sha256": HASH}
BAD_SERVERS = [
    ({}, "expected either a command or a url"),
    ({"command": "shop", "url": "http://here/mcp"}, "expected either a command or a url"),
    ({"url": "http://here/mcp", "env": {}}, "env can't go with a url"),
    ({"command": "shop", "token_file": "token"}, "token_file can't go with a command"),
    ({"url": "http://elsewhere/mcp"}, "servers.odd.url: got http://elsewhere/mcp, expected .* add its host"),
    ({"url": "http://here@elsewhere/mcp"}, "servers.odd.url"),
    ({"url": "file://here/mcp"}, "servers.odd.url"),
    ({"command": "shop", "tools_sha256": "0"}, "servers.odd.tools_sha256"),
    ({"command": "shop", "shell": True}, "unknown key 'servers.odd.shell'"),
]


def settings(server: dict[str, Any]) -> McpEnvironmentSettings:
    values = {"kind": "mcp", "servers": {"odd": server}, "hosts": ["here"], "tasks": "tasks.jsonl"}
    return validate(McpEnvironmentSettings, values, "the test")


@pytest.mark.parametrize("server", [GOOD, {"url": "https://here:8000/mcp"}])
def test_a_server_is_a_command_or_an_address_at_a_listed_host(server: dict[str, Any]):
    assert settings(server).servers["odd"].keeps_state == ("command" in server)


@pytest.mark.parametrize(("server", "words"), BAD_SERVERS)
def test_a_server_that_contradicts_itself_is_refused_by_name(server: dict[str, Any], words: str):
    with pytest.raises(UserError, match=words):
        settings(server)
