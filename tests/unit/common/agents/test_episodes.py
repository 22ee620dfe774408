"""Episodes: bounded in all they take, many at once, and never blamed for what infrastructure broke."""

import asyncio
from collections.abc import Sequence

import pytest

from common.agents.bounds import BoundSettings
from common.agents.episodes import Bound, Episode, EpisodeRunner, SetAside
from common.agents.policy import Sampling
from common.agents.search.chain import Chain
from common.agents.search.early_exit import EarlyExit
from common.agents.types import Status, StopReason, Task, Trajectory
from common.errors import UserError
from common.toolbench.rows import Turn
from tests.unit.common.agents.scripted import FINISH, GIVE_UP, ScriptedEnvironment, ScriptedPolicy, call
from tests.virtual_time import run


def after(count: int, last: str) -> ScriptedPolicy:
    """A policy that calls `look` so many times, then writes `last`."""

    def writes(turns: Sequence[Turn], seed: int) -> str:
        return call("look") if sum(turn.role == "function" for turn in turns) < count else last

    return ScriptedPolicy(writes)


def runner(policy: ScriptedPolicy, environment: ScriptedEnvironment | None = None, **bounds: float) -> EpisodeRunner:
    environment = environment or ScriptedEnvironment()
    settings = BoundSettings.model_validate(bounds)
    return EpisodeRunner(policy, lambda: environment, lambda bound: Chain(max_steps=5), Sampling(seed=7), settings)


def trajectory(of: EpisodeRunner) -> Trajectory:
    ended = run(of.run(Episode(Task("t", "How many?", "seen"))))
    assert isinstance(ended, Trajectory)
    return ended


def test_an_episode_is_recorded_whole():
    environment = ScriptedEnvironment()
    found = trajectory(runner(after(2, FINISH), environment))
    assert (found.episode, found.task, found.group, found.stop) == ("t/0", "t", "seen", "finished")
    assert (found.solved, found.final_answer, found.provenance) == (True, "42", "student")
    assert [step.observation.text for step in found.steps] == ["look: 1", "look: 2", ""]
    assert (found.queries, found.prompt_tokens, found.completion_tokens) == (3, 30, 6)
    assert all(step.written.token_ids == (1, 2) for step in found.steps)
    assert environment.closed == 1


@pytest.mark.parametrize(
    ("policy", "bounds", "stop", "steps"),
    [
        (after(9, FINISH), {}, "max_steps", 5),
        (after(9, FINISH), {"queries": 2}, "max_queries", 2),
        (after(9, FINISH), {"written_tokens": 5}, "max_tokens", 3),
        (after(0, GIVE_UP), {}, "gave_up", 1),
        (ScriptedPolicy(lambda turns, seed: call("look"), seconds=4), {"episode_s": 10}, "timeout", 2),
    ],
)
def test_every_bound_ends_it_by_its_name(
    policy: ScriptedPolicy, bounds: dict[str, float], stop: StopReason, steps: int
):
    found = trajectory(runner(policy, **bounds))
    assert (found.stop, len(found.steps), found.final_answer) == (stop, steps, None)


def test_a_call_that_hangs_is_observed_as_a_timeout_and_the_episode_goes_on():
    environment = ScriptedEnvironment(seconds=3600)
    found = trajectory(runner(after(2, call("look")), environment, call_s=30))
    assert [step.observation.status for step in found.steps] == [Status.TIMEOUT] * 5
    assert found.seconds == 150


def test_observations_are_cut_and_garbage_is_answered():
    policy = ScriptedPolicy(lambda turns, seed: "I would rather talk." if len(turns) < 4 else call("look" * 400))
    found = trajectory(runner(policy))
    assert found.steps[0].action is None
    assert found.steps[0].observation.status == Status.NO_SUCH_FUNCTION
    assert "'Thought:' is missing" in found.steps[0].observation.text
    assert len(found.steps[1].observation.text) == 1024 + len("...")


