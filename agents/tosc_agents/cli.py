"""The command ``tosc``: one line of error and exit code 2 for a user's slip, no traceback."""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import tyro

from tosc_agents.commands.attack import Attack
from tosc_agents.commands.calibrate import Calibrate
from tosc_agents.commands.data import Data
from tosc_agents.commands.demo import Demo
from tosc_agents.commands.evaluate import Evaluate
from tosc_agents.commands.listing import List
from tosc_agents.commands.reproduce import Reproduce
from tosc_agents.commands.train import Train
from tosc_env.errors import ToscError

_Command = (
    Annotated[Demo, tyro.conf.subcommand("demo")]
    | Annotated[Data, tyro.conf.subcommand("data")]
    | Annotated[Train, tyro.conf.subcommand("train")]
    | Annotated[Attack, tyro.conf.subcommand("attack")]
    | Annotated[Evaluate, tyro.conf.subcommand("evaluate")]
    | Annotated[Calibrate, tyro.conf.subcommand("calibrate")]
    | Annotated[Reproduce, tyro.conf.subcommand("reproduce")]
    | Annotated[List, tyro.conf.subcommand("list")]
)


class _Terminated(BaseException):
    """The system asks the command to end: what it was writing is removed on the way out."""


def _terminate(*_: Any) -> None:
    raise _Terminated


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    if arguments is None:
        signal.signal(signal.SIGTERM, _terminate)
    try:
        command: Any = tyro.cli(
            _Command,  # type: ignore[arg-type]
            prog="tosc",
            args=arguments,
            description="Privacy in task-oriented semantic communication: train, attack, measure.",
            config=(tyro.conf.OmitSubcommandPrefixes, tyro.conf.OmitArgPrefixes),
        )
        return int(command.run())
    except ToscError as error:
        print(f"tosc: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("tosc: interrupted; the same command goes on from the last whole epoch.", file=sys.stderr)
        return 130
    except _Terminated:
        print("tosc: terminated; the same command goes on from the last whole epoch.", file=sys.stderr)
        return 128 + signal.SIGTERM


if __name__ == "__main__":
    sys.exit(main())
