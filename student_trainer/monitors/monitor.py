"""What a dashboard is to a run, and how far a run depends on it: it must start, and may fail later.

A monitor that can't start ends the run at once, while somebody is looking. One that fails afterwards, as a service that
goes away, is warned of once; it is told of every later step all the same, as it may come back.
"""

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from typing import Any, Protocol

from common.errors import UserError
from student_trainer.settings import MonitorName, TrainSettings

PACKAGES: Mapping[MonitorName, str] = {"tensorboard": "tensorboardX", "wandb": "wandb", "mlflow": "mlflow"}
"""What each monitor needs installed; it is the module `student_trainer.monitors.NAME` with `start`, a Start."""

log = logging.getLogger(__name__)


class Monitor(Protocol):
    """A dashboard that was started. Each call may raise anything that its library raises."""

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Show what was measured at `step`; steps ascend."""

    def close(self) -> None:
        """Hand over what is still held back, and end."""


Start = Callable[[TrainSettings, int], Monitor]
"""Starts a monitor of a run that goes on after a step: what it showed of later ones will come again."""


class Monitors:
    """The monitors of a run."""

    def __init__(self, started: Mapping[MonitorName, Monitor]) -> None:
        self._started = started
        self._failed: set[MonitorName] = set()

    def log(self, step: int, line: Mapping[str, Any]) -> None:
        """Show the numbers in a line of metrics."""
        numbers = {name: float(value) for name, value in line.items() if isinstance(value, int | float)}
        for name, monitor in self._started.items():
            self._try(name, partial(monitor.log, step, numbers))

    def close(self) -> None:
        """End all of them."""
        for name, monitor in self._started.items():
            self._try(name, monitor.close)

    def _try(self, name: MonitorName, call: Callable[[], None]) -> None:
        try:
            call()
        except Exception as error:  # whatever a dashboard's library raises, the run must go on
            log.debug("monitor %s", name, exc_info=True)
            if name not in self._failed:
                reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
                log.warning("monitor %s failed (%s); the run goes on, and so does metrics.jsonl", name, reason)
            self._failed.add(name)


@contextmanager
def open_monitors(settings: TrainSettings, step: int, leads: bool) -> Iterator[Monitors]:
    """Start what `settings.monitors` names, on the worker that `leads` alone, for a run that goes on after `step`.

    Raises UserError where one can't start.
    """
    started: dict[MonitorName, Monitor] = {}
    monitors = Monitors(started)
    try:
        for name in settings.monitors if leads else ():
            started[name] = _start(name, settings, step)
        yield monitors
    finally:
        monitors.close()


def _start(name: MonitorName, settings: TrainSettings, step: int) -> Monitor:
    try:
        start: Start = import_module(f"student_trainer.monitors.{name}").start
        return start(settings, step)
    except ImportError as error:
        raise UserError(
            f"monitors: {name} needs the package {PACKAGES[name]} ({error}); install it where the workers run, pip "
            f"install {PACKAGES[name]}, or take {name} out of monitors"
        ) from None
    except Exception as error:  # whatever its library raises, the user must see which setting asked for it
        raise UserError(
            f"monitors: {name} can't start ({type(error).__name__}: {' '.join(str(error).split())}); mend that, or "
            f"take {name} out of monitors"
        ) from error
