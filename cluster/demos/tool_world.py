"""The whole experiment on a generated tool world, small: expert teacher, live distillation, FT against KD.

1. Generate a small tool world in ToolBench's formats and convert it as ToolBench's own files would be.
2. Bring up Ray with a teacher pool and a student pool.
3. Train the expert teacher: LoRA on the larger base model.
4. Deploy it behind HTTP.
5. Distil: the student learns from the live teacher's distribution.
6. Fine-tune a second student on the recorded traces alone, with the same budget.
7. Deploy the students: one base model, two adapters.
8. Judge all of them through HTTP, on seen and unseen tools.
9. Let them act: the world executes their calls, and a task is solved or not.
"""

from contextlib import ExitStack
from pathlib import Path

import yaml

from cluster.demos.acting import act, show_an_episode
from cluster.demos.findings import print_findings
from cluster.demos.runner import DemoCluster, DemoRun, application, new_run, overrides, served
from cluster.demos.settings import DemoSettings, SmolLM2DemoSettings
from cluster.demos.verdict import DISTILLED, FINE_TUNED, TEACHER, UNTRAINED, findings
from cluster.local.local_cluster import local_cluster
from cluster.local.settings import ClusterSettings
from eval.results import Judgement, read_evaluation
from eval.settings import EvalSettings, GroupSettings, ServedModelSettings
from eval.splits import Split

GROUPS: tuple[Split, ...] = ("seen", "unseen_tool", "unseen_category")


def run_demo(settings: DemoSettings) -> int:
    """Run all steps and print the table; 0 when every step ran. Raises UserError when one fails."""
    run = new_run(settings.runs, "demo", steps=9)
    step, folder = run.console.step, run.folder
    with ExitStack() as stack:
        with step("Generating a small tool world in ToolBench's formats", 15):
            make_data(run, settings)
        with step("Starting Ray on this machine: a head, a teacher pool, a student pool", 15):
            cluster = DemoCluster(run, stack.enter_context(local_cluster(ClusterSettings())))
        data = {"data.train": folder / "data/train", "data.validation": folder / "data/seen"}
        with step("Training the expert teacher: LoRA on the larger base model", 150):
            expert = cluster.train(settings.expert, "expert", data)
        with step("Deploying the teacher: Ray Serve and vLLM", 40):
            teacher = application("teacher", served(run, settings, base_model(settings.expert), {"expert": expert}))
            url = cluster.serve(teacher)
        with step("Distilling: the student learns while the teacher answers", 180):
            live = {"teacher.url": f"{url}/teacher", "teacher.token_file": run.token_file}
            distilled = cluster.train(settings.kd, "kd", data | live)
        with step("Fine-tuning a second student on the recorded traces alone", 100):
            fine_tuned = cluster.train(settings.ft, "ft", data)
        with step("Deploying the students beside the teacher: one base model, two adapters", 40):
            adapters = {"kd": distilled, "ft": fine_tuned}
            students = application("student", served(run, settings, base_model(settings.kd), adapters))
            cluster.serve(teacher, students)
        with step("Judging all of them over HTTP, on tools that training saw and tools that it didn't", 90):
            judgements = judge(run, evaluation(settings, run, url))
        with step("Letting them act: the world executes their calls", 60):
            episodes = act(run, settings, url, base_model(settings.kd))
    show_an_episode(run, episodes)
    print_findings(run.console, findings(judgements, episodes))
    run.console.end(f"Everything it made is in {folder}")
    return 0


def make_data(run: DemoRun, settings: DemoSettings | SmolLM2DemoSettings) -> None:
    """Generate the world's files and convert those that training and evaluation read."""
    world = run.folder / "world"
    run.command("common.world", world, *overrides(settings.world.model_dump(exclude_unset=True)))
    for group in ("train", *GROUPS):
        run.command("common.toolbench", "convert", world / f"{group}.json", run.folder / "data" / group)


def base_model(config: Path) -> Path:
    """Folder of the base model that the training of `config` starts from."""
    return Path(yaml.safe_load(config.read_text())["student"]["model"]).resolve()


def evaluation(settings: DemoSettings, run: DemoRun, url: str) -> EvalSettings:
    """Teacher and students on every group of rows."""
    places = {
        UNTRAINED: ("student", "base"),
        FINE_TUNED: ("student", "ft"),
        DISTILLED: ("student", "kd"),
        TEACHER: ("teacher", "expert"),
    }
    return EvalSettings(
        models={
            name: ServedModelSettings(
                url=f"{url}/{prefix}", model=model, trained_by=None if name == UNTRAINED else run.folder / model
            )
            for name, (prefix, model) in places.items()
        },
        groups={group: GroupSettings(rows=run.folder / "data" / group, split=group) for group in GROUPS},
        world=run.folder / "world",
        tokenizer=str(base_model(settings.kd)),
        output=run.folder / "evaluation.json",
        token_file=run.token_file,
        rows=settings.evaluation_rows,
        max_length=settings.engine.max_length,
        max_new_tokens=settings.max_new_tokens,
    )


def judge(run: DemoRun, settings: EvalSettings) -> list[Judgement]:
    """`python -m eval score` with these settings; the figures that it wrote."""
    file = run.folder / "eval.yaml"
    file.write_text(yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False))
    run.command("eval", "score", file)
    return read_evaluation(settings.output).judgements
