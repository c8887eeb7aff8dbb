"""`fashionclip COMMAND`: what comes after training. Each command is a module of `commands/`; what it needs is imported
when it runs, so that `--help` is quick."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from fashionclip.app.commands import export, index, judge, search, serve
from fashionclip.app.home import expand_options
from fashionclip.app.user_errors import one_message
from fashionclip.errors import InputError
from fashionclip.foreign_text import is_utf8

COMMANDS: tuple[ModuleType, ...] = (export, index, search, serve, judge)


def main(arguments: Sequence[str] | None = None) -> None:
    """Parses the command line and runs its command."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    parser = argparse.ArgumentParser(prog="fashionclip", description="Export, index and search with a trained model.")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for command in COMMANDS:
        one = commands.add_parser(command.NAME, help=command.HELP, description=command.__doc__)
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
