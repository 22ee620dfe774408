"""Of what Ray prints and logs when a node dies, the line that says why."""

from pathlib import Path

import pytest

from cluster.local.failures import telling_line

PROCESS_ENDED = """\
2026-11-27 23:34:38,113\tSUCC scripts.py:1085 -- \x1b[32mRay runtime started.\x1b[39m
2026-11-27 23:34:39,116\tERR scripts.py:1307 -- \x1b[31mSome Ray subprocesses exited unexpectedly:\x1b[39m
2026-11-27 23:34:39,117\tERR scripts.py:87 -- \x1b[1m{name}\x1b[22m\x1b[39m\x1b[2m [exit code={code}]\x1b[22m\x1b[0m
{tail}2026-11-27 23:34:39,127\tERR scripts.py:1315 -- \x1b[31mRemaining processes will be killed.\x1b[39m
"""
TAIL = """\
2026-11-27 23:34:39,126\tERR scripts.py:115 -- \x1b[31m----- BEGIN {log} tail (exit code(s)={code}) -----\x1b[39m
2026-11-27 23:34:39,127\tERR scripts.py:122 -- \x1b[31m{text}
\x1b[39m
2026-11-27 23:34:39,127\tERR scripts.py:128 -- \x1b[31m----- END {log} tail (exit code(s)={code}) -----\x1b[39m
"""
NOT_FOUND = "bash: line 1: /home/me/my: No such file or directory"
ERROR = "[2026-11-27 23:34:37,360 E 134 134] (raylet) main.cc:80: the agent failed, and the raylet ends"
QUIET = "[2026-11-27 23:34:37,415 I 134 134] (raylet) metrics_agent_client.cc:59: Exporter initialized."
RAISED = "Traceback (most recent call last):\n  File x, line 3\nValueError: the amount of memory is less than asked\n"
SIGNAL = "*** SIGSEGV received at time=1795822796 on cpu 1 ***"
CHECK = "[2026-11-27 23:34:37,360 C 134 134] (raylet) store.cc:9: Check failed: mmap"


def ended(name: str, code: int, log: str = "", text: str = "") -> str:
    tail = TAIL.format(log=log, code=code, text=text) if log else ""
    return PROCESS_ENDED.format(name=name, code=code, tail=tail)


@pytest.mark.parametrize(
    ("printed", "said"),
    [
        (ended("ray_client_server", 127, "ray_client_server.err", f"ERROR: ld.so\n{NOT_FOUND}"), NOT_FOUND),
        (ended("raylet", 1, "raylet.out", f"{QUIET}\n{ERROR}\n{QUIET}"), ERROR),
        (ended("raylet", -9, "raylet.out", QUIET), "raylet [exit code=-9]"),
        (ended("raylet", -9), "raylet [exit code=-9]"),
        (RAISED, "ValueError: the amount of memory is less than asked"),
        ("", "it printed nothing"),
    ],
)
def test_the_reason_is_found_in_what_ray_printed(printed: str, said: str, tmp_path: Path):
    assert telling_line(printed, tmp_path) == said


@pytest.mark.parametrize(("log", "crash"), [("gcs_server.err", SIGNAL), ("raylet.out", CHECK)])
def test_a_crash_of_rays_own_programs_comes_first(log: str, crash: str, tmp_path: Path):
    (tmp_path / log).write_text(f"{QUIET}\n{crash}\n    @ 0x7fed3a926f36 (unknown) epoll_wait\n")
    assert telling_line(RAISED, tmp_path) == f"{Path(log).stem}: {crash}"
