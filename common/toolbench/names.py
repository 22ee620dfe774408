"""ToolBench's names: how a tool's, an API's and a parameter's own name becomes the name that prompts and calls use."""

import re

FUNCTION_NAME_LIMIT = 64
RESERVED = frozenset({"from", "class", "return", "false", "true", "id", "and"})


def standardize(name: str) -> str:
    """Lower case, anything but letters and digits to single underscores, none at the ends, `get_` before a digit.

    Chinese characters and "^" pass, as they do in ToolBench.
    """
    name = re.sub(r"[^\u4e00-\u9fa5a-zA-Z0-9^_]", "_", name)
    name = re.sub(r"_+", "_", name).lower().strip("_")
    return f"get_{name}" if name[:1].isdigit() else name


def identifier(name: str) -> str:
    """The standardized name of an API or a parameter, `is_` before a reserved word."""
    name = standardize(name)
    return f"is_{name}" if name in RESERVED else name


def function_name(api: str, tool: str) -> str:
    """The function under which a prompt offers `api` of `tool`: the last 64 characters of `{api}_for_{tool}`."""
    return f"{identifier(api)}_for_{standardize(tool)}"[-FUNCTION_NAME_LIMIT:]
