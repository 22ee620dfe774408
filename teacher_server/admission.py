"""Overload is refused at the door, in the replica itself, below Ray Serve's own limits."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from teacher_server.refusals import Refusal
from teacher_server.settings import LimitSettings


class Admission:
    """Counts the requests and sequences being answered, and refuses those that would be too many."""

    def __init__(self, limits: LimitSettings) -> None:
        self._limits = limits
        self._requests = 0
        self._sequences = 0
        self._closed = False
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def in_progress(self) -> tuple[int, int]:
        """Requests and sequences being answered."""
        return self._requests, self._sequences

    async def close(self, patience_s: float) -> None:
        """Refuse whatever comes from now on; return once all is answered, or after `patience_s` seconds."""
        self._closed = True
        with suppress(TimeoutError):
            await asyncio.wait_for(self._idle.wait(), patience_s)

    @contextmanager
    def hold(self, sequences: int) -> Iterator[None]:
        """Count one request of so many `sequences` while the context lasts.

        Raises Refusal (503 with Retry-After) when it would be too many; never when nothing else is being answered.
        A closed door refuses everything.
        """
        limits = self._limits
        if self._closed:
            message = "this replica is shutting down; ask again, another one will answer"
            raise Refusal(503, "shutting_down", message, retry_after_s=limits.retry_after_s)
        full = self._requests >= limits.max_requests or self._sequences + sequences > limits.max_sequences
        if self._requests and full:
            message = f"{self._requests} requests with {self._sequences} sequences are being answered; come again later"
            raise Refusal(503, "overloaded", message, retry_after_s=limits.retry_after_s)
        self._requests += 1
        self._sequences += sequences
        self._idle.clear()
        try:
            yield
        finally:
            self._requests -= 1
            self._sequences -= sequences
            if not self._requests:
                self._idle.set()
