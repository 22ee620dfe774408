"""A whole training step on a CPU beside TRL's `ServerDistillationTrainer`: forward, backward, clipping, AdamW.

`python -m tests.benchmarks.step_cpu`. Both train the same random Llama with the same LoRA on the same token ids, with
the same 64 entries per position from a teacher whose answers are there at once: float32, one thread, no checkpointing,
in turns; seconds are the CPU's. TRL's is its own trainer, from its wheel in a folder of its own, made as a user makes
it; it is handed the ready batch, in place of what it would generate, and the lists that its client would have parsed.
All sequences are equally long, so neither side pads. The losses of the first steps must agree: both do one thing.

What each does that the other does not: ours runs the head over completions alone, a chunk at a time, and finds its
gradient on the way; TRL's computes the logits of every position and a softmax of all completions, and turns lists into
arrays. Ours takes its dozen metrics and looks for weights without gradient; TRL's logs outside of what is timed here.

The less of a model its head is, the less there is to gain: both figures stand beside the head's share of its weights.
"""

import contextlib
import json
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM
from transformers.utils.logging import disable_progress_bar

from common.sequences import Sequence
from common.wire import TeacherAnswer
from student_trainer.data.plan import Example, Key, StepExamples, StepPlan
from student_trainer.distributed.process_group import ProcessGroup
from student_trainer.learning.step import make_learner, train_step
from student_trainer.settings import TrainSettings
from student_trainer.student_settings import LoraSettings
from tests.benchmarks.loss_cpu import make_teacher
from tests.benchmarks.report import finish
from tests.benchmarks.timing import medians, peer
from tests.benchmarks.trl_run import make_trainer
from tests.models import save_tiny_llama

TRL = "trl==1.16.0"
SEQUENCES, PROMPT, COMPLETION, TOP_K = 4, 384, 128, 64
LAYERS, HIDDEN, INNER = 4, 256, 1024
VOCABULARIES = {"speedup_vs_trl": 32000, "speedup_vs_trl_small_head": 4096}
"""With 4,096 ids the head has the share of the weights that it has in Llama-3.2-1B; with 32,000 about 2.5 times it."""
CHECKED_STEPS, REPETITIONS = 2, 7
LEARNING_RATE, MAX_GRAD_NORM, SEED = 1e-3, 1.0, 0
TARGETS = {"speedup_vs_trl": ">= 1.5", "loss_difference": "<= 1e-4"}
Step = Callable[[], float]


def main() -> None:
    torch.set_num_threads(1)
    disable_progress_bar()
    figures: dict[str, float] = {}
    with peer(TRL) as there, answering_health() as url:
        for name, vocabulary in VOCABULARIES.items() if there else ():
            with tempfile.TemporaryDirectory() as folder:
                compare(name, vocabulary, Path(folder), url, figures)
    met = bool(figures) and figures["speedup_vs_trl"] >= 1.5 and figures["loss_difference"] <= 1e-4
    finish("step_cpu", {name: float(f"{value:.3g}") for name, value in figures.items()}, TARGETS, met)


