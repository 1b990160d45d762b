"""Law: on a GPU everything stays there, and the host waits for it only where it is told to look at values."""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial

import numpy as np
import pytest
import torch
from devices import CUDA, HostWait, gpu
from fakes import SMALL, FakeEavesdropper, FakeScheme
from refusals import refused
from torch import nn
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensorDeviceMismatchError,
)
from torch.utils._pytree import tree_leaves

from tosc_env.async_checks import AsyncChecks
from tosc_env.channels.base import complex_normal
from tosc_env.channels.sionna import TDL
from tosc_env.data import make_source
from tosc_env.envs.aec import AecEnv
from tosc_env.envs.parallel import PipelinedEnv
from tosc_env.envs.role import RoleEnv
from tosc_env.envs.session import Session
from tosc_env.envs.system import System
from tosc_env.envs.vector import ToscVectorEnv
from tosc_env.errors import DeniedError
from tosc_env.game import Game
from tosc_env.mixture import Mixture
from tosc_env.modulation import constellation_points, hard_decision, modulate
from tosc_env.nodes import WIRETAP, Node, wiretap
from tosc_env.pipeline import as_pipeline
from tosc_env.privacy.threat import ThreatModel
from tosc_env.privacy.view import View
from tosc_env.schemes import PrivacyScheme

CHANNELS = ("awgn", "rayleigh", "rician", "tdl")
ROWS = 4


@pytest.fixture
def place(monkeypatch):
    """The GPU; TDL's fades come from Sionna, which is not ours, so random numbers stand in for them."""

    def draw_fades(self, sizes, generator, device):
        return [complex_normal(*size, generator=generator, device=device) for size in sizes]

    monkeypatch.setattr(TDL, "draw_fades", draw_fades)
    source = make_source("shapes", **SMALL)
    assert source.statistics.mean_image_mse > 0
    with gpu() as place:
        place.source = source.to(CUDA)
        yield place


class Discrete(PrivacyScheme):
    """A scheme that sends points of 16-QAM which depend on the image."""

    name = "discrete"
    constellation = "16qam"

    def __init__(self, spec, scale=1.0):
        super().__init__(spec, scale=scale)
        self.readout = nn.Linear(2 * spec.num_symbols, spec.num_outputs)

    def encode(self, images, context):
        index = (images.flatten(1)[:, : self.spec.num_symbols] * 15.9).long()
        return self.options["scale"] * modulate(index, constellation_points("16qam", images.device))

    def decode(self, received, csi, context):
        points = constellation_points("16qam", received.device)
        return self.readout(modulate(hard_decision(received, points), points))


# -- the stand-in for a GPU -------------------------------------------------------------------------

RAISED = (HostWait, DataDependentOutputException, DynamicOutputShapeException, RuntimeError)
WAITS = (
    lambda x, cpu: x.sum().item(),
    lambda x, cpu: 1 if (x > 0).any() else 0,
    lambda x, cpu: x.tolist(),
    lambda x, cpu: x.cpu(),
    lambda x, cpu: cpu.to(CUDA),
    lambda x, cpu: x.copy_(cpu),
    lambda x, cpu: torch.tensor([1.0, 2.0], device=CUDA),
    lambda x, cpu: torch.as_tensor(np.ones(3), device=CUDA),
    lambda x, cpu: x.nonzero(),
    lambda x, cpu: x[x > 0],
    lambda x, cpu: x[[0, 2]],
    lambda x, cpu: x.new_tensor([1.0, 2.0]),
    lambda x, cpu: x[torch.tensor([0, 2])],
    lambda x, cpu: x[x.argmax()],
    lambda x, cpu: torch.equal(x, x),
    lambda x, cpu: torch.unique(x),
)


def test_a_wait_and_mixed_devices_are_noticed(place):
    x, cpu = torch.rand(3, device=CUDA), torch.rand(3)
    for wait in WAITS:
        with place.no_waits(), pytest.raises(RAISED):
            wait(x, cpu)
    with pytest.raises((FakeTensorDeviceMismatchError, RuntimeError)):
        x + cpu
    with pytest.raises(RuntimeError):
        torch.rand(3, generator=torch.Generator(), device=CUDA)


