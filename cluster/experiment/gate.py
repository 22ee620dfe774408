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
from eval.compare.episodes import Episode, read_rollout
from eval.compare.manifest import GateCheck
from eval.metrics.bootstrap import Interval, Measured, difference
from eval.results import read_evaluation

SHUFFLED = "expert-shuffled"
"""The expert's episodes with descriptions shuffled."""


def gate(workspace: Workspace) -> list[GateCheck]:
    """All checks, from what is in the experiment's folder."""
    settings = workspace.settings
    expert = read_rollout(workspace.episodes(EXPERT)).episodes
    shuffled = read_rollout(workspace.episodes(SHUFFLED)).episodes
    checks = [*_world_checks(settings.world, settings.gate, settings.evaluation.tasks)]
    cost = success(expert, UNSEEN) - success(shuffled, UNSEEN)
    checks.append(
        _least("the expert loses by shuffled descriptions", settings.world.seed, cost, settings.gate.shuffled)
    )
    valid = read_evaluation(workspace.scores("student")).judgements[0].measures["valid"].value
    checks.append(_most("valid calls of the untuned student", settings.world.seed, valid, settings.gate.base))
    for seed in settings.seeds:
        baseline = read_rollout(workspace.episodes(student_name("A", seed))).episodes
        checks += _baseline_checks(settings.gate, seed, baseline, expert)
    return checks


def success(episodes: Iterable[Episode], split: str) -> float:
    """The share of a split's tasks that were solved."""
    return mean(bool(each.solved) for each in episodes if each.split == split)


def lead(first: Iterable[Episode], second: Iterable[Episode], split: str) -> Interval | None:
    """By how much more the first solves than the second, paired by task and clustered by tool."""
    found = difference(*([_measured(each) for each in side if each.split == split] for side in (first, second)))
    return found.interval if found else None


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


def _baseline_checks(gate: GateSettings, seed: int, baseline: list[Episode], expert: list[Episode]) -> list[GateCheck]:
    seen, (least, most) = success(baseline, SEEN), gate.seen
    ahead = lead(expert, baseline, UNSEEN)
    sure = ahead is not None and ahead.low is not None and ahead.low > 0
    estimate = ahead.estimate if ahead else None
    return [
        GateCheck(
            check="A solves with seen tools",
            seed=seed,
            value=seen,
            expected=f"from {least:g} to {most:g}",
            passed=least <= seen <= most,
        ),
        _least("A solves fewer with unseen tools, by", seed, seen - success(baseline, UNSEEN), gate.gap),
        GateCheck(
            check="the expert leads A with unseen tools, by",
            seed=seed,
            value=estimate,
            expected=f">= {gate.lead:g}, its interval above 0",
            passed=sure and estimate is not None and estimate >= gate.lead,
        ),
    ]


def _most(check: str, seed: int, value: float | None, bound: float) -> GateCheck:
    return GateCheck(
        check=check, seed=seed, value=value, expected=f"<= {bound:g}", passed=value is not None and value <= bound
    )


def _least(check: str, seed: int, value: float, bound: float) -> GateCheck:
    return GateCheck(check=check, seed=seed, value=value, expected=f">= {bound:g}", passed=value >= bound)


def _measured(episode: Episode) -> Measured:
    return Measured(episode.task, episode.tool, float(bool(episode.solved)))
