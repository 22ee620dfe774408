"""`python -m teacher_server check CONFIG`: what a Serve config's settings alone can tell, before anything starts.

`serve deploy` returns at once, and what is wrong then stands in `serve status`, behind a traceback.
"""

from pathlib import Path
from typing import Any

import yaml
from pydantic import ConfigDict

from common.errors import UserError
from common.settings import Settings, validate
from teacher_server.router.settings import RouterSettings
from teacher_server.settings import TeacherServerSettings

SETTINGS: dict[str, type[Settings]] = {
    "teacher_server.serve.app:build": TeacherServerSettings,
    "teacher_server.router.app:build": RouterSettings,
}
"""What `args:` are, by `import_path`."""


class ServeApplication(Settings):
    """What is looked at of an application; Serve knows more keys."""

    model_config = ConfigDict(extra="ignore")

    name: str = "default"
    import_path: str
    args: dict[str, Any] = {}


class ServeConfig(Settings):
    """What is looked at of a config for `serve deploy`."""

    model_config = ConfigDict(extra="ignore")

    applications: list[ServeApplication]


def check(path: Path) -> list[str]:
    """A line for each application of the config. Raises UserError, one line for each that can't be deployed."""
    applications = _read_applications(path)
    names = [application.name for application in applications]
    lines, problems = [], []
    for name, application in zip(names, applications, strict=True):
        try:
            lines.append(f"{name}: {_checked(f'{path}, application {name}', application, names)}")
        except UserError as error:
            problems.append(str(error))
    if problems:
        raise UserError("\n".join(problems))
    return lines


def _checked(source: str, application: ServeApplication, names: list[str]) -> str:
    model = SETTINGS.get(application.import_path)
    if model is None:
        return "not checked, since it is no application of teacher_server"
    settings = validate(model, application.args, source)
    if isinstance(settings, RouterSettings) and (missing := set(settings.applications) - set(names)):
        raise UserError(
            f"{source}: applications: got {', '.join(sorted(missing))}, expected some of {', '.join(names)}, which it "
            "deploys: `serve deploy` takes away whatever it doesn't name"
        )
    return "its settings fit together"


def _read_applications(path: Path) -> list[ServeApplication]:
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"can't read the Serve config {path.absolute()}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise UserError(f"{path} holds {type(values).__name__}, expected a config for `serve deploy`, a mapping")
    applications = validate(ServeConfig, values, str(path)).applications
    if not applications:
        raise UserError(
            f"{path} deploys nothing: got an empty list `applications:`, expected at least one; add a teacher (to take "
            "away all that runs there is `serve shutdown`)"
        )
    return applications
