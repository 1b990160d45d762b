"""Nodes: one receiver and any number of eavesdroppers, with antennas and SNRs of their own."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from tosc_env.errors import InputError, shown
from tosc_env.options import check_count, check_fields, check_options, named_options
from tosc_env.snr import SNR, SNRRange

MOST_ANTENNAS = 1024


@dataclass(frozen=True)
class Node:
    """A receiver of every transmission over a link of its own.

    Attributes:
        name: the key of its links, receptions and rewards.
        antennas: A, from 1 to 1024. Several are combined by maximum ratio, a sufficient statistic of the symbols.
        snr_db: Es/N0 of its link per antenna, in the forms of the game's ``snr_db``; None: the game's own for
            receiver or eavesdroppers.
        adversary: whether it is an eavesdropper, and not the receiver.
    """

    name: str
    antennas: int = 1
    snr_db: SNR | SNRRange | None = None
    adversary: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not re.fullmatch(r"[A-Za-z][\w-]*", self.name):
            raise InputError(f"a node's name is of letters, digits, '_' and '-', not {shown(self.name)}.")
        check_fields(self, but=("antennas", "snr_db"))
        count = check_count(self.antennas, f"the antennas of node {self.name!r}", high=MOST_ANTENNAS)
        object.__setattr__(self, "antennas", count)
        if self.snr_db is not None:
            SNRRange.parse(self.snr_db, f"snr_db of node {self.name!r}")

    def plain(self) -> dict[str, Any]:
        """Return the fields that differ from their defaults as plain values."""
        values = asdict(self)
        if self.snr_db is not None:
            values["snr_db"] = SNRRange.parse(self.snr_db).plain()
        return {f.name: values[f.name] for f in fields(self) if values[f.name] != f.default}


WIRETAP = (Node("receiver"), Node("eavesdropper", adversary=True))
"""One receiver and one eavesdropper, an antenna each."""


def wiretap(eavesdroppers: int = 1, **each: Any) -> tuple[Node, ...]:
    """A receiver and a number of eavesdroppers with equal fields of :class:`Node`, ``eavesdropper_0`` and on.

    >>> [node.name for node in wiretap(2, snr_db=-10.0)]
    ['receiver', 'eavesdropper_0', 'eavesdropper_1']
    """
    count = check_count(eavesdroppers, "eavesdroppers", high=MOST_ANTENNAS)
    return WIRETAP[0], *(Node(f"eavesdropper_{k}", adversary=True, **each) for k in range(count))


def as_nodes(given: Any) -> tuple[Node, ...]:
    """Nodes from objects or from dictionaries of their fields, the receiver first; InputError unless there is one
    receiver and an eavesdropper, each of a name of its own."""
    if isinstance(given, str | Mapping) or not isinstance(given, Sequence):
        raise InputError(f"nodes takes a list of nodes, not {shown(given)}.")
    nodes = [_node(one) for one in given]
    if [node.adversary for node in nodes] != [False, *[True] * (len(nodes) - 1)] or len(nodes) < 2:
        found = ", ".join(f"{node.name} ({'adversary' if node.adversary else 'receiver'})" for node in nodes)
        raise InputError(
            f"nodes must be one receiver, which comes first, and at least one adversary, not {found or 'none'}."
        )
    names = [node.name for node in nodes]
    if names[0] != "receiver":
        raise InputError(f"the first node is the receiver and is called so, not {shown(names[0])}.")
    agents = [f"eavesdropper_{k}" for k in range(len(nodes) - 1)]
    for agent, name in zip(agents, names[1:], strict=True):
        if name in {"transmitter", "transmitter_0", "receiver_0", *agents} - {agent}:
            raise InputError(f"an eavesdropper cannot be called {name!r}, another player; {agent!r} is free.")
    if len(set(names)) < len(names):
        raise InputError(f"every node needs a name of its own, but they are called {', '.join(names)}.")
    return tuple(nodes)


def _node(given: Any) -> Node:
    if isinstance(given, Node):
        return given
    options = named_options("a node", given, beside=())
    check_options(Node, "node", options)
    return Node(**options)
