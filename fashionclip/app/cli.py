"""`fashionclip COMMAND`: from a catalogue to search in it. Each command is a module of `commands/`; what it needs is
imported when it runs, so that `--help` is quick."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from fashionclip import __version__
from fashionclip.app.commands import (
    evaluate,
    export,
    index,
    init,
    judge,
    judgements,
    prepare,
    search,
    serve,
    sweep,
    train,
)
from fashionclip.app.home import expand_options
from fashionclip.app.user_errors import one_message
from fashionclip.errors import InputError
from fashionclip.foreign_text import is_utf8

HYDRA_COMMANDS: dict[str, ModuleType] = {command.NAME: command for command in (prepare, train, evaluate)}
COMMANDS: list[ModuleType] = [init, prepare, train, sweep, evaluate, export, index, search, serve, judge, judgements]


def main(arguments: Sequence[str] | None = None) -> None:
    """Parses the command line and runs its command."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    if given[:1] == ["-sc"]:  # the shell asks what may stand next
        complete(given)
    elif given and given[0] in HYDRA_COMMANDS:
        HYDRA_COMMANDS[given[0]].main(given[1:])
    else:
        run(given)


def run(given: list[str]) -> None:
    """Runs a command whose arguments are not Hydra's."""
    parser = argparse.ArgumentParser(
        prog="fashionclip",
        description="Fine-tune a model on your catalogue, export it, index photos and search in them.",
    )
    parser.add_argument("--version", action="version", version=f"fashionclip {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for command in COMMANDS:
        one = commands.add_parser(command.NAME, help=command.HELP, description=command.__doc__)
        if command.NAME not in HYDRA_COMMANDS:
            command.add_arguments(one)
            one.set_defaults(command=command)  # not `run`, which `export` has as an argument
    if given and given[0] in commands.choices:  # its parser by itself also takes a text that stands behind options
        options = commands.choices[given[0]].parse_intermixed_args(given[1:])
    else:
        options = parser.parse_args(given)
    expand_options(options)
    with one_message():
        odd = [value for value in vars(options).values() if isinstance(value, Path) and not is_utf8(str(value))]
        if odd:
            raise InputError(f"{odd[0]}: this name is not UTF-8. Rename the file or folder.")
        options.command.run(options)


def complete(given: list[str]) -> None:
    """Answers Hydra's shell completion, which asks without the command: that stands in the line typed so far."""
    program, command, overrides = (os.environ["COMP_LINE"] + "  ").split(" ", 2)
    if command in HYDRA_COMMANDS:
        os.environ["COMP_LINE"] = f"{program} {overrides.removesuffix('  ')}"
        HYDRA_COMMANDS[command].main(given)
    elif not overrides.strip():
        print(*(command.NAME for command in COMMANDS))
