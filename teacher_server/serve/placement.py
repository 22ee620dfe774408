"""Where replicas stand: on the nodes of a pool, and with GPUs of several hosts in a placement group of their own."""

from typing import Any

from teacher_server.settings import TeacherServerSettings

POOL_SHARE = 0.001
"""What a replica takes of its pool's resource: it says where replicas stand, their number is said by CPUs and GPUs."""


def in_pool(pool: str | None) -> dict[str, float]:
    """The resources that keep a replica on the nodes of `pool`; None lets it stand anywhere."""
    return {} if pool is None else {pool: POOL_SHARE}


def across_hosts(options: dict[str, Any], settings: TeacherServerSettings) -> dict[str, Any]:
    """A deployment's `options` with a bundle per GPU, all in the pool; unchanged without `replicas.placement`.

    The replica itself stands in the first bundle and reserves no GPU: vLLM's workers, Ray actors of their own, do. Ray
    leaves an actor that reserves none the sight of its host's GPUs, which vLLM needs to know what they are.
    """
    if settings.replicas.placement is None:
        return options
    actor = options["ray_actor_options"] | {"num_gpus": 0}
    worker = {"GPU": 1.0, **actor["resources"]}
    engine = settings.engine
    others = engine.tensor_parallel_size * engine.pipeline_parallel_size - 1
    return options | {
        "ray_actor_options": actor,
        "placement_group_bundles": [worker | {"CPU": actor["num_cpus"]}] + [worker] * others,
        "placement_group_strategy": settings.replicas.placement,
    }
