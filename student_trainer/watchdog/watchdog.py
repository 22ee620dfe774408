"""The watchdog: checks what the student writes, within its share of the run's time, and notices a collapse."""

import logging
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice

from common import jsonl
from common.quality.looks import Written, summarize
from common.render import Renderer
from common.toolbench.rows import read_rows
from student_trainer.distributed.consensus import run_together
from student_trainer.distributed.process_group import ProcessGroup
from student_trainer.guard_settings import WatchdogSettings
from student_trainer.learning.student import Student
from student_trainer.persistence import step_lines
from student_trainer.persistence.run_folder import STEP, Metrics
from student_trainer.settings import TrainSettings
from student_trainer.watchdog.rules import Figures, broken_rules, format_score
from student_trainer.watchdog.writing import Prompt, prompts_of, write

SHOWN, SHOWN_CHARACTERS = 2, 120
"""How many completions a collapse is shown by, and how much of each."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Check:
    """What the student wrote after a step; nothing where it wasn't asked."""

    step: int
    written: Sequence[Written] = ()
    figures: Figures | None = None
    seconds: float = 0.0
    is_best: bool = False
    """Whether its format was never so good before."""
    collapse: str | None = None
    """What broke twice in a row, and which completions show it; None where nothing did."""

    @property
    def score(self) -> float | None:
        """The measure by which checkpoints are compared."""
        return format_score(self.figures) if self.figures else None

    @property
    def metrics(self) -> Metrics:
        """By their names in metrics.jsonl."""
        if self.figures is None:
            return {}
        return {f"watchdog/{name}": value for name, value in self.figures.items()} | {"time/watchdog_s": self.seconds}

    def write_down(self, settings: TrainSettings) -> None:
        """Add it, with every completion, to the run's `watchdog.jsonl`. Raises UserError."""
        if self.figures is not None:
            written = [asdict(each) for each in self.written]
            line = {STEP: self.step, "score": self.score, "figures": dict(self.figures), "written": written}
            jsonl.append(settings.files.watchdog, [line])


class Watchdog:
    """Watches one run, of which it knows the checks that were `seen`; every worker has one, and all see the same."""

    def __init__(
        self,
        settings: TrainSettings,
        watching: WatchdogSettings,
        student: Student,
        renderer: Renderer,
        prompts: Sequence[Prompt],
        seen: Sequence[Figures],
        world: ProcessGroup,
    ) -> None:
        self._settings, self._watching, self._world = settings, watching, world
        self._student, self._renderer, self._prompts, self._seen = student, renderer, prompts, list(seen)
        self._elapsed_s = self._spent_s = self._last_s = 0.0

    def check(self, step: int, step_s: float) -> Check:
        """Let the student write after `step`, which took `step_s` on all workers, where that is due.

        Every worker must call it after every step.
        """
        self._elapsed_s += step_s
        if not self._prompts or step % self._watching.every or not self._fits():
            return Check(step=step)
        began = time.perf_counter()
        written = write(self._student, self._prompts, self._settings, self._watching, self._renderer, self._world)
        self._last_s = self._world.largest(time.perf_counter() - began)
        self._spent_s += self._last_s
        self._elapsed_s += self._last_s
        return self._judge(step, written)

    def _fits(self) -> bool:
        """Whether another check like the last keeps all of them within their share of the time."""
        return self._spent_s + self._last_s <= self._watching.time_share * (self._elapsed_s + self._last_s)

    def _judge(self, step: int, written: Sequence[Written]) -> Check:
        figures, seen = summarize(written), list(self._seen)
        self._seen.append(figures)
        check = Check(
            step=step,
            written=written,
            figures=figures,
            seconds=self._last_s,
            is_best=format_score(figures) > max(map(format_score, seen), default=0.0),
        )
        broken = broken_rules(seen, figures)
        if not broken:
            return check
        worse = (f"{rule.figure} {figures[rule.figure]:.2f} (best {rule.best(seen):.2f})" for rule in broken)
        fall = f"at step {step} {', '.join(worse)}; {_shown(written)}"
        if broken_rules(seen[:-1], seen[-1]):
            return replace(check, collapse=f"the format of what the student writes collapsed: {fall}")
        if self._world.leads:
            log.warning("the format of what the student writes fell: %s; the run ends if the next check finds so", fall)
        return check


def open_watchdog(settings: TrainSettings, student: Student, renderer: Renderer, world: ProcessGroup) -> Watchdog:
    """The watchdog that `settings` choose, which knows what the run folder tells of earlier checks.

    Every worker must call it. Raises UserError where rows or checks can't be read.
    """
    watching = settings.watchdog or WatchdogSettings()

    def read() -> tuple[list[Prompt], list[Figures]]:
        validation = settings.data.validation if settings.watchdog else None
        rows = islice(read_rows(validation), settings.data.validation_rows) if validation else ()
        seen = [line["figures"] for line in step_lines.read(settings.files.watchdog, STEP)]
        return prompts_of(rows, settings, watching, renderer), seen

    prompts, seen = run_together(world, read)
    if settings.watchdog and not prompts and world.leads:
        log.warning(
            "the watchdog is off: no row of data.validation (%s) offers functions in ToolBench's list and leaves room "
            "for watchdog.max_new_tokens within data.max_length",
            settings.data.validation,
        )
    return Watchdog(settings, watching, student, renderer, prompts, seen, world)


def _shown(written: Sequence[Written]) -> str:
    """The first completions that are wrong in some way, and what they look like."""
    wrong = [each for each in written if each.look != "valid"] or list(written)
    shown = (f"{each.id} is {each.look.replace('_', ' ')}: {each.text[:SHOWN_CHARACTERS]!r}" for each in wrong[:SHOWN])
    return "; ".join(shown)
