"""Figures of rollouts: hand-made episodes, good and bad, cut off, not judged, set aside."""

from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from common.agents.episodes import SetAside
from common.agents.types import Action, Observation, Status, Step, StopReason, Trajectory, WrittenTurn
from common.errors import UserError
from common.settings import validate
from common.toolbench.rows import Turn
from common.toolbench.system_prompt import build_system_prompt
from eval.commands import episodes as episodes_command
from eval.rollouts.results import Prices, RolloutResults, compare_episodes, read_results, result_of, results_of
from eval.rollouts.settings import RolloutSettings
from eval.rollouts.summary import GroupSummary, summarize
from eval.rollouts.tables import tables

Ended = tuple[StopReason, bool | None]
EPISODE = Trajectory("a/0", "a", "q", "seen", (), (), "finished", None, None, "student", 1.0, 1, 1, 1)
FREE = Prices()


def step(status: Status, is_call: bool = True) -> Step:
    action = Action("f", "{}") if is_call else None
    return Step(WrittenTurn("text", "stop", "r"), action, Observation("", status))


def rollout(*ended: Ended, model: str = "kd", needed: dict[str, int] | None = None) -> RolloutResults:
    """An episode of a task of its own for each ending, of ten written tokens and two seconds."""
    made = [
        replace(EPISODE, task=str(n), episode=f"{n}/0", stop=stop, solved=solved, completion_tokens=10, seconds=2.0)
        for n, (stop, solved) in enumerate(ended)
    ]
    return RolloutResults([result_of(model, each, FREE, needed or {}) for each in made])


def summary(*ended: Ended) -> GroupSummary:
    [found] = summarize([rollout(*ended)]).groups
    return found


@pytest.mark.parametrize(
    ("ended", "solved"),
    [
        ([("finished", True), ("finished", False), ("max_steps", None), ("gave_up", None)], 0.25),
        ([("max_steps", None), ("timeout", None)], 0.0),
        ([("finished", None), ("max_steps", None)], None),
        ([("finished", None)], None),
    ],
)
def test_cut_off_episodes_are_not_solved_and_unjudged_ones_are_unknown(ended: list[Ended], solved: float | None):
    assert summary(*ended).solved.value == solved


def test_what_a_solved_task_takes_includes_the_failures():
    found = summary(("finished", True), ("finished", False), ("gave_up", False), ("finished", True))
    assert (found.tokens_per_solved, found.seconds_per_solved, found.price_per_solved) == (20, 4, None)
    assert (found.episodes, found.tasks, found.solved.rows) == (4, 4, 4)
    assert found.stops == {"finished": 3, "gave_up": 1}


def test_where_nothing_is_solved_a_solved_task_has_no_price():
    found = summary(("finished", False), ("max_steps", None))
    assert (found.tokens_per_solved, found.seconds_per_solved, found.steps_per_solved) == (None, None, None)
    unknown = summary(("finished", None), ("max_steps", None))
    assert unknown.tokens_per_solved is None


def test_prices_are_of_all_tokens():
    [group] = summarize(
        [
            RolloutResults(
                [
                    result_of(
                        "m", replace(EPISODE, solved=solved, episode=name, completion_tokens=20), Prices(1.0, 2.0), {}
                    )
                    for name, solved in (("a/0", True), ("a/1", False))
                ]
            )
        ]
    ).groups
    assert (group.price, group.price_per_solved) == (pytest.approx(82e-6), pytest.approx(82e-6))


def test_steps_count_well_only_where_a_call_was_answered():
    steps = (
        step(Status.OK),
        step(Status.NO_SUCH_FUNCTION),
        step(Status.BAD_INPUT),
        step(Status.OK, is_call=False),
        step(Status.GAVE_UP),
        step(Status.TIMEOUT),
        step(Status.FINISHED),
        step(Status.OK),
    )
    result = result_of("m", replace(EPISODE, steps=steps), FREE, {})
    assert (result.steps, result.steps_well) == (8, 3)
    [group] = summarize([RolloutResults([result])]).groups
    assert group.steps_well == 3 / 8
    assert summary(("max_tokens", None)).steps_well is None


def test_models_stand_side_by_side_and_by_the_steps_that_tasks_need():
    needed = {"0": 2, "1": 3, "2": 3}
    first = rollout(("finished", True), ("finished", False), ("finished", False), model="teacher", needed=needed)
    second = rollout(("finished", True), ("finished", True), ("finished", False), model="kd", needed=needed)
    found = summarize([first, second])
    assert [(each.model, each.solved.value) for each in found.groups] == [
        ("teacher", pytest.approx(1 / 3)),
        ("kd", pytest.approx(2 / 3)),
    ]
    assert [(each.model, each.steps_needed, each.episodes, each.solved.value) for each in found.by_steps] == [
        ("teacher", 2, 1, 1.0),
        ("teacher", 3, 2, 0.0),
        ("kd", 2, 1, 1.0),
        ("kd", 3, 2, 0.5),
    ]
    out = StringIO()
    Console(file=out, width=120).print(*tables(found))
    assert "By steps needed" in out.getvalue()
    assert max(map(len, out.getvalue().splitlines())) <= 120


def settings(folder: Path) -> RolloutSettings:
    values = {
        "policy": {"kind": "served", "url": "http://127.0.0.1:1/teacher", "model": "kd", "tokenizer": "none"},
        "environment": {"kind": "world", "folder": str(folder / "no world")},
        "output": str(folder),
    }
    return validate(RolloutSettings, values, "test")


def test_set_aside_episodes_count_nowhere_and_nothing_twice(tmp_path: Path):
    broken = [SetAside("b/0", "gone"), SetAside("b/0", "gone again"), SetAside("a/0", "gone, and then well")]
    found = results_of("kd", [EPISODE, EPISODE], broken, settings(tmp_path))
    assert ([each.episode for each in found.episodes], found.set_aside) == (["a/0"], ["b/0"])
    summaries = summarize([found])
    assert (summaries.groups[0].episodes, summaries.set_aside) == (1, 1)
    assert "1 episodes set aside" in (str(tables(summaries)[0].caption))


def test_the_tool_is_what_the_prompt_offers_most_of():
    apis = [
        {
            "tool_name": tool,
            "api_name": name,
            "api_description": "",
            "required_parameters": [],
            "optional_parameters": [],
        }
        for tool, name in (("jam", "a"), ("ham", "b"), ("jam", "c"))
    ]
    opening = (Turn("system", build_system_prompt(apis, {})), Turn("user", "q"))
    assert result_of("m", replace(EPISODE, opening=opening), FREE, {}).tool == "jam"
    assert result_of("m", replace(EPISODE, opening=(Turn("user", "q"),)), FREE, {}).tool == ""


def test_policies_are_compared_task_by_task():
    first = rollout(*[("finished", True)] * 12)
    second = rollout(*[("finished", False)] * 10)
    found = compare_episodes(first.episodes, second.episodes)
    assert found is not None
    assert (found.interval.estimate, found.interval.tasks) == (1.0, 10)
    unknown = rollout(*[("finished", None)] * 10)
    assert compare_episodes(first.episodes, unknown.episodes) is None


def test_a_folder_without_a_rollout_and_two_of_one_name_are_refused(tmp_path: Path):
    with pytest.raises(UserError, match="there is no rollout in"):
        read_results(tmp_path, "kd")
    with pytest.raises(UserError, match="two rollouts have one name"):
        episodes_command([str(tmp_path / "a/kd"), str(tmp_path / "b/kd")])
