"""The training of one worker, from an empty or interrupted run folder to a finished student.

1. Load the renderer, the prompts and the student; take over the newest intact checkpoint, if there is one.
2. Open the source of examples: the live teacher, once it is qualified, its record, or the dataset alone.
3. Measure the student on the held-out slice.
4. For each step: take this worker's share of it, once all workers have theirs, update the student, write down what was
   measured and used; now and then measure again, let it write, and begin to write a checkpoint.
5. Write the finished student and the run's summary.

Every worker runs this; they meet in `run_together`, in the sums of the process group and in DDP's or FSDP's passes, and
rank 0 writes the files. Where one worker can't go on, or a stop is asked for, all write a checkpoint of the last whole
step and end. They write none where the teacher left too many prompts without an answer, so that these are asked again,
nor where a step is not finite: the update before it may be what broke the student. Where the format of what the student
writes collapses, the run ends with its best checkpoint.
"""

import logging
from collections.abc import Iterator
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, replace

from safetensors import SafetensorError

from common.errors import UserError
from common.render import Renderer, load_renderer
from common.teacher_client.pool import Connect, connect_http
from student_trainer.data.plan import Example, StepExamples, StepPlan, next_index, plan_steps, total_steps
from student_trainer.data.prompt_stream import PromptStream
from student_trainer.distributed.consensus import StopAsked, gather_together, run_together
from student_trainer.distributed.process_group import ProcessGroup, make_deterministic
from student_trainer.learning.checks import warn_of_approximation
from student_trainer.learning.step import Learner, make_learner, train_step
from student_trainer.learning.validation import held_out_rows, validate
from student_trainer.monitors.monitor import Monitors, open_monitors
from student_trainer.persistence import ledger
from student_trainer.persistence.async_saver import Saver
from student_trainer.persistence.checkpoint import State
from student_trainer.persistence.final_student import write_student
from student_trainer.persistence.ledger import Entry
from student_trainer.persistence.resumption import check_same_data, cut_back, resume
from student_trainer.persistence.run_folder import Metrics, append_metrics, write_log
from student_trainer.persistence.run_lock import locked
from student_trainer.persistence.storage import Storage, open_storage
from student_trainer.persistence.summary import Watch, is_finished, write_summary
from student_trainer.pipeline.adaptive_window import StepSeen
from student_trainer.pipeline.build import open_source
from student_trainer.pipeline.example_source import ExampleSource
from student_trainer.pipeline.quarantine import QuarantineLimit
from student_trainer.settings import TrainSettings
from student_trainer.watchdog.restoration import Collapsed, restore_best
from student_trainer.watchdog.watchdog import Check, open_watchdog

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Run:
    """What a worker holds while it trains."""

    settings: TrainSettings
    world: ProcessGroup
    renderer: Renderer
    stream: PromptStream
    learner: Learner
    storage: Storage
    last_step: int

    def plans(self, done: int) -> Iterator[StepPlan]:
        """This worker's share of each step after `done`."""
        settings, world = self.settings, self.world
        rows, per_step = len(self.stream), settings.batch_size
        return plan_steps(rows, per_step, settings.epochs, settings.max_steps, world.rank, world.size, done)

    def state(self, step: int) -> State:
        """Where the run stands after `step`."""
        rows = len(self.stream)
        return State(step, *next_index(step, rows, self.settings.batch_size), rows)

    def is_due(self, step: int, every: int | None) -> bool:
        """Whether what happens `every` so many steps, and after the last, happens after `step`."""
        return step == self.last_step or (every is not None and step % every == 0)


def train(settings: TrainSettings, world: ProcessGroup, connect: Connect = connect_http) -> None:
    """Train to the last step, or until a stop is asked for. `connect` opens the teacher's client.

    Raises UserError for whatever the user can mend: on every worker the same, where it comes up while they train.
    """
    write_log(settings.run_folder)
    make_deterministic(settings.workers.threads)
    with ExitStack() as stack:
        lock = locked(settings.run_folder) if world.leads else nullcontext()
        run_together(world, lambda: stack.enter_context(lock))
        run = _prepare(settings, world)
        done = _resume(run)
        if done.step == run.last_step and is_finished(settings.run_folder, settings.student):
            return
        try:
            if done.step < run.last_step:
                _train_on(run, done, connect)
        except StopAsked:
            if world.leads:
                log.info("stopped as asked; start the run again to go on")
            return
        if world.leads:
            _finish(run)


def _prepare(settings: TrainSettings, world: ProcessGroup) -> Run:
    renderer = load_renderer(settings.student.model, settings.data.template, settings.data.max_length)
    stream = PromptStream(settings.data.train, settings.shuffle_seed, settings.shuffle)
    last_step = total_steps(len(stream), settings.batch_size, settings.epochs, settings.max_steps)
    learner = make_learner(settings, last_step, world)
    storage = open_storage(settings.run_folder, settings.checkpoint_storage)
    return Run(settings, world, renderer, stream, learner, storage, last_step)


