"""The command ``tosc``: one line of error and exit code 2 for a user's slip, no traceback."""

from __future__ import annotations

import io
import signal
import sys
import warnings
from collections.abc import Sequence
from contextlib import redirect_stderr
from dataclasses import is_dataclass
from importlib.metadata import version
from typing import Annotated, Any

from tosc_env.errors import InputError, ToscError

DESCRIPTION = (
    "Privacy in task-oriented semantic communication: train, attack, measure; list and get data. "
    "'tosc --version' says which version this is."
)


class _Terminated(BaseException):
    """The system asks the command to end: what it was writing is removed on the way out."""


def _terminate(*_: Any) -> None:
    raise _Terminated


def _show_warning(message: Warning | str, *_: Any) -> None:
    print(f"tosc: warning: {' '.join(str(message).split())}", file=sys.stderr)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if arguments is None:
        signal.signal(signal.SIGTERM, _terminate)
        warnings.showwarning = _show_warning  # type: ignore[assignment]
    try:
        if given == ["--version"]:
            print(f"tosc {version('tosc-env')}")
            return 0
        check_arguments(given)
        command = parsed(given)
        check_whole_numbers(command)
        return int(command.run())
    except ToscError as error:
        print(f"tosc: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(
            "tosc: interrupted; no file is half-written, and the same command goes on from the last whole epoch.",
            file=sys.stderr,
        )
        return 130
    except _Terminated:
        print("tosc: terminated; the same command goes on from the last whole epoch.", file=sys.stderr)
        return 128 + signal.SIGTERM


def check_arguments(given: Sequence[str]) -> None:
    """Raise InputError for an argument that is empty or cannot be printed, and for an option that is given twice.

    >>> check_arguments(["train", "deepjscc", "--flip", "--no-flip"])
    Traceback (most recent call last):
    ...
    tosc_env.errors.InputError: '--no-flip' and '--flip' are one option, which is given once, not twice.
    """
    names: dict[str, str] = {}
    for before, text in zip(("tosc", *given), given, strict=False):
        if not text:
            raise InputError(f"the argument after {before!r} is empty; leave it out, or give it a value.")
        if not all(letter.isprintable() or letter in "\t\n" for letter in text):
            raise InputError(f"arguments are text that can be printed, not {text!r}.")
        if text.startswith("--"):
            name = text.partition("=")[0].replace("_", "-").removeprefix("--").removeprefix("no-")
            if name in names:
                raise InputError(
                    f"{text!r} and {names[name]!r} are one option, which is given once, not twice."
                )
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
    """The type of all commands.

    Their modules are imported here and not above: that takes seconds, in which an interruption is one line too.
    """
    import tyro

    from tosc_agents.commands.attack import Attack
    from tosc_agents.commands.calibrate import Calibrate
    from tosc_agents.commands.data import Data
    from tosc_agents.commands.demo import Demo
    from tosc_agents.commands.evaluate import Evaluate
    from tosc_agents.commands.listing import List
    from tosc_agents.commands.reproduce import Reproduce
    from tosc_agents.commands.train import Train

    return (
        Annotated[Demo, tyro.conf.subcommand("demo")]
        | Annotated[Data, tyro.conf.subcommand("data")]
        | Annotated[Train, tyro.conf.subcommand("train")]
        | Annotated[Attack, tyro.conf.subcommand("attack")]
        | Annotated[Evaluate, tyro.conf.subcommand("evaluate")]
        | Annotated[Calibrate, tyro.conf.subcommand("calibrate")]
        | Annotated[Reproduce, tyro.conf.subcommand("reproduce")]
        | Annotated[List, tyro.conf.subcommand("list")]
    )


def parsed(given: list[str]) -> Any:
    """The command of these arguments; raises InputError with what tyro tells in a box of several lines."""
    import tyro

    told = io.StringIO()
    try:
        with redirect_stderr(told):
            return tyro.cli(
                commands(),
                prog="tosc",
                args=given,
                description=DESCRIPTION,
                config=(tyro.conf.OmitSubcommandPrefixes, tyro.conf.OmitArgPrefixes),
            )
    except SystemExit as stopped:
        if not stopped.code:  # --help
            raise
        boxed = [line.strip("│| ") for line in told.getvalue().splitlines()[1:-1]]
        parts = " ".join(line if line.strip("─-") else ";" for line in boxed).split("; For full helptext")
        raise InputError(f"{parts[0].replace(' ;', ';').strip().rstrip('.')}.") from None


if __name__ == "__main__":
    sys.exit(main())
