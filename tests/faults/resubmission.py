"""The driver of a run dies, what the run wrote is damaged, and it is submitted again."""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tests.faults import victims
from tests.faults.damage import Damage
from tests.faults.faults import Outcome
from tests.faults.relay import relaying
from tests.faults.runs import Run, running
from tests.faults.served_teacher import BATCH, CHECKPOINT_EVERY, ServedTeacher


def resubmitted(
    teacher: ServedTeacher,
    name: str,
    damages: Sequence[tuple[int, Callable[[Path], None]]],
    settings: Mapping[str, object] = {},
) -> Outcome:
    """Run to the end; after each of these steps, which ascend, the driver dies and the run folder is damaged.

    The seconds lost are those from each death until the run stood one step further.
    """
    folder, lost_s, died = teacher.folder / name, [], 0.0
    with relaying(teacher.url, teacher.order) as relay:
        settings = {**settings, "teacher.url": relay.url}
        for number in range(len(damages) + 1):
            step, damage = damages[number] if number < len(damages) else (None, None)
            relay.limit = BATCH * step if step else len(teacher.order)
            with running(teacher.cluster, teacher.config, folder, settings) as run:
                if number:
                    run.wait_for_step(damages[number - 1][0] + 1)
                    lost_s.append(round(time.monotonic() - died, 1))
                if step is None:
                    run.succeed()
                else:
                    died = kill_driver(run, step)
            if damage:
                damage(folder)
    print(f"{name}: lost {lost_s} s")
    return Outcome(folder, lost_s, relay)


def kill_driver(run: Run, step: int) -> float:
    """Kill the driver after `step`; returns when, in `time.monotonic()` seconds, once its job has ended."""
    run.wait_for_step(step)
    victims.kill(run.driver())
    died = time.monotonic()
    assert run.wait() != 0
    return died


def damage_checkpoint(how: Damage, file: str, step: int, run: Path) -> None:
    """Damage a file of the newest checkpoint up to `step`."""
    how(run / "checkpoints" / f"step-{step // CHECKPOINT_EVERY * CHECKPOINT_EVERY}" / file)
