"""Lines of used and unused prompts, and their cut on resumption."""

import json
from pathlib import Path

from common.sequences import Sequence
from student_trainer.examples import Example
from student_trainer.ledger import QUARANTINE, USED, Unused, append_unused, append_used, cut_back


def make_unused(position: int) -> Unused:
    return Unused(f"row-{position}", 0, position, "does_not_fit", "zu lang für\nalle")


def steps(folder: Path, file: str = QUARANTINE) -> list[int]:
    return [json.loads(line)["step"] for line in (folder / file).read_text().splitlines()]


def test_each_prompt_is_a_line(tmp_path: Path):
    append_unused(tmp_path / "run", 3, [make_unused(5), make_unused(6)])
    append_unused(tmp_path / "run", 4, [make_unused(9)])
    lines = [json.loads(line) for line in (tmp_path / "run" / QUARANTINE).read_text().splitlines()]
    assert [(line["step"], line["id"], line["epoch"], line["position"]) for line in lines] == [
        (3, "row-5", 0, 5), (3, "row-6", 0, 6), (4, "row-9", 0, 9),
    ]  # fmt: skip
    assert lines[0]["reason"] == "zu lang für\nalle"


def test_used_prompts_stand_in_a_file_of_their_own(tmp_path: Path):
    example = Example(Sequence("row-7", (1,), (2,), "dataset", "stop"), None, 1, 7)
    append_used(tmp_path, 2, [example])
    append_used(tmp_path, 3, [example])
    cut_back(tmp_path, 2)
    assert json.loads((tmp_path / USED).read_text()) == {"step": 2, "id": "row-7", "epoch": 1, "position": 7}


def test_nothing_to_write_makes_no_file(tmp_path: Path):
    append_unused(tmp_path, 1, [])
    assert not (tmp_path / QUARANTINE).exists()


def test_resuming_drops_what_came_after_the_checkpoint_and_a_torn_line(tmp_path: Path):
    for step in (1, 3, 2, 4):  # workers write as they come
        append_unused(tmp_path, step, [make_unused(step)])
    with (tmp_path / QUARANTINE).open("a") as file:
        file.write('{"step": 1, "id": "ro')
    cut_back(tmp_path, 2)
    assert steps(tmp_path) == [1, 2]
    append_unused(tmp_path, 3, [make_unused(3)])
    assert steps(tmp_path) == [1, 2, 3]


def test_cutting_an_absent_file_does_nothing(tmp_path: Path):
    cut_back(tmp_path, 2)
    assert list(tmp_path.iterdir()) == []
