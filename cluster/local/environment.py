"""The environment of every process that is started here: it finds the project, and no proxy on the way to a cluster."""

import os
from collections.abc import Iterable
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
LOOPBACK = ("localhost", "127.0.0.1", "127.0.0.0/8")
"""Programs differ in which of these they understand."""
_NO_PROXY = ("NO_PROXY", "no_proxy")


def child_environment(hosts: Iterable[str] = ()) -> dict[str, str]:
    """This process's variables, with the project on PYTHONPATH, and `hosts` and loopback reached without a proxy."""
    paths = [str(REPOSITORY), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, **no_proxy(hosts), "PYTHONPATH": os.pathsep.join(paths)}


def no_proxy(hosts: Iterable[str] = ()) -> dict[str, str]:
    """NO_PROXY in both spellings: the entries of either here, loopback, and `hosts`."""
    present = [entry.strip() for name in _NO_PROXY for entry in os.environ.get(name, "").split(",")]
    entries = dict.fromkeys(filter(None, [*present, *LOOPBACK, *hosts]))
    return dict.fromkeys(_NO_PROXY, "*" if "*" in entries else ",".join(entries))
