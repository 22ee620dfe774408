"""The tool world as an environment: recorded solutions solve, whatever wasn't observed doesn't count, forks part."""

import asyncio
import json
from pathlib import Path
from typing import get_args

import pytest

from common.agents.acting import act
from common.agents.environments.tool_world import ToolWorldEnvironment, read_tasks
from common.agents.types import Action, Status, Task, WrittenTurn
from common.errors import UserError
from common.toolbench.convert import convert
from common.toolbench.rows import read_rows
from common.world.build import build_world
from common.world.settings import Difficulty, WorldSettings
from common.world.splits import SPLITS

SIZES = {"train_tasks": 40, "query_tasks": 20, "evaluation_tasks": 30, "corpus_documents": 0}


@pytest.fixture(scope="module", params=get_args(Difficulty))
def folder(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    folder = tmp_path_factory.mktemp("world")
    build_world(WorldSettings.model_validate({**SIZES, "difficulty": request.param}), folder)
    return folder


def written(text: str) -> WrittenTurn:
    return WrittenTurn(text, "stop", "recorded")


async def play(environment: ToolWorldEnvironment, turns: list[str]) -> list[tuple[Status, bool | None, bool]]:
    """Status of each turn's observation, whether the task is solved, and whether the episode is done."""
    steps = [await act(environment, written(text)) for text in turns]
    return [(step.observation.status, step.observation.solved, done) for step, done in steps]


@pytest.mark.parametrize("split", SPLITS)
def test_the_recorded_solution_solves_and_a_guess_does_not(folder: Path, split: str):
    async def episodes() -> None:
        environment = ToolWorldEnvironment.of_folder(folder)
        for task in read_tasks(folder, split):
            await environment.reset(task)
            *calls, last = await play(environment, task.data["solution"])
            assert {call[1:] for call in calls} <= {(None, False)}
            assert last == (Status.FINISHED, True, True)
            await environment.reset(task)
            assert await play(environment, task.data["solution"][-1:]) == [(Status.FINISHED, False, True)]

    assert len(read_tasks(folder, split)) in (20, 30, 40)
    asyncio.run(episodes())


def test_an_episode_opens_as_rows_do_and_observes_what_they_show(folder: Path, tmp_path: Path):
    convert(folder / "seen.json", tmp_path / "rows")
    rows = {row.query: row for row in read_rows(tmp_path / "rows")}  # the last row of each trace

    async def episode(task: Task) -> None:
        environment = ToolWorldEnvironment.of_folder(folder)
        turns = await environment.reset(task)
        for text in task.data["solution"][:-1]:
            step, _ = await act(environment, written(text))
            turns += step.turns
        assert tuple(turns) == rows[task.query].turns

    for task in read_tasks(folder, "seen"):
        asyncio.run(episode(task))


def test_forks_share_what_was_told_before_and_nothing_after(folder: Path):
    task = next(task for task in read_tasks(folder, "train") if len(task.data["solution"]) >= 3)
    *calls, last_call, finish = task.data["solution"]

    async def episode() -> None:
        environment = ToolWorldEnvironment.of_folder(folder)
        await environment.reset(task)
        await play(environment, calls)
        fork = await environment.fork()
        assert await play(fork, [last_call, finish]) == [(Status.OK, None, False), (Status.FINISHED, True, True)]
        assert await play(environment, [finish]) == [(Status.FINISHED, False, True)]

    asyncio.run(episode())


def test_what_is_not_on_offer_does_not_exist_and_giving_up_ends_unsolved(folder: Path):
    task, *others = read_tasks(folder, "seen")
    foreign = next(name for other in others for name in other.data["functions"] if name not in task.data["functions"])

    async def episode() -> None:
        environment = ToolWorldEnvironment.of_folder(folder)
        with pytest.raises(RuntimeError, match="reset"):
            await environment.step(Action(foreign, "{}"))
        await environment.reset(task)
        observation, done = await environment.step(Action(foreign, "{}"))
        assert (observation.status, done) == (Status.NO_SUCH_FUNCTION, False)
        observation, done = await environment.step(Action("Finish", '{"return_type": "give_answer"}'))
        assert (observation.status, done) == (Status.BAD_INPUT, False)
        observation, done = await environment.step(Action("Finish", '{"return_type": "give_up_and_restart"}'))
        assert (observation.status, observation.solved, done) == (Status.GAVE_UP, False, True)
        await environment.close()

    asyncio.run(episode())


def test_what_is_no_world_is_said_by_name(folder: Path, tmp_path: Path):
    with pytest.raises(UserError, match=r"world\.json"):
        ToolWorldEnvironment.of_folder(tmp_path)
    with pytest.raises(UserError, match=r"python -m common\.world"):
        read_tasks(tmp_path, "seen")
    with pytest.raises(UserError, match="expected one of: train"):
        read_tasks(folder, "sean")
    (tmp_path / "tasks_seen.json").write_text(json.dumps([])[:1])
    with pytest.raises(UserError, match="no JSON"):
        read_tasks(tmp_path, "seen")
    (tmp_path / "tasks_seen.json").write_text('[{"id": "a"}]')
    with pytest.raises(UserError, match="of this version"):
        read_tasks(tmp_path, "seen")
    stranger = Task("a", "What?", data={"functions": ["get_x_for_y"], "asked": []})
    with pytest.raises(UserError, match="get_x_for_y"):
        asyncio.run(ToolWorldEnvironment.of_folder(folder).reset(stranger))
