"""What the demos are made of: a run folder, a local cluster, and commands that a user could give just so."""

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

from cluster.demos.console import StepConsole
from cluster.demos.settings import LiveDemoSettings
from cluster.local.cluster_info import ClusterInfo
from cluster.local.environment import REPOSITORY, child_environment
from cluster.local.ray_cli import deploy, submit_job
from common.errors import UserError
from common.run_folder import RunFolder
from teacher_server.settings import TeacherServerSettings


@dataclass(frozen=True)
class DemoRun:
    """One run of a demo: its folder, and the console that it reports to."""

    folder: Path
    console: StepConsole

    @property
    def token_file(self) -> Path:
        """The teacher's API key."""
        return self.folder / "token"

    def command(self, *command: str | Path) -> None:
        """Run a `python -m …` command of the project in the repository's root. Raises UserError when it fails."""
        arguments = [str(part) for part in command]
        self.print_command(["python", "-m", *arguments])
        words = [sys.executable, "-m", *arguments]
        done = subprocess.run(words, cwd=REPOSITORY, env=child_environment(), check=False)
        if done.returncode != 0:
            raise UserError(
                f"`python -m {arguments[0]}` failed with exit code {done.returncode}; see its message above"
            )

    def print_command(self, arguments: list[str]) -> None:
        """Print a command as it could be given in the repository's root."""
        shown = shlex.join(arguments).replace(f"{REPOSITORY}/", "")
        self.console.print(f"      $ {shown}", style="cyan", soft_wrap=True, markup=False)


def new_run(runs: Path, name: str, steps: int) -> DemoRun:
    """Make a new folder under `runs`, with a fresh token that only its owner can read."""
    folder = (runs / f"{name}-{datetime.now():%Y%m%d-%H%M%S}").resolve()
    folder.mkdir(parents=True)
    run = DemoRun(folder, StepConsole(steps))
    run.token_file.touch(mode=0o600)
    run.token_file.write_text(secrets.token_urlsafe(32) + "\n")
    return run


@dataclass(frozen=True)
class DemoCluster:
    """A demo's run with the cluster that it trains and serves on."""

    run: DemoRun
    info: ClusterInfo

    def train(self, config: Path, name: str, settings: Mapping[str, object]) -> Path:
        """Submit a training job and watch it; return its run folder. Raises UserError when it fails, or has no adapter.

        `settings` override the config by their dotted names.
        """
        if yaml.safe_load(config.read_text()).get("student", {}).get("lora", {}) is None:
            raise UserError(
                f"{config} has student.lora null; the demo serves its students as adapters, set student.lora"
            )
        folder = self.run.folder / name
        command = ["student_trainer", "train", str(config), *overrides({"run_folder": folder, **settings})]
        self.run.print_command(["ray", "job", "submit", "--", "python", "-m", *command])
        if submit_job(self.info, ["python", "-m", *command], self._show) != 0:
            raise UserError(f"the training job {name} failed; see its last lines above")
        return folder

    def serve(self, *applications: Mapping[str, Any]) -> str:
        """Deploy `applications` and no others; return Serve's base URL."""
        http = {"host": "127.0.0.1", "port": self.info.serve_port}
        config = {"proxy_location": "HeadOnly", "http_options": http, "applications": list(applications)}
        file = self.run.folder / "serve.yaml"
        file.write_text(yaml.safe_dump(config, sort_keys=False))
        self.run.print_command(["serve", "deploy", str(file)])
        return deploy(self.info, file)

    def _show(self, line: str) -> None:
        self.run.console.print(f"      {line}", markup=False, soft_wrap=True)


def overrides(settings: Mapping[str, object]) -> list[str]:
    """{"a.b": 1} → ["--a.b", "1"]: what a command takes to override its config."""
    return [part for name, value in settings.items() for part in (f"--{name}", "null" if value is None else str(value))]


def application(name: str, settings: TeacherServerSettings) -> dict[str, Any]:
    """Serve's entry for one teacher application at /NAME."""
    return {
        "name": name,
        "route_prefix": f"/{name}",
        "import_path": "teacher_server.serve.app:build",
        "args": settings.model_dump(mode="json"),
    }


def served(
    run: DemoRun,
    settings: LiveDemoSettings,
    base: Path,
    trained: Mapping[str, Path],
) -> TeacherServerSettings:
    """What the application needs that serves the model in `base`, as "base", and the adapters of the `trained` runs."""
    return TeacherServerSettings(
        model=str(base),
        name="base",
        adapters={name: RunFolder(folder).adapter for name, folder in trained.items()},
        token_file=run.token_file,
        engine=settings.engine,
        replicas=settings.replicas,
        tool_layout=yaml.safe_load(settings.kd.read_text())["data"].get("template", "toolbench"),
    )
