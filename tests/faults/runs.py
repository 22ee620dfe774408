"""Training runs as jobs of a cluster, which a test can watch and disturb, or in this process."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import psutil
import torch

from cluster.demos.runner import overrides
from cluster.local.cluster_info import ClusterInfo
from cluster.local.ray_cli import submit_job
from common.settings import load
from student_trainer.distributed.process_group import ProcessGroup
from student_trainer.loop import train
from student_trainer.persistence.run_folder import newest_step, prepare
from student_trainer.settings import TrainSettings
from tests.faults.victims import actors, wait_for


class Run:
    """One submission of `python -m student_trainer train`; the same folder may be submitted again."""

    def __init__(self, cluster: ClusterInfo, config: Path, folder: Path, settings: Mapping[str, object]) -> None:
        """`settings` override the config by their dotted names."""
        self.folder, self._cluster = folder, cluster
        options = overrides({"run_folder": folder, **settings})
        self._command = ["python", "-m", "student_trainer", "train", str(config), *options]
        self._thread = threading.Thread(target=self._submit, daemon=True)
        self._failure: BaseException | None = None
        self.lines: list[str] = []
        self.code: int | None = None

    def _submit(self) -> None:
        try:
            self.code = submit_job(self._cluster, self._command, self.lines.append)
        except BaseException as error:  # noqa: BLE001 - the thread that waits raises it
            self._failure = error

    def wait_for_step(self, step: int) -> None:
        """Return when `step` is done and written down. Raises AssertionError when the job ends before."""

        def look() -> bool:
            alive = self._thread.is_alive()
            done = newest_step(self.folder) >= step
            assert alive or done, self.last_lines()
            return done

        wait_for(look, f"step {step} of {self.folder.name}")

    def wait(self, patience_s: float = 300) -> int:
        """The job's exit code, when it has ended. Raises TimeoutError."""
        self._thread.join(patience_s)
        if self._thread.is_alive():
            raise TimeoutError(f"{self.folder.name} still runs after {patience_s:.0f} s:\n{self.last_lines()}")
        if self._failure is not None:
            raise self._failure
        assert self.code is not None
        return self.code

    def succeed(self) -> None:
        """Wait for the job's end; it must be a good one."""
        assert self.wait() == 0, self.last_lines()

    def last_lines(self) -> str:
        """What the job and its workers said last."""
        log = self.folder / "log.txt"
        said = log.read_text().splitlines()[-20:] if log.exists() else []
        return "\n".join([*self.lines[-20:], "log.txt:", *said])

    def driver(self) -> psutil.Process:
        """The job's driver, as soon as it is there."""
        info = wait_for(lambda: (self._job() or {}).get("driver_info") or {}, "the driver")
        return psutil.Process(int(info["pid"]))

    def workers(self) -> list[psutil.Process]:
        """The workers of the cluster's only run, in the order of their starts."""
        return actors(self._cluster, "RayTrainWorker")

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End the job if it still runs."""
        job = self._job()
        if job is not None and job["status"] in ("PENDING", "RUNNING"):
            with suppress(httpx.HTTPError):  # it ended just now
                self._cluster.post(f"/api/jobs/{job['submission_id']}/stop")
        self._thread.join(60)

    def _job(self) -> dict[str, Any] | None:
        """The newest job on this run folder."""
        jobs = [job for job in self._cluster.get("/api/jobs/") if str(self.folder) in job["entrypoint"].split()]
        return max(jobs, key=lambda job: job["start_time"] or 0, default=None)


@contextmanager
def running(cluster: ClusterInfo, config: Path, folder: Path, settings: Mapping[str, object]) -> Iterator[Run]:
    """A run that has been submitted; it is stopped at the end if it still runs."""
    run = Run(cluster, config, folder, settings)
    run.start()
    try:
        yield run
    finally:
        run.stop()


def train_here(config: Path, folder: Path, settings: Mapping[str, object]) -> None:
    """Train in this process, as one worker does: for what needs no Ray around the trainer."""
    values = load(TrainSettings, config, overrides({"run_folder": folder, **settings}))
    prepare(values)
    train(values, ProcessGroup(0, 1, torch.device("cpu")))
