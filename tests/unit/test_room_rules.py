"""Who may import whom inside a folder, room by room; who alone imports ray, vllm and torch; who alone asks a teacher.

A room is a subpackage, or a module that stands at its folder's root.
"""

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from tests.unit.test_import_rules import MAY_IMPORT, ROOT, dotted, imported, modules

FLOORS = {
    "common": [
        "agents",
        "world",
        "quality",
        "teacher_client",
        "render",
        "unusable_rows end_tokens fingerprints",
        "layouts",
        "tool_calls",
        "toolbench command_line",
        "settings files wire sequences",
        "jsonl",
        "api errors run_folder",
    ],
    "teacher_server": [
        "__main__",
        "check",
        "router",
        "serve",
        "vllm",
        "openai distill adapters",
        "http",
        "engine settings",
    ],
    "student_trainer": [
        "__main__",
        "commands",
        "ray_train",
        "loop",
        "watchdog",
        "pipeline persistence monitors",
        "learning pretraining",
        "batching",
        "loss distributed record",
        "settings data",
        "student_settings guard_settings",
    ],
    "eval": [
        "__main__",
        "commands",
        "compare check_data tooleval",
        "judging rollouts qualification",
        "metrics settings served endpoint output_folder",
        "results row_sources splits endpoint_settings visible_text",
    ],
    "cluster": ["__main__", "experiment", "demos", "local"],
}
"""Rooms of each folder from the roof to the ground: each imports only what stands on a floor below its own."""
ALONE = {
    "vllm": {"teacher_server/vllm"},
    "ray": {
        "student_trainer/ray_train",
        "teacher_server/serve",
        "teacher_server/router/app.py",
        "teacher_server/vllm/stats.py",
    },
    "torch": {
        "student_trainer/batching",
        "student_trainer/commands",
        "student_trainer/distributed",
        "student_trainer/learning",
        "student_trainer/loss",
        "student_trainer/persistence",
        "student_trainer/pretraining",
        "student_trainer/watchdog",
        "teacher_server/vllm",
    },
    "tenacity": {"common/teacher_client"},
    "mcp": {"common/agents/environments/mcp_client"},
}
"""Which rooms and files alone import a package."""
MOST_FLAT = 12


def floors(folder: str) -> dict[str, int]:
    """The floor of each room, 0 at the roof."""
    return {room: number for number, rooms in enumerate(FLOORS[folder]) for room in rooms.split()}


def imports(path: Path) -> Iterator[str]:
    """Modules of ours that `path` imports, anywhere in it, by their whole names."""
    known = {dotted(module) for folder in MAY_IMPORT for module in modules(folder)}
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield whole if whole in known else node.module


@pytest.mark.parametrize("folder", FLOORS)
def test_every_room_has_its_floor(folder: str):
    rooms = {dotted(path).split(".")[1] for path in modules(folder) if dotted(path) != folder}
    assert rooms == set(floors(folder))


@pytest.mark.parametrize("folder", FLOORS)
def test_no_import_inside_a_folder_goes_up_or_sideways(folder: str):
    floor, guilty = floors(folder), []
    for path in modules(folder):
        for module in imports(path):
            own, others = dotted(path).split("."), module.split(".")
            if others[0] != folder or len(own) < 2 or len(others) < 2 or own[1] == others[1]:
                continue
            if floor[others[1]] <= floor[own[1]]:
                guilty.append(f"{dotted(path)} imports {module}")
    assert guilty == []


@pytest.mark.parametrize("folder", FLOORS)
def test_no_files_import_each_other_in_a_circle(folder: str):
    graph = {dotted(path): {module for module in imports(path) if module != dotted(path)} for path in modules(folder)}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"a circle: {error.args[1]}")


@pytest.mark.parametrize("package", ALONE)
def test_some_packages_are_imported_in_named_places_alone(package: str):
    importing = {
        path.relative_to(ROOT)
        for folder in MAY_IMPORT
        for path in modules(folder)
        if package in imported(path.read_text("utf-8"))
    }
    allowed = ALONE[package]
    strangers = [str(path) for path in importing if not any(path.is_relative_to(place) for place in allowed)]
    unused = [place for place in allowed if not any(path.is_relative_to(place) for path in importing)]
    assert (sorted(strangers), unused) == ([], [])


@pytest.mark.parametrize("folder", ["teacher_server", "student_trainer", "eval"])
def test_few_files_lie_flat(folder: str):
    flat = {
        str(each.relative_to(ROOT)): sum(file.name != "__init__.py" for file in each.glob("*.py"))
        for each in {path.parent for path in modules(folder)}
    }
    assert {name: number for name, number in flat.items() if number > MOST_FLAT} == {}


def calls(path: Path) -> set[str]:
    """Names that are called in `path`."""
    nodes = ast.walk(ast.parse(path.read_text("utf-8")))
    return {node.func.id for node in nodes if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}


def sends_to_a_teacher(path: Path) -> bool:
    """Whether it builds a request of the distillation API, or names its route in code that is no route's own."""
    if calls(path) & {"DistillRequest", "DistillSequence"}:
        return True
    texts = (node.value for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Constant))
    return any(isinstance(text, str) and text.endswith("/v1/distill") for text in texts)


def test_only_the_teachers_client_asks_a_teacher():
    asking = {
        str(path.relative_to(ROOT)) for folder in MAY_IMPORT for path in modules(folder) if sends_to_a_teacher(path)
    }
    assert asking == {"common/teacher_client/calls.py", "common/teacher_client/requests.py"}
