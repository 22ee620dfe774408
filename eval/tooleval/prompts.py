"""What a judge is asked, and how its reply is read."""

import re
from pathlib import Path
from string import Template
from typing import Literal, Self

from pydantic import model_validator

from common.settings import Settings, load

Kind = Literal["answer_status", "path_status", "task_status", "better_answer", "final_answer"]
DEFAULT = Path(__file__).with_name("prompts.yaml")
LABELS: dict[Kind, tuple[str, ...]] = {
    "answer_status": ("Solved", "Unsolved", "Unsure"),
    "path_status": ("Solved", "Unsolved", "Unsure"),
    "task_status": ("Solvable", "Unsolvable", "Unsure"),
    "better_answer": ("A", "B"),
    "final_answer": ("Solved", "Unsolved"),
}
"""The labels that a reply may have."""
FIELDS: dict[Kind, set[str]] = {
    "answer_status": {"query", "answer"},
    "path_status": {"query", "answer", "path"},
    "task_status": {"query", "tools"},
    "better_answer": {"query", "answer_a", "answer_b", "path_a", "path_b"},
    "final_answer": {"query", "answer"},
}
"""What is filled into each prompt."""


class JudgePrompt(Settings):
    """One question to the judge."""

    heading: str
    """What stands before the label in a reply, on the same line or the line before."""
    text: str
    """The question; `$name` is filled in."""

    def filled(self, **fields: str) -> str:
        """The question about something."""
        return Template(self.text).substitute(fields)


class JudgePrompts(Settings):
    """All that a judge may be asked."""

    answer_status: JudgePrompt
    """Whether an answer solves its query."""
    path_status: JudgePrompt
    """The same, with the whole path, where the answer alone leaves it open."""
    task_status: JudgePrompt
    """Whether a query can be solved with the functions on offer."""
    better_answer: JudgePrompt
    """Which of two answers is better."""
    final_answer: JudgePrompt
    """Whether a final answer is complete, for FAC."""

    @model_validator(mode="after")
    def _names_what_is_filled_in(self) -> Self:
        for kind, fields in FIELDS.items():
            template = Template(self.of(kind).text)
            if not template.is_valid() or set(template.get_identifiers()) != fields:
                names = ", ".join(f"${name}" for name in sorted(fields))
                raise ValueError(f"the prompt {kind!r} must name {names} and nothing else; a dollar sign is $$")
        return self

    def of(self, kind: Kind) -> JudgePrompt:
        """The prompt of one kind."""
        prompt: JudgePrompt = getattr(self, kind)
        return prompt


def load_prompts(file: Path | None) -> JudgePrompts:
    """The prompts in `file`, else the project's own. Raises UserError."""
    return load(JudgePrompts, file or DEFAULT)


def label_in(reply: str, heading: str, labels: tuple[str, ...]) -> str | None:
    """The label that stands alone behind `heading`; None where there is none, or several that differ.

    Capitals don't matter, nor marks of emphasis, nor a full stop.
    """
    mark = r"[ \t*_#]*"
    line = rf"^{mark}{re.escape(heading)}{mark}:?{mark}\n?{mark}({'|'.join(labels)}){mark}\.?{mark}$"
    found = {match.lower() for match in re.findall(line, reply, re.IGNORECASE | re.MULTILINE)}
    return next((label for label in labels if {label.lower()} == found), None)
