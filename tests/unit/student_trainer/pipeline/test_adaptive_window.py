"""The window's size, found by the real window between a simulated teacher and trainer on a virtual clock."""

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count

from student_trainer.pipeline.adaptive_window import FEW_STEPS, AdaptiveWindow, StepSeen
from student_trainer.pipeline.prefetch import OrderedPrefetcher
from tests.virtual_time import run

SHARE, MOST = 16, 256


@dataclass
class Course:
    """What a simulated run went through, step by step."""

    sizes: list[int] = field(default_factory=list)
    waited: list[float] = field(default_factory=list)
    steps: list[float] = field(default_factory=list)
    held: int = 0

    def waited_share(self, last: int) -> float:
        return sum(self.waited[-last:]) / sum(self.steps[-last:])


def lognormal(number: int, mean: float, deviation: float) -> list[float]:
    rng = random.Random(0)
    return [mean * rng.lognormvariate(-deviation * deviation / 2, deviation) for _ in range(number)]


def simulate(
    step_s: float,
    places: int,
    service_s: Callable[[int], float],
    steps: int = 200,
    outage: tuple[float, float] = (0, 0),
) -> Course:
    """A trainer of `step_s` per step, a teacher that works on `places` prompts at a time, `service_s(prompt)` each.

    From the first second of `outage` to the other it answers none.
    """

    async def work() -> Course:
        clock, teacher, course = asyncio.get_running_loop().time, asyncio.Semaphore(places), Course()

        async def ask(prompt: int) -> tuple[float, int]:
            asked_at, asked_in = clock(), len(course.steps)
            async with teacher:
                await asyncio.sleep(service_s(prompt))
                if outage[0] <= clock() < outage[1]:
                    await asyncio.sleep(outage[1] - clock())
            return clock() - asked_at, asked_in

        rule = AdaptiveWindow(SHARE, MOST)
        window = OrderedPrefetcher(count(), ask, rule.size, MOST)
        for _ in range(steps):
            began = clock()
            latencies, asked_in = zip(*[await anext(window) for _ in range(SHARE)], strict=True)
            staleness = len(course.steps) - min(asked_in)
            waited = clock() - began
            without = max(0.0, min(clock(), outage[1]) - max(began, outage[0]))
            course.held = max(course.held, window.ready + window.in_flight)
            await asyncio.sleep(step_s)
            course.sizes.append(rule.size)
            course.waited.append(waited)
            course.steps.append(clock() - began)
            window.resize(rule.observe(StepSeen(waited, clock() - began, max(latencies), without, staleness)))
        await window.aclose()
        return course

    return run(work())


def test_a_teacher_that_keeps_up_is_asked_no_further_ahead_than_needed():
    course = simulate(step_s=1, places=32, service_s=lambda prompt: 0.5)
    assert course.sizes[-1] == SHARE
    assert course.waited_share(last=190) == 0


def test_latency_is_hidden_where_the_teacher_has_the_places():
    course = simulate(step_s=1, places=500, service_s=lambda prompt: 10)
    assert SHARE * 10 <= course.sizes[-1] <= SHARE * 10 * 1.3
    assert course.waited_share(last=100) == 0


def test_a_latency_beyond_the_bound_takes_all_of_it():
    course = simulate(step_s=1, places=500, service_s=lambda prompt: 30)
    assert course.sizes[-1] == course.held == MOST


def test_a_slow_teacher_is_kept_busy_and_not_asked_ever_more():
    course = simulate(step_s=1, places=4, service_s=lambda prompt: 1, steps=400)
    assert max(course.sizes[50:]) <= 2 * SHARE
    assert sum(course.steps[-100:]) / 100 < 1.02 * SHARE / 4  # its own pace


def test_a_teacher_that_becomes_slower_and_fast_again_is_followed():
    slow = range(2000, 4000)
    course = simulate(step_s=1, places=500, service_s=lambda prompt: 6 if prompt in slow else 1, steps=500)
    before, during, after = course.sizes[100], course.sizes[200], course.sizes[-1]
    assert before <= 2 * SHARE
    assert 6 * SHARE <= during <= 8 * SHARE
    assert after < during
    assert course.waited_share(last=320) == 0


def test_an_outage_changes_nothing():
    for step_s, places in ((1, 16), (0.1, 32)):  # the trainer sets the pace, the teacher does
        there, quiet = (
            simulate(step_s, places, lambda prompt: 1, steps=300, outage=span) for span in ((100, 200), (0, 0))
        )
        begins = next(number for number in range(300) if sum(there.steps[: number + 1]) > 100)
        assert set(there.sizes[begins:]) <= set(quiet.sizes[begins:])


class Settled:
    """A rule whose teacher answers after ten steps, whatever it is asked; its window is as wide as that takes."""

    def __init__(self) -> None:
        self.rule = AdaptiveWindow(SHARE, MOST)
        self.size = self.go_on(200)
        assert 10 * SHARE <= self.size < MOST

    def go_on(self, steps: int) -> int:
        for _ in range(steps):
            waited_s = max(0.0, 10 * SHARE / self.rule.size - 1)
            self.rule.observe(StepSeen(waited_s, waited_s + 1, 10, 0, self.rule.size // SHARE))
        return self.rule.size

    def outage(self, staleness: int) -> int:
        return self.rule.observe(StepSeen(5, 6, 10, 4, staleness))


def test_one_outage_changes_nothing_in_however_many_steps_it_shows():
    settled = Settled()
    assert {settled.outage(staleness=10 + step) for step in range(5)} == {settled.size}
    assert settled.go_on(40) == settled.size
    assert settled.outage(staleness=10) == settled.size, "a turn has passed since"


def test_outages_of_what_was_asked_since_the_last_one_halve_the_window():
    settled = Settled()
    settled.outage(staleness=10)
    settled.go_on(12)
    assert settled.outage(staleness=13) == settled.size, "the oldest of its answers was asked when the first one began"
    settled.go_on(12)
    assert settled.outage(staleness=13) == settled.size // 2
    assert settled.outage(staleness=13) == settled.size // 2
    assert settled.go_on(600) == settled.size


def test_a_step_counts_if_all_its_answers_were_asked_under_the_size():
    early, late = AdaptiveWindow(SHARE, MOST), AdaptiveWindow(SHARE, MOST)
    for step in range(FEW_STEPS + 1):
        early.observe(StepSeen(1, 2, 10, 0, max(0, step - 1)))
        late.observe(StepSeen(1, 2, 10, 0, step))
    assert early.size > late.size == 2 * SHARE


def test_uneven_answers_leave_a_teacher_busy_and_the_window_bounded():
    """The teacher's 32 places give 6.4 answers a second, the trainer could take 16; services vary by 40 %."""
    services = lognormal(4000, mean=5, deviation=0.4)
    course = simulate(step_s=1, places=32, service_s=lambda prompt: services[prompt], steps=200)
    assert SHARE * 150 / sum(course.steps[-150:]) > 0.9 * 32 / 5
    assert max(course.sizes) <= course.held <= MOST
