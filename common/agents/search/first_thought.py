"""First-thought prefix (FTP): a teacher begins its first step as it would begin to reason about the question alone.

Agent Distillation's two calls (Apache-2.0 code of "Distilling LLM Agents into Small Models with Retrieval and Code
Tools"): the question is asked without tools, greedily, and the answer's first paragraph becomes the beginning of the
first turn, which the teacher then continues. The turn is recorded whole, as if it had been written so: students learn
from it without a hint that it was begun for the teacher, and are never given a prefix themselves.

The prefix is `"Thought: "`, the paragraph and an empty line. ToolBench's turns begin with a line break, so that one is
put before it, and the first action may stand right behind the empty line, which then ends the Thought.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from common.agents.environment import ForkableEnvironment
from common.agents.policy import BoundReached, Policy, Sampling
from common.agents.search.protocol import Search
from common.agents.search.steps import child_seed, question
from common.agents.types import Outcome, WrittenTurn
from common.errors import UserError
from common.jsonl import Line, append, cut_torn_line, whole_lines
from common.sequences import Provenance
from common.toolbench.fields import take
from common.toolbench.react import ACTION, THOUGHT
from common.toolbench.rows import Turn

REASONING_PROMPT = (
    "Answer the user's question. Reason step by step first: what is asked, what follows from what, and what has to be "
    "found out. Then give the answer."
)


class PrefixStore:
    """First-thought prefixes by question, in a file of JSON lines where one is given.

    A question's first prefix stays. One process writes the file; any may read it meanwhile.
    """

    def __init__(self, file: Path | None = None) -> None:
        """Read what `file` holds; raises UserError where it can't be read, or a line of it is no prefix."""
        self._file, self._writes = file, False
        self._prefixes: dict[str, str] = {}
        for asked, prefix in _read(file) if file else ():
            self._prefixes.setdefault(asked, prefix)

    def get(self, question: str) -> str | None:
        """The question's prefix, if there is one."""
        return self._prefixes.get(question)

    def keep(self, question: str, prefix: str) -> str:
        """The question's prefix, which is `prefix` unless there was one. Raises UserError when it can't be written."""
        if question not in self._prefixes:
            if self._file:
                self._append(self._file, {"question": question, "prefix": prefix})
            self._prefixes[question] = prefix
        return self._prefixes[question]

    def _append(self, file: Path, line: Line) -> None:
        if not self._writes:
            cut_torn_line(file)
            self._writes = True
        append(file, [line])


def _read(file: Path) -> Iterator[tuple[str, str]]:
    try:
        lines = whole_lines(file)
    except OSError as error:
        raise UserError(f"can't read the prefixes in {file}: {error.strerror}; give a file") from None
    for number, written in enumerate(lines, start=1):
        try:
            line = json.loads(written)
            yield take(line, "question", str), take(line, "prefix", str)
        except (ValueError, UserError) as error:
            raise UserError(f"{file}, line {number}, holds no prefix ({error}); delete the line or the file") from None


@dataclass(frozen=True)
class FirstThought:
    """A search by a teacher, in which every turn that is drawn for the first step begins with a first thought."""

    search: Search
    store: PrefixStore

    async def __call__(
        self, policy: Policy, environment: ForkableEnvironment, opening: Sequence[Turn], sampling: Sampling
    ) -> Outcome:
        """As `Search`. Raises UserError where the policy is a student's."""
        if policy.provenance != "teacher":
            raise UserError(
                f"got a policy of provenance {policy.provenance}, expected a teacher's: students get no prefix"
            )
        asked = question(opening)
        prefix = self.store.get(asked)
        if prefix is None:
            try:
                prefix = self.store.keep(asked, await _first_thought(policy, asked, sampling))
            except BoundReached as reached:
                return Outcome((), reached.stop)
        begun = _Begun(policy, f"\n{prefix}", tuple(opening))
        return await self.search(begun, environment, opening, sampling)


async def _first_thought(policy: Policy, asked: str, sampling: Sampling) -> str:
    greedy = replace(sampling, n=1, temperature=0.0, seed=child_seed(sampling.seed))
    [answer] = await policy.write((Turn("system", REASONING_PROMPT), Turn("user", asked)), greedy)
    return THOUGHT + _reasoning(answer.text).split("\n\n")[0] + "\n\n"


def _reasoning(answer: str) -> str:
    """The answer; of one in ReAct form, which specialists write whatever they are asked, its Thought."""
    before, label, thought = answer.partition(THOUGHT)
    return thought.partition(ACTION)[0] if label and not before.strip() else answer


@dataclass(frozen=True)
class _Begun:
    """`policy`, whose first step behind `opening` begins with `prefix`; other questions, such as a ranking's, don't."""

    policy: Policy
    prefix: str
    opening: tuple[Turn, ...]

    @property
    def provenance(self) -> Provenance:
        return self.policy.provenance

    async def write(self, turns: Sequence[Turn], sampling: Sampling) -> list[WrittenTurn]:
        opening, later = tuple(turns[: len(self.opening)]), turns[len(self.opening) :]
        first = opening == self.opening and all(turn.role != "assistant" for turn in later)
        return await self.policy.write(turns, replace(sampling, prefix=self.prefix) if first else sampling)
