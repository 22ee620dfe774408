"""What one may ask in a coded world, and the words for it: several mean the same, and only prose says which."""

from dataclasses import dataclass

MOMENTS = ("current", "former")


@dataclass(frozen=True)
class Meaning:
    """An attribute by all its words, the first of which names it. `units` say how many of each its value is times."""

    words: tuple[str, ...]
    number: bool = False
    units: tuple[tuple[str, int], ...] = ()

    @property
    def name(self) -> str:
        """The first word."""
        return self.words[0]

    @property
    def unit_names(self) -> tuple[str, ...]:
        """Names of its units, if it has any."""
        return tuple(name for name, _ in self.units)


_LENGTHS = (("metres", 1), ("feet", 3))
MEANINGS = (
    Meaning(("price", "cost", "fee", "charge"), True, (("euros", 1), ("cents", 100))),
    Meaning(("weight", "mass", "load", "heft"), True, (("kilos", 1), ("pounds", 2))),
    Meaning(("height", "tallness", "rise", "altitude"), True, _LENGTHS),
    Meaning(("length", "extent", "span", "reach"), True, _LENGTHS),
    Meaning(("delay", "wait", "lag", "lateness"), True, (("hours", 1), ("minutes", 60))),
    Meaning(("size", "bulk", "volume", "magnitude"), True),
    Meaning(("speed", "pace", "rate", "velocity"), True),
    Meaning(("rank", "grade", "level", "standing"), True),
    Meaning(("danger", "risk", "hazard", "peril"), True),
    Meaning(("noise", "sound", "clamour", "racket"), True),
    Meaning(("heat", "warmth", "temperature", "hotness"), True),
    Meaning(("owner", "holder", "keeper", "proprietor")),
    Meaning(("maker", "builder", "creator", "producer")),
    Meaning(("leader", "head", "chief", "boss")),
    Meaning(("helper", "aide", "deputy", "backup")),
    Meaning(("guest", "visitor", "caller", "patron")),
    Meaning(("friend", "ally", "partner", "mate")),
    Meaning(("place", "spot", "site", "location")),
    Meaning(("start", "beginning", "opening", "outset")),
    Meaning(("colour", "hue", "tint", "shade")),
    Meaning(("prize", "award", "trophy", "reward")),
    Meaning(("fault", "flaw", "defect", "blemish")),
    Meaning(("rule", "law", "norm", "decree")),
    Meaning(("sign", "mark", "symbol", "emblem")),
)
BY_NAME = {meaning.name: meaning for meaning in MEANINGS}
NAME_OF = {word: meaning.name for meaning in MEANINGS for word in meaning.words}
"""The attribute that a word names."""
UNITS = frozenset(unit for meaning in MEANINGS for unit in meaning.unit_names)


def phrase(word: str, moment: str, unit: str) -> str:
    """What a sentence says after "the": `former cost in cents`."""
    return " ".join(filter(None, (moment, word, f"in {unit}" if unit else "")))
