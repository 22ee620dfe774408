"""Settings: a YAML file plus dotted overrides (`--student.rank 8`) into frozen pydantic models.

Each model stands beside its owner; this module only loads.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError

from common.errors import UserError


class Settings(BaseModel):
    """Base of every settings model: frozen, unknown keys refused, a docstring under each field."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, protected_namespaces=())


S = TypeVar("S", bound=Settings)
UserPath = Annotated[Path, AfterValidator(lambda path: Path(os.path.expanduser(path)))]
"""A file or folder of the user's, whose `~` is expanded, as a shell does it only at the beginning of a word."""
FolderOrName = Annotated[str, AfterValidator(os.path.expanduser)]
"""A folder of the user's, likewise, or a name or address of something elsewhere."""


def load(model: type[S], path: str | Path | None, overrides: Sequence[str] = ()) -> S:
    """Read `path`, if there is one, apply `overrides` (`["--a.b", "3", "--c=true"]`, values parsed as YAML), validate.

    Raises UserError naming the file and the key when the file is missing, is not a YAML mapping, or a key is unknown or
    of the wrong type.
    """
    values = {} if path is None else _read_mapping(Path(path).expanduser())
    for key, value in _parse_overrides(overrides):
        _assign(values, key, value)
    return validate(model, values, "the command line" if path is None else str(path))


def validate(model: type[S], values: dict[str, Any], source: str) -> S:
    """Check `values` against `model`; every problem is named with its dotted key in one UserError."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        problems = "; ".join(_describe(problem) for problem in error.errors())
        raise UserError(f"{source}: {problems}") from None


def _parse_overrides(arguments: Sequence[str]) -> list[tuple[str, Any]]:
    """Turn `["--a.b", "3", "--c=true"]` into `[("a.b", 3), ("c", True)]`."""
    pairs: list[tuple[str, Any]] = []
    rest = list(arguments)
    while rest:
        key = rest.pop(0)
        if not key.startswith("--"):
            raise UserError(f"got the argument {key!r}, expected an override like --key.name VALUE")
        key, equals, value = key[2:].partition("=")
        if not equals:
            if not rest:
                raise UserError(f"the override --{key} has no value; write --{key} VALUE")
            value = rest.pop(0)
        pairs.append((key, _parse_value(key, value)))
    return pairs


def _parse_value(key: str, text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        raise UserError(f"the value of --{key} is not valid YAML: {text!r}; put strings in quotes") from None


def _read_mapping(path: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"can't read the settings file {path}: {error.strerror}{_where(path)}") from None
    except yaml.YAMLError as error:
        raise UserError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise UserError(f"{path} holds {type(values).__name__}, expected a mapping of settings")
    return values


def _where(path: Path) -> str:
    if path.is_absolute():
        return ""
    return (
        f" in {Path.cwd()}; give an absolute path, or one relative to that folder: a job of Ray runs in a copy of its "
        "--working-dir"
    )


def _assign(values: dict[str, Any], key: str, value: Any) -> None:
    *parents, leaf = key.split(".")
    for parent in parents:
        nested = values.setdefault(parent, {})
        if not isinstance(nested, dict):
            raise UserError(f"--{key}: {parent!r} is a single value, it has no {leaf!r} inside")
        values = nested
    values[leaf] = value


def _describe(problem: Any) -> str:
    key = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        return f"unknown key {key!r}; remove it or check its spelling"
    if problem["type"] == "missing":
        return f"the key {key!r} is required and missing"
    if problem["type"] == "union_tag_not_found":
        return f"the key '{key}.{problem['ctx']['discriminator'].strip(chr(39))}' is required and missing"
    return f"{key}: got {problem['input']!r}: {problem['msg']}" if key else str(problem["msg"])
