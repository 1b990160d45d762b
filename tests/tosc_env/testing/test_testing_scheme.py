"""check_scheme passes honest schemes and catches each broken law."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from tosc_env.modulation import constellation_points
from tosc_env.pipeline import Pipeline
from tosc_env.registry import Registry
from tosc_env.schemes import PrivacyScheme
from tosc_env.testing import check_scheme
from tosc_env.types import SystemSpec

SPEC = SystemSpec((3, 8, 8), 4, num_symbols=8)


class Honest(PrivacyScheme):
    """A linear continuous scheme."""

    def __init__(self, spec: SystemSpec, **options):
        super().__init__(spec, **options)
        self.encoder = nn.Linear(math.prod(spec.image_shape), 2 * spec.num_symbols)
        self.decoder = nn.Linear(2 * spec.num_symbols + spec.num_csi, spec.num_outputs)

    def encode(self, images, context):
        return self.encoder(images.flatten(1) - 0.5)

    def decode(self, received, csi, context):
        return self.decoder(torch.cat([received, csi / 20.0], dim=1))


class Discrete(Honest):
    """A vector-quantised scheme on 16-QAM, trained straight through."""

    constellation = "16qam"

    def encode(self, images, context):
        values = super().encode(images, context)
        points = constellation_points("16qam", device=images.device)
        waves = torch.view_as_complex(values.unflatten(1, (-1, 2)))
        nearest = points[(waves[..., None] - points).abs().argmin(-1)]
        return values + (torch.view_as_real(nearest).flatten(1) - values).detach()

    @property
    def bits(self):
        return 4.0 * self.spec.num_symbols


class Exact(Discrete):
    """The same, whose eval symbols are the points themselves."""

    def encode(self, images, context):
        symbols = super().encode(images, context)
        return symbols if self.training else symbols.detach()


class Noisy(Honest):
    """A stochastic scheme that draws from the context's generator."""

    def encode(self, images, context):
        clean = super().encode(images, context)
        return clean + 0.1 * torch.randn(clean.shape, generator=context.generator, device=clean.device)


class Keyed(Honest):
    """Signs flipped by a key per message: depends on the context's message, not on the row."""

    def __init__(self, spec, *, key: int = 7):
        super().__init__(spec, key=key)
        self.key = key

    def signs(self, context, width):
        rows = []
        for message in context.message.tolist():
            g = torch.Generator().manual_seed(hash((self.key, *message)) % 2**63)
            rows.append(torch.randint(0, 2, (width,), generator=g) * 2.0 - 1.0)
        return torch.stack(rows)

    def encode(self, images, context):
        symbols = super().encode(images, context)
        return symbols * self.signs(context, symbols.shape[1])

    def decode(self, received, csi, context):
        return super().decode(received * self.signs(context, received.shape[1]), csi, context)


class Untrained(Honest):
    """Nothing to train: a fixed projection."""

    def __init__(self, spec):
        super().__init__(spec)
        self.requires_grad_(False)


class WithDropout(Honest):
    """Dropout and batch normalisation are fine: eval mode switches them off."""

    def __init__(self, spec):
        super().__init__(spec)
        self.norm = nn.BatchNorm1d(2 * spec.num_symbols)

    def encode(self, images, context):
        return nn.functional.dropout(self.norm(super().encode(images, context)), training=self.training)


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


@pytest.mark.parametrize("kind", [Honest, Discrete, Exact, Noisy, Keyed, Untrained, WithDropout])
@pytest.mark.parametrize("num_csi", [1, 3, 5, 4])
def test_honest_schemes_pass_over_every_csi(kind, num_csi):
    """4 is the CSI of no block fading: then AWGN alone is checked."""
    check_scheme(kind(SPEC.with_csi(num_csi)))


def test_checking_leaves_scheme_and_global_stream_as_they_were():
    scheme = WithDropout(SPEC)
    before = {k: v.clone() for k, v in scheme.state_dict().items()}
    state = torch.get_rng_state()
    check_scheme(scheme)
    assert scheme.training and all(p.grad is None for p in scheme.parameters())
    assert all(torch.equal(v, before[k]) for k, v in scheme.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)


def test_a_registered_scheme_is_rebuilt_by_its_name(monkeypatch):
    table = Registry("scheme")
    for module in ("tosc_env.testing.scheme", "tosc_env.pipeline", "tosc_env.schemes"):
        monkeypatch.setattr(f"{module}.schemes", table)

    @table.register("named")
    class Named(Honest):
        name = "named"

    check_scheme(Named(SPEC))

    class Impostor(Named):
        pass

    with pytest.raises(AssertionError, match=r"'named' builds a Named, not a Impostor"):
        check_scheme(Impostor(SPEC))


class WrongShape(Honest):
    """what encode returns .* must have the shape"""

    def encode(self, images, context):
        return super().encode(images, context)[:, 1:]


class SqueezesOne(Honest):
    """what decode returns for 1 .* must have the shape"""

    def decode(self, received, csi, context):
        return super().decode(received, csi, context).squeeze(0)


class DoubleSymbols(Honest):
    """must be torch.float32"""

    def encode(self, images, context):
        return super().encode(images, context).double()


