"""A manifest that contradicts itself is refused by name, and so is one that isn't one."""

import json
from pathlib import Path
from typing import Any

import pytest

from common.errors import UserError
from eval.compare.manifest import read_manifest
from tests.unit.eval.compare.experiments import write_manifest

CELL = {"name": "D-s1", "arm": "D", "seed": 1, "status": "not_run", "reason": "no time"}


def test_a_whole_one_is_read(tmp_path: Path):
    manifest = read_manifest(write_manifest(tmp_path, [CELL], roles={"expert": "D-s1"}) / "experiment.json")
    assert manifest.primary is not None
    assert (manifest.primary.arms, manifest.primary.margin) == (("D", "A"), 0.05)
    assert manifest.title_of(manifest.cells[0]) == "D"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"cells": [CELL, CELL]}, "two cells have the name 'D-s1'"),
        ({"cells": [CELL | {"arm": "X"}]}, "the cell D-s1 names 'X', expected one of: A, D"),
        ({"roles": {"expert": "nobody"}}, "the role expert names 'nobody', expected one of: D-s1"),
        ({"primary": {"measure": "m", "split": "s", "arms": ["D", "X"]}}, "a comparison on s names 'X'"),
        ({"cells": [CELL | {"status": "maybe"}]}, "cells.0.status: Input should be 'done', 'failed' or 'not_run'"),
        ({"surprise": 1}, "surprise: Extra inputs are not permitted"),
    ],
)
def test_what_contradicts_itself_is_named(tmp_path: Path, change: dict[str, Any], said: str):
    write_manifest(tmp_path, [CELL])
    values = json.loads((tmp_path / "experiment.json").read_text()) | change
    (tmp_path / "experiment.json").write_text(json.dumps(values))
    with pytest.raises(UserError, match=r"experiment\.json is no manifest") as error:
        read_manifest(tmp_path / "experiment.json")
    assert said in str(error.value)


def test_a_file_that_is_not_there_or_no_json_is_named(tmp_path: Path):
    with pytest.raises(UserError, match=r"can't read .*experiment\.json: No such file"):
        read_manifest(tmp_path / "experiment.json")
    (tmp_path / "experiment.json").write_text("{")
    with pytest.raises(UserError, match=r"is no manifest of an experiment .*JSON"):
        read_manifest(tmp_path / "experiment.json")
