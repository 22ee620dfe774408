"""The progress of a run: a bar on a terminal, plain lines elsewhere, read as the metrics come."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from common.run_folder import RunFolder
from student_trainer.persistence.run_folder import append_metrics, cut_metrics, read_metrics
from student_trainer.ray_train import progress
from student_trainer.ray_train.progress import ProgressLine, Tail, describe


def line_of(step: int) -> dict[str, float]:
    return {
        "progress/step": step, "progress/used": 4, "progress/tokens": 1000, "train/loss": 2.5, "time/step_s": 1.0,
        "time/waited_s": 0.25,
    }  # fmt: skip


def console(is_terminal: bool) -> Console:
    return Console(file=io.StringIO(), force_terminal=is_terminal, width=150)


def said(by: Console) -> str:
    assert isinstance(by.file, io.StringIO)
    return by.file.getvalue()


def test_the_line():
    assert describe([line_of(1), line_of(2)], 10, "teacher") == (
        "step 2/10  loss 2.5000  1,000 tokens/s  waited for the teacher 25%"
    )
    ahead = line_of(2) | {"pipeline/window": 48.0, "pipeline/ready": 17.0}
    assert describe([ahead], 10, "teacher").endswith("waited for the teacher 25%  window 48, 17 answers ready")
    without_loss = {name: value for name, value in line_of(3).items() if name != "train/loss"}
    assert describe([without_loss], 10, "data") == "step 3/10  no prompt used  1,000 tokens/s  waited for the data 25%"


def test_only_what_was_added_is_read_and_torn_lines_wait_for_their_end(tmp_path: Path):
    file = tmp_path / "lines"
    file.write_text("old\n")
    tail = Tail(file)
    assert tail.read() == (b"", False)
    with file.open("a") as stream:
        stream.write("one\ntw")
        stream.flush()
        assert tail.read() == (b"one\n", False)
        stream.write("o\n")
        stream.flush()
        assert tail.read() == (b"two\n", False)
    (tmp_path / "shorter").write_text("old\n")
    (tmp_path / "shorter").replace(file)
    assert tail.read() == (b"old\n", True)
    assert tail.read() == (b"", False)


def test_a_file_that_comes_later_is_read_from_its_start(tmp_path: Path):
    tail = Tail(tmp_path / "lines")
    assert tail.read() == (b"", False)
    (tmp_path / "lines").write_text("one\n")
    assert tail.read()[0] == b"one\n"


@pytest.mark.parametrize("is_terminal", [True, False])
def test_steps_and_the_log_are_shown_and_the_last_step_is_too(tmp_path: Path, is_terminal: bool):
    by = console(is_terminal)
    append_metrics(tmp_path, line_of(1))  # of a start before
    with ProgressLine(tmp_path, 10, "teacher", by) as shown:
        append_metrics(tmp_path, {"progress/step": 1, "validation/loss": 1.0})
        shown.update()
        assert "step" not in said(by)
        append_metrics(tmp_path, line_of(6))
        RunFolder(tmp_path).log.write_text("12:00:00 WARNING [bold]hello[/bold] :smile:\n")
        shown.update()
        append_metrics(tmp_path, line_of(7))
    lines = said(by).splitlines()
    assert sum("WARNING [bold]hello[/bold] :smile:" in line for line in lines) == 1
    assert any("step 7/10  loss 2.5000" in line for line in lines)
    if not is_terminal:
        assert [line for line in lines if "step" in line] == [describe([line_of(n)], 10, "teacher") for n in (6, 7)]
        assert "\x1b" not in said(by)


def test_elsewhere_than_on_a_terminal_there_is_a_line_every_few_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    now, by = [100.0], console(False)
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    shown = ProgressLine(tmp_path, 10, "data", by)
    for step, seconds in ((1, 0), (2, 2), (3, 2), (4, 2)):
        now[0] += seconds
        append_metrics(tmp_path, line_of(step))
        shown.update()
    assert [line.split()[1] for line in said(by).splitlines()] == ["1/10", "4/10"]


def test_the_pace_after_a_resumption_is_of_the_steps_that_were_kept(tmp_path: Path):
    by, slow = console(False), line_of(3) | {"time/step_s": 100.0}
    shown = ProgressLine(tmp_path, 10, "data", by)
    for line in (line_of(1), line_of(2), slow):
        append_metrics(tmp_path, line)
    shown.update()
    cut_metrics(tmp_path, 2)
    append_metrics(tmp_path, line_of(3))
    shown.update(last=True)
    assert said(by).splitlines()[-1].startswith("step 3/10  loss 2.5000  1,000 tokens/s")


def test_metrics_are_cut_back_to_the_checkpoint_and_a_torn_line_is_dropped(tmp_path: Path):
    for step in (1, 2, 3):
        append_metrics(tmp_path, line_of(step))
    with (tmp_path / "metrics.jsonl").open("a") as stream:
        stream.write('{"progress/step": 4, "tra')
    assert [line["progress/step"] for line in read_metrics(tmp_path)] == [1, 2, 3]
    cut_metrics(tmp_path, 2)
    assert [line["progress/step"] for line in read_metrics(tmp_path)] == [1, 2]
