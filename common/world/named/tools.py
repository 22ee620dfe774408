"""Tools and their APIs, and the split of a world's tools into training, unseen tools and unseen categories."""

from random import Random

from common.world import names
from common.world.catalogue import Api, Catalogue, Parameter, Tool
from common.world.entities import ID, Attribute
from common.world.named.domains import DOMAINS, HELD_OUT_DOMAINS, Domain
from common.world.settings import WorldSettings

_NUMBERS = ("year", "page", "day")


def build_catalogue(settings: WorldSettings) -> Catalogue:
    """Draw the world's tools."""
    rng = Random(f"{settings.seed} tools")
    taken: set[str] = set()

    def draw(domains: tuple[Domain, ...], count: int) -> tuple[Tool, ...]:
        return tuple(make_tool(rng, domain, name) for domain in domains for name in names.new_names(rng, count, taken))

    return Catalogue(
        train=draw(DOMAINS, settings.tools_per_category or 6),
        unseen_tool=draw(DOMAINS, settings.unseen_tools_per_category or 2),
        unseen_category=draw(HELD_OUT_DOMAINS, settings.unseen_tools_per_category or 2),
    )


def make_tool(rng: Random, domain: Domain, name: str) -> Tool:
    """Draw a tool of `domain`: three or four facts to ask for, by name or by id."""
    by_id = rng.random() < 0.5
    facts = rng.sample(domain.facts, rng.choice((3, 4)))
    apis = tuple(_fact_api(rng, domain, name, fact, by_id) for fact in facts)
    description = rng.choice(("Facts about each {}.", "All about any {}.", "Data on every {}.")).format(domain.thing)
    search = _search_api(rng, domain, name) if by_id else None
    return Tool(domain.category, domain.thing, name, description, apis, search)


def _search_api(rng: Random, domain: Domain, tool: str) -> Api:
    thing = domain.thing
    by_name = Parameter("name", "STRING", f"Name of the {thing}", names.proper_name(rng))
    return Api(domain.category, tool, f"Search {thing}", f"Find the id of a {thing}", thing, ID, False, (by_name,), ())


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
    return Api(domain.category, tool, name, description, thing, Attribute(fact), by_id, required, optional)


def _number(rng: Random) -> Parameter:
    name = rng.choice(_NUMBERS)
    return Parameter(name, "NUMBER", f"The {name}", str(rng.randint(10, 99)))
