"""A prompt's way to the loss stays one that a reader can follow."""

from pathlib import Path

from tests.live_path import one_prompt, walk

MOST_FILES, MOST_CARRIERS = 30, 12


def test_one_prompt_crosses_few_files_in_few_classes(tmp_path: Path):
    found = walk(one_prompt(tmp_path))
    assert "common/teacher_client/pool.py" in found.files, "the profile sees the thread that asks the teacher"
    assert "student_trainer/loss/fused.py" in found.files, "and where the way ends"
    assert {"PromptRow", "TeacherAnswer", "Example", "Batch"} <= found.carriers.keys()
    assert len(found.files) <= MOST_FILES, list(found.files)
    assert len(found.carriers) <= MOST_CARRIERS, list(found.carriers)
