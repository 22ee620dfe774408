"""What the demos are made of: a run folder, a local cluster, and commands that a user could give just so."""

import os
import secrets
import shlex
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from cluster.handle import ClusterHandle
from cluster.jobs import deploy, submit_job
from cluster.nodes import REPOSITORY
from cluster.story import Story
from common.errors import UserError


@dataclass(frozen=True)
class Workshop:
    """A folder of its own for one run of a demo, and the story it tells."""

    folder: Path
    story: Story

    @property
    def token_file(self) -> Path:
        """The teacher's bearer token."""
        return self.folder / "token"

    def run(self, *command: str | Path) -> None:
        """Run a `python -m …` command of the project in the repository's root. Raises UserError when it fails."""
        arguments = [str(part) for part in command]
        self.say_command(arguments)
        environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
        done = subprocess.run([sys.executable, "-m", *arguments], cwd=REPOSITORY, env=environment, check=False)
        if done.returncode != 0:
            raise UserError(
                f"`python -m {arguments[0]}` failed with exit code {done.returncode}; see its message above"
            )

    def say_command(self, arguments: list[str], prefix: str = "") -> None:
        shown = shlex.join(arguments).replace(f"{REPOSITORY}/", "")
        self.story.console.print(f"      $ {prefix}python -m {shown}", style="cyan", soft_wrap=True, markup=False)


def open_workshop(runs: Path, name: str, steps: int) -> Workshop:
    """Make a new folder under `runs`, with a fresh token that only its owner can read."""
    folder = (runs / f"{name}-{datetime.now():%Y%m%d-%H%M%S}").resolve()
    folder.mkdir(parents=True)
    workshop = Workshop(folder, Story(steps))
    workshop.token_file.touch(mode=0o600)
    workshop.token_file.write_text(secrets.token_urlsafe(32) + "\n")
    return workshop


@dataclass(frozen=True)
class Stage:
    """A workshop with a cluster."""

    workshop: Workshop
    cluster: ClusterHandle

    def train(self, config: Path, name: str, **settings: object) -> Path:
        """Submit a training job and watch it; return its run folder. Raises UserError when it fails.

        `settings` override the config; in their names `__` stands for the dot.
        """
        folder = self.workshop.folder / name
        overrides = {"run_folder": folder} | {key.replace("__", "."): value for key, value in settings.items()}
        options = [part for key, value in overrides.items() for part in (f"--{key}", str(value))]
        command = ["student_trainer", "train", str(config), *options]
        self.workshop.say_command(command, "ray job submit -- ")
        if submit_job(self.cluster, [sys.executable, "-m", *command], self._show) != 0:
            raise UserError(f"the training job {name} failed; see its last lines above")
        return folder

    def serve(self, *applications: Mapping[str, Any]) -> str:
        """Deploy `applications` beside none other and return Serve's base URL."""
        for name in (application["name"] for application in applications):
            self._show(f"serve deploy: application {name}")
        return deploy(self.cluster, {"applications": list(applications)})

    def _show(self, line: str) -> None:
        self.workshop.story.console.print(f"      {line}", markup=False, soft_wrap=True)


def application(name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Serve's entry for one teacher application at /NAME; `arguments` are `teacher_server.settings.TeacherSettings`."""
    return {
        "name": name,
        "route_prefix": f"/{name}",
        "import_path": "teacher_server.app:build",
        "args": dict(arguments),
    }
