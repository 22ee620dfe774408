"""Prefix sharing: a sequence that begins another one's prompt is not read twice.

ToolBench repeats a trace's history in the row of every step. Causal attention computes the same hidden states for that
history wherever it stands. So the earlier step's completion can take its targets inside the later sequence, together
with what the teacher said when it scored the earlier step alone. Loss and gradient are those of separate sequences.

Token ids alone decide: an earlier step's prompt and completion, terminator included, must begin the later prompt. A
chat template that closes every assistant turn gives that. ToolBench's own layout closes the last turn only, so it does
not; neither do the branches of a search, nor turns that the teacher wrote.
"""

from dataclasses import dataclass

from common.sequences import Sequence
from student_trainer.data.plan import Example


@dataclass(frozen=True)
class MergedTrace:
    """One sequence to read, and the examples that learn in it: the longest first, the others inside its prompt."""

    examples: list[Example]

    @property
    def sequence(self) -> Sequence:
        """All tokens to read."""
        return self.examples[0].sequence

    def __len__(self) -> int:
        return len(self.sequence)

    @property
    def tokens_saved(self) -> int:
        """Tokens that its examples have as separate sequences, less those to read."""
        return sum(len(example.sequence) for example in self.examples) - len(self)


def merge_traces(examples: list[Example]) -> list[MergedTrace]:
    """The fewest sequences that hold every example, longest first.

    They depend on the set of examples alone, not on its order.
    """
    traces: list[MergedTrace] = []
    for example in sorted(examples, key=lambda example: (-len(example.sequence), example.key)):
        home = next((trace for trace in traces if _begins(example.sequence, trace.sequence)), None)
        if home is None:
            traces.append(MergedTrace([example]))
        else:
            home.examples.append(example)
    return traces


def _begins(earlier: Sequence, later: Sequence) -> bool:
    """Whether all tokens of a recorded sequence begin the prompt of a longer recorded one."""
    prompt, completion, end = earlier.prompt_ids, earlier.completion_ids, len(earlier)
    return (
        earlier.provenance == later.provenance == "dataset"
        and end <= len(later.prompt_ids)
        and later.prompt_ids[len(prompt) : end] == completion
        and later.prompt_ids[: len(prompt)] == prompt
    )
