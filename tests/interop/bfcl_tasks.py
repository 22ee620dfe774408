"""Tasks for BFCL's code, and which of its entries are run."""

from pathlib import Path
from typing import Any

from tests.interop.environments import answer_of


async def bfcl(folder: Path, url: str = "", **task: Any) -> Any:
    """What `clients/bfcl.py` answers to a task."""
    return await answer_of("bfcl", task, url, folder=folder, BFCL_PROJECT_ROOT=str(folder))


def few(gold: Any) -> list[str]:
    """Three entries of each category, 12 in all: those with the fewest turns, and with few tools."""
    turns = {id: len(answer["turns"]) for id, answer in gold["answers"].items()}
    return [
        min((id for id in sorted(turns) if category in id and gold["answers"][id]["classes"] == classes), key=turns.get)
        for category in ("base", "miss_func", "miss_param", "long_context")
        for classes in ("TradingBot", "GorillaFileSystem", "TravelAPI")
    ]
