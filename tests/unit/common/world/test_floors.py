"""How surprising recorded steps have to be: an oracle that knows the odds finds nothing more, nor less."""

import re
from collections.abc import Iterator
from math import log
from pathlib import Path
from statistics import mean

import pytest

from common.agents.environments.tool_world import read_tasks
from common.world import phrasing
from common.world.build import build_world
from common.world.coded import thoughts
from common.world.settings import Difficulty, WorldSettings
from common.world.tasks import Task
from common.world.traces import floors, solution
from tests.unit.common.world.worlds import DIFFICULTIES, drawn

ODDS = (0.4, 0.3, 0.2, 0.1)
ENTROPY = -sum(odds * log(odds) for odds in ODDS)
SENTENCES = [
    sentences
    for module in (phrasing, thoughts)
    for name, sentences in vars(module).items()
    if isinstance(sentences, tuple) and name not in ("_WEIGHTS", "_QUERIES", "_WHOLE_QUERIES")
]


def odds_of(text: str) -> float:
    """The odds of a sentence, by the form that it has."""
    found = {
        odds
        for sentences in SENTENCES
        for odds, sentence in zip(ODDS, sentences, strict=True)
        if re.fullmatch(re.sub(r"\\\{\w+\\\}", ".*", re.escape(sentence)), text)
    }
    assert len(found) == 1, (text, found)
    return found.pop()


def oracle(task: Task) -> Iterator[float]:
    """The surprise of each step to whoever knows the sentences and their odds."""
    *calls, last = solution(task)
    yield from (-log(odds_of(step.thought)) for step in calls)
    yield -log(odds_of(last.thought)) - log(odds_of(task.answer))


@pytest.mark.parametrize("difficulty", DIFFICULTIES)
def test_an_oracle_is_surprised_by_the_floor_and_no_more(difficulty: Difficulty):
    tasks = [task for tasks in drawn(difficulty)[1].values() for task in tasks]
    for task in tasks[::7]:
        assert floors(task) == pytest.approx(list(oracle(task)), abs=1e-12)


def test_floors_are_the_entropy_in_the_mean():
    found = [floors(task) for tasks in drawn("named")[1].values() for task in tasks]
    calls, endings = [floor for each in found for floor in each[:-1]], [each[-1] for each in found]
    assert mean(calls) == pytest.approx(ENTROPY, abs=0.03)
    assert mean(endings) == pytest.approx(2 * ENTROPY, abs=0.06)


def test_tasks_on_disk_have_a_floor_for_each_step(tmp_path: Path):
    build_world(WorldSettings(train_tasks=1, query_tasks=0, evaluation_tasks=4, corpus_documents=0), tmp_path)
    for task in read_tasks(tmp_path, "seen"):
        assert len(task.data["floor_nats"]) == len(task.data["solution"])
        assert all(log(2.5) <= floor <= 2 * log(10) for floor in task.data["floor_nats"])
