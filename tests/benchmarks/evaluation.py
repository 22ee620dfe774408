"""Traces judged per minute: `eval score` through the service, against a plain loop of transformers' `generate`.

`python -m tests.benchmarks.evaluation`: the shipped student base on rows of the generated world, real Ray Serve and
real vLLM. Both score each row's recorded completion and then write one, greedily, of at most NEW_TOKENS tokens; the
base has learnt no form, so that most of what it writes is that long. The loop is what a first script does: a forward
pass for the loss and a call of `generate`, row by row, on all processors. Ours is timed as a whole, handshake, files
and intervals included; loading the model is in neither.

`loss_difference` is between the two losses over all rows, in nats per token: both judged the same thing.
"""

import os
import shutil
import tempfile
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, GenerationConfig, PreTrainedModel

from cluster.local.local_cluster import local_cluster
from cluster.local.settings import ClusterSettings
from common.render import Renderer, load_renderer
from common.toolbench.convert import convert
from common.toolbench.rows import PromptRow, read_rows
from common.world.build import build_world
from common.world.settings import WorldSettings
from eval.judging.score import score
from eval.settings import EvalSettings, GroupSettings, ServedModelSettings
from teacher_server.settings import EngineSettings
from tests.benchmarks import serving
from tests.benchmarks.report import finish
from tests.benchmarks.timing import medians
from tests.models import CPU_ENVIRONMENT
from tests.serving import ROOT

TRACES, NEW_TOKENS, LONGEST, IN_FLIGHT, REPETITIONS = 24, 64, 1024, 32, 3
ENGINE = EngineSettings(
    dtype="float32",
    max_length=LONGEST,
    max_batched_tokens=2048,
    max_running_sequences=IN_FLIGHT,
    max_top_k=8,
    kv_cache_gib=1,
    enforce_eager=True,
)
TARGETS = {
    "speedup_vs_generate": "at least 5",
    "traces_per_min": "reported",
    "generate_traces_per_min": "reported",
    "loss_difference": "at most 0.001",
}


def main() -> None:
    os.environ.update({name: value for name, value in CPU_ENVIRONMENT.items() if name != "OMP_NUM_THREADS"})
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = make_rows(folder)
        model = folder / "model"
        shutil.copytree(ROOT / "student_trainer/base_models/student", model)
        figures = measure(folder, model, rows)
    met = figures["speedup_vs_generate"] >= 5 and figures["loss_difference"] <= 0.001
    finish("evaluation", figures, TARGETS, met)


def make_rows(folder: Path) -> list[PromptRow]:
    """The rows of TRACES traces of the generated world, in `folder` too."""
    sizes = {"train_tasks": 1, "query_tasks": 0, "evaluation_tasks": TRACES, "corpus_documents": 0}
    build_world(WorldSettings.model_validate(sizes), folder / "world")
    convert(folder / "world/seen.json", folder / "seen")
    return list(read_rows(folder / "seen"))


def measure(folder: Path, model: Path, rows: list[PromptRow]) -> dict[str, float]:
    """The figures of both ways."""
    renderer = load_renderer(str(model), "toolbench", LONGEST)
    loop = GenerateLoop(model, renderer, rows)
    served = serving.teacher_settings(model, ENGINE)
    with local_cluster(ClusterSettings()) as cluster:
        [url] = serving.serve_teachers(cluster, teacher=served).values()
        settings = evaluation(folder, model, url, served.name, served.token_file)
        losses = {"service": score(settings).judgements[0].loss, "loop": loop.judge()}
        seconds = medians({"service": lambda: score(settings), "loop": loop.judge}, REPETITIONS, warm_ups=0)
    print(
        {name: round(each, 1) for name, each in seconds.items()}, "seconds for", len(rows), "rows", losses, flush=True
    )
    return {
        "speedup_vs_generate": round(seconds["loop"] / seconds["service"], 3),
        "traces_per_min": round(60 * TRACES / seconds["service"], 1),
        "generate_traces_per_min": round(60 * TRACES / seconds["loop"], 1),
        "loss_difference": round(abs(losses["service"] - losses["loop"]), 6),
    }


def evaluation(folder: Path, model: Path, url: str, name: str, token_file: Path | None) -> EvalSettings:
    """All rows, through the service at `url`."""
    return EvalSettings(
        models={"base": ServedModelSettings(url=url, model=name)},
        groups={"seen": GroupSettings(rows=folder / "seen")},
        world=folder / "world",
        tokenizer=str(model),
        output=folder / "evaluation.json",
        token_file=token_file,
        rows=10_000,
        max_length=LONGEST,
        max_new_tokens=NEW_TOKENS,
        concurrency=IN_FLIGHT,
    )


class GenerateLoop:
    """A model in this process that judges rows one by one."""

    def __init__(self, model: Path, renderer: Renderer, rows: list[PromptRow]) -> None:
        self._model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).eval()
        self._sequences = [renderer.sequence(row) for row in rows]
        self._writing = GenerationConfig(
            max_new_tokens=NEW_TOKENS,
            do_sample=False,
            eos_token_id=renderer.stop_token_ids,
            pad_token_id=renderer.stop_token_ids[0],
        )

    @torch.inference_mode()
    def judge(self) -> float:
        """Score and rewrite each row; the loss in nats per token."""
        nats, tokens = 0.0, 0
        for sequence in self._sequences:
            prompt = torch.tensor([sequence.prompt_ids])
            completion = torch.tensor([sequence.completion_ids])
            logits = self._model(torch.cat([prompt, completion], 1)).logits[0, prompt.shape[1] - 1 : -1]
            nats += float(torch.nn.functional.cross_entropy(logits.float(), completion[0], reduction="sum"))
            tokens += completion.shape[1]
            self._model.generate(prompt, attention_mask=torch.ones_like(prompt), generation_config=self._writing)
        return nats / tokens


if __name__ == "__main__":
    main()
