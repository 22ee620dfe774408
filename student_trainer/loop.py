"""The training of one worker, from an empty or interrupted run folder to a finished student.

1. Load the renderer, the prompts and the student; take over the newest intact checkpoint, if there is one.
2. Open the source of examples: the live teacher, its record, or the dataset alone.
3. Measure the student on the held-out slice.
4. For each step: take this worker's share of it, update the student, write metrics; now and then measure again and
   write a checkpoint.
5. Write the finished student and the run's summary.

Every worker runs this; they meet in the sums of `World` and in DDP's or FSDP's passes, and rank 0 writes the files.
"""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from common.errors import UserError
from common.render import Renderer, load_tokenizer
from student_trainer import checkpoint, ledger
from student_trainer.bottleneck import Watch
from student_trainer.checkpoint import State
from student_trainer.examples import StepPlan, next_position, plan_steps, total_steps
from student_trainer.finished import write_student
from student_trainer.run_folder import (
    Metrics,
    append_metrics,
    checkpoints_of,
    cut_metrics,
    is_finished,
    write_log,
    write_summary,
)
from student_trainer.settings import TrainSettings
from student_trainer.sources import Connect, Source, connect, open_source
from student_trainer.step import Learner, make_learner, train_step
from student_trainer.stream import PromptStream
from student_trainer.validation import held_out_rows, validate
from student_trainer.world import World, make_deterministic

log = logging.getLogger(__name__)
Report = Callable[[Metrics], None]
"""Tells Ray Train about a checkpoint; every worker calls it at the same steps."""


@dataclass(frozen=True)
class Run:
    """What a worker holds while it trains."""

    settings: TrainSettings
    world: World
    stream: PromptStream
    learner: Learner
    last_step: int

    def plans(self, done: int) -> Iterator[StepPlan]:
        """This worker's share of each step after `done`."""
        settings, world = self.settings, self.world
        rows, per_step = len(self.stream), settings.batch_size
        return plan_steps(rows, per_step, settings.epochs, settings.max_steps, world.rank, world.size, done)


def train(settings: TrainSettings, world: World, report: Report, connect: Connect = connect) -> None:
    """Train to the last step. `connect` opens the teacher's client.

    Raises UserError for whatever the user can mend.
    """
    write_log(settings.run_folder)
    make_deterministic(settings.workers.threads)
    renderer = Renderer(load_tokenizer(settings.student.model), settings.data.template, settings.data.max_length)
    stream = PromptStream(settings.data.train, settings.shuffle_seed, settings.shuffle)
    last_step = total_steps(len(stream), settings.batch_size, settings.epochs, settings.max_steps)
    run = Run(settings, world, stream, make_learner(settings, last_step, world), last_step)
    done = _resume(run)
    if done == last_step and is_finished(settings.run_folder, settings.student):
        return
    _warn_of_approximation(settings, run.learner.student.vocabulary_size)
    with open_source(
        settings, stream, renderer, run.learner.student.vocabulary_size, world.rank, world.size, connect
    ) as source:
        _run_steps(run, source, done, report)
    if world.leads:
        write_student(settings, checkpoints_of(settings.run_folder) / f"step-{last_step}")
        write_summary(settings.run_folder)


def _run_steps(run: Run, source: Source, done: int, report: Report) -> None:
    settings, world, learner = run.settings, run.world, run.learner
    held_out = source.answer_rows(held_out_rows(settings, world))
    if done == 0 and (measured := validate(learner.student, held_out, settings, world)):
        _log(run, {"progress/step": 0} | measured)
    watch = Watch()
    for examples in source.steps(run.plans(done)):
        step = examples.plan.step
        metrics = train_step(learner, examples, settings, world)
        source.see(metrics)
        ledger.append_used(settings.run_folder, step, examples.examples)
        if step == run.last_step or _is_due(step, settings.validate_every):
            metrics |= validate(learner.student, held_out, settings, world)
        _log(run, metrics)
        if world.leads:
            watch.see(metrics)
        if step == run.last_step or _is_due(step, settings.checkpoint_every):
            _save(run, step)
            report(metrics)


def _resume(run: Run) -> int:
    """Steps already done: those of the newest intact checkpoint.

    Raises UserError when checkpoints are there but none is intact, or the data are not those that they were made with.
    """
    folder = run.settings.run_folder
    newest = checkpoint.newest_intact(checkpoints_of(folder))
    done = 0
    if newest:
        state = checkpoint.load(newest, run.learner)
        done = state.step
        _check_same_data(state, _state(run, done), run.settings)
    if run.world.leads:
        cut_metrics(folder, done if newest else -1)
        ledger.cut_back(folder, done)
        if newest:
            log.info("resuming after step %d from %s", done, newest)
    run.world.wait_for_all()
    return done


def _check_same_data(found: State, expected: State, settings: TrainSettings) -> None:
    if found != expected:
        raise UserError(
            f"the data behind data.train changed: {settings.data.train} has {expected.rows} rows, the checkpoint after "
            f"step {found.step} was made with {found.rows}; restore the data, or choose a new run_folder"
        )


def _warn_of_approximation(settings: TrainSettings, vocabulary_size: int) -> None:
    if settings.teacher is None or settings.teacher.top_k >= vocabulary_size:
        return
    if settings.loss.tail == "renormalise":
        log.warning(
            "loss.tail renormalise with top_k %d of %d ids: what the student puts outside them costs nothing",
            settings.teacher.top_k, vocabulary_size,
        )  # fmt: skip
    elif settings.loss.temperature != 1:
        log.warning(
            "loss.temperature %g with top_k %d of %d ids: the tempered tail is an approximation, T = 1 is exact",
            settings.loss.temperature, settings.teacher.top_k, vocabulary_size,
        )  # fmt: skip


def _save(run: Run, step: int) -> None:
    folder = checkpoints_of(run.settings.run_folder)
    checkpoint.save(folder, run.learner, _state(run, step), run.settings.keep_checkpoints, run.world)


def _state(run: Run, step: int) -> State:
    """Where the run stands after `step`."""
    rows = len(run.stream)
    return State(step, *next_position(step, rows, run.settings.batch_size), rows)


def _log(run: Run, metrics: Metrics) -> None:
    if run.world.leads:
        append_metrics(run.settings.run_folder, metrics)


def _is_due(step: int, every: int | None) -> bool:
    return every is not None and step % every == 0
