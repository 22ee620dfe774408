"""What the generated tool world asks of an agent, and how fast it answers.

`python -m tests.benchmarks.world`: success of rules of a few lines on 250 tasks of each split, at each difficulty, and
of the recorded solutions; then calls executed per second of this process's CPU, JSON read and written, in one thread.

- `rule`: the best of rules that read names, take the first API, go by tools, or have learnt all demonstrations by
  heart, on the split where it does best; the last not on the demonstrations themselves. Not bounded where names hold
  the query's word.
- `words`, `meaning`: rules that read descriptions, by equal words and by what words mean.
- `shuffled`: what the latter loses when descriptions are shuffled among the APIs on offer, on the split where it loses
  least.
"""

import json
import time
from collections.abc import Sequence
from random import Random
from typing import get_args

from rich.console import Console
from rich.table import Table

from common.world.checking import solves
from common.world.execute import execute
from common.world.make import make_world
from common.world.rules import (
    Rule,
    demonstrated,
    descriptions,
    first,
    functions_of,
    meanings,
    names,
    play,
    shuffle,
    tools,
)  # fmt: skip
from common.world.settings import Difficulty, WorldSettings
from common.world.splits import SPLITS, TRAIN, draw_splits
from common.world.tasks import Task
from common.world.world import World
from tests.benchmarks.report import finish

TASKS = 250
REPETITIONS = 5
BLIND = ("names", "first", "tools", "demonstrated")
LEARNT = (TRAIN, "demonstrated")
DIFFICULTIES: tuple[Difficulty, ...] = get_args(Difficulty)
TARGETS = {
    **{f"rule_{each}": "at most 0.2" if each != "named" else "reported" for each in DIFFICULTIES},
    **{f"words_{each}": "reported" for each in DIFFICULTIES},
    **{f"meaning_{each}": "reported" for each in DIFFICULTIES},
    **{f"shuffled_{each}": "at least 0.3" for each in DIFFICULTIES},
    **{f"recorded_{each}": "1" for each in DIFFICULTIES},
    **{f"calls_per_s_{each}": "at least 20,000, per second of CPU" for each in DIFFICULTIES},
}


def main() -> None:
    figures: dict[str, float] = {}
    shown = Table("difficulty", "split", "recorded", *BLIND, "words", "meaning", "shuffled")
    for difficulty in DIFFICULTIES:
        settings = WorldSettings(difficulty=difficulty, query_tasks=TASKS, evaluation_tasks=TASKS)
        world, splits = make_world(settings), draw_splits(settings)
        rules = {"names": names, "first": first, "tools": tools, "demonstrated": demonstrated(splits["train"]),
                 "words": descriptions, "meaning": meanings}  # fmt: skip
        rates = {split: measure(world, splits[split][:TASKS], rules) for split in SPLITS}
        for split, rate in rates.items():
            shown.add_row(difficulty, split, *(f"{rate[each.header]:.2f}" for each in shown.columns[2:]))
        figures |= {f"{name}_{difficulty}": value for name, value in summary(rates).items()}
        figures[f"calls_per_s_{difficulty}"] = calls_per_second(
            world, [task for each in splits.values() for task in each]
        )
    Console(width=120).print(shown)
    finish("world", {name: round(figures[name], 3) for name in TARGETS}, TARGETS, met(figures))


def measure(world: World, tasks: Sequence[Task], rules: dict[str, Rule]) -> dict[str, float]:
    """Success of each rule, of the recorded solutions, and of `meaning` with descriptions shuffled."""
    offered = [functions_of(task) for task in tasks]
    moved = [shuffle(functions, Random(number)) for number, functions in enumerate(offered)]
    plays = {
        name: [play(world, *each, rule) for each in zip(tasks, offered, strict=True)] for name, rule in rules.items()
    }
    plays["shuffled"] = [play(world, *each, meanings) for each in zip(tasks, moved, strict=True)]
    plays["recorded"] = [recorded(world, task) for task in tasks]
    return {name: sum(solved) / len(solved) for name, solved in plays.items()}


def recorded(world: World, task: Task) -> bool:
    """Whether the recorded solution solves the task."""
    responses = (execute(world, call.api.function, json.dumps(call.arguments)) for call in task.calls)
    return solves(world, task.query, task.asked, {fact for each in responses for fact in each.facts}, task.answer)


def summary(rates: dict[str, dict[str, float]]) -> dict[str, float]:
    """Of all splits the one that says most against the world."""
    return {
        "rule": max(rate[name] for split, rate in rates.items() for name in BLIND if (split, name) != LEARNT),
        "words": max(rate["words"] for rate in rates.values()),
        "meaning": min(rate["meaning"] for rate in rates.values()),
        "shuffled": min(rate["meaning"] - rate["shuffled"] for rate in rates.values()),
        "recorded": min(rate["recorded"] for rate in rates.values()),
    }


def calls_per_second(world: World, tasks: Sequence[Task]) -> float:
    """Recorded calls executed per second of CPU; the best of REPETITIONS."""
    calls = [(call.api.function, json.dumps(call.arguments)) for task in tasks for call in task.calls]
    best = 0.0
    for _ in range(REPETITIONS):
        began = time.process_time()
        for name, arguments in calls:
            execute(world, name, arguments)
        best = max(best, len(calls) / (time.process_time() - began))
    return best


def met(figures: dict[str, float]) -> bool:
    """Whether all that is bounded is."""
    coded = [each for each in DIFFICULTIES if each != "named"]
    return (
        all(figures[f"rule_{each}"] <= 0.2 for each in coded)
        and all(figures[f"shuffled_{each}"] >= 0.3 for each in DIFFICULTIES)
        and all(figures[f"recorded_{each}"] == 1 for each in DIFFICULTIES)
        and all(figures[f"calls_per_s_{each}"] >= 20_000 for each in DIFFICULTIES)
    )


if __name__ == "__main__":
    main()
