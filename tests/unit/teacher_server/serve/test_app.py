"""From settings to what Ray Serve is told; every shipped file parses."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from ray import serve
from ray.serve.config import AutoscalingConfig
from ray.serve.schema import ServeDeploySchema

from common.errors import UserError
from common.settings import validate
from teacher_server.engine.protocol import Engine, warm_up
from teacher_server.serve import app
from teacher_server.serve.placement import POOL_SHARE
from teacher_server.serve.replica import TeacherReplica
from teacher_server.settings import TeacherServerSettings
from tests.stand_in_engine import StandInEngine

CONFIGS = sorted((Path(__file__).parents[4] / "teacher_server" / "configs").glob("*.yaml"))


def settings(**values: Any) -> TeacherServerSettings:
    return validate(TeacherServerSettings, {"model": "m"} | values, "args")


def test_replicas_stand_on_their_pool_below_serves_own_limit():
    options = app.deployment_options(
        settings(
            limits={"max_requests": 10},
            replicas={"pool": "p", "num_cpus": 3, "count": 2, "environment": {"A": "b"}, "health_check_period_s": 1},
        )
    )
    assert options["ray_actor_options"] == {
        "num_cpus": 3,
        "num_gpus": 0,
        "resources": {"p": POOL_SHARE},
        "runtime_env": {"env_vars": {"A": "b", "MALLOC_ARENA_MAX": "1", "VLLM_ENGINE_READY_TIMEOUT_S": "1800"}},
    }
    assert options["max_ongoing_requests"] > 10
    assert (options["num_replicas"], options["health_check_period_s"]) == (2, 1)


def test_a_replica_on_several_hosts_gets_a_bundle_for_each_gpu():
    engine = {"tensor_parallel_size": 2, "pipeline_parallel_size": 2}
    values = settings(engine=engine, replicas={"pool": "p", "num_cpus": 3, "num_gpus": 4, "placement": "PACK"})
    options = app.deployment_options(values)
    assert options["ray_actor_options"]["num_gpus"] == 0
    worker = {"GPU": 1.0, "p": POOL_SHARE}
    assert options["placement_group_bundles"] == [worker | {"CPU": 3.0}, worker, worker, worker]
    serve.deployment(**options)(TeacherReplica)  # Serve checks that the replica fits into the first
    assert "placement_group_bundles" not in app.deployment_options(settings(replicas={"num_gpus": 1}))


def test_autoscaling_takes_the_place_of_a_count():
    options = app.deployment_options(settings(replicas={"pool": None, "autoscaling": {"max_replicas": 4}}))
    assert "num_replicas" not in options
    assert options["autoscaling_config"]["max_replicas"] == 4
    assert options["autoscaling_config"]["target_ongoing_requests"] == 32, "half of what a replica takes"
    assert options["autoscaling_config"]["downscale_delay_s"] > options["autoscaling_config"]["upscale_delay_s"]
    AutoscalingConfig(**options["autoscaling_config"])
    assert options["ray_actor_options"]["resources"] == {}


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"modle": "x"}, "unknown key 'modle'"),
        ({"engine": {"max_length": 1}}, "engine.max_length: got 1"),
        ({"adapters": {"teacher": "/a"}}, "'teacher' as the name of the base and of an adapter"),
        ({"engine": {"pipeline_parallel_size": 2}, "replicas": {"placement": "PACK"}}, "set replicas.num_gpus to 2"),
        (
            {"engine": {"quantization": "int8_per_channel_weight_only"}},
            "quantization: got 'int8_per_channel_weight_only'",
        ),
        ({"engine": {"quantization": "bitsandbytes", "dtype": "float32"}}, "set engine.dtype to bfloat16"),
        ({"adapters": {"x": "/a", "y": "/b"}, "adapter_loading": {"root": "/r", "max_adapters": 1}}, "got 2 adapters"),
        ({"engine": {"tensor_parallel_size": 8}, "replicas": {"num_gpus": 4}}, "set replicas.num_gpus to 8"),
        ({"replicas": {"autoscaling": {"min_replicas": 3, "max_replicas": 2}}}, "min_replicas is 3, above"),
        (
            {"replicas": {"autoscaling": {"max_replicas": 2, "target_ongoing_requests": 65}}},
            "is 65, above limits.max_requests 64",
        ),
    ],
)
def test_wrong_settings_are_named(values: dict[str, Any], complaint: str):
    with pytest.raises(UserError, match=complaint):
        settings(**values)


def test_missing_settings_stop_the_build():
    with pytest.raises(UserError, match=r"args of teacher_server.serve.app:build: the key 'model' is required"):
        app.build({})


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_every_shipped_file_parses(path: Path):
    config = ServeDeploySchema.model_validate(yaml.safe_load(path.read_text()))
    assert config.applications
    for application in config.applications:
        assert application.import_path == "teacher_server.serve.app:build"
        app.deployment_options(validate(TeacherServerSettings, application.args, path.name))


@pytest.mark.anyio
async def test_warming_up_asks_every_model_for_both_tasks():
    engine: Engine = StandInEngine()
    await warm_up(engine)
    assert isinstance(engine, StandInEngine)
    k = engine.describe().max_top_k
    assert engine.asked == [(model, task, k) for model in ("teacher", "expert") for task in ("score", "generate")]
