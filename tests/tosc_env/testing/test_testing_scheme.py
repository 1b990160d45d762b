"""check_scheme passes lawful schemes and catches each broken law."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial

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


class Adaptive(Honest):
    """Louder over a better link."""

    def encode(self, images, context):
        return super().encode(images, context) * context.snr_db[:, None]


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


@pytest.mark.parametrize("kind", [Honest, Discrete, Noisy, Keyed, Untrained, WithDropout, Adaptive])
def test_honest_schemes_pass(kind):
    check_scheme(kind(replace(SPEC, num_csi=3)))


def test_honest_schemes_pass_over_every_csi():
    """4 is the CSI of no block fading: then AWGN alone is checked."""
    for num_csi in (1, 4):
        check_scheme(Honest(replace(SPEC, num_csi=num_csi)))


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


# -- broken ones ------------------------------------------------------------------------------------------------------


def encodes(change, base=Honest):
    """A scheme whose symbols are ``change(what base encodes)``."""
    return but(base, encode=lambda self, images, context: change(base.encode(self, images, context)))


def looks(change, base=Honest):
    """A scheme that encodes ``change(images)``."""
    return but(base, encode=lambda self, images, context: base.encode(self, change(images), context))


def hears(change):
    """A scheme that decodes ``change(received)``."""
    return but(
        Honest,
        decode=lambda self, received, csi, context: Honest.decode(self, change(received), csi, context),
    )


def tries(change):
    """A scheme whose trial is ``change(trial)``."""
    return but(
        Honest, forward=lambda self, images, context, air: change(Honest.forward(self, images, context, air))
    )


def but(base, **members):
    return type("Broken", (base,), members)


class SqueezesOne(Honest):
    def decode(self, received, csi, context):
        return super().decode(received, csi, context).squeeze(0)


class Counter(Honest):
    calls = 0

    def encode(self, images, context):
        self.calls += 1
        return super().encode(images, context) + self.calls


class Clairvoyant(Honest):
    def encode(self, images, context):
        self.seen = images.flatten(1)[:, :4]
        return super().encode(images, context)

    def decode(self, received, csi, context):
        logits = super().decode(received, csi, context)
        return logits + self.seen if self.seen.shape == logits.shape else logits


class OneSNR(Honest):
    def decode(self, received, csi, context):
        if not 0 <= float(csi[0, 0]) <= 20:
            raise ValueError("unknown SNR")
        return super().decode(received, csi, context)


class Unused(Honest):
    def __init__(self, spec):
        super().__init__(spec)
        self.spare = nn.Parameter(torch.zeros(1))


class SendsTwice(Honest):
    def forward(self, images, context, air):
        air(self.encode(images, context))
        return super().forward(images, context, air)


class Sneaky(Honest):
    def encode(self, images, context):
        level = vars(context).get("snr_db")
        symbols = super().encode(images, context)
        return symbols if level is None else symbols * level[:, None]


class ObjectOption(Honest):
    def __init__(self, spec, activation=torch.tanh):
        super().__init__(spec, activation=activation)


class ForgetsOptions(Honest):
    def __init__(self, spec, width=12):
        super().__init__(spec)
        self.extra = nn.Linear(width, 1).requires_grad_(False)


class NeedsOption(Honest):
    def __init__(self, spec, epsilon):
        super().__init__(spec)


class HiddenState(Honest):
    def __init__(self, spec):
        super().__init__(spec)
        self.order = torch.randperm(2 * spec.num_symbols)

    def encode(self, images, context):
        return super().encode(images, context)[:, self.order]


class MovesInEval(Honest):
    def __init__(self, spec):
        super().__init__(spec)
        self.register_buffer("sent", torch.zeros(()))

    def encode(self, images, context):
        self.sent += len(images)
        return super().encode(images, context)


class IgnoresSpec(Honest):
    def __init__(self, spec):
        super().__init__(SystemSpec((3, 8, 8), 10, 8))
        self.spec = spec


class Uncopyable(Honest):
    def __deepcopy__(self, memo):
        raise TypeError("no")


BROKEN = [
    ("what encode returns .* must have the shape", encodes(lambda symbols: symbols[:, 1:])),
    ("what decode returns for 1 .* must have the shape", SqueezesOne),
    ("must be torch.float32", encodes(lambda symbols: symbols.double())),
    ("encode returns .* is not finite", encodes(lambda symbols: symbols / 0.0)),
    (
        "decode returns .* is not finite",
        hears(lambda received: received / received.norm(dim=1, keepdim=True)),
    ),
    ("encode gives a row alone", looks(lambda images: images - images.mean(0) * 0.5)),
    ("encode gives a row alone", looks(lambda images: images - images.mean(0), Discrete)),
    ("encode gives a row alone", looks(lambda images: images - images.mean(0), Adaptive)),
    ("decode gives a row alone", hears(lambda received: received - received.mean(0))),
    ("encode draws from .* torch", encodes(lambda symbols: symbols + torch.randn_like(symbols))),
    ("decode draws from .* torch", hears(lambda received: received + 0.1 * torch.randn_like(received))),
    ("other symbols for the same input", Counter),
    ("decode depends on something else", Clairvoyant),
    ("no point of '16qam'", encodes(lambda symbols: symbols * 1.5, Discrete)),
    (r"decode \(received times 30, SNR -30 dB\) failed with ValueError", OneSNR),
    ("encode writes into", looks(lambda images: images.mul_(2))),
    ("decode writes into", hears(lambda received: received.mul_(2))),
    ("reads nothing of its context, it seemed", Sneaky),
    ("changes its state in eval mode", MovesInEval),
    ("no gradient to the parameter 'encoder.weight'", encodes(lambda symbols: symbols.detach())),
    ("no gradient to the parameter 'spare'", Unused),
    ("gradient of the loss is zero", tries(lambda trial: replace(trial, logits=trial.logits * 0.0))),
    ("must send its symbols once, not 2 times", SendsTwice),
    ("must return a tosc_env.Trial, not a Tensor", tries(lambda trial: trial.logits)),
    ("logits, is not finite", tries(lambda trial: replace(trial, logits=trial.logits / 0.0))),
    ("eavesdropped, must have", tries(lambda trial: replace(trial, eavesdropped=trial.eavesdropped[:, 1:]))),
    ("rate, must have the shape", tries(lambda trial: replace(trial, rate=lambda: trial.features.mean(1)))),
    (
        "chosen codewords, must have the shape",
        tries(lambda trial: replace(trial, quantised=(trial.features, trial.features[:, 1:]))),
    ),
    (
        "figure 'size' must be a detached scalar",
        tries(lambda trial: replace(trial, figures={"size": trial.logits.square().mean()})),
    ),
    ("plain values", ObjectOption),
    ("loading the state", partial(ForgetsOptions, width=5)),
    ("rebuilding .* failed with TypeError", partial(NeedsOption, epsilon=0.1)),
    ("neither an option nor in the state dictionary", HiddenState),
    (
        "must be a tensor",
        but(Honest, get_extra_state=lambda self: {"key": 1}, set_extra_state=lambda *_: None),
    ),
    ("bits must be a number", but(Discrete, bits=None)),
    ("can carry 32 at most", but(Discrete, bits=64.0)),
    ("positive number", but(Honest, bits=-1.0)),
    ("unknown constellation '17qam'", but(Honest, constellation="17qam", bits=1.0)),
    ("decode returns .* must have the shape", IgnoresSpec),
    ("deepcopy", Uncopyable),
    (r"must derive from tosc_env\.PrivacyScheme", lambda spec: nn.Linear(1, 1)),
]


@pytest.mark.parametrize(("sentence", "kind"), BROKEN)
def test_broken_schemes_are_caught_with_the_right_sentence(sentence, kind):
    with pytest.raises(AssertionError, match=sentence):
        check_scheme(kind(SPEC))


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
