"""Each client's environment, under `.venv-interop/`: made once, and again when its lock changes."""

import json
import os
import subprocess
import sys
import venv
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.service import TOKEN
from tests.serving import ROOT

CLIENTS = Path(__file__).parent / "clients"


@cache
def python_of(client: str) -> Path:
    """The interpreter of `client`'s environment. The test is skipped, with what pip said, where it can't be had."""
    lock = ROOT / "requirements/interop" / f"{client}.lock"
    folder = ROOT / ".venv-interop" / client
    python, stamp = folder / "bin/python", folder / "installed"
    wanted = f"{sys.version}\n{lock.read_text()}"
    if stamp.is_file() and stamp.read_text() == wanted:
        return python
    venv.create(folder, clear=True, with_pip=True)
    command = [python, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-deps", "-r", lock]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or ["ERROR: pip said nothing"]
        pytest.skip(f"{client} can't be installed: {said[0].removeprefix('ERROR: ')}")
    stamp.write_text(wanted)
    return python


async def run(client: str, *arguments: str | Path, url: str = "", folder: Path, **environment: str) -> str:
    """What `python ARGUMENTS` prints in `client`'s environment, with the service at `url` as its OpenAI.

    It works in `folder`, knows nothing of the project, and asks no model hub. It is killed where the test ends.
    """
    python = python_of(client)
    own = {"PATH": os.environ["PATH"], "HOME": str(folder), "HF_HUB_OFFLINE": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    openai = {"OPENAI_BASE_URL": f"{url}/v1", "OPENAI_API_KEY": TOKEN}
    done = await anyio.run_process(
        [str(python), *map(str, arguments)], cwd=folder, env=own | openai | environment, check=False
    )
    said = done.stderr.decode()
    assert done.returncode == 0, f"{client} ended with {done.returncode}: {said[-8000:]}"
    return done.stdout.decode()


async def answer_of(client: str, task: Mapping[str, Any], url: str = "", *, folder: Path, **environment: str) -> Any:
    """What `clients/CLIENT.py` makes of a task; it reads that as JSON in a file, and writes its answer to another."""
    asked, answered = folder / "task.json", folder / "answer.json"
    asked.write_text(json.dumps(task))
    script = CLIENTS / f"{client.replace('-', '_')}.py"
    await run(client, script, asked, answered, url=url, folder=folder, **environment)
    return json.loads(answered.read_text())
