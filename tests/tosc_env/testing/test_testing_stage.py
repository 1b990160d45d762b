"""check_stage passes honest stages and catches each broken law."""

from __future__ import annotations

from types import MappingProxyType

import pytest
import torch
from torch import nn

from tosc_env.errors import InputError
from tosc_env.modulation import CONSTELLATIONS, constellation_points, hard_decision, modulate
from tosc_env.registry import Registry
from tosc_env.schemes import Stage, make_stage, stages
from tosc_env.testing import check_stage
from tosc_env.types import SystemSpec

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


class Rounded(Stage):
    """Points of its own, whatever comes in; no gradient passes them, and none need."""

    def __init__(self, spec, constellation=None):
        super().__init__(spec, "16qam")

    def protect(self, symbols, context):
        points = constellation_points("16qam", device=symbols.device)
        return modulate(hard_decision(symbols, points), points)


class Reals(Stage):
    """Refuses points, so that it need not send any."""

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
@pytest.mark.parametrize("constellation", [None, *CONSTELLATIONS])
def test_every_registered_stage_passes_on_every_constellation(name, constellation):
    check_stage(make_stage(name, SPEC, constellation))


@pytest.mark.parametrize("name", sorted(stages))
def test_a_name_is_enough(name):
    check_stage(name)


@pytest.mark.parametrize("lifetime", ["fixed", "per_message"])
@pytest.mark.parametrize("key", [{}, {"key": "11" * 32}])
def test_a_rotation_passes_with_and_without_a_key_of_its_own(lifetime, key):
    check_stage(make_stage({"name": "keyed", "mode": "rotation", "lifetime": lifetime, **key}, SPEC))


@pytest.mark.parametrize("kind", [Negate, Learned, Rounded, Reals, Noise, FreshSigns, NoisySigns])
@pytest.mark.parametrize("num_csi", [1, 3, 9])
def test_honest_stages_pass(kind, num_csi):
    check_stage(kind(SPEC.with_csi(num_csi)))


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


def test_a_registered_stage_is_rebuilt_by_its_name(monkeypatch):
    table = Registry("stage")
    for module in ("tosc_env.testing.stage", "tosc_env.schemes"):
        monkeypatch.setattr(f"{module}.stages", table)

    @table.register("named")
    class Named(Negate):
        name = "named"

    class Impostor(Named):
        pass

    check_stage(Named(SPEC))
    with pytest.raises(AssertionError, match="rebuilt by its name, is a Named"):
        check_stage(Impostor(SPEC))


# -- broken ones, with a pattern of the sentence ------------------------------------------------------


class SilentNoise(Negate):
    """stochastic = False"""

    def __init__(self, spec, constellation=None):
        super().__init__(spec)

    def protect(self, symbols, context):
        return symbols + torch.randn(symbols.shape, generator=context.generator)


class SilentMessage(Negate):
    """stochastic = False"""

    def __init__(self, spec, constellation=None):
        super().__init__(spec)

    def protect(self, symbols, context):
        return symbols + context.message[:, 2:].float()


class SaysItIsRandom(Negate):
    """says stochastic = True"""

    stochastic = True


class GlobalNoise(SilentNoise):
    """draws from .* torch"""

    stochastic = True

    def protect(self, symbols, context):
        return symbols + torch.randn_like(symbols)


class GlobalRecover(Negate):
    """recover, draws from .* torch"""

    def recover(self, received, csi, context):
        return received + torch.randn_like(received)


class Shorter(Negate):
    """what protect returns .* must have the shape"""

    def protect(self, symbols, context):
        return symbols[:, 1:]


class Double(Negate):
    """what recover returns .* must be torch.float32"""

    def recover(self, received, csi, context):
        return received.double()


class NotAtSilence(Negate):
    """not finite"""

    def protect(self, symbols, context):
        return symbols / symbols.norm(dim=1, keepdim=True)


class OneSNR(Negate):
    """recover, failed with ValueError"""

    def recover(self, received, csi, context):
        if not 0 <= float(csi[0, 0]) <= 20:
            raise ValueError("unknown SNR")
        return -received


class Writes(Negate):
    """writes into the symbols"""

    def protect(self, symbols, context):
        return symbols.neg_()


class WritesReceived(Negate):
    """recover writes into"""

    def recover(self, received, csi, context):
        return received.neg_()


class Counter(Negate):
    """other symbols for the same"""

    calls = 0

    def __init__(self, spec, constellation=None):
        super().__init__(spec)

    def protect(self, symbols, context):
        self.calls += 1
        return symbols + self.calls


class Remembers(Negate):
    """recover depends on something else"""

    def protect(self, symbols, context):
        self.last = symbols
        return -symbols

    def recover(self, received, csi, context):
        return self.last + 0 * received


class Jointly(Negate):
    """protect gives a message alone"""

    def __init__(self, spec, constellation=None):
        super().__init__(spec)

    def protect(self, symbols, context):
        return symbols - symbols.mean(0)


class RecoversJointly(Negate):
    """recover gives a message alone"""

    def recover(self, received, csi, context):
        return received - received.mean(0)


class OffTheGrid(Negate):
    """no points of 'qpsk'"""

    def protect(self, symbols, context):
        return symbols + 0.1


class UnknownGrid(Rounded):
    """unknown constellation '17qam'"""

    def __init__(self, spec, constellation=None):
        super().__init__(spec)
        self.constellation = "17qam"


class NoGradient(Reals):
    """the gradient of protect and recover"""

    def protect(self, symbols, context):
        return symbols.detach().clone()


class OneWay(Reals):
    """the gradient of protect and recover"""

    def recover(self, received, csi, context):
        return received.detach().clone()


