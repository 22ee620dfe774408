"""ToolBench's system prompt: the AutoGPT text, a line per tool, and the offered functions as a Python list.

The words below, their spelling included, are the format: models were trained on them.
"""

from collections.abc import Mapping, Sequence

from common.toolbench.fields import BadRecord, items, take
from common.toolbench.functions import Record, parse_functions
from common.toolbench.names import function_name, identifier, standardize

DESCRIPTION_LIMIT = 256
TOOL_DESCRIPTION_LIMIT = 512
TYPES = {"NUMBER": "integer", "STRING": "string", "BOOLEAN": "boolean"}
FUNCTIONS_LABEL = "\nSpecifically, you have access to the following APIs: "
CALL_SENTENCE = "with a function call to actually excute your step."
TOOLS_LABEL = "You have access of the following tools:\n"
TASK_END = "\nBegin!\n"
FORMAT_LINES = " Your output should follow this format:\nThought:\nAction\nAction Input:\n"

AUTOGPT = (
    """You are AutoGPT, you can use many tools(functions) to do the following task.
First I will give you the task description, and your task start.
At each step, you need to give your thought to analyze the status now and what to do next, \
with a function call to actually excute your step.
After the call, you will get the call result, and you are now in a new state.
Then you will analyze your status now, then decide what to do next...
After many (Thought-call) pairs, you finally perform the task, then you can give your finial answer.
Remember: 
1.the state change is irreversible, you can't go back to one of the former state, \
if you want to restart the task, say "I give up and restart".
2.All the thought is short, at most in 5 sentence.
3.You can do more then one trys, so if your plan is to continusly try some conditions, \
you can do one of the conditions per try.
Let's Begin!
Task description: You should use functions to help handle the real time user querys. Remember:
1.ALWAYS call "Finish" function at the end of the task. And the final answer should contain enough information \
to show to the user,If you can't handle the task, or you find that function calls always fail\
(the function is not valid now), use function Finish->give_up_and_restart.
2.Do not use origin tool names, use only subfunctions' names.
"""
    + TOOLS_LABEL
)

FINISH: Record = {
    "name": "Finish",
    "description": "If you believe that you have obtained a result that can answer the task, please call this function "
    "to provide the final answer. Alternatively, if you recognize that you are unable to proceed with the task in the "
    "current state, call this function to restart. Remember: you must ALWAYS call this function at the end of your "
    "attempt, and the only part that will be shown to the user is the final answer, so it should contain sufficient "
    "information.",
    "parameters": {
        "type": "object",
        "properties": {
            "return_type": {"type": "string", "enum": ["give_answer", "give_up_and_restart"]},
            "final_answer": {
                "type": "string",
                "description": "The final answer you want to give the user. You should have this field if "
                '"return_type"=="give_answer"',
            },
        },
        "required": ["return_type"],
    },
}


def build_system_prompt(apis: Sequence[Record], tool_descriptions: Mapping[str, str]) -> str:
    """The system prompt that offers `apis` (entries of a query record's `api_list`), and Finish after them.

    `tool_descriptions` goes from a tool's own name to its description; a tool without one reads "None", as in
    ToolBench. Raises BadRecord when an API lacks a field.
    """
    described = {standardize(tool): text for tool, text in tool_descriptions.items()}
    tools = dict.fromkeys(standardize(take(api, "tool_name", str, "api_list")) for api in apis)
    functions = [describe_api(api, f"api_list[{index}]") for index, api in enumerate(apis)]
    return offer_functions(functions, {tool: described.get(tool, "") for tool in tools})


def offer_functions(functions: Sequence[Record], tools: Mapping[str, str]) -> str:
    """The system prompt that offers `functions` of `tools` (names and descriptions), and Finish after them."""
    lines = [f"{number}.{tool}: {_tool_line(text)}\n" for number, (tool, text) in enumerate(tools.items(), start=1)]
    return complete_system_message(AUTOGPT + "".join(lines), [*functions, FINISH])


def complete_system_message(message: str, functions: Sequence[Record]) -> str:
    """A trace's own system message with what ToolBench's training adds: the format lines and the list of functions.

    Raises BadRecord when the message is not ToolBench's.
    """
    if CALL_SENTENCE not in message:
        raise BadRecord("foreign_system_message", f"the system message lacks ToolBench's words {CALL_SENTENCE!r}")
    return f"{message.replace(CALL_SENTENCE, CALL_SENTENCE + FORMAT_LINES)}{FUNCTIONS_LABEL}{list(functions)}"


