"""A qualification: the teacher is examined over HTTP, its figures are written down and compared with the thresholds."""

import asyncio
import json
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict
from itertools import islice

from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn
from rich.table import Table

from common.errors import UserError
from common.files import write_atomically
from common.quality.examination import Examiner, Model
from common.quality.qualification import Criterion, Figures, criteria, is_qualified
from common.render import Renderer, load_renderer
from common.teacher_client.alignment_probe import probe_prompts
from common.teacher_client.settings import TeacherClientSettings
from common.toolbench.rows import PromptRow, read_rows
from eval.qualification.settings import QualifySettings
from eval.served import met
from eval.settings import ServedModelSettings


def qualify(settings: QualifySettings) -> Figures:
    """Examine the teacher, and write its figures and the verdict to `settings.output`.

    Raises UserError where there is nothing to examine it on, or a model can't be asked.
    """
    renderer = load_renderer(settings.tokenizer, settings.template, settings.max_length)
    rows = list(islice(read_rows(settings.data), settings.rows))
    if not rows:
        raise UserError(f"{settings.data} holds no rows to examine a teacher on; give a folder of converted traces")
    figures = asyncio.run(_examine(settings, renderer, rows))
    verdict = is_qualified(figures, settings.thresholds)
    values = {"model": settings.teacher.model, "qualified": verdict, "figures": asdict(figures)}
    values["thresholds"] = settings.thresholds.model_dump()
    write_atomically(settings.output, json.dumps(values, indent=1) + "\n")
    return figures


async def _examine(settings: QualifySettings, renderer: Renderer, rows: Sequence[PromptRow]) -> Figures:
    prompts = probe_prompts(rows, renderer)
    columns = (*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        bar = progress.add_task(settings.teacher.model, total=len(rows))
        async with AsyncExitStack() as stack:

            async def meet(served: ServedModelSettings) -> Model:
                asked = _asked(settings, served)
                return Model(await stack.enter_async_context(met(asked, renderer, settings.max_length, prompts)), asked)

            examiner = Examiner(
                teacher=await meet(settings.teacher),
                student=await meet(settings.student) if settings.student else None,
                renderer=renderer,
                max_length=settings.max_length,
                max_new_tokens=settings.max_new_tokens,
                concurrency=settings.concurrency,
                progress=lambda: progress.advance(bar),
            )
            return await examiner.examine(rows)


def _asked(settings: QualifySettings, served: ServedModelSettings) -> TeacherClientSettings:
    return TeacherClientSettings(
        url=served.url,
        model=served.model,
        token_file=settings.token_file,
        top_k=settings.top_k,
        logprob_dtype="float32",
        timeout_s=settings.timeout_s,
        patience_s=settings.patience_s,
    )


def table(settings: QualifySettings, figures: Figures) -> Table:
    """Each figure beside its threshold."""
    judged = criteria(figures, settings.thresholds)
    verdict = "qualified" if all(criterion.holds for criterion in judged) else "not qualified"
    caption = f"{len(figures.left_out)} rows could not be judged: see {settings.output}" if figures.left_out else None
    view = Table(title=f"{settings.teacher.model} is {verdict} ({figures.rows} rows)", caption=caption)
    for heading in ("figure", "got", "expected", ""):
        view.add_column(heading, justify="right" if heading == "got" else "left")
    for criterion in judged:
        view.add_row(*_cells(criterion))
    return view


def _cells(criterion: Criterion) -> tuple[str, str, str, str]:
    got = "-" if criterion.got is None else f"{criterion.got:.3f}"
    return criterion.figure.replace("_", " "), got, criterion.bound, "ok" if criterion.holds else "fails"
