"""A world so small that the best answer to everything about a message can be worked out exactly.

An image is 16 pixels, each dark or bright with even odds; a message is four channel uses. The label is what the first
two pixels are, and the private attribute "rare" whether the next two are both bright, as in a quarter of all images.
The exact computations share no code with the attackers: they start from the antennas' raw signals.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from links import seeded
from torch import Tensor

from tosc_env.data.base import Source
from tosc_env.exchange import rollout
from tosc_env.game import Game
from tosc_env.modulation import constellation_points
from tosc_env.pipeline import Pipeline, make_scheme
from tosc_env.privacy.threat import ThreatModel
from tosc_env.schemes import PrivacyScheme
from tosc_env.types import Reception, SystemSpec

PIXELS, N = 16, 4
SPEC = SystemSpec((1, 4, 4), 4, N)
DARK, BRIGHT = 51, 204
SPREAD = (BRIGHT - DARK) / 2 / 255
"""By which a pixel is darker or brighter than the mean image, which is grey all over."""


@lru_cache(maxsize=8)
def world(count: int, split: str = "train", seed: int = 0) -> Source:
    """So many images of the world."""
    bright = torch.randint(2, (count, PIXELS), generator=seeded(1000 * (split == "train") + seed))
    images = (DARK + (BRIGHT - DARK) * bright).to(torch.uint8).view(-1, 1, 4, 4)
    facts = {"attributes": rare(bright)[:, None], "attribute_names": ["rare"]}
    training = None if split == "train" else world(20_000)
    return Source.from_arrays(images, label(bright), name="world", split=split, training=training, **facts)


def bright(images: Tensor) -> Tensor:
    """Which pixels of images [B, 1, 4, 4] are bright, int64 [B, 16]."""
    return (images.flatten(1) > 0.5).long()


def label(bright: Tensor) -> Tensor:
    return 2 * bright[:, 0] + bright[:, 1]


def rare(bright: Tensor) -> Tensor:
    return bright[:, 2] * bright[:, 3]


def number(bright: Tensor) -> Tensor:
    """Four bits each as a number, [..., 4] -> [...]."""
    return (bright * torch.tensor([8, 4, 2, 1])).sum(-1)


def normal(*size: int, seed: int) -> Tensor:
    return torch.randn(*size, generator=seeded(seed))


def own_word(bright: Tensor) -> Tensor:
    """A word for each of the 65,536 images, which follows no rule."""
    return WORDS[number(bright.unflatten(1, (4, 4))) @ torch.tensor([4096, 256, 16, 1])]


POINTS = torch.view_as_real(constellation_points("16qam"))
WORDS = normal(2**PIXELS, 2 * N, seed=1)
LABELS = normal(4, 2 * N, seed=2)
LABEL_POINTS = torch.tensor([[0, 0, 0, 5], [0, 0, 5, 5], [0, 5, 10, 15], [3, 12, 5, 5]])
FOUR = torch.tensor([0, 3, 12, 15])
ORDER = torch.randperm(16, generator=seeded(3))
MIXING = torch.linalg.qr(normal(PIXELS, PIXELS, seed=4)).Q[:, : 2 * N]

MESSAGES = {
    "nothing": lambda bright: torch.linspace(-1, 1, 2 * N).expand(len(bright), -1),
    "a block of pixels": lambda bright: 2.0 * bright[:, : 2 * N] - 1,
    "a picture": lambda bright: (2.0 * bright - 1) @ MIXING,
    "the image's own word": lambda bright: own_word(bright),
    "the label's word": lambda bright: LABELS[label(bright)],
    "the attribute's sign": lambda bright: (2.0 * rare(bright)[:, None] - 1).expand(-1, 2 * N),
    # Four pixels are a codeword, and which point stands for it follows no rule.
    "codewords": lambda bright: POINTS[ORDER[number(bright.unflatten(1, (4, 4)))]].flatten(1),
    "the label's points": lambda bright: POINTS[LABEL_POINTS[label(bright)]].flatten(1),
    "the same points": lambda bright: POINTS[FOUR].flatten().expand(len(bright), -1),
    "the same points in an own order": lambda bright: POINTS[
        FOUR[own_word(bright)[:, :N].argsort(1)]
    ].flatten(1),
}
"""What is sent, reals [B, 8] of which the game makes the energy 1 for each use, of what is bright [B, 16]."""

DISCRETE = ("codewords", "the label's points", "the same points", "the same points in an own order")
CODEBOOK = torch.empty(16, 4).index_copy_(
    0, ORDER, 2.0 * (torch.arange(16)[:, None] // torch.tensor([8, 4, 2, 1]) % 2) - 1
)
"""The four pixels, as -1 and 1, for which each point stands."""


class Sends(PrivacyScheme):
    """A scheme that sends one of :data:`MESSAGES`, and whose receiver says nothing."""

    name = "sends"

    def __init__(self, message: str) -> None:
        super().__init__(SPEC, message=message)
        self.message = MESSAGES[message]
        self.nothing = torch.nn.Parameter(torch.zeros(()))
        if message in DISCRETE:
            self.constellation, self.codebook = "16qam", CODEBOOK

    def encode(self, images, context):
        return self.message(bright(images)).clone()

    def decode(self, received, csi, context):
        return received.new_zeros(len(received), 4) + self.nothing


def sends(message: str, key: str | None = None) -> Pipeline:
    """The scheme of a message, behind a key ("shuffle per_message", say) or none."""
    mode, _, lifetime = (key or "").partition(" ")
    keyed = {"name": "keyed", "mode": mode, "lifetime": lifetime, "key": "11" * 32}
    return make_scheme(Sends(message), stages=[keyed] if key else []).eval()


# -- what is heard, and the best that can be made of it -----------------------------------------------


@dataclass(frozen=True)
class Heard:
    """Messages as an attacker hears them, and all that there is to know about what was sent.

    Of a reception, ``y = h s + n`` at each antenna, the likelihood of s is ``exp(<toward, s> - <power, s^2> / 2)`` with
    ``toward = sum 2 Re(conj(h) y) / N0`` and ``power = sum 2 |h|^2 / N0`` over the antennas.
    """

    reception: Reception
    images: Tensor
    candidates: int
    """How many images there are, each of which was sent as often, one after the other."""
    symbols: Tensor
    """Of the images, without a key, float64 [B, 8]."""
    receptions: list[tuple[Tensor, Tensor, Tensor]]
    """R times toward [B, 8], power [B, 8] and the matrix of each message's key [B, 8, 8], float64."""


