"""Lines of prompts without an example, and their cut on resumption."""

import json
from pathlib import Path

from student_trainer.quarantine import FILE, Unused, append, cut_back


def make_unused(position: int) -> Unused:
    return Unused(f"row-{position}", 0, position, "quarantined", "zu lang für\nalle")


def steps(folder: Path) -> list[int]:
    return [json.loads(line)["step"] for line in (folder / FILE).read_text().splitlines()]


def test_each_prompt_is_a_line(tmp_path: Path):
    append(tmp_path / "run", 3, [make_unused(5), make_unused(6)])
    append(tmp_path / "run", 4, [make_unused(9)])
    lines = [json.loads(line) for line in (tmp_path / "run" / FILE).read_text().splitlines()]
    assert [(line["step"], line["id"], line["epoch"], line["position"]) for line in lines] == [
        (3, "row-5", 0, 5), (3, "row-6", 0, 6), (4, "row-9", 0, 9),
    ]  # fmt: skip
    assert lines[0]["reason"] == "zu lang für\nalle"


def test_nothing_to_write_makes_no_file(tmp_path: Path):
    append(tmp_path, 1, [])
    assert not (tmp_path / FILE).exists()


def test_resuming_drops_what_came_after_the_checkpoint_and_a_torn_line(tmp_path: Path):
    for step in (1, 3, 2, 4):  # workers write as they come
        append(tmp_path, step, [make_unused(step)])
    with (tmp_path / FILE).open("a") as file:
        file.write('{"step": 1, "id": "ro')
    cut_back(tmp_path, 2)
    assert steps(tmp_path) == [1, 2]
    append(tmp_path, 3, [make_unused(3)])
    assert steps(tmp_path) == [1, 2, 3]


def test_cutting_an_absent_file_does_nothing(tmp_path: Path):
    cut_back(tmp_path, 2)
    assert list(tmp_path.iterdir()) == []
