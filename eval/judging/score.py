"""The whole evaluation: every model on every group, with its figures and rows in files."""

import asyncio
from functools import partial

from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn

from common.errors import UserError
from common.render import Renderer, load_renderer
from common.teacher_client.alignment_probe import probe_prompts
from common.teacher_client.settings import TeacherClientSettings
from common.toolbench.rows import PromptRow, read_rows
from eval.judging.judge import Judge, first_rows
from eval.judging.judgement import judgement_of
from eval.results import Evaluation, RowResult, write_evaluation
from eval.row_sources import RowSources, read_sources
from eval.served import met
from eval.settings import EvalSettings, ServedModelSettings
from eval.splits import check_split, trained_on

Groups = dict[str, list[PromptRow]]


def score(settings: EvalSettings) -> Evaluation:
    """Judge every model on every group; what is known so far is in `settings.output` after each.

    Raises UserError, before a model is asked, where one was trained on what a group's split holds back.
    """
    renderer = load_renderer(settings.tokenizer, settings.template, settings.max_length)
    groups = {name: first_rows(read_rows(group.rows), settings.rows, name) for name, group in settings.groups.items()}
    sources = read_sources(settings.world, settings.queries)
    _check_splits(settings, groups, sources)
    return asyncio.run(_judge_all(settings, renderer, groups, sources))


def _check_splits(settings: EvalSettings, groups: Groups, sources: RowSources) -> None:
    splits = {name: group.split for name, group in settings.groups.items() if group.split}
    if not splits:
        return
    runs = dict.fromkeys(model.trained_by for model in settings.models.values() if model.trained_by)
    if not runs:
        raise UserError(
            f"the group {next(iter(splits))!r} names a split, but no model says by which run it was trained; give "
            "trained_by, the run folder, to those that were, or leave the split out"
        )
    for run in runs:
        trained = trained_on(run)
        for name, split in splits.items():
            check_split(name, split, groups[name], trained, sources.categories)


async def _judge_all(settings: EvalSettings, renderer: Renderer, groups: Groups, sources: RowSources) -> Evaluation:
    evaluation = Evaluation(
        judgements=[], splits={name: group.split for name, group in settings.groups.items() if group.split}
    )
    results: list[RowResult] = []
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
                        sources=sources,
                    )
                    judged = await judge.judge(group, rows)
                    results += judged.rows
                    judgements = [*evaluation.judgements, judgement_of(name, group, judged)]
                    evaluation = evaluation.model_copy(update={"judgements": judgements})
                    write_evaluation(settings.output, evaluation, results)
    return evaluation


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
