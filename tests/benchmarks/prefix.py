"""What reading the prefix cache brings when completions are scored: shared prompts computed once.

`python -m tests.benchmarks.prefix`: one small model behind Ray Serve twice, with and without `engine.prefix_caching`.
Scored are (traces) the steps of ToolBench's real traces, in their order, each prompt holding the steps before it, and
(samples) eight completions for one prompt each. Every repetition begins with an unused cache: its prompts begin with
another token. `max_difference` is the largest difference of a logprob between the two, of the rows' own tokens.

The data is `../shared/data` beside the repository; without it only that is said.
"""

import asyncio
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from cluster.demos.toolbench import ANSWER_TREES, whole_text
from cluster.local.local_cluster import local_cluster
from cluster.local.settings import ClusterSettings
from common.api import DistillRequest, DistillSequence
from common.errors import UserError
from common.render import Renderer
from common.sequences import Sequence
from common.teacher_client.calls import TeacherCalls
from common.toolbench.convert import convert
from common.toolbench.rows import read_rows
from common.unusable_rows import DoesNotFit
from common.wire import TeacherAnswer
from student_trainer.pretraining.settings import TokenizerSettings
from student_trainer.pretraining.tokenizer import train_tokenizer
from teacher_server.settings import EngineSettings
from tests.benchmarks import serving
from tests.benchmarks.report import finish
from tests.benchmarks.timing import medians
from tests.models import CPU_ENVIRONMENT, save_tiny_llama

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
VOCABULARY, K, LONGEST, SAMPLES, REPETITIONS, WINDOW = 1024, 64, 5120, 8, 3, 8
ENGINE = EngineSettings(
    dtype="float32", max_length=LONGEST, max_batched_tokens=LONGEST + 1, max_top_k=K, kv_cache_gib=1, enforce_eager=True
)
TARGETS = {
    "speedup_traces": "at least 2",
    "speedup_samples": "at least 2",
    "max_difference": "at most 1e-4",
    "traces_tokens_per_s": "reported",
    "samples_tokens_per_s": "reported",
}


def main() -> None:
    os.environ.update(CPU_ENVIRONMENT)
    if not DATA.is_dir():
        print(f"nothing is measured: no real traces at {DATA}")
        finish("prefix", {}, TARGETS, met=False)
        return
    with tempfile.TemporaryDirectory() as folder, local_cluster(ClusterSettings()) as cluster:
        steps = real_steps(Path(folder) / "model")
        teachers = {
            name: serving.teacher_settings(
                Path(folder) / "model", ENGINE.model_copy(update={"prefix_caching": name == "cached"})
            )
            for name in ("cached", "plain")
        }
        urls = serving.serve_teachers(cluster, **teachers)
        figures: dict[str, float] = {}
        differences = []
        for kind, sequences in {"traces": steps, "samples": samples(steps)}.items():
            measured, difference = compare(urls, kind, sequences)
            figures |= measured
            differences.append(difference)
        figures["max_difference"] = max(differences)
    met = min(figures["speedup_traces"], figures["speedup_samples"]) >= 2 and figures["max_difference"] <= 1e-4
    finish("prefix", figures, TARGETS, met)


def real_steps(model: Path) -> list[Sequence]:
    """The steps of all traces, rendered with a tokenizer trained on them; a random model for it in `model`."""
    convert(DATA / ANSWER_TREES, model.with_name("rows"), skip_bad=True)
    rows = sorted(read_rows(model.with_name("rows")), key=lambda row: (row.trace, row.step))
    settings = TokenizerSettings(vocabulary_size=VOCABULARY, most_phrases=0)  # four characters a token, as usual
    tokenizer = train_tokenizer([whole_text(row) for row in rows], settings)
    save_tiny_llama(model, vocab_size=VOCABULARY, max_position_embeddings=2 * LONGEST)
    tokenizer.save_pretrained(model)
    renderer = Renderer(tokenizer, "toolbench", LONGEST)
    steps = []
    for row in rows:
        try:
            steps.append(renderer.sequence(row))
        except DoesNotFit as error:
            print(f"left out: {error}")
    shape = [np.mean([len(part) for part in parts]) for parts in zip(*map(_parts, steps), strict=True)]
    print(
        f"{len(steps)} steps of {len({row.trace for row in rows})} traces, on average {shape[0]:.0f} tokens of prompt"
    )
    print(f"and {shape[1]:.0f} of completion")
    return steps


def samples(steps: list[Sequence]) -> list[Sequence]:
    """SAMPLES drawn completions for the first prompt of each trace, as long as the recorded one."""
    draw = np.random.default_rng(0)
    firsts = [step for step in steps if step.id.endswith("/1")]
    return [
        Sequence(
            f"{step.id}/{number}",
            step.prompt_ids,
            tuple(draw.integers(3, VOCABULARY, len(step.completion_ids)).tolist()),
            "student",
            "stop",
        )
        for step in firsts
        for number in range(SAMPLES)
    ]


def compare(urls: dict[str, str], kind: str, sequences: list[Sequence]) -> tuple[dict[str, float], float]:
    """Figures of one kind of input, and the largest difference between the two teachers' logprobs."""
    answers: dict[str, list[TeacherAnswer]] = {}
    marks = {name: iter(range(3, VOCABULARY)) for name in urls}

    def work(name: str) -> None:
        answers[name] = asyncio.run(score(urls[name], sequences, next(marks[name])))

    seconds = medians({name: lambda name=name: work(name) for name in urls}, REPETITIONS)
    tokens = sum(map(len, sequences))
    difference = max(map(_difference, answers["cached"], answers["plain"]))
    print(kind, {name: round(tokens / each) for name, each in seconds.items()}, "tokens/s", flush=True)
    figures = {
        f"speedup_{kind}": round(seconds["plain"] / seconds["cached"], 3),
        f"{kind}_tokens_per_s": round(tokens / seconds["cached"], 1),
    }
    return figures, difference


async def score(url: str, sequences: list[Sequence], mark: int) -> list[TeacherAnswer]:
    """The answers in order; WINDOW requests at a time, as a trainer asks. Each prompt begins with the token `mark`."""
    window = asyncio.Semaphore(WINDOW)
    async with TeacherCalls(url, serving.TOKEN) as teacher:

        async def ask(sequence: Sequence) -> TeacherAnswer:
            asked = DistillSequence(
                id=sequence.id,
                prompt_token_ids=[mark, *sequence.prompt_ids[1:]],
                completion_token_ids=list(sequence.completion_ids),
            )
            async with window:
                request = DistillRequest(model="teacher", top_k=K, sequences=[asked], logprob_dtype="float32")
                (answer,) = await teacher.distill(request)
            if answer.error is not None:
                raise UserError(f"{sequence.id}: {answer.error}")
            return answer

        return list(await asyncio.gather(*map(ask, sequences)))


def _difference(ours: TeacherAnswer, theirs: TeacherAnswer) -> float:
    assert np.array_equal(ours.token_ids, theirs.token_ids)
    names = ("token_logprobs", "topk_logprobs")
    return max(float(np.abs(getattr(ours, name) - getattr(theirs, name)).max()) for name in names)


def _parts(step: Sequence) -> Iterator[tuple[int, ...]]:
    yield step.prompt_ids
    yield step.completion_ids


if __name__ == "__main__":
    main()
