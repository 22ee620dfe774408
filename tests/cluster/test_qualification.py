"""The gate, on real vLLM: an expert passes, and its base, one with shuffled answers and one of another format don't."""

import asyncio
import json
import os
import random
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from common.settings import load
from common.toolbench.convert import convert
from common.toolbench.react import parse_step
from common.toolbench.rows import PromptRow, read_rows, write_rows
from common.world.build import build_world
from common.world.settings import WorldSettings
from student_trainer.distributed.process_group import ProcessGroup
from student_trainer.loop import train
from student_trainer.persistence import run_folder
from student_trainer.settings import TrainSettings
from teacher_server.settings import EngineSettings, TeacherServerSettings
from tests.interop.serving import vllm_service
from tests.service import TOKEN
from tests.serving import ROOT

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(900)]
BASES = ROOT / "student_trainer/base_models"
STEPS, TASKS = 60, 500
LONGEST = 1024


def shuffled(rows: list[PromptRow]) -> Iterable[PromptRow]:
    """Each completion belongs to another prompt."""
    completions = [row.completion for row in rows]
    random.Random(0).shuffle(completions)
    return (replace(row, completion=completion) for row, completion in zip(rows, completions, strict=True))


def other_format(rows: list[PromptRow]) -> Iterable[PromptRow]:
    """Each call is JSON, as other agents write it."""
    for row in rows:
        step = parse_step(row.completion or "")
        call = f'{{"name": "{step.action}", "arguments": {step.action_input}}}'
        yield replace(row, completion=f"{step.thought}\n[TOOL_CALLS][{call}]")


TAUGHT: dict[str, Callable[[list[PromptRow]], Iterable[PromptRow]]] = {
    "expert": iter,
    "shuffled": shuffled,
    "other_format": other_format,
}


def teach(folder: Path, name: str) -> Path:
    """The adapter of the demo's expert, fine-tuned in short on what `TAUGHT` makes of the recorded rows."""
    write_rows(folder / name / "rows", TAUGHT[name](list(read_rows(folder / "train"))))
    changes = {
        "run_folder": folder / name / "run",
        "data.train": folder / name / "rows",
        "data.validation": "null",
        "max_steps": STEPS,
        "student.model": BASES / "teacher",
        "workers.threads": 1,
    }
    overrides = [part for key, value in changes.items() for part in (f"--{key}", str(value))]
    settings = load(TrainSettings, ROOT / "student_trainer/configs/demo-expert.yaml", overrides)
    run_folder.prepare(settings)
    train(settings, ProcessGroup(0, 1, torch.device("cpu")))
    return settings.files.adapter


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows of a small world."""
    folder = tmp_path_factory.mktemp("qualification")
    world = WorldSettings(train_tasks=TASKS, query_tasks=0, evaluation_tasks=10, corpus_documents=0)
    build_world(world, folder / "world")
    for group in ("train", "seen"):
        convert(folder / f"world/{group}.json", folder / group)
    return folder


@pytest.fixture(scope="module")
def adapters(folder: Path) -> dict[str, Path]:
    return {name: teach(folder, name) for name in TAUGHT}


async def qualify(folder: Path, url: str, model: str) -> tuple[int | None, dict[str, Any]]:
    """The exit code of `python -m eval qualify`, and what it wrote."""
    settings = {
        "teacher": {"url": url, "model": model},
        "data": str(folder / "seen"),
        "tokenizer": str(BASES / "teacher"),
        "output": str(folder / f"{model}.json"),
        "rows": 24,
        "max_length": LONGEST,
        "max_new_tokens": 128,
    }
    file = folder / f"{model}.yaml"
    file.write_text(yaml.safe_dump(settings))
    environment = os.environ | {"TOOLAGENT_KD_TOKEN": TOKEN}
    command = [sys.executable, "-m", "eval", "qualify", str(file)]
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, env=environment)
    code = await process.wait()
    return code, json.loads((folder / f"{model}.json").read_text())


async def test_the_gate_passes_the_expert_alone(folder: Path, adapters: dict[str, Path]):
    engine = EngineSettings(
        dtype="float32", max_length=LONGEST, max_batched_tokens=2048, max_top_k=64, kv_cache_gib=0.25,
        enforce_eager=True,
    )  # fmt: skip
    served = TeacherServerSettings(model=str(BASES / "teacher"), name="base", adapters=adapters, engine=engine)
    async with vllm_service(served) as url:
        found = {model: await qualify(folder, url, model) for model in ("base", *TAUGHT)}
    codes = {model: code for model, (code, _) in found.items()}
    assert codes == {"base": 1, "expert": 0, "shuffled": 1, "other_format": 1}, found
    figures = {model: written["figures"] for model, (_, written) in found.items()}
    assert figures["other_format"]["form"] == figures["base"]["form"] == 0
    assert figures["shuffled"]["form"] > 0.5 > figures["shuffled"]["known_api"]
