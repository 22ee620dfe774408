"""Tools and their APIs, and the split of a world's tools into training, unseen tools and unseen categories."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from random import Random
from typing import Any

from common.toolbench.names import function_name, identifier
from common.world import names
from common.world.domains import DOMAINS, HELD_OUT_DOMAINS, Domain
from common.world.settings import WorldSettings

SEARCH = "id"
"""What a search API answers: the id of a thing whose name is known."""
_NUMBERS = ("year", "page", "day")


@dataclass(frozen=True)
class Parameter:
    """A parameter as ToolBench's query records describe it; `kind` is STRING or NUMBER."""

    name: str
    kind: str
    description: str
    example: str

    def to_record(self) -> dict[str, str]:
        return {"name": self.name, "type": self.kind, "description": self.description, "default": self.example}


@dataclass(frozen=True)
class Api:
    """One API of a tool. It answers `fact` about the thing that its first required parameter names, or knows by id."""

    category: str
    tool: str
    name: str
    description: str
    thing: str
    fact: str
    by_id: bool
    required: tuple[Parameter, ...]
    optional: tuple[Parameter, ...]

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
    """A tool of one category. Where `search` is set, its APIs take ids, which `search` finds by name."""

    domain: Domain
    name: str
    description: str
    apis: tuple[Api, ...]
    search: Api | None


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
            yield from (*tool.apis, *([tool.search] if tool.search else []))


def build_catalogue(settings: WorldSettings) -> Catalogue:
    """Draw the world's tools."""
    rng = Random(f"{settings.seed} tools")
    taken: set[str] = set()

    def draw(domains: tuple[Domain, ...], count: int) -> tuple[Tool, ...]:
        return tuple(make_tool(rng, domain, name) for domain in domains for name in names.new_names(rng, count, taken))

    return Catalogue(
        train=draw(DOMAINS, settings.tools_per_category),
        unseen_tool=draw(DOMAINS, settings.unseen_tools_per_category),
        unseen_category=draw(HELD_OUT_DOMAINS, settings.unseen_tools_per_category),
    )


def make_tool(rng: Random, domain: Domain, name: str) -> Tool:
    """Draw a tool of `domain`: three or four facts to ask for, by name or by id."""
    by_id = rng.random() < 0.5
    facts = rng.sample(domain.facts, rng.choice((3, 4)))
    apis = tuple(_fact_api(rng, domain, name, fact, by_id) for fact in facts)
    description = rng.choice(("Facts about each {}.", "All about any {}.", "Data on every {}.")).format(domain.thing)
    return Tool(domain, name, description, apis, _search_api(rng, domain, name) if by_id else None)


def _search_api(rng: Random, domain: Domain, tool: str) -> Api:
    thing = domain.thing
    by_name = Parameter("name", "STRING", f"Name of the {thing}", names.proper_name(rng))
    return Api(
        domain.category, tool, f"Search {thing}", f"Find the id of a {thing}", thing, SEARCH, False, (by_name,), ()
    )


def _fact_api(rng: Random, domain: Domain, tool: str, fact: str, by_id: bool) -> Api:
    thing = domain.thing
    subject = (
        Parameter(f"{thing}_id", "STRING", f"Id of the {thing}", names.identifier(rng))
        if by_id
        else Parameter(thing, "STRING", f"Name of the {thing}", names.proper_name(rng))
    )
    name = f"Get {fact}"
    description = rng.choice(("Returns the {} of a {}", "The {} of any {}", "Gives a {} of a {}")).format(fact, thing)
    draw, number = rng.random(), _number(rng)
    required = (subject,)
    optional = (number,) if draw < 0.2 else ()
    return Api(domain.category, tool, name, description, thing, fact, by_id, required, optional)


def _number(rng: Random) -> Parameter:
    name = rng.choice(_NUMBERS)
    return Parameter(name, "NUMBER", f"The {name}", str(rng.randint(10, 99)))
