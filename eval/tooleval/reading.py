"""Where an agent's answers come from: a rollout of ours, or files of ToolBench's, converted or not.

What is read from one place:
- a rollout's folder, which has `episodes.jsonl`: its groups, with one episode for each task;
- a folder of answer trees, `<query id>_<method>.json`: one group, which has the folder's name;
- a converted file `<group>.json`;
- a folder of these: each of its folders and converted files is a group.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from common.agents.trajectories import EPISODES, TrajectoryStore
from common.errors import UserError
from common.toolbench.fields import BadRecord
from eval.tooleval.answers import Answer, read_answer
from eval.tooleval.conversion import of_trajectory, of_tree

Answers = Mapping[str, Answer]
"""By the id of their query."""
Groups = Mapping[str, Answers]
"""By the name of their group, such as the split."""


def read_groups(agent: str, path: Path, seed: int) -> Groups:
    """The answers of `agent` at `path`; draws follow from `seed`. Raises UserError naming the file that is bad."""
    if not path.exists():
        raise UserError(f"the answers of {agent}: there is no {path}; give a rollout's folder, or ToolBench's answers")
    groups = _of_rollout(agent, path, seed) if (path / EPISODES).exists() else _of_files(path, seed)
    if not any(groups.values()):
        expected = f"{EPISODES}, answer trees, or converted files"
        raise UserError(f"the answers of {agent}: {path} holds none; expected {expected}")
    return groups


def _of_rollout(agent: str, folder: Path, seed: int) -> Groups:
    groups: dict[str, dict[str, Answer]] = {}
    for trajectory in TrajectoryStore(folder).read():
        place = f"the episode {trajectory.episode} in {folder}"
        answers = groups.setdefault(trajectory.group or folder.name, {})
        if trajectory.task in answers:
            raise UserError(f"{place} is the second of its task; ToolEval judges one, so roll out with `samples: 1`")
        try:
            answers[trajectory.task] = of_trajectory(trajectory, agent, seed)
        except BadRecord as error:
            raise UserError(f"{place} can't be converted: {error}") from None
    return groups


def _of_files(path: Path, seed: int) -> Groups:
    if path.is_file():
        return {path.stem: _converted(path, _load(path))}
    groups: dict[str, Answers] = {}
    files = {file: _load(file) for file in sorted(path.glob("*.json"))}
    if trees := {file: held for file, held in files.items() if "answer_generation" in held}:
        groups[path.name] = _of_trees(trees, seed)
    for file, held in files.items():
        if file not in trees:
            groups[file.stem] = _converted(file, held)
    for folder in sorted(each for each in path.iterdir() if each.is_dir()):
        groups |= _of_files(folder, seed)
    return groups


def _of_trees(trees: Mapping[Path, Any], seed: int) -> Answers:
    answers: dict[str, Answer] = {}
    for file, tree in trees.items():
        query, _, method = file.stem.partition("_")
        if query in answers:
            raise UserError(f"{file} is a second answer to the query {query}; keep one method's answers in a folder")
        try:
            answers[query] = of_tree(tree, method, seed)
        except BadRecord as error:
            raise UserError(f"{file} is no answer tree: {error}; write it anew, or take it away") from None
    return answers


def _converted(file: Path, records: Mapping[str, Any]) -> Answers:
    try:
        return {query: read_answer(record, query) for query, record in records.items()}
    except BadRecord as error:
        raise UserError(f"{file} is no converted file of ToolEval's: {error}; convert the answers anew") from None


def _load(file: Path) -> dict[str, Any]:
    """The object in a file. NaN, which recorded API answers may hold, is None."""
    try:
        held = json.loads(file.read_bytes(), parse_constant=lambda _: None)
    except OSError as error:
        raise UserError(f"can't read {file}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{file} is torn or no JSON ({error}); write it anew, or take it away") from None
    if not isinstance(held, dict):
        raise UserError(f"{file} holds no JSON object, expected an answer tree or a converted file")
    return held


def read_query_ids(folder: Path, groups: Iterable[str]) -> dict[str, list[str]]:
    """The ids of each group's queries, from ToolBench's files `<group>.json`. Raises UserError."""
    ids = {}
    for group in groups:
        if not (file := folder / f"{group}.json").exists():
            raise UserError(f"there is no {file} with the ids of the group's queries; mend query_ids, or leave it out")
        ids[group] = list(_load(file))
    return ids


def check_same_queries(agents: Mapping[str, Groups]) -> None:
    """Raises UserError where agents did not answer the same queries, so that they can't be compared."""
    (first, expected), *others = agents.items()
    for name, groups in others:
        if groups.keys() != expected.keys():
            said = f"{first} answers the groups {sorted(expected)}, {name} {sorted(groups)}"
            raise UserError(f"{said}; expected the same")
        for group, answers in groups.items():
            _check_same_answered(f"{first} in {group}", expected[group], f"{name} in {group}", answers)


def _check_same_answered(first: str, expected: Answers, second: str, answers: Answers) -> None:
    for query in sorted(expected.keys() ^ answers.keys()):
        has, lacks = (first, second) if query in expected else (second, first)
        raise UserError(
            f"{has} answers the query {query}, {lacks} doesn't; have it answered, or say in query_ids what is judged"
        )
    for query, answer in answers.items():
        if answer.query.strip() != expected[query].query.strip():
            raise UserError(
                f"the query {query} is {expected[query].query[:80]!r} to {first}, and {answer.query[:80]!r} to "
                f"{second}; expected the same query under the same id"
            )


def chosen(agent: str, groups: Groups, ids: Mapping[str, list[str]]) -> Groups:
    """The answers to the queries in `ids` alone. Raises UserError naming the first without one."""
    for group, wanted in ids.items():
        missing = [query for query in wanted if query not in groups.get(group, {})]
        if missing:
            raise UserError(
                f"{agent} has no answer to {len(missing)} of {len(wanted)} queries of {group}, the first {missing[0]}; "
                "have them answered, or take them out of query_ids: what isn't answered would flatter"
            )
    return {group: {query: groups[group][query] for query in wanted} for group, wanted in ids.items()}
