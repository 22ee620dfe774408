"""What a finished run leaves: `adapter/` in PEFT's own format, or `model/` where every weight learnt.

Both can be served, and both are made of the last checkpoint, by one worker, whatever number of them wrote that.
"""

import shutil
from pathlib import Path

import torch

from common.render import load_tokenizer
from student_trainer.learning.base import load_base
from student_trainer.learning.student import Student
from student_trainer.persistence.run_folder import student_of
from student_trainer.settings import TrainSettings
from student_trainer.student_settings import StudentSettings

ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")


def write_student(settings: TrainSettings, checkpoint: Path) -> None:
    """Write the student of `checkpoint` into the run folder; one that is there already is replaced."""
    out = student_of(settings.run_folder, settings.student)
    draft = out.with_name(f".{out.name}.partial")
    for leftover in (draft, out):
        shutil.rmtree(leftover, ignore_errors=True)
    if settings.student.lora is None:
        _write_model(settings.student, checkpoint, draft)
    else:
        draft.mkdir()
        for name in ADAPTER_FILES:
            shutil.copy(checkpoint / name, draft)
    draft.rename(out)


def _write_model(settings: StudentSettings, checkpoint: Path, folder: Path) -> None:
    """The whole model in `settings.dtype`, loaded in host memory, with its tokenizer."""
    dtype = getattr(torch, settings.dtype)
    base = load_base(settings, torch.device("cpu"))
    Student(base, dtype).load(checkpoint)
    base.to(dtype).save_pretrained(folder)
    load_tokenizer(settings.model).save_pretrained(folder)
