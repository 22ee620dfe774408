"""ToolEval's procedure: which labels an answer gets in each round, and who wins a query.

After ToolBench (Apache-2.0, `tooleval/eval_pass_rate.py`, `eval_preference.py`, `evaluators/registered_cls/rtl.py`).
It differs in these: a pair's statuses are shuffled together with its answers (the source shuffles the answers alone, so
that a status may stand for the other answer); a task's solvability is judged once a round for all agents, not anew for
each; the agents of a pair are given the statuses of their own rounds.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import cast

from common.agents.episodes import seed_of
from eval.judging.judge import run_together
from eval.tooleval.answers import Answer, Node
from eval.tooleval.judge import Judge
from eval.tooleval.labels import (
    PASS_LABELS,
    AnswerStatus,
    TaskStatus,
    Verdict,
    Winner,
    majority,
    most_frequent,
    winner,
)
from eval.tooleval.rates import Comparison


@dataclass(frozen=True)
class Item:
    """An agent's answer to a query of a group."""

    agent: str
    group: str
    query: str
    answer: Answer

    @property
    def place(self) -> str:
        """Its name in judgements."""
        return f"{self.agent}/{self.group}/{self.query}"


@dataclass(frozen=True)
class Round:
    """What an answer is found to be in one round. The task isn't judged where the status decides alone."""

    status: AnswerStatus
    task: TaskStatus | None
    passed: bool
    coin_flip: bool


@dataclass(frozen=True)
class JudgedAnswer:
    """An answer and its rounds."""

    item: Item
    rounds: tuple[Round, ...]

    @property
    def statuses(self) -> list[AnswerStatus]:
        """The status in each round."""
        return [each.status for each in self.rounds]

    @property
    def verdict(self) -> Verdict:
        """By majority."""
        return majority([each.passed for each in self.rounds])


@dataclass(frozen=True)
class ComparedPair:
    """An agent's answer against the reference's: by pass labels, for the win rate, and by statuses, for SoWR."""

    item: Item
    by_pass: Comparison
    by_status: Comparison


@dataclass(frozen=True)
class FinalAnswer:
    """FAC's label of an answer."""

    item: Item
    label: AnswerStatus


