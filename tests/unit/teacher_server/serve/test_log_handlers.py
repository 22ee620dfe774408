"""A replica's log goes on where it was, whatever configures logging meanwhile."""

import logging
from collections.abc import Iterator
from logging.config import dictConfig
from logging.handlers import MemoryHandler
from pathlib import Path

import pytest

from teacher_server.serve import log_handlers


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Path]:
    """What the logger of a Serve replica writes to."""
    path = tmp_path / "replica.log"
    target = logging.FileHandler(path)
    handler = MemoryHandler(100, target=target)
    logger = logging.getLogger(log_handlers.SERVE_LOGGER)
    logger.addHandler(handler)
    yield path
    logger.removeHandler(handler)
    handler.close()
    target.close()


def test_the_log_of_a_replica_outlives_another_configuration(log: Path):
    with log_handlers.kept():
        dictConfig({"version": 1, "disable_existing_loggers": False})
    logging.getLogger(log_handlers.SERVE_LOGGER).error("still here")
    assert log.read_text() == "still here\n"


def test_it_would_not_by_itself(log: Path):
    dictConfig({"version": 1, "disable_existing_loggers": False})
    logging.getLogger(log_handlers.SERVE_LOGGER).error("gone")
    assert not log.read_text()
