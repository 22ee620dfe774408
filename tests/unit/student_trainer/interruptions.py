"""Ends a run where a test wants it to end."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest


class Interrupted(Exception):
    """Stands for the end of a process."""


@contextmanager
def interrupted_at(owner: Any, name: str, count: int) -> Iterator[None]:
    """In here the call `owner.name` is interrupted at the time `count`, which must come."""
    call, calls = getattr(owner, name), iter(range(1, count + 1))

    def interrupt(*arguments: Any, **options: Any) -> Any:
        if next(calls, 0) == count:
            raise Interrupted
        return call(*arguments, **options)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(owner, name, interrupt)
        with pytest.raises(Interrupted):
            yield
