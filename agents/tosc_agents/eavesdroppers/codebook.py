"""The attacker who knows the codebook: symbols back to codewords, codewords to images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from tosc_agents.eavesdroppers.likelihoods import codeword_posteriors, known_csi, usual_snr_db
from tosc_agents.eavesdroppers.transformed import BASE_ATTACKS, TransformedAttack
from tosc_env.channels.base import aligned
from tosc_env.errors import InputError
from tosc_env.modulation import constellation_for, constellation_points
from tosc_env.options import check_count
from tosc_env.privacy.view import View
from tosc_env.types import CSILayout, SystemSpec


class Codebook(TransformedAttack):
    """An attacker that shows the base attacks the codewords that were sent, as far as receptions tell.

    ::

        received [B, 2n] --likelihood--> points' posteriors [B, n, M] --codebook--> mean codewords [B, n d]
                         -------------------------- soft ------------------------> with received [B, 2n]

    The codewords lie where the encoder's features were, so that neighbours there are neighbours again; their mean
    under the posterior of the points, all being equally likely before, is the estimate of least square error. Over a
    fading link receptions are behind an MMSE equaliser, whatever the channel's.

    Args:
        base_attacks, base_attack_kwargs: of :class:`~tosc_agents.eavesdroppers.transformed.TransformedAttack`.
        soft: whether the base attacks see the received symbols too.
        codewords, dimension: M and d of the codebook; fitting takes them from the scheme it attacks.
        usual_snr_db: the SNR that it takes for its own where its CSI is denied, as fitting finds out.

    Raises:
        InputError: on fitting, the scheme has no codebook.
        DeniedError: on fitting, the threat model hides it.

    Example:
        >>> attacker = Codebook(SystemSpec((3, 32, 32), 10), base_attacks=["linear"]).eval()
        >>> attacker.reconstruct(torch.zeros(2, 128), torch.zeros(2, 1)).shape
        torch.Size([2, 3, 32, 32])
    """

    name = "codebook"
    needs = {"codebook": (True,)}  # noqa: RUF012
    codes: Tensor

    @classmethod
    def nothing_to_attack(cls, view: View) -> str | None:
        known = view.constellation is not None and view.codebook is not None
        return None if known else "the scheme has no codebook"

    def __init__(
        self,
        spec: SystemSpec,
        *,
        base_attacks: Sequence[str] = BASE_ATTACKS,
        base_attack_kwargs: Mapping[str, Mapping[str, Any]] | None = None,
        soft: bool = True,
        codewords: int = 16,
        dimension: int = 2,
        usual_snr_db: float | None = None,
    ) -> None:
        check_count(dimension, "dimension", high=1024)
        constellation_for(codewords)
        width = spec.num_symbols * (dimension + 2 * soft)
        own: dict[str, Any] = {"codewords": codewords, "dimension": dimension, "usual_snr_db": usual_snr_db}
        super().__init__(spec, width, base_attacks, base_attack_kwargs, soft=soft, **own)
        self.register_buffer("codes", torch.zeros(codewords, dimension))

    def learn(self, view: View, generator: torch.Generator) -> dict[str, Any]:
        points, codes = view.constellation, view.codebook
        if points is None or codes is None:
            raise InputError(
                "'codebook' attacks discrete schemes, whose symbols stand for codewords; this one has no codebook."
            )
        if len(points) != len(codes):
            raise InputError(
                f"'codebook' needs a codeword per point; there are {len(codes)} and {len(points)}."
            )
        count, dimension = codes.shape
        if codes.shape != self.codes.shape:
            width = self.spec.num_symbols * (dimension + 2 * self.options["soft"])
            self.rebuild(width, generator, codewords=count, dimension=dimension)
        self.options = {**self.options, "usual_snr_db": usual_snr_db(view)}
        # One scale for all: the base attacks' networks like inputs about 1, and the codewords' geometry stays.
        codes = codes.float() - codes.float().mean(0)
        self.codes = codes / codes.square().mean().sqrt().clamp_min(1e-8)
        return {"codewords": count, "dimension": dimension}

    def shows_uses(self, width: int) -> bool:
        return False

    def transform(self, received: Tensor, csi: Tensor) -> tuple[Tensor, Tensor]:
        known = known_csi(csi[:, : self.spec.num_csi], self.options["usual_snr_db"])
        if known.shape[1] > 1:
            received, known = aligned(received, known, self.spec.layout)
        # By name, not from a buffer: rounded to float16 in a checkpoint the points would be no grid any more.
        points = constellation_points(constellation_for(len(self.codes)), received.device)
        likely = codeword_posteriors(received, known, CSILayout(aligned=True), points).exp()
        words = (likely @ self.codes).flatten(1)
        return (torch.cat([words, received], dim=1) if self.options["soft"] else words), csi
