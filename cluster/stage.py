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

import yaml

from cluster.demo_settings import DemoSettings, SmolLM2DemoSettings, ToolBenchDemoSettings
from cluster.handle import ClusterHandle
from cluster.jobs import deploy, submit_job
from cluster.nodes import REPOSITORY
from cluster.story import Story
from common.errors import UserError
from teacher_server.settings import TeacherSettings


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
        self.say_command(["python", "-m", *arguments])
        environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
        done = subprocess.run([sys.executable, "-m", *arguments], cwd=REPOSITORY, env=environment, check=False)
        if done.returncode != 0:
            raise UserError(
                f"`python -m {arguments[0]}` failed with exit code {done.returncode}; see its message above"
            )

    def say_command(self, arguments: list[str]) -> None:
        """Print a command as it could be given in the repository's root."""
        shown = shlex.join(arguments).replace(f"{REPOSITORY}/", "")
        self.story.console.print(f"      $ {shown}", style="cyan", soft_wrap=True, markup=False)


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
        """Submit a training job and watch it; return its run folder. Raises UserError when it fails, or has no adapter.

        `settings` override the config; in their names `__` stands for the dot.
        """
        if yaml.safe_load(config.read_text()).get("student", {}).get("lora", {}) is None:
            raise UserError(
                f"{config} has student.lora null; the demo serves its students as adapters, set student.lora"
            )
        folder = self.workshop.folder / name
        overrides = {"run_folder": folder} | {key.replace("__", "."): value for key, value in settings.items()}
        options = [part for key, value in overrides.items() for part in (f"--{key}", str(value))]
        command = ["student_trainer", "train", str(config), *options]
        self.workshop.say_command(["ray", "job", "submit", "--", "python", "-m", *command])
        if submit_job(self.cluster, [sys.executable, "-m", *command], self._show) != 0:
            raise UserError(f"the training job {name} failed; see its last lines above")
        return folder

    def serve(self, *applications: Mapping[str, Any]) -> str:
        """Deploy `applications` beside none other and return Serve's base URL."""
        http = {"host": "127.0.0.1", "port": self.cluster.serve_port}
        config = {"proxy_location": "HeadOnly", "http_options": http, "applications": list(applications)}
        file = self.workshop.folder / "serve.yaml"
        file.write_text(yaml.safe_dump(config, sort_keys=False))
        self.workshop.say_command(["serve", "deploy", str(file)])
        return deploy(self.cluster, file)

    def _show(self, line: str) -> None:
        self.workshop.story.console.print(f"      {line}", markup=False, soft_wrap=True)


def application(name: str, settings: TeacherSettings) -> dict[str, Any]:
    """Serve's entry for one teacher application at /NAME."""
    return {
        "name": name,
        "route_prefix": f"/{name}",
        "import_path": "teacher_server.app:build",
        "args": settings.model_dump(mode="json"),
    }


def served(
    workshop: Workshop,
    settings: DemoSettings | SmolLM2DemoSettings | ToolBenchDemoSettings,
    base: Path,
    runs: Mapping[str, Path],
) -> TeacherSettings:
    """What the application needs that serves the model in `base`, as "base", and the adapters that `runs` trained."""
    return TeacherSettings(
        model=str(base),
        name="base",
        adapters={name: run / "adapter" for name, run in runs.items()},
        token_file=workshop.token_file,
        engine=settings.engine,
        replicas=settings.replicas,
    )
