"""Keeps the log of a Serve replica while something configures logging anew, as vLLM does when it starts."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from logging.handlers import MemoryHandler

SERVE_LOGGER = "ray.serve"


@contextmanager
def kept() -> Iterator[None]:
    """`logging.config.dictConfig` closes all handlers there are, which takes from a MemoryHandler what it writes to.

    Serve's is one. Without its file the replica's log is lost and its buffer grows with each request; and a new
    controller of Serve, which asks each replica for the file's name, gets an error and replaces the replica.
    """
    handlers = [each for each in logging.getLogger(SERVE_LOGGER).handlers if isinstance(each, MemoryHandler)]
    targets = [each.target for each in handlers]
    try:
        yield
    finally:
        for handler, target in zip(handlers, targets, strict=True):
            if handler.target is None:
                handler.setTarget(target)
