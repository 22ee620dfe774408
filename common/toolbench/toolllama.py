"""Reader of ToolBench's training file, `toolllama_G123_dfs_{train,eval}.json`: one record per step of a conversation.

    {"id": "Step 3: <query>", "conversations": [{"from": "system", "value": "You are AutoGPT, …"}, …]}

The last turn is the assistant's and is the target. The records of one conversation stand side by side, each longer than
the one before; the step is counted from its assistant turns, since the number in "id" counts messages in the published
file.
"""

import re
from collections.abc import Iterator
from typing import Any

from common.errors import UserError
from common.toolbench.fields import BadRecord, items, take
from common.toolbench.quarantine import Quarantine
from common.toolbench.rows import PromptRow, Turn, check_role
from common.toolbench.sources import SourceFile, stream


def read_toolllama(file: SourceFile, quarantine: Quarantine) -> Iterator[PromptRow]:
    """The rows of a toolllama file in its order, one record in memory at a time."""
    trace, last_query, last_step = 0, None, 0
    for place, record in stream(file, quarantine):
        try:
            query, turns = _query(record), _turns(record)
        except BadRecord as error:
            quarantine.refuse(error, place, record)
            continue
        step = sum(turn.role == "assistant" for turn in turns)
        if query != last_query or step <= last_step:
            trace += 1
        last_query, last_step = query, step
        name = f"{file.name}/{trace}"
        yield PromptRow(f"{name}/{step}", query, turns[:-1], turns[-1].content, name, step, file.group)


def _query(record: Any) -> str:
    label = take(record, "id", str)
    match = re.fullmatch(r"Step \d+: (.*)", label, re.DOTALL)
    if match is None:
        raise BadRecord("bad_id", f"the field 'id' holds {label[:60]!r}, expected 'Step N: <query>'")
    return match[1]


def _turns(record: Any) -> tuple[Turn, ...]:
    turns = tuple(_turn(*entry) for entry in items(record, "conversations"))
    if len(turns) < 2 or turns[-1].role != "assistant":
        raise BadRecord("no_target", "the field 'conversations' doesn't end with an assistant turn after others")
    return turns


def _turn(place: str, turn: Any) -> Turn:
    try:
        role = check_role(take(turn, "from", str, place))
    except BadRecord:
        raise
    except UserError as error:
        raise BadRecord("unknown_role", f"the field '{place}.from': {error}") from None
    return Turn(role, take(turn, "value", str, place))
