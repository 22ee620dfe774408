"""`python -m student_trainer export RUN OUT [--merge]`: a finished student as files that a teacher server serves, and
its model card.

Without --merge OUT holds the adapter, in PEFT's format, to be served on its base. With it, or where every weight
learnt, OUT holds a whole model and its tokenizer, in the type that the student was trained in. A student that was
trained on a 4-bit base (NF4) is merged into that base as the training saw it, its weights rounded to 4 bits and then
written out in full.
"""

import argparse
import shutil
from pathlib import Path

from common.errors import UserError
from common.files import folder_in_place
from common.run_folder import RunFolder
from common.settings import load
from student_trainer.commands.model_card import CardOptions, card
from student_trainer.persistence.summary import is_finished
from student_trainer.settings import TrainSettings
from student_trainer.student_settings import StudentSettings


def main(arguments: list[str]) -> int:
    """Write OUT and say how it is served."""
    parser = argparse.ArgumentParser(prog="python -m student_trainer export", description=__doc__)
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of a finished run")
    parser.add_argument("out", type=Path, metavar="OUT", help="folder to make")
    parser.add_argument("--merge", action="store_true", help="write a whole model, not the adapter alone")
    parser.add_argument("--license", metavar="ID", help="the student's licence, for its card, as apache-2.0")
    parser.add_argument("--teacher-license", metavar="ID", help="the teacher's, for the card")
    parser.add_argument("--scores", type=Path, metavar="FILE", help="what `python -m eval score` wrote, for the card")
    options = parser.parse_args(arguments)
    said = CardOptions(options.license, options.teacher_license, options.scores)
    print(export(options.run, options.out, options.merge, said))
    return 0


def export(run: Path, out: Path, merge: bool, said: CardOptions) -> str:
    """Write the student of `run` to `out`, which appears once it is whole, with its card; returns how it is served.

    Raises UserError when the run isn't finished, `out` is there already, the base can't be read, nobody could serve it
    so, or the scores for the card aren't its own.
    """
    files = RunFolder(run)
    settings = load(TrainSettings, files.config)
    student = settings.student
    if not is_finished(run, student):
        raise UserError(f"the run in {run} isn't finished; start its configuration again to resume it, then export")
    if out.exists():
        raise UserError(f"{out} is there already; choose another folder, or remove it")
    if student.lora and student.lora.use_dora and not merge:
        raise UserError("a DoRA adapter is not served by vLLM; export it with --merge")
    about = card(run, settings, merge or student.is_whole, said)
    with folder_in_place(out) as folder:
        if merge and not student.is_whole:
            _write_merged(student, files.adapter, folder)
        else:
            shutil.copytree(files.student(student.is_whole), folder, dirs_exist_ok=True)
        (folder / "README.md").write_text(about, encoding="utf-8")
    return _how_to_serve(student, run.resolve().name, out.resolve(), merge or student.is_whole)


def _write_merged(student: StudentSettings, adapter: Path, folder: Path) -> None:
    import torch
    from peft import PeftModel

    from common.render import load_tokenizer
    from student_trainer.learning.base import load_base

    tokenizer = load_tokenizer(student.model)
    base = load_base(student, torch.device("cpu"))
    if student.quantization != "none":
        base = base.dequantize(getattr(torch, student.dtype))
    merged = PeftModel.from_pretrained(base, str(adapter)).merge_and_unload(safe_merge=True)
    merged.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _how_to_serve(student: StudentSettings, name: str, out: Path, whole: bool) -> str:
    if whole:
        lines = [f"the whole model is in {out}", "serve it with these `args` in a serve YAML:", f"  model: {out}"]
        if student.quantization != "none":
            lines[0] += (
                f"; its base is the {student.quantization} one it was trained on, written out in {student.dtype}"
            )
    else:
        lines = [
            f"the adapter is in {out}", "serve it with these `args` in a serve YAML:", f"  model: {student.model}",
            "  adapters:", f"    {name}: {out}",
        ]  # fmt: skip
    more = [
        "on every node of the teacher pool (see teacher_server/configs/), then `serve deploy FILE`;",
        f'requests name it "model": "{"teacher" if whole else name}"',
    ]
    return "\n".join(lines + more)
