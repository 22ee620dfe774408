"""Command lines: which function a command is, and the settings that it takes, all of which `--help` lists.

Overrides are read by `common.settings`, as YAML, so `--workers.count [1, 4]`, `--student.lora null` and `--groups.seen
FOLDER` mean what they would in the file. pydantic-settings only writes the help: as a parser it takes a number or an
address that could also be a list for a list, cuts regular expressions at their commas, and knows no key of a mapping.
"""

from argparse import ArgumentParser, Namespace
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import TypeVar, get_args, get_origin

from common.errors import UserError
from common.settings import Settings, load

S = TypeVar("S", bound=Settings)


def dispatch(program: str, commands: Mapping[str, tuple[str, str]], arguments: list[str]) -> int:
    """Call the command that `arguments` begin with, with those left; returns its exit code.

    `commands` says by name `module:function`, imported when it is called, and what it does. Raises UserError for
    another name.
    """
    if not arguments or arguments[0] in ("-h", "--help"):
        print(f"usage: {program} COMMAND ... (COMMAND --help says more)")
        print("\n".join(f"  {name:15} {about}" for name, (_, about) in commands.items()))
        return 0 if arguments else 2
    name, *rest = arguments
    if name not in commands:
        raise UserError(f"got the command {name!r}, expected one of: {', '.join(commands)}")
    module, function = commands[name][0].split(":")
    return int(getattr(import_module(module), function)(rest))


def settings_of(model: type[S], command: str, about: str | None, arguments: Sequence[str]) -> S:
    """The settings of a command that takes `CONFIG.yaml [--dotted.setting VALUE]...` and nothing else.

    Raises UserError as `common.settings.load` does.
    """
    parser = ArgumentParser(command, f"{command} CONFIG.yaml [--dotted.setting VALUE]...", about, allow_abbrev=False)
    parser.add_argument("config", metavar="CONFIG.yaml", help="file of the settings below; see the folder configs/")
    options, overrides = parse_known(parser, model, arguments)
    return load(model, options.config, overrides)


def parse_known(parser: ArgumentParser, model: type[Settings], arguments: Sequence[str]) -> tuple[Namespace, list[str]]:
    """What `parser` knows of `arguments`, and the rest: overrides of the settings in `model`, which its help lists."""
    if {"-h", "--help"} & set(arguments):
        _list_settings(parser, model)
    return parser.parse_known_args(arguments)


def _list_settings(parser: ArgumentParser, model: type[Settings], prefix: str = "") -> None:
    from pydantic_settings import BaseSettings, CliSettingsSource

    CliSettingsSource(
        type(model.__name__, (BaseSettings, model), {}),
        root_parser=parser,
        cli_prefix=prefix,
        cli_parse_none_str="null",
        cli_avoid_json=True,
        cli_use_class_docs_for_groups=True,
    )
    for name, field in model.model_fields.items():
        value = get_args(field.annotation)[1] if get_origin(field.annotation) is dict else None
        if isinstance(value, type) and issubclass(value, Settings):
            _list_settings(parser, value, f"{name}.NAME")
