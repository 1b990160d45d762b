"""The command ``tosc``: one line of error and exit code 2 for a user's slip, no traceback."""

from __future__ import annotations

import io
import os
import re
import signal
import sys
import warnings
from collections.abc import Sequence
from contextlib import redirect_stderr
from dataclasses import is_dataclass
from importlib.metadata import version
from itertools import takewhile
from typing import Any

from tosc_env.errors import InputError, ToscError, printable, shown, unknown

DESCRIPTION = (
    "Privacy in task-oriented semantic communication: train, attack, measure; list and get data. "
    "'tosc --version' says which version this is."
)


class _Terminated(BaseException):
    """The system asked the command to end: what it was writing is removed on the way out."""


def _terminate(*_: Any) -> None:
    raise _Terminated


_told: set[str] = set()
"""Warnings that were shown: a data set that is read for each split says everything again."""


def _show_warning(message: Warning | str, *_: Any) -> None:
    text = printable(" ".join(str(message).split()))
    if text not in _told:
        _told.add(text)
        print(f"tosc: warning: {text}", file=sys.stderr)


def _open_ends() -> None:
    """See to it that whatever is printed can be: on a terminal without some letters, and where nobody listens."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name) or open(os.devnull, "w")  # noqa: SIM115
        stream.reconfigure(errors="backslashreplace")
        setattr(sys, name, stream)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if arguments is None:
        _open_ends()
        signal.signal(signal.SIGTERM, _terminate)
        warnings.showwarning = _show_warning  # type: ignore[assignment]
    try:
        code = _run(given)
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # whoever read the output, such as 'head', has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except ToscError as error:
        print(f"tosc: error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        if error.filename is not None:
            raise
        # Of a file it would be a WriteError: it is the output, on a disk that is full.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        print(f"tosc: error: cannot write the output: {error.strerror or error}.", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        told = "no file is half-written, and the same command goes on from the last whole epoch"
        print(f"tosc: interrupted; {told}.", file=sys.stderr)
        return 130
    except _Terminated:
        print("tosc: terminated; the same command goes on from the last whole epoch.", file=sys.stderr)
        return 128 + signal.SIGTERM


def _run(given: list[str]) -> int:
    if given == ["--version"]:
        print(f"tosc {version('tosc-env')}")
        return 0
    check_arguments(given)
    command = parsed(given)
    check_whole_numbers(command)
    return int(command.run())


def check_arguments(given: Sequence[str]) -> None:
    """Raise InputError for an argument that is empty or cannot be printed, and for an option that is given twice."""
    names: dict[str, str] = {}
    for before, text in zip(("tosc", *given), given, strict=False):
        if not text:
            raise InputError(f"the argument after {before!r} is empty; leave it out, or give it a value.")
        if not all(letter.isprintable() or letter in "\t\n" for letter in text):
            raise InputError(f"arguments are text that can be printed, not {text!r}.")
        if text == "--":
            raise InputError("'--' alone means nothing to tosc; leave it out.")
        if text.startswith("--"):
            name = text.partition("=")[0].replace("_", "-").removeprefix("--").removeprefix("no-")
            if name in names:
                raise InputError(f"{text!r} and {names[name]!r} are one option, given once, not twice.")
            names[name] = text


def check_whole_numbers(command: Any) -> None:
    """Raise InputError for a whole number of more than 64 bits, which no generator, tensor or loop takes."""
    for name, value in vars(command).items():
        if is_dataclass(value):
            check_whole_numbers(value)
        elif type(value) is int and not -(2**63) <= value < 2**63:
            raise InputError(
                f"--{name.replace('_', '-')} must be a whole number of 64 bits, not one of {value.bit_length()}."
            )


def commands() -> Any:
    """The type of all commands, imported here and not above: that takes seconds, in which one may interrupt too."""
    from tosc_agents.commands.attack import Attack
    from tosc_agents.commands.calibrate import Calibrate
    from tosc_agents.commands.data import Data
    from tosc_agents.commands.demo import Demo
    from tosc_agents.commands.evaluate import Evaluate
    from tosc_agents.commands.listing import List
    from tosc_agents.commands.reproduce import Reproduce
    from tosc_agents.commands.train import Train

    return Demo | Data | Train | Attack | Evaluate | Calibrate | Reproduce | List


def parsed(given: list[str]) -> Any:
    """The command of these arguments; raises InputError for what tyro tells in a box of several lines."""
    import tyro

    told = io.StringIO()
    try:
        with redirect_stderr(told):
            command, unread = tyro.cli(
                commands(),
                prog="tosc",
                args=given,
                description=DESCRIPTION,
                config=(tyro.conf.OmitSubcommandPrefixes, tyro.conf.OmitArgPrefixes),
                return_unknown_args=True,
            )
    except SystemExit as stopped:
        if not stopped.code:  # --help
            sys.stdout.flush()
            raise
        raise InputError(_sentence(told.getvalue(), given)) from None
    if unread:
        raise _unknown(given[0], command, unread)
    return command


_NUMBERS = {"INT": "a whole number", "[INT": "whole numbers", "FLOAT": "a number", "[FLOAT": "numbers"}


def _sentence(box: str, given: Sequence[str]) -> str:
    """What tyro's box says of these arguments; where a terminal has no lines, its sides are blanks."""
    boxed = [line.strip("│| ") for line in box.splitlines()[1:-1]]
    text = " ".join(line if line.strip("─-") else ";" for line in boxed)
    wanted = r"Error parsing (--[\w-]+):.*; Argument helptext: \1 (?:\{None\}\|)?(\[?(?:INT|FLOAT))"
    if number := re.search(wanted, text):
        flag, kind = number.groups()
        return f"{flag} takes {_NUMBERS[kind]}, not {' '.join(map(repr, _values_of(flag, given)))}."
    if commands := re.search(r"Expected one of \{(.+?)\}", text):
        names = commands[1].split(", ")
        # 'data' alone has commands of its own.
        if written := next((word for word in given if word != "data"), None):
            return str(unknown("command", written, names))
        return f"a command is one of {', '.join(names)}."
    text = re.split("; (?:Argument helptext|For full helptext)", text)[0]
    return f"{text.replace(' ;', ';').strip('; ').rstrip('.')}."


def _values_of(flag: str, given: Sequence[str]) -> list[str]:
    for at, text in enumerate(given):
        name, equals, value = text.partition("=")
        if name.replace("_", "-") == flag:
            return [value] if equals else list(takewhile(lambda one: one[:2] != "--", given[at + 1 :]))
    return []


def _unknown(name: str, command: Any, unread: Sequence[str]) -> InputError:
    """The error for arguments that a command does not have."""
    from tosc_agents.commands.common import asked_of

    flag = next((text.partition("=")[0] for text in unread if text.startswith("--")), None)
    if flag is None:
        return InputError(f"'tosc {name}' takes no further argument, and {shown(unread[0])} was given.")
    return unknown(f"option of 'tosc {name}'", flag, [one for one in asked_of(command) if one[:2] == "--"])


if __name__ == "__main__":
    sys.exit(main())
