"""The experiment, in three phases. It goes on where it stopped: what is in its folder isn't done again.

1. The expert is fine-tuned, and arm A's students, on the same recorded traces.
2. The gate: where it fails, the experiment ends with its table.
3. All other arms; every model is judged; the report is written.
"""

from rich.console import Console
from rich.table import Table

from cluster.demos.console import StepConsole
from cluster.demos.runner import DemoCluster, DemoRun, overrides
from cluster.experiment.arms import ARMS, EXPERT, GENERALIST
from cluster.experiment.gate import SHUFFLED, gate
from cluster.experiment.judging import STUDENT, act, judge, serve
from cluster.experiment.settings import ExperimentSettings
from cluster.experiment.training import check, expert_settings, student_settings, train
from cluster.experiment.workspace import UNSEEN, Workspace, new_manifest, open_workspace, student_name
from cluster.local.local_cluster import local_cluster
from cluster.local.settings import ClusterSettings
from common.errors import UserError
from eval.compare.manifest import GateCheck


def dry_run(settings: ExperimentSettings) -> int:
    """Validate every training and say what all of it takes; nothing is written."""
    console = Console()
    check(settings, Workspace(settings, new_manifest(settings)))
    console.print(cost_of(settings), soft_wrap=True)
    return 0


def run_experiment(settings: ExperimentSettings) -> int:
    """Run what is not done yet. 1 where the gate failed, or a cell did. Raises UserError where nothing can go on."""
    workspace = open_workspace(settings)
    run = DemoRun(workspace.folder, StepConsole(steps=5))
    check(settings, workspace)
    run.console.print(cost_of(settings), soft_wrap=True)
    make_data(workspace, run)
    with local_cluster(ClusterSettings()) as info:
        passed = _run(workspace, DemoCluster(run, info))
    run.command("eval", "compare", workspace.folder, "--output", workspace.folder / "report")
    run.console.end(f"The report is {workspace.folder / 'report' / 'report.html'}")
    return 0 if passed and all(cell.status == "done" for cell in workspace.manifest.cells) else 1


def _run(workspace: Workspace, cluster: DemoCluster) -> bool:
    """The three phases; returns whether the gate was passed."""
    settings, console = workspace.settings, cluster.run.console
    others = [arm for arm in settings.arms if arm != "A"]
    with console.step("Training the expert, and arm A on the same traces", 300):
        if not train(workspace, cluster, EXPERT, expert_settings(workspace)):
            raise UserError(f"there is no expert: {workspace.cell(EXPERT).reason}")
        baselines = _train_arm(workspace, cluster, "A", "")
    with console.step("Judging the expert, its base, the untuned student and arm A", 300):
        url = serve(workspace, cluster, baselines)
        for name in (EXPERT, GENERALIST, STUDENT, *baselines):
            judge(workspace, cluster, name, url)
        act(workspace, cluster, EXPERT, url, SHUFFLED, [UNSEEN], shuffled=True)
    workspace.set_gate(gate(workspace))
    console.print(_gate_table(workspace.manifest.gate))
    if not all(found.passed for found in workspace.manifest.gate):
        console.print("The gate failed: no comparison of students could answer the question, so none is made.")
        return False
    with console.step(f"Training the arms {', '.join(others)}", 600 * len(others)):
        arms = sorted(others, key=lambda arm: ARMS[arm].replays is not None)
        students = [name for arm in arms for name in _train_arm(workspace, cluster, arm, url)]
    with console.step("Judging them", 600):
        url = serve(workspace, cluster, [*baselines, *students])
        for name in students:
            judge(workspace, cluster, name, url)
    return True


def make_data(workspace: Workspace, run: DemoRun) -> None:
    """Generate the world and convert what training and evaluation read, unless that is done."""
    settings = workspace.settings
    with run.console.step("Generating the tool world", 15):
        if not (workspace.world / "world.json").exists():
            run.command("common.world", workspace.world, *overrides(settings.world.model_dump(exclude_unset=True)))
        for split in ("train", *settings.evaluation.splits):
            if not workspace.rows(split).exists():
                run.command("common.toolbench", "convert", workspace.world / f"{split}.json", workspace.rows(split))


def cost_of(settings: ExperimentSettings) -> str:
    """What all of it takes, in trainings, rows and episodes."""
    evaluation, seeds = settings.evaluation, len(settings.seeds)
    trained = check(settings, Workspace(settings, new_manifest(settings)))
    rows = sum((each.max_steps or 0) * each.batch_size for each in trained.values())
    live = sum(ARMS[arm].teacher is not None and ARMS[arm].replays is None for arm in settings.arms) * seeds
    places = (len(settings.arms) * seeds + 3) * len(evaluation.splits)
    return (
        f"{len(trained)} trainings on {rows:,} rows in all, {live} of them with a live teacher. "
        f"{places // len(evaluation.splits)} models, each on {len(evaluation.splits)} splits: "
        f"{places * evaluation.rows:,} rows scored and written, {places * evaluation.tasks:,} episodes."
    )


def _train_arm(workspace: Workspace, cluster: DemoCluster, arm: str, url: str) -> list[str]:
    """Train an arm's students; returns those that are there."""
    done = []
    for seed in workspace.settings.seeds:
        name = student_name(arm, seed)
        if train(workspace, cluster, name, student_settings(workspace, arm, seed, f"{url}/teacher")):
            done.append(name)
    return done


def _gate_table(checks: list[GateCheck]) -> Table:
    table = Table("check", "seed", "found", "expected", "", title="The gate")
    for each in checks:
        found = "not measured" if each.value is None else f"{each.value:.3f}"
        table.add_row(
            each.check, str(each.seed), found, each.expected, "passed" if each.passed else "[red]FAILED[/red]"
        )
    return table
