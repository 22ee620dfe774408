"""A Serve config checked before anything starts: every application's settings, in one line each."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from common.errors import UserError
from teacher_server.__main__ import main
from teacher_server.check import check

CONFIGS = sorted((Path(__file__).parents[3] / "teacher_server" / "configs").glob("*.yaml"))
TEACHER, ROUTER = "teacher_server.serve.app:build", "teacher_server.router.app:build"


def config(folder: Path, *applications: Any) -> Path:
    file = folder / "serve.yaml"
    file.write_text(yaml.safe_dump({"applications": list(applications)}))
    return file


def teacher(name: str = "teacher", **args: Any) -> dict[str, Any]:
    return {"name": name, "import_path": TEACHER, "args": {"model": "m"} | args}


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_shipped_config_passes(path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["check", str(path)]) == 0
    assert "its settings fit together" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("args", "complaint"),
    [
        ({"engine": {"max_length": 2048, "max_batched_tokens": 2048}}, "on a CPU a step must hold .* set it to 2049"),
        ({"engine": {"max_batched_tokens": 64}}, "max_batched_tokens is 64, below engine.max_running_sequences 128"),
        ({"engine": {"quantization": "fp8"}}, "fp8 needs a GPU"),
        ({"adapter_loading": {"root": "/r", "max_rank": 1024}}, "max_rank: got 1024"),
        ({"modle": "x"}, "unknown key 'modle'"),
    ],
)
def test_what_vllm_would_refuse_is_refused_by_name(tmp_path: Path, args: dict[str, Any], complaint: str):
    with pytest.raises(UserError, match=f"serve.yaml, application b: .*{complaint}") as raised:
        check(config(tmp_path, teacher(), teacher("b", **args)))
    assert "\n" not in str(raised.value)


def test_on_gpus_a_sequence_may_be_longer_than_a_step(tmp_path: Path):
    engine = {"max_length": 8192, "max_batched_tokens": 2048}
    assert check(config(tmp_path, teacher(engine=engine, replicas={"num_gpus": 1})))


def test_each_wrong_application_has_its_line(tmp_path: Path):
    router = {"name": "router", "import_path": ROUTER, "args": {"applications": ["teacher", "student"]}}
    with pytest.raises(UserError, match="got student, expected some of teacher, router, wrong") as raised:
        check(config(tmp_path, teacher(), router, teacher("wrong", limits={"max_requests": 0})))
    assert len(str(raised.value).splitlines()) == 2


def test_applications_of_others_are_passed_over_and_said(tmp_path: Path):
    assert check(config(tmp_path, {"import_path": "other:app"})) == [
        "default: not checked, since it is no application of teacher_server"
    ]


@pytest.mark.parametrize("text", [None, "a: [", "[]", "", "a: 1", "applications: {}", "applications: [1]", "\0"])
def test_what_is_no_config_is_said(tmp_path: Path, text: str | None):
    file = tmp_path / "serve.yaml"
    if text is not None:
        file.write_text(text)
    with pytest.raises(UserError, match=r"serve\.yaml"):
        check(file)


@pytest.mark.parametrize("value", [None, 1, True, [], {"a": 1}])
@pytest.mark.parametrize("key", ["name", "import_path", "args"])
def test_a_value_of_another_type_is_named(tmp_path: Path, key: str, value: Any):
    if (key, type(value)) == ("args", dict):
        value = "text"
    file = config(tmp_path, teacher(), teacher() | {key: value})
    with pytest.raises(UserError, match=re.escape(f"applications.1.{key}: got {value!r}: Input should be a valid")):
        check(file)


def test_a_config_that_deploys_nothing_is_refused(tmp_path: Path):
    with pytest.raises(UserError, match=r"deploys nothing: got an empty list .* expected at least one"):
        check(config(tmp_path))