def split_system_prompt(system_prompt: str) -> tuple[str, list[Record]]:
    """The message and the functions that `complete_system_message` made it of.

    Raises BadRecord ("unreadable_apis") when there is no readable list.
    """
    functions = offered_functions(system_prompt)
    message, _, _ = system_prompt.rpartition(FUNCTIONS_LABEL)
    return message.replace(CALL_SENTENCE + FORMAT_LINES, CALL_SENTENCE), functions


def chat_system_prompt(own: str, functions: Sequence[Record]) -> str:
    """The system prompt of a chat that offers `functions`: the caller's `own` text, ToolBench's, and the list.

    Where the caller's text is ToolBench's, as its own clients send it, it stands once. Finish comes last, the caller's
    where he offers it. Raises BadRecord ("foreign_finish") for a function of that name that is another.
    """
    finish = [function for function in functions if function["name"] == FINISH["name"]]
    if finish and not is_finish(finish[0]):
        raise BadRecord("foreign_finish", "a function is named 'Finish' and has no 'return_type'; rename it")
    others = [function for function in functions if function not in finish]
    message = own if CALL_SENTENCE in own else f"{own}\n\n{AUTOGPT}" if own else AUTOGPT
    return complete_system_message(message, [*others, *(finish or [FINISH])])


def own_system_text(system_prompt: str) -> str:
    """The text of a system prompt without ToolBench's instructions and its list; lines that describe tools stay."""
    text = system_prompt.rpartition(FUNCTIONS_LABEL)[0].replace(CALL_SENTENCE + FORMAT_LINES, CALL_SENTENCE)
    own, _, lines = text.partition(AUTOGPT)
    described = any(not line.endswith(": None") for line in lines.splitlines())
    parts = own.removesuffix("\n\n"), f"{TOOLS_LABEL}{lines}".strip() if described else ""
    return "\n\n".join(part for part in parts if part)


def task_turn(query: str) -> str:
    """The first user turn as ToolBench words it."""
    return query if query.endswith(TASK_END) else f"\n{query}{TASK_END}"


def task_of(turn: str) -> str:
    """What `task_turn` was made of."""
    return turn.removeprefix("\n").removesuffix(TASK_END) if turn.endswith(TASK_END) else turn


def is_finish(function: Record) -> bool:
    """Whether this is ToolBench's Finish, which its versions describe differently."""
    return function["name"] == FINISH["name"] and "return_type" in str(function.get("parameters"))


def offered_functions(system_prompt: str) -> list[Record]:
    """The functions that a system prompt offers, read back from its list and fit for `quality.completions`.

    Raises BadRecord ("unreadable_apis") when there is no readable list: a prompt without its APIs is never used unseen.
    """
    _, found, text = system_prompt.rpartition(FUNCTIONS_LABEL)
    label = FUNCTIONS_LABEL.strip()
    if not found:
        raise BadRecord("unreadable_apis", f"the system prompt has no readable list of APIs: it lacks {label!r}")
    try:
        return parse_functions(text)
    except BadRecord as error:
        message = f"the system prompt has no readable list of APIs after {label!r}: {error}"
        raise BadRecord("unreadable_apis", message) from None


def describe_api(api: Record, inside: str) -> Record:
    """The function by which a prompt offers one API; `inside` is where its record stands, for errors.

    A quirk kept from ToolBench: optional parameters are offered only where there are required ones.
    """
    tool, own_name = standardize(take(api, "tool_name", str, inside)), take(api, "api_name", str, inside)
    name = function_name(own_name, tool)
    description = f'This is the subfunction for tool "{tool}", you can use this tool.'
    if own := take(api, "api_description", str, inside).strip():
        own = own.replace(own_name, name)[:DESCRIPTION_LIMIT]
        description += f'The description of this function is: "{own}"'
    required = [_parameter(*entry) for entry in items(api, "required_parameters", inside)]
    optional = [_parameter(*entry) for entry in items(api, "optional_parameters", inside)] if required else []
    parameters = {
        "type": "object",
        "properties": dict(required + optional),
        "required": [parameter for parameter, _ in required],
        "optional": [parameter for parameter, _ in optional],
    }
    return {"name": name, "description": description, "parameters": parameters}


def _parameter(inside: str, parameter: Record) -> tuple[str, Record]:
    kind = TYPES.get(take(parameter, "type", str, inside), "string")
    text = take(parameter, "description", str, inside)[:DESCRIPTION_LIMIT]
    shown = {"type": kind, "description": text}
    default = parameter.get("default", "")
    if str(default):
        shown["example_value"] = default
    return identifier(take(parameter, "name", str, inside)), shown


def _tool_line(description: str) -> str:
    return description[:TOOL_DESCRIPTION_LIMIT].replace("\n", "").strip() or "None"
