"""Settings of the environments that answer by a user's own tools."""

from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, StringConstraints, model_validator

from common.agents.environments.tasks import read_tasks
from common.agents.types import Task
from common.settings import Settings, UserPath


class FunctionEnvironmentSettings(Settings):
    """A user's Python functions."""

    kind: Literal["functions"]
    """What it is."""
    module: str
    """A Python file, or a module's dotted name. Its `tools` are a list of functions, or a function that returns the
    functions of one episode; its `success(task, final_answer, observations)`, where there is one, tells whether it is
    solved."""
    tasks: UserPath
    """File of JSON Lines, each with `id` and `query`; what else they hold is what `success` knows of the task."""

    def read_tasks(self) -> list[Task]:
        """The tasks. Raises UserError."""
        return read_tasks(self.tasks)


class McpServerSettings(Settings):
    """One MCP server: a command that speaks over its standard input and output, or an address."""

    command: str = ""
    """A program, which is started without a shell."""
    args: tuple[str, ...] = ()
    """Its arguments."""
    env: dict[str, str] = {}
    """Its environment variables. It gets no others, PATH and HOME included, but for `inherit`."""
    inherit: tuple[str, ...] = ()
    """Names of environment variables of this process that it gets as well, such as PATH, or a key's that no file holds.
    """
    shared: bool = False
    """One process for all episodes in flight, for a server that keeps nothing of one call for the next; otherwise each
    episode has its own."""
    url: str = ""
    """Address of a server that speaks streamable HTTP."""
    token_file: UserPath | None = None
    """File with the bearer token that the address asks for."""
    start_s: float = Field(default=60, gt=0)
    """Seconds until it must have told its tools."""
    tools_sha256: Annotated[str, StringConstraints(pattern="^([0-9a-f]{64})?$")] = ""
    """Hash of its tools; one that offers others is refused. Without it, that of the first episode holds for the run."""

    @property
    def keeps_state(self) -> bool:
        """Whether each episode has a process of its own."""
        return bool(self.command) and not self.shared

    @model_validator(mode="after")
    def _one_way(self) -> "McpServerSettings":
        if bool(self.command) == bool(self.url):
            raise ValueError("expected either a command or a url")
        foreign = ("args", "env", "inherit", "shared") if self.url else ("token_file",)
        if wrong := self.model_fields_set.intersection(foreign):
            raise ValueError(f"{', '.join(sorted(wrong))} can't go with {'a url' if self.url else 'a command'}")
        return self


class McpEnvironmentSettings(Settings):
    """MCP servers, whose tools are offered together."""

    kind: Literal["mcp"]
    """What it is."""
    servers: dict[str, McpServerSettings] = Field(min_length=1)
    """By the names that prompts give them."""
    hosts: tuple[str, ...] = ()
    """Hosts that `url` may name; no other is asked, redirects included."""
    tasks: UserPath
    """File of JSON Lines, each with `id` and `query`."""

    @model_validator(mode="after")
    def _listed_hosts(self) -> "McpEnvironmentSettings":
        for name, server in self.servers.items():
            address = urlsplit(server.url)
            if server.url and (address.scheme not in ("http", "https") or address.hostname not in self.hosts):
                raise ValueError(
                    f"servers.{name}.url: got {server.url}, expected http or https to a host of {list(self.hosts)}; "
                    "add its host to hosts"
                )
        return self

    def read_tasks(self) -> list[Task]:
        """The tasks. Raises UserError."""
        return read_tasks(self.tasks)
