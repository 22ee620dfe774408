"""Made-up words of one syllable: names of things, names of tools, codes, and identifiers.

Tools begin with letters of their own, and codes end with such, so that none has the name of another.
"""

from random import Random

from common.errors import UserError


def _syllables(onsets: str, codas: str) -> tuple[str, ...]:
    return tuple(onset + nucleus + coda for onset in onsets for nucleus in "aeiou" for coda in codas)


_THINGS = _syllables("bdfgklmnprstvz", "nl")
_TOOLS = _syllables("chjwy", "nrlksm")
_CODES = tuple(f"{onset}{vowel}{'mk'[row % 2]}" for row, onset in enumerate("bdfgklmnprstvz") for vowel in "aeiou")
"""No two begin with the same two letters, and none is a part of a description's word, as prompts would replace it."""
_LETTERS = "ABCDEFGHKLMNPQRSTVZ"


def proper_name(rng: Random) -> str:
    """Draw the name of a thing or of a person, such as `Kun`."""
    return rng.choice(_THINGS).capitalize()


def identifier(rng: Random) -> str:
    """Draw an id such as `K4`."""
    return f"{rng.choice(_LETTERS)}{rng.randint(2, 9)}"


def proper_names() -> tuple[str, ...]:
    """All names of things that there are."""
    return tuple(map(str.capitalize, _THINGS))


def identifiers(rng: Random, count: int) -> list[str]:
    """Draw `count` ids, each another."""
    return rng.sample([f"{letter}{number}" for letter in _LETTERS for number in range(2, 10)], count)


def tool_name(rng: Random) -> str:
    """Draw the name of a tool, such as `jam`."""
    return rng.choice(_TOOLS)


def double_name(rng: Random, held_out: bool) -> str:
    """Draw a name of two syllables, such as `camhen`; those that are held out have them the other way round."""
    return "".join(sorted(rng.sample(_TOOLS, 2), reverse=held_out))


def new_double_names(rng: Random, count: int, held_out: bool, taken: set[str]) -> list[str]:
    """Draw `count` names of two syllables that are not in `taken`, and add them to it.

    Raises UserError where there aren't that many.
    """
    most = len(_TOOLS) * (len(_TOOLS) - 1) // 2
    _check_count(count, most - sum((name[:3] > name[3:]) == held_out for name in taken))
    names: dict[str, None] = {}
    while len(names) < count:
        name = double_name(rng, held_out)
        if name not in taken:
            names[name] = None
    taken.update(names)
    return list(names)


def codes(rng: Random, count: int) -> list[str]:
    """Draw `count` codes such as `zok`, each another; all are short enough for one token each."""
    return rng.sample(_CODES, count)


def new_names(rng: Random, count: int, taken: set[str]) -> list[str]:
    """Draw `count` tool names that are not in `taken`, and add them to it.

    Raises UserError where there aren't that many.
    """
    free = [name for name in _TOOLS if name not in taken]
    _check_count(count, len(free))
    names = rng.sample(free, count)
    taken.update(names)
    return names


def _check_count(count: int, free: int) -> None:
    if count > free:
        raise UserError(f"got {count} tools of one category, but only {free} names are left: ask for fewer")
