"""Sampling and voting, and SAG: who wins, what is executed, and which state is left."""

import pytest

from common.agents.environment import InfrastructureFailure
from common.agents.policy import BoundReached
from common.agents.search.voting import Sag, SamplingAndVoting, most_similar, similarity
from common.agents.types import Action, Observation, Outcome, Status
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

GARBAGE = "I would look"
PLACES = {"x": Observation("no such place", Status.NOT_FOUND), "also 2": Observation("saw 2", Status.OK)}


def voted(*script: str | Exception, answers: int, **settings: str) -> tuple[Outcome, ScriptedEnvironment]:
    environment = ScriptedEnvironment()
    search = SamplingAndVoting(answers, max_steps=2, **settings)
    return run(search(ScriptedPolicy(*script), environment, OPENING, SAMPLING)), environment


@pytest.mark.parametrize(
    ("script", "winner"),
    [
        ([answer("a")], 0),
        ([answer("b"), answer("a"), answer(" A\n")], 1),
        ([answer("b"), answer("a"), answer("a"), answer("b")], 0),
        ([GIVE_UP, answer("b"), GARBAGE, GARBAGE, GIVE_UP], 1),
    ],
)
def test_the_answer_of_most_chains_that_answer_wins(script: list[str], winner: int):
    chains = len(script) - script.count(GARBAGE) // 2
    outcome, environment = voted(*script, answers=chains)
    assert (outcome.stop, outcome.steps[-1].written.text) == ("finished", script[winner])
    assert (environment.counts.made, environment.state, environment.only_forks_are_closed) == (chains, [], True)


def test_open_answers_are_judged_by_their_words():
    texts = ["it lies by the old mill", "nobody knows", "By the old mill it is", "the old mill"]
    outcome, _ = voted(*map(answer, texts), answers=4, form="open")
    assert outcome.steps[-1].written.text == answer(texts[0])
    assert (similarity(texts[0], texts[2]), similarity(texts[2], texts[0])) == (pytest.approx(10 / 12),) * 2
    assert (similarity("", ""), similarity("a", ""), most_similar(["a", "b"])) == (1, 0, 0)


def test_where_none_answers_the_last_chain_is_what_there_is():
    outcome, _ = voted(GIVE_UP, GARBAGE, GARBAGE, answers=2)
    assert (outcome.stop, len(outcome.steps)) == ("max_steps", 2)


def test_where_there_is_no_time_to_fork_those_vote_that_answered_before():
    class Slow(ScriptedEnvironment):
        async def fork(self) -> ScriptedEnvironment:
            if self.counts.made:
                raise BoundReached("timeout")
            return await super().fork()

    search = SamplingAndVoting(answers=2)
    outcome = run(search(ScriptedPolicy(answer("there")), Slow(), OPENING, SAMPLING))
    assert (outcome.stop, len(outcome.steps)) == ("finished", 1)


def test_a_bound_lets_those_vote_that_answered_before():
    outcome, environment = voted(answer("a"), call("1"), BoundReached("timeout"), answers=3)
    assert (outcome.stop, environment.counts.made) == ("finished", 2)


def sag(policy: ScriptedPolicy, environment: ScriptedEnvironment, candidates: int = 3, max_steps: int = 1) -> Outcome:
    outcome = run(Sag(candidates, max_steps=max_steps)(policy, environment, OPENING, SAMPLING))
    assert (environment.open, environment.only_forks_are_closed, environment.state) == (True, True, [])
    return outcome


@pytest.mark.parametrize(
    ("candidates", "winner"),
    [
        ([call("1"), call("2"), call("also 2")], 1),  # the first of the largest group, by what is observed
        ([call("1"), call("2"), call("3")], 0),  # all differ
        ([GARBAGE, call("x"), call("2")], 2),  # what is no call or fails has no vote
        ([call("x"), call("x"), call("2")], 2),
        ([answer("a"), answer("b"), answer("b")], 1),  # an answer is more than what Finish says to it
        ([call("0", name="fly"), call("2"), call("0", name="fly")], 1),
        ([GARBAGE, call("x"), GARBAGE], 0),  # none is valid: the first one's error is what there is
        ([call("x"), GARBAGE, GARBAGE], 0),
        ([call("1")], 0),
    ],
)
def test_the_most_agreed_on_candidate_is_taken(candidates: list[str], winner: int):
    policy, environment = ScriptedPolicy(*candidates), ScriptedEnvironment(world(PLACES))
    outcome = sag(policy, environment, len(candidates))
    assert [step.written.text for step in outcome.steps] == [candidates[winner]]
    assert len(environment.counts.runs) == len(candidates) - candidates.count(GARBAGE)
    [(_, sampling)] = policy.asked
    assert (sampling.n, sampling.temperature, sampling.top_p) == (len(candidates), 0.4, 0.8)


def test_each_candidate_runs_once_and_the_winners_state_goes_on():
    """An action observes all that was called in its own fork, so one that ran twice or in another's would show."""

    running = []

    def remembers(environment: ScriptedEnvironment, action: Action) -> Observation:
        running.append(environment.counts.made - len(environment.counts.closed))
        return Observation(" ".join(environment.state), Status.OK)

    policy = ScriptedPolicy(call("1"), call("2"), call("2"), call("3"), call("4"), call("4"))
    environment = ScriptedEnvironment(remembers)
    outcome = sag(policy, environment, max_steps=2)
    assert environment.counts.runs == ["1", "2", "2", "3", "4", "4"]
    assert running == [1, 2, 3, 2, 3, 4]  # the losers are closed, the winner is not
    assert [step.observation.text for step in outcome.steps] == ["2", "2 4"]
    assert [turn.content for turn in policy.prompts[1]] == [call("2"), "2"]
    assert len({sampling.seed for _, sampling in policy.asked}) == 2


def test_an_error_that_all_share_is_read_by_the_next_step():
    policy = ScriptedPolicy(GARBAGE, GARBAGE, call("x"), answer("a"), answer("a"), GIVE_UP)
    outcome = sag(policy, ScriptedEnvironment(world(PLACES)), max_steps=5)
    assert (outcome.stop, len(outcome.steps)) == ("finished", 2)
    assert "'Thought:' is missing" in policy.prompts[1][1].content


def test_giving_up_can_win():
    assert sag(ScriptedPolicy(GIVE_UP, GIVE_UP, call("1")), ScriptedEnvironment(), max_steps=5).stop == "gave_up"


def test_what_breaks_comes_through_and_closes_all_forks():
    environment = ScriptedEnvironment(world({"2": InfrastructureFailure("gone")}))
    with pytest.raises(InfrastructureFailure):
        sag(ScriptedPolicy(call("1"), call("2"), call("3")), environment)
    assert (environment.counts.made, environment.only_forks_are_closed) == (2, True)


@pytest.mark.parametrize("bound", ["max_queries", "timeout", "max_length"])
def test_a_bound_ends_it_with_the_steps_so_far(bound: str):
    policy = ScriptedPolicy(call("1"), call("1"), call("1"), BoundReached(bound))
    outcome = sag(policy, ScriptedEnvironment(), max_steps=5)
    assert (outcome.stop, len(outcome.steps)) == (bound, 1)
