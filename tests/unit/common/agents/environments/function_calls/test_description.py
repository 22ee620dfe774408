"""Functions and modules from which no tools can be made: each is refused by its name."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from common.agents.environments.functions import FunctionTools
from common.errors import UserError


def add(a: int, b: int) -> int:
    return a + b


def many(*numbers: int): ...


def itself(tree: "Tree"): ...


def thing(it: asyncio.Runner): ...


class Tree(BaseModel):
    branches: list["Tree"]


REFUSED = [
    ([], "got the tools none"),
    ([add, add], "got the tools add, add; expected some, whose names differ"),
    ([lambda a: a], "the parameter a of the tool <lambda> has no type"),
    ([many], r"the tool many takes \*numbers"),
    ([itself], "the tool itself has the type Tree, which holds itself"),
    ([thing], "the tool thing has a type that JSON has no form for"),
    ([3], "got the tool 3, expected a function"),
]


@pytest.mark.parametrize(("given", "words"), REFUSED)
def test_functions_that_cannot_be_offered_are_refused_by_name(given: list[Any], words: str):
    with pytest.raises(UserError, match=words):
        FunctionTools(given)


MODULES = [
    ("json.py", "tools = []", "another module has the name of .*json.py"),
    ("without_tools.py", "", "has no tools; set tools"),
    ("raising.py", "1 / 0", "can't import .*raising.py: ZeroDivisionError: division by zero"),
    ("absent.py", None, "there is no file .*absent.py"),
]


@pytest.mark.parametrize(("name", "text", "words"), MODULES)
def test_a_module_without_tools_is_refused_by_name(tmp_path: Path, name: str, text: str | None, words: str):
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=words):
        FunctionTools.of_module(str(tmp_path / name))