class Flat(Reals):
    """zero everywhere"""

    def protect(self, symbols, context):
        return 0.0 * symbols + 1.0


class Unused(Learned):
    """no gradient to the parameter 'spare'"""

    def __init__(self, spec, constellation=None):
        super().__init__(spec)
        self.options = {}
        self.spare = nn.Parameter(torch.zeros(1))


class MovesInEval(Negate):
    """changes its state in eval mode"""

    def __init__(self, spec, constellation=None):
        super().__init__(spec, constellation)
        self.register_buffer("sent", torch.zeros(()))

    def protect(self, symbols, context):
        self.sent += len(symbols)
        return -symbols


class NoPlainOption(Negate):
    """plain values"""

    def __init__(self, spec, constellation=None, *, how=torch.neg):
        super().__init__(spec, constellation, how=how)


class ForgetsOptions(Negate):
    """rebuilding .* failed with TypeError"""

    def __init__(self, spec, constellation=None, **options):
        super().__init__(spec, constellation, width=3)
        if options:
            raise TypeError("width is not mine")


class HiddenState(Negate):
    """does something else"""

    def __init__(self, spec, constellation=None):
        super().__init__(spec)
        self.order = torch.randperm(2 * spec.num_symbols)

    def protect(self, symbols, context):
        return symbols[:, self.order]

    def recover(self, received, csi, context):
        return received[:, self.order.argsort()]


class NoFlag(Negate):
    """keyed must be True or False"""

    keyed = None


class WordyKnob(Negate):
    """the knob 'mood' must have a number"""

    knobs = MappingProxyType({"mood": "good"})


class KnobThatMatters(Negate):
    """named in the context, change what is sent"""

    knobs = MappingProxyType({"loudness": 1.0})

    def __init__(self, spec, constellation=None):
        super().__init__(spec)

    def protect(self, symbols, context):
        return symbols * (2.0 if "loudness" in context.knobs else 1.0)


class StrangeKnob(Noise):
    """draws 'volume', which is not among its knobs"""

    def draw_knobs(self, context):
        return {"volume": context.snr_db}


class Promises(Negate):
    """guarantee must say nothing"""

    def guarantee(self, transmissions=1):
        return 3.0


class TakesAKey(Negate):
    """says keyed = False"""

    def use_key(self, key, place):
        self.key = key


class TakesNoKey(Negate):
    """use_key with 64 hexadecimal digits failed"""

    keyed = True


class OneKeyForAll(Signs):
    """the same key"""

    key = "anything"


class IgnoresItsKey(FreshSigns):
    """the same under another key|something else under the same key"""

    def use_key(self, key, place):
        pass


class SameKeyAlways(Signs):
    """does the same under another key"""

    def use_key(self, key, place):
        self.key = f"mine{place}"


class SamePlace(FreshSigns):
    """does the same in another place"""

    def use_key(self, key, place):
        self.key = key


class ForgetsItsKey(FreshSigns):
    """something else under the same key"""

    def use_key(self, key, place):
        self.key = f"{key}{torch.seed()}"


class ShowsItsKey(FreshSigns):
    """shows its key"""

    def extra_repr(self):
        return f"key={self.key}"


class NotUndone(FreshSigns):
    """does not undo"""

    def recover(self, received, csi, context):
        return received


class NotBehindPower(FreshSigns):
    """behind the power constraint, does not undo"""

    def __init__(self, spec, constellation=None):
        super().__init__(spec)
        self.constellation = None

    def protect(self, symbols, context):
        return super().protect(symbols, context) + 1.0

    def recover(self, received, csi, context):
        return super().recover(received - 1.0, csi, context)


BROKEN = [
    SilentNoise, SilentMessage, SaysItIsRandom, GlobalNoise, GlobalRecover, Shorter, Double, NotAtSilence, OneSNR,
    Writes, WritesReceived, Counter, Remembers, Jointly, RecoversJointly, OffTheGrid, UnknownGrid, NoGradient, OneWay,
    Flat, Unused, MovesInEval, NoPlainOption, ForgetsOptions, HiddenState, NoFlag, WordyKnob, KnobThatMatters,
    StrangeKnob, Promises, TakesAKey, TakesNoKey, OneKeyForAll, IgnoresItsKey, SameKeyAlways, SamePlace, ForgetsItsKey,
    ShowsItsKey, NotUndone, NotBehindPower,
]  # fmt: skip


@pytest.mark.parametrize("broken", BROKEN)
def test_broken_stages_are_caught_with_the_right_sentence(broken):
    with torch.random.fork_rng(), pytest.raises(AssertionError, match=broken.__doc__) as caught:
        torch.manual_seed(0)
        check_stage(broken(SPEC))
    assert "\n" not in str(caught.value)


def test_points_that_become_none_are_caught_also_of_an_object_for_these_points():
    with pytest.raises(AssertionError, match="no points of"):
        check_stage(OffTheGrid(SPEC, "16qam"))


def test_a_stage_that_refuses_everything_is_caught():
    class Nothing(Reals):
        def __init__(self, spec, constellation="none"):
            super().__init__(spec)
            if constellation != "none":
                raise InputError("not today.")

    with pytest.raises(AssertionError, match="cannot be rebuilt from its options: not today"):
        check_stage(Nothing(SPEC))


def test_anything_else_than_a_stage_is_caught():
    with pytest.raises(AssertionError, match=r"must derive from tosc_env\.Stage"):
        check_stage(nn.Linear(1, 1))
    with pytest.raises(AssertionError, match="unknown stage 'keyd', did you mean 'keyed'"):
        check_stage("keyd")