def test_what_waits_for_nothing_is_allowed(place):
    x, cpu = torch.rand(3, device=CUDA), torch.rand(3)
    stream = torch.Generator(CUDA).manual_seed(0)
    layer = nn.Linear(3, 2).to(CUDA)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    with place.no_waits():
        assert (x + cpu.sum()).device == CUDA, "a number of the CPU goes along with the kernel"
        assert cpu.to(CUDA, non_blocking=True).device == CUDA
        assert torch.where(x > 0, x, 0.0)[torch.randint(3, (5,), generator=stream, device=CUDA)].shape == (5,)
        layer(x).sum().backward()
        optimizer.step()
        assert layer.weight.grad.device == CUDA
        assert float(cpu[1]) == cpu.tolist()[1], "values on the CPU are at hand"


# -- a game being played ----------------------------------------------------------------------------


def play(place, scheme, outside, *, nodes=WIRETAP, **rules):
    """Messages of a session: the first prepares what is kept, in the others nobody waits."""
    game = Game(place.source, nodes=nodes, **rules)
    pipeline = as_pipeline(scheme(game.spec)).to(CUDA).eval()
    if pipeline.constellation is not None and "transmitter" not in outside:
        game = game.with_rules(constellation=pipeline.constellation)
    attackers = {name: FakeEavesdropper(game.spec).to(CUDA) for name in game.adversaries}
    session = Session(
        System(game, pipeline, attackers, False, "shapes"), outside, num_envs=ROWS, max_cycles=2
    )
    session.reset(0)
    images = place.source.images[:ROWS].float() / 255
    actions = {
        "transmitter": torch.rand(ROWS, 2 * game.num_symbols, device=CUDA),
        "receiver": torch.zeros(ROWS, dtype=torch.int64, device=CUDA),
        **dict.fromkeys(game.adversaries, images),
    }
    told = []

    def step():
        for player in session.agents:
            session.observe(player)
        scores = session.play({player: actions[player] for player in session.outside})
        for player in session.agents:
            told.extend(session.info(player, scores).values())
            told.extend(session.observe(player).values())
        ended = session.over
        session.advance(restart=ended)
        told.extend(session.info("receiver", None).values())
        told.extend([*scores.rewards.values(), scores.accuracy])

    step()
    with place.no_waits():
        for _ in range(3):
            step()
        session.reset(mask=np.arange(ROWS) < 2)
        step()
    assert all(value.device == CUDA and len(value) == ROWS for value in told)
    return session


EVERYBODY = ("transmitter", "receiver", "eavesdropper_0", "eavesdropper_1", "eavesdropper_2")


@pytest.mark.parametrize(
    ("role", "eavesdroppers", "channel"),
    [
        ("transmitter", 1, "awgn"),
        ("receiver", 3, "rayleigh"),
        ("eavesdropper_0", 1, "rician"),
        ("everybody", 3, "tdl"),
    ],
)
def test_no_role_waits_in_a_session(place, role, eavesdroppers, channel):
    outside = EVERYBODY[: 2 + eavesdroppers] if role == "everybody" else [role]
    play(place, FakeScheme, outside, nodes=wiretap(eavesdroppers), channel=channel)


def test_eavesdroppers_that_collude_do_not_wait(place):
    play(place, FakeScheme, ["eavesdropper_0"], nodes=wiretap(3), channel="rayleigh", colluding=True)


@pytest.mark.parametrize("role", ["receiver", "eavesdropper_0"])
def test_the_points_of_a_discrete_scheme_inside_are_checked_without_waiting(place, role):
    play(place, Discrete, [role], nodes=wiretap(2), channel="rayleigh")


@pytest.mark.parametrize(("waits", "message"), [(True, "symbol 0"), (False, "'16qam'")])
def test_a_wrong_point_of_a_scheme_inside_is_found_as_the_caller_resets(monkeypatch, waits, message):
    """On the CPU, where there are values: at once, and as on a GPU."""
    if not waits:
        monkeypatch.setattr(Session, "_async_checks", lambda self: self._checks.collect())
    game = Game(make_source("shapes", **SMALL), constellation="16qam")
    wrong = as_pipeline(Discrete(game.spec, scale=1.1)).eval()
    session = Session(System(game, wrong, {}, False, "shapes"), ["receiver", "eavesdropper"])
    with refused(message):
        session.reset(0)


