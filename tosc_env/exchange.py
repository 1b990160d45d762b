"""Messages sent and received outside of any environment: drawn, numbered, encoded, transmitted, observed.

Evaluation, attacks, pictures and experiments all go through :func:`rollout`, training and environments through
:func:`transmit`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated

import torch
from torch import Tensor

from tosc_env.data.base import content_numbers
from tosc_env.game import Game
from tosc_env.memory import evaluating
from tosc_env.options import MOST_MESSAGES, Within, check_tensor, checked
from tosc_env.pipeline import Pipeline, as_pipeline
from tosc_env.privacy.threat import ThreatModel
from tosc_env.schemes import PrivacyScheme
from tosc_env.types import Context, Reception, Round, SystemSpec, Transmission


@dataclass(frozen=True)
class Exchange:
    """One message per row, sent by a scheme and received by all nodes of a game."""

    game: Game
    scheme: Pipeline
    round: Round
    context: Context
    transmission: Transmission

    @torch.no_grad()
    def logits(self) -> Tensor:
        """The receiver's logits, [B, K]."""
        reception = self.transmission.receiver
        with evaluating(self.scheme):
            return self.scheme.decode(reception.received, reception.csi, self.context)

    def observed(self, threat: ThreatModel, node: str | None = None, *, whole: bool = False) -> Reception:
        """The reception of an eavesdropper, by its node (None: the first), or of all that collude, as far as known.

        ``whole`` is that of :func:`as_known`.
        """
        if threat.colluding or self.game.config.colluding:
            reception = self.game.pool(self.round, self.transmission)
        else:
            reception = self.transmission.receptions[node or self.game.adversaries[0]]
        return as_known(reception, self.context, self.scheme, threat, whole=whole)


@checked
def rollout(
    game: Game,
    scheme: PrivacyScheme,
    *,
    generator: torch.Generator,
    index: Tensor | None = None,
    batch_size: Annotated[int, Within(1, MOST_MESSAGES)] = 500,
    knobs: Mapping[str, float] | None = None,
) -> Iterator[Exchange]:
    """Send each of these images once, under message numbers that no other message has.

    Args:
        generator: the only source of randomness, on the game's device.
        index: int64 [N], images of the game's source; None: all of them.
        knobs: of the scheme's stages, the same value for every message (:attr:`Context.knobs
            <tosc_env.types.Context.knobs>`); others have their usual values.

    Example:
        >>> import tosc_env
        >>> game = tosc_env.GameConfig("shapes").game(split="test")
        >>> scheme = tosc_env.load_scheme("deepjscc", "ToSC-Shapes-v0")
        >>> stream = torch.Generator().manual_seed(0)
        >>> first = next(rollout(game, scheme, generator=stream, batch_size=100))
        >>> float(game.task.score(first.logits().argmax(1), first.round.targets).mean()) > 0.9
        True
    """
    pipeline = as_pipeline(scheme)
    whole = torch.arange(len(game.source), device=game.device) if index is None else index
    check_tensor(whole, "index", [whole.numel()], torch.int64)
    for part in whole.split(batch_size):
        round_ = game.draw(len(part), generator=generator, index=part)
        yield send(game, pipeline, with_fresh_nonces(round_, pipeline, generator), generator, knobs)


def send(
    game: Game,
    scheme: Pipeline,
    round_: Round,
    generator: torch.Generator | None,
    knobs: Mapping[str, float] | None = None,
) -> Exchange:
    """Send the round's images under its message numbers."""
    values = {name: torch.full_like(round_.snr_db, value) for name, value in (knobs or {}).items()}
    context = replace(game.context(round_, generator), knobs=values)
    symbols = scheme.send(game.source, round_.batch.index, context)
    return Exchange(game, scheme, round_, context, transmit(game, scheme, round_, symbols, context))


def transmit(game: Game, scheme: Pipeline, round_: Round, symbols: Tensor, context: Context) -> Transmission:
    """Transmit symbols [B, 2n] of a scheme under its own constraint and precoder."""
    return game.transmit(
        round_,
        symbols,
        constraint=partial(scheme.constrain, context=context),
        precode=partial(scheme.precode, context=context) if scheme.precodes else None,
    )


def numbered_by_content(round_: Round, images: Tensor, scheme: Pipeline) -> Round:
    """The round as one that sends other images [B, C, H, W] than its own, which come from no source."""
    if not scheme.keyed:
        return round_
    message = torch.cat([round_.message[:, :3], content_numbers(images)], dim=1)
    return replace(round_, message=message)


def with_fresh_nonces(round_: Round, scheme: Pipeline, generator: torch.Generator | None) -> Round:
    """The round with message numbers that no other round has, if the scheme is keyed.

    Otherwise each batch would start from row 0, message 0, and an image that is sent again would get its key again.
    The numbers come from the caller's own stream, so that a resumed run goes on with fresh ones.
    """
    if not scheme.keyed:
        return round_
    message = round_.message.clone()
    message[:, 1:3] = torch.randint(2**32, (1, 2), generator=generator, device=message.device)
    return replace(round_, message=message)


def known_whole(num_csi: int, scheme: Pipeline, threat: ThreatModel) -> bool:
    """Whether a key tells more of a link with so much CSI than an amplitude for each value: where several fades have
    met values that it mixes."""
    return threat.keys == "with-key" and threat.csi and num_csi > 3 and scheme.mixes


@torch.no_grad()
def as_known(
    reception: Reception, context: Context, scheme: Pipeline, threat: ThreatModel, *, whole: bool = False
) -> Reception:
    """A reception as the attacker knows it under a threat model: with or without the key and its CSI (then zeros).

    With ``whole`` the CSI ends with the matrix of :meth:`Pipeline.recover <tosc_env.Pipeline.recover>` where there is
    more to know than amplitudes.
    """
    received, csi = reception.received, reception.csi if threat.csi else torch.zeros_like(reception.csi)
    if threat.keys == "with-key":
        with torch.autocast(received.device.type, enabled=False):
            whole = whole and known_whole(csi.shape[1], scheme, threat)
            context = replace(context, generator=None)
            received, csi, _ = scheme.recover(received, csi, context, "keyed", whole=whole)
    return Reception(received, csi)


def known_spec(spec: SystemSpec, scheme: PrivacyScheme, threat: ThreatModel) -> SystemSpec:
    """The shapes of what :func:`as_known` hands to an attacker, from the game's, which a key may change."""
    return as_pipeline(scheme).spec_behind(spec, "keyed") if threat.keys == "with-key" else spec
