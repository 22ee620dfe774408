"""MCP servers as an environment: real ones over standard streams and HTTP, and ones that hang, die, lie and change."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from mcp.server.mcpserver import MCPServer

from common.agents.bounds import BoundedEnvironment, BoundSettings, Deadline
from common.agents.environment import InfrastructureFailure
from common.agents.environments.answers import ANSWER_CHARACTERS
from common.agents.environments.mcp_client import session, stdio
from common.agents.environments.mcp_servers import McpServers
from common.agents.environments.settings import McpServerSettings
from common.agents.types import Action, Status, Task
from common.errors import UserError
from common.toolbench.system_prompt import FINISH, offered_functions
from tests.unit.common.agents.environments.running import ends, running

TASK = Task("1", "Sum up?")
REAL = """
import asyncio, json, os, sys, time
from mcp.server.mcpserver import MCPServer
from mcp_types import ImageContent, TextContent
server = MCPServer("shop", instructions="Sells <|im_start|>things.")

@server.tool()
def add(a: int, b: int = 0) -> int:
    "Adds."
    return a + b

@server.tool()
def show() -> list[TextContent | ImageContent]:
    return [TextContent(type="text", text="a picture:"), ImageContent(type="image", data="", mime_type="image/png")]

@server.tool()
def environment() -> str:
    return json.dumps(sorted(os.environ))

@server.tool()
def long(characters: int) -> str:
    return "x" * characters

@server.tool()
async def wait() -> None:
    await asyncio.sleep(600)

@server.tool()
def die() -> None:
    print("a farewell", file=sys.stderr, flush=True)
    os._exit(3)

server.run("stdio")
"""
SCRIPTED = """
import json, os, pathlib, sys, time
tools = [{"name": "call", "inputSchema": {"type": "object"}}]
for line in sys.stdin:
    message = json.loads(line)
    def send(result, kind="result"):
        print(json.dumps({"jsonrpc": "2.0", "id": message["id"], kind: result}), flush=True)
    def say(text):
        os.write(1, text.replace("ID", str(message["id"])).encode(errors="surrogateescape") + b"\\n")
    match message["method"]:
        case "initialize":
            print("a word in between, which is no message", flush=True)
            about = {"name": "scripted", "version": "1"}
            send({"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": about})
        case "tools/list":
            send({"tools": tools + json.loads(pathlib.Path(sys.argv[1]).read_text())})
        case "tools/call":
            eval(message["params"]["arguments"]["do"])
        case method if "id" in message:
            send({"code": -32601, "message": f"no {method}"}, "error")
"""
"""A server that does what its one tool is told to do."""


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.Runner]:
    """One loop for the module, since starting the SDK's server takes seconds."""
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture(scope="module")
def shop(loop: asyncio.Runner, tmp_path_factory: pytest.TempPathFactory) -> Iterator[McpServers]:
    file = tmp_path_factory.mktemp("shop") / "shop.py"
    file.write_text(REAL)
    servers = McpServers(
        {"Shop": McpServerSettings(command=sys.executable, args=(str(file),), env={"A": "1"}, shared=True)}
    )
    yield servers
    loop.run(servers.close())


def scripted(folder: Path, **settings: Any) -> McpServers:
    (folder / "server.py").write_text(SCRIPTED)
    (folder / "more.json").write_text("[]")
    args = (str(folder / "server.py"), str(folder / "more.json"))
    return McpServers({"odd": McpServerSettings(command=sys.executable, args=args, **settings)})


@asynccontextmanager
async def episode(servers: McpServers, call_s: float = 20) -> AsyncIterator[BoundedEnvironment]:
    environment = BoundedEnvironment(
        servers.environment(), BoundSettings(call_s=call_s, observation_characters=10**6), Deadline(60)
    )
    await environment.reset(TASK)
    try:
        yield environment
    finally:
        await environment.close()


async def observe(environment: Any, name: str, **arguments: Any) -> tuple[Status, str]:
    observation, done = await environment.step(Action(name, json.dumps(arguments)))
    assert not done
    said = json.loads(observation.text)
    return observation.status, said["error"] or said["response"]


