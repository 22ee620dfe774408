"""Who may import whom, read from the source and seen in a running interpreter; and what stands at the root."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.common.toolbench.records import conversation

ROOT = Path(__file__).resolve().parents[2]
MAY_IMPORT = {
    "common": set(),
    "teacher_server": {"common"},
    "student_trainer": {"common"},
    "eval": {"common"},
    "cluster": {"common", "teacher_server", "student_trainer", "eval"},
}
HEAVY = {"ray", "torch", "vllm"}
AT_THE_ROOT = {
    *MAY_IMPORT,
    "tests",
    "requirements",
    "docker-compose.yml",
    "README.md",
    "pyproject.toml",
    "Makefile",
    "LICENSE",
}


def modules(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


def dotted(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imported(source: str) -> set[str]:
    """Top-level packages that `source` names in an import anywhere, relative ones as '.'."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add("." if node.level else str(node.module).split(".")[0])
    return found


def loaded_after(statement: str) -> set[str]:
    """Heavy packages that an interpreter has loaded after `statement`, whether or not it ended by SystemExit."""
    program = f"""
import contextlib, io, json, sys
with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
    {statement}
print(json.dumps([name for name in {sorted(HEAVY)!r} if name in sys.modules]))
"""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True, timeout=60)
    return set(json.loads(done.stdout))


@pytest.mark.parametrize("folder", MAY_IMPORT)
def test_a_folder_imports_only_what_it_may(folder: str):
    forbidden = (MAY_IMPORT.keys() | {"tests", "."}) - MAY_IMPORT[folder] - {folder}
    guilty = {dotted(path): imported(path.read_text("utf-8")) & forbidden for path in modules(folder)}
    assert {name: wrong for name, wrong in guilty.items() if wrong} == {}


@pytest.mark.parametrize("folder", MAY_IMPORT)
def test_packages_are_not_imported_whole(folder: str):
    """`import eval` would hide the built-in function; all are imported as `from eval.x import …`."""
    for path in modules(folder):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                assert not {alias.name for alias in node.names} & MAY_IMPORT.keys(), path


@pytest.mark.parametrize("folder", ["common", "eval"])
def test_no_module_here_loads_ray_torch_or_vllm(folder: str):
    names = [dotted(path) for path in modules(folder)]
    assert len(names) > 3
    assert loaded_after(f"import importlib; [importlib.import_module(name) for name in {names!r}]") == set()


def test_a_conversion_of_a_data_set_loads_none_either(tmp_path: Path):
    """`datasets` imports torch to make a stream, unless it is told not to before its own import."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in/train.jsonl").write_text(json.dumps(conversation("q", 1)[0]))
    convert = f"assert convert('hf:{tmp_path}/in', pathlib.Path('{tmp_path}/out')).rows == 1"
    assert loaded_after(f"import pathlib; from common.toolbench.convert import convert; {convert}") == set()


def test_one_file_imports_datasets():
    paths = [path for folder in MAY_IMPORT for path in modules(folder)]
    importing = [dotted(path) for path in paths if "datasets" in imported(path.read_text("utf-8"))]
    assert importing == ["common.toolbench.readers.dataset_source"]


def test_settings_modules_load_none_either():
    names = [dotted(path) for folder in MAY_IMPORT for path in modules(folder) if path.stem.endswith("settings")]
    assert {"teacher_server.settings", "student_trainer.settings", "student_trainer.student_settings"} <= set(names)
    assert loaded_after(f"import importlib; [importlib.import_module(name) for name in {names!r}]") == set()


COMMANDS = [*(dotted(path.parent) for folder in MAY_IMPORT for path in modules(folder) if path.stem == "__main__")]
COMMANDS += [
    "cluster up",
    "cluster demo",
    "student_trainer train",
    "student_trainer pretrain",
    "eval score",
    "eval episodes",
    "eval compare",
    "eval check-data",
    "eval qualify",
]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_is_instant(command: str):
    module, *arguments = command.split()
    call = f"runpy.run_module({module!r}, run_name='__main__')"
    assert loaded_after(f"import runpy; sys.argv = {[module, *arguments, '--help']!r}; {call}") == set()


def test_the_instrument_sees_a_heavy_import():
    assert loaded_after("import torch") == {"torch"}


def test_only_agreed_entries_stand_at_the_root():
    listing = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listing.returncode != 0:
        pytest.skip("not a git checkout")
    entries = {line.split("/")[0] for line in listing.stdout.splitlines()}
    assert {entry for entry in entries if not entry.startswith(".")} <= AT_THE_ROOT
