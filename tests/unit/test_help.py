"""`--help` of each command that takes settings lists all of them: key, type, what it says, default."""

from argparse import ArgumentParser
from collections.abc import Iterator
from importlib import import_module
from types import NoneType
from typing import get_args

import pytest
from pydantic.fields import FieldInfo

from cluster.demos.settings import DemoSettings, ToolBenchDemoSettings
from cluster.local.settings import ClusterSettings
from common.command_line import parse_known
from common.settings import Settings
from common.world.settings import WorldSettings
from eval.settings import EvalSettings
from eval.tooleval.settings import ToolEvalSettings
from student_trainer.pretraining.settings import PretrainSettings
from student_trainer.settings import TrainSettings

COMMANDS: dict[str, type[Settings]] = {
    "student_trainer train": TrainSettings,
    "student_trainer pretrain": PretrainSettings,
    "eval score": EvalSettings,
    "eval tooleval": ToolEvalSettings,
    "cluster up": ClusterSettings,
    "cluster demo": DemoSettings,
    "cluster demo-toolbench": ToolBenchDemoSettings,
    "common.world": WorldSettings,
}


def keys(model: type[Settings], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Every single value below `model` by its dotted key; a mapping's values are below NAME."""
    for name, field in model.model_fields.items():
        kinds = [field.annotation, *(kind for kind in get_args(field.annotation) if kind is not NoneType)]
        nested = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Settings)]
        for kind in nested:
            yield from keys(kind, f"{prefix}{name}." + ("NAME." if str in kinds else ""))
        if not nested:
            yield prefix + name, field


@pytest.mark.parametrize("command", COMMANDS)
def test_help_lists_every_setting(command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", "1000")  # nothing is wrapped
    package, *rest = command.split()
    with pytest.raises(SystemExit) as end:
        import_module(f"{package}.__main__").main([*rest, "--help"])
    assert end.value.code == 0
    entries = capsys.readouterr().out.split("\n  --")
    said = {key: " ".join(entry) for key, *entry in map(str.split, entries)}
    found = dict(keys(COMMANDS[command]))
    assert len(found) >= 7
    for key, field in found.items():
        assert field.description, f"{key} has no docstring"
        assert " ".join(field.description.split()) in said[key]
        default = (
            ("null", "None") if field.default is None else (field.default,)
        )  # as the section's own default is said
        expected = ["required)"] if field.is_required() else [f"(default: {each})" for each in default]
        assert any(each in said[key] for each in expected), said[key]


def test_what_the_parser_does_not_know_are_overrides():
    parser = ArgumentParser()
    parser.add_argument("out")
    options, overrides = parse_known(parser, WorldSettings, ["there", "--seed", "3"])
    assert (options.out, overrides) == ("there", ["--seed", "3"])
