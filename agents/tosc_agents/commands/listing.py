"""``tosc list``: everything that has a name."""

from __future__ import annotations

from dataclasses import dataclass

from tosc_agents.records import plain_console
from tosc_env.attackers import eavesdroppers
from tosc_env.channels import channels
from tosc_env.data import sources
from tosc_env.registration import environments
from tosc_env.registry import Registry
from tosc_env.rewards import rewards
from tosc_env.schemes import objectives, schemes, stages
from tosc_env.tasks import tasks
from tosc_env.zoos import listing


@dataclass
class List:
    """Show environments, everything that is registered (schemes, stages, attackers, ...), and trained weights.

    Example: tosc list
    """

    def run(self) -> int:
        """Print names and where each comes from; loads none of them."""
        from rich.table import Table

        table = Table(show_header=True)
        for heading in ("kind", "name", "from"):
            table.add_column(heading)
        for id, data in environments().items():
            table.add_row("environment", id, f"the data set {data}")
        signal_chain: tuple[Registry, ...] = schemes, stages, objectives, eavesdroppers
        for registry in (*signal_chain, channels, sources, tasks, rewards):
            for name in registry:
                table.add_row(registry.kind, name, registry.origin(name))
        console = plain_console()
        console.print(table)
        console.print("trained weights:")
        for line in listing():
            console.print(f"  {line}", highlight=False)
        return 0
