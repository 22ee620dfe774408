"""The 641 real StableToolBench queries through stream, window and ledger: each is accounted for once an epoch."""

import json
from collections import Counter
from pathlib import Path

from common.api import DistillSequence
from common.toolbench.convert import convert
from common.toolbench.rows import read_rows
from student_trainer.data.plan import plan_steps
from student_trainer.data.prompt_stream import PromptStream
from student_trainer.persistence.ledger import append, entries_of
from student_trainer.settings import TrainSettings
from tests.unit.student_trainer.pipeline.test_example_source import opened
from tests.unit.student_trainer.stand_in import StandInTeacher

QUERIES = "StableToolBench/solvable_queries/test_instruction"


def test_each_of_the_641_queries_is_used_or_set_aside_once_per_epoch(shared_data: Path, tmp_path: Path):
    convert(shared_data / QUERIES, tmp_path / "data")
    asked = Counter(row.id for row in read_rows(tmp_path / "data"))
    assert asked.total() == len(asked) == 641
    settings = TrainSettings.model_validate(
        {
            "run_folder": tmp_path / "run",
            "data": {"train": tmp_path / "data", "max_length": 9000},  # bytes: the longest prompts don't fit
            "student": {"model": "unused"},
            "teacher": {"url": "http://stand-in", "model": "teacher", "top_k": 4},
            "completion": {"writer": {"teacher": 1.0}, "max_new_tokens": 1, "keep_length_cut": True},
            "batch_size": 16,
        }
    )
    teacher = StandInTeacher(refuse=refuse_one_in_fifty, max_length=9000)
    for rank in range(2):
        consume(settings, teacher, rank, world=2)
    used, set_aside = read_ids(settings.run_folder / "used.jsonl"), read_ids(settings.run_folder / "quarantine.jsonl")
    assert used + set_aside == Counter({(id, epoch): 1 for id in asked for epoch in range(2)})
    assert min(used.total(), set_aside.total()) > 100


def refuse_one_in_fifty(sequence: DistillSequence) -> int | None:
    return 422 if len(sequence.prompt_token_ids) % 50 == 0 else None


def consume(settings: TrainSettings, teacher: StandInTeacher, rank: int, world: int) -> None:
    rows = len(PromptStream(settings.data.train, settings.shuffle_seed))
    with opened(settings, teacher, rank) as source:
        for step in source.steps(plan_steps(rows, settings.batch_size, 2, None, rank, world)):
            append(settings.run_folder, step.plan.step, entries_of(step))


def read_ids(file: Path) -> Counter[tuple[str, int]]:
    entries = map(json.loads, file.read_text().splitlines())
    return Counter((entry["id"], entry["epoch"]) for entry in entries)
