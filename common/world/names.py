"""Made-up words: names of things and tools, and identifiers, composed of a few dozen syllables.

Tools begin with syllables of their own, so that no tool has the name of a thing.
"""

from random import Random

_CODAS = "nrlsmk"


def _syllables(onsets: str) -> tuple[str, ...]:
    pairs = [onset + nucleus for onset in onsets for nucleus in "aeiou"]
    return tuple(pair + _CODAS[index % len(_CODAS)] for index, pair in enumerate(pairs))


_SYLLABLES = _syllables("bdfgklmnprstvz")
_TOOL_SYLLABLES = _syllables("chjwy")
_LETTERS = "abcdefghilmnoprstuvy"


def proper_name(rng: Random) -> str:
    """Draw the name of a thing or of a person, such as `Kamlot`."""
    return word(rng).capitalize()


def word(rng: Random) -> str:
    """Draw a lower-case word of two syllables."""
    return rng.choice(_SYLLABLES) + rng.choice(_SYLLABLES)


def odd_word(rng: Random) -> str:
    """Draw four to eight letters that follow no rule: as strange to a model as a word that it never read."""
    return "".join(rng.choices(_LETTERS, k=rng.randint(4, 8)))


def identifier(rng: Random) -> str:
    """Draw an id such as `K48`."""
    return f"{rng.choice('ABCDEFGHKLMNPQRSTVZ')}{rng.randint(10, 99)}"


def tool_name(rng: Random) -> str:
    """Draw the name of a tool, such as `Jamlot`."""
    return (rng.choice(_TOOL_SYLLABLES) + rng.choice(_SYLLABLES)).capitalize()


def new_names(rng: Random, count: int, taken: set[str]) -> list[str]:
    """Draw `count` tool names that are not in `taken`, and add them to it."""
    names: list[str] = []
    while len(names) < count:
        name = tool_name(rng)
        if name not in taken:
            taken.add(name)
            names.append(name)
    return names
