"""A tensor whose numbers do not all lie in memory is refused in a sentence at every door that takes tensors."""

from __future__ import annotations

import warnings

import gymnasium as gym
import numpy as np
import pytest
import torch
from fakes import SMALL, SPEC, FakeEavesdropper, FakeScheme, options_for
from refusals import refused
from tosc_agents.training.evaluate import evaluate

import tosc_env
from tosc_env.envs.reward_shift import shift_transmitter_rewards
from tosc_env.options import check_dense
from tosc_env.rewards import ROLES


def quantized(plain):
    return torch.quantize_per_tensor(plain.float().cpu(), 0.1, 0, torch.qint8)


LAYOUTS = {
    "sparse_coo": torch.Tensor.to_sparse,
    "sparse_csr": lambda plain: plain.reshape(-1, plain.shape[-1]).to_sparse_csr(),
    "mkldnn": lambda plain: plain.float().to_mkldnn(),
    "quantized": quantized,
    "meta": lambda plain: plain.to("meta"),
    "nested": lambda plain: torch.nested.nested_tensor(list(plain.float())),
    "jagged": lambda plain: torch.nested.nested_tensor(list(plain.float()[:, None]), layout=torch.jagged),
    "complex": lambda plain: plain.float() + 1j,
}
"""A tensor of every layout that is not a plain one, from a plain one."""


@pytest.fixture(params=LAYOUTS)
def odd(request):
    """A function from a plain tensor to an odd one."""

    def change(plain):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # layouts that torch calls a prototype
            return LAYOUTS[request.param](plain)

    change.complex = request.param == "complex"
    return change


def test_all_but_plain_tensors_and_arrays_are_refused(odd):
    if odd.complex:
        assert check_dense(odd(torch.eye(2)), "x").is_complex()
        with refused("x real"):
            check_dense(odd(torch.eye(2)), "x", real=True)
    else:
        with refused("x dense"):
            check_dense(odd(torch.eye(2)), "x")
    with refused("x masked"):
        check_dense(np.ma.masked_array([1, 2], [True, False]), "x")
    for plain in (torch.eye(2), np.eye(2), None, [1], torch.eye(2, requires_grad=True).T):
        assert check_dense(plain, "x") is plain


@pytest.mark.parametrize("role", ["transmitter", "receiver", "eavesdropper"])
def test_actions_of_every_role_in_every_form(role, odd):
    env = gym.make_vec("ToSC-Shapes-v0", num_envs=2, **options_for(role))
    env.reset(seed=0)
    with refused(f"{role}_0 action"):
        env.step(odd(torch.as_tensor(env.action_space.sample())))
    with refused("reset_mask"):
        env.reset(options={"reset_mask": odd(torch.ones(2, 1))})
    single = gym.make("ToSC-Shapes-v0", disable_env_checker=True, **options_for(role)).unwrapped
    single.reset(seed=0)
    one = torch.as_tensor(single.action_space.sample())
    with refused(f"{role}_0 action"):
        single.step(odd(one if one.dim() else one[None, None]))


def test_rewards(odd):
    def paid(outcome):
        plain = torch.zeros(len(outcome.score), 1)
        return {**dict.fromkeys(ROLES, outcome.score), "receiver": odd(plain)}

    env = gym.make_vec("ToSC-Shapes-v0", num_envs=2, reward_fn=paid, **options_for("transmitter"))
    env.reset(seed=0)
    with refused("reward_fn receiver"):
        env.step(env.action_space.sample())
    with refused("rewards"):
        shift_transmitter_rewards(odd(torch.ones(3, 1)), None)


def test_keys_of_rewards_are_told_in_a_short_sentence():
    class NoText:
        def __repr__(self):
            raise RuntimeError("no text")

    for keys in (["x" * 5000], [NoText()], list(range(1000)), [("transmitter",) * 500]):
        env = gym.make_vec(
            "ToSC-Shapes-v0",
            num_envs=2,
            reward_fn=lambda o, keys=keys: dict.fromkeys(keys, o.score),
            **options_for("transmitter"),
        )
        env.reset(seed=0)
        with refused("transmitter receiver eavesdropper"):
            env.step(env.action_space.sample())


def test_images_and_labels_of_a_source(odd):
    images = torch.zeros(4, 3, 8, 8, dtype=torch.uint8)
    with refused("images"):
        tosc_env.Source.from_arrays(odd(images), None, name="mine")
    with refused("labels"):
        tosc_env.Source.from_arrays(images, odd(torch.zeros(4, 1)), name="mine")
    with refused("image"):
        tosc_env.as_source([(odd(torch.zeros(8, 8)), 0)] * 4)
    with refused("index"):
        tosc_env.make_source("shapes", **SMALL).subset(odd(torch.zeros(4, 1)))


