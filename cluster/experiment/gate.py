"""The gate: whether world, expert and baseline are such that comparing students can answer anything."""

from collections.abc import Iterable
from statistics import mean

from cluster.experiment.arms import EXPERT
from cluster.experiment.settings import GateSettings
from cluster.experiment.workspace import SEEN, UNSEEN, Workspace, student_name
from common.world.make import make_world
from common.world.rules import Rule, demonstrated, functions_of, names, play
from common.world.settings import WorldSettings
from common.world.splits import TRAIN, draw_splits
from eval.compare.manifest import GateCheck
from eval.results import read_evaluation
from eval.rollouts.results import EpisodeResult, compare_episodes, read_results

SHUFFLED = "expert-shuffled"
"""The expert's episodes with descriptions shuffled."""


def gate(workspace: Workspace) -> list[GateCheck]:
    """All checks, from what is in the experiment's folder."""
    settings = workspace.settings
    expert, shuffled = _episodes(workspace, EXPERT), _episodes(workspace, SHUFFLED)
    cost = success(expert, UNSEEN) - success(shuffled, UNSEEN)
    valid = read_evaluation(workspace.scores("student")).judgements[0].measures["valid"].value
    world = settings.world.seed
    checks = [
        *_world_checks(settings.world, settings.gate, settings.evaluation.tasks),
        _least("the expert loses by shuffled descriptions", world, cost, settings.gate.shuffled),
        _most("valid calls of the untuned student", world, valid, settings.gate.base),
    ]
    for seed in settings.seeds:
        checks += _baseline_checks(settings.gate, seed, _episodes(workspace, student_name("A", seed)), expert)
    return checks


def success(episodes: Iterable[EpisodeResult], split: str) -> float:
    """The share of a split's tasks that were solved."""
    return mean(bool(each.solved) for each in episodes if each.group == split)


def _episodes(workspace: Workspace, name: str) -> list[EpisodeResult]:
    return read_results(workspace.episodes(name), name).episodes


def rule_success(settings: WorldSettings, tasks: int) -> dict[str, float]:
    """What blind rules solve at most, over all splits: one reads names, the other copies demonstrations."""
    world, splits = make_world(settings), draw_splits(settings)
    rules: dict[str, Rule] = {"reads names": names, "copies demonstrations": demonstrated(splits[TRAIN])}
    judged = {split: drawn[:tasks] for split, drawn in splits.items() if split not in (TRAIN, "queries_train")}
    return {
        name: max(mean(play(world, task, functions_of(task), rule) for task in drawn) for drawn in judged.values())
        for name, rule in rules.items()
    }


def _world_checks(world: WorldSettings, gate: GateSettings, tasks: int) -> list[GateCheck]:
    return [
        _most(f"a rule that {name} solves", world.seed, solved, gate.rules)
        for name, solved in rule_success(world, tasks).items()
    ]


def _baseline_checks(
    gate: GateSettings, seed: int, baseline: list[EpisodeResult], expert: list[EpisodeResult]
) -> list[GateCheck]:
    seen, (least, most) = success(baseline, SEEN), gate.seen
    return [
        GateCheck(
            check="A solves with seen tools",
            seed=seed,
            value=seen,
            expected=f"from {least:g} to {most:g}",
            passed=least <= seen <= most,
        ),
        _least("A solves fewer with unseen tools, by", seed, seen - success(baseline, UNSEEN), gate.gap),
        _lead(gate, seed, baseline, expert),
    ]


def _lead(gate: GateSettings, seed: int, baseline: list[EpisodeResult], expert: list[EpisodeResult]) -> GateCheck:
    """Paired by task, clustered by tool."""
    ahead = compare_episodes(*([each for each in side if each.group == UNSEEN] for side in (expert, baseline)))
    interval = ahead.interval if ahead else None
    sure = interval is not None and interval.low is not None and interval.low > 0
    return GateCheck(
        check="the expert leads A with unseen tools, by",
        seed=seed,
        value=interval.estimate if interval else None,
        expected=f">= {gate.lead:g}, its interval above 0",
        passed=sure and interval is not None and interval.estimate >= gate.lead,
    )


def _most(check: str, seed: int, value: float | None, bound: float) -> GateCheck:
    return GateCheck(
        check=check, seed=seed, value=value, expected=f"<= {bound:g}", passed=value is not None and value <= bound
    )


def _least(check: str, seed: int, value: float, bound: float) -> GateCheck:
    return GateCheck(check=check, seed=seed, value=value, expected=f">= {bound:g}", passed=value >= bound)
