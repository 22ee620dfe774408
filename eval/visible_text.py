"""Text that others wrote, as a person can look at it: nothing in it hides, reorders its line or floods the page."""

import unicodedata

LONGEST = 20_000
"""Most characters that are shown of one text."""
HIDING = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
"""Unicode's categories of what has no shape of its own: controls, bidirectional marks, halves of characters, …"""


def visible(text: str, longest: int = LONGEST) -> str:
    """`text` with what hides named by its code point, as "⟨U+202E⟩", cut with a note behind `longest` characters."""
    shown = "".join(_shown(character) for character in text[:longest])
    return shown if len(text) <= longest else f"{shown} … [cut: {len(text):,} characters in all]"


def one_line(text: str, longest: int = 200) -> str:
    """`text` as `visible` shows it, in one line."""
    return visible(" ".join(text[: 4 * longest].split()) + text[4 * longest :], longest)


def _shown(character: str) -> str:
    if character in "\n\t" or unicodedata.category(character) not in HIDING:
        return character
    return f"⟨U+{ord(character):04X}⟩"
