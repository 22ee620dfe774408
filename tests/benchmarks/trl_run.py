"""The peer's trainer, as a user makes it; and run as a program, a whole training of it: one JSON object in, one out.

`python -P tests/benchmarks/trl_run.py JOB.json ANSWER.json` runs in the peer's virtual environment: nothing here uses
the project. JOB names the arguments of `run`, ANSWER holds what it returns.
"""

import importlib
import json
import sys
import time
import warnings
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback


def make_trainer(model: str, folder: str, url: str, lora: dict[str, Any], train: Any = None, **options: Any) -> Any:
    """TRL's ServerDistillationTrainer for a float32 student on the CPU: forward KL with the tail, at temperature 1.

    `lora` and `options` are fields of PEFT's and of TRL's own settings.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it is experimental, and knows vLLM up to 0.31
        theirs = importlib.import_module("trl.experimental.server_distillation")
        arguments = theirs.ServerDistillationConfig(
            output_dir=folder, teacher_model_server_url=url, beta=0.0, loss_add_tail=True, temperature=1.0,
            use_cpu=True, bf16=False, gradient_checkpointing=False, optim="adamw_torch", lr_scheduler_type="constant",
            weight_decay=0.0, report_to="none", **options,
        )  # fmt: skip
        return theirs.ServerDistillationTrainer(
            model=AutoModelForCausalLM.from_pretrained(model),
            args=arguments,
            train_dataset=train,
            processing_class=AutoTokenizer.from_pretrained(model),
            peft_config=LoraConfig(**lora, lora_dropout=0.0, bias="none", task_type="CAUSAL_LM"),
        )


class Stopwatch(TrainerCallback):
    """When each step ended, and how long it generated and asked the teacher."""

    def __init__(self) -> None:
        self.ends: list[float] = []
        self.parts: dict[str, list[float]] = {"generation": [], "teacher": []}

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.ends.append(time.perf_counter())

    def timed(self, part: str, work: Callable[..., Any]) -> Callable[..., Any]:
        """`work`, once a step, whose seconds count as `part`."""

        def run(*arguments: Any, **named: Any) -> Any:
            began = time.perf_counter()
            result = work(*arguments, **named)
            self.parts[part].append(time.perf_counter() - began)
            return result

        return run


def run(
    model: str, folder: str, url: str, lora: dict[str, Any], prompts: list[list[int]], completion: int, **options: Any
) -> dict[str, list[float]]:
    """Train on `prompts`, in their order, with completions of exactly so many tokens.

    Returns the seconds of every step but the first: of all of it, and of its parts `generation` and `teacher`.
    """
    from datasets import Dataset

    torch.set_num_threads(1)
    tokenizer = AutoTokenizer.from_pretrained(model)
    rows = Dataset.from_dict({"prompt": [tokenizer.decode(prompt) for prompt in prompts]})
    lengths = {"max_completion_length": completion, "generation_kwargs": {"min_new_tokens": completion}}
    trainer = make_trainer(model, folder, url, lora, rows, **lengths, **options, disable_tqdm=True, save_strategy="no")
    watch, generate = Stopwatch(), trainer._generate_and_score_completions
    shape = (options["per_device_train_batch_size"], len(prompts[0]) + completion)

    def generated(inputs: Any) -> Any:
        batch = generate(inputs)
        made = torch.cat([batch["prompt_mask"], batch["completion_mask"]], 1)
        assert torch.equal(made, torch.ones(shape, dtype=made.dtype)), f"generated {tuple(made.shape)}, wanted {shape}"
        return batch

    trainer._generate_and_score_completions = watch.timed("generation", generated)
    client = trainer.teacher_client
    client.get_sequence_logprobs = watch.timed("teacher", client.get_sequence_logprobs)
    trainer.add_callback(watch)
    trainer.train()
    steps = [end - begin for begin, end in pairwise(watch.ends)]
    return {"step": steps} | {part: seconds[1:] for part, seconds in watch.parts.items()}


if __name__ == "__main__":
    answer = run(**json.loads(Path(sys.argv[1]).read_text()))
    Path(sys.argv[2]).write_text(json.dumps(answer))
