"""Folders of an experiment, made by hand: what the report of each must say is known."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from common.agents.episodes import SetAside
from common.agents.trajectories import TrajectoryStore
from common.agents.types import Action, Observation, Status, Step, Trajectory, WrittenTurn
from common.toolbench.react import Part
from common.toolbench.rows import Turn
from common.toolbench.system_prompt import offer_functions
from eval.judging.judge import Judged
from eval.judging.judgement import judgement_of
from eval.metrics.measures import MEASURES
from eval.results import Evaluation, PartLoss, RowResult, write_evaluation
from eval.rollouts.results import CONFIG, SET_ASIDE

TASKS = 20
ROLLOUT = {
    "policy": {"kind": "endpoint", "url": "http://unused", "model": "m", "prompt_price": 10.0},
    "environment": {"kind": "functions", "module": "unused.py", "tasks": "unused.jsonl"},
    "output": "unused",
}
GOOD_THOUGHT = "\nThought: I look the price up"


def function(name: str) -> dict[str, Any]:
    return {"name": name, "description": "", "parameters": {"type": "object", "properties": {}, "required": []}}


def trajectory(
    task: int, solved: bool | None, split: str = "unseen_tool", tools: int = 4, **changes: Any
) -> Trajectory:
    """One step on a task of one of so many tools."""
    tool = f"tool_{task % tools}"
    text = changes.pop("text", f"{GOOD_THOUGHT} of thing {task}.\nAction: price_for_{tool}\nAction Input: {{}}")
    system = offer_functions([function(f"price_for_{tool}"), function(f"weight_for_{tool}")], {})
    step = Step(
        WrittenTurn(text, "stop", "r", (), "", 100, 20),
        Action(f"price_for_{tool}", "{}"),
        Observation('{"error": "", "response": "12"}', Status.OK),
    )
    values = {
        "episode": f"{split}-{task}/0",
        "task": f"{split}-{task}",
        "query": f"What is the price of thing {task}?",
        "group": split,
        "opening": (Turn("system", system), Turn("user", "\nq\nBegin!\n")),
        "steps": (step,),
        "stop": "finished",
        "solved": solved,
        "final_answer": "12",
        "provenance": "student",
        "seconds": 2.0,
        "queries": 1,
        "prompt_tokens": 100,
        "completion_tokens": 20,
    }
    return Trajectory(**(values | changes))


def write_rollout(folder: Path, trajectories: Sequence[Trajectory], set_aside: int = 0, **settings: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "episodes.jsonl").touch()
    store = TrajectoryStore(folder)
    for each in trajectories:
        store.add(each)
    broken = [SetAside(f"broken {number}", "gone") for number in range(set_aside)]
    (folder / SET_ASIDE).write_text("".join(json.dumps(asdict(each)) + "\n" for each in broken))
    (folder / CONFIG).write_text(yaml.safe_dump(ROLLOUT | settings))
    return folder


def write_run(folder: Path, steps: int = 30, teacher: bool = True) -> Path:
    """A run whose loss falls."""
    folder.mkdir(parents=True)
    lines = []
    for step in range(1, steps + 1):
        line = {"progress/step": step, "train/ce": 2 / step, "time/step_s": 2.0, "time/waited_s": 0.5}
        if teacher:
            line |= {f"train/{name}": 1 / step for name in ("kl", "teacher_mass", "student_mass")}
            line |= {"train/teacher_entropy": 0.5, "train/student_entropy": 0.5 + 1 / step}
        if step % 10 == 0:
            line |= {"validation/ce": 3 / step, "validation/kl": 2 / step}
        lines.append(json.dumps(line) + "\n")
    (folder / "metrics.jsonl").write_text("".join(lines))
    summary = {
        "steps": steps, "used": 16 * steps, "quarantined": 1, "dropped_by_length": 2, "tokens": 9999, "seconds": 60.0,
        "tokens_per_s": 166.6, "waited_fraction": 0.25, "verdict": "teacher-bound: trainers waited 25%",
        "validation_before": {"step": 0, "ce": 2.5, "kl": 1.25},
        "validation_after": {"step": 30, "ce": 0.5, "kl": 0.25},
    }  # fmt: skip
    (folder / "summary.json").write_text(json.dumps(summary))
    return folder


def row(model: str, split: str, number: int, loss: float, valid: bool) -> RowResult:
    """A scored row of one of four tools, of ten tokens."""
    tool = f"tool_{number % 4}"
    parts: dict[Part, PartLoss] = {
        "thought": PartLoss(tokens=5, nats=8 * loss),
        "action": PartLoss(tokens=3, nats=loss),
        "action_input": PartLoss(tokens=2, nats=loss),
    }
    measures = dict.fromkeys(MEASURES, 0.5) | {"valid": float(valid)}
    return RowResult(
        model=model, group=split, row=f"{split}-{number}", trace=f"t{number}", step=1, tool=tool, tools=[tool],
        tokens=10, nats=10 * loss, parts=parts, written_tokens=9, measures=measures,
    )  # fmt: skip


def write_scores(file: Path, rows: Sequence[RowResult]) -> Path:
    """What `eval score` writes of such rows."""
    groups = dict.fromkeys((each.model, each.group) for each in rows)
    judged = [
        (model, group, Judged([each for each in rows if (each.model, each.group) == (model, group)], {"x": "too long"}))
        for model, group in groups
    ]
    write_evaluation(file, Evaluation(judgements=[judgement_of(*each) for each in judged]), rows)
    return file


def scored(model: str, split: str, loss: float, valid: int) -> list[RowResult]:
    """20 rows, so many of them valid."""
    return [row(model, split, number, loss, number < valid) for number in range(TASKS)]


def write_cell(root: Path, name: str, solved: Sequence[bool | None], loss: float, tools: int = 4) -> dict[str, Any]:
    """A cell that is done, with a run, scores and episodes of the first tasks of the unseen tools."""
    write_run(root / "runs" / name, teacher=not name.startswith("A"))
    write_scores(root / f"scores/{name}.json", scored(name, "unseen_tool", loss, 18))
    trajectories = [trajectory(task, each, tools=tools) for task, each in enumerate(solved)]
    write_rollout(root / "episodes" / name / "unseen_tool", trajectories)
    return {
        "name": name, "arm": name[0], "seed": int(name[-1]), "status": "done", "run": f"runs/{name}",
        "scores": f"scores/{name}.json", "episodes": {"unseen_tool": f"episodes/{name}/unseen_tool"}, "seconds": 100.0,
    }  # fmt: skip


def write_manifest(root: Path, cells: Sequence[Mapping[str, Any]], **changes: Any) -> Path:
    values = {
        "name": "embedded",
        "question": "Does the distribution help on unseen tools?",
        "primary": {"measure": "task_success", "split": "unseen_tool", "arms": ["D", "A"]},
        "arms": {"A": "FT on recorded traces", "D": "KD on written ones"},
        "cells": list(cells),
        "gate": [{"check": "the expert leads A", "seed": 1, "value": 0.2, "expected": ">= 0.15", "passed": True}],
        "environment": {"date": "2026-11-28", "machine": "2 cores", "command": "python -m x", "versions": {"a": "1"}},
    }
    (root / "experiment.json").write_text(json.dumps(values | changes))
    return root


def write_experiment(root: Path, d_solves: int = 18, a_solves: int = 6, **changes: Any) -> Path:
    """Two arms with two seeds; of 20 tasks each solves so many."""
    root.mkdir(exist_ok=True)
    cells = []
    for seed in (1, 2):
        for arm, solves in (("A", a_solves), ("D", d_solves)):
            cells.append(write_cell(root, f"{arm}-s{seed}", [task < solves for task in range(TASKS)], 0.3))
    return write_manifest(root, cells, **changes)


EVIL = (
    '</script><script>document.title = "pwned"</script><img src=x onerror=alert(1)> [x](javascript:alert(1)) '
    "\u202egnp.exe\u202c \x00\x1b[31m | ``` `` ~~~ $x$ " + "w" * 400
)
"""What a model, or a tool, may write."""


def hostile_experiment(root: Path) -> Path:
    """Two arms; one writes EVIL, and an arm, a cell, its reason and a check are called so too."""
    cells = [write_cell(root, "A-s1", [], 0.4), write_cell(root, "D-s1", [task < 9 for task in range(12)], 0.3)]
    step = "\nThought: " + EVIL + '\nAction: x\nAction Input: {"a": 1}'
    told = [trajectory(task, task % 2 == 0, text=step, query=EVIL) for task in range(12)]
    write_rollout(root / "episodes/A-s1/unseen_tool", told)
    cells.append({"name": EVIL, "arm": "B", "seed": 1, "status": "failed", "reason": EVIL})
    arms = {"A": "FT", "D": EVIL, "B": "SFT on the expert's written text, the record replayed without its distribution"}
    gate = [{"check": EVIL, "seed": 1, "value": None, "expected": ">= 0.15", "passed": False}]
    return write_manifest(root, cells, arms=arms, gate=gate)
