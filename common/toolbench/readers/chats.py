"""Reader of chats: records `{"messages": […], "tools": […]}`, one row per turn of the assistant's.

OpenAI's fine-tuning form, TRL's, ms-swift's and TxAgent's; which forms of messages are read, `chat_messages` says. The
rules, where the forms leave them open:
- a turn whose message has `weight: 0` is history alone ("weight_zero"), and so are answers without text ("no_text") and
  turns before anything was asked ("no_question");
- a record that begins with the one before it, as samples step by step do, gives only the turns that are new
  ("repeated" where none is);
- of several calls in a last message, those behind the first are left out, since it has no result ("no_observation").
"""

from collections.abc import Iterator, Sequence
from typing import Any

from common.toolbench.conversations import Conversation, Spoken, read_conversation
from common.toolbench.fields import BadRecord, take
from common.toolbench.finish import finish_with
from common.toolbench.quarantine import Quarantine
from common.toolbench.react import render_step
from common.toolbench.readers.sources import Source
from common.toolbench.readers.txagent import from_txagent, is_txagent
from common.toolbench.rows import PromptRow, Turn
from common.toolbench.system_prompt import offered_functions, task_of

NOTHING_SAID = ("", render_step(finish_with("")).strip())


def read_chats(source: Source, quarantine: Quarantine) -> Iterator[PromptRow]:
    """The rows of the source's chats in its order, one record in memory at a time."""
    trace = 0
    before: list[Turn] = []
    for place, record in source.records(quarantine):
        try:
            conversation = _read(record)
        except BadRecord as error:
            quarantine.refuse(error, place, record)
            continue
        turns = [each.turn for each in conversation.spoken]
        known = len(before) if turns[: len(before)] == before else 0
        trace, before = trace + (known == 0), turns
        if known == len(turns):
            quarantine.leave_out("repeated", place)
        for _ in range(conversation.unanswered):
            quarantine.leave_out("no_observation", place)
        yield from _rows(conversation.spoken, known, f"{source.name}/{trace}", source.group, place, quarantine)


def _read(record: Any) -> Conversation:
    messages = take(record, "messages", list)
    tools = record.get("tools") or record.get("functions")
    if is_txagent(messages):
        messages, tools = from_txagent(messages, tools)
    conversation = read_conversation(messages, tools)
    if all(each.turn.role != "assistant" for each in conversation.spoken):
        raise BadRecord("no_target", "the field 'messages' has no turn of the assistant's")
    if tools:
        offered_functions(conversation.spoken[0].turn.content)
    return conversation


def _rows(
    spoken: Sequence[Spoken], known: int, trace: str, group: str, place: str, quarantine: Quarantine
) -> Iterator[PromptRow]:
    """A row for each turn of the assistant's from index `known` on."""
    turns = tuple(each.turn for each in spoken)
    assistants = [index for index, turn in enumerate(turns) if turn.role == "assistant"]
    for step, index in enumerate(assistants, start=1):
        if index < known:
            continue
        asked = [turn.content for turn in turns[:index] if turn.role == "user"]
        if reason := _left_out(spoken[index], asked):
            quarantine.leave_out(reason, f"{place}, turn {step} of the assistant's")
            continue
        completion = spoken[index].with_reasoning.content
        yield PromptRow(f"{trace}/{step}", task_of(asked[-1]), turns[:index], completion, trace, step, group)


def _left_out(spoken: Spoken, asked: Sequence[str]) -> str | None:
    if not spoken.trained:
        return "weight_zero"
    if spoken.turn.content.strip() in NOTHING_SAID:
        return "no_text"
    return None if asked else "no_question"
