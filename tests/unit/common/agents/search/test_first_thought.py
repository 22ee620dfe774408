"""The first-thought prefix: two calls, the first step only, kept by question, and never for a student."""

from pathlib import Path

import pytest

from common.agents.policy import BoundReached
from common.agents.search.chain import Chain
from common.agents.search.dfsdt import Dfsdt
from common.agents.search.first_thought import FirstThought, PrefixStore
from common.agents.search.protocol import Search
from common.agents.types import Outcome
from common.errors import UserError
from common.toolbench.react import parse_step
from tests.unit.common.agents.search.scripted import (
    OPENING,
    SAMPLING,
    ScriptedEnvironment,
    ScriptedPolicy,
    answer,
    call,
    run,
)

REASONED = "It must be near.\nI look.\n\nSecond, I answer."
PREFIX = "Thought: It must be near.\nI look.\n\n"
REST = "Action: look\nAction Input: 1"


def begun(policy: ScriptedPolicy, store: PrefixStore, search: Search | None = None) -> Outcome:
    return run(FirstThought(search or Chain(), store)(policy, ScriptedEnvironment(), OPENING, SAMPLING))


def test_the_first_step_alone_continues_the_reasons_first_paragraph():
    policy, store = ScriptedPolicy(REASONED, REST, answer("there"), provenance="teacher"), PrefixStore()
    outcome = begun(policy, store)
    (reason, greedy), (first, begins), (second, plain) = policy.asked
    assert ([turn.role for turn in reason], reason[1].content) == (["system", "user"], "where is it?")
    assert (greedy.temperature, greedy.prefix, store.get("where is it?")) == (0, "", PREFIX)
    assert (first, begins.prefix, plain.prefix) == (OPENING, f"\n{PREFIX}", "")
    assert outcome.steps[0].written.text == f"\n{PREFIX}{REST}" == second[2].content
    assert parse_step(f"\n{PREFIX}{REST}").thought == "It must be near.\nI look.\n"


@pytest.mark.parametrize(
    ("response", "prefix"),
    [
        ("One.\n\nTwo.", "Thought: One.\n\n"),
        ("One.", "Thought: One.\n\n"),
        ("", "Thought: \n\n"),
        (call("1", "I look."), "Thought: I look.\n\n"),
        ("\nThought: One.\n\nTwo.", "Thought: One.\n\n"),
        ("A Thought: two", "Thought: A Thought: two\n\n"),
    ],
)
def test_the_prefix_is_the_first_paragraph_of_what_is_reasoned(response: str, prefix: str):
    store = PrefixStore()
    begun(ScriptedPolicy(response, answer("there"), provenance="teacher"), store)
    assert store.get("where is it?") == prefix


def test_a_question_is_reasoned_about_once(tmp_path: Path):
    file = tmp_path / "prefixes.jsonl"
    begun(ScriptedPolicy(REASONED, answer("there"), provenance="teacher"), PrefixStore(file))
    with file.open("a") as stream:
        stream.write('{"question": "torn')
    again = PrefixStore(file)
    policy = ScriptedPolicy(REST, answer("there"), provenance="teacher")
    assert begun(policy, again).steps[0].written.text == f"\n{PREFIX}{REST}"
    assert (again.keep("where is it?", "other"), again.keep("and now?", "new")) == (PREFIX, "new")
    assert [PrefixStore(file).get(question) for question in ("where is it?", "and now?", "torn")] == [
        PREFIX,
        "new",
        None,
    ]


def test_every_turn_drawn_for_the_first_step_begins_so():
    """The root's two calls are the first step of their paths, the two below each are not."""
    policy = ScriptedPolicy(REASONED, then=REST, provenance="teacher")
    begun(policy, PrefixStore(), Dfsdt(max_depth=4))
    assert [bool(sampling.prefix) for _, sampling in policy.asked] == [False, *[True, False, False] * 2]


def test_a_ranking_is_no_first_step():
    policy = ScriptedPolicy(REASONED, then=REST, provenance="teacher")
    begun(policy, PrefixStore(), Dfsdt(max_depth=2, ranked=True))
    rankings = [sampling.prefix for turns, sampling in policy.asked if "value-GPT" in turns[0].content]
    assert rankings == ["", ""]


def test_students_get_none():
    policy = ScriptedPolicy(REASONED)
    with pytest.raises(UserError, match="got a policy of provenance student"):
        begun(policy, PrefixStore())
    assert policy.asked == []


def test_a_bound_at_the_first_call_ends_the_episode():
    assert begun(ScriptedPolicy(BoundReached("timeout"), provenance="teacher"), PrefixStore()).stop == "timeout"


def test_a_questions_first_prefix_stays_though_two_processes_wrote_one(tmp_path: Path):
    one, other = (PrefixStore(tmp_path / "prefixes.jsonl") for _ in range(2))
    one.keep("q", "first")
    other.keep("q", "second")
    assert PrefixStore(tmp_path / "prefixes.jsonl").get("q") == "first"


@pytest.mark.parametrize("line", ["[]", '{"question": "q"}', '{"question": "q", "prefix": 1}', "nonsense"])
def test_a_file_of_another_kind_is_refused_by_its_line(tmp_path: Path, line: str):
    file = tmp_path / "prefixes.jsonl"
    file.write_text('{"question": "q", "prefix": "p"}\n' + line + "\n")
    with pytest.raises(UserError, match=r"prefixes\.jsonl, line 2, holds no prefix"):
        PrefixStore(file)
    with pytest.raises(UserError, match="can't read the prefixes"):
        PrefixStore(tmp_path)
