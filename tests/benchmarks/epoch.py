"""An epoch of ToolBench by arithmetic: a 70B teacher and 8B students as the shipped settings place them.

Nothing here was measured on GPUs. What is measured is the client's CPU; the rest stands below with its source.
"""

import yaml

from cluster.local.environment import REPOSITORY
from common.settings import load
from student_trainer.settings import TrainSettings
from teacher_server.settings import TeacherServerSettings

RUN = "student_trainer/configs/llama-3.1-8b-kd.yaml"
TEACHER = "teacher_server/configs/llama-3.1-70b.yaml"
ROWS, TOKENS = 187_542, 470e6
"""ToolBench's training file: one row per step of a trace; tokens of prompts and completions together."""
POSITIONS_PER_ROW = 250
"""Of a completion: as the arithmetic in llama-3.1-8b-kd.yaml counts them."""
SCORED_TOKENS_PER_S = 28_000
"""A 70B prefill on 8 H100. No prefix is assumed to be shared, though the API lists of one trace are."""
WEIGHTS_GIB, CACHE_KIB_PER_TOKEN = 16.4, 40
"""Of the teacher on each of its 8 GPUs: as the arithmetic in llama-3.1-70b.yaml counts them."""
MEMORY_BYTES_PER_S, MEMORY_USE = 3.35e12, 0.6
"""An H100's memory, and the part of its pace that decoding is assumed to reach: each token reads weights and cache."""
STUDENT_PARAMETERS, PASSES = 8.03e9, 3
"""LoRA with gradient checkpointing: forward, forward again, and backward through the activations; 2 FLOP each."""
GPU_FLOPS, FLOPS_USE = 989e12, 0.4
"""An H100 in bf16, and the part of it that training is assumed to reach."""


def describe_epoch(cpu_ms_per_1000_positions: float) -> dict[str, float]:
    """Print an epoch with one replica and more, and return its figures, from the client's measured CPU."""
    run, teacher = settings()
    positions, written = ROWS * POSITIONS_PER_ROW, run.completion.writer.get("teacher", 0.0)
    assert run.teacher is not None
    scored_s = TOKENS / SCORED_TOKENS_PER_S
    written_s = positions * written / decoded_tokens_per_s(teacher.engine.max_running_sequences)
    student_s = 2 * PASSES * STUDENT_PARAMETERS * TOKENS / (GPU_FLOPS * FLOPS_USE) / run.workers.count
    answer_bytes = positions * (run.teacher.top_k * (4 + 2) + 12)  # ids, float16 logprobs; token, its logprob, tail
    print(
        f"An epoch of {ROWS:,} rows, {TOKENS / 1e6:.0f} M tokens, {positions / 1e6:.1f} M positions at k = "
        f"{run.teacher.top_k}: one teacher reads for {scored_s / 3600:.1f} h and writes {written:.0%} of the "
        f"completions in {written_s / 3600:.1f} h; {run.workers.count} workers train for {student_s / 3600:.1f} h; "
        f"answers are {answer_bytes / 1e9:.1f} GB."
    )
    for replicas in (1, 2, 4):
        teacher_s = (scored_s + written_s) / replicas
        seconds = max(teacher_s, student_s)
        client_cores = positions / 1000 * cpu_ms_per_1000_positions / 1000 / seconds
        print(
            f"  {replicas} replicas of 8 GPUs: {seconds / 3600:.1f} h, trainers wait {1 - student_s / seconds:.0%}, "
            f"teachers idle {1 - teacher_s / seconds:.0%}; {ROWS / seconds:.1f} rows/s, "
            f"{answer_bytes / seconds / 1e6:.2f} MB/s, {client_cores:.3f} cores for all clients"
        )
    return {
        "epoch_teacher_h_one_replica": (scored_s + written_s) / 3600,
        "epoch_student_h": student_s / 3600,
        "epoch_client_cpu_h": positions / 1000 * cpu_ms_per_1000_positions / 3.6e6,
        "epoch_answers_gb": answer_bytes / 1e9,
    }


def decoded_tokens_per_s(sequences: int) -> float:
    """Of a replica that writes so many sequences at a time: what reading weights and cache allows."""
    cache = sequences * TOKENS / ROWS * CACHE_KIB_PER_TOKEN * 2**10
    return sequences * MEMORY_BYTES_PER_S * MEMORY_USE / (WEIGHTS_GIB * 2**30 + cache)


def settings() -> tuple[TrainSettings, TeacherServerSettings]:
    """The shipped settings of the run and of its teacher."""
    (application,) = yaml.safe_load((REPOSITORY / TEACHER).read_text())["applications"]
    return load(TrainSettings, str(REPOSITORY / RUN)), TeacherServerSettings.model_validate(application["args"])
