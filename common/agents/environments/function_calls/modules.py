"""A user's module with tools, by the path of its file or by its name."""

import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

from common.agents.environments.answers import one_line
from common.errors import UserError


def load_module(module: str) -> ModuleType:
    """The module of a Python file, whose folder joins the end of the path, or of a dotted name.

    Raises UserError where it can't be imported.
    """
    if not module.endswith(".py"):
        return _imported(module, module)
    file = Path(module).expanduser().resolve()
    if not file.is_file():
        raise UserError(f"there is no file {module}; give a Python file or the dotted name of a module")
    if str(file.parent) not in sys.path:
        sys.path.append(str(file.parent))
    found = _imported(file.stem, module)
    if Path(found.__file__ or "").resolve() != file:
        raise UserError(
            f"another module has the name of {module}: {found.__file__ or 'a built-in one'}; rename the file"
        )
    return found


def _imported(name: str, given: str) -> ModuleType:
    try:
        return import_module(name)
    except (Exception, SystemExit) as error:  # a user's module may raise anything
        raise UserError(f"can't import {given}: {one_line(f'{type(error).__name__}: {error}')}") from error
