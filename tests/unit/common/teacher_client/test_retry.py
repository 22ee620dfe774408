"""Pauses between attempts: as the teacher says, else doubling, never the same for two clients."""

from types import SimpleNamespace
from typing import Any

from common.teacher_client.failures import CallFailed, Overloaded
from common.teacher_client.retry import Backoff


def after(failure: CallFailed) -> Any:
    """tenacity's state after an attempt that failed so."""
    return SimpleNamespace(outcome=SimpleNamespace(exception=lambda: failure))


def pauses(*failures: CallFailed) -> list[float]:
    backoff = Backoff()
    return [backoff(after(failure)) for failure in failures]


BROKEN, BUSY = CallFailed("broken"), Overloaded("busy", retry_after_s=7)


def test_pauses_double_up_to_a_bound_and_differ_from_client_to_client():
    for number, pause in enumerate(pauses(*[BROKEN] * 9)):
        longest = min(0.5 * 2**number, 30)
        assert longest <= pause <= 1.5 * longest
    assert len({pauses(BROKEN)[0] for _ in range(20)}) == 20


def test_the_teachers_word_counts_but_at_once_is_not_without_pause():
    assert 7 <= pauses(BUSY)[0] <= 10.5
    assert 0.5 <= pauses(Overloaded("busy", retry_after_s=0))[0] <= 0.75


def test_overload_does_not_lengthen_the_pauses_after_failures():
    *_, last = pauses(BROKEN, *[Overloaded("busy")] * 9, BROKEN)
    assert 1 <= last <= 1.5
