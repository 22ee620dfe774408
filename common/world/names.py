"""Made-up words: names of things, tools and identifiers, drawn from syllables."""

from random import Random

_ONSETS = tuple("bdfgklmnprstvz")
_NUCLEI = tuple("aeiou")
_CODAS = ("", "", "", "n", "r", "l", "s")
_TOOL_ENDINGS = ("hub", "base", "info", "desk", "ly", "map")


def word(rng: Random, syllables: int) -> str:
    """Draw a lower-case word such as `kamor`."""
    opening = [rng.choice(_ONSETS) + rng.choice(_NUCLEI) for _ in range(syllables)]
    return "".join(opening) + rng.choice(_CODAS)


def proper_name(rng: Random) -> str:
    """Draw the name of a thing or of a person, such as `Kamor`."""
    return word(rng, rng.choice((2, 3))).capitalize()


def identifier(rng: Random) -> str:
    """Draw an id such as `K482`."""
    return f"{rng.choice('ABCDEFGHKLMNPQRSTVZ')}{rng.randint(100, 999)}"


def tool_name(rng: Random) -> str:
    """Draw the name of a tool, such as `Kamohub`."""
    return (word(rng, 2) + rng.choice(_TOOL_ENDINGS)).capitalize()


def new_names(rng: Random, count: int, taken: set[str]) -> list[str]:
    """Draw `count` tool names that are not in `taken`, and add them to it."""
    names: list[str] = []
    while len(names) < count:
        name = tool_name(rng)
        if name not in taken:
            taken.add(name)
            names.append(name)
    return names
