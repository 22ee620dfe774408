"""CoT@n: one chain, several until one answers, and each way in which a chain ends."""

import pytest

from common.agents.environment import InfrastructureFailure
from common.agents.policy import BoundReached
from common.agents.search.chain import Chain
from common.agents.types import Observation, Status
from tests.unit.common.agents.search.scripted import (
    GIVE_UP,
    OPENING,
    SAMPLING,
    ScriptedEnvironment,
    ScriptedPolicy,
    answer,
    call,
    run,
    world,
)


def test_one_chain_moves_its_own_environment_on_and_reads_what_it_world():
    policy, environment = ScriptedPolicy(call("1", "hm"), answer("there")), ScriptedEnvironment()
    outcome = run(Chain()(policy, environment, OPENING, SAMPLING))
    assert (outcome.stop, [step.observation.status for step in outcome.steps]) == ("finished", [0, 3])
    assert [turn.content for turn in policy.prompts[1]] == [call("1", "hm"), "saw 1"]
    assert (environment.state[0], environment.counts.made, environment.open) == ("1", 0, True)


@pytest.mark.parametrize(
    ("script", "stop", "turns"),
    [
        ([GIVE_UP], "gave_up", 1),
        ([call("1"), BoundReached("max_tokens")], "max_tokens", 1),
        ([BoundReached("max_length")], "max_length", 0),
        (["no call at all", call("1"), call("1")], "max_steps", 3),
    ],
)
def test_a_chain_ends_by_its_agent_or_by_a_bound(script: list[str | Exception], stop: str, turns: int):
    outcome = run(Chain(max_steps=3)(ScriptedPolicy(*script), ScriptedEnvironment(), OPENING, SAMPLING))
    assert (outcome.stop, len(outcome.steps)) == (stop, turns)


def test_what_is_no_call_is_answered_by_what_is_missing():
    policy = ScriptedPolicy("I think so", GIVE_UP)
    outcome = run(Chain()(policy, ScriptedEnvironment(), OPENING, SAMPLING))
    assert outcome.steps[0].action is None
    assert "'Thought:' is missing" in policy.prompts[1][1].content


def test_chains_are_independent_and_the_first_answer_ends_them():
    policy = ScriptedPolicy(call("1"), GIVE_UP, "garbage", call("2"), answer("there"), answer("never asked for"))
    environment = ScriptedEnvironment()
    outcome = run(Chain(tries=4, max_steps=2)(policy, environment, OPENING, SAMPLING))
    assert (outcome.stop, len(outcome.steps), len(policy.asked)) == ("finished", 1, 5)
    assert [len(prompt) for prompt in policy.prompts] == [0, 2, 0, 2, 0]
    assert (environment.state, environment.counts.made, environment.only_forks_are_closed) == ([], 3, True)
    assert len({sampling.seed for _, sampling in policy.asked}) == 5


def test_equal_seeds_ask_for_equal_turns():
    def seeds(tries: int) -> list[int]:
        policy = ScriptedPolicy(then=call("1"))
        run(Chain(tries, max_steps=2)(policy, ScriptedEnvironment(), OPENING, SAMPLING))
        return [sampling.seed for _, sampling in policy.asked]

    assert seeds(2) == seeds(2) == seeds(3)[:4]


@pytest.mark.parametrize(("bound", "tried"), [("timeout", 1), ("max_queries", 1), ("max_length", 2), ("max_steps", 2)])
def test_bounds_of_the_whole_episode_end_all_chains(bound: str, tried: int):
    first = [call("1")] if bound == "max_steps" else [BoundReached(bound)]
    policy = ScriptedPolicy(*first, answer("there"))
    outcome = run(Chain(tries=2, max_steps=1)(policy, ScriptedEnvironment(), OPENING, SAMPLING))
    assert (len(policy.asked), outcome.stop) == (tried, "finished" if tried == 2 else bound)


def test_a_failure_that_is_not_the_agents_comes_through_and_closes_forks():
    environment = ScriptedEnvironment(world({"1": InfrastructureFailure("the tool's host is gone")}))
    with pytest.raises(InfrastructureFailure, match="host is gone"):
        run(Chain(tries=2)(ScriptedPolicy(call("1")), environment, OPENING, SAMPLING))
    assert environment.only_forks_are_closed


def test_an_observation_that_errs_is_the_agents_to_read():
    answers = world({"1": Observation("no such place", Status.ERROR_IN_MESSAGE)})
    policy = ScriptedPolicy(call("1"), answer("nowhere"))
    assert run(Chain()(policy, ScriptedEnvironment(answers), OPENING, SAMPLING)).stop == "finished"
    assert policy.prompts[1][1].content == "no such place"