def test_a_servers_tools_are_offered_and_called(loop: asyncio.Runner, shop: McpServers):
    async def whole() -> None:
        environment = shop.environment()
        prompt, user = await environment.reset(TASK)
        functions = offered_functions(prompt.content)
        assert "\n1.shop: Sells <|im_start|>things.\n" in prompt.content
        assert user.content == "\nSum up?\nBegin!\n"
        assert [each["name"] for each in functions[:2]] == ["add_for_shop", "show_for_shop"]
        assert functions[0]["description"].endswith('The description of this function is: "Adds."')
        assert functions[0]["parameters"]["properties"]["a"]["type"] == "integer"
        assert (functions[0]["parameters"]["required"], functions[0]["parameters"]["optional"]) == (["a"], ["b"])
        assert functions[-1] == FINISH
        assert await observe(environment, "add_for_shop", a=2, b=3) == (Status.OK, "5")
        assert await observe(environment, "add_for_shop", a="2") == (
            Status.BAD_INPUT,
            "the parameter 'a' must be of integer",
        )
        assert (await observe(environment, "add"))[0] == Status.NO_SUCH_FUNCTION
        assert (await environment.step(Action("add_for_shop", "[")))[0].status == Status.BAD_INPUT
        assert await observe(environment, "show_for_shop") == (Status.OK, "a picture:\n[image: image/png]")
        own = {"A", "LC_CTYPE"}  # Python itself sets the latter
        assert set(json.loads((await observe(environment, "environment_for_shop"))[1])) <= own
        finished, done = await environment.step(Action("Finish", '{"return_type": "give_up_and_restart"}'))
        assert (finished.status, finished.solved, done) == (Status.GAVE_UP, None, True)

    loop.run(whole())


def test_long_answers_are_cut_or_refused(loop: asyncio.Runner, shop: McpServers):
    async def whole() -> None:
        async with episode(shop) as environment:
            observation, _ = await environment.step(Action("long_for_shop", '{"characters": 1000000}'))
            assert (observation.status, len(observation.text)) == (Status.OK, ANSWER_CHARACTERS + len("..."))
            answer = await observe(environment, "long_for_shop", characters=10_000_000)
            assert answer == (Status.SENDING_FAILED, f"its answer is longer than {stdio.MESSAGE_BYTES} bytes")
            assert await observe(environment, "add_for_shop", a=1) == (Status.OK, "1")

    loop.run(whole())


def test_a_call_that_hangs_costs_its_episode_its_time_and_others_nothing(loop: asyncio.Runner, shop: McpServers):
    async def hang() -> Status:
        async with episode(shop, call_s=1) as environment:
            return (await environment.step(Action("wait_for_shop", "{}")))[0].status

    async def other() -> list[tuple[Status, str]]:
        async with episode(shop) as environment:
            return [await observe(environment, "add_for_shop", a=number) for number in range(20)]

    async def whole() -> None:
        hanging = [asyncio.create_task(hang()) for _ in range(20)]
        assert await other() == [(Status.OK, str(number)) for number in range(20)]
        assert await asyncio.gather(*hanging) == [Status.TIMEOUT] * 20
        assert (await other())[0] == (Status.OK, "0")

    loop.run(whole())


def test_a_shared_server_that_dies_fails_its_episodes_by_name_and_starts_again(loop: asyncio.Runner, shop: McpServers):
    async def whole() -> None:
        async with episode(shop) as environment, episode(shop) as other:
            waiting = asyncio.create_task(other.step(Action("wait_for_shop", "{}")))
            words = "the MCP server Shop can't be called: it ended; it wrote: a farewell"
            with pytest.raises(InfrastructureFailure, match=words):
                await environment.step(Action("die_for_shop", "{}"))
            with pytest.raises(InfrastructureFailure, match=words):
                await waiting
        async with episode(shop) as environment:
            assert await observe(environment, "add_for_shop", a=1) == (Status.OK, "1")

    loop.run(whole())


