"""Settings of one served teacher: what it serves, how the engine runs, where its replicas stand, when it says no."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from common.api import MAX_SEQUENCE_TOKENS, MAX_TOP_K
from common.settings import FolderOrName, Settings, UserPath

Quantization = Literal["bitsandbytes", "fp8"]
ServedName = Annotated[str, Field(min_length=1, max_length=256)]


class AdapterLoadingSettings(Settings):
    """Which adapters may be loaded while the teacher runs; the engine reserves their memory when it starts."""

    root: UserPath
    """Folder that they are loaded from; all replicas must see the same one, and may write a file into it."""
    max_adapters: int = Field(default=4, ge=1, le=64)
    """Adapters served at a time, those of `adapters` among them; memory is kept for one more, to replace one."""
    max_rank: int = Field(default=16, ge=1, le=512)
    """Largest LoRA rank; vLLM serves none above 512."""
    modules: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    """Kinds of module that they may change; each takes memory, used or not."""
    clients: tuple[str, ...] | None = None
    """Names of the API keys that may put and delete adapters, which are everybody's; without it each may."""


class EngineSettings(Settings):
    """How vLLM runs the model."""

    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Type of weights and activations; `auto` takes the one they were saved in, bfloat16 instead of float32."""
    max_length: int = Field(default=4096, ge=2, le=MAX_SEQUENCE_TOKENS)
    """Longest sequence in tokens, prompt and completion together; below the model's own limit by at least one."""
    max_top_k: int = Field(default=64, ge=1, le=MAX_TOP_K)
    """Largest k a request may ask for; more than the vocabulary means the whole vocabulary."""
    max_batched_tokens: int | None = Field(default=None, ge=16)
    """Tokens of one engine step; without it 4,096, and on a CPU at least the longest sequence, which must fit there."""
    logits_rows: int | None = Field(default=None, ge=1)
    """Positions whose logits over the full vocabulary scoring holds at once; without it those of 256 MiB on a GPU."""
    max_running_sequences: int = Field(default=128, ge=1)
    """Sequences the engine works on at a time; others wait inside it."""
    kv_cache_gib: float | None = Field(default=None, gt=0)
    """Size of the KV cache in GiB; without it vLLM takes what `gpu_memory_utilization` leaves."""
    gpu_memory_utilization: float = Field(default=0.9, gt=0, le=1)
    """Share of each GPU's memory that vLLM may take."""
    tensor_parallel_size: int = Field(default=1, ge=1)
    """GPUs that share each layer; keep it within one host, whose GPUs are linked."""
    pipeline_parallel_size: int = Field(default=1, ge=1)
    """Groups of those GPUs that share the layers, one after another: for hosts, see `replicas.placement`."""
    quantization: Quantization | None = None
    """Quantize the weights while they are loaded: `bitsandbytes` to 4 bits (NF4), `fp8` to 8 (GPUs alone)."""
    prefix_caching: bool = True
    """Let sequences that begin alike share that part's computation, whether they are written or scored."""
    cache_block_tokens: int | None = Field(default=None, ge=1)
    """Tokens by which such beginnings are compared; without it 32 on a CPU, vLLM's choice on a GPU."""
    enforce_eager: bool = False
    """Skip compilation and CUDA graphs: a quicker start, slower answers; right on CPU and in tests."""


class LimitSettings(Settings):
    """What one request may be, and when a replica says 503 or 429 with Retry-After instead of queueing."""

    max_requests: int = Field(default=64, ge=1)
    """Requests that a replica answers at a time."""
    max_sequences: int = Field(default=512, ge=1)
    """Sequences in all those requests together; a request is always taken when nothing else is being answered."""
    max_tokens: int = Field(default=2_097_152, ge=1)
    """Tokens in all those requests together, given and to be written; a request alone is always taken."""
    max_requests_per_client: int | None = Field(default=None, ge=1)
    """Requests in flight under one API key's name; more are answered 429. Without it one may take the whole replica."""
    max_request_tokens: int = Field(default=524_288, ge=1)
    """Tokens of one request, given and to be written: 256 sequences of 2,048."""
    max_request_entries: int = Field(default=67_108_864, ge=1)
    """Completion tokens of one request times its top_k: 64 million are an answer of 0.4 GB."""
    max_body_bytes: int | None = Field(default=None, ge=1)
    """Largest body; without it what a request of `max_request_tokens` can need."""
    allowed_hosts: tuple[str, ...] | None = None
    """Names in the header Host that are answered, in lower case without port; without it any."""
    retry_after_s: int = Field(default=1, ge=1)
    """Seconds after which a refused client is told to come again."""