def hear(
    game: Game,
    scheme: Pipeline,
    threat: ThreatModel,
    *,
    repeated: bool = False,
    whole: bool = False,
    draws: int = 1,
    seed: int = 0,
) -> Heard:
    """Send every image of the game ``draws`` times; with ``repeated`` the receptions are [B, R, 8], and
    with ``whole`` the CSI is all that a key tells."""
    index = torch.arange(len(game.source)).repeat(draws)
    generator, shown, known = seeded(seed), [], []
    nodes = game.adversaries if threat.colluding else game.adversaries[:1]
    for _ in range(threat.receptions if repeated else 1):
        exchange = next(rollout(game, scheme, generator=generator, index=index, batch_size=len(index)))
        shown.append(exchange.observed(threat, whole=whole))
        toward, power = torch.zeros(2, len(index), N, dtype=torch.complex128)
        for node in nodes:
            link, raw = (
                exchange.round.links[node],
                exchange.transmission.receptions[node].raw.to(torch.complex128),
            )
            gains = game.channel.gains(link, N)[:, :, 0].to(torch.complex128).expand_as(raw)
            half = torch.pow(10.0, -link.snr_db.double() / 10)[:, None] / 2
            toward += (gains.conj() * raw).sum(1) / half
            power += gains.abs().square().sum(1) / half
        key = torch.eye(2 * N).expand(len(index), -1, -1)
        for stage in scheme.stages:
            rows = [stage.protect(row.expand(len(index), -1), exchange.context) for row in torch.eye(2 * N)]
            key = torch.stack(rows, dim=1)
        both = torch.view_as_real(toward).flatten(1), power.real.repeat_interleave(2, dim=1)
        known.append((*both, key.double()))
    images = exchange.round.batch.images
    sent = scheme.backbone.encode(images, exchange.context)
    symbols = scheme.constrain(sent, exchange.context).double()
    torch.testing.assert_close(
        (symbols[:, None] @ known[-1][2])[:, 0].float(), exchange.transmission.sent, rtol=0, atol=1e-5
    )
    reception = shown[0]
    if repeated:
        parts = (torch.stack([getattr(one, name) for one in shown], dim=1) for name in ("received", "csi"))
        reception = Reception(*parts)
    return Heard(reception, images, len(game.source), symbols, known)


