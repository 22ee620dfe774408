"""Reader of ToolBench's and StableToolBench's query records: the prompt of the first turn, nothing recorded after it.

    {"api_list": [{"category_name", "tool_name", "api_name", "api_description", "required_parameters", …}],
     "query": "…", "relevant APIs": [["tool", "api"]], "query_id": 588}

Descriptions of tools stand in ToolBench's tool environment, not here, so each tool's line reads "None", as ToolBench
writes where a tool has no description. Two shapes lack their APIs' descriptions altogether and are left out by name:
the demo of three keys per API ("apis_not_described") and the open domain's, without an api_list ("no_api_list").
"""

from collections.abc import Iterator
from typing import Any

from common.toolbench.fields import BadRecord, items, take
from common.toolbench.quarantine import Quarantine
from common.toolbench.rows import PromptRow, Turn
from common.toolbench.sources import SourceFile, stream
from common.toolbench.system_prompt import build_system_prompt


def read_queries(file: SourceFile, quarantine: Quarantine) -> Iterator[PromptRow]:
    """One row per query in the file's order, its completion None."""
    seen: set[str] = set()
    for place, record in stream(file, quarantine):
        try:
            reason = _left_out(record)
            if reason is not None:
                quarantine.leave_out(reason, place)
                continue
            row = _row(file, record)
            if row.id in seen:
                raise BadRecord("duplicate_id", f"the query_id {record['query_id']} has been before in this file")
        except BadRecord as error:
            quarantine.refuse(error, place, record)
            continue
        seen.add(row.id)
        yield row


def _left_out(record: Any) -> str | None:
    if isinstance(record, dict) and "query" in record and "api_list" not in record:
        return "no_api_list"
    apis = [api for _, api in items(record, "api_list")]
    undescribed = [isinstance(api, dict) and "api_name" in api and "api_description" not in api for api in apis]
    return "apis_not_described" if undescribed and all(undescribed) else None


def _row(file: SourceFile, record: Any) -> PromptRow:
    query, name = take(record, "query", str), f"{file.name}/{take(record, 'query_id', int)}"
    system = build_system_prompt(take(record, "api_list", list), {})
    turns = (Turn("system", system), Turn("user", f"\n{query}\nBegin!\n"))
    return PromptRow(f"{name}/1", query, turns, None, name, 1, file.group)
