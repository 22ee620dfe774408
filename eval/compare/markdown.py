"""The same report as GitHub's Markdown, its figures as files beside it. Texts of others stay text here too."""

import re
from collections.abc import Iterable
from difflib import unified_diff

from eval.compare.document import Block, Document, Paragraph, Plot, SideBySide, Table
from eval.visible_text import one_line, visible

FIGURES = "figures"
"""Folder of the pictures, beside the file."""
MEANINGFUL = re.compile(r"([\\`*_\[\]<>|~&$#!])")
"""Characters that Markdown may take for more than themselves."""
TONES = {"plain": "", "note": "", "good": "**✓** ", "bad": "**✗** "}


def render_markdown(document: Document) -> str:
    """The whole file."""
    parts = [f"# {escaped(document.title)}"]
    for section in document.sections:
        parts += [f"## {escaped(section.title)}", *(_block(block) for block in section.blocks)]
    return "\n\n".join(parts) + "\n"


def escaped(text: str) -> str:
    """`text` in one line that Markdown shows as it is."""
    return MEANINGFUL.sub(r"\\\1", one_line(text, 20_000))


def _block(block: Block) -> str:
    match block:
        case Paragraph():
            return TONES[block.tone] + escaped(block.text)
        case Table():
            return _table(block)
        case Plot():
            return f"![{escaped(block.caption)}]({FIGURES}/{block.name}.png)\n\n{escaped(block.caption)}"
        case SideBySide():
            return _side_by_side(block)


def _table(table: Table) -> str:
    caption = [f"**{escaped(table.caption)}**", ""] if table.caption else []
    head = [_line(map(escaped, table.columns)), _line("---" for _ in table.columns)]
    rows = [_line(TONES[cell.tone] * bool(cell.text) + escaped(cell.text) for cell in row) for row in table.rows]
    return "\n".join([*caption, *head, *rows])


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _side_by_side(texts: SideBySide) -> str:
    """Both texts as one, with the lines of the first (-) that the second changes (+)."""
    first, second = texts.texts
    ours, theirs = (visible(text.whole).split("\n") for text in (first, second))
    changes = list(unified_diff(ours, theirs, one_line(first.title), one_line(second.title), n=10_000, lineterm=""))
    text = "\n".join(changes or ours)
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    titles = f"{escaped(first.title)}; {escaped(second.title)}"
    return f"### {escaped(texts.title)}\n\n{titles}\n\n{fence}diff\n{text}\n{fence}"
