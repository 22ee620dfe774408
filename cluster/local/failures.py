"""Why a node ended: the one line that says so, of all that Ray printed and logged."""

import re
from collections.abc import Iterator
from pathlib import Path

_STYLE = re.compile(r"\x1b\[[0-9;]*m")
_HEADING = re.compile(r"^\S+ \S+\t[A-Z]+ \S+:\d+ -- ", re.MULTILINE)
"""What `ray start` puts before its own lines: time, level and place."""
_CRASH = re.compile(r"^(?:\*\*\* SIG\w+ received|\[\S+ \S+ [CF] \d+ \d+\]).*", re.MULTILINE)
"""Ray's own programs: a signal, a failed check or another fatal error."""
_ERROR = re.compile(r"^\[\S+ \S+ E \d+ \d+\].*", re.MULTILINE)
_TAIL = re.compile(r"^-+ BEGIN \S+\.(?P<kind>err|out) tail.*?-\n(?P<text>.*?)^-+ END ", re.DOTALL | re.MULTILINE)
"""`ray start --block` prints the end of the log of each process that ended unexpectedly."""
_ENDED = re.compile(r"^\w+ \[exit code=.*\]$", re.MULTILINE)
"""It also names that process."""


def telling_line(printed: str, logs: Path) -> str:
    """The first of these that there is:

    1. a crash in the logs of the control store (`gcs_server`) or the node's manager (`raylet`) in the folder `logs`,
    2. the last line that a process which ended wrote to its standard error, or its last error in its standard output,
    3. which process ended, and its exit code,
    4. the last line that `ray start` printed: where it failed by itself, the exception.
    """
    plain = _HEADING.sub("", _STYLE.sub("", printed))
    return next(_candidates(plain, logs), "it printed nothing").strip()


def _candidates(plain: str, logs: Path) -> Iterator[str]:
    for log in [logs / f"{program}.{kind}" for program in ("gcs_server", "raylet") for kind in ("err", "out")]:
        if log.exists() and (crash := _CRASH.search(log.read_text(errors="replace"))):
            yield f"{log.stem}: {crash[0]}"
    for tail in _TAIL.finditer(plain):
        errors = _ERROR.findall(tail["text"])
        yield from (errors or _lines(tail["text"] if tail["kind"] == "err" else ""))[-1:]
    yield from _ENDED.findall(plain)
    yield from _lines(plain)[-1:]


def _lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.strip()]
