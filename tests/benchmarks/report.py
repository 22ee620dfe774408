"""How every benchmark ends: one JSON line."""

import json
from collections.abc import Mapping


def finish(benchmark: str, figures: Mapping[str, float], targets: Mapping[str, str], met: bool) -> None:
    """Print the last line of `benchmark`. `targets` say in words what is wanted of the figures of the same names.

    Raises ValueError for a figure that is no finite number: what could not be measured is left out, and said above.
    """
    answer = {"benchmark": benchmark, "figures": dict(figures), "targets": dict(targets), "met": met}
    print(json.dumps(answer, allow_nan=False), flush=True)
