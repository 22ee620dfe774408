"""The pauses between the attempts of one request. How many attempts there are, and what counts as one: `pool.py`."""

import random

from tenacity import RetryCallState

from common.teacher_client.failures import CallFailed, Overloaded

FIRST_WAIT_S = 0.5
LONGEST_WAIT_S = 30.0


class Backoff:
    """The pauses of one request, in seconds: as long as Retry-After says, or else twice as long as the one before.

    With up to half of it more, so that not all clients come back at once. Overload is counted apart from failures: who
    was told to come back later many times hasn't failed often.
    """

    def __init__(self) -> None:
        self._next_s = {"overload": FIRST_WAIT_S, "failure": FIRST_WAIT_S}

    def __call__(self, state: RetryCallState) -> float:
        """The pause after tenacity's last attempt."""
        failure = failure_of(state)
        kind = "overload" if isinstance(failure, Overloaded) else "failure"
        pause_s = failure.retry_after_s or self._next_s[kind]
        self._next_s[kind] = min(2 * self._next_s[kind], LONGEST_WAIT_S)
        return pause_s * random.uniform(1, 1.5)


def failure_of(state: RetryCallState) -> CallFailed:
    """Why tenacity's last attempt failed."""
    error = state.outcome.exception() if state.outcome else None
    assert isinstance(error, CallFailed)
    return error