def paid(value, outcome):
    return dict.fromkeys(("transmitter", "receiver", "eavesdropper"), outcome.score + value)


def test_a_reward_of_ones_own_is_checked_without_waiting(place):
    play(place, FakeScheme, ["receiver"], reward_fn=partial(paid, 1.0), nodes=wiretap(2))


def test_a_reward_that_is_not_finite_is_found_as_the_caller_resets(monkeypatch):
    monkeypatch.setattr(Session, "_async_checks", lambda self: self._checks.collect())
    game = Game(make_source("shapes", **SMALL), reward_fn=partial(paid, torch.inf))
    everybody = {"transmitter", "receiver", "eavesdropper"}
    session = Session(System(game, None, {}, False, "shapes"), everybody)
    session.reset(0)
    answers = {"receiver": torch.zeros(1, dtype=torch.int64), "eavesdropper": torch.rand(1, 3, 32, 32)}
    session.play({"transmitter": torch.rand(1, 128), **answers})
    with refused("transmitter finite"):
        session.reset(0)


def test_the_points_of_a_transmitter_outside_are_checked_at_once(place):
    with pytest.raises(RAISED):
        play(place, FakeScheme, ["transmitter"], constellation="16qam")


@pytest.mark.parametrize(
    ("role", "mode"), [("transmitter", "SAME_STEP"), ("receiver", "NEXT_STEP"), ("eavesdropper", "SAME_STEP")]
)
def test_a_vector_environment_waits_only_to_validate(place, role, mode):
    scheme = FakeScheme().to(CUDA).eval()
    attacker = None if role == "eavesdropper" else FakeEavesdropper().to(CUDA)
    game = Game(place.source)
    system = System(
        game, as_pipeline(scheme), {} if attacker is None else {"eavesdropper": attacker}, False, ""
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tosc_env.envs.vector.make_system", lambda *args: system)
        env = ToscVectorEnv("", num_envs=ROWS, role=role, max_cycles=2, autoreset_mode=mode, validate=False)
    env.reset(seed=0)
    action = {
        "transmitter": torch.rand(ROWS, 128, device=CUDA),
        "receiver": torch.zeros(ROWS, dtype=torch.int64, device=CUDA),
        "eavesdropper": torch.rand(ROWS, 3, 32, 32, device=CUDA),
    }[role]
    env.step(action)
    with place.no_waits():
        for _ in range(4):
            observation, *told = env.step(action)
        env.reset(options={"reset_mask": np.arange(ROWS) < 2})
    assert all(value.device == CUDA for value in (*observation.values(), *told[:3]))
    env.validate = True
    with place.no_waits(), pytest.raises(RAISED):
        env.step(action)


def play_role(role):
    env = RoleEnv("", role=role, max_cycles=2)
    yield env.reset(seed=0)[0]
    for _ in range(2):
        yield env.step(env.action_space.sample())[0]


def play_turns():
    env = AecEnv("", nodes=wiretap(2), max_cycles=2)
    env.reset(seed=0)
    for agent in env.agent_iter():
        yield env.last()[0]
        env.step(None if env.terminations[agent] else env.action_space(agent).sample())


def play_pipelined():
    env = PipelinedEnv("", nodes=wiretap(2), max_cycles=2)
    yield env.reset(seed=0)[0]
    while env.agents:
        yield env.step({agent: env.action_space(agent).sample() for agent in env.agents})[0]


FORMS = {
    **{role: partial(play_role, role) for role in ("transmitter", "receiver", "eavesdropper")},
    "turns": play_turns,
    "pipelined": play_pipelined,
}


@pytest.mark.parametrize("form", FORMS)
def test_what_is_played_in_numpy_arrives_on_the_gpu(place, monkeypatch, form):
    """The host gets copies of observations, rewards and infos; actions go to the GPU, and nothing comes back."""
    game = Game(place.source, nodes=wiretap(2), channel="rayleigh")
    policy = as_pipeline(FakeScheme(game.spec)).to(CUDA).eval()
    attackers = {name: FakeEavesdropper(game.spec).to(CUDA) for name in game.adversaries}
    system = System(game, policy, attackers, False, "shapes")
    for module in ("role", "outside"):
        monkeypatch.setattr(f"tosc_env.envs.{module}.make_system", lambda *args: system)
    arrived, kept = [], []

    def watch(name):
        method = getattr(Session, name)

        def watched(session, *args):
            arrived.extend(leaf for leaf in tree_leaves(args) if isinstance(leaf, torch.Tensor))
            result = method(session, *args)
            if name == "answer":
                kept.extend([session.last.decision, *session.last.reconstructions.values()])
                kept.extend(result.rewards.values())
            return result

        monkeypatch.setattr(Session, name, watched)

    for name in ("send", "play", "answer"):
        watch(name)
    seen = tree_leaves(list(FORMS[form]()))
    assert seen and all(isinstance(value, np.ndarray) for value in seen)
    assert arrived and kept
    assert {value.device for value in [*arrived, *kept]} == {CUDA}


# -- the game, and who learns from it ---------------------------------------------------------------


@pytest.mark.parametrize("channel", CHANNELS)
def test_no_rule_of_a_game_makes_a_session_wait(place, channel):
    """Several antennas at both ends, fades that outlive a message, drawn SNRs, and metrics that cost more."""
    rules = {} if channel == "awgn" else {"channel_kwargs": {"coherence": 128}}
    play(
        place,
        FakeScheme,
        ["eve"],
        nodes=(Node("receiver", 2), Node("eve", 3, adversary=True), Node("far", snr_db=3.0, adversary=True)),
        channel=channel,
        transmit_antennas=2,
        transmitter_csi=["receiver", "eve"],
        snr_db=[0.0, 12.0],
        eavesdropper_snr_db={"low": 0.0, "high": 20.0},
        metrics=["ssim"],
        repeat=2,
        **rules,
    )


def test_no_mixture_of_schemes_waits(place):
    play(
        place,
        lambda spec: Mixture([FakeScheme(spec), Discrete(spec)], lambda context: context.message[:, 0] % 2),
        ["eavesdropper"],
        channel="rayleigh",
    )


THREATS = {
    "usual": {},
    "few queries": {"queries": 40},
    "no CSI": {"csi": False},
    "colluding": {"colluding": True},
    "several receptions": {"receptions": 2},
}


@pytest.mark.parametrize("threat", THREATS)
def test_no_attacker_waits_for_its_samples(place, threat):
    scheme = Discrete if threat == "few queries" else FakeScheme
    game = Game(place.source, nodes=wiretap(2), channel="rayleigh")
    pipeline = as_pipeline(scheme(game.spec)).to(CUDA).eval()
    stream = torch.Generator(CUDA).manual_seed(0)
    view = View(game, pipeline, ThreatModel(**THREATS[threat]), stream)
    index = torch.arange(ROWS, device=CUDA)
    checks = AsyncChecks()

    def sample():
        heard, images = view.sample(index)
        repeated, _ = view.sample_repeated(index)
        return heard.received, heard.csi, images, repeated.received, view.symbols(index), view.labels(index)

    with checks.collect():
        sample()
        with place.no_waits():
            assert {value.device for value in sample()} == {CUDA}


def test_an_image_beyond_the_budget_is_denied_at_once_or_when_synchronised():
    """On the CPU, where there are values."""
    game = Game(make_source("shapes", **SMALL))
    view = View(game, FakeScheme().eval(), ThreatModel(queries=8), torch.Generator().manual_seed(0))
    with refused("8", DeniedError):
        view.sample(torch.tensor([0, 8]))
    for index, denied in (([0, 7], False), ([0, 8], True), ([-1, 0], True)):
        checks = AsyncChecks()
        with checks.collect():
            sent = view.symbols(torch.tensor(index))
        assert torch.equal(sent, view.symbols(torch.tensor(index).clamp(0, 7))), "nothing is learnt meanwhile"
        with refused("8", DeniedError) if denied else nullcontext():
            checks.synchronize()