class NotFinite(Honest):
    """not finite"""

    def encode(self, images, context):
        return super().encode(images, context) / 0.0


class BatchStatistics(Honest):
    """encode gives an image alone"""

    def encode(self, images, context):
        return super().encode(images - images.mean(0) * 0.5, context)


class DecodesJointly(Honest):
    """decode gives a message alone"""

    def decode(self, received, csi, context):
        return super().decode(received - received.mean(0), csi, context)


class DiscreteJointly(Discrete):
    """encode gives an image alone"""

    def encode(self, images, context):
        return super().encode(images - images.mean(0), context)


class GlobalNoise(Noisy):
    """encode in eval mode, draws from .* torch"""

    def encode(self, images, context):
        clean = Honest.encode(self, images, context)
        return clean + torch.randn_like(clean)


class GlobalDecode(Honest):
    """decode in eval mode, draws from .* torch"""

    def decode(self, received, csi, context):
        return super().decode(received + 0.1 * torch.randn_like(received), csi, context)


class Counter(Honest):
    """other symbols for the same images"""

    calls = 0

    def encode(self, images, context):
        self.calls += 1
        return super().encode(images, context) + self.calls


class Clairvoyant(Honest):
    """decode depends on something else"""

    def encode(self, images, context):
        self.seen = images.flatten(1)[:, :4]
        return super().encode(images, context)

    def decode(self, received, csi, context):
        logits = super().decode(received, csi, context)
        return logits + self.seen if self.seen.shape == logits.shape else logits


class OffTheGrid(Discrete):
    """no point of '16qam'"""

    def encode(self, images, context):
        return super().encode(images, context) * 1.5


class FailsAtSilence(Honest):
    """not finite"""

    def decode(self, received, csi, context):
        return super().decode(received / received.norm(dim=1, keepdim=True), csi, context)


class OneSNR(Honest):
    """decode, failed with ValueError"""

    def decode(self, received, csi, context):
        if not 0 <= float(csi[0, 0]) <= 20:
            raise ValueError("unknown SNR")
        return super().decode(received, csi, context)


class DetachedEncoder(Honest):
    """no gradient to the parameter 'encoder.weight'"""

    def encode(self, images, context):
        return super().encode(images, context).detach()


class HardQuantiser(Discrete):
    """no gradient to the parameter 'encoder"""

    def encode(self, images, context):
        return super().encode(images, context).detach()


class Unused(Honest):
    """no gradient to the parameter 'spare'"""

    def __init__(self, spec):
        super().__init__(spec)
        self.spare = nn.Parameter(torch.zeros(1))


class LeakyFigures(Honest):
    """figure 'size' must be a detached scalar"""

    def forward(self, images, context, air):
        trial = super().forward(images, context, air)
        return replace(trial, figures={"size": trial.logits.square().mean()})


class NoTrial(Honest):
    """must return a tosc_env.Trial, not a Tensor"""

    def forward(self, images, context, air):
        return super().forward(images, context, air).logits


class NotFiniteInTraining(Honest):
    """logits, is not finite"""

    def forward(self, images, context, air):
        trial = super().forward(images, context, air)
        return replace(trial, logits=trial.logits / 0.0)


class SendsTwice(Honest):
    """must send its symbols once, not 2 times"""

    def forward(self, images, context, air):
        air(self.encode(images, context))
        return super().forward(images, context, air)


class ShortTrial(Honest):
    """eavesdropped, must have the shape"""

    def forward(self, images, context, air):
        trial = super().forward(images, context, air)
        return replace(trial, eavesdropped=trial.eavesdropped[:, 1:])


class VectorRate(Honest):
    """rate, must have the shape"""

    def forward(self, images, context, air):
        trial = super().forward(images, context, air)
        return replace(trial, rate=lambda: trial.features.mean(1))


class OtherCodewords(Honest):
    """chosen codewords, must have the shape"""

    def forward(self, images, context, air):
        trial = super().forward(images, context, air)
        return replace(trial, quantised=(trial.features, trial.features[:, 1:]))


class Sneaky(Honest):
    """reads nothing of its context, it seemed"""

    def encode(self, images, context):
        level = vars(context).get("snr_db")
        symbols = super().encode(images, context)
        return symbols if level is None else symbols * level[:, None]


class ZeroLoss(Honest):
    """zero everywhere"""

    def forward(self, images, context, air):
        trial = super().forward(images, context, air)
        return replace(trial, logits=trial.logits * 0.0)


class ObjectOption(Honest):
    """plain values"""

    def __init__(self, spec, activation=torch.tanh):
        super().__init__(spec, activation=activation)


class ForgetsOptions(Honest):
    """loading the state|rebuilding"""

    def __init__(self, spec, width=12):
        super().__init__(spec)
        self.extra = nn.Linear(width, 1).requires_grad_(False)


class MissingOption(Honest):
    """rebuilding .* failed with TypeError"""

    def __init__(self, spec, epsilon=None, *, _required=True, **options):
        if epsilon is None:
            raise TypeError("epsilon is missing")
        super().__init__(spec)


