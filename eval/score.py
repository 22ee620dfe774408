"""The whole evaluation: every model on every group, a JSON file of figures and a table."""

import asyncio
import json
from dataclasses import asdict
from functools import partial

from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn
from rich.table import Table

from common.client import TeacherClient, read_token
from common.render import Renderer, load_renderer
from common.toolbench.rows import PromptRow, read_rows
from eval.judge import CHECKS, Judge, Judgement, first_rows
from eval.settings import EvalSettings


def score(settings: EvalSettings) -> list[Judgement]:
    """Judge every model on every group and write the figures to `settings.output`."""
    renderer = load_renderer(settings.tokenizer, settings.template, settings.max_length)
    groups = {name: first_rows(read_rows(path), settings.rows, name) for name, path in settings.groups.items()}
    judgements = asyncio.run(_judge_all(settings, renderer, groups))
    settings.output.parent.mkdir(parents=True, exist_ok=True)
    settings.output.write_text(json.dumps([asdict(judgement) for judgement in judgements], indent=1) + "\n")
    return judgements


async def _judge_all(settings: EvalSettings, renderer: Renderer, groups: dict[str, list[PromptRow]]) -> list[Judgement]:
    token = read_token(settings.token_file)
    judgements = []
    columns = (*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        for name, served in settings.models.items():
            revisions: set[str] = set()
            async with TeacherClient(served.url, token, settings.timeout_s) as client:
                for group, rows in groups.items():
                    bar = progress.add_task(f"{name} on {group}", total=2 * len(rows))
                    judge = Judge(
                        client=client,
                        name=name,
                        model=served.model,
                        renderer=renderer,
                        max_length=settings.max_length,
                        max_new_tokens=settings.max_new_tokens,
                        concurrency=settings.concurrency,
                        progress=partial(progress.advance, bar),
                        revisions=revisions,
                    )
                    judgements.append(await judge.judge(group, rows))
    return judgements


def table(judgements: list[Judgement]) -> Table:
    """The figures side by side: one line per model and group."""
    view = Table(title="Evaluation through the HTTP API")
    for heading in ("group", "model"):
        view.add_column(heading)
    for heading in ("loss", "perplexity", "parses", "offered API", "JSON", "required", "valid", "same action"):
        view.add_column(heading, justify="right")
    for group in dict.fromkeys(judgement.group for judgement in judgements):
        for found in (judgement for judgement in judgements if judgement.group == group):
            shares = [getattr(found, check) for check in (*CHECKS, "action_match")]
            view.add_row(
                group, found.model, f"{found.loss:.3f}", f"{found.perplexity:.2f}", *(f"{x:.0%}" for x in shares)
            )
        view.add_section()
    return view
