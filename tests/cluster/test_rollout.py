"""A rollout of a model on real vLLM, by its command: killed once, it goes on; every turn keeps its ids and weights."""

import asyncio
import json
import os
import sys
from pathlib import Path

import pytest
import yaml

from common.agents.trajectories import EPISODES, TREES, TrajectoryStore
from common.render import load_renderer
from common.world.build import build_world
from common.world.settings import WorldSettings
from teacher_server.settings import EngineSettings, TeacherServerSettings
from tests.interop.serving import vllm_service
from tests.service import TOKEN
from tests.serving import ROOT

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(600)]
BASE = ROOT / "student_trainer/base_models/student"
LONGEST, TASKS = 1024, 8


def config(folder: Path, url: str) -> Path:
    build_world(
        WorldSettings(train_tasks=1, query_tasks=0, evaluation_tasks=TASKS, corpus_documents=0), folder / "world"
    )
    settings = {
        "policy": {"kind": "served", "url": url, "model": "base", "tokenizer": str(BASE), "max_length": LONGEST},
        "environment": {"kind": "world", "folder": str(folder / "world"), "splits": ["seen"]},
        "search": {"kind": "dfsdt", "max_queries": 3},
        "sampling": {"temperature": 1.0, "max_tokens": 24},
        "output": str(folder / "out"),
        "in_flight": 2,
    }
    (folder / "rollout.yaml").write_text(yaml.safe_dump(settings))
    return folder / "rollout.yaml"


async def roll_out(file: Path, kill_after: int | None = None) -> int | None:
    """The exit code of `python -m eval rollout`, killed once so many episodes are written."""
    command = [sys.executable, "-m", "eval", "rollout", str(file)]
    environment = os.environ | {"TOOLAGENT_KD_TOKEN": TOKEN}
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, env=environment)
    episodes = file.parent / "out" / EPISODES
    while kill_after is not None and process.returncode is None:
        if episodes.exists() and episodes.read_bytes().count(b"\n") >= kill_after:
            process.kill()
            break
        await asyncio.sleep(0.02)
    return await process.wait()


async def test_a_rollout_of_a_served_model_goes_on_where_it_was_killed(tmp_path: Path):
    engine = EngineSettings(
        dtype="float32", max_length=LONGEST, max_batched_tokens=2048, max_top_k=8, kv_cache_gib=0.25, enforce_eager=True
    )
    async with vllm_service(TeacherServerSettings(model=str(BASE), name="base", engine=engine)) as url:
        file = config(tmp_path, url)
        assert await roll_out(file, kill_after=2) == -9
        before = TrajectoryStore(tmp_path / "out").read()
        assert 2 <= len(before) < TASKS
        assert await roll_out(file) == 0
    after = TrajectoryStore(tmp_path / "out").read()
    assert after[: len(before)] == before
    assert len({each.episode for each in after}) == len(after) == TASKS
    assert {each.queries for each in after} == {3}
    renderer = load_renderer(str(BASE), "toolbench", LONGEST)
    for step in (step for each in after for step in each.steps):
        assert renderer.text(step.written.token_ids) == step.written.text
        assert step.written.revision == after[0].steps[0].written.revision
    trees = [json.loads(path.read_text()) for path in (tmp_path / "out" / TREES).iterdir()]
    assert {tree["answer_generation"]["query_count"] for tree in trees} == {3}