@dataclass(frozen=True)
class Procedure:
    """Judges with `judge`, `rounds` times; coins and orders follow from `seed`."""

    judge: Judge
    rounds: int
    seed: int

    async def judge_answer(self, item: Item) -> JudgedAnswer:
        """All rounds of an answer. Raises Unjudged."""
        return JudgedAnswer(item, tuple(await run_together(self._round(item, each) for each in range(self.rounds))))

    async def _round(self, item: Item, number: int) -> Round:
        if not item.answer.finishes:
            return Round("Unsolved", None, False, False)
        status = await self._status(item, number)
        task = None if status == "Solved" else await self._task_status(item, number)
        label = PASS_LABELS[status, task or "Solvable"]
        passed = self._coin(item, number) if label == "unsure" else label == "passed"
        return Round(status, task, passed, label == "unsure")

    async def _status(self, item: Item, number: int) -> AnswerStatus:
        answer, place = item.answer, f"{item.place}/{number}"
        if not answer.said:
            return "Unsolved"
        status = await self.judge.label("answer_status", place, query=answer.query, answer=answer.said)
        if status == "Unsure":
            fields = {"query": answer.query, "answer": answer.said, "path": shown_path(answer)}
            status = await self.judge.label("path_status", place, **fields)
        return cast(AnswerStatus, status)

    async def _task_status(self, item: Item, number: int) -> TaskStatus:
        tools = "\n".join(json.dumps(tool, ensure_ascii=False) for tool in item.answer.available_tools)
        place = f"{item.group}/{item.query}/{number}"
        return cast(TaskStatus, await self.judge.label("task_status", place, query=item.answer.query, tools=tools))

    def _coin(self, item: Item, number: int) -> bool:
        return Random(seed_of(self.seed, "coin", item.place, number)).random() < 0.5

    async def compare(self, reference: JudgedAnswer, agent: JudgedAnswer) -> ComparedPair:
        """Both comparisons, which share their votes. Raises Unjudged."""
        by_pass, by_status = await self._by_pass(reference, agent), await self._by_status(reference, agent)
        return ComparedPair(agent.item, by_pass, by_status)

    async def _by_pass(self, reference: JudgedAnswer, agent: JudgedAnswer) -> Comparison:
        """ToolBench's, for the win rate: of different verdicts the one that passes wins, else the votes decide."""
        passed = (reference.verdict.passed, agent.verdict.passed)
        if passed[0] != passed[1]:
            return Comparison("agent" if passed[1] else "reference")
        return await self._by_votes(reference, agent)

    async def _by_status(self, reference: JudgedAnswer, agent: JudgedAnswer) -> Comparison:
        """StableToolBench's, for SoWR: Solved beats Unsolved, by the most frequent status; else the votes decide."""
        statuses = most_frequent(reference.statuses), most_frequent(agent.statuses)
        if set(statuses) == {"Solved", "Unsolved"}:
            return Comparison("agent" if statuses[1] == "Solved" else "reference")
        return await self._by_votes(reference, agent)

    async def _by_votes(self, reference: JudgedAnswer, agent: JudgedAnswer) -> Comparison:
        votes = await run_together(self._vote(reference, agent, number) for number in range(self.rounds))
        return Comparison(winner(votes), tuple(votes))

    async def _vote(self, reference: JudgedAnswer, agent: JudgedAnswer, number: int) -> Winner:
        """Whom a round prefers: who alone has the best status, else whom the judge picks of those that have it."""
        pair: dict[Winner, JudgedAnswer] = {"reference": reference, "agent": agent}
        place = f"{reference.item.agent}/{agent.item.place}/{number}"
        order = list(pair)
        Random(seed_of(self.seed, "order", place)).shuffle(order)
        first, second = shown = [(side, pair[side].item.answer, pair[side].rounds[number].status) for side in order]
        for status in ("Solved", "Unsure"):
            best = [side for side, _, found in shown if found == status]
            if len(best) == 1:
                return best[0]
        (side, a, _), (other, b, _) = first, second
        if (a.final_answer, a.path) == (b.final_answer, b.path):
            return side
        fields = {"answer_a": a.said, "path_a": shown_path(a), "answer_b": b.said, "path_b": shown_path(b)}
        label = await self.judge.label("better_answer", place, query=a.query, **fields)
        return side if label == "A" else other


async def judge_final_answer(judge: Judge, item: Item) -> FinalAnswer:
    """FAC's label of an answer: once, and of what the user is told alone. Raises Unjudged."""
    if not item.answer.said:
        return FinalAnswer(item, "Unsolved")
    fields = {"query": item.answer.query, "answer": item.answer.said}
    return FinalAnswer(item, cast(AnswerStatus, await judge.label("final_answer", item.place, **fields)))


def shown_path(answer: Answer) -> str:
    """A path as the judge reads it: how many steps, and each on lines of its own."""
    return "\n".join([f"({answer.total_steps} steps)", *map(_shown, answer.path)])


def _shown(node: Node) -> str:
    message: object = node.message
    if not isinstance(message, Mapping):
        return f"{node.role}: {message}"
    response = f"\n  returns {message.get('response')}" if message.get("response") else ""
    return f"calls {message.get('name')} with {message.get('arguments')}{response}"


def paired(reference: Sequence[JudgedAnswer], agent: Sequence[JudgedAnswer]) -> list[tuple[JudgedAnswer, JudgedAnswer]]:
    """The answers of both to the same queries, where both were judged."""
    known = {(each.item.group, each.item.query): each for each in reference}
    pairs = [(known.get((each.item.group, each.item.query)), each) for each in agent]
    return [(of_reference, of_agent) for of_reference, of_agent in pairs if of_reference is not None]