def compare(name: str, vocabulary: int, folder: Path, url: str, figures: dict[str, float]) -> None:
    """Add what a model of `vocabulary` ids gives to `figures`; the two steps take turns."""
    sizes = {"num_hidden_layers": LAYERS, "hidden_size": HIDDEN, "intermediate_size": INNER, "head_dim": HIDDEN // 4}
    model = save_tiny_llama(folder / "model", vocab_size=vocabulary, initializer_range=0.02, **sizes)
    examples = make_examples(vocabulary, SEQUENCES, PROMPT, COMPLETION, TOP_K)
    steps = {"ours": our_step(model, examples, folder), "trl": trl_step(model, examples, folder, url)}
    losses = [[step() for step in steps.values()] for _ in range(CHECKED_STEPS)]
    seconds = medians(steps, REPETITIONS, clock=time.process_time, warm_ups=0)
    tokens, suffix = SEQUENCES * (PROMPT + COMPLETION), name.removeprefix("speedup_vs_trl")
    figures[name] = seconds["trl"] / seconds["ours"]
    figures |= {f"tokens_per_s_{who}{suffix}": tokens / each for who, each in seconds.items()}
    difference = max(abs(ours - theirs) for ours, theirs in losses)
    figures["loss_difference"] = max(difference, figures.get("loss_difference", 0.0))
    print(
        f"V={vocabulary}, {head_share(model):.0%} of the weights in the head: {figures[name]:.2f} times as fast "
        f"({seconds['ours']:.2f} s, TRL {seconds['trl']:.2f} s), losses (ours, TRL) {losses}",
        flush=True,
    )


def head_share(model: Path) -> float:
    """The head's part of all weights that are multiplied with: embeddings are looked up."""
    base: Any = AutoModelForCausalLM.from_pretrained(model)
    head = base.get_output_embeddings().weight.numel()
    return head / (sum(each.numel() for each in base.parameters()) - base.get_input_embeddings().weight.numel())


def make_examples(vocabulary: int, sequences: int, prompt: int, completion: int, top_k: int) -> list[Example]:
    """Sequences of random tokens, all as long, and what a teacher says about the completion of each."""
    torch.manual_seed(SEED)
    examples = []
    for number in range(sequences):
        tokens = torch.randint(vocabulary, (prompt + completion,)).tolist()
        sequence = Sequence(str(number), tuple(tokens[:prompt]), tuple(tokens[prompt:]), "dataset", "stop")
        ids, logprobs = make_teacher(completion, vocabulary, top_k)
        tail = (1 - logprobs.exp().sum(-1)).log()
        written = torch.tensor(sequence.completion_ids, dtype=torch.int32)
        arrays: list[Any] = [each.numpy() for each in (written, logprobs[:, -1], ids.int(), logprobs, tail)]
        examples.append(Example(sequence, TeacherAnswer(sequence.id, "", "", "scored", None, *arrays), Key(0, number)))
    return examples


def our_step(model: Path, examples: list[Example], folder: Path) -> Step:
    settings = TrainSettings.model_validate(
        {
            "run_folder": folder / "run",
            "data": {"train": folder},
            "student": {"model": str(model), "dtype": "float32"},
            "teacher": {"url": "http://unused", "model": "teacher", "top_k": TOP_K},
            "loss": {"alpha": 1},
            "optimizer": {
                "learning_rate": LEARNING_RATE, "schedule": "constant", "warmup_fraction": 0,
                "max_grad_norm": MAX_GRAD_NORM,
            },
            "batch_size": SEQUENCES, "micro_batch_size": SEQUENCES, "seed": SEED,
        }
    )  # fmt: skip
    world = ProcessGroup(0, 1, torch.device("cpu"))
    learner = make_learner(settings, 1000, world)
    step = StepExamples(
        plan=StepPlan(1, 0, range(SEQUENCES)), examples=examples, unused=[], began=0.0, waited_s=0.0, stream_s=0.0
    )
    return lambda: train_step(learner, step, settings, world)["train/loss"]


def trl_step(model: Path, examples: list[Example], folder: Path, url: str) -> Step:
    """What TRL's loop does with a batch: `training_step`, clipping, optimizer, learning rate."""
    trainer = trl_trainer(model, folder, url)
    batch, answers = trl_batch(examples), trl_answers(examples)
    trainer.teacher_client.get_sequence_logprobs = lambda **_: answers
    trainer._prepare_inputs = lambda _: batch
    trainer.current_gradient_accumulation_steps = 1
    trainer.create_optimizer_and_scheduler(1000)

    def step() -> float:
        loss = trainer.training_step(trainer.model, batch, None)  # it counts tokens itself
        trainer._clip_grad_norm(trainer.model)
        trainer.optimizer.step()
        trainer.lr_scheduler.step()
        trainer.model.zero_grad()
        return float(loss)

    return step


def trl_trainer(model: Path, folder: Path, url: str) -> Any:
    lora = LoraSettings()
    return make_trainer(
        str(model),
        str(folder / "trl"),
        url,
        {"r": lora.rank, "lora_alpha": lora.alpha, "target_modules": lora.target_modules},
        loss_top_k=TOP_K,
        per_device_train_batch_size=SEQUENCES,
        learning_rate=LEARNING_RATE,
        max_grad_norm=MAX_GRAD_NORM,
        seed=SEED,
    )


def trl_batch(examples: list[Example]) -> dict[str, Tensor]:
    """The batch as its generation leaves it."""
    prompts = torch.tensor([example.sequence.prompt_ids for example in examples])
    completions = torch.tensor([example.sequence.completion_ids for example in examples])
    masks = {"prompt_mask": torch.ones_like(prompts), "completion_mask": torch.ones_like(completions)}
    return {"prompt_ids": prompts, "completion_ids": completions, **masks}


def trl_answers(examples: list[Example]) -> dict[str, list[Any]]:
    """What its client returns: nested lists, [sequence][position][entry]."""
    answers = [example.answer for example in examples if example.answer]
    return {
        "logprobs": [answer.topk_logprobs.tolist() for answer in answers],
        "logprob_token_ids": [answer.topk_ids.tolist() for answer in answers],
        "actual_logprobs": [answer.token_logprobs[:, None].tolist() for answer in answers],
    }


@contextlib.contextmanager
def answering_health() -> Iterator[str]:
    """Address of a server that says it is up and names a model: what TRL's client asks when it is made."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps({"data": [{"id": "teacher"}]}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


if __name__ == "__main__":
    main()
