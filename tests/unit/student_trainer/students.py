"""Tiny students with the stand-in teacher's tokenizer, and settings of short runs on the CPU."""

from pathlib import Path
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from student_trainer.distributed.process_group import ProcessGroup
from student_trainer.learning.step import Learner
from student_trainer.persistence.checkpoint import State, snapshot
from student_trainer.persistence.retention import prune
from student_trainer.persistence.storage import Storage, open_storage
from student_trainer.settings import TrainSettings
from student_trainer.student_settings import StudentSettings
from tests.unit.student_trainer.stand_in import TOKENIZER, VOCABULARY_SIZE, make_settings

ALONE = ProcessGroup(rank=0, size=1, device=torch.device("cpu"))
SFT = {"mode": "sft", "teacher": None}
WORKERS = {"count": 1, "gpus": 0, "threads": 1, "pool": None}


def save_student(folder: Path, seed: int = 0, tied: bool = False, padding: int = 0) -> Path:
    """A random 2-layer Llama over the stand-in's 257 ids, and so many more; `tied`: its head is its embeddings."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=VOCABULARY_SIZE + padding, hidden_size=32, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=1, max_position_embeddings=256, tie_word_embeddings=tied,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    TOKENIZER.save_pretrained(folder)
    return folder


def student_settings(folder: Path, **changes: Any) -> StudentSettings:
    """A rank-4 adapter in fp32 on the student saved in `folder`, saved there on the first call."""
    if not folder.exists():
        save_student(folder)
    return StudentSettings.model_validate({"model": str(folder), "dtype": "float32", "lora": {"rank": 4}} | changes)


def save(
    storage: Storage, learner: Learner, state: State, world: ProcessGroup = ALONE, keep: int = 9, keep_best: int = 0
) -> None:
    """Write a checkpoint at once; every worker must call it."""
    taken = snapshot(learner, state, world)
    if world.leads:
        storage.add(state.step, taken.write)
        prune(storage, state.step, keep, keep_best)


def storage_at(folder: Path) -> Storage:
    """The storage of a run in `folder` that keeps its checkpoints itself."""
    return open_storage(folder, None)


def short_run(tmp_path: Path, **changes: Any) -> TrainSettings:
    """Settings of a run of 5 steps on 20 rows, with a tiny student."""
    student = student_settings(tmp_path / "student").model_dump()
    fixed: dict[str, Any] = {
        "student": student, "workers": WORKERS, "optimizer": {"learning_rate": 0.01}, "micro_batch_size": 3,
    }  # fmt: skip
    return make_settings(tmp_path, **(fixed | changes))
