"""Processes by their command, since those that tools start may be anybody's children."""

import psutil


def running(*command: str) -> list[psutil.Process]:
    """Those that run `command`; ones that have ended are none, even if nobody has waited for them."""
    return [each for each in psutil.process_iter(["cmdline"]) if each.info["cmdline"] == list(command)]


def ends(*command: str) -> bool:
    """Whether all that run `command` end soon, as what is killed does."""
    return psutil.wait_procs(running(*command), timeout=10)[1] == []
