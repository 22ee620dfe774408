"""Answers marked in a text while it is written: what a reader could know from what stands before it."""

import re
from itertools import accumulate, pairwise

_BEGIN, _END = "\x02", "\x03"
_MARKS = re.compile(f"[{_BEGIN}{_END}]")

Span = tuple[int, int]


def answer(text: str) -> str:
    """Return `text` marked."""
    return f"{_BEGIN}{text}{_END}"


def read_marks(text: str) -> tuple[str, tuple[Span, ...]]:
    """Return `text` without marks, and the marked parts: the first character of each, and the one after its last."""
    parts = _MARKS.split(text)
    places = list(pairwise(accumulate(map(len, parts), initial=0)))
    return "".join(parts), tuple(places[1::2])
