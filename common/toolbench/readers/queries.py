"""Reader of ToolBench's and StableToolBench's query records: the prompt of the first turn, nothing recorded after it.

    {"api_list": [{"category_name", "tool_name", "api_name", "api_description", "required_parameters", …}],
     "query": "…", "relevant APIs": [["tool", "api"]], "query_id": 588}

Descriptions of tools stand in ToolBench's tool environment, not here, so each tool's line reads "None", as ToolBench
writes where a tool has no description. Two shapes lack their APIs' descriptions altogether and are left out by name:
the demo of three keys per API ("apis_not_described") and the open domain's, without an api_list ("no_api_list").
"""

import logging
from collections.abc import Iterator
from typing import Any

from common.toolbench.fields import BadRecord, items, take
from common.toolbench.names import function_name
from common.toolbench.quarantine import Quarantine
from common.toolbench.readers.sources import Source
from common.toolbench.rows import PromptRow, Turn
from common.toolbench.system_prompt import build_system_prompt, offered_functions

log = logging.getLogger(__name__)


def read_queries(source: Source, quarantine: Quarantine) -> Iterator[PromptRow]:
    """One row per query in the source's order, its completion None.

    APIs that a prompt offers under one name, since ToolBench cuts names, are logged, each pair once.
    """
    seen: set[str] = set()
    told: set[str] = set()
    for place, record in source.records(quarantine):
        try:
            reason = _left_out(record)
            if reason is not None:
                quarantine.leave_out(reason, place)
                continue
            row = _row(source, record)
            if row.id in seen:
                raise BadRecord("duplicate_id", f"the query_id {record['query_id']} has been before in this file")
        except BadRecord as error:
            quarantine.refuse(error, place, record)
            continue
        for twins in _twins(record["api_list"]):
            if twins not in told:
                log.warning("%s: %s; a call names both", place, twins)
            told.add(twins)
        seen.add(row.id)
        yield row


def _left_out(record: Any) -> str | None:
    if isinstance(record, dict) and "query" in record and "api_list" not in record:
        return "no_api_list"
    apis = [api for _, api in items(record, "api_list")]
    undescribed = [isinstance(api, dict) and "api_name" in api and "api_description" not in api for api in apis]
    return "apis_not_described" if undescribed and all(undescribed) else None


def _row(source: Source, record: Any) -> PromptRow:
    query, name = take(record, "query", str), f"{source.name}/{take(record, 'query_id', int)}"
    system = build_system_prompt(take(record, "api_list", list), {})
    offered_functions(system)
    turns = (Turn("system", system), Turn("user", f"\n{query}\nBegin!\n"))
    return PromptRow(f"{name}/1", query, turns, None, name, 1, source.group)


def _twins(apis: list[dict[str, Any]]) -> Iterator[str]:
    """A line for each two APIs that are different and get the same name."""
    named: dict[str, tuple[str, str]] = {}
    for api in apis:
        own = (api["tool_name"], api["api_name"])
        name = function_name(api["api_name"], api["tool_name"])
        other = named.setdefault(name, own)
        if other != own:
            yield f"{other[1]!r} of {other[0]!r} and {own[1]!r} of {own[0]!r} are both offered as {name}"
