"""Reader of ToolBench's training file, `toolllama_G123_dfs_{train,eval}.json`: one record per step of a conversation.

    {"id": "Step 3: <query>", "conversations": [{"from": "system", "value": "You are AutoGPT, …"}, …]}

The last turn is the assistant's and is the target; where it is empty or has no Action, the record gives no row
("ends_without_action"). The records of one conversation stand side by side, each longer than the one before; the step
is counted from its assistant turns, since the number in "id" counts messages in the published file.
"""

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from common.toolbench.fields import BadRecord, items, take, take_role
from common.toolbench.quarantine import Quarantine
from common.toolbench.react import ParseError, parse_step, unix_labels
from common.toolbench.readers.sources import Source
from common.toolbench.rows import PromptRow, Turn
from common.toolbench.system_prompt import offered_functions

STEP_ID = re.compile(r"Step \d+: (.*)", re.DOTALL)


def read_toolllama(source: Source, quarantine: Quarantine) -> Iterator[PromptRow]:
    """The rows of a toolllama source in its order, one record in memory at a time."""
    trace, last_query, last_step = 0, None, 0
    for place, record in source.records(quarantine):
        try:
            query, turns = _query(record), _turns(record)
        except BadRecord as error:
            quarantine.refuse(error, place, record)
            continue
        step = sum(turn.role == "assistant" for turn in turns)
        if query != last_query or step <= last_step:
            trace += 1
        last_query, last_step = query, step
        if not _has_action(turns[-1].content):
            quarantine.leave_out("ends_without_action", place)
            continue
        name = f"{source.name}/{trace}"
        yield PromptRow(f"{name}/{step}", query, turns[:-1], turns[-1].content, name, step, source.group)


def _query(record: Any) -> str:
    label = take(record, "id", str)
    match = STEP_ID.fullmatch(label)
    if match is None:
        raise BadRecord("bad_id", f"the field 'id' holds {label[:60]!r}, expected 'Step N: <query>'")
    return match[1]


def _turns(record: Any) -> tuple[Turn, ...]:
    turns = tuple(_turn(*entry) for entry in items(record, "conversations"))
    if len(turns) < 2 or turns[-1].role != "assistant":
        raise BadRecord("no_target", "the field 'conversations' doesn't end with an assistant turn after others")
    _check_offer(turns[0].content)
    return turns


def _turn(place: str, turn: Any) -> Turn:
    role, content = take_role(turn, "from", place), take(turn, "value", str, place)
    return Turn(role, unix_labels(content) if role == "assistant" else content)


@lru_cache(maxsize=1)
def _check_offer(system_prompt: str) -> None:
    """Raise BadRecord when the functions on offer can't be read; a conversation's records share their prompt."""
    offered_functions(system_prompt)


def _has_action(text: str) -> bool:
    try:
        parse_step(text)
    except ParseError:
        return False
    return True
