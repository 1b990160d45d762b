"""A game being played: the batched core that every environment adapts.

A :class:`Session` holds the present message of each row, plays the roles that are not outside, counts the
rounds of each row's episode, and draws everything from generators of its own.  It works on tensors and
knows no RL interface; :mod:`tosc_env.envs` has those.
"""

from __future__ import annotations

import hashlib
import operator
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch
from torch import Tensor

from tosc_env.errors import InputError
from tosc_env.frames import Frame, Played, select
from tosc_env.pipeline import evaluating
from tosc_env.roles import AGENTS, check_role
from tosc_env.types import Context, Reception, Round, Scores, Transmission

if TYPE_CHECKING:
    from tosc_env.envs.system import System


P = TypeVar("P")


class Session:
    """B rows of one game, with the given roles played from outside.

    Args:
        system: the game and the policies of the roles that are *not* outside.
        outside: the roles whose actions the caller gives.
        num_envs: B.
        max_cycles: rounds in an episode.

    Attributes:
        frame: the present message.
        cycles: NumPy int64 [B], rounds played in the present episode; kept on the host, so that asking
            whether an episode is over never waits for the device.
        played: the last finished round, or None.

    Randomness: ``reset(seed=...)`` derives two generators on the game's device. One draws the messages and
    continues over resets without a seed; the other serves partial resets alone, so that restarting some
    rows changes nothing in what the others will ever see. The global generators are never touched; without
    a seed, entropy comes from the operating system. The environment number that keyed schemes are given
    (:attr:`~tosc_env.types.Context.environment`) follows from the seed, the data and the rules: resetting
    with the same seed replays the same messages, with the same numbers, and no other environment has them.

    Raises:
        InputError: an unknown role, or ``num_envs`` or ``max_cycles`` below 1.
    """

    def __init__(
        self, system: System, outside: Collection[str], *, num_envs: int = 1, max_cycles: int = 16
    ) -> None:
        for name, value in (("num_envs", num_envs), ("max_cycles", max_cycles)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise InputError(f"{name} must be a whole number of at least 1, not {value!r}.")
        self.system = system
        self.game = system.game
        self.outside = frozenset(check_role(role) for role in outside)
        self.num_envs = num_envs
        self.max_cycles = max_cycles
        self.frame: Frame | None = None
        self.played: Played | None = None
        self.cycles = np.zeros(num_envs, dtype=np.int64)
        self.environment = 0
        self._stream: torch.Generator | None = None
        self._restarts: torch.Generator | None = None

    # -- the course of an episode -------------------------------------------------------------------

    @property
    def over(self) -> np.ndarray:
        """Rows whose episode has ended, NumPy bool [B]."""
        return self.cycles >= self.max_cycles

    def reset(self, seed: int | None = None, mask: np.ndarray | Tensor | None = None) -> None:
        """Begin new episodes.

        Args:
            seed: a whole number of at least 0, which fixes everything that follows; None goes on with the
                present generators (the first time: with entropy from the operating system).
            mask: bool [B], the rows that restart; None: all. The others keep their message and their future.

        Raises:
            InputError: a wrong seed or mask, a mask with a seed, or a mask before the first reset.
        """
        rows = None if mask is None else self._mask(mask)
        if rows is not None and seed is not None:
            raise InputError("a reset of some rows takes no seed: all rows share one generator.")
        if rows is not None and self.frame is None:
            raise InputError("the first reset concerns all rows; a reset_mask was given.")
        if rows is not None and not rows.all():
            fresh = self._draw(self._restarts, rows)
            self.frame = select(self._to_device(rows), fresh, self._present)
            self.cycles[rows] = 0
            return
        if seed is not None or self._stream is None:
            self._seed(seed)
            self.frame = None
        self.played = None
        self.advance(np.ones(self.num_envs, dtype=bool))

    def play(self, actions: Mapping[str, Tensor]) -> Scores:
        """Finish the present round with the outside roles' actions, one row per message.

        Args:
            actions: for each outside role, ``transmitter`` float32 [B, 2n] (any finite amplitude, power is
                the game's business), ``receiver`` in the form of the targets, ``eavesdropper`` float32
                [B, C, H, W] in [0, 1] (:func:`~tosc_env.roles.as_action` clips). The transmitter's is not needed
                after :meth:`send`.
        """
        if "transmitter" in actions:
            self.send(actions["transmitter"])
        scores = self.answer(self._present, actions.get("receiver"), actions.get("eavesdropper"))
        self.cycles += 1
        return scores

    def send(self, symbols: Tensor) -> None:
        """Put an outside transmitter's symbols [B, 2n] on the air, behind the stages that were added to the scheme, so
        that both receptions exist."""
        round_ = self._present.round
        scheme = self.system.scheme
        with torch.no_grad():
            if scheme is not None and scheme.added:
                context = self._context(round_, self._stream)
                symbols = scheme.protect(self.game.checked(symbols), context, added_only=True)
            try:
                transmission = self.game.transmit(round_, symbols)
            except InputError as error:
                raise InputError(f"{AGENTS['transmitter']}: {error}") from None
        self.frame = Frame(round_, transmission)

    @torch.no_grad()
    def answer(self, frame: Frame, decision: Tensor | None, reconstruction: Tensor | None) -> Scores:
        """Score a frame that is on the air; a missing answer is the inside policy's."""
        transmission = self._on_air(frame)
        if decision is None:
            decision = self._decide(frame.round, transmission.receiver)
        if reconstruction is None:
            reconstruction = self._reconstruct(transmission.eavesdropper).clamp(0.0, 1.0)
        # The last round is let go before the next takes memory: a batch of images is then written where one
        # has just been freed, not on pages that the system has to clear first.
        self.played = None
        scores = self.game.score(frame.round, decision, reconstruction)
        self.played = Played(frame, decision, reconstruction, scores)
        return scores

    def advance(self, restart: np.ndarray | None = None) -> None:
        """Draw the next message of every row.

        Args:
            restart: NumPy bool [B], rows that begin a new episode. A row whose episode is over and does not
                restart keeps its last message. How many numbers are drawn depends on B alone, and nothing
                is drawn when every row stays.
        """
        waiting = self.over if restart is None else self.over & ~restart
        if self.frame is not None and waiting.all():
            return
        fresh = self._draw(self._stream, restart)
        if waiting.any():
            fresh = select(self._to_device(waiting), self._present, fresh)
        self.frame = fresh
        if restart is not None:
            self.cycles[restart] = 0

    # -- what a role is told ------------------------------------------------------------------------

    def observe(self, role: str, frame: Frame | None = None) -> dict[str, Tensor]:
        """What a role sees of the present (or the given) frame, in tensors of its own.

        ``image`` [B, C, H, W] and ``csi`` [B, 1] for the transmitter; ``received`` [B, 2n] and ``csi``
        [B, c] for the others, all zeros before the message is on the air. The receiver's is what it is behind the
        stages that were added to the scheme, which both ends share.
        """
        frame = frame or self._present
        if role == "transmitter":
            return {"image": frame.round.batch.images.clone(), "csi": frame.round.snr_db[:, None].clone()}
        if frame.transmission is None:
            return self.silence()
        reception: Reception = getattr(frame.transmission, role)
        scheme = self.system.scheme
        if role == "receiver" and scheme is not None and scheme.added:
            context = self._context(frame.round, self._stream)
            bare = scheme.recover(reception.received, reception.csi, context, added_only=True)
            reception = replace(reception, received=bare)
        return {"received": reception.received.detach().clone(), "csi": reception.csi.detach().clone()}

    def silence(self) -> dict[str, Tensor]:
        """The observation of a side that has received nothing yet: zeros."""
        spec = self.game.spec
        sizes = {"received": 2 * spec.num_symbols, "csi": spec.num_csi}
        return {key: torch.zeros(self.num_envs, size, device=self.game.device) for key, size in sizes.items()}

    def info(self, role: str, scores: Scores | None, frame: Frame | None = None) -> dict[str, Tensor]:
        """A role's info: ``accuracy``, ``psnr_db``, ``mse``, its own ``snr_db``, ``stand_in``, and the extra
        metrics asked for; float32 [B] each, and the figures 0 where there is no score yet."""
        round_ = (frame or self._present).round
        zeros = torch.zeros(self.num_envs, device=self.game.device)
        own = round_.eavesdropper_snr_db if role == "eavesdropper" else round_.snr_db
        told = {
            "accuracy": zeros if scores is None else scores.accuracy,
            "psnr_db": zeros if scores is None else scores.psnr_db,
            "mse": zeros if scores is None else scores.mse,
            "snr_db": own,
            "stand_in": zeros + float(self.system.stand_in),
            **(dict.fromkeys(self.game.metrics, zeros) if scores is None else scores.extra),
        }
        return {key: value.detach().to(torch.float32, copy=True) for key, value in told.items()}

    # -- inside -------------------------------------------------------------------------------------

    @property
    def _present(self) -> Frame:
        if self.frame is None:
            raise InputError("call reset() before anything else: no message has been drawn yet.")
        return self.frame

    @staticmethod
    def _on_air(frame: Frame) -> Transmission:
        if frame.transmission is None:
            raise InputError(f"{AGENTS['transmitter']}: no symbols were given, so nothing can be answered.")
        return frame.transmission

    def _seed(self, seed: int | None) -> None:
        if seed is not None:
            if not hasattr(seed, "__index__") or operator.index(seed) < 0:
                raise InputError(f"seed must be a whole number of at least 0, or None, not {seed!r}.")
            seed = operator.index(seed)
        # SeedSequence makes neighbouring seeds unrelated, and asks the operating system for entropy for None.
        words = np.random.SeedSequence(seed).generate_state(3, np.uint64) >> np.uint64(1)
        messages, restarts, environment = (int(word) for word in words)
        device = self.game.device
        self._stream = torch.Generator(device).manual_seed(messages)
        self._restarts = torch.Generator(device).manual_seed(restarts)
        # The same seed in another environment is another world: its messages must not share keys with this one's.
        self.environment = environment ^ self._world()

    def _world(self) -> int:
        """A number of 63 bits that differs between environments whose images or draws differ."""
        game = self.game
        source = game.source
        parts = (
            *(source.name, source.split, source.half, len(source), source.image_shape),
            source.images[0].cpu().numpy().tobytes(),
            *(self.num_envs, self.max_cycles, game.num_symbols, game.repeat, sorted(self.outside)),
            type(game.channel).__qualname__,
            sorted((k, str(v)) for k, v in vars(game.channel).items() if not k.startswith("_")),
            *(game.snr_db.plain(), game.eavesdropper_snr_db and game.eavesdropper_snr_db.plain()),
        )
        return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:8], "big") >> 1

    @torch.no_grad()
    def _draw(self, generator: torch.Generator | None, restart: np.ndarray | None) -> Frame:
        previous = None if self.frame is None else self.frame.round
        mask = None if previous is None or restart is None else self._to_device(restart)
        round_ = self.game.draw(self.num_envs, generator=generator, previous=previous, restart=mask)
        if "transmitter" in self.outside:
            return Frame(round_, None)
        scheme = _player(self.system.scheme, "transmitter")
        symbols = scheme.send(self.game.source, round_.batch.index, self._context(round_, generator))
        return Frame(round_, self.game.transmit(round_, symbols))

    def _decide(self, round_: Round, reception: Reception) -> Tensor:
        scheme = _player(self.system.scheme, "receiver")
        context = self._context(round_, self._stream)
        with evaluating(scheme):
            return self.game.task.decide(scheme.decode(reception.received, reception.csi, context))

    def _reconstruct(self, reception: Reception) -> Tensor:
        eavesdropper = _player(self.system.eavesdropper, "eavesdropper")
        with evaluating(eavesdropper):
            return eavesdropper.reconstruct(reception.received, reception.csi)

    def _context(self, round_: Round, generator: torch.Generator | None) -> Context:
        return Context(round_.snr_db, round_.message, self.environment, generator)

    def _mask(self, mask: np.ndarray | Tensor) -> np.ndarray:
        rows = mask.cpu().numpy() if isinstance(mask, Tensor) else np.asarray(mask)
        if rows.shape != (self.num_envs,) or rows.dtype != np.bool_:
            raise InputError(
                f"reset_mask must be bool of shape ({self.num_envs},), not {rows.dtype} {rows.shape}."
            )
        if not rows.any():
            raise InputError("reset_mask must select at least one row, and selects none.")
        return rows

    def _to_device(self, mask: np.ndarray) -> Tensor:
        return torch.tensor(mask, device=self.game.device)


def _player(policy: P | None, role: str) -> P:
    if policy is None:
        raise InputError(f"{AGENTS[role]}: no action was given, and no policy plays this role.")
    return policy
