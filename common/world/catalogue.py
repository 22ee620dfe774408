"""Tools and their APIs, as data: what prompts say of them and what they answer."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from random import Random
from typing import Any, Literal

from common.toolbench.names import function_name, identifier
from common.toolbench.status import Status
from common.world.entities import ID, Attribute

Kind = Literal["STRING", "NUMBER", "BOOLEAN"]


@dataclass(frozen=True)
class Parameter:
    """A parameter as ToolBench's query records describe it.

    Where `choices` are given, no other value is taken. Text begins with `prefix`, which is no part of what it means.
    """

    name: str
    kind: Kind
    description: str
    example: str
    choices: tuple[str, ...] = ()
    prefix: str = ""

    def to_record(self) -> dict[str, str]:
        return {"name": self.name, "type": self.kind, "description": self.description, "default": self.example}


@dataclass(frozen=True)
class Api:
    """One API of a tool. It tells `attribute` of the thing that its first required parameter names, or knows by id."""

    category: str
    tool: str
    name: str
    description: str
    thing: str
    attribute: Attribute
    by_id: bool
    required: tuple[Parameter, ...]
    optional: tuple[Parameter, ...]
    key: str = ""
    """Under which word its response tells the value; the attribute's own where it is empty."""
    word: str = ""
    """By which of an attribute's words its description calls what it tells, where there are several."""
    status: Status = Status.OK
    """How every call of it ends that is well formed."""

    def to_record(self) -> dict[str, Any]:
        """Return the entry of a query record's `api_list`."""
        return {
            "category_name": self.category,
            "tool_name": self.tool,
            "api_name": self.name,
            "api_description": self.description,
            "required_parameters": [parameter.to_record() for parameter in self.required],
            "optional_parameters": [parameter.to_record() for parameter in self.optional],
            "method": "GET",
        }

    @cached_property
    def function(self) -> str:
        """The name under which a prompt offers it."""
        return function_name(self.name, self.tool)

    @cached_property
    def subject(self) -> str:
        """The parameter, as prompts name it, that says which thing is meant."""
        return identifier(self.required[0].name)

    @cached_property
    def required_names(self) -> tuple[str, ...]:
        """Parameters without which it can't be called, as prompts name them."""
        return tuple(identifier(parameter.name) for parameter in self.required)

    @cached_property
    def parameters(self) -> dict[str, Parameter]:
        """All of its parameters by the names that prompts give them."""
        return {identifier(parameter.name): parameter for parameter in (*self.required, *self.optional)}


@dataclass(frozen=True)
class Tool:
    """A tool of one category. Where `search` is set, its APIs take ids of things, which `search` finds by name."""

    category: str
    thing: str
    name: str
    description: str
    apis: tuple[Api, ...]
    search: Api | None

    @property
    def all_apis(self) -> tuple[Api, ...]:
        """The search last."""
        return (*self.apis, self.search) if self.search else self.apis


@dataclass(frozen=True)
class Catalogue:
    """A world's tools by split; no tool stands in two of them."""

    train: tuple[Tool, ...]
    unseen_tool: tuple[Tool, ...]
    unseen_category: tuple[Tool, ...]

    @property
    def apis(self) -> Iterator[Api]:
        """Those of all tools."""
        for tool in (*self.train, *self.unseen_tool, *self.unseen_category):
            yield from tool.all_apis


def shuffle_descriptions(apis: Sequence[Api], rng: Random) -> list[Api]:
    """Shuffle the descriptions of those that tell facts; those that find ids keep theirs."""
    telling = [api.description for api in apis if api.attribute != ID]
    moved = iter(rng.sample(telling, len(telling)))
    return [api if api.attribute == ID else replace(api, description=next(moved)) for api in apis]
