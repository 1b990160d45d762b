"""Re-identification without asking the encoder about the candidates: an embedding, and a surrogate of the encoder."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tosc_agents.eavesdroppers.base import (
    NeuralEavesdropper,
    attacker_inputs,
    drawn,
    held_out,
    input_width,
)
from tosc_agents.eavesdroppers.likelihoods import (
    codeword_posteriors,
    codewords_likelihood,
    gaussian_likelihood,
    known_csi,
    usual_snr_db,
)
from tosc_agents.learning.precision import Precision
from tosc_agents.learning.seeding import weights_from
from tosc_agents.networks import ImageEncoder, ResidualMLP
from tosc_env import metrics
from tosc_env.channels import noise_power
from tosc_env.channels.base import matched
from tosc_env.modulation import constellation_for, constellation_points, hard_decision
from tosc_env.options import Size, Within
from tosc_env.privacy.view import View
from tosc_env.types import SystemSpec

WEIGHTS = (0.0, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0)
"""Weights of the surrogate's log-likelihood beside the embeddings' score, of which held-out images choose one."""

RECEPTIONS = 4
"""Receptions of each held-out image."""

SURROGATE = 8.0
"""Weight of the surrogate's loss, a mean over values, beside the embedding's."""


class Tower(nn.Module):
    """The networks of one member of the ensemble: of messages, and of images with two heads."""

    def __init__(self, spec: SystemSpec, options: Mapping[str, Any]) -> None:
        super().__init__()
        width, length, points = options["width"], options["embedding"], options["points"]
        posteriors, features = spec.num_symbols * points, 2 * length
        self.symbols = nn.Sequential(
            nn.Linear(input_width(spec) + posteriors, width),
            nn.ReLU(inplace=True),
            ResidualMLP(width, 2),
            nn.Linear(width, length),
        )
        shape = {name: tuple(options[name]) for name in ("widths", "blocks")}
        self.images = ImageEncoder(spec.image_shape[0], features, stem=options["stem"], **shape)
        self.embedding = nn.Linear(features, length)
        self.surrogate = nn.Sequential(
            nn.Linear(features, width),
            nn.ReLU(inplace=True),
            nn.Linear(width, posteriors or 4 * spec.num_symbols),
        )
        self.log_scale = nn.Parameter(torch.tensor(math.log(10.0)))

    def of_images(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Unit embeddings [N, embedding] of images, and what the surrogate says of their symbols [N, K]."""
        features = F.relu(self.images(images))
        return F.normalize(self.embedding(features).float(), dim=1), self.surrogate(features).float()

    def of_messages(self, inputs: Tensor) -> Tensor:
        """Embeddings [B, embedding] of messages, as long as the temperature says."""
        unit = F.normalize(self.symbols(inputs).float(), dim=1)
        return unit * self.log_scale.clamp_max(math.log(100.0)).exp()


