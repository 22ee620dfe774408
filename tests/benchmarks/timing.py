"""What benchmarks share: works timed in turns, and peers installed for the length of a `with` block."""

import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
import venv
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path


def medians(
    works: Mapping[str, Callable[[], object]],
    repetitions: int,
    clock: Callable[[], float] = time.perf_counter,
    warm_ups: int = 1,
) -> dict[str, float]:
    """Median seconds of each work. They take turns, so that whatever else the machine does meets them all alike.

    `clock` may be `time.process_time`: seconds of CPU of all threads of this process, whatever runs beside it.
    """
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for repetition in range(warm_ups + repetitions):
        for name, work in works.items():
            start = clock()
            work()
            spent = clock() - start
            if repetition >= warm_ups:
                seconds[name].append(spent)
    return {name: statistics.median(each) for name, each in seconds.items()}


@contextmanager
def peer(requirement: str) -> Iterator[bool]:
    """Make a peer's package importable here, itself alone, while the block runs: never in the project's environment.

    What it needs it finds in the project's environment. False, and said, when it can't be installed.
    """
    with tempfile.TemporaryDirectory(prefix="peer") as folder:
        there = _install(requirement, folder)
        sys.path.append(folder)
        try:
            yield there
        finally:
            sys.path.remove(folder)


@contextmanager
def peer_python(requirement: str) -> Iterator[Path | None]:
    """The interpreter of a virtual environment made for a peer, there while the block runs: for whole programs of it.

    The environment holds the peer's package and borrows what that needs from the project's. None, and said, when the
    package can't be installed.
    """
    with tempfile.TemporaryDirectory(prefix="peer") as name:
        folder = Path(name)
        venv.create(folder, with_pip=False)
        packages = Path(sysconfig.get_path("purelib", "venv", {"base": name}))
        (packages / "project.pth").write_text(sysconfig.get_path("purelib") + "\n")
        yield folder / "bin" / "python" if _install(requirement, str(packages)) else None


def _install(requirement: str, folder: str) -> bool:
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", folder, requirement]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        print(f"{requirement} can't be installed: {done.stderr.strip().splitlines()[-1]}")
    return done.returncode == 0
