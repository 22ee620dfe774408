"""The whole story on a generated world: an expert teacher, live distillation, and FT against KD on unseen tools.

1. Generate a small tool world in ToolBench's formats and convert it as ToolBench's own files would be.
2. Bring up Ray with a teacher pool and a student pool.
3. Train the expert teacher: LoRA on the larger base model.
4. Deploy it behind HTTP.
5. Distil: the student learns from the live teacher's distribution.
6. Fine-tune a second student on the recorded traces alone, with the same budget.
7. Deploy the students: one base model, two adapters.
8. Judge all of them through HTTP, on seen and unseen tools.
"""

from contextlib import ExitStack
from pathlib import Path

import yaml

from cluster.demo_settings import DemoSettings, SmolLM2DemoSettings
from cluster.local import local_cluster
from cluster.settings import ClusterSettings
from cluster.stage import Stage, Workshop, application, open_workshop, served
from cluster.verdict import DISTILLED, FINE_TUNED, TEACHER, UNTRAINED, findings, print_findings
from eval.judge import Judgement
from eval.score import score, table
from eval.settings import EvalSettings, ServedModelSettings

GROUPS = ("seen", "unseen_tool", "unseen_category")


def run_demo(settings: DemoSettings) -> int:
    """Tell the story and print its table; 0 when every step ran. Raises UserError when one fails."""
    workshop = open_workshop(settings.runs, "demo", steps=8)
    step, folder = workshop.story.step, workshop.folder
    with ExitStack() as stack:
        with step("Generating a small tool world in ToolBench's formats", 15):
            make_data(workshop, settings)
        with step("Starting Ray on this machine: a head, a teacher pool, a student pool", 15):
            cluster = stack.enter_context(local_cluster(ClusterSettings()))
            stage = Stage(workshop, cluster)
        data = {"data__train": folder / "data/train", "data__validation": folder / "data/seen"}
        with step("Training the expert teacher: LoRA on the larger base model", 150):
            expert = stage.train(settings.expert, "expert", **data)
        with step("Deploying the teacher: Ray Serve and vLLM", 40):
            teacher = application(
                "teacher", served(workshop, settings, base_model(settings.expert), {"expert": expert})
            )
            url = stage.serve(teacher)
        with step("Distilling: the student learns while the teacher answers", 180):
            live = {"teacher__url": f"{url}/teacher", "teacher__token_file": workshop.token_file}
            distilled = stage.train(settings.kd, "kd", **data, **live)
        with step("Fine-tuning a second student on the recorded traces alone", 100):
            fine_tuned = stage.train(settings.ft, "ft", **data)
        with step("Deploying the students beside the teacher: one base model, two adapters", 40):
            adapters = {"kd": distilled, "ft": fine_tuned}
            students = application("student", served(workshop, settings, base_model(settings.kd), adapters))
            stage.serve(teacher, students)
        with step("Judging all of them over HTTP, on tools that training saw and tools that it didn't", 90):
            judgements = judge(workshop, evaluation(settings, workshop, url))
    report(workshop, judgements)
    return 0


def make_data(workshop: Workshop, settings: DemoSettings | SmolLM2DemoSettings) -> None:
    """Generate the world's files and convert those that training and evaluation read."""
    world = workshop.folder / "world"
    sizes = settings.world.model_dump()
    workshop.run("common.world", world, *(part for key, value in sizes.items() for part in (f"--{key}", str(value))))
    for group in ("train", *GROUPS):
        workshop.run("common.toolbench", "convert", world / f"{group}.json", workshop.folder / "data" / group)


def base_model(config: Path) -> Path:
    """Folder of the base model that the training of `config` starts from."""
    return Path(yaml.safe_load(config.read_text())["student"]["model"]).resolve()


def evaluation(settings: DemoSettings, workshop: Workshop, url: str) -> EvalSettings:
    """Teacher and students on every group of rows."""
    places = {
        UNTRAINED: ("student", "base"),
        FINE_TUNED: ("student", "ft"),
        DISTILLED: ("student", "kd"),
        TEACHER: ("teacher", "expert"),
    }
    return EvalSettings(
        models={
            name: ServedModelSettings(url=f"{url}/{prefix}", model=model) for name, (prefix, model) in places.items()
        },
        groups={group: workshop.folder / "data" / group for group in GROUPS},
        tokenizer=str(base_model(settings.kd)),
        output=workshop.folder / "evaluation.json",
        token_file=workshop.token_file,
        rows=settings.evaluation_rows,
        max_length=settings.engine.max_length,
        max_new_tokens=settings.max_new_tokens,
    )


def judge(workshop: Workshop, settings: EvalSettings) -> list[Judgement]:
    """Do what `python -m eval score` does with these settings."""
    file = workshop.folder / "eval.yaml"
    file.write_text(yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False))
    workshop.say_command(["python", "-m", "eval", "score", str(file)])
    return score(settings)


def report(workshop: Workshop, judgements: list[Judgement]) -> None:
    """The table, what it says, and where everything is."""
    workshop.story.console.print(table(judgements))
    print_findings(workshop.story.console, findings(judgements))
    workshop.story.end(f"Everything it made is in {workshop.folder}")
