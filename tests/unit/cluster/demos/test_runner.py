"""What the demos deploy: settings checked before anything runs, and files that a user could deploy just so."""

from pathlib import Path

import pytest
import yaml

from cluster.demos.runner import DemoCluster, application, new_run, served
from cluster.demos.settings import DemoSettings
from common.errors import UserError
from common.settings import load, validate
from teacher_server.settings import TeacherServerSettings
from tests.unit.cluster.local.test_ray_cli import serving

CONFIG = "cluster/configs/demo.yaml"


def test_a_misspelt_engine_setting_is_found_at_once():
    with pytest.raises(UserError, match="max_lenght"):
        load(DemoSettings, CONFIG, ["--engine.max_lenght", "512"])


def test_a_student_without_an_adapter_is_refused_before_it_is_trained(tmp_path: Path):
    config = tmp_path / "whole.yaml"
    config.write_text("student: {lora: null}")
    with pytest.raises(UserError, match=r"whole\.yaml has student\.lora null"):
        DemoCluster(new_run(tmp_path, "demo", steps=1), serving({})).train(config, "kd", {})


def test_the_printed_command_deploys_the_file_that_was_deployed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    deployed: list[Path] = []
    monkeypatch.setattr("cluster.demos.runner.deploy", lambda cluster, file: deployed.append(file))
    run = new_run(tmp_path, "demo", steps=1)
    settings = served(run, load(DemoSettings, CONFIG), Path("/base"), {"kd": tmp_path / "kd"})
    DemoCluster(run, serving({})).serve(application("student", settings))
    (file,) = deployed
    assert f"$ serve deploy {file}" in capsys.readouterr().out
    config = yaml.safe_load(file.read_text())
    assert config["http_options"] == {"host": "127.0.0.1", "port": 1}
    (found,) = config["applications"]
    assert found["route_prefix"] == "/student"
    again = validate(TeacherServerSettings, found["args"], "args")
    assert again == settings
    assert again.adapters == {"kd": tmp_path / "kd/adapter"}


def test_a_command_is_printed_and_then_run(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    run, file = new_run(tmp_path, "demo", steps=1), tmp_path / "values.json"
    file.write_text("[7]")
    run.command("json.tool", file)
    assert capfd.readouterr().out.split() == ["$", "python", "-m", "json.tool", str(file), "[", "7", "]"]
    with pytest.raises(UserError, match=r"`python -m json.tool` failed with exit code 2"):
        run.command("json.tool", tmp_path / "missing.json")
