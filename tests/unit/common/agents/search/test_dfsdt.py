"""DFSDT against goldens worked out by hand from ToolBench's `DFS.py` and `Tree.py`.

How they were worked out: a node is numbered (`expand_num`) when the search enters it; a call whose status is 4 is
pruned and sends the search back two calls, so that its parent gets no second child and its grandparent does; a node at
the maximum depth is pruned and sends it back one, so that its parent does; a final answer marks itself and all up to
the second Action Input above it as finished; each query counts, and the one that reaches the budget leaves no node.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from common.agents.environment import InfrastructureFailure
from common.agents.policy import BoundReached
from common.agents.search.dfsdt import Dfsdt
from common.toolbench.fields import BadRecord
from common.toolbench.rows import Turn
from common.toolbench.system_prompt import FINISH
from tests.unit.common.agents.search.scripted import (
    ANSWERED,
    GIVE_UP,
    LOOK,
    MESSAGE,
    NO_SUCH_FUNCTION,
    OPENING,
    SAMPLING,
    ScriptedEnvironment,
    ScriptedPolicy,
    answer,
    call,
    run,
    world,
)
from tests.unit.common.agents.search.trees import THERE, nodes, rows, search

UP = '{"return_type": "give_up_and_restart"}'
BEGIN = [{"role": "system", "content": MESSAGE}, {"role": "user", "content": "\nwhere is it?\nBegin!\n"}]


def different_from(candidates: str, observation: str = "") -> str:
    """ToolBench's diversity prompt, as its traces have it."""
    again = f"again, your former observation: {observation}\n" if observation else ""
    return (
        "This is not the first time you try this task, all previous trails failed.\n"
        "Before you generate my thought for this state, I will first show you your previous actions for this state, and"
        " then you must generate actions that is different from all of them. Here are some previous actions candidates:"
        f"\n{candidates}\n{again}\n"
        "Remember you are now in the intermediate state of a trail, you will first analyze the now state and previous "
        "action candidates, then make actions that is different from all the previous."
    )


def candidate(name: str, arguments: str, output: str) -> str:
    return (
        f'  {{\n    "name": "{name}",\n    "arguments": {json.dumps(arguments)},\n    "function_output": '
        f'{json.dumps(output)},\n    "mento-carlo-action-value": 0.0\n  }}'
    )


def test_golden_1_the_first_call_answers(tmp_path: Path):
    """One query: Thought, Finish and its input below the root, all marked, since the root is the Action Input above."""
    outcome, tree = search(ScriptedPolicy(answer("there", "I know")))
    common = {"is_terminal": False, "pruned": False, "finished": True, "Elo": 1000.0}
    last = common | {"depth": 3, "node_type": "Action Input", "description": THERE, "observation": ANSWERED}
    last |= {"observation_code": 3, "child_count": 0, "expand_num": 1, "io_state": {}}
    action = common | {"depth": 2, "node_type": "Action", "description": "Finish", "child_count": 1, "expand_num": 0}
    thought = common | {"depth": 1, "node_type": "Thought", "description": "I know", "child_count": 1, "expand_num": 0}
    root = common | {"depth": 0, "node_type": "Action Input", "description": "", "child_count": 1, "expand_num": 0}
    finish = {"role": "assistant", "content": "I know", "function_call": {"name": "Finish", "arguments": THERE}}
    whole = action | {"children": [last | {"children": []}]}
    assert tree == {
        "win": True,
        "tree": {
            "size": 4,
            "max_length": 4,
            "tree": root | {"io_state": {}, "children": [thought | {"children": [whole]}]},
        },
        "forward_args": {
            "single_chain_max_step": 12,
            "tree_beam_size": 2,
            "max_query_count": 200,
            "answer": 1,
            "with_filter": False,
        },
        "compare_candidates": [[thought, action, last]],
        "answer_generation": {
            "valid_data": True,
            "query_count": 1,
            "total_tokens": 12,
            "final_answer": THERE,
            "finish_type": "give_answer",
            "function": [LOOK, FINISH],
            "chain": [],
            "train_messages": [[*BEGIN, finish]],
            "query": "where is it?",
        },
    }
    assert (outcome.stop, len(outcome.steps)) == ("finished", 1)
    [row] = rows(tmp_path, tree)
    assert (row.turns, row.completion, row.query) == (OPENING, answer("there", "I know"), "where is it?")


