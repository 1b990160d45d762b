"""check_stage passes lawful stages and catches each broken law."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from types import MappingProxyType

import pytest
import torch
from pixels import Rounded
from torch import nn

from tosc_env.errors import InputError
from tosc_env.schemes import Stage, make_stage, stages
from tosc_env.testing import check_stage
from tosc_env.types import SystemSpec, Waves

SPEC = SystemSpec((3, 8, 8), 4, num_symbols=8)


class Negate(Stage):
    """The least that is a stage, and maps points to points."""

    def protect(self, symbols, context):
        return -symbols

    def recover(self, received, csi, context):
        return -received


class Learned(Stage):
    """A trainable one, whose symbols are no points."""

    def __init__(self, spec, constellation=None, *, bias=True):
        super().__init__(spec, bias=bias)
        self.mix = nn.Linear(2 * spec.num_symbols, 2 * spec.num_symbols, bias=bias)

    def protect(self, symbols, context):
        return self.mix(symbols)


class Reals(Stage):
    """A stage that refuses points, so that it need not send any."""

    def __init__(self, spec, constellation=None):
        if constellation is not None:
            raise InputError(f"reals only, not points of {constellation!r}.")
        super().__init__(spec)

    def protect(self, symbols, context):
        return symbols + 0.1


class Noise(Stage):
    """Loudness is a knob, and may differ in training."""

    stochastic = True

    def __init__(self, spec, constellation=None, *, loudness=0.5):
        super().__init__(spec, loudness=loudness)
        self.knobs = {"loudness": loudness}

    def protect(self, symbols, context):
        loudness = context.knobs.get("loudness", torch.tensor(self.options["loudness"]))
        return symbols + loudness.reshape(-1, 1) * torch.randn(symbols.shape, generator=context.generator)

    def draw_knobs(self, context):
        return {"loudness": torch.rand(context.snr_db.shape, generator=context.generator)}


class Signs(Stage):
    """Signs from a key, the same for all messages."""

    keyed = True
    key = "00"

    def use_key(self, key, place):
        self.key = f"{key}{place}"

    def signs(self):
        draw = torch.Generator().manual_seed(hash(self.key) % 2**63)
        return torch.randint(0, 2, (2 * self.spec.num_symbols,), generator=draw) * 2.0 - 1.0

    def protect(self, symbols, context):
        return symbols * self.signs()

    def recover(self, received, csi, context):
        return received * self.signs()


class FreshSigns(Signs):
    """A key of its own until it is given another."""

    def __init__(self, spec, constellation=None):
        super().__init__(spec, constellation)
        self.key = str(torch.seed())


class NoisySigns(FreshSigns):
    """A key that hides noise: what comes back is not what was sent, and need not be."""

    stochastic = True

    def protect(self, symbols, context):
        return super().protect(symbols + torch.randn(symbols.shape, generator=context.generator), context)

    def __init__(self, spec, constellation=None):
        super().__init__(spec)


@pytest.mark.parametrize("name", sorted(stages))
def test_every_registered_stage_passes_by_its_name_and_on_points(name):
    check_stage(name)
    check_stage(make_stage(name, SPEC, "16qam"))


@pytest.mark.parametrize("key", [{"lifetime": "fixed"}, {"lifetime": "per_message", "key": "11" * 32}])
def test_a_rotation_passes_with_and_without_a_key_of_its_own(key):
    check_stage(make_stage({"name": "keyed", "mode": "rotation", **key}, SPEC))


def reversed_whole(spec):
    return ReversedWhole(spec)


@pytest.mark.parametrize(
    "kind", [Negate, Learned, Rounded, Reals, Noise, FreshSigns, NoisySigns, reversed_whole]
)
def test_honest_stages_pass(kind):
    check_stage(kind(replace(SPEC, num_csi=9)))


def test_options_that_are_not_the_usual_ones_are_checked_with_the_stage():
    check_stage(Learned(SPEC, bias=False))
    check_stage(Noise(SPEC, loudness=2.0))


def test_checking_leaves_stage_and_global_stream_as_they_were():
    stage = Learned(SPEC).train()
    before = {k: v.clone() for k, v in stage.state_dict().items()}
    state = torch.get_rng_state()
    check_stage(stage)
    assert stage.training and all(p.grad is None for p in stage.parameters())
    assert all(torch.equal(v, before[k]) for k, v in stage.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)


# -- broken ones ------------------------------------------------------------------------------------------------------


def but(base, **members):
    return type("Broken", (base,), members)


def protects(change, base=Negate, **members):
    """A stage that protects by ``change(symbols)``; what it is given of points are none any more."""
    return but(free(base), protect=lambda self, symbols, context: change(symbols), **members)


def recovers(change, base=Negate):
    return but(base, recover=lambda self, received, csi, context: change(received))


def free(base):
    """A stage that sends symbols of any value."""
    return but(
        base, __init__=lambda self, spec, constellation=None, **options: base.__init__(self, spec, **options)
    )


def drawn(self, symbols, context):
    return symbols + torch.randn(symbols.shape, generator=context.generator)


class OffTheGrid(Negate):
    def protect(self, symbols, context):
        return symbols + 0.1


class UnknownGrid(Rounded):
    def __init__(self, spec, constellation=None):
        super().__init__(spec)
        self.constellation = "17qam"


class Unused(Learned):
    def __init__(self, spec, constellation=None):
        super().__init__(spec)
        self.options = {}
        self.spare = nn.Parameter(torch.zeros(1))


class MovesInEval(Negate):
    def __init__(self, spec, constellation=None):
        super().__init__(spec, constellation)
        self.register_buffer("sent", torch.zeros(()))

    def protect(self, symbols, context):
        self.sent += len(symbols)
        return -symbols


class HiddenState(Negate):
    def __init__(self, spec, constellation=None):
        super().__init__(spec)
        self.order = torch.randperm(2 * spec.num_symbols)

    def protect(self, symbols, context):
        return symbols[:, self.order]


class KnobThatMatters(free(Negate)):
    knobs = MappingProxyType({"loudness": 1.0})

    def protect(self, symbols, context):
        return symbols * (2.0 if "loudness" in context.knobs else 1.0)


class Nothing(Reals):
    def __init__(self, spec, constellation="none"):
        super().__init__(spec)
        if constellation != "none":
            raise InputError("not today.")


def takes(named):
    """Signs whose key is what ``named(key, place)`` gives."""

    def use_key(self, key, place):
        self.key = named(key, place)

    return but(FreshSigns, use_key=use_key)


class NotBehindPower(FreshSigns):
    def __init__(self, spec, constellation=None):
        super().__init__(spec)
        self.constellation = None

    def protect(self, symbols, context):
        return super().protect(symbols, context) + 1.0

    def recover(self, received, csi, context):
        return super().recover(received - 1.0, csi, context)


class Reversed(Stage):
    """The real numbers in another order, and no word of the amplitudes that they have met."""

    def protect(self, symbols, context):
        return symbols.flip(1)

    def recover(self, received, csi, context):
        return received.flip(1)


class Halved(Stage):
    """The real numbers twice as large, which is no orthogonal matrix."""

    def protect(self, symbols, context):
        return 2 * symbols

    def recover(self, received, csi, context):
        return received / 2

    def recover_gains(self, gains, csi, context):
        return gains


class ReversedWhole(Reversed):
    def recover_gains(self, gains, csi, context):
        return gains.flip(1)


# Of what both ends of a scheme and a stage have in common (test_testing_scheme.py) one of each kind stands here.
BROKEN = [
    ("stochastic = False", but(free(Negate), protect=drawn)),
    (
        "stochastic = False",
        but(free(Negate), protect=lambda self, symbols, told: symbols + told.message[:, 2:3]),
    ),
    ("says stochastic = True", but(Negate, stochastic=True)),
    (
        "protect draws from .* torch",
        protects(lambda symbols: symbols + torch.randn_like(symbols), stochastic=True),
    ),
    ("not finite", protects(lambda symbols: symbols / symbols.norm(dim=1, keepdim=True))),
    ("protect gives a row alone", protects(lambda symbols: symbols - symbols.mean(0))),
    ("no points of 'qpsk'", OffTheGrid),
    ("no points of", partial(OffTheGrid, constellation="16qam")),
    ("unknown constellation '17qam'", UnknownGrid),
    ("the gradient of protect and recover", protects(lambda symbols: symbols.detach().clone(), Reals)),
    ("the gradient of protect and recover", recovers(lambda received: received.detach().clone(), Reals)),
    ("zero everywhere", protects(lambda symbols: 0.0 * symbols + 1.0, Reals)),
    ("no gradient to the parameter 'spare'", Unused),
    ("changes its state in eval mode", MovesInEval),
    ("cannot be rebuilt from its options: not today", Nothing),
    ("does something else: what matters is in neither", HiddenState),
    ("keyed must be True or False", but(Negate, keyed=None)),
    ("the knob 'mood' must have a number", but(Negate, knobs={"mood": "good"})),
    ("named in the context, change what is sent", KnobThatMatters),
    (
        "draws 'volume', which is none of its knobs",
        but(Noise, draw_knobs=lambda _, told: {"volume": told.snr_db}),
    ),
    ("guarantee must say nothing", but(Negate, guarantee=lambda self, transmissions=1: 3.0)),
    ("says keyed = False", but(Negate, use_key=lambda self, key, place: None)),
    ("use_key with 64 hexadecimal digits failed", but(Negate, keyed=True)),
    ("has the same key", but(Signs, key="anything")),
    ("something else under the same key", takes(lambda key, place: f"{key}{torch.seed()}")),
    ("does the same under another key", takes(lambda key, place: f"mine{place}")),
    ("does the same in another place", takes(lambda key, place: key)),
    ("shows its key", but(FreshSigns, extra_repr=lambda self: f"key={self.key}")),
    ("does not undo", but(FreshSigns, recover=lambda self, received, csi, context: received)),
    ("behind the power constraint, does not undo", NotBehindPower),
    ("recover moves values", Reversed),
    ("recover moves values", but(Negate, recover_gains=lambda self, gains, csi, context: gains.flip(1))),
    ("does not override recover_gains", but(Negate, mixes=True)),
    ("multiplies by no orthogonal matrix", but(Halved, mixes=True)),
    (r"must derive from tosc_env\.Stage", lambda spec: nn.Linear(1, 1)),
    ("unknown stage 'keyd', did you mean 'keyed'", lambda spec: "keyd"),
]


@pytest.mark.parametrize(("sentence", "kind"), BROKEN)
def test_broken_stages_are_caught_with_the_right_sentence(sentence, kind):
    with torch.random.fork_rng(), pytest.raises(AssertionError, match=sentence) as caught:
        torch.manual_seed(0)
        check_stage(kind(SPEC))
    assert "\n" not in str(caught.value)


class _Turns(Stage):
    """A stage that sends from the second antenna, with a random phase."""

    name, stochastic = "turns", True

    def precode(self, waves, context):
        phase = torch.rand(len(waves.signal), 1, 1, generator=context.generator) * 6.28
        turn = torch.polar(torch.ones_like(phase), phase)
        return Waves(waves.signal.flip(1) * turn, waves.weights.flip(1) * turn)


class _Nothing(_Turns):
    def precode(self, waves, context):
        return None


class _OneAntenna(_Turns):
    def precode(self, waves, context):
        return Waves(waves.signal[:, :1], waves.weights[:, :1])


class _GlobalPhase(_Turns):
    def precode(self, waves, context):
        turn = torch.polar(torch.ones(1), torch.rand(1) * 6.28)
        return Waves(waves.signal * turn, waves.weights * turn)


class _SaysItIsNot(_Turns):
    stochastic = False


class _Still(_Turns):
    def precode(self, waves, context):
        return Waves(waves.signal.flip(1), waves.weights.flip(1))


class _NotANumber(_Turns):
    def precode(self, waves, context):
        return Waves(waves.signal / 0.0, waves.weights)


def test_what_acts_on_waves_is_checked():
    check_stage(_Turns(SystemSpec((3, 8, 8), 4, 16)))
    for broken, sentence in (
        (_Nothing, "precode returns NoneType, not Waves"),
        (_OneAntenna, "the signal that precode returns"),
        (_GlobalPhase, "global"),
        (_SaysItIsNot, "stochastic = False; set it to True"),
        (_Still, "stochastic = True, but sends the same"),
        (_NotANumber, "the signal that precode returns"),
    ):
        with pytest.raises(AssertionError, match=sentence):
            check_stage(broken(SystemSpec((3, 8, 8), 4, 16)))
