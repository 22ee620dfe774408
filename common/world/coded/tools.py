"""The tools of coded worlds: made-up names and codes, and descriptions that say what is for what."""

from random import Random

from common.toolbench.status import Status
from common.world.catalogue import Api, Catalogue, Parameter, Tool
from common.world.coded import parameters
from common.world.coded.domains import DOMAINS, HELD_OUT_DOMAINS, Domain, attributes_of
from common.world.coded.words import MOMENTS, Meaning, phrase
from common.world.entities import ID, Attribute
from common.world.names import codes, new_double_names
from common.world.responses import FAILURES
from common.world.settings import WorldSettings

_TELLING = ("Returns the {} of a {}", "The {} of any {}", "Tells the {} of a {}")
_FAILING = 0.12
"""Share of APIs, where some fail."""


def build_catalogue(settings: WorldSettings, full: bool) -> Catalogue:
    """Draw the world's tools. No name of an unseen one may stand in a corpus."""
    rng = Random(f"{settings.seed} tools")
    taken: set[str] = set()

    def draw(domains: tuple[Domain, ...], count: int, held_out: bool) -> tuple[Tool, ...]:
        return tuple(
            make_tool(rng, domain, name, full)
            for domain in domains
            for name in new_double_names(rng, count, held_out, taken)
        )

    return Catalogue(
        train=draw(DOMAINS, settings.tools_per_category or 200, held_out=False),
        unseen_tool=draw(DOMAINS, settings.unseen_tools_per_category or 4, held_out=True),
        unseen_category=draw(HELD_OUT_DOMAINS, settings.unseen_tools_per_category or 4, held_out=True),
    )


def make_tool(rng: Random, domain: Domain, name: str, full: bool) -> Tool:
    """Draw a tool of `domain`; in `full` half of them know the thing's part too, whose id they give out themselves."""
    maker = _Maker(rng, domain, name, full)
    by_id = rng.random() < 0.5
    apis = maker.tell(domain.thing, by_id, 5 if full else 6)
    if full and rng.random() < 0.5:
        apis += [maker.link(by_id), *maker.tell(domain.part, True, 5)]
    return Tool(domain.category, domain.thing, name, "", tuple(apis), maker.search() if by_id else None)


class _Maker:
    """Draws the APIs of one tool, each with another code."""

    def __init__(self, rng: Random, domain: Domain, tool: str, full: bool) -> None:
        self._rng, self._domain, self._tool, self._full = rng, domain, tool, full
        self._codes = iter(codes(rng, 24))

    def tell(self, thing: str, by_id: bool, count: int) -> list[Api]:
        """APIs for `count` attributes of a `thing`; in full, for one moment or both."""
        apis = []
        for meaning in self._rng.sample(attributes_of(thing), count):
            moments = self._rng.choice((MOMENTS, MOMENTS[:1], MOMENTS[1:])) if self._full else ("",)
            apis += [self._tell(thing, by_id, meaning, moment) for moment in moments]
        return apis

    def search(self) -> Api:
        """The API that finds things by name."""
        thing = self._domain.thing
        name = parameters.subject(self._rng, thing, False, False)
        return self._api(f"Finds the id of a {thing} by its name", thing, ID, False, (name,), key=f"{thing}_id")

    def link(self, by_id: bool) -> Api:
        """The API that finds the part of a thing."""
        thing, part = self._domain.thing, self._domain.part
        subject = parameters.subject(self._rng, thing, by_id, self._full)
        return self._api(f"Finds the {part} of a {thing}", thing, Attribute(part), by_id, (subject,), key=f"{part}_id")

    def _tell(self, thing: str, by_id: bool, meaning: Meaning, moment: str) -> Api:
        rng, word = self._rng, self._rng.choice(meaning.words)
        unit = rng.choice(meaning.unit_names) if self._full and meaning.units else ""
        chosen = bool(unit) and rng.random() < 0.5
        description = rng.choice(_TELLING).format(phrase(word, moment, "" if chosen else unit), thing)
        more = parameters.extra(rng, self._full)
        if chosen:
            more.append((parameters.unit(meaning.unit_names, unit), rng.random() < 0.5))
        status = rng.choice(list(FAILURES)) if self._full and rng.random() < _FAILING else Status.OK
        required = (parameters.subject(rng, thing, by_id, self._full), *(each for each, needed in more if needed))
        optional = tuple(each for each, needed in more if not needed)
        attribute = Attribute(meaning.name, moment, unit)
        return self._api(description, thing, attribute, by_id, required, optional, "result", word, status)

    def _api(
        self,
        description: str,
        thing: str,
        attribute: Attribute,
        by_id: bool,
        required: tuple[Parameter, ...],
        optional: tuple[Parameter, ...] = (),
        key: str = "result",
        word: str = "",
        status: Status = Status.OK,
    ) -> Api:
        category, tool, code = self._domain.category, self._tool, next(self._codes)
        return Api(category, tool, code, description, thing, attribute, by_id, required, optional, key, word, status)
