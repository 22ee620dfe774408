"""The table of a rollout: what is solved where episodes were cut off, or can't be judged."""

from dataclasses import replace

import pytest

from common.agents.types import StopReason, Trajectory
from eval.rollouts.summary import Prices, summarize

Ended = tuple[StopReason, bool | None]
EPISODE = Trajectory("a/0", "a", "q", "seen", (), (), "finished", None, None, "student", 1.0, 1, 1, 1)


@pytest.mark.parametrize(
    ("ended", "solved"),
    [
        ([("finished", True), ("finished", False), ("max_steps", None), ("gave_up", None)], 0.25),
        ([("max_steps", None), ("timeout", None)], 0.0),
        ([("finished", None), ("max_steps", None)], None),
        ([("finished", None)], None),
    ],
)
def test_cut_off_episodes_are_not_solved_and_unjudged_ones_are_unknown(ended: list[Ended], solved: float | None):
    [group] = summarize([replace(EPISODE, stop=stop, solved=judged) for stop, judged in ended], Prices())
    assert group.solved == solved
