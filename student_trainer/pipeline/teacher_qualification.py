"""The teacher's qualification, before the first step: a run doesn't learn from one that can't do what it teaches.

It is examined as `python -m eval qualify` does, on the held-out slice and without the student. What it came to is kept
in the run folder, so that a resumed run doesn't ask again.
"""

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict
from itertools import islice
from typing import Any

from anyio.from_thread import BlockingPortal

from common.errors import UserError
from common.files import write_atomically
from common.quality.examination import Examiner, Model
from common.quality.qualification import Figures, criteria, is_qualified
from common.render import Renderer
from common.teacher_client.pool import TeacherPool
from common.toolbench.rows import read_rows
from student_trainer.distributed.consensus import unless_stopped
from student_trainer.settings import LiveTeacherSettings, TrainSettings

AT_A_TIME = 16
"""Rows that are asked about at a time."""

log = logging.getLogger(__name__)


def check_qualification(
    settings: TrainSettings,
    asked: LiveTeacherSettings,
    teacher: TeacherPool,
    renderer: Renderer,
    revision: str | None,
    portal: BlockingPortal,
) -> None:
    """Examine the teacher at `revision`, unless the run folder says that it passed; one worker alone should call it.

    Raises UserError with the figures and thresholds where it isn't qualified, unless settings allow that; StopAsked.
    """
    if settings.data.validation is None:
        log.warning("the teacher isn't examined: set data.validation to rows that it has not read")
        return
    figures = _known(settings, revision)
    if figures is None:
        rows = list(islice(read_rows(settings.data.validation), settings.qualification.rows))
        examiner = _examiner(settings, Model(teacher, asked), renderer)
        figures = portal.call(unless_stopped, settings.files.stop, examiner.examine, rows)
        values = {"model": asked.model, "revision": revision, "figures": asdict(figures)}
        write_atomically(settings.files.qualification, json.dumps(values, indent=1) + "\n")
    _judge(settings, asked, figures)


def _known(settings: TrainSettings, revision: str | None) -> Figures | None:
    """What the teacher came to when the run began, if that is why it began."""
    if not settings.files.qualification.exists():
        return None
    known: Mapping[str, Any] = json.loads(settings.files.qualification.read_text())
    figures = Figures(**known["figures"])
    passed = is_qualified(figures, settings.qualification.thresholds) or settings.allow_unqualified_teacher
    return figures if passed and known["revision"] == revision else None


def _examiner(settings: TrainSettings, teacher: Model, renderer: Renderer) -> Examiner:
    return Examiner(
        teacher=teacher,
        student=None,
        renderer=renderer,
        max_length=settings.data.max_length,
        max_new_tokens=settings.qualification.max_new_tokens,
        concurrency=AT_A_TIME,
        timeout_s=settings.qualification.timeout_s,
    )


def _judge(settings: TrainSettings, asked: LiveTeacherSettings, figures: Figures) -> None:
    failed = [criterion for criterion in criteria(figures, settings.qualification.thresholds) if not criterion.holds]
    if not failed:
        log.info("the teacher %s is qualified, by %d rows of %s", asked.model, figures.rows, settings.data.validation)
        return
    why = f"the teacher {asked.model} is not qualified: {'; '.join(map(str, failed))}"
    about = f"on {figures.rows + len(figures.left_out)} rows of {settings.data.validation}"
    if not settings.allow_unqualified_teacher:
        raise UserError(
            f"{why}, {about}; see {settings.files.qualification}. Serve one that was fine-tuned on such rows, or set "
            "allow_unqualified_teacher: true"
        )
    log.warning("%s, %s; allow_unqualified_teacher lets it teach", why, about)