class Odd(FakeScheme):
    """A scheme, one end of which gives odd tensors."""

    def __init__(self, odd, end):
        super().__init__()
        self.odd, self.end = odd, end

    def encode(self, images, context):
        symbols = super().encode(images, context).detach()
        return self.odd(symbols) if self.end == "encode" else symbols

    def decode(self, received, csi, context):
        logits = super().decode(received, csi, context).detach()
        return self.odd(logits) if self.end == "decode" else logits


class OddStage(tosc_env.Stage):
    """A stage, one method of which gives odd tensors."""

    name = "odd"

    def __init__(self, odd, end):
        super().__init__(SPEC)
        self.odd, self.end = odd, end

    def protect(self, symbols, context):
        return self.odd(symbols.detach()) if self.end == "protect" else symbols

    def recover(self, received, csi, context):
        return self.odd(received.detach()) if self.end == "recover" else received

    def precode(self, waves, context):
        wrong = lambda plain: self.odd(torch.view_as_real(plain).flatten(1))  # noqa: E731
        return tosc_env.types.Waves(wrong(waves.signal), waves.weights) if self.end == "precode" else waves


@pytest.mark.parametrize("end", ["encode", "decode", "protect", "recover", "precode", "constraint"])
def test_symbols_logits_and_waves_of_schemes_and_stages(odd, end):
    if odd.complex and end == "precode":
        pytest.skip("waves are complex")
    game = tosc_env.Game(tosc_env.make_source("shapes", **SMALL))
    if end == "constraint":
        with refused("constraint"):
            game.transmit(game.draw(2), torch.ones(2, 128), constraint=odd)
        return
    backbone = Odd(odd, end) if end in ("encode", "decode") else FakeScheme()
    scheme = tosc_env.Pipeline(backbone, [] if end in ("encode", "decode") else [OddStage(odd, end)])
    stream = torch.Generator().manual_seed(0)
    with refused(""):
        next(tosc_env.rollout(game, scheme, generator=stream, batch_size=4)).logits()


class OddChannel(tosc_env.Channel):
    """A channel that fades, one method of which gives odd tensors."""

    fading = True

    def __init__(self, odd, end):
        super().__init__()
        self.odd, self.end = odd, end

    def draw_fades(self, sizes, generator, device):
        fades = [torch.ones(size, dtype=torch.complex64) for size in sizes]
        return [self.odd(fade.real.flatten(1)) for fade in fades] if self.end == "draw_fades" else fades

    def gains(self, link, num_symbols):
        gains = super().gains(link, num_symbols)
        return self.odd(gains.real.flatten(1)) if self.end == "gains" else gains

    def observe(self, raw, link, weights=None):
        reception = super().observe(raw, link, weights)
        if self.end == "observe":
            return tosc_env.types.Reception(self.odd(reception.received), reception.csi)
        return reception


@pytest.mark.parametrize("end", ["draw_fades", "gains", "observe"])
def test_fades_gains_and_receptions_of_a_channel(odd, end):
    if odd.complex and end != "observe":
        pytest.skip("fades and gains are complex")
    game = tosc_env.Game(
        tosc_env.make_source("shapes", **SMALL), channel=OddChannel(odd, end), transmitter_csi=["receiver"]
    )
    with refused(""):
        round_ = game.draw(2)
        game.context(round_)
        game.transmit(round_, torch.ones(2, 128))


class OddAttacker(FakeEavesdropper):
    """An attacker, one capability of which gives odd tensors."""

    inferred = (("label", 10),)

    def __init__(self, odd, end):
        super().__init__()
        self.odd, self.end = odd, end

    def _told(self, end, plain):
        return self.odd(plain) if self.end == end else plain

    def reconstruct(self, received, csi):
        return self._told("reconstruct", super().reconstruct(received, csi).detach())

    def match(self, received, csi, candidates):
        return self._told("match", torch.zeros(len(received), len(candidates)))

    def infer(self, received, csi):
        return self._told("infer", torch.zeros(len(received), 10))


@pytest.mark.parametrize("end", ["reconstruct", "match", "infer"])
def test_what_attackers_answer(odd, end):
    game = tosc_env.Game(tosc_env.make_source("shapes", split="test", **SMALL))
    attacker = OddAttacker(odd, end)
    with refused(end):
        evaluate(game, FakeScheme(), {"odd": attacker}, seeds=1, with_floors=False, with_ssim=False)
    if end == "reconstruct":
        env = gym.make_vec("ToSC-Shapes-v0", num_envs=2, **options_for("receiver", eavesdropper=attacker))
        env.reset(seed=0)
        with refused(end):
            env.step(env.action_space.sample())


def test_what_attackers_ask_of_a_view(odd):
    game = tosc_env.Game(tosc_env.make_source("shapes", **SMALL))
    view = tosc_env.View(game, FakeScheme(), tosc_env.ThreatModel(candidate_queries=True), torch.Generator())
    for ask in (view.sample, view.symbols, view.images, view.labels, view.encode):
        with refused("takes"):
            ask(odd(torch.zeros(2, 1)))
