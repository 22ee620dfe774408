"""A replica whose GPUs are those of several hosts: a placement group of its own, with a bundle for each vLLM worker."""

from typing import Any

from teacher_server.settings import TeacherSettings


def across_hosts(options: dict[str, Any], settings: TeacherSettings) -> dict[str, Any]:
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
