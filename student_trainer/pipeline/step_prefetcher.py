"""Prompts asked about ahead of the steps that use them: who is asked for when, and how far ahead that is."""

import time
from collections.abc import Callable, Coroutine, Iterable, Iterator
from dataclasses import dataclass
from itertools import tee
from typing import Any, NamedTuple

from student_trainer.data.plan import Example, StepPlan, Unused
from student_trainer.pipeline.prefetch import Window
from student_trainer.record.store import Key

Outcome = Example | Unused
Make = Callable[[Key], Coroutine[Any, Any, Outcome]]


@dataclass(frozen=True)
class Taken:
    """The outcomes of a step's prompts, in the global order, and how far ahead asking was when the step took them."""

    plan: StepPlan
    outcomes: list[Outcome]
    window: int
    in_flight: int
    ready: int
    latency_s: float
    staleness: int


class _Made(NamedTuple):
    outcome: Outcome
    latency_s: float
    asked_in_step: int


class Lookahead:
    """Makes the outcomes of `plans`, which are consumed lazily, in a window of `size`, of `most` at the most.

    Create and use it in the event loop's thread alone.
    """

    def __init__(self, plans: Iterable[StepPlan], make: Make, size: int, most: int) -> None:
        ahead, self._plans = tee(plans)
        self._make = make
        self._step = 0  # the one that takes, or whose outcomes are in use
        self._window = Window(self._keys(ahead), self._made, size, most)

    async def take(self) -> Taken | None:
        """The next step's outcomes; None after the last. Raises the UserError of the first that could not be made."""
        plan = next(self._plans, None)
        if plan is None:
            return None
        self._step = plan.step
        size, in_flight, ready = self._window.size, self._window.in_flight, self._window.ready
        made = [await anext(self._window) for _ in plan.positions]
        latency_s = max((each.latency_s for each in made), default=0.0)
        staleness = max((plan.step - each.asked_in_step for each in made), default=0)
        return Taken(plan, [each.outcome for each in made], size, in_flight, ready, latency_s, staleness)

    def resize(self, size: int) -> None:
        """Ask `size` ahead from now on."""
        self._window.resize(size)

    async def aclose(self) -> None:
        """Give up what nobody took."""
        await self._window.aclose()

    def _keys(self, plans: Iterator[StepPlan]) -> Iterator[Key]:
        for plan in plans:
            self._step = self._step or plan.step  # what is asked before the first step is asked in it
            for position in plan.positions:
                yield Key(plan.epoch, position)

    async def _made(self, key: Key) -> _Made:
        asked_in_step, began = self._step, time.perf_counter()
        outcome = await self._make(key)
        return _Made(outcome, time.perf_counter() - began, asked_in_step)