def test_a_server_of_ones_own_that_dies_or_hangs_is_observed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(session, "PROBE_S", 0.3)
    servers = scripted(tmp_path)

    async def whole() -> None:
        async with episode(servers) as environment:
            do = "print('no', 'more', file=sys.stderr), os._exit(3)"
            ended = (Status.SENDING_FAILED, "call_for_odd can't be called: it ended; it wrote: no more")
            assert await observe(environment, "call_for_odd", do=do) == ended
            assert await observe(environment, "call_for_odd", do=do) == ended
        async with episode(servers, call_s=0.5) as environment:
            hung, _ = await environment.step(Action("call_for_odd", '{"do": "time.sleep(600)"}'))
            assert hung.status == Status.TIMEOUT
            await asyncio.sleep(1)
            status, words = await observe(environment, "call_for_odd", do="")
            assert (status, words) == (
                Status.SENDING_FAILED,
                "call_for_odd can't be called: it answered nothing any more",
            )

    asyncio.run(whole())


def test_a_shared_server_that_hangs_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(session, "PROBE_S", 0.3)
    servers = scripted(tmp_path, shared=True)

    async def whole() -> None:
        async with episode(servers, call_s=0.5) as environment, episode(servers) as other:
            hanging = asyncio.create_task(environment.step(Action("call_for_odd", '{"do": "time.sleep(600)"}')))
            await asyncio.sleep(0.1)
            with pytest.raises(InfrastructureFailure, match="the MCP server odd can't be called: it answered nothing"):
                await other.step(Action("call_for_odd", '{"do": ""}'))
            assert (await hanging)[0].status == Status.TIMEOUT
        async with episode(servers) as environment:
            assert await observe(environment, "call_for_odd", do=TELL) == (Status.OK, "told")
        await servers.close()

    asyncio.run(whole())


TELL = 'send({"content": [{"type": "text", "text": "told"}]})'
NO_MESSAGE, NO_RESULT = "its answer is no JSON-RPC message", "the server of call answered what is no result"
LIES = [
    ("""say('{"jsonrpc": "2.0", "id": ID, "result": {')""", 12, NO_MESSAGE),
    ("""say('{"result": {, "jsonrpc": "2.0", "id": ID}')""", 12, NO_MESSAGE),
    ("""say('{"jsonrpc": "2.0", "id": ID, "result": ' + 10000 * "[")""", 12, NO_MESSAGE),
    ("""say('{"jsonrpc": "2.0", "id": ID, "result": "' + chr(0xdcff) + '"}')""", 12, NO_MESSAGE),
    (r"""send({"content": [{"type": "text", "text": "\ud800"}]})""", 12, NO_MESSAGE),
    ("""send({"content": "many"})""", 12, NO_RESULT),
    ("""send({"content": [{"type": "smell"}]})""", 12, NO_RESULT),
    ("""send({"content": []})""", 0, ""),
    ("""send({"content": [], "structuredContent": {"a": [1]}})""", 0, '{"a": [1]}'),
    (r"""send({"content": [{"type": "text", "text": "no\nsuch"}], "isError": True})""", 11, "no\nsuch"),
    ("""send({"code": -32602, "message": "do isn't taken"}, "error")""", 2, "do isn't taken"),
    ("""send({"code": 7, "message": "broken"}, "error")""", 11, "broken"),
]


def test_whatever_a_server_answers_has_its_status_and_the_next_call_goes_on(tmp_path: Path):
    async def whole() -> None:
        async with episode(scripted(tmp_path)) as environment:
            for do, status, words in LIES:
                got, said = await observe(environment, "call_for_odd", do=do)
                assert (got, words in said) == (status, True), (do, said)
                assert await observe(environment, "call_for_odd", do=TELL) == (Status.OK, "told")

    asyncio.run(whole())


def test_what_a_server_starts_ends_with_its_episode(tmp_path: Path):
    async def whole() -> None:
        async with episode(scripted(tmp_path)) as environment:
            do = "(__import__('subprocess').Popen(['sleep', '602']), " + TELL + ")"
            await observe(environment, "call_for_odd", do=do)
            assert running("sleep", "602")
        assert ends("sleep", "602")

    asyncio.run(whole())


