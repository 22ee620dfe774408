"""ToolEval's report: figures per agent and group as a table, and with every label as plain values for JSON."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.markup import escape
from rich.table import Table

from eval.tooleval.judge import JudgeReport
from eval.tooleval.procedure import ComparedPair, FinalAnswer, Item, JudgedAnswer
from eval.tooleval.prompts import JudgePrompts
from eval.tooleval.rates import (
    PassRate,
    SolvablePassRate,
    WinRate,
    final_answer_correctness,
    pass_rate,
    solvable_pass_rate,
    win_rate,
)


@dataclass(frozen=True)
class SetAside:
    """What could not be judged; it counts in no figure."""

    place: str
    reason: str


@dataclass(frozen=True)
class GroupFigures:
    """Figures of an agent in a group; None where nothing was judged, or nobody compared."""

    agent: str
    group: str
    answers: int
    judged: int
    """Answers that count; of final answers alone where nothing else is judged."""
    pass_rate: PassRate | None
    sopr: SolvablePassRate | None
    win_rate: WinRate | None
    sowr: WinRate | None
    fac: float | None


@dataclass(frozen=True)
class Report:
    """All that was judged, and by whom."""

    rounds: int
    seed: int
    prompts: JudgePrompts
    judges: Sequence[JudgeReport]
    items: Sequence[Item]
    answers: Sequence[JudgedAnswer]
    pairs: Sequence[ComparedPair]
    final_answers: Sequence[FinalAnswer]
    set_aside: Sequence[SetAside]

    def figures(self) -> list[GroupFigures]:
        """One entry per agent and group, in the order of the settings."""
        return [self._figures(agent, group) for agent, group in dict.fromkeys(map(_group, self.items))]

    def _figures(self, agent: str, group: str) -> GroupFigures:
        answers = [each for each in self.answers if _group(each.item) == (agent, group)]
        pairs = [each for each in self.pairs if _group(each.item) == (agent, group)]
        final = [each.label for each in self.final_answers if _group(each.item) == (agent, group)]
        flips = sum(each.coin_flip for answer in answers for each in answer.rounds)
        return GroupFigures(
            agent=agent,
            group=group,
            answers=sum(_group(item) == (agent, group) for item in self.items),
            judged=len(answers) or len(final),
            pass_rate=pass_rate([answer.verdict for answer in answers], flips),
            sopr=solvable_pass_rate([answer.statuses for answer in answers]),
            win_rate=win_rate([pair.by_pass for pair in pairs]),
            sowr=win_rate([pair.by_status for pair in pairs]),
            fac=final_answer_correctness(final),
        )

    def values(self) -> dict[str, Any]:
        """The report for JSON: figures, judges, prompts, and each query's labels."""
        return {
            "rounds": self.rounds,
            "seed": self.seed,
            "judges": [asdict(judge) for judge in self.judges],
            "figures": [asdict(each) for each in self.figures()],
            "set_aside": [asdict(each) for each in self.set_aside],
            "answers": [_place(each.item) | {"rounds": [asdict(one) for one in each.rounds]} for each in self.answers],
            "pairs": [
                _place(each.item) | {"by_pass": asdict(each.by_pass), "by_status": asdict(each.by_status)}
                for each in self.pairs
            ],
            "final_answers": [_place(each.item) | {"label": each.label} for each in self.final_answers],
            "prompts": self.prompts.model_dump(),
        }

    def table(self) -> Table:
        """A row per agent and group."""
        view = Table(title="ToolEval", caption="\n".join(self._notes()))
        headings = (
            "agent",
            "group",
            "judged",
            "pass rate",
            "ties",
            "SoPR",
            "win rate",
            "w/t/l",
            "SoWR",
            "w/t/l",
            "FAC",
        )
        for heading in headings:
            view.add_column(heading, justify="left" if heading in ("agent", "group") else "right")
        for each in self.figures():
            judged = f"{each.judged} of {each.answers}" if each.judged < each.answers else str(each.judged)
            view.add_row(escape(each.agent), escape(each.group), judged, *_cells(each))
        return view

    def _notes(self) -> Iterable[str]:
        for judge in self.judges:
            revisions = ", ".join(sorted(each.rstrip("@") for each in judge.revisions)) or judge.model
            yield escape(f"{judge.judgements} judgements by {revisions}; {judge.unparsable} replies without a label")
            if len(judge.revisions) > 1:
                yield escape(f"{judge.model} changed while it judged: its figures are of {len(judge.revisions)} judges")
        if self.set_aside:
            yield f"{len(self.set_aside)} set aside, counted nowhere: see set_aside.jsonl; start again to judge them"


def _group(item: Item) -> tuple[str, str]:
    return item.agent, item.group


def _place(item: Item) -> dict[str, str]:
    return {"agent": item.agent, "group": item.group, "query": item.query}


def _cells(figures: GroupFigures) -> list[str]:
    passed, sopr = figures.pass_rate, figures.sopr
    return [
        f"{passed.rate:.1%}" if passed else "-",
        str(passed.ties) if passed else "-",
        f"{sopr.mean:.1%} ± {sopr.std:.1%}" if sopr else "-",
        *_compared_cells(figures.win_rate),
        *_compared_cells(figures.sowr),
        "-" if figures.fac is None else f"{figures.fac:.1%}",
    ]


def _compared_cells(rate: WinRate | None) -> list[str]:
    return [f"{rate.rate:.1%}", f"{rate.wins}/{rate.ties}/{rate.losses}"] if rate else ["-", "-"]
