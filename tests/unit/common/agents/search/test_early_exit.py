"""Early exit: who decides when, what the agent is told, who goes on, and the figures."""

import pytest

from common.agents.environment import InfrastructureFailure
from common.agents.policy import BoundReached
from common.agents.search.early_exit import GO_ON, MAY_EXIT, EarlyExit, exit_figures, observed_progress, redundant_steps
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

EXIT = call("{}", "no use", "Exit")


def told(policy: ScriptedPolicy) -> list[bool]:
    """Of each prompt, whether its last turn says that the agent may exit."""
    return [turns[-1] == MAY_EXIT for turns, _ in policy.asked]


def test_an_agent_that_is_told_may_exit_and_its_exit_is_no_step():
    policy, environment = ScriptedPolicy(call("1"), EXIT), ScriptedEnvironment()
    outcome = run(EarlyExit(intrinsic=True)(policy, environment, OPENING, SAMPLING))
    assert (outcome.stop, environment.counts.runs, told(policy)) == ("exit", ["1"], [True, True])
    assert MAY_EXIT not in policy.prompts[1][:-1]
    assert [step.said_before for step in outcome.steps] == [(MAY_EXIT,)]


def test_an_agent_that_is_not_told_calls_a_function_that_does_not_exist():
    outcome = run(EarlyExit()(ScriptedPolicy(EXIT, GIVE_UP), ScriptedEnvironment(), OPENING, SAMPLING))
    assert (outcome.stop, outcome.steps[0].observation.status) == ("gave_up", Status.NO_SUCH_FUNCTION)


@pytest.mark.parametrize(
    ("verdicts", "steps"),
    [
        (["STOP: it repeats itself"], 2),
        (["continue, it may stop being stuck", "Stop."], 4),
        (["Thought: maybe", "", "CONTINUE"], 7),
    ],
)
def test_a_verifier_is_asked_every_few_steps_and_ends_it(verdicts: list[str], steps: int):
    policy, verifier = ScriptedPolicy(then=call("1")), ScriptedPolicy(*verdicts)
    search = EarlyExit(max_steps=7, extrinsic=True, every=2, verifier=verifier)
    outcome = run(search(policy, ScriptedEnvironment(), OPENING, SAMPLING))
    assert (outcome.stop, len(outcome.steps)) == ("exit" if steps < 7 else "max_steps", steps)
    assert [(len(prompt), prompt[-1]) for prompt in verifier.prompts] == [
        (4 * number + 1, GO_ON) for number in range(1, len(verdicts) + 1)
    ]
    assert not any(told(policy))


def test_without_a_verifier_the_policy_verifies_itself():
    policy = ScriptedPolicy(call("1"), "STOP")
    outcome = run(EarlyExit(extrinsic=True, every=1)(policy, ScriptedEnvironment(), OPENING, SAMPLING))
    assert (outcome.stop, [sampling.temperature for _, sampling in policy.asked]) == ("exit", [0.5, 0])


def test_with_both_the_verifiers_advice_is_what_lets_the_agent_exit():
    policy, verifier = ScriptedPolicy(EXIT, call("2"), call("3"), EXIT), ScriptedPolicy("CONTINUE", "STOP")
    search = EarlyExit(intrinsic=True, extrinsic=True, every=1, verifier=verifier)
    outcome = run(search(policy, ScriptedEnvironment(), OPENING, SAMPLING))
    assert (outcome.stop, told(policy), len(verifier.asked)) == ("exit", [False, False, True, True], 2)


def test_a_helper_goes_on_from_the_state_that_the_agent_left():
    policy, helper = ScriptedPolicy(call("1"), EXIT), ScriptedPolicy(call("2"), answer("there"), provenance="teacher")
    environment = ScriptedEnvironment()
    outcome = run(EarlyExit(intrinsic=True, helper=helper)(policy, environment, OPENING, SAMPLING))
    assert (outcome.stop, environment.state[:2]) == ("finished", ["1", "2"])
    assert [turn.content for turn in helper.prompts[0]] == [call("1"), "saw 1"]
    assert len(outcome.steps) == 3


@pytest.mark.parametrize(
    ("script", "stop", "helped"),
    [
        ([call("1")] * 4, "max_steps", 0),
        ([GIVE_UP], "gave_up", 0),
        ([BoundReached("timeout")], "timeout", 0),
        ([call("1"), EXIT], "max_steps", 3),
    ],
)
def test_only_an_exit_is_handed_on_and_all_steps_count(script: list[str | Exception], stop: str, helped: int):
    helper = ScriptedPolicy(then=call("2"))
    search = EarlyExit(max_steps=4, intrinsic=True, helper=helper)
    assert run(search(ScriptedPolicy(*script), ScriptedEnvironment(), OPENING, SAMPLING)).stop == stop
    assert len(helper.asked) == helped


def test_what_breaks_comes_through():
    environment = ScriptedEnvironment(world({"1": InfrastructureFailure("gone")}))
    with pytest.raises(InfrastructureFailure):
        run(EarlyExit(intrinsic=True)(ScriptedPolicy(call("1")), environment, OPENING, SAMPLING))


@pytest.mark.parametrize(
    ("progress", "steps"),
    [([], 0), ([0, 0], 2), ([0, 0.5, 0.5, 0.5], 2), ([0.5, 0.2, 0.5], 2), ([0.2, 0.1, 0.4], 0)],
)
def test_steps_behind_the_last_progress_are_redundant(progress: list[float], steps: int):
    assert redundant_steps(progress) == steps


def test_figures_are_means_of_early_exit_against_none():
    figures = exit_figures([([0.5, 0.5], [0.5, 0.5, 0.5, 1.0]), ([], [0.0, 0.0])])
    assert (figures.steps, figures.saved_steps, figures.redundant_steps) == (1, 2, 0.5)
    assert (figures.redundant_steps_without, figures.lost_progress) == (1, 0.25)


def test_what_was_seen_before_or_failed_is_no_progress():
    answers = world({"x": Observation("no", Status.NOT_FOUND)})
    policy = ScriptedPolicy(call("1"), call("1"), call("x"), call("2"), answer("there"))
    outcome = run(EarlyExit()(policy, ScriptedEnvironment(answers), OPENING, SAMPLING))
    assert observed_progress(outcome.steps) == [1, 1, 1, 2, 3]
