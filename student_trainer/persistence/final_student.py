"""What a finished run leaves: `adapter/` in PEFT's own format, or `model/` where every weight learnt.

Both can be served, and both are made of the last checkpoint, by one worker, whatever number of them wrote that.
"""

import shutil
from pathlib import Path

import torch

from common.files import folder_in_place
from common.render import load_tokenizer
from student_trainer.learning.student import Student, load_base
from student_trainer.settings import TrainSettings
from student_trainer.student_settings import StudentSettings

ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")


def write_student(settings: TrainSettings, checkpoint: Path) -> None:
    """Write the student of `checkpoint` into the run folder; one that is there already is replaced."""
    with folder_in_place(settings.files.student(settings.student.is_whole)) as folder:
        if settings.student.is_whole:
            _write_model(settings.student, checkpoint, folder)
        else:
            for name in ADAPTER_FILES:
                shutil.copy(checkpoint / name, folder)


def _write_model(settings: StudentSettings, checkpoint: Path, folder: Path) -> None:
    """The whole model in `settings.dtype`, loaded in host memory, with its tokenizer."""
    dtype = getattr(torch, settings.dtype)
    base = load_base(settings, torch.device("cpu"))
    Student(base, dtype).load(checkpoint)
    base.to(dtype).save_pretrained(folder)
    load_tokenizer(settings.model).save_pretrained(folder)
