"""Whether the tool world's teacher and students differ as they should."""

from cluster.demos.findings import Finding
from common.agents.types import Trajectory
from eval.results import Judgement

UNTRAINED, FINE_TUNED, DISTILLED, TEACHER = "untrained student", "FT student", "KD student", "teacher"
SEEN, UNSEEN_TOOL = "seen", "unseen_tool"


Episodes = dict[str, list[Trajectory]]
"""What each agent did, by its name."""


def success(episodes: Episodes, agent: str, group: str) -> float:
    """The share of a group's tasks that an agent solved."""
    own = [episode for episode in episodes[agent] if episode.group == group]
    return sum(bool(episode.solved) for episode in own) / len(own)


def findings(judgements: list[Judgement], episodes: Episodes) -> list[Finding]:
    """The expectations of the demo, each with its figures."""
    by_place = {(judgement.group, judgement.model): judgement for judgement in judgements}

    def valid(model: str, group: str = SEEN) -> float:
        return by_place[group, model].valid

    def loss(model: str, group: str = SEEN) -> float:
        return by_place[group, model].loss

    return [
        Finding(f"the untrained student can't write a call: {valid(UNTRAINED):.0%} valid", valid(UNTRAINED) < 0.1),
        *(
            Finding(
                f"the {model} learnt to: {valid(model):.0%} valid, loss {loss(UNTRAINED):.2f} → {loss(model):.2f}",
                valid(model) > valid(UNTRAINED) + 0.3 and loss(model) < loss(UNTRAINED) / 2,
            )
            for model in (FINE_TUNED, DISTILLED)
        ),
        Finding(
            f"the teacher knows more than its students: loss {loss(TEACHER):.3f} against "
            f"{loss(DISTILLED):.3f} (KD) and {loss(FINE_TUNED):.3f} (FT)",
            loss(TEACHER) < min(loss(DISTILLED), loss(FINE_TUNED)),
        ),
        Finding(
            f"on unseen tools the distilled student writes more valid calls: {valid(DISTILLED, UNSEEN_TOOL):.0%} (KD) "
            f"against {valid(FINE_TUNED, UNSEEN_TOOL):.0%} (FT)",
            valid(DISTILLED, UNSEEN_TOOL) > valid(FINE_TUNED, UNSEEN_TOOL),
        ),
        Finding(
            f"on unseen tools the recorded traces surprise it less: loss {loss(DISTILLED, UNSEEN_TOOL):.3f} (KD) "
            f"against {loss(FINE_TUNED, UNSEEN_TOOL):.3f} (FT)",
            loss(DISTILLED, UNSEEN_TOOL) < loss(FINE_TUNED, UNSEEN_TOOL),
        ),
        _acting(episodes),
    ]


def _acting(episodes: Episodes) -> Finding:
    """Whether the distilled student solves more tasks of unseen tools than the fine-tuned one."""
    solved = {agent: success(episodes, agent, UNSEEN_TOOL) for agent in (DISTILLED, FINE_TUNED, TEACHER)}
    return Finding(
        f"on unseen tools it solves more tasks: {solved[DISTILLED]:.0%} (KD) against {solved[FINE_TUNED]:.0%} (FT), "
        f"{solved[TEACHER]:.0%} (teacher)",
        solved[DISTILLED] > solved[FINE_TUNED],
    )
