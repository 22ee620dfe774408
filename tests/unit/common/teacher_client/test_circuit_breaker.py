"""When the breaker of an endpoint opens, and what closes it."""

from common.teacher_client.endpoint import FAILURES, FIRST_PAUSE_S, LONGEST_PAUSE_S, CircuitBreaker


def closed(now: float = 0.0) -> CircuitBreaker:
    breaker = CircuitBreaker()
    breaker.close(now)
    breaker.answered()
    return breaker


def test_only_failures_in_a_row_open_it():
    breaker = closed()
    for _ in range(5):
        assert not any(breaker.failed(1) for _ in range(FAILURES - 1))
        breaker.answered()
    assert [breaker.failed(1) for _ in range(FAILURES + 1)] == [False] * (FAILURES - 1) + [True, False]
    breaker.answered()  # one that was under way
    assert breaker.is_open


def test_it_is_open_at_first_and_on_trial_after_a_probe():
    breaker = CircuitBreaker()
    assert breaker.is_open
    breaker.close(now=10)
    assert not breaker.failed(began=9)  # sent before the probe
    assert breaker.failed(began=11)
    breaker.close(now=20)
    breaker.answered()
    assert not breaker.failed(began=21)


def test_pauses_double_until_a_request_is_answered():
    breaker = CircuitBreaker()
    for times in range(12):
        longest = min(FIRST_PAUSE_S * 2**times, LONGEST_PAUSE_S)
        assert longest / 2 <= breaker.next_pause_s() <= longest
        breaker.close(0)
        breaker.failed(1)
    breaker.close(2)
    breaker.answered()
    assert breaker.next_pause_s() <= FIRST_PAUSE_S
