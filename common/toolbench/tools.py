"""Of which tools the functions are that a prompt offers."""

import re
from collections import Counter
from collections.abc import Iterable

from common.toolbench.functions import Record
from common.toolbench.system_prompt import is_finish

TOOL = re.compile(r'subfunction for tool "([^"]+)"')


def tool_of(function: Record) -> str:
    """The tool of a function: ToolBench's descriptions name it; of others, what stands behind `_for_` in their name."""
    named = TOOL.search(str(function.get("description", "")))
    return named[1] if named else str(function["name"]).rpartition("_for_")[2]


def tools_of(functions: Iterable[Record]) -> list[str]:
    """The tools of the functions on offer but Finish, that with most functions first; of equal ones by name."""
    counts = Counter(tool_of(function) for function in functions if not is_finish(function))
    return sorted(counts, key=lambda tool: (-counts[tool], tool))
