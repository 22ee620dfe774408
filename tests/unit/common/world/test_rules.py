"""What rules of a few lines solve: next to nothing without reading descriptions, where names are codes."""

from functools import lru_cache
from random import Random

import pytest

from common.world.rules import Function, Rule, demonstrated, first, functions_of, meanings, names, play, shuffle, tools
from common.world.settings import Difficulty
from common.world.splits import SPLITS
from common.world.tasks import Task
from tests.unit.common.world.worlds import drawn

CODED: tuple[Difficulty, ...] = ("described", "reworded", "full")


@lru_cache
def played(difficulty: Difficulty, split: str) -> list[tuple[Task, list[Function]]]:
    """Tasks of the split with what they offer."""
    return [(task, functions_of(task)) for task in drawn(difficulty)[1][split][:80]]


def success(difficulty: Difficulty, split: str, rule: Rule, shuffled: bool = False) -> float:
    world, rng = drawn(difficulty)[0], Random(0)
    solved = [
        play(world, task, shuffle(functions, rng) if shuffled else functions, rule)
        for task, functions in played(difficulty, split)
    ]
    return sum(solved) / len(solved)


@pytest.mark.parametrize("difficulty", CODED)
@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("rule", [first, names, tools])
def test_no_rule_gets_by_without_descriptions(difficulty: Difficulty, split: str, rule: Rule):
    assert success(difficulty, split, rule) <= 0.2


@pytest.mark.parametrize("difficulty", CODED)
@pytest.mark.parametrize("split", set(SPLITS) - {"train"})
def test_demonstrations_can_not_be_copied(difficulty: Difficulty, split: str):
    _, splits = drawn(difficulty)
    assert success(difficulty, split, demonstrated(splits["train"])) <= 0.2


@pytest.mark.parametrize("difficulty", CODED)
@pytest.mark.parametrize("split", SPLITS)
def test_who_reads_descriptions_solves_all_and_is_lost_when_they_are_shuffled(difficulty: Difficulty, split: str):
    reading, shuffled = (success(difficulty, split, meanings, each) for each in (False, True))
    assert reading >= 0.97
    assert shuffled <= reading - 0.3


def test_names_that_hold_the_word_are_enough_on_the_easiest_world_alone():
    assert success("named", "seen", names) == 1
