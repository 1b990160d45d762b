"""What is done to a scheme's symbols between its transmitter and the channel, and undone at its receiver."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor, nn

from tosc_env.policies import Context


class Perturbation(nn.Module, ABC):
    """A protection that knows nothing of images or tasks: noise on the symbols, or a keyed transform of them.

    ::

        symbols [B, 2n] --protect--> [B, 2n] --channel--> received [B, 2n] --recover--> [B, 2n] for the receiver

    A scheme that is made of the baseline and a perturbation offers the latter to others by a class method
    ``perturbation(num_symbols, constellation, **options)``; :class:`~tosc_agents.schemes.layered.Layered` looks
    it up by the scheme's registered name, so that a stranger's perturbation can be layered on anything.

    Args:
        num_symbols: n, complex channel uses per message.
        constellation: of a discrete scheme, whose points :meth:`protect` must send to points; None: any reals.
        options: see :attr:`options`.

    Attributes:
        keyed: whether it needs a secret key.
        stochastic: whether the same symbols may come out differently each time.
        options: plain values that make it again, defaults included and the key excepted.
    """

    keyed: bool = False
    stochastic: bool = False

    def __init__(self, num_symbols: int, constellation: str | None = None, **options: Any) -> None:
        super().__init__()
        self.num_symbols, self.constellation, self.options = num_symbols, constellation, options

    @abstractmethod
    def protect(self, symbols: Tensor, context: Context) -> Tensor:
        """Protected symbols [B, 2n], differentiable in ``symbols`` unless they are a constellation's points."""

    def recover(self, received: Tensor, context: Context) -> Tensor:
        """What the receiver's network is given, [B, 2n]; by default the reception as it is."""
        return received

    def guarantee(self, transmissions: int = 1) -> str | None:
        """What is proven, in one sentence; None: nothing is."""
        return None
