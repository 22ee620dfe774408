"""What a report is made from: an experiment's folder, or run folders, rollouts and scores that lie about."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from common.agents.trajectories import EPISODES
from common.errors import UserError
from common.run_folder import RunFolder
from eval.compare.manifest import MANIFEST, Cell, Manifest, read_manifest
from eval.compare.runs import Run, read_run
from eval.compare.scores import Scores, read_scores, scored_models
from eval.rollouts.results import EpisodeResult, RolloutResults, read_results


@dataclass(frozen=True)
class Result:
    """A cell with all that its folders say; `problems` is what they should say and don't."""

    cell: Cell
    title: str
    """What tables call it: its arm, its role or its name."""
    run: Run | None = None
    scores: Scores = field(default_factory=Scores)
    rollouts: list[RolloutResults] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def episodes(self) -> list[EpisodeResult]:
        return [episode for rollout in self.rollouts for episode in rollout.episodes]

    @property
    def state(self) -> str:
        """What became of it, in words."""
        words = self.cell.status.replace("_", " ")
        return f"{words}: {self.cell.reason}" if self.cell.reason else words


@dataclass(frozen=True)
class Experiment:
    """A manifest with the results of its cells."""

    manifest: Manifest
    root: Path
    """What the manifest's paths are relative to."""
    results: list[Result]

    def titles(self) -> list[str]:
        """All arms, and then what is no arm, each once."""
        return list(dict.fromkeys([*self.manifest.arms, *(result.title for result in self.results)]))

    def of(self, title: str) -> list[Result]:
        """The results that tables call `title`, one per seed."""
        return [result for result in self.results if result.title == title]

    def splits(self) -> list[str]:
        """All splits that anything was judged on, in the order in which they come."""
        found = (
            [*result.scores.judgements, *(episode.group for episode in result.episodes)] for result in self.results
        )
        return list(dict.fromkeys(split for splits in found for split in splits))


def read_experiment(paths: Sequence[Path]) -> Experiment:
    """The experiment in the only folder of `paths`, or one made of the runs, rollouts and scores that they are.

    Raises UserError where a path is none of these.
    """
    for path in paths:
        if not path.exists():
            raise UserError(f"there is nothing at {path}; give folders and files that exist")
    if len(paths) == 1 and (paths[0] / MANIFEST).is_file():
        return _read(read_manifest(paths[0] / MANIFEST), paths[0])
    cells: dict[str, Cell] = {}
    for path in paths:
        for name, found in _found(path.resolve()):
            before = cells.get(name, Cell(name=name, status="done"))
            if twice := [key for key in found if getattr(before, key)]:
                raise UserError(f"got {twice[0]} of {name} twice, by {path} too; rename one of the folders")
            cells[name] = before.model_copy(update=found)
    return _read(Manifest(name="comparison", cells=list(cells.values())), Path())


def _found(path: Path) -> list[tuple[str, dict[str, object]]]:
    """What a folder or file adds to cells, by their names."""
    if (path / MANIFEST).is_file():
        raise UserError(f"{path} holds an experiment; compare it by itself")
    if (path / EPISODES).is_file():
        return [(path.name, {"episodes": {"": path}})]
    if RunFolder(path).metrics.is_file() or RunFolder(path).config.is_file():
        return [(path.name, {"run": path})]
    if path.is_file():
        return [(name, {"scores": path}) for name in scored_models(path)]
    raise UserError(
        f"{path} is neither an experiment ({MANIFEST}), a run (metrics.jsonl), a rollout ({EPISODES}) nor a file of "
        "scores; give one of these"
    )


def _read(manifest: Manifest, root: Path) -> Experiment:
    return Experiment(manifest, root, [_result(manifest, root, cell) for cell in manifest.cells])


def _result(manifest: Manifest, root: Path, cell: Cell) -> Result:
    problems: list[str] = []
    run = read_run(root / cell.run) if cell.run else None
    if run and cell.status == "done":
        problems += run.problems
    scores = read_scores(root / cell.scores, cell.name) if cell.scores else Scores()
    problems += scores.problems
    title = manifest.title_of(cell)
    rollouts = [_rollout(root / folder, title, split, problems) for split, folder in cell.episodes.items()]
    return Result(cell, title, run, scores, rollouts, problems)


def _rollout(folder: Path, title: str, split: str, problems: list[str]) -> RolloutResults:
    """The rollout in `folder`; its episodes are of their own group, or of `split` where they name none."""
    try:
        found = read_results(folder, title)
    except UserError as error:
        problems.append(f"episodes: {error}")
        return RolloutResults([])
    if not found.episodes:
        problems.append(f"{folder.name} holds no episodes")
    episodes = [each if each.group else each.model_copy(update={"group": split}) for each in found.episodes]
    return RolloutResults(episodes, found.set_aside)