def test_golden_2_giving_up_goes_back_two_calls_and_asks_for_something_else(tmp_path: Path):
    """Three queries: look; below it give up, which goes back past it to the root; its second child, told of look."""
    policy = ScriptedPolicy(call("1"), GIVE_UP, answer("there"))
    outcome, tree = search(policy)
    assert nodes(tree["tree"]["tree"]) == [
        (0, "Action Input", "", None, False, True, 0),
        (1, "Action", "look", None, False, False, 0),
        (2, "Action Input", "1", 0, False, False, 1),
        (3, "Action", "Finish", None, False, False, 0),
        (4, "Action Input", UP, 4, True, False, 2),
        (1, "Action", "Finish", None, False, True, 0),
        (2, "Action Input", THERE, 3, False, True, 3),
    ]
    told = different_from(f"[\n{candidate('look', '1', 'saw 1')}\n]")
    assert policy.prompts == [(), (Turn("assistant", call("1")), Turn("function", "saw 1")), (Turn("user", told),)]
    answers = tree["answer_generation"]
    finish = {"role": "assistant", "content": None, "function_call": {"name": "Finish", "arguments": THERE}}
    assert answers["train_messages"] == [[*BEGIN, {"role": "user", "content": told, "valid": False}, finish]]
    assert (answers["query_count"], tree["tree"]["size"], tree["tree"]["max_length"]) == (3, 7, 5)
    [row] = rows(tmp_path, tree)
    assert row.turns == policy.asked[2][0]
    assert outcome.steps[0].said_before == (Turn("user", told),)


def test_golden_3_the_depth_a_name_made_up_and_the_budget():
    """Depth 4 in nodes, six queries: a made-up name (nodes 1–3) is no end, its children (4–5; 4–6) are too deep; the
    root's second child (1–2) is asked for with the made-up name as it was, its own child (3–4) is too deep; the sixth
    query reaches the budget. Messages show the made-up name under ToolBench's one, and a told child's child isn't told.
    """
    policy = ScriptedPolicy(call("0", "t", name="fly"), call("2"), "hm", call("3"), call("4"), call("never seen"))
    outcome, tree = search(policy, max_depth=4, max_queries=6)
    assert nodes(tree["tree"]["tree"]) == [
        (0, "Action Input", "", None, False, False, 0),
        (1, "Thought", "t", None, False, False, 0),
        (2, "Action", "fly", None, False, False, 0),
        (3, "Action Input", "0", 1, False, False, 1),
        (4, "Action", "look", None, False, False, 0),
        (5, "Action Input", "2", 0, True, False, 2),
        (4, "Thought", "hm", None, False, False, 0),
        (5, "Action", "", None, False, False, 0),
        (6, "Action Input", "", 1, True, False, 3),
        (1, "Action", "look", None, False, False, 0),
        (2, "Action Input", "3", 0, False, False, 4),
        (3, "Action", "look", None, False, False, 0),
        (4, "Action Input", "4", 0, True, False, 5),
    ]
    fly = [
        Turn("assistant", call("0", "t", name="invalid_hallucination_function_name")),
        Turn("function", NO_SUCH_FUNCTION % "fly"),
    ]
    three = [Turn("assistant", call("3")), Turn("function", "saw 3")]
    assert [list(prompt) for prompt in policy.prompts] == [
        [],
        fly,
        [*fly, Turn("user", different_from(f"[\n{candidate('look', '2', 'saw 2')}\n]", NO_SUCH_FUNCTION % "fly"))],
        [Turn("user", different_from(f"[\n{candidate('fly', '0', NO_SUCH_FUNCTION % 'fly')}\n]"))],
        three,
        [*three, Turn("user", different_from(f"[\n{candidate('look', '4', 'saw 4')}\n]", "saw 3"))],
    ]
    answers = tree["answer_generation"]
    assert (answers["query_count"], answers["valid_data"], answers["final_answer"]) == (6, False, "")
    assert (outcome.stop, tree["win"], "train_messages" in answers) == ("max_queries", False, False)
    assert (tree["tree"]["size"], tree["tree"]["max_length"]) == (13, 7)


def test_golden_4_training_messages_keep_the_last_diversity_prompt_of_a_path(tmp_path: Path):
    """Giving up behind look 1, then behind look 3 below look 2, leads to told siblings of both: look 2, and below it
    look 4, then an answer. ToolBench's messages keep the second prompt for the answer too, which is asked without."""
    policy = ScriptedPolicy(call("1"), GIVE_UP, call("2"), call("3"), GIVE_UP, call("4"), answer("there"))
    _, tree = search(policy)
    told = Turn("user", different_from(f"[\n{candidate('look', '1', 'saw 1')}\n]"))
    told_below = Turn("user", different_from(f"[\n{candidate('look', '3', 'saw 3')}\n]", "saw 2"))
    two, four = [(Turn("assistant", call(seen)), Turn("function", f"saw {seen}")) for seen in "24"]
    assert [policy.prompts[number] for number in (2, 3, 5, 6)] == [(told,), two, (*two, told_below), (*two, *four)]
    assert [row.turns[len(OPENING) :] for row in rows(tmp_path, tree)] == [
        (told,),
        (*two, told_below),
        (*two, told_below, *four),
    ]