def test_a_server_that_changes_its_tools_is_refused_by_name(tmp_path: Path):
    servers = scripted(tmp_path)

    async def whole() -> None:
        environment = servers.environment()
        await environment.reset(TASK)
        sha256 = servers.sha256["odd"]
        await environment.reset(TASK)
        (tmp_path / "more.json").write_text('[{"name": "other", "inputSchema": {"type": "object"}}]')
        with pytest.raises(UserError, match=f"the MCP server odd offers other tools than before: .*expected {sha256}"):
            await environment.reset(TASK)
        with pytest.raises(UserError, match="the MCP server odd offers other tools than before"):
            await scripted_again(sha256).environment().reset(TASK)

    def scripted_again(sha256: str) -> McpServers:
        changed = servers.settings["odd"].model_copy(update={"tools_sha256": sha256})
        return McpServers({"odd": changed})

    asyncio.run(whole())


def test_only_what_keeps_nothing_forks(tmp_path: Path):
    async def whole() -> None:
        environment = scripted(tmp_path).environment()
        with pytest.raises(UserError, match="what the MCP server odd keeps can't be copied; set shared"):
            await environment.fork()
        servers = scripted(tmp_path, shared=True)
        environment = servers.environment()
        await environment.reset(TASK)
        other = await environment.fork()
        await environment.close()
        assert await observe(other, "call_for_odd", do=TELL) == (Status.OK, "told")
        await servers.close()

    asyncio.run(whole())


ABSENT = [
    ({"command": "no-such-program"}, "there is no program no-such-program"),
    ({"command": sys.executable, "args": ("-c", "raise SystemExit('no licence')")}, "can't be had: .*no licence"),
    (
        {"command": sys.executable, "args": ("-c", "import time; time.sleep(60)"), "start_s": 0.5},
        "it told no tools within 0.5 s",
    ),
    ({"url": "http://127.0.0.1:9/mcp"}, "can't be had: ConnectError"),
]


@pytest.mark.parametrize(("settings", "words"), ABSENT)
def test_a_server_that_cannot_be_had_is_the_users_mistake_at_first(settings: dict[str, Any], words: str):
    with pytest.raises(UserError, match=words):
        asyncio.run(McpServers({"odd": McpServerSettings(**settings)}).environment().reset(TASK))


def test_a_server_that_cannot_be_had_any_more_is_infrastructure(tmp_path: Path):
    servers = scripted(tmp_path)

    async def whole() -> None:
        async with episode(servers):
            (tmp_path / "server.py").unlink()
        with pytest.raises(InfrastructureFailure, match=r"the MCP server odd can't be had any more: .*No such file"):
            await servers.environment().reset(TASK)

    asyncio.run(whole())


def test_without_the_package_a_server_is_refused_by_name(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delitem(sys.modules, "common.agents.environments.mcp_client.session")
    monkeypatch.setitem(sys.modules, "mcp", None)
    with pytest.raises(UserError, match=r"MCP servers need the package mcp .*; pip install 'mcp>=2,<3'"):
        McpServers({})


def counting() -> MCPServer:
    server = MCPServer("counter")

    @server.tool()
    def count(letters: str) -> int:
        return len(letters)

    @server.tool()
    def long() -> str:
        return "x" * 10_000_000

    return server


@asynccontextmanager
async def served(**settings: Any) -> AsyncIterator[str]:
    """The address of a server on loopback."""
    app = counting().streamable_http_app(**settings)
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="critical", lifespan="on"))
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/mcp"
    server.should_exit = server.force_exit = True
    await serving


@pytest.mark.parametrize("json_response", [True, False])
def test_a_server_at_an_address(json_response: bool):
    async def whole() -> None:
        async with served(json_response=json_response) as url:
            servers = McpServers({"far": McpServerSettings(url=url)})
            async with episode(servers) as environment:
                assert await observe(environment, "count_for_far", letters="abc") == (Status.OK, "3")
                status, words = await observe(environment, "long_for_far")
                assert (status, "exceeded" in words or "longer than" in words) == (Status.SENDING_FAILED, True), words
                assert await observe(environment, "count_for_far", letters="abc") == (Status.OK, "3")
            async with episode(servers) as environment:
                pass
        with pytest.raises(InfrastructureFailure, match=r"the MCP server far can't be had any more"):
            await servers.environment().reset(TASK)

    asyncio.run(whole())
