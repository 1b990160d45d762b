"""``tosc data``: the data sets that are present, and how to get the rest."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from tosc_agents.records import plain_console
from tosc_env.data import data_root
from tosc_env.data.download import fetch, status


@dataclass
class List:
    """Show which data sets and pretrained weights are present, and where.

    Example: tosc data list
    """

    def run(self) -> int:
        """Print a row for each."""
        from rich.table import Table

        table = Table(title=f"data root: {data_root()}")
        for heading in ("name", "present", "images", "official", "where or how"):
            table.add_column(heading)
        for row in status():
            present, where = ("yes", row["where"]) if row["present"] else ("no", row["how"])
            images = "" if row["images"] is None else row["images"]
            table.add_row(*map(str, (row["name"], present, images, row["official"], where)))
        plain_console().print(table)
        return 0


@dataclass
class Get:
    """Download a data set's official release, or pretrained weights, and check its sum; resumes if interrupted.

    Example: tosc data get cifar10
    """

    name: Annotated[str, tyro.conf.Positional]
    """A data set of 'tosc data list', or vgg; of one that is got by hand, how, and whether it is the official one."""
    root: Path | None = None
    """Folder to put it in; by default $TOSC_DATA_DIR, else the user's cache."""

    def run(self) -> int:
        """Fetch, verify, unpack."""
        print(f"{self.name} is in {fetch(self.name, root=self.root)}")
        return 0


@dataclass
class Data:
    """Show or get data sets.

    Example: tosc data list
    """

    action: List | Get

    def run(self) -> int:
        """Show or get."""
        return self.action.run()