def fits(heard: Heard, words: Tensor) -> Tensor:
    """Log-likelihoods [B, K] of words [K, 8] sent under each message's own key, which is known."""
    total = torch.zeros(len(heard.images), len(words), dtype=torch.float64)
    for toward, power, key in heard.receptions:
        sent = words @ key  # [B, K, 8]
        total += (sent @ toward[..., None] - sent.square() @ power[..., None] / 2)[..., 0]
    return total


def fits_in_any_order(heard: Heard, words: Tensor, width: int = 1, known: Tensor | float = 0.0) -> Tensor:
    """Log-likelihoods [B, K] of words [K, 8] sent in an order, of reals or of points (width 2), of which all are
    equally likely but for ``known``, how well each place and value fit by what else is known: a permanent."""
    total = torch.zeros(len(heard.images), len(words), dtype=torch.float64)
    for toward, power, _ in heard.receptions:
        y, p = (one[:, None, :, None] for one in (toward, power))
        found = []
        for some in words.split(max(1, 10_000 // len(toward))):
            s = some[:, None]
            fit = y * s - p * s.square() / 2 + known  # [B, K, place, value]
            if width == 2:
                fit = fit.unflatten(2, (N, 2)).unflatten(4, (N, 2)).diagonal(dim1=3, dim2=5).sum(-1)
            most = fit.amax(3, keepdim=True)
            found.append(permanent((fit - most).exp()).log() + most.sum((2, 3)))
        total += torch.cat(found, dim=1)
    return total


def points_in_any_order(heard: Heard, words: Tensor) -> Tensor:
    """:func:`fits_in_any_order` of a constellation's points."""
    return fits_in_any_order(heard, words, width=2)


def permanent(matrices: Tensor) -> Tensor:
    """The sum over all permutations of the products of the entries that each picks, of positive [..., k, k]."""
    size = matrices.shape[-1]
    of_columns = {0: torch.ones(matrices.shape[:-2], dtype=matrices.dtype)}
    for columns in range(1, 2**size):
        row = columns.bit_count() - 1
        chosen = [j for j in range(size) if columns >> j & 1]
        of_columns[columns] = sum(of_columns[columns - 2**j] * matrices[..., row, j] for j in chosen)
    return of_columns[2**size - 1]


def without_key(heard: Heard) -> tuple[Tensor, Tensor]:
    """All receptions' toward and power [B, 8] in the order before a key that moves values."""
    parts = [(k @ t[..., None], k.square() @ p[..., None]) for t, p, k in heard.receptions]
    toward, power = (sum(one[..., 0] for one in part) for part in zip(*parts, strict=True))
    return toward, power


def linear_estimate(heard: Heard) -> Tensor:
    """The best linear estimate [B, 8], in -1..1, of pixels that were sent as +-sqrt(1/2): a key leaves these as
    independent as they were."""
    toward = sum(toward for toward, _, _ in heard.receptions)
    power = sum(power for _, power, _ in heard.receptions)
    _, _, key = heard.receptions[0]  # which is held, if there are several
    return (key @ (toward / (power + 2))[..., None])[..., 0] * math.sqrt(2)


def best_estimate(heard: Heard) -> Tensor:
    """The mean [B, 8], in -1..1, of pixels that were sent as +-sqrt(1/2), after what was heard."""
    toward, _ = without_key(heard)
    return (toward * math.sqrt(0.5)).tanh()


def mean_codewords(heard: Heard) -> Tensor:
    """The mean codeword [B, 16] of each use's points after what was heard."""
    toward, power = (one.unflatten(1, (N, 2)) for one in without_key(heard))
    points = POINTS.double()
    return ((toward @ points.T - power @ points.square().T / 2).softmax(2) @ CODEBOOK.double()).flatten(1)
