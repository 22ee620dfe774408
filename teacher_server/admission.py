"""Overload is refused at the door, in the replica itself, below Ray Serve's own limits."""

from collections.abc import Iterator
from contextlib import contextmanager

from teacher_server.refusals import Refusal
from teacher_server.settings import LimitSettings


class Admission:
    """Counts the requests and sequences being answered, and refuses those that would be too many."""

    def __init__(self, limits: LimitSettings) -> None:
        self._limits = limits
        self._requests = 0
        self._sequences = 0

    @contextmanager
    def hold(self, sequences: int) -> Iterator[None]:
        """Count one request of so many `sequences` while the context lasts.

        Raises Refusal (503 with Retry-After) when it would be too many; never when nothing else is being answered.
        """
        limits = self._limits
        full = self._requests >= limits.max_requests or self._sequences + sequences > limits.max_sequences
        if self._requests and full:
            message = f"{self._requests} requests with {self._sequences} sequences are being answered; come again later"
            raise Refusal(503, "overloaded", message, retry_after_s=limits.retry_after_s)
        self._requests += 1
        self._sequences += sequences
        try:
            yield
        finally:
            self._requests -= 1
            self._sequences -= sequences
