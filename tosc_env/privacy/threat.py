"""The explicit threat model that is written beside every figure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Annotated, Any, Literal

from tosc_env.errors import InputError
from tosc_env.options import Count, Within, check_fields

Images = Literal["other-half", "same-half", "no-half", "other-data"]
KeyKnowledge = Literal["with-pairs", "without-pairs", "with-key"]


@dataclass(frozen=True)
class ThreatModel:
    """The knowledge and means of an attacker.

    Attributes:
        images: The attacker's training images: the half of the training split that the system was not trained on, the
            half that it was trained on, images that may be the system's (of a split that nobody halved, or that has
            changed since), or another data set. A record has what is true of the images that were given.
        labels: Whether those images come with labels and attributes.
        queries: The number of images that the encoder sends for it; None: unlimited.
        candidate_queries: Whether it may also have the candidates of a re-identification encoded.
        candidates: How many of them, each time anew; None: as many as it likes, where its queries are not limited. A
            budget of its own, so it may be larger than that of queries.
        codebook: Whether it knows a discrete scheme's codebook and constellation.
        unkeyed_encoder: Whether it has the encoder without the key.
        keys: Its knowledge of a keyed scheme: pairs of images and encrypted symbols, no such pairs, or the key.
        csi: Whether it knows its own link's state.
        receptions: The number of transmissions of the same image that it receives, each with fresh noise.
        colluding: Whether all eavesdroppers of the game pool their antennas' signals.
    """

    images: Images = "other-half"
    labels: bool = True
    queries: Count | None = None
    candidate_queries: bool = False
    candidates: Count | None = None
    codebook: bool = True
    unkeyed_encoder: bool = False
    keys: KeyKnowledge = "with-pairs"
    csi: bool = True
    receptions: Annotated[int, Within(1, 1000)] = 1
    colluding: bool = False

    def __post_init__(self) -> None:
        check_fields(self)
        if self.queries is not None and self.candidate_queries and self.candidates is None:
            raise InputError(
                f"queries={self.queries} limits what may be encoded and candidate_queries=True does not; say how many "
                "candidates may be encoded (candidates=), or grant none."
            )
        if self.candidates is not None and not self.candidate_queries:
            raise InputError(
                f"candidates={self.candidates} says how many may be encoded and candidate_queries=False grants none; "
                "grant them (candidate_queries=True), or leave candidates out."
            )

    def on(self, half: str | None) -> ThreatModel:
        """The threat model of an attacker whose images are this half of a source; others stay what they are."""
        true: Any = {"attacker": "other-half", "system": "same-half"}.get(half or "", "no-half")
        return self if self.images in ("other-data", "no-half") else replace(self, images=true)

    def plain(self) -> dict[str, Any]:
        """Return the fields as plain values, for the record."""
        return asdict(self)

    def __str__(self) -> str:
        queries = "unlimited" if self.queries is None else f"{self.queries:,}"
        limit = "" if self.candidates is None else f" of {self.candidates:,} images"
        parts = {
            f"images: {self.images}": True,
            f"encoder queries: {queries}": True,
            f"own CSI: {'yes' if self.csi else 'no'}": True,
            "no labels": not self.labels,
            f"candidate queries{limit}": self.candidate_queries,
            "codebook unknown": not self.codebook,
            "unkeyed encoder": self.unkeyed_encoder,
            "no pairs of images and encrypted symbols": self.keys == "without-pairs",
            "key": self.keys == "with-key",
            f"{self.receptions} receptions of each image": self.receptions > 1,
            "colluding eavesdroppers": self.colluding,
        }
        return "; ".join(text for text, holds in parts.items() if holds)

    def grants(self, needs: Mapping[str, tuple[Any, ...]]) -> str | None:
        """The first need (a field, and values of which one will do) that is denied; None when all are granted."""
        for field, values in needs.items():
            if getattr(self, field) not in values:
                return f"{field}={getattr(self, field)!r}"
        return None
