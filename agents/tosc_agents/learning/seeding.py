"""Fresh weights from a seed, leaving the global random state as it was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def weights_from(seed: int) -> Iterator[None]:
    """Modules built inside draw their initial weights from ``seed``; the global stream is restored after."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield
