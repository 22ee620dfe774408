"""The reader of trajectories: Agent Distillation's filter, and rows that show what each turn was written after."""

from pathlib import Path
from typing import Any

import pytest

from common.errors import UserError
from common.toolbench.readers.trajectories import read_trajectories
from common.toolbench.rows import Turn
from tests.unit.common.toolbench.records import quarantine, source

CALL = "\nThought: t\nAction: f\nAction Input: {}"


def step(**changes: Any) -> dict[str, Any]:
    written = {"text": CALL, "reasoning": ""}
    return {"said_before": [], "written": written, "action": {"name": "f"}, "observation": {"text": "seen"}} | changes


def episode(**changes: Any) -> dict[str, Any]:
    opening = [{"role": "system", "content": "s"}, {"role": "user", "content": "q"}]
    record = {"episode": "a/0", "task": "a", "query": "q", "group": "", "opening": opening, "steps": [step(), step()]}
    return record | {"stop": "finished", "solved": True} | changes


def test_a_row_per_step_shows_what_came_before_it(tmp_path: Path):
    said = [{"role": "user", "content": "another way"}]
    first, second = step(said_before=said, shown="\nhidden"), step(written={"text": CALL, "reasoning": "hm"})
    file = source(tmp_path / "episodes.json", [episode(steps=[first, second])])
    one, two = read_trajectories(file, quarantine(tmp_path))
    opening = (Turn("system", "s"), Turn("user", "q"))
    assert (one.turns, one.completion) == ((*opening, Turn("user", "another way")), CALL)
    assert two.turns == (*opening, Turn("assistant", "\nhidden"), Turn("function", "seen"))
    assert two.completion == f"<think>\nhm\n</think>\n\n{CALL.strip()}"
    assert (two.trace, two.step, two.query, two.group) == ("episodes/a/0", 2, "q", file.group)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"solved": False}, "not_solved"),
        ({"solved": None}, "not_judged"),
        ({"stop": "max_steps", "solved": None}, "cut_short"),
        ({"stop": "gave_up", "solved": False}, "gave_up"),
        ({"steps": [step(), step(action=None)]}, "parse_error"),
        ({"task": "good"}, "another_of_its_task"),
    ],
)
def test_the_filter_names_what_it_leaves_out(tmp_path: Path, changes: dict[str, Any], reason: str):
    aside = quarantine(tmp_path)
    records = [episode(episode="good/0", task="good"), episode(**changes)]
    rows = list(read_trajectories(source(tmp_path / "e.json", records), aside))
    assert (len(rows), dict(aside.counts)) == (2, {reason: 1})
    finished = list(read_trajectories(source(tmp_path / "e.json", records), quarantine(tmp_path), solved_only=False))
    assert len(finished) == (4 if reason in ("not_solved", "not_judged") else 2)


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (episode(steps=[step(written={})]), r"'steps\[0\].written.text' is missing"),
        (episode(opening=[{"role": "human", "content": ""}]), "unknown_role|got the role 'human'"),
        ({"episode": "a/0"}, "'task' is missing"),
    ],
)
def test_bad_records_are_named(tmp_path: Path, record: Any, message: str):
    with pytest.raises(UserError, match=rf"e\.json, row 1: .*({message})"):
        list(read_trajectories(source(tmp_path / "e.json", [record]), quarantine(tmp_path)))
