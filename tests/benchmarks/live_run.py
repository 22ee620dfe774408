"""How fast the live run is, with the demo's models: tokens/s, and how long the trainer waited for the teacher.

`python -m tests.benchmarks.live_run`: a teacher (larger base and a barely trained adapter) behind Ray Serve and vLLM,
one training worker on the small base, a quarter of the completions written by the teacher; both on the same cores.
"""

import tempfile
from pathlib import Path

from cluster.demos.live_checks import read_summary
from cluster.demos.runner import DemoCluster, DemoRun, application, new_run, served
from cluster.demos.settings import DemoSettings
from cluster.demos.tool_world import base_model, make_data
from cluster.local.local_cluster import local_cluster
from cluster.local.settings import ClusterSettings
from common.settings import load
from tests.benchmarks.report import finish

STEPS = 40
WORLD = {"train_tasks": 400, "evaluation_tasks": 8, "query_tasks": 0, "corpus_documents": 0}
TARGETS = {"tokens_per_s": "reported", "waited_fraction": "reported", "bytes_per_position": "reported"}


def main() -> None:
    with tempfile.TemporaryDirectory() as runs:
        settings = load(DemoSettings, "cluster/configs/demo.yaml")
        settings = settings.model_copy(update={"world": settings.world.model_copy(update=WORLD)})
        demo = new_run(Path(runs), "live-run", steps=4)
        with demo.console.step("Generating the world", 10):
            make_data(demo, settings)
        run = run_live(demo, settings)
        summary, figures = read_summary(run), {}
        figures["tokens_per_s"] = summary["tokens_per_s"]
        figures["positions_per_s"] = round(summary["positions"] / summary["seconds"], 1)
        figures["steps_per_s"] = round(summary["steps"] / summary["seconds"], 3)
        figures["waited_fraction"] = summary["waited_fraction"]
        figures["bytes_per_position"] = summary["bytes_per_position"]
    finish("live_run", figures, TARGETS, met=True)


def run_live(demo: DemoRun, settings: DemoSettings) -> Path:
    """The live run's folder."""
    step, data = demo.console.step, demo.folder / "data"
    with local_cluster(ClusterSettings()) as info:
        cluster = DemoCluster(demo, info)
        with step("Making an adapter for the teacher", 30):
            rows = {"data.train": data / "train", "data.validation": data / "seen"}
            expert = cluster.train(settings.expert, "expert", rows | {"max_steps": 5})
        with step("Deploying the teacher", 30):
            teacher = served(demo, settings, base_model(settings.expert), {"expert": expert})
            url = cluster.serve(application("teacher", teacher))
        with step(f"Distilling {STEPS} steps", 60):
            live = {"teacher.url": f"{url}/teacher", "teacher.token_file": demo.token_file, "max_steps": STEPS}
            return cluster.train(settings.kd, "kd", rows | live)


if __name__ == "__main__":
    main()
