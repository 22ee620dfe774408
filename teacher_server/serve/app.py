"""A teacher as a Ray Serve application: `import_path: teacher_server.serve.app:build`, `args:` are its settings."""

from typing import Any

from ray import serve
from ray.serve import Application

from common.settings import validate
from teacher_server.engine.protocol import Engine
from teacher_server.serve import placement
from teacher_server.serve.replica import TeacherReplica
from teacher_server.settings import ReplicaSettings, TeacherServerSettings

START_VARIABLE = "VLLM_ENGINE_READY_TIMEOUT_S"
ONE_ARENA = {"MALLOC_ARENA_MAX": "1"}
"""For glibc: answers are made in one thread and freed in another, and with an arena for each thread a replica grows."""
HEALTH_CHECK_MARGIN_S = 5
"""Seconds that Serve waits longer for a health check than the check waits for the engine."""
TARGET_SHARE = 0.5
"""The share of the replicas' limit that autoscaling aims at, when settings say nothing else."""
ROOM_TO_REFUSE = 64
"""Requests beyond the replica's own limit that Serve lets through, so that the replica is the one who refuses them."""


def build(args: dict[str, Any]) -> Application:
    """The application of one teacher. Raises UserError naming every setting that is wrong."""
    settings = validate(TeacherServerSettings, args, "args of teacher_server.serve.app:build")
    options = deployment_options(settings)
    return serve.deployment(**options)(TeacherReplica).bind(settings, vllm_engine)


def vllm_engine(settings: TeacherServerSettings) -> Engine:
    """The engine of a replica; imported there alone, since vLLM takes seconds to import."""
    from teacher_server.vllm.engine import VllmEngine

    return VllmEngine(settings)


def deployment_options(settings: TeacherServerSettings) -> dict[str, Any]:
    """What Ray Serve is told about the replicas."""
    replicas, limit = settings.replicas, settings.limits.max_requests
    options: dict[str, Any] = {
        "name": "TeacherReplica",
        "ray_actor_options": _actor_options(replicas),
        "max_ongoing_requests": limit + ROOM_TO_REFUSE,
        "max_queued_requests": limit + ROOM_TO_REFUSE,
        "health_check_period_s": replicas.health_check_period_s,
        "health_check_timeout_s": replicas.health_check_timeout_s + HEALTH_CHECK_MARGIN_S,
        "graceful_shutdown_timeout_s": replicas.graceful_shutdown_timeout_s,
    }
    options = placement.across_hosts(options, settings)
    if replicas.autoscaling is None:
        return options | {"num_replicas": replicas.count}
    autoscaling = replicas.autoscaling.model_dump()
    if autoscaling["target_ongoing_requests"] is None:
        autoscaling["target_ongoing_requests"] = max(1, limit * TARGET_SHARE)
    return options | {"autoscaling_config": autoscaling}


def _actor_options(replicas: ReplicaSettings) -> dict[str, Any]:
    return {
        "num_cpus": replicas.num_cpus,
        "num_gpus": replicas.num_gpus,
        "resources": placement.in_pool(replicas.pool),
        "runtime_env": {
            "env_vars": {START_VARIABLE: str(replicas.start_timeout_s), **ONE_ARENA, **replicas.environment}
        },
    }