def test_what_infrastructure_broke_is_tried_once_more_and_set_aside_by_name(caplog: pytest.LogCaptureFixture):
    def attempts(breaks: set[str]) -> list[str]:
        environment = ScriptedEnvironment(breaks)
        broken = runner(ScriptedPolicy(lambda turns, seed: call("look")), environment)
        ended = run(broken.run(Episode(Task("t", "?"))))
        assert ended == SetAside("t/0", "look is unplugged")
        assert environment.closed == 2
        return [record.message for record in caplog.records]

    said = attempts({"look"})
    assert said == [f"episode t/0, attempt {number} of 2: look is unplugged" for number in (1, 2)]


def test_a_defect_costs_its_episode_alone_and_is_told_whole(caplog: pytest.LogCaptureFixture):
    def writes(turns: Sequence[Turn], seed: int) -> str:
        return {"one": FINISH, "two": FINISH}[turns[1].content.split()[0]]

    async def ended() -> list[Trajectory | SetAside]:
        episodes = [Episode(Task(query, query)) for query in ("broken", "one", "two")]
        return [each async for each in runner(ScriptedPolicy(writes)).run_all(episodes, 3)]

    broken, *others = sorted(run(ended()), key=lambda each: each.episode)
    assert broken == SetAside("broken/0", "KeyError: 'broken'")
    assert [isinstance(each, Trajectory) for each in others] == [True, True]
    assert [record.exc_info is not None for record in caplog.records] == [True]


def test_what_ended_beside_an_error_is_not_lost():
    found: set[str] = set()
    names = [name for number in range(10) for name in (f"{number}", f"wrong {number}")]

    def writes(turns: Sequence[Turn], seed: int) -> str:
        if "wrong" in turns[1].content:
            raise UserError("wrong key")
        return FINISH

    async def watch() -> None:
        of = runner(ScriptedPolicy(writes, seconds=1))
        async for each in of.run_all([Episode(Task(name, name)) for name in names], 20):
            found.add(each.episode)

    with pytest.raises(UserError, match="wrong key"):
        run(watch())
    assert found == {f"{number}/0" for number in range(10)}


def test_an_episode_that_broke_once_begins_anew():
    breaks = {"look"}

    def writes(turns: Sequence[Turn], seed: int) -> str:
        if len(policy.asked) > 1:
            breaks.clear()
        return call("look") if len(turns) == 2 else FINISH

    policy = ScriptedPolicy(writes)
    found = trajectory(runner(policy, ScriptedEnvironment(breaks)))
    assert (found.stop, found.queries) == ("finished", 2)
    assert policy.samplings[0] == policy.samplings[1]


def test_what_helpers_write_counts_too():
    stop = ScriptedPolicy(lambda turns, seed: "STOP")

    def search(bound: Bound) -> EarlyExit:
        return EarlyExit(5, extrinsic=True, every=1, verifier=bound(stop), helper=bound(after(0, FINISH)))

    of = EpisodeRunner(after(9, FINISH), ScriptedEnvironment, search, Sampling(seed=7), BoundSettings())
    found = trajectory(of)
    assert (found.stop, len(found.steps)) == ("finished", 2)
    assert (found.queries, found.completion_tokens) == (3, 6)


def test_hundreds_run_at_once_and_seeds_follow_from_their_ids():
    many = [Episode(Task(f"t{number}", "?"), sample) for number in range(100) for sample in range(3)]

    async def seeds(in_flight: int) -> set[int]:
        policy = ScriptedPolicy(lambda turns, seed: FINISH, seconds=1)
        of = EpisodeRunner(policy, ScriptedEnvironment, lambda bound: Chain(), Sampling(seed=7), BoundSettings())
        began = asyncio.get_running_loop().time()
        ended = {each.episode async for each in of.run_all(many, in_flight)}
        assert asyncio.get_running_loop().time() - began == 300 / in_flight
        assert ended == {episode.id for episode in many}
        return {sampling.seed for sampling in policy.samplings}

    assert len(run(seeds(300))) == 300
    assert run(seeds(300)) == run(seeds(30))
