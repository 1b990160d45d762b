"""Episodes of a game: the batched core that every environment adapts, on tensors and without an RL interface."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from tosc_env.async_checks import AsyncChecks, check
from tosc_env.attackers import answered
from tosc_env.devices import to_device
from tosc_env.errors import InputError, shown
from tosc_env.exchange import transmit
from tosc_env.memory import evaluating
from tosc_env.options import MOST_MESSAGES, check_count, check_dense
from tosc_env.pipeline import Pipeline
from tosc_env.roles import agents_of, observation_space, player_of
from tosc_env.rows import select
from tosc_env.types import Context, Reception, Round, Scores, Transmission

if TYPE_CHECKING:
    from tosc_env.envs.system import System


P = TypeVar("P")

LARGE_SHARE = 50
"""An environment with at least one row per so many images encodes all of them at the first message."""


@dataclass(frozen=True)
class InFlight:
    """One message per row: the round that was drawn, and, once it is sent, the transmission."""

    round: Round
    transmission: Transmission | None


@dataclass(frozen=True)
class Transition:
    """A finished round: the message, the answers (each eavesdropper's by its node), and the scores."""

    message: InFlight
    decision: Tensor
    reconstructions: Mapping[str, Tensor]
    scores: Scores


def as_seed(seed: Any) -> int | None:
    """A seed as a Python number; InputError unless it is a whole number of at least 0, or None."""
    return None if seed is None else check_count(seed, "seed", 0)


class Session:
    """B rows of one game, with the given roles played from outside.

    Args:
        system: the game and the policies of the players that are *not* outside.
        outside: the roles whose actions the caller gives (:func:`~tosc_env.roles.player_of`).
        num_envs: B.
        max_cycles: rounds in an episode.

    Attributes:
        agents: each player's agent, by the player.
        present: the message in flight.
        cycles: NumPy int64 [B], rounds played in the present episode; on the host, so that nobody waits for the device.
        last: the last finished round, or None.

    Randomness: ``reset(seed=...)`` derives two generators on the game's device. One draws the messages and
    continues over resets without a seed; the other serves partial resets alone, so that restarting some
    rows does not change the others. The global generators are never used; without a seed, entropy comes from the
    operating system. The environment number of keyed schemes follows from the seed: the same seed replays the same
    messages, with the same numbers.

    Checks: actions from outside are checked at once. On a GPU, those of players inside and rewards of one's own are
    checked without waiting (:mod:`tosc_env.async_checks`), and a reset of all rows raises the errors found until then.
    """

    def __init__(
        self, system: System, outside: Collection[str], *, num_envs: int = 1, max_cycles: int = 16
    ) -> None:
        self.num_envs = check_count(num_envs, "num_envs", high=MOST_MESSAGES)
        self.max_cycles = check_count(max_cycles, "max_cycles", high=2**31)
        self.system = system
        self.game = system.game
        self.agents = agents_of(self.game.nodes)
        self.outside = frozenset(player_of(role, self.game.nodes) for role in outside)
        self.present: InFlight | None = None
        self.last: Transition | None = None
        self.cycles = np.zeros(self.num_envs, dtype=np.int64)
        self.environment = 0
        self._checks = AsyncChecks()
        self._stream: torch.Generator | None = None
        self._restarts: torch.Generator | None = None

    # -- the course of an episode -------------------------------------------------------------------

    @property
    def over(self) -> np.ndarray:
        """Rows whose episode has ended, NumPy bool [B]."""
        return self.cycles >= self.max_cycles

    def reset(self, seed: int | None = None, mask: np.ndarray | Tensor | None = None) -> None:
        """Begin new episodes in all rows, or in those of ``mask``, bool [B]; the others keep their message and their
        future.

        A seed, a whole number of at least 0, fixes everything that follows; None goes on with the present generators
        (the first time: with entropy from the operating system). A mask goes with no seed, nor with the first reset.
        """
        rows = None if mask is None else self._mask(mask)
        if rows is not None and seed is not None:
            raise InputError("a reset of some rows takes no seed: all rows share one generator.")
        if rows is not None and self.present is None:
            raise InputError("the first reset concerns all rows; a reset_mask was given.")
        if rows is not None and not rows.all():
            self.restart(rows)
            return
        if seed is not None or self._stream is None:
            self._seed(seed)
            self.present = None
        self.last = None
        self.advance(np.ones(self.num_envs, dtype=bool))
        self._checks.synchronize()

    def restart(self, rows: np.ndarray) -> None:
        """Begin a new episode in some rows, NumPy bool [B]; the others keep their message and their future."""
        if rows.all():
            self.advance(rows)
            return
        fresh = self._draw(self._restarts, rows)
        self.present = select(to_device(rows, self.game.device), fresh, self._present)
        self.cycles[rows] = 0

    def play(self, actions: Mapping[str, Tensor]) -> Scores:
        """Finish the present round with the outside players' actions, one row per message.

        Of ``transmitter`` float32 [B, 2n] (of any finite amplitude; not needed after :meth:`send`), of ``receiver`` in
        the form of the targets, of each eavesdropper float32 [B, C, H, W] in [0, 1] (:func:`~tosc_env.roles.as_action`
        clips).
        """
        if "transmitter" in actions:
            self.send(actions["transmitter"])
        scores = self.answer(self._present, actions)
        self.cycles += 1
        return scores

    def send(self, symbols: Tensor) -> None:
        """Transmit an outside transmitter's symbols [B, 2n] behind the stages that were added to the scheme."""
        round_ = self._present.round
        scheme = self.system.scheme
        precode = None
        with torch.no_grad():
            try:
                if scheme is not None and scheme.added:
                    context = self._context(round_, self._stream)
                    with self._async_checks():
                        symbols = scheme.protect(self.game.checked(symbols), context, added_only=True)
                    if scheme.precodes:
                        precode = partial(scheme.precode, context=context, added_only=True)
                transmission = self.game.transmit(round_, symbols, precode=precode)
            except InputError as error:
                raise InputError(f"{self.agents['transmitter']}: {error}") from None
        self.present = InFlight(round_, transmission)

    @torch.no_grad()
    def answer(self, message: InFlight, answers: Mapping[str, Tensor]) -> Scores:
        """Score a message that was sent; a missing answer is that of the player's policy."""
        transmission = self._transmission_of(message)
        decision = answers.get("receiver")
        with self._async_checks():
            if decision is None:
                decision = self._decide(message.round, transmission.receiver)
            rebuilt = {
                name: answers[name] if name in answers else self._reconstruct(name, message)
                for name in self.game.adversaries
            }
        # The last round is let go before the next takes memory: a batch of images is then written where one
        # has just been freed, not on pages that the system has to clear first.
        self.last = None
        with self._async_checks():
            scores = self.game.score(message.round, decision, rebuilt)
            for name, leak in scores.leaks.items():
                told = f"{self.agents[name]}: its image holds numbers that are not finite."
                check(~leak.mse.isfinite().all(), told)
        self.last = Transition(message, decision, rebuilt, scores)
        return scores

    def advance(self, restart: np.ndarray | None = None) -> None:
        """Draw the next message of every row; those of ``restart``, NumPy bool [B], begin a new episode.

        A row whose episode is over and does not restart keeps its last message. How many numbers are drawn depends on B
        alone, and nothing is drawn when every row stays.
        """
        waiting = self.over if restart is None else self.over & ~restart
        if self.present is not None and waiting.all():
            return
        fresh = self._draw(self._stream, restart)
        if waiting.any():
            kept = self._present
            if fresh.transmission is None:  # a transmitter outside sends them all again
                kept = InFlight(kept.round, None)
            fresh = select(to_device(waiting, self.game.device), kept, fresh)
        self.present = fresh
        if restart is not None:
            self.cycles[restart] = 0

    # -- observations and infos ---------------------------------------------------------------------

    def observe(self, player: str, message: InFlight | None = None) -> dict[str, Tensor]:
        """A player's observation of the present (or the given) message, in tensors of its own.

        ``image`` [B, C, H, W] and ``csi`` [B, 1] for the transmitter; ``received`` [B, 2n] and ``csi`` [B, c] for the
        others, zeros before the message is sent. For the receiver the stages that were added to the scheme are undone.
        """
        message = message or self._present
        round_ = message.round
        if player == "transmitter":
            return {"image": round_.batch.images.clone(), "csi": round_.snr_db[:, None].clone()}
        if message.transmission is None:
            return self.silence(player)
        reception = self.reception(player, message)
        scheme = self._added_to(player)
        if scheme is not None:
            context = self._context(round_, self._stream)
            received, csi, _ = scheme.recover(reception.received, reception.csi, context, "added")
            reception = replace(reception, received=received, csi=csi)
        return {"received": reception.received.detach().clone(), "csi": reception.csi.detach().clone()}

    def reception(self, player: str, message: InFlight) -> Reception:
        """A player's reception of a message that was sent; the pooled one for colluding eavesdroppers."""
        transmission = self._transmission_of(message)
        if self.game.config.colluding and player in self.game.adversaries:
            return self.game.pool(message.round, transmission)
        return transmission.receptions[player]

    def silence(self, player: str) -> dict[str, Tensor]:
        """The observation of a node that has received nothing yet: zeros."""
        sizes = {"received": 2 * self.game.num_symbols, "csi": self._num_csi(player)}
        return {key: torch.zeros(self.num_envs, size, device=self.game.device) for key, size in sizes.items()}

    def observation_space(self, player: str) -> spaces.Dict:
        """The space of a player's observations of one message."""
        return observation_space(self.game, player, self._num_csi(player))

    def info(self, player: str, scores: Scores | None, message: InFlight | None = None) -> dict[str, Tensor]:
        """A player's info: ``accuracy``, ``psnr_db``, ``mse``, its own ``snr_db``, ``stand_in``, and the extra metrics.

        Float32 [B] each, and the figures 0 where there is no score yet; of an eavesdropper's own reconstruction, or
        of the best for the other players.
        """
        round_ = (message or self._present).round
        zeros = torch.zeros(self.num_envs, device=self.game.device)
        link = round_.links.get(player)
        figures = {
            **dict.fromkeys(("accuracy", "psnr_db", "mse"), zeros),
            "snr_db": round_.snr_db if link is None else link.snr_db,
            "stand_in": zeros + float(self.system.stand_in),
            **dict.fromkeys(self.game.metrics, zeros),
        }
        if scores is not None:
            leak = scores.leaks.get(player) or scores.worst
            figures |= {"accuracy": scores.accuracy, "psnr_db": leak.psnr_db, "mse": leak.mse, **leak.extra}
        return {key: value.detach().to(torch.float32, copy=True) for key, value in figures.items()}

    # -- inside -------------------------------------------------------------------------------------

    def _added_to(self, player: str) -> Pipeline | None:
        """The scheme whose added stages are undone before a player from outside sees a reception."""
        scheme = self.system.scheme
        return scheme if player == "receiver" and scheme is not None and scheme.added else None

    def _num_csi(self, player: str) -> int:
        scheme, spec = self._added_to(player), self.game.spec
        return (spec if scheme is None else scheme.spec_behind(spec, "added")).num_csi

    @property
    def _present(self) -> InFlight:
        if self.present is None:
            raise InputError("call reset() before anything else: no message has been drawn yet.")
        return self.present

    def _transmission_of(self, message: InFlight) -> Transmission:
        if message.transmission is None:
            raise InputError(f"{self.agents['transmitter']}: no symbols were given that others can answer.")
        return message.transmission

    def _seed(self, seed: int | None) -> None:
        seed = as_seed(seed)
        # SeedSequence makes neighbouring seeds unrelated, and asks the operating system for entropy for None.
        words = np.random.SeedSequence(seed).generate_state(3, np.uint64) >> np.uint64(1)
        messages, restarts, environment = (int(word) for word in words)
        device = self.game.device
        self._stream, self._restarts = (
            torch.Generator(device).manual_seed(one) for one in (messages, restarts)
        )
        self.environment = environment

    @torch.no_grad()
    def _draw(self, generator: torch.Generator | None, restart: np.ndarray | None) -> InFlight:
        previous = None if self.present is None else self.present.round
        mask = None if previous is None or restart is None else to_device(restart, self.game.device)
        round_ = self.game.draw(self.num_envs, generator=generator, previous=previous, restart=mask)
        if "transmitter" in self.outside:
            return InFlight(round_, None)
        scheme = self._policy(self.system.scheme, "transmitter")
        context = self._context(round_, generator)
        with self._async_checks():
            # Many rows draw at random from few images: all of them will soon be sent.
            ahead = self.num_envs * LARGE_SHARE >= len(self.game.source)
            symbols = scheme.send(self.game.source, round_.batch.index, context, ahead=ahead)
            return InFlight(round_, transmit(self.game, scheme, round_, symbols, context))

    def _async_checks(self) -> AbstractContextManager[None]:
        """A context for the checks of players inside: synchronous on a CPU, collected on a GPU."""
        return nullcontext() if self.game.device.type == "cpu" else self._checks.collect()

    def _decide(self, round_: Round, reception: Reception) -> Tensor:
        scheme = self._policy(self.system.scheme, "receiver")
        context = self._context(round_, self._stream)
        with evaluating(scheme):
            return self.game.task.decide(scheme.decode(reception.received, reception.csi, context))

    def _reconstruct(self, node: str, message: InFlight) -> Tensor:
        eavesdropper = self._policy(self.system.eavesdroppers.get(node), node)
        seen, shape = self.reception(node, message), message.round.batch.images.shape
        with evaluating(eavesdropper):
            return answered(eavesdropper, "reconstruct", shape, seen.received, seen.csi).clamp(0.0, 1.0)

    def _context(self, round_: Round, generator: torch.Generator | None) -> Context:
        return self.game.context(round_, generator, self.environment)

    def _mask(self, mask: np.ndarray | Tensor) -> np.ndarray:
        check_dense(mask, "reset_mask")
        try:
            rows = mask.cpu().numpy() if isinstance(mask, Tensor) else np.asarray(mask)
        except (TypeError, ValueError):  # a type that NumPy has not, lists within lists of different lengths
            rows = np.zeros(0)
        if rows.shape != (self.num_envs,) or rows.dtype != np.bool_:
            raise InputError(f"reset_mask must be bool of shape ({self.num_envs},), not {shown(mask)}.")
        if not rows.any():
            raise InputError("reset_mask must select at least one row, and selects none.")
        return rows

    def _policy(self, policy: P | None, player: str) -> P:
        if policy is None:
            raise InputError(f"{self.agents[player]}: no action was given, and no policy plays this role.")
        return policy