class AutoscalingSettings(Settings):
    """Between how many replicas Ray Serve moves, and when."""

    min_replicas: int = Field(default=1, ge=1)
    """Replicas that always stand."""
    max_replicas: int = Field(ge=1)
    """Replicas at the most."""
    target_ongoing_requests: float | None = Field(default=None, gt=0)
    """Requests in progress per replica that Serve aims at; without it half of `limits.max_requests`."""
    upscale_delay_s: float = Field(default=10, ge=0)
    """Seconds of more requests before replicas are added."""
    downscale_delay_s: float = Field(default=600, ge=0)
    """Seconds of fewer requests before one is taken away; a large model takes minutes to come back."""

    @model_validator(mode="after")
    def _ordered(self) -> "AutoscalingSettings":
        if self.min_replicas > self.max_replicas:
            raise ValueError(f"min_replicas is {self.min_replicas}, above max_replicas {self.max_replicas}")
        return self


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
    """GPUs that a replica reserves: `engine.tensor_parallel_size` times `engine.pipeline_parallel_size`."""
    placement: Literal["PACK", "SPREAD", "STRICT_PACK", "STRICT_SPREAD"] | None = None
    """Ray's strategy for a replica whose GPUs are those of several hosts; without it they are all of one host."""
    environment: dict[str, str] = {}
    """Environment variables of the replica's process, set before it imports anything."""
    start_timeout_s: int = Field(default=1800, ge=1)
    """Seconds that the engine may take to load its weights: 141 GB from a network disk take a quarter of an hour."""
    health_check_period_s: float = Field(default=5, gt=0)
    """Seconds between two health checks; Serve replaces a replica that fails three in a row."""
    health_check_timeout_s: float = Field(default=30, gt=0)
    """Seconds without any step or answer after which an engine that was asked something counts as hung."""
    graceful_shutdown_timeout_s: float = Field(default=20, ge=0)
    """Seconds a replica has to finish its requests before it is stopped."""


class TeacherServerSettings(Settings):
    """One application: a base model and adapters on it. Several may stand in one cluster, each at its route prefix."""

    model: FolderOrName
    """Folder of the base model on the teacher's nodes, or a Hugging Face name like `org/name`."""
    name: ServedName = "teacher"
    """What a request writes as `model` to be answered by the base model."""
    adapters: dict[ServedName, UserPath] = {}
    """LoRA adapters by the name a request writes as `model`: folders in PEFT's format on the teacher's nodes."""
    adapter_loading: AdapterLoadingSettings | None = None
    """Lets adapters be loaded, replaced and removed while the teacher runs; without it that is refused."""
    tool_layout: Literal["toolbench", "chat", "tools"] | None = None
    """In which layout the models were trained to call functions, their `template`; without it chats have no tools."""
    token_file: UserPath | None = None
    """File with the API key, or with lines `name: key`, one for each client; read again when it changes.
    Without it the environment variable TOOLAGENT_KD_TOKEN of the teacher's nodes holds the one key."""
    engine: EngineSettings = EngineSettings()
    """How vLLM runs the model."""
    limits: LimitSettings = LimitSettings()
    """When a replica refuses."""
    replicas: ReplicaSettings = ReplicaSettings()
    """Where replicas stand."""

    @model_validator(mode="after")
    def _consistent(self) -> "TeacherServerSettings":
        if self.name in self.adapters:
            raise ValueError(f"got {self.name!r} as the name of the base and of an adapter; give one another name")
        if self.adapter_loading is not None and self.adapter_loading.max_adapters < len(self.adapters):
            raise ValueError(f"got {len(self.adapters)} adapters; set adapter_loading.max_adapters to as many or more")
        if self.engine.quantization == "bitsandbytes" and self.engine.dtype == "float32":
            raise ValueError("engine.quantization bitsandbytes computes in 16 bits; set engine.dtype to bfloat16")
        self._check_engine()
        self._check_gpus()
        self._check_autoscaling()
        return self

    def _check_engine(self) -> None:
        """What vLLM would refuse, after the replica was started three times."""
        engine, batched = self.engine, self.engine.max_batched_tokens
        if batched is not None and batched < engine.max_running_sequences:
            raise ValueError(
                f"engine.max_batched_tokens is {batched}, below engine.max_running_sequences "
                f"{engine.max_running_sequences}: each needs a token of a step; raise the one or lower the other"
            )
        if self.replicas.num_gpus:
            return
        if batched is not None and batched <= engine.max_length:
            raise ValueError(
                f"engine.max_batched_tokens is {batched} with engine.max_length {engine.max_length}: on a CPU a step "
                f"must hold the longest sequence; set it to {engine.max_length + 1} or more, or leave it out"
            )
        if engine.quantization == "fp8":
            raise ValueError("engine.quantization fp8 needs a GPU; set replicas.num_gpus, or take bitsandbytes")

    def _check_gpus(self) -> None:
        engine, gpus = self.engine, self.replicas.num_gpus
        shared = engine.tensor_parallel_size * engine.pipeline_parallel_size
        if gpus and gpus < shared:
            raise ValueError(f"engine.*_parallel_size need {shared} GPUs; set replicas.num_gpus to {shared} too")
        if self.replicas.placement and gpus != shared:
            raise ValueError(f"replicas.placement is of GPUs; set replicas.num_gpus to {shared}, or leave it out")

    def _check_autoscaling(self) -> None:
        autoscaling, limit = self.replicas.autoscaling, self.limits.max_requests
        if autoscaling and (autoscaling.target_ongoing_requests or 0) > limit:
            raise ValueError(
                f"replicas.autoscaling.target_ongoing_requests is {autoscaling.target_ongoing_requests:g}, above "
                f"limits.max_requests {limit}: replicas would refuse before one is added; set it lower"
            )
