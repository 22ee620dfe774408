"""DFSDT's ranked variant: candidates compared in pairs, both ways round."""

from common.agents.policy import BoundReached
from tests.unit.common.agents.search.scripted import ANSWERED, GIVE_UP, ScriptedPolicy, answer, call
from tests.unit.common.agents.search.trees import THERE, nodes, search


def test_the_ranked_variant_asks_for_all_children_and_visits_the_best_first():
    """Worked out from `rank_candidate.py`: the second candidate wins both ways round, 1 point to 0, and goes first; its
    one child answers. Two queries for candidates, two for the ranking, two below the winner, two to rank those."""
    policy = ScriptedPolicy(call("1", "left"), call("2", "right"), answer("there"), call("3"))
    ranker = ScriptedPolicy("B", " It is a", "A", "b", provenance="teacher")
    outcome, tree = search(policy, ranked=True, ranker=ranker)
    assert [node[2:] for node in nodes(tree["tree"]["tree"]) if node[1] == "Action Input"] == [
        ("", None, False, True, 0),
        ("1", 0, False, False, 0),
        ("2", 0, False, True, 1),
        (THERE, 3, False, True, 2),
        ("3", 0, False, False, 0),
    ]
    assert (tree["answer_generation"]["query_count"], tree["answer_generation"]["total_tokens"]) == (8, 96)
    assert (outcome.stop, len(outcome.steps), tree["forward_args"]["with_filter"]) == ("finished", 2, True)
    system, user = ranker.asked[2][0]
    assert user.content == '\nTell me which candidate is better in ONE Word: "A" or "B":'
    before = trace("Thought: right", "Action: look", "Action Input: 2", "Observation: saw 2")
    first = trace("Action: Finish", f"Action Input: {THERE}", f"Observation: {ANSWERED}")
    assert "{{TASK_DESCRIPTION}}\nlook around.\n{{END_TASK_DESCRIPTION}}" in system.content
    assert f"following things:\n{before}\nAfter" in system.content
    assert f"{{{{CANDIDATE_A_START}}}}\n{first}\n{{" in system.content
    assert "following things:\nNone\nAfter" in ranker.asked[0][0][0].content


def trace(*lines: str) -> str:
    return "".join(f"step_{number}: {line}\n\n" for number, line in enumerate(lines, start=1))


def test_candidates_that_are_equal_keep_their_order_and_the_policy_itself_may_rank():
    policy = ScriptedPolicy(call("1"), call("2"), "A", "A", answer("there"), call("3"), "a", "b")
    _, tree = search(policy, ranked=True)
    assert [(node[2], node[6]) for node in nodes(tree["tree"]["tree"]) if node[6]] == [("1", 1), (THERE, 2)]


def test_giving_up_in_the_ranked_variant_marks_the_call_above_as_finished():
    """As the source does where it goes back past a call; without ranking, only answers mark."""
    below = [GIVE_UP, call("3"), *"AB", answer("there"), call("4"), *"AB"]
    policy = ScriptedPolicy(call("1"), call("2"), *"AB", *below)
    _, tree = search(policy, ranked=True)
    ends = [node for node in nodes(tree["tree"]["tree"]) if node[1] == "Action Input"]
    assert [(node[2], node[5]) for node in ends if node[2] in ("1", "3")] == [("1", True), ("3", False)]
    _, tree = search(ScriptedPolicy(call("1"), call("2"), answer("there")), ranked=True, children=1)
    assert [node[5] for node in nodes(tree["tree"]["tree"]) if node[1] == "Action Input"] == [False, True, True, True]


def test_a_sibling_whose_prompt_is_too_long_leaves_those_before_it():
    outcome, _ = search(ScriptedPolicy(answer("there"), BoundReached("max_length")), ranked=True)
    assert (outcome.stop, len(outcome.steps)) == ("finished", 1)
