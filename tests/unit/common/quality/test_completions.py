"""Format checks: each fails on what it is for, and on nothing else."""

from typing import Any

import pytest

from common.quality.completions import (
    Agreement,
    CompletionReport,
    FormatReport,
    check_completion,
    compare_completions,
    judge_completion,
    repetition,
    share,
)
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


def report(text: str) -> CompletionReport:
    return judge_completion(text, OFFERED)


def test_labels_count_each_by_itself_and_in_their_place():
    def labels(text: str) -> tuple[bool, bool, bool]:
        found = report(text)
        return found.has_thought, found.has_action, found.has_action_input

    assert labels(completion("list_for_a", "{}")) == (True, True, True)
    assert labels("\nAction: list_for_a\nAction Input: {}") == (False, True, True)
    assert labels("\nThought: go\nAction: list_for_a") == (True, True, False)
    assert labels("\nThought: go\nAction Input: {}\nAction: list_for_a") == (True, False, True)
    assert labels("<think>\nThought: a\nAction: b\nAction Input: {}") == (False, False, False)


def test_only_a_function_that_is_named_can_be_made_up():
    assert report(completion("list_for_b", "{}")).hallucinates is True
    assert report(completion("list_for_a", "no json")).hallucinates is False
    assert report("list_for_b").hallucinates is None
    assert share(report(text).hallucinates for text in ("a", "b")) is None


@pytest.mark.parametrize(
    ("text", "is_raw"),
    [
        ('{"name": "list_for_a", "arguments": {}}', True),
        ('```json\n[{"name": "list_for_a"}]\n```', True),
        ('<think>\nhm\n</think>\n\n{"name": "cut o', True),
        ("[list_for_a()]", False),
        ("{curly} words", False),
        (completion("list_for_a", '{"city": 1}'), False),
        ('\nThought: {"a": 1}', False),
        ("", False),
    ],
)
def test_raw_json_is_told_from_steps_and_prose(text: str, is_raw: bool):
    assert report(text).is_raw_json is is_raw


def test_repetition_is_the_share_of_runs_seen_before():
    assert repetition("one two three four five") == 0
    assert repetition("a b c") == repetition("") == 0
    assert repetition("a " * 8) == 1 - 1 / 5
    assert repetition("a b c d a b c d") == 1 - 4 / 5
    assert repetition('{"a":{"a":{"a":{"a":{"a":{"a":') > 0.5


CALL = completion("look_for_a", '{"city": "Oslo", "day": 1}')
DONE = completion("Finish", '{"return_type": "give_answer", "final_answer": "2"}')
GIVEN_UP = completion("Finish", '{"return_type": "give_up_and_restart"}')


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (CALL, Agreement(True, True, True, calls=True, finishes_early=False)),
        (
            completion("look_for_a", ' {"day": 1.0,\n "city": " Oslo"}'),
            Agreement(True, False, True, calls=True, finishes_early=False),
        ),
        (
            completion("look_for_a", '{"city": "oslo", "day": 1}'),
            Agreement(True, False, False, calls=True, finishes_early=False),
        ),
        (
            completion("list_for_a", '{"city": "Oslo", "day": 1}'),
            Agreement(False, False, False, calls=True, finishes_early=False),
        ),
        (
            completion("made_up", '{"city": "Oslo", "day": 1}'),
            Agreement(False, False, False, calls=False, finishes_early=False),
        ),
        (DONE, Agreement(False, False, False, calls=False, finishes_early=True)),
        (GIVEN_UP, Agreement(False, False, False, calls=False, finishes_early=False)),
        ("{}", Agreement(False, False, False, calls=False, finishes_early=False)),
    ],
)
def test_agreement_with_a_recorded_call(written: str, expected: Agreement):
    assert compare_completions(CALL, written, OFFERED) == expected
    of_four = [expected.calls, expected.finishes_early, report(written).gives_up]
    assert sum(map(bool, of_four)) <= 1


@pytest.mark.parametrize(
    ("written", "same", "abstains"),
    [(DONE, True, True), (GIVEN_UP, True, True), (CALL, False, False), ("I am done.", False, False)],
)
def test_agreement_with_a_recorded_finish(written: str, same: bool, abstains: bool):
    assert compare_completions(DONE, written, OFFERED) == Agreement(same, abstains=abstains)


def test_what_was_recorded_badly_is_compared_with_nothing():
    assert compare_completions("I talk.", "I talk.", OFFERED) == Agreement(None)
    bad = completion("list_for_a", "no json")
    assert compare_completions(bad, bad, OFFERED) == Agreement(True, None, None, calls=True, finishes_early=False)


def test_give_up_is_a_finish_that_says_so():
    assert [report(text).gives_up for text in (GIVEN_UP, DONE, CALL, "I give up and restart")] == [
        True,
        False,
        False,
        False,
    ]


def test_a_share_of_nothing_is_no_perfect_score():
    assert share([]) is None
    assert share([None, None]) is None
    assert share([True, None, False]) == 0.5
