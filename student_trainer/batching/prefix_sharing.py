"""Steps of one trace train together: a row whose tokens begin another row's prompt is not read twice.

ToolBench repeats a trace's history in the row of every step. Causal attention computes the same hidden states for that
history wherever it stands, so the earlier row's completion can take its targets, and what the teacher said when it
scored that row alone, inside the later row. Loss and gradient are those of the separate rows.

Token ids alone decide: an earlier row's prompt and completion, terminator included, must begin the later row's prompt.
A chat template that closes every assistant turn gives that; ToolBench's own layout, which closes the last turn only,
does not, nor do the branches of a search or turns that the teacher wrote.
"""

from dataclasses import dataclass

from common.sequences import Sequence
from student_trainer.data.plan import Example


@dataclass(frozen=True)
class Strand:
    """One sequence to read, and the examples that learn in it: the longest first, the others inside its prompt."""

    examples: list[Example]

    @property
    def sequence(self) -> Sequence:
        """All tokens of the strand."""
        return self.examples[0].sequence

    def __len__(self) -> int:
        return len(self.sequence)

    @property
    def tokens_saved(self) -> int:
        """Tokens that its examples have apart, less what the strand has."""
        return sum(len(example.sequence) for example in self.examples) - len(self)


def merge_traces(examples: list[Example]) -> list[Strand]:
    """The fewest strands that hold every example, longest first.

    They depend on the set of examples alone, not on its order.
    """
    strands: list[Strand] = []
    for example in sorted(examples, key=lambda example: (-len(example.sequence), example.epoch, example.position)):
        home = next((strand for strand in strands if _begins(example.sequence, strand.sequence)), None)
        if home is None:
            strands.append(Strand([example]))
        else:
            home.examples.append(example)
    return strands


def _begins(earlier: Sequence, later: Sequence) -> bool:
    """Whether a recorded row, to its last token, is how a longer recorded row's prompt begins."""
    prompt, completion, end = earlier.prompt_ids, earlier.completion_ids, len(earlier)
    return (
        earlier.provenance == later.provenance == "dataset"
        and end <= len(later.prompt_ids)
        and later.prompt_ids[len(prompt) : end] == completion
        and later.prompt_ids[: len(prompt)] == prompt
    )
