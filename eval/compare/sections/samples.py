"""Episodes of two arms on the same tasks, side by side, with what differs marked: first those that only one solved."""

import re
from collections.abc import Sequence
from difflib import SequenceMatcher

from common.agents.trajectories import TrajectoryStore
from common.agents.types import Trajectory
from common.errors import UserError
from eval.compare.document import Block, Paragraph, Section, SideBySide, Text
from eval.compare.inputs import Experiment, Result
from eval.visible_text import one_line

MOST_EPISODES = 4
LONGEST = 1_500
"""Most characters of a step's text, and of an observation."""
MOST_STEPS = 12
MOST_WORDS = 1_500
"""Most words of a text that are compared; those behind them are shown, unmarked."""


def section(experiment: Experiment) -> Section:
    """A few tasks of the primary comparison's arms, or of the first two models with episodes."""
    pair = _pair(experiment)
    if pair is None:
        return Section("Episodes side by side", [Paragraph("No two models have episodes of the same tasks.", "note")])
    first, second, split = pair
    try:
        told = [_trajectories(experiment, result, split) for result in (first, second)]
    except UserError as error:
        return Section("Episodes side by side", [Paragraph(f"Not shown: {error}", "bad")])
    tasks = _telling(*told)
    names = f"{first.cell.name} and {second.cell.name}"
    about = f"{names} on {split or 'the same tasks'}; what only one of them says is marked."
    blocks: list[Block] = [Paragraph(about, "note")]
    return Section("Episodes side by side", blocks + [_side_by_side(task, first, second, *told) for task in tasks])


def _pair(experiment: Experiment) -> tuple[Result, Result, str] | None:
    """The first two cells, of one seed, whose episodes share tasks, and the split of these."""
    primary = experiment.manifest.primary
    titles = primary.arms if primary else experiment.titles()
    acted = [result for title in titles for result in experiment.of(title) if result.episodes]
    for first in acted:
        for second in acted:
            if first.title != second.title and first.cell.seed == second.cell.seed:
                tasks = {(each.group, each.task) for each in first.episodes}
                shared = [each.group for each in second.episodes if (each.group, each.task) in tasks]
                if shared:
                    return first, second, primary.split if primary and primary.split in shared else shared[0]
    return None


def _trajectories(experiment: Experiment, result: Result, split: str) -> dict[str, Trajectory]:
    """One trajectory per task of the split, its first."""
    found: dict[str, Trajectory] = {}
    for key, folder in result.cell.episodes.items():
        for trajectory in TrajectoryStore(experiment.root / folder).read():
            if (trajectory.group or key) == split:
                found.setdefault(trajectory.task, trajectory)
    return found


def _telling(first: dict[str, Trajectory], second: dict[str, Trajectory]) -> list[str]:
    """The tasks to show: in turn those that only the first solved, only the second, both, none."""
    shared = sorted(first.keys() & second.keys())
    kinds = [(True, False), (False, True), (True, True), (False, False)]
    groups = [
        [task for task in shared if (bool(first[task].solved), bool(second[task].solved)) == kind] for kind in kinds
    ]
    turns = max(map(len, groups))
    return [group[turn] for turn in range(turns) for group in groups if turn < len(group)][:MOST_EPISODES]


def _side_by_side(
    task: str, first: Result, second: Result, ours: dict[str, Trajectory], theirs: dict[str, Trajectory]
) -> SideBySide:
    told = [transcript(each[task]) for each in (ours, theirs)]
    titles = [_title(result, each[task]) for result, each in ((first, ours), (second, theirs))]
    pieces = marked(*told)
    texts = [Text(title, each) for title, each in zip(titles, pieces, strict=True)]
    return SideBySide(f"{task}: {one_line(ours[task].query, 300)}", texts)


def _title(result: Result, trajectory: Trajectory) -> str:
    solved = {True: "solved", False: "not solved", None: "not judged"}[trajectory.solved]
    return f"{result.cell.name}: {trajectory.stop}, {solved}"


def transcript(trajectory: Trajectory) -> str:
    """What was written and observed, cut where it is long."""
    lines = []
    for step in trajectory.steps[:MOST_STEPS]:
        lines += [_cut(step.written.text.strip()), f"→ {_cut(step.observation.text.strip())}", ""]
    if len(trajectory.steps) > MOST_STEPS:
        lines.append(f"… {len(trajectory.steps) - MOST_STEPS} more steps")
    return "\n".join(lines).strip()


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} … [cut: {len(text):,} characters in all]"


def marked(first: str, second: str) -> tuple[list[tuple[str, bool]], list[tuple[str, bool]]]:
    """Both texts in pieces, each with whether the other text lacks it there; words are compared.

    Of frequent words the matcher takes note only beside others that match: a collapsed text of one word over and over
    would take minutes otherwise.
    """
    ours, theirs = _words(first), _words(second)
    left: list[tuple[str, bool]] = []
    right: list[tuple[str, bool]] = []
    compared = SequenceMatcher(None, ours[:MOST_WORDS], theirs[:MOST_WORDS])
    for tag, begin, end, other_begin, other_end in compared.get_opcodes():
        _add(left, ours[begin:end], tag != "equal")
        _add(right, theirs[other_begin:other_end], tag != "equal")
    _add(left, ours[MOST_WORDS:], differs=False)
    _add(right, theirs[MOST_WORDS:], differs=False)
    return left, right


def _words(text: str) -> list[str]:
    """The words of `text`, each with the space behind it."""
    return re.findall(r"\s+|\S+\s*", text)


def _add(pieces: list[tuple[str, bool]], words: Sequence[str], differs: bool) -> None:
    if words:
        pieces.append(("".join(words), differs))
