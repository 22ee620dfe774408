"""Lines of used and unused prompts: all of a step or none, cut back on resumption."""

import json
import os
from pathlib import Path

import pytest

from common.errors import UserError
from student_trainer.data.plan import Key, Unused, Used
from student_trainer.persistence import step_lines
from student_trainer.persistence.ledger import append, cut_back


def make_unused(index: int) -> Unused:
    return Unused(f"row-{index}", Key(0, index), "does_not_fit", "zu lang für\nalle\u2028")


def steps(folder: Path, file: str = "quarantine.jsonl") -> list[int]:
    return [line["step"] for line in step_lines.read(folder / file, "step")]


def test_each_prompt_is_a_line_used_ones_in_a_file_of_their_own(tmp_path: Path):
    append(tmp_path / "run", 3, [make_unused(5), Used("row-7", Key(1, 7)), make_unused(6)])
    append(tmp_path / "run", 4, [make_unused(9)])
    read = [json.loads(line) for line in (tmp_path / "run" / "quarantine.jsonl").read_text().splitlines()]
    assert [(line["step"], line["id"], line["epoch"], line["index"]) for line in read] == [
        (3, "row-5", 0, 5), (3, "row-6", 0, 6), (4, "row-9", 0, 9),
    ]  # fmt: skip
    assert read[0]["reason"] == "zu lang für\nalle\u2028"
    used = step_lines.read(tmp_path / "run" / "used.jsonl", "step")
    assert used == [{"step": 3, "id": "row-7", "epoch": 1, "index": 7}]


def test_nothing_to_write_makes_no_file(tmp_path: Path):
    append(tmp_path, 1, [])
    cut_back(tmp_path, 2)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("torn", ['{"step": 1, "id": "ro', '{"step": 1}'])
def test_resuming_drops_what_came_after_the_checkpoint_and_a_torn_line(tmp_path: Path, torn: str):
    """A line without its newline is torn even where it reads well: the next would stand behind it."""
    for step in (1, 2, 3):
        append(tmp_path, step, [make_unused(step)])
    with (tmp_path / "quarantine.jsonl").open("a") as file:
        file.write(torn)
    assert steps(tmp_path) == [1, 2, 3]
    cut_back(tmp_path, 2)
    assert steps(tmp_path) == [1, 2]
    append(tmp_path, 3, [make_unused(3)])
    assert steps(tmp_path) == [1, 2, 3]


@pytest.mark.parametrize("damaged", [b"\0" * 40, b'{"st', b"5", b"null", b'{"step": null}', b'{"stop": 2}', b"\xff"])
def test_a_damaged_line_is_named_where_good_ones_follow_and_passed_over_where_not(tmp_path: Path, damaged: bytes):
    for step in (1, 2, 3):
        append(tmp_path, step, [make_unused(step)])
    file = tmp_path / "quarantine.jsonl"
    first, _, third = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(first + damaged + b"\n" + third)
    with pytest.raises(UserError, match=r"line 2 of .*quarantine\.jsonl is damaged; restore the file, or delete"):
        cut_back(tmp_path, 3)
    with pytest.raises(UserError, match="line 2"):
        steps(tmp_path)
    cut_back(tmp_path, 1)  # what comes after it goes, whatever it is
    assert file.read_bytes() == first
    file.write_bytes(first + damaged + b"\n")
    assert steps(tmp_path) == [1]


def test_a_cut_that_never_ended_leaves_the_whole_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    append(tmp_path, 1, [make_unused(1)])

    def lose_power(descriptor: int) -> None:
        raise OSError(5, "gone")

    monkeypatch.setattr(os, "fsync", lose_power)
    with pytest.raises(UserError, match=r"can't cut .* back to step 0: gone"):
        cut_back(tmp_path, 0)
    assert steps(tmp_path) == [1]


def test_an_append_that_fails_halfway_leaves_no_half_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    append(tmp_path, 1, [make_unused(1)])
    before, write = (tmp_path / "quarantine.jsonl").read_bytes(), os.write

    def fill_the_disk(descriptor: int, data: bytes) -> int:
        if len(data) < 20:
            raise OSError(28, "No space left on device")
        return write(descriptor, data[:-10])

    monkeypatch.setattr(os, "write", fill_the_disk)
    with pytest.raises(UserError, match=r"quarantine\.jsonl: No space left on device"):
        append(tmp_path, 2, [make_unused(2)])
    assert (tmp_path / "quarantine.jsonl").read_bytes() == before
