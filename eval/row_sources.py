"""What is known about rows beyond themselves: their tools' categories, and the floor of a generated world's wording."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from common.errors import UserError
from common.toolbench.fields import BadRecord
from common.toolbench.names import standardize
from common.toolbench.readers.json_records import json_records
from common.toolbench.readers.sources import find_files
from common.world.saved import read_task_records, read_world, tasks_file
from common.world.splits import SPLITS


@dataclass(frozen=True)
class RowSources:
    """Categories by tool, as prompts name it; floors in nats by query and recorded completion, to the letter."""

    categories: dict[str, str] = field(default_factory=dict)
    floors: dict[tuple[str, str], float] = field(default_factory=dict)


def read_sources(world: Path | None, queries: Path | None) -> RowSources:
    """What the folder of a generated world and ToolBench's query records (a file, or a folder of them) tell of rows.

    Raises UserError where one is named and can't be read.
    """
    categories = dict(_categories(queries)) if queries else {}
    if world is None:
        return RowSources(categories)
    known = {standardize(api.tool): api.category for api in read_world(world).functions.values()}
    return RowSources(categories | known, dict(_floors(world)))


def _floors(world: Path) -> Iterator[tuple[tuple[str, str], float]]:
    for split in SPLITS:
        if tasks_file(world, split).exists():
            for record in read_task_records(world, split):
                for step, nats in zip(record["solution"], record["floor_nats"], strict=True):
                    yield (record["query"], step), nats


def _categories(queries: Path) -> Iterator[tuple[str, str]]:
    """The category of each tool in query records; one that is in several is in the first of them."""
    kind, files = find_files(queries, None)
    if kind != "queries":
        raise UserError(f"got {kind} at {queries}, expected ToolBench's query records, which name each tool's category")
    seen: set[str] = set()
    for file in files:
        for record in json_records(file.path):
            apis = [] if isinstance(record, BadRecord) or not isinstance(record, dict) else record.get("api_list") or []
            for api in apis:
                tool = standardize(str(api.get("tool_name", "")))
                if tool not in seen and "category_name" in api:
                    seen.add(tool)
                    yield tool, str(api["category_name"])
