"""Format checks: each fails on what it is for, and on nothing else."""

from typing import Any

import pytest

from common.format_checks import FormatReport, check_completion
from common.toolbench.system_prompt import FINISH

LOOK = {"name": "look_for_a", "parameters": {"type": "object", "properties": {}, "required": ["city", "day"]}}
BARE = {"name": "list_for_a"}
OFFERED: list[dict[str, Any]] = [LOOK, BARE, FINISH]


def completion(action: str, arguments: str) -> str:
    return f"\nThought: go\nAction: {action}\nAction Input: {arguments}"


@pytest.mark.parametrize(
    ("text", "report"),
    [
        (completion("look_for_a", '{"city": "Oslo", "day": 1, "more": 2}'), (True, True, True, True)),
        (completion("list_for_a", "{}"), (True, True, True, True)),
        (
            completion("Finish", '{"return_type": "give_answer", "final_answer": "two\nlines"}'),
            (True, True, True, True),
        ),
        (completion("look_for_a", '{"city": "Oslo"}'), (True, True, True, False)),
        (completion("Finish", "{}"), (True, True, True, False)),
        (completion("look_for_b", '{"city": "Oslo", "day": 1}'), (True, False, True, False)),
        (completion("Look_for_a", "{}"), (True, False, True, False)),
        (completion("list_for_a", '["city"]'), (True, True, False, False)),
        (completion("list_for_a", "{'city': 1}"), (True, True, False, False)),
        (completion("list_for_a", '{"city": 1}\nFunction: ok'), (True, True, False, False)),
        (completion("list_for_a", "[" * 5000), (True, True, False, False)),
        (completion("list_for_a", ""), (True, True, False, False)),
        ('[{"name": "look_for_a"}]', (False, False, False, False)),
        ("", (False, False, False, False)),
    ],
)
def test_reports(text: str, report: tuple[bool, bool, bool, bool]):
    assert check_completion(text, OFFERED) == FormatReport(*report)
    assert check_completion(text, OFFERED).valid == all(report)


def test_one_of_two_functions_of_the_same_name_is_enough():
    twins = [LOOK, LOOK | {"parameters": {"required": ["city"]}}]
    assert check_completion(completion("look_for_a", '{"city": 1}'), twins).valid
