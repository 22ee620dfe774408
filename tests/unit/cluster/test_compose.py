"""docker-compose.yml: valid by its schema, closed to the outside, and its commands name what exists."""

import json
import re
import shlex
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from click.testing import CliRunner

from cluster.local.nodes import SERVE_GUARD, STOP_WAIT
from common.settings import validate
from teacher_server.settings import TeacherServerSettings

ROOT = Path(__file__).resolve().parents[3]
SOURCE = (ROOT / "docker-compose.yml").read_text("utf-8")


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    """The file with its variables' defaults in place."""
    loaded: dict[str, Any] = yaml.safe_load(re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", SOURCE))
    return loaded


def test_it_follows_the_compose_specification(compose: dict[str, Any], shared_data: Path):
    schema = json.loads((shared_data / "schemas/compose-spec/compose-spec.json").read_text("utf-8"))
    jsonschema.validate(compose, schema)


def test_head_teacher_and_trainer_are_built_from_a_dockerfile_that_exists(compose: dict[str, Any]):
    assert set(compose["services"]) == {"head", "teacher", "trainer"}
    for service in compose["services"].values():
        assert (ROOT / service["build"]["context"] / service["build"]["dockerfile"]).is_file()


def test_only_loopback_is_published_and_every_node_asks_for_the_token_and_no_proxy(compose: dict[str, Any]):
    for service in compose["services"].values():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
        assert service["environment"]["RAY_AUTH_MODE"] == "token"
        assert service["environment"].items() >= (SERVE_GUARD | STOP_WAIT).items()
        assert service["environment"]["RAY_AUTH_TOKEN_PATH"] == "/run/secrets/ray_token"
        for name in ("NO_PROXY", "no_proxy"):
            assert {"localhost", "127.0.0.1", *compose["services"]} <= set(service["environment"][name].split(","))
        assert set(service["secrets"]) <= set(compose["secrets"])
        assert service["healthcheck"]["test"][0] == "CMD"


def test_pools_reserve_the_gpus_they_tell_ray_of(compose: dict[str, Any]):
    for name, pool in (("teacher", "teacher_pool"), ("trainer", "student_pool")):
        service = compose["services"][name]
        options = dict(zip(words := shlex.split(service["command"]), words[1:], strict=False))
        (devices,) = service["deploy"]["resources"]["reservations"]["devices"]
        assert devices["capabilities"] == ["gpu"]
        assert options["--num-gpus"] == str(devices["count"])
        assert pool in json.loads(options["--resources"])


def test_ray_knows_every_option_of_the_commands(compose: dict[str, Any]):
    from ray.scripts.scripts import cli

    for service in compose["services"].values():
        program, command, *rest = shlex.split(service["command"])
        assert (program, command) == ("ray", "start")
        said = CliRunner().invoke(cli, [command, *rest, "--help"])
        assert said.exit_code == 0, said.output


def test_the_commands_in_its_heading_name_files_that_exist():
    heading = [line for line in SOURCE.splitlines() if line.startswith("#")]
    paths = re.findall(r"(?:cluster|student_trainer)/\S+\.yaml", "\n".join(heading))
    assert len(paths) >= 2
    assert [path for path in paths if not (ROOT / path).is_file()] == []


def test_the_teacher_it_deploys_fits_its_secrets(compose: dict[str, Any]):
    (application,) = yaml.safe_load((ROOT / "cluster/docker/teacher.yaml").read_text("utf-8"))["applications"]
    settings = validate(TeacherServerSettings, application["args"], "cluster/docker/teacher.yaml")
    assert settings.token_file is not None
    assert settings.token_file.name in compose["secrets"]