def test_rows_show_a_made_up_name_as_messages_do(tmp_path: Path):
    _, tree = search(ScriptedPolicy(call("0", name="fly"), answer("there")))
    first, second = rows(tmp_path, tree)
    assert first.completion == second.turns[2].content == call("0", name="invalid_hallucination_function_name")


def test_all_children_of_a_width_are_told_and_shown_to_the_next():
    policy = ScriptedPolicy(then=call("1"))
    outcome, tree = search(policy, children=3, max_depth=2)
    told = [prompt[0].content if prompt else "" for prompt in policy.prompts]
    assert [text.count('"function_output"') for text in told] == [0, 1, 2]
    assert (outcome.stop, tree["tree"]["size"]) == ("max_steps", 7)


@pytest.mark.parametrize(("turn", "levels"), [("no call at all", 4), (call("1", "t"), 4), (call("1"), 6)])
def test_an_agent_that_never_finishes_is_asked_two_calls_at_each_place_down_to_twelve_nodes(turn: str, levels: int):
    outcome, tree = search(ScriptedPolicy(then=turn))
    assert (outcome.stop, len(outcome.steps)) == ("max_steps", levels)
    assert tree["answer_generation"]["query_count"] == sum(2**level for level in range(1, levels + 1))


def test_an_answer_among_several_goes_back_two_calls():
    """With two answers wanted, the answer below look goes back past it to the root, whose next child answers too."""
    policy = ScriptedPolicy(call("1"), answer("here"), answer("there"))
    outcome, tree = search(policy, answers=2)
    assert [len(path) for path in tree["compare_candidates"]] == [4, 2]
    assert (outcome.stop, len(outcome.steps), len(policy.asked)) == ("finished", 2, 3)


def test_giving_up_right_below_the_root_ends_the_search(tmp_path: Path):
    outcome, tree = search(ScriptedPolicy(GIVE_UP))
    answers = tree["answer_generation"]
    assert (outcome.stop, tree["win"], answers["finish_type"], answers["valid_data"]) == (
        "gave_up",
        False,
        "give_up",
        True,
    )
    assert answers["final_answer"] == UP
    assert [row.completion for row in rows(tmp_path, tree)] == [GIVE_UP]


@pytest.mark.parametrize(
    ("script", "stop", "steps"),
    [
        ([call("1"), BoundReached("timeout")], "timeout", 1),
        ([BoundReached("max_tokens")], "max_tokens", 0),
        ([BoundReached("max_length")], "max_length", 0),
        ([call("1"), BoundReached("max_length"), answer("there")], "finished", 1),
        ([call("1"), GIVE_UP, BoundReached("max_tokens")], "max_tokens", 2),
    ],
)
def test_a_bound_ends_the_search_and_a_long_prompt_its_path(script: list[str | Exception], stop: str, steps: int):
    outcome, _ = search(ScriptedPolicy(*script))
    assert (outcome.stop, len(outcome.steps)) == (stop, steps)


def test_a_prompt_that_is_too_long_prunes_a_call_without_children():
    _, tree = search(ScriptedPolicy(call("1"), BoundReached("max_length"), BoundReached("max_length")))
    kept = [node[2:5] for node in nodes(tree["tree"]["tree"])]
    assert kept == [("", None, False), ("look", None, False), ("1", 0, True)]


def test_the_seed_of_a_turn_follows_from_its_place():
    def seeds(**settings: Any) -> list[int]:
        policy = ScriptedPolicy(then=call("1"))
        search(policy, max_depth=4, **settings)
        return [sampling.seed for _, sampling in policy.asked]

    assert len(set(seeds())) == 6
    assert seeds() == seeds()
    assert seeds()[:2] == seeds(children=1)


@pytest.mark.parametrize("ranker", [None, ScriptedPolicy(then="A")])
def test_what_breaks_below_comes_through_and_closes_forks(ranker: ScriptedPolicy | None):
    environment = ScriptedEnvironment(world({"2": InfrastructureFailure("gone")}))
    with pytest.raises(InfrastructureFailure):
        run(Dfsdt(ranker=ranker)(ScriptedPolicy(call("1"), call("2")), environment, OPENING, SAMPLING))
    assert environment.only_forks_are_closed


def test_a_system_prompt_without_its_functions_is_refused_before_anything_is_asked():
    policy = ScriptedPolicy()
    with pytest.raises(BadRecord, match="no readable list of APIs"):
        run(Dfsdt()(policy, ScriptedEnvironment(), [Turn("system", "be nice")], SAMPLING))
    assert policy.asked == []