def _train_on(run: Run, done: State, connect: Connect) -> None:
    """Train from `done` to the last step, whose checkpoint is whole at the end.

    Raises StopAsked, or UserError, once a checkpoint of the last whole step is written.
    """
    settings, world, vocabulary_size = run.settings, run.world, run.learner.student.vocabulary_size
    warn_of_approximation(settings, vocabulary_size)
    opening = open_source(settings, run.stream, run.renderer, vocabulary_size, world.rank, world.size, connect)
    with ExitStack() as stack:
        monitors = run_together(world, lambda: stack.enter_context(open_monitors(settings, done.step, world.leads)))
        source = run_together(world, lambda: stack.enter_context(opening))
        try:
            with Saver(settings, run.storage, world, done.step) as saver:
                _run_steps(run, source, done, saver, monitors)
        except Collapsed as collapsed:
            raise restore_best(settings, run.storage, world, collapsed) from None


def _run_steps(run: Run, source: ExampleSource, done: State, saver: Saver, monitors: Monitors) -> None:
    """Train from `done` to the last step. Each step, in this order:

    1. takes this worker's examples, once all workers have theirs;
    2. updates the student, and shows the source what was measured, by which it sizes its window;
    3. validates, and lets the student write, where that is due;
    4. copies what a checkpoint holds, where one is due, or the student's format was never so good;
    5. writes down metrics and what became of each prompt, and ends the run where too many gave no example;
    6. begins to write that checkpoint, behind the metrics and the ledger that belong to it;
    7. ends the run where the format of what the student wrote collapsed.
    """
    settings, world, learner = run.settings, run.world, run.learner
    limit, watch = QuarantineLimit(settings), Watch()
    held_out = _answer_held_out(run, source)
    if done.step == 0 and (measured := validate(learner.student, held_out, settings, world)):
        _log(run, {"progress/step": 0} | measured, monitors)
    watchdog = open_watchdog(settings, learner.student, run.renderer, world)
    steps = source.steps(run.plans(done.step))
    while done.step < run.last_step:
        examples, prompts = _next_examples(run, steps, saver, done)
        metrics = train_step(learner, examples, settings, world)
        if examples.prefetch:
            source.observe(StepSeen.of(metrics))
        step = examples.plan.step
        is_due = run.is_due(step, settings.validate_every)
        measured = validate(learner.student, held_out, settings, world) if is_due else {}
        check = watchdog.check(step, metrics["time/step_s"])
        done = replace(run.state(step), validation_loss=measured.get("validation/loss"), format_score=check.score)
        is_due = run.is_due(step, settings.checkpoint_every) or check.is_best
        taken, seconds = saver.take(learner, done) if is_due else (None, 0.0)
        metrics |= measured | check.metrics | {"time/checkpoint_s": seconds}
        _write_down(run, metrics, prompts, check, watch, monitors)
        limit.judge(examples, metrics, step == run.last_step, world.joined)
        if taken:
            saver.start(taken)
        if check.collapse:
            raise Collapsed(check.collapse)


def _next_examples(
    run: Run, steps: Iterator[StepExamples], saver: Saver, done: State
) -> tuple[StepExamples, list[Entry]]:
    """This worker's examples of the next step, and what became of all workers' prompts.

    Raises UserError or StopAsked on all workers, once a checkpoint of the last whole step, `done`, is written: where
    one of them can't go on, where the checkpoint before could not be written, or where a stop is asked for.
    """

    def take() -> StepExamples:
        saver.check()
        return next(steps)

    try:
        return gather_together(run.world, take, StepExamples.outcomes)
    except (StopAsked, UserError):
        if saver.saved < done.step:
            taken, _ = saver.take(run.learner, done)
            saver.start(taken)
        if run.world.leads:
            log.info("ending after step %d", done.step)
        raise


def _answer_held_out(run: Run, source: ExampleSource) -> list[Example]:
    """This worker's examples of the held-out slice, once all workers have theirs."""
    rows = held_out_rows(run.settings, run.world)
    return run_together(run.world, lambda: source.answer_rows(rows))


def _resume(run: Run) -> State:
    """Where the newest intact checkpoint stands, whose state the learner takes over; files are cut back to it.

    Raises UserError when none of them is intact, or the data are not those that it was made with.
    """
    folder = run.settings.run_folder
    found = resume(run.storage, run.learner, run.world)
    done = found or run.state(0)
    check_same_data(done, run.state(done.step), run.settings)
    run_together(run.world, lambda: cut_back(folder, run.storage, found) if run.world.leads else None)
    return done


def _write_down(
    run: Run, metrics: Metrics, prompts: list[Entry], check: Check, watch: Watch, monitors: Monitors
) -> None:
    """What a step measured, what became of its prompts, and what the student wrote after it."""
    if run.world.leads:
        check.write_down(run.settings)
        ledger.append(run.settings.run_folder, metrics["progress/step"], prompts)
        watch.see(metrics)
    _log(run, metrics, monitors)


def _log(run: Run, metrics: Metrics, monitors: Monitors) -> None:
    if run.world.leads:
        append_metrics(run.settings.run_folder, metrics)
    monitors.log(metrics["progress/step"], metrics)


def _finish(run: Run) -> None:
    folder = run.settings.run_folder
    try:
        with run.storage.opened(run.last_step) as newest:
            write_student(run.settings, newest)
        write_summary(folder)
    except (OSError, SafetensorError) as error:
        raise UserError(
            f"can't write the finished student to {folder}: {error}; its checkpoint is whole: free space and resume"
        ) from None
