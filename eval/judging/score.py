"""The whole evaluation: every model on every group, a JSON file of figures and a table."""

import asyncio
import json
from dataclasses import asdict
from functools import partial

from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn
from rich.table import Table

from common.files import write_atomically
from common.render import Renderer, load_renderer
from common.teacher_client.alignment_probe import probe_prompts
from common.teacher_client.settings import TeacherClientSettings
from common.toolbench.rows import PromptRow, read_rows
from eval.judging.judge import Judge, Judgement, first_rows
from eval.metrics.form import CHECKS
from eval.served import met
from eval.settings import EvalSettings, ServedModelSettings


def score(settings: EvalSettings) -> list[Judgement]:
    """Judge every model on every group; the figures so far are in `settings.output` after each."""
    renderer = load_renderer(settings.tokenizer, settings.template, settings.max_length)
    groups = {name: first_rows(read_rows(path), settings.rows, name) for name, path in settings.groups.items()}
    return asyncio.run(_judge_all(settings, renderer, groups))


async def _judge_all(settings: EvalSettings, renderer: Renderer, groups: dict[str, list[PromptRow]]) -> list[Judgement]:
    judgements: list[Judgement] = []
    columns = (*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeRemainingColumn())
    prompts = probe_prompts((row for rows in groups.values() for row in rows), renderer)
    with Progress(*columns, console=Console(stderr=True)) as progress:
        for name, served in settings.models.items():
            asked = _asked(settings, served)
            async with met(asked, renderer, settings.max_length, prompts) as teacher:
                for group, rows in groups.items():
                    bar = progress.add_task(f"{name} on {group}", total=len(rows))
                    judge = Judge(
                        teacher=teacher,
                        name=name,
                        asked=asked,
                        renderer=renderer,
                        max_length=settings.max_length,
                        max_new_tokens=settings.max_new_tokens,
                        concurrency=settings.concurrency,
                        progress=partial(progress.advance, bar),
                    )
                    judgements.append(await judge.judge(group, rows))
                    _write(settings, judgements)
    return judgements


def _asked(settings: EvalSettings, served: ServedModelSettings) -> TeacherClientSettings:
    return TeacherClientSettings(
        url=served.url,
        model=served.model,
        top_k=1,
        logprob_dtype="float32",
        token_file=settings.token_file,
        timeout_s=settings.timeout_s,
        patience_s=settings.patience_s,
    )


def _write(settings: EvalSettings, judgements: list[Judgement]) -> None:
    settings.output.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(settings.output, json.dumps([asdict(judgement) for judgement in judgements], indent=1) + "\n")


def table(judgements: list[Judgement]) -> Table:
    """The figures side by side: one line per model and group."""
    view = Table(title="Evaluation through the HTTP API")
    for heading in ("group", "model"):
        view.add_column(heading)
    shown = CHECKS | {"action_match": "same action"}
    for heading in ("loss", "perplexity", *shown.values()):
        view.add_column(heading, justify="right")
    for group in dict.fromkeys(judgement.group for judgement in judgements):
        for found in (judgement for judgement in judgements if judgement.group == group):
            shares = [getattr(found, name) for name in shown]
            view.add_row(
                group, found.model, f"{found.loss:.3f}", f"{found.perplexity:.2f}", *(f"{x:.0%}" for x in shares)
            )
        view.add_section()
    return view
