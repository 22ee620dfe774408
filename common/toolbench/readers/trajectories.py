"""Reader of trajectories, the `episodes.jsonl` of a rollout: one row per step of a good episode.

    {"episode": "task 3/0", "task": "task 3", "query": "…", "group": "train", "opening": [{"role", "content"}, …],
     "steps": [{"said_before": […], "shown": null, "written": {"text", "reasoning", …}, "action": {…},
                "observation": {"text", …}}, …], "stop": "finished", "solved": true, …}

Which episodes are good is Agent Distillation's filter: the answer is right ("not_solved", "not_judged"), every turn was
a call ("parse_error"), it was not cut short ("cut_short", "gave_up"), and it is the first such one of its task
("another_of_its_task"). Where the environment can't judge, `solved_only=False` takes all that finished.
"""

from collections.abc import Iterator
from typing import Any

from common.toolbench.fields import BadRecord, items, take, take_role
from common.toolbench.quarantine import Quarantine
from common.toolbench.react import with_reasoning
from common.toolbench.readers.sources import Source
from common.toolbench.rows import PromptRow, Turn


def read_trajectories(source: Source, quarantine: Quarantine, solved_only: bool = True) -> Iterator[PromptRow]:
    """The rows of a source of trajectories, in its order."""
    taken: set[str] = set()
    for place, record in source.records(quarantine):
        try:
            reason = _left_out(record, solved_only, taken)
            rows = [] if reason else _rows(source, record)
        except BadRecord as error:
            quarantine.refuse(error, place, record)
            continue
        if reason:
            quarantine.leave_out(reason, f"{place}, episode {record['episode']}")
        else:
            taken.add(record["task"])
            yield from rows


def _left_out(record: Any, solved_only: bool, taken: set[str]) -> str | None:
    take(record, "episode", str)
    task, stop, solved = take(record, "task", str), take(record, "stop", str), record.get("solved")
    if stop != "finished":
        return "gave_up" if stop == "gave_up" else "cut_short"
    if solved_only and not solved:
        return "not_judged" if solved is None else "not_solved"
    if any(step.get("action") is None for _, step in items(record, "steps")):
        return "parse_error"
    return "another_of_its_task" if task in taken else None


def _rows(source: Source, record: Any) -> list[PromptRow]:
    trace, query = f"{source.name}/{take(record, 'episode', str)}", take(record, "query", str)
    turns = [_turn(*entry) for entry in items(record, "opening")]
    rows = []
    for number, (place, step) in enumerate(items(record, "steps"), start=1):
        written, observation = take(step, "written", dict, place), take(step, "observation", dict, place)
        text = take(written, "text", str, f"{place}.written")
        said = [_turn(*entry) for entry in items(step, "said_before", place)]
        completion = with_reasoning(written.get("reasoning", ""), text)
        group = record.get("group") or source.group
        rows.append(PromptRow(f"{trace}/{number}", query, (*turns, *said), completion, trace, number, group))
        shown = text if step.get("shown") is None else take(step, "shown", str, place)
        turns += [Turn("assistant", shown), Turn("function", take(observation, "text", str, f"{place}.observation"))]
    return rows


def _turn(place: str, turn: Any) -> Turn:
    return Turn(take_role(turn, "role", place), take(turn, "content", str, place))
