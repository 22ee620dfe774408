"""ToolEval from answers to figures: convert, judge, compare; what was judged before isn't judged again."""

import asyncio
import json
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar
from urllib.parse import quote

import yaml
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn

from common import jsonl
from common.files import write_atomically
from eval.endpoint import open_endpoint
from eval.judging.judge import run_together
from eval.output_folder import locked
from eval.tooleval.judge import Judge, Unjudged
from eval.tooleval.judgements import JudgementStore
from eval.tooleval.procedure import (
    ComparedPair,
    FinalAnswer,
    Item,
    JudgedAnswer,
    Procedure,
    judge_final_answer,
    paired,
)
from eval.tooleval.prompts import JudgePrompts, load_prompts
from eval.tooleval.reading import Groups, check_same_queries, chosen, read_groups, read_query_ids
from eval.tooleval.report import Report, SetAside
from eval.tooleval.settings import JudgeSettings, ToolEvalSettings

T = TypeVar("T")
CONFIG, CONVERTED, REPORT, SET_ASIDE = "config.yaml", "converted", "report.json", "set_aside.jsonl"


def evaluate(settings: ToolEvalSettings) -> Report:
    """Judge all answers, compare each agent with the reference, and write the report.

    Raises UserError: answers are missing or bad, the output folder is in use, or the judge can't go on.
    """
    prompts = load_prompts(settings.prompts)
    agents = read_agents(settings)
    with locked(settings.output, "evaluation"):
        config = yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False)
        write_atomically(settings.output / CONFIG, config)
        _write_converted(settings, agents)
        (settings.output / SET_ASIDE).unlink(missing_ok=True)
        report = asyncio.run(_Evaluation(settings, prompts).run(_items(agents)))
        write_atomically(settings.output / REPORT, json.dumps(report.values(), ensure_ascii=False, indent=1) + "\n")
        return report


def read_agents(settings: ToolEvalSettings) -> dict[str, Groups]:
    """Each agent's answers, to the same queries. Raises UserError."""
    agents = {agent: read_groups(agent, path, settings.seed) for agent, path in settings.answers.items()}
    if settings.query_ids:
        names = dict.fromkeys(group for groups in agents.values() for group in groups)
        ids = read_query_ids(settings.query_ids, names)
        agents = {agent: chosen(agent, groups, ids) for agent, groups in agents.items()}
    check_same_queries(agents)
    return agents


def _write_converted(settings: ToolEvalSettings, agents: dict[str, Groups]) -> None:
    for agent, groups in agents.items():
        folder = settings.output / CONVERTED / quote(agent, safe=" ")
        folder.mkdir(parents=True, exist_ok=True)
        for group, answers in groups.items():
            records = {query: answer.record() for query, answer in answers.items()}
            write_atomically(
                folder / f"{quote(group, safe=' ')}.json", json.dumps(records, ensure_ascii=False, indent=1)
            )


def _items(agents: dict[str, Groups]) -> list[Item]:
    return [
        Item(agent, group, query, answer)
        for agent, groups in agents.items()
        for group, answers in groups.items()
        for query, answer in answers.items()
    ]


class _Evaluation:
    """One run of an evaluation."""

    def __init__(self, settings: ToolEvalSettings, prompts: JudgePrompts) -> None:
        self._settings, self._prompts = settings, prompts
        self._store = JudgementStore(settings.output)
        self._slots = asyncio.Semaphore(settings.in_flight)
        self._set_aside: list[SetAside] = []
        columns = (*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeRemainingColumn())
        self._progress = Progress(*columns, console=Console(stderr=True))

    async def run(self, items: list[Item]) -> Report:
        """Everything that is judged. Raises UserError."""
        settings = self._settings
        async with self._opened(settings.judge) as judge, self._opened(settings.final_answer_judge) as final_judge:
            with self._progress:
                answers, pairs = await self._judge(judge, items) if judge else ([], [])
                final = await self._judge_final(final_judge, items) if final_judge else []
            return Report(
                rounds=settings.rounds,
                seed=settings.seed,
                prompts=self._prompts,
                judges=[each.report() for each in (judge, final_judge) if each],
                items=items,
                answers=answers,
                pairs=pairs,
                final_answers=final,
                set_aside=self._set_aside,
            )

    async def _judge(self, judge: Judge, items: list[Item]) -> tuple[list[JudgedAnswer], list[ComparedPair]]:
        procedure = Procedure(judge, self._settings.rounds, self._settings.seed)
        answers = await self._all("answers", {item.place: procedure.judge_answer(item) for item in items})
        return answers, await self._compare(procedure, answers)

    async def _judge_final(self, judge: Judge, items: list[Item]) -> list[FinalAnswer]:
        work = {f"final answer {item.place}": judge_final_answer(judge, item) for item in items}
        return await self._all("final answers", work)

    async def _compare(self, procedure: Procedure, answers: list[JudgedAnswer]) -> list[ComparedPair]:
        """Each agent with the reference, on the queries where both were judged."""
        reference = [each for each in answers if each.item.agent == self._settings.reference]
        others = [each for each in answers if each.item.agent != self._settings.reference]
        pairs = paired(reference, others)
        work = {f"pair {agent.item.place}": procedure.compare(of_reference, agent) for of_reference, agent in pairs}
        return await self._all("pairs", work) if work else []

    async def _all(self, what: str, work: dict[str, Coroutine[Any, Any, T]]) -> list[T]:
        """What each of `work` gives, without those that are set aside, which are named and written down."""
        bar = self._progress.add_task(what, total=len(work))

        async def watched(place: str, each: Coroutine[Any, Any, T]) -> list[T]:
            try:
                return [await each]
            except Unjudged as failure:
                self._set_aside.append(SetAside(place, str(failure)))
                jsonl.append(self._settings.output / SET_ASIDE, [{"place": place, "reason": str(failure)}])
                return []
            finally:
                self._progress.advance(bar)

        found = await run_together(watched(place, each) for place, each in work.items())
        return [each for judged in found for each in judged]

    @asynccontextmanager
    async def _opened(self, settings: JudgeSettings | None) -> AsyncIterator[Judge | None]:
        if settings is None:
            yield None
            return
        async with open_endpoint(settings) as endpoint:
            judge = Judge(endpoint, settings, self._prompts, self._store, self._slots, self._settings.seed)
            try:
                yield judge
            finally:
                await judge.close()