class HiddenState(Honest):
    """neither an option nor in the state dictionary"""

    def __init__(self, spec):
        super().__init__(spec)
        self.order = torch.randperm(2 * spec.num_symbols)

    def encode(self, images, context):
        return super().encode(images, context)[:, self.order]


class ExtraState(Honest):
    """must be a tensor"""

    def get_extra_state(self):
        return {"key": 1}

    def set_extra_state(self, state):
        pass


class MovesInEval(Honest):
    """changes its state in eval mode"""

    def __init__(self, spec):
        super().__init__(spec)
        self.register_buffer("sent", torch.zeros(()))

    def encode(self, images, context):
        self.sent += len(images)
        return super().encode(images, context)


class WritesImages(Honest):
    """writes into the images"""

    def encode(self, images, context):
        return super().encode(images.mul_(2), context)


class WritesReceived(Honest):
    """decode writes into"""

    def decode(self, received, csi, context):
        return super().decode(received.mul_(2), csi, context)


class NoBits(Discrete):
    """bits must be a number"""

    @property
    def bits(self):
        return None


class TooManyBits(Discrete):
    """can carry 32 at most"""

    @property
    def bits(self):
        return 64.0


class NegativeBits(Honest):
    """positive number"""

    @property
    def bits(self):
        return -1.0


class UnknownConstellation(Honest):
    """unknown constellation '17qam'"""

    constellation = "17qam"

    @property
    def bits(self):
        return 1.0


class IgnoresSpec(Honest):
    """shape"""

    def __init__(self, spec):
        super().__init__(SystemSpec((3, 8, 8), 10, 8))
        self.spec = spec


class Uncopyable(Honest):
    """deepcopy"""

    def __deepcopy__(self, memo):
        raise TypeError("no")


BROKEN = [
    WrongShape, SqueezesOne, DoubleSymbols, NotFinite, BatchStatistics, DecodesJointly, DiscreteJointly,
    GlobalNoise, GlobalDecode, Counter, Clairvoyant, OffTheGrid, FailsAtSilence, OneSNR,
    DetachedEncoder, HardQuantiser, Unused, LeakyFigures, NoTrial, NotFiniteInTraining, SendsTwice, ShortTrial,
    VectorRate, OtherCodewords, Sneaky,
    ZeroLoss, ObjectOption, ForgetsOptions, HiddenState, ExtraState, MovesInEval, WritesImages,
    WritesReceived, NoBits, TooManyBits, NegativeBits, UnknownConstellation, IgnoresSpec, Uncopyable,
]  # fmt: skip


def build(kind: type[Honest]) -> Honest:
    return kind(SPEC, width=5) if kind is ForgetsOptions else kind(SPEC)


@pytest.mark.parametrize("broken", BROKEN)
def test_broken_schemes_are_caught_with_the_right_sentence(broken):
    with pytest.raises(AssertionError, match=broken.__doc__):
        check_scheme(build(broken))


def test_an_option_that_is_not_kept_is_caught():
    with pytest.raises(AssertionError, match=MissingOption.__doc__):
        check_scheme(MissingOption(SPEC, 0.1))


def test_anything_else_than_a_scheme_is_caught():
    with pytest.raises(AssertionError, match=r"must derive from tosc_env\.PrivacyScheme"):
        check_scheme(nn.Linear(1, 1))


def test_the_sentence_is_about_the_scheme_and_readable():
    with pytest.raises(AssertionError) as caught:
        check_scheme(Unused(SPEC))
    sentence = str(caught.value)
    assert (
        sentence.startswith("the scheme Unused over AWGN: ")
        and sentence.endswith(").")
        and "\n" not in sentence
    )


def test_pipelines_pass_with_their_stages_and_are_rebuilt_with_them():
    stages = [{"name": "laplace", "epsilon": 50.0}, "keyed"]
    check_scheme(Pipeline(Honest(SPEC), stages))
    check_scheme(Pipeline(Discrete(SPEC), ["keyed"]))


class Rated(Honest):
    """A part of it is trained by its rate alone."""

    def __init__(self, spec):
        super().__init__(spec)
        self.width = nn.Parameter(torch.ones(()))

    def forward(self, images, context, air):
        trial = super().forward(images, context, air)
        return replace(trial, rate=lambda: self.width.square())


def test_a_scheme_is_checked_on_what_it_is_trained_for():
    bottleneck = {"name": "bottleneck", "start": 0, "ramp": 0}
    check_scheme(Rated(SPEC), objectives=["task", bottleneck])
    with pytest.raises(AssertionError, match="no gradient to the parameter 'width'"):
        check_scheme(Rated(SPEC))


def test_a_scheme_that_reads_its_context_is_checked_row_by_row_too():
    class Adaptive(Honest):
        def encode(self, images, context):
            return super().encode(images, context) * context.snr_db[:, None]

    class Jointly(Adaptive):
        def encode(self, images, context):
            return super().encode(images - images.mean(0), context)

    check_scheme(Adaptive(SPEC))
    with pytest.raises(AssertionError, match="encode gives an image alone other symbols"):
        check_scheme(Jointly(SPEC))
