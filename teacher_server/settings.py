"""Settings of one served teacher: what it serves, how the engine runs, where its replicas stand, when it says no."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from common.api import MAX_SEQUENCE_TOKENS, MAX_TOP_K
from common.settings import Settings

ServedName = Annotated[str, Field(min_length=1, max_length=256)]


class EngineSettings(Settings):
    """How vLLM runs the model."""

    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Type of weights and activations; `auto` takes the one they were saved in, bfloat16 instead of float32."""
    max_length: int = Field(default=4096, ge=2, le=MAX_SEQUENCE_TOKENS)
    """Longest sequence in tokens, prompt and completion together; below the model's own limit by at least one."""
    max_top_k: int = Field(default=64, ge=1, le=MAX_TOP_K)
    """Largest k a request may ask for; more than the vocabulary means the whole vocabulary."""
    max_batched_tokens: int = Field(default=4096, ge=16)
    """Tokens of one engine step."""
    logits_rows: int | None = Field(default=None, ge=1)
    """Positions whose logits over the full vocabulary scoring holds at once; without it those of 256 MiB on a GPU."""
    max_running_sequences: int = Field(default=128, ge=1)
    """Sequences the engine works on at a time; others wait inside it."""
    kv_cache_gib: float | None = Field(default=None, gt=0)
    """Size of the KV cache in GiB; without it vLLM takes what `gpu_memory_utilization` leaves."""
    gpu_memory_utilization: float = Field(default=0.9, gt=0, le=1)
    """Share of each GPU's memory that vLLM may take."""
    tensor_parallel_size: int = Field(default=1, ge=1)
    """GPUs of one host that share the model."""
    prefix_caching: bool = True
    """Let sequences that begin alike share that part's computation, whether they are written or scored."""
    cache_block_tokens: int | None = Field(default=None, ge=1)
    """Tokens by which such beginnings are compared; without it 32 on a CPU, vLLM's choice on a GPU."""
    enforce_eager: bool = False
    """Skip compilation and CUDA graphs: a quicker start, slower answers; right on CPU and in tests."""


class LimitSettings(Settings):
    """When a replica says 503 with Retry-After instead of queueing."""

    max_requests: int = Field(default=64, ge=1)
    """Requests that a replica answers at a time."""
    max_sequences: int = Field(default=512, ge=1)
    """Sequences in all those requests together; a request is always taken when nothing else is being answered."""
    retry_after_s: int = Field(default=1, ge=1)
    """Seconds after which a refused client is told to come again."""


class AutoscalingSettings(Settings):
    """Between how many replicas Ray Serve moves, and when."""

    min_replicas: int = Field(default=1, ge=1)
    """Replicas that always stand."""
    max_replicas: int = Field(ge=1)
    """Replicas at the most."""
    target_ongoing_requests: float = Field(default=16, gt=0)
    """Requests in progress per replica that Serve aims at."""


class ReplicaSettings(Settings):
    """Where replicas stand, how many, and how Ray Serve watches them."""

    pool: str | None = "teacher_pool"
    """Custom resource of the nodes that may hold a replica (`ray start --resources='{"teacher_pool": 1}'`)."""
    count: int = Field(default=1, ge=1)
    """Replicas, when `autoscaling` is not given."""
    autoscaling: AutoscalingSettings | None = None
    """Lets Ray Serve choose the number of replicas."""
    num_cpus: float = Field(default=1, ge=0)
    """CPUs that a replica reserves."""
    num_gpus: float = Field(default=0, ge=0)
    """GPUs that a replica reserves; as many as `engine.tensor_parallel_size`."""
    environment: dict[str, str] = {}
    """Environment variables of the replica's process, set before it imports anything."""
    health_check_period_s: float = Field(default=10, gt=0)
    """Seconds between two health checks."""
    health_check_timeout_s: float = Field(default=30, gt=0)
    """Seconds after which an unanswered health check counts as failed."""
    graceful_shutdown_timeout_s: float = Field(default=20, ge=0)
    """Seconds a replica has to finish its requests before it is stopped."""


class TeacherSettings(Settings):
    """One application: a base model and adapters on it. Several may stand in one cluster, each at its route prefix."""

    model: str
    """Folder of the base model on the teacher's nodes, or a Hugging Face name like `org/name`."""
    name: ServedName = "teacher"
    """What a request writes as `model` to be answered by the base model."""
    adapters: dict[ServedName, Path] = {}
    """LoRA adapters by the name a request writes as `model`: folders in PEFT's format on the teacher's nodes."""
    token_file: Path | None = None
    """File with the bearer token; without it the environment variable TOOLAGENT_KD_TOKEN of the teacher's nodes."""
    engine: EngineSettings = EngineSettings()
    """How vLLM runs the model."""
    limits: LimitSettings = LimitSettings()
    """When a replica refuses."""
    replicas: ReplicaSettings = ReplicaSettings()
    """Where replicas stand."""

    @model_validator(mode="after")
    def _consistent(self) -> "TeacherSettings":
        if self.name in self.adapters:
            raise ValueError(f"got {self.name!r} as the name of the base and of an adapter; give one another name")
        shared = self.engine.tensor_parallel_size
        if self.replicas.num_gpus and self.replicas.num_gpus < shared:
            raise ValueError(f"engine.tensor_parallel_size is {shared}; set replicas.num_gpus to {shared} too")
        return self