class Match(NeuralEavesdropper):
    """Re-identification without asking the encoder about the candidates.

    ::

        received [B, 2n], CSI --> MLP --> embedding ------+--> cosine x temperature ----+
        candidate --> CNN -+--> embedding ----------------+                             +--> scores [B, N]
                           +--> what would be sent -------+--> log-likelihood x weight -+
        received [B, 2n], CSI ----------------------------+

    In each tower of a small ensemble two networks share the images' features. The *embedding* learns with the symmetric
    InfoNCE loss: each message against all images of the batch, each image against all messages. The *surrogate* learns
    what the encoder sends for an image: the mean and variance of each value, along the principal axes of the symbols
    where the link does not fade; or, of a discrete scheme with known codebook, each codeword's probability at each
    channel use. Its score is the exact log-likelihood of the reception, over a fading link with the gain of each use.
    Where the noise is not known (CSI is denied, or a transformed reception is shown), it learns the reception itself,
    but for codewords, which are heard at the usual SNR where the CSI is denied.

    The attacker's images are learnt with their changed copies (:attr:`View.augmentations
    <tosc_env.View.augmentations>`). Weight of the surrogate and length of the training are chosen by held-out images.

    Args:
        towers: members of the ensemble, whose scores are averaged.
        embedding: length of the embeddings.
        stem, widths, blocks: of each one's image network.
        width: of its symbol network.
        points: M of a discrete scheme, 0 for none; fitting takes it from the scheme it attacks, where the threat model
            shows the constellation.
        known_noise: whether the noise is what the CSI tells, as fitting finds out; otherwise the surrogate learns it.
        usual_snr_db: taken for the SNR where the CSI is denied, as fitting finds out; None: the CSI tells it.
        steps, batch_size, learning_rate, precision: of the training.

    Example:
        >>> attacker = Match(SystemSpec((3, 32, 32), 10)).eval()
        >>> attacker.match(torch.zeros(2, 128), torch.zeros(2, 1), torch.rand(5, 3, 32, 32)).shape
        torch.Size([2, 5])
    """

    name = "match"
    weight_decay = 3e-2
    axes: Tensor
    centre: Tensor
    weight: Tensor

    def __init__(
        self,
        spec: SystemSpec,
        *,
        towers: Annotated[int, Within(1, 100)] = 2,
        embedding: Size = 128,
        stem: Size = 16,
        widths: tuple[Size, ...] = (48, 96, 192),
        blocks: tuple[Annotated[int, Within(0, 1000)], ...] = (1, 1, 1),
        width: Size = 512,
        points: int = 0,
        known_noise: bool = True,
        usual_snr_db: float | None = None,
        steps: int = 3000,
        batch_size: int = 500,
        learning_rate: float = 2e-3,
        precision: Precision = "auto",
    ) -> None:
        network = {"embedding": embedding, "stem": stem, "widths": list(widths), "blocks": list(blocks)}
        super().__init__(
            spec,
            steps,
            batch_size,
            learning_rate,
            precision,
            towers=towers,
            width=width,
            known_noise=known_noise,
            usual_snr_db=usual_snr_db,
            **network,
        )
        reals = 2 * spec.num_symbols
        self.register_buffer("axes", torch.eye(reals))
        self.register_buffer("centre", torch.zeros(reals))
        self.register_buffer("weight", torch.tensor(0.1))
        self._candidates: tuple[Tensor, list[tuple[Tensor, Tensor]]] | None = None
        self.build(points)

    def build(self, points: int) -> None:
        """Make the networks, for a discrete scheme of so many points."""
        if points:
            constellation_for(points)
        self.options["points"] = points
        self.towers = nn.ModuleList(Tower(self.spec, self.options) for _ in range(self.options["towers"]))

    # -- the two scores ---------------------------------------------------------------------------------

    def heard(self, received: Tensor, csi: Tensor) -> tuple[Tensor, ...]:
        """What the surrogate's likelihood needs of messages: the log-posteriors of the codewords [B, n, M], or values,
        power gains and noise (:func:`~tosc_agents.eavesdroppers.likelihoods.gaussian_likelihood`)."""
        # Never in the reduced precision of a training around it.
        with torch.autocast(received.device.type, enabled=False):
            if self.options["points"]:
                csi = known_csi(csi, self.options["usual_snr_db"])
                return (codeword_posteriors(received, csi, self.spec.layout, self._points(csi)),)
            return self._values(received, csi)

    def of_messages(self, received: Tensor, csi: Tensor, heard: tuple[Tensor, ...]) -> list[Tensor]:
        """Each tower's embeddings [B, embedding] of received symbols, as long as its temperature says."""
        inputs = attacker_inputs(received, csi, self.spec)
        if self.options["points"]:
            inputs = torch.cat([inputs, heard[0].exp().flatten(1)], dim=1)
        return [tower.of_messages(inputs) for tower in self._towers()]

    def of_images(self, images: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Each tower's unit embeddings [N, embedding] of images, and what it says of their symbols [N, K]."""
        return [tower.of_images(images) for tower in self._towers()]

    def scores(
        self, received: Tensor, csi: Tensor, images: Sequence[Sequence[Tensor]]
    ) -> tuple[Tensor, Tensor]:
        """The embeddings' scores and the surrogates' log-likelihoods, [B, N] each, of what :meth:`of_images` made."""
        heard = self.heard(received, csi)
        messages = self.of_messages(received, csi, heard)
        embedded = [m @ e.T for m, (e, _) in zip(messages, images, strict=True)]
        fits = [self.likelihood(heard, told) for _, told in images]
        return torch.stack(embedded).mean(0), torch.stack(fits).mean(0)

    def likelihood(self, heard: tuple[Tensor, ...], surrogate: Tensor) -> Tensor:
        """Log-likelihoods [B, N] of receptions, for what the surrogate says of N images; each row up to a constant."""
        if self.options["points"]:
            return codewords_likelihood(heard[0], self._words(surrogate))
        values, power, noise = heard
        return gaussian_likelihood(values, power, noise, *self._moments(surrogate))

    def match(self, received: Tensor, csi: Tensor, candidates: Tensor) -> Tensor:
        known = csi[:, : self.spec.num_csi]  # made for a link without fading, over any it knows the SNR
        embedded, fits = self.scores(received, known, self._of_candidates(candidates))
        return embedded + self.weight * fits

    # -- learning ---------------------------------------------------------------------------------------

    def fit(self, view: View, *, generator: torch.Generator, progress: Any = None) -> dict[str, Any]:
        self._candidates = None
        self.options["usual_snr_db"] = usual_snr_db(view)
        shown = view.additive or not view.threat.csi
        points = view.constellation if shown and view.threat.codebook else None
        count = 0 if points is None else len(points)
        if count != self.options["points"]:
            with weights_from(generator.initial_seed()):
                self.build(count)
        self.to(view.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.options["known_noise"] = view.additive
        train, held = held_out(view)
        self._find_axes(view, train)
        tests = [view.sample(part)[0] for _ in range(RECEPTIONS) for part in held.split(view.batch_size)]
        received, csi = (torch.cat([getattr(one, name) for one in tests]) for name in ("received", "csi"))
        images = torch.cat([view.images(part) for part in held.split(view.batch_size)])
        truth = torch.arange(len(held), device=view.device).repeat(RECEPTIONS)

        def step_loss(part: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
            index = changed(view, part, generator)
            reception, images = view.sample(index)
            symbols = view.symbols(index) if view.deterministic else None
            heard = self.heard(reception.received, reception.csi)
            messages = self.of_messages(reception.received, reception.csi, heard)
            seen = self.of_images(images)
            places = torch.arange(len(part), device=view.device)
            losses, hits = [], []
            # In float32: a hundredfold temperature would blow bf16's rounding up to whole units.
            with torch.autocast(view.device.type, enabled=False):
                for message, (embedded, told) in zip(messages, seen, strict=True):
                    scores = message @ embedded.T
                    losses.append((F.cross_entropy(scores, places) + F.cross_entropy(scores.T, places)) / 2)
                    losses.append(SURROGATE * self._surprise(told, heard, symbols))
                    hits.append((scores.detach().argmax(1) == places).float().mean())
            return torch.stack(losses).sum(), {"batch_top1": torch.stack(hits).mean()}

        def shares() -> Tensor:
            """The share of held-out messages that are identified, for each of WEIGHTS."""
            parts = [self.of_images(part) for part in images.split(view.batch_size)]
            seen = [
                tuple(torch.cat(one) for one in zip(*tower, strict=True))
                for tower in zip(*parts, strict=True)
            ]
            found = torch.zeros(len(WEIGHTS), device=view.device)
            for rows in torch.arange(len(truth), device=view.device).split(1000):
                with torch.autocast(view.device.type, enabled=False):
                    embedded, fits = self.scores(received[rows], csi[rows], seen)
                for i, weight in enumerate(WEIGHTS):
                    found[i] += metrics.reidentification(embedded + weight * fits, truth[rows]).sum()
            return found / len(truth)

        record = self.train_on(
            view, step_loss, lambda: float(shares().max()), generator, progress, figure="held_out_top1"
        )
        with torch.no_grad():
            found = shares()
        self.weight.fill_(WEIGHTS[int(found.argmax())])
        return {**record, "surrogate_weight": float(self.weight), "top1_by_weight": found.tolist()}

    def _find_axes(self, view: View, index: Tensor) -> None:
        """The principal axes of what is sent: along them its values depend least on each other, and white noise stays
        white. Where each channel use has a gain of its own, it does not, and the axes are the values themselves."""
        parts = drawn(view, index, 5000).split(view.batch_size)
        seen = [view.symbols(p) if view.deterministic else view.sample(p)[0].received for p in parts]
        values = torch.cat(seen)
        self.centre.copy_(values.mean(0))
        self.axes.copy_(torch.eye(len(self.axes)))
        if not view.fading:
            self.axes.copy_(torch.linalg.eigh(torch.cov(values.T.double(), correction=0)).eigenvectors)

    def _surprise(self, surrogate: Tensor, heard: tuple[Tensor, ...], symbols: Tensor | None) -> Tensor:
        """The mean negative log-likelihood of receptions of the images' own symbols, for each value or channel use;
        averaged over the noise where the symbols are known."""
        if self.options["points"]:
            words = self._words(surrogate)
            if symbols is not None:
                sent = hard_decision(symbols, self._points(symbols)).long()
                return -words.gather(2, sent[..., None]).mean()
            return -(words + heard[0]).logsumexp(2).mean()
        values, power, noise = heard
        mean, variance = self._moments(surrogate)
        spread = power * variance + noise
        if symbols is not None and self.options["known_noise"]:
            error = power * ((symbols - self.centre) @ self.axes - mean).square() + noise
        else:
            error = (values - power * mean).square() / power.clamp_min(1e-12)
        return (error / spread + spread.log()).mean() / 2

    # -- inside -----------------------------------------------------------------------------------------

    def _values(self, received: Tensor, csi: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Receptions [B, 2n] along the axes through the matched filter, the power gain of each [B or 1, 2n or 1], and
        the variance of the noise that met it [B, 1]."""
        one = torch.ones_like(csi[:1, :1])
        if not self.options["known_noise"]:
            return (received - self.centre) @ self.axes, one, torch.zeros_like(csi[:, :1])
        noise = noise_power(csi[:, :1]) / 2
        if csi.shape[1] == 1:
            return (received - self.centre) @ self.axes, one, noise
        filtered, power = matched(received, csi, self.spec.layout)
        return filtered - power * self.centre, power, noise

    def _moments(self, surrogate: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_variance = surrogate.chunk(2, dim=1)
        return mean, log_variance.clamp(-9.0, 2.0).exp()

    def _words(self, surrogate: Tensor) -> Tensor:
        """The log-probability of each codeword at each channel use, [N, n, M]."""
        return surrogate.unflatten(1, (self.spec.num_symbols, -1)).log_softmax(2)

    def _points(self, like: Tensor) -> Tensor:
        return constellation_points(constellation_for(self.options["points"]), like.device)

    def _towers(self) -> list[Tower]:
        return cast(list[Tower], list(self.towers))

    def _of_candidates(self, candidates: Tensor) -> list[tuple[Tensor, Tensor]]:
        """What is made of candidates, remembered while the same ones are asked about, as over several SNRs."""
        if self.training or torch.is_grad_enabled():
            return self.of_images(candidates)
        known = self._candidates
        if known is not None and known[0].device == candidates.device and torch.equal(known[0], candidates):
            return known[1]
        made = self.of_images(candidates)
        self._candidates = (candidates.clone(), made)
        return made

    def load_state_dict(self, *args: Any, **kwargs: Any) -> Any:
        self._candidates = None  # they were embedded by other weights
        return super().load_state_dict(*args, **kwargs)


def changed(view: View, index: Tensor, generator: torch.Generator) -> Tensor:
    """Indices of images that are each changed in one of the ways that the view grants, at random."""
    ways = torch.randint(view.augmentations, index.shape, generator=generator, device=index.device)
    return index + ways * view.num_images
