"""The Ray Serve that is installed is the one whose private parts are known, another is noticed; it is asked in time."""

import re
from pathlib import Path
from unittest.mock import Mock

import pytest
from ray.serve._private.controller import ServeController
from ray.serve.exceptions import RayServeException

from teacher_server.serve import compat


def test_ray_is_the_one_that_this_was_tested_with():
    assert compat.moved() == []
    required = Path("requirements/base.in").read_text()
    assert re.findall(r"^ray\S*==([\d.]+)$", required, re.M) == [compat.TESTED_VERSION]


def test_what_ray_adds_where_it_traces_is_no_difference(monkeypatch: pytest.MonkeyPatch):
    def traced(self: object, source: object = None, _ray_trace_ctx: object = None) -> None: ...

    monkeypatch.setattr(ServeController, "get_serve_instance_details", traced)
    assert compat.moved() == []


def test_another_ray_is_named_with_what_moved(monkeypatch: pytest.MonkeyPatch):
    assert compat.moved("9.9.9") == [f"version 9.9.9, tested with {compat.TESTED_VERSION}"]
    monkeypatch.setitem(compat.METHODS, (ServeController, "gone"), ["self"])
    monkeypatch.setattr(ServeController, "get_serve_instance_details", lambda self: None)
    assert compat.moved() == [
        "ServeController.get_serve_instance_details takes ['self'], expected ['self', 'source']",
        "ServeController.gone takes None, expected ['self']",
    ]


def test_no_other_file_imports_serves_private_parts():
    private = re.compile(r"ray\.serve\._private|from ray\.serve\S* import .*\b_[a-z]")
    guilty = [path for path in Path("teacher_server").rglob("*.py") if private.search(path.read_text())]
    assert guilty == [Path("teacher_server/serve/compat.py")]


def test_the_controller_is_waited_for_no_longer_than_said(monkeypatch: pytest.MonkeyPatch):
    get = Mock(return_value={"applications": {}})
    monkeypatch.setattr(compat.ray, "get_actor", Mock())
    monkeypatch.setattr(compat.ray, "get", get)
    assert compat.ask_controller() == {"applications": {}}
    assert get.call_args.kwargs == {"timeout": compat.ASK_TIMEOUT_S}


def test_without_a_controller_that_is_said(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(compat.ray, "get_actor", Mock(side_effect=ValueError("no such actor")))
    with pytest.raises(RayServeException, match="no such actor"):
        compat.ask_controller()
