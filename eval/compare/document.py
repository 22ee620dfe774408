"""A report as data, before it becomes HTML or Markdown: sections of paragraphs, tables, plots, texts side by side."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

Tone = Literal["plain", "good", "bad", "note"]
"""How what is said is meant: as it is, as it should be, as it should not be, or said beside."""


@dataclass(frozen=True)
class Paragraph:
    """A few sentences."""

    text: str
    tone: Tone = "plain"


@dataclass(frozen=True)
class TableCell:
    """A table's cell."""

    text: str
    tone: Tone = "plain"
    number: bool = False


@dataclass(frozen=True)
class Table:
    """Rows of as many cells as there are columns."""

    columns: Sequence[str]
    rows: Sequence[Sequence[TableCell]]
    caption: str = ""


@dataclass(frozen=True)
class Plot:
    """A picture, and in words what it shows."""

    name: str
    """Of its file, without suffix."""
    caption: str
    draw: Callable[[], bytes]

    @cached_property
    def png(self) -> bytes:
        """The picture, drawn when it is first asked for."""
        return self.draw()


@dataclass(frozen=True)
class Text:
    """What a model wrote, in pieces: each with whether the text beside it lacks it."""

    title: str
    pieces: Sequence[tuple[str, bool]]

    @property
    def whole(self) -> str:
        return "".join(piece for piece, _ in self.pieces)


@dataclass(frozen=True)
class SideBySide:
    """Texts side by side."""

    title: str
    texts: Sequence[Text]


Block = Paragraph | Table | Plot | SideBySide


@dataclass(frozen=True)
class Section:
    """A heading and what stands below it."""

    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Document:
    """A whole report."""

    title: str
    sections: Sequence[Section]

    @property
    def plots(self) -> list[Plot]:
        return [block for section in self.sections for block in section.blocks if isinstance(block, Plot)]


def number(value: float | None, form: str = "{:.3f}") -> TableCell:
    """A cell of a number; a dash where there is none."""
    return TableCell("–" if value is None else form.format(value), number=True)


def plain(*texts: str) -> list[TableCell]:
    """Cells of texts."""
    return [TableCell(text) for text in texts]


def count_of(count: int, total: int) -> TableCell:
    """A cell of how many there are of all."""
    return TableCell(f"{count} of {total}", "plain" if count == total else "bad", number=True)
