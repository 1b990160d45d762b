"""Law: on a GPU a step of an environment, of a training and of an attacker stays there, and the host never waits."""

from __future__ import annotations

from contextlib import ExitStack

import pytest
import torch
from devices import CUDA, HostWait, gpu
from torch import nn
from torch._subclasses.fake_tensor import DataDependentOutputException
from tosc_agents.eavesdroppers.base import NeuralEavesdropper
from tosc_agents.eavesdroppers.few_pairs import KINDS, FewPairs
from tosc_agents.eavesdroppers.match_query import MatchQuery
from tosc_agents.learning import loop
from tosc_agents.learning.loop import LoopConfig, Step
from tosc_agents.training.fit_receiver import fit_receiver
from tosc_agents.training.fit_scheme import SchemeTraining, Trainee, fit_scheme

from tosc_env.async_checks import AsyncChecks
from tosc_env.attackers import eavesdroppers, make_eavesdropper
from tosc_env.data import make_source
from tosc_env.envs.session import Session
from tosc_env.envs.system import System
from tosc_env.game import Game
from tosc_env.modulation import constellation_points
from tosc_env.nodes import wiretap
from tosc_env.pipeline import make_scheme
from tosc_env.privacy.threat import ThreatModel
from tosc_env.privacy.view import View
from tosc_env.schemes import make_objectives, objectives, schemes, stages

ROWS = 8
KEY = {"key": "5a" * 32}
TINY = {"stem": 4, "widths": [4, 8], "blocks": [0, 1], "receiver_width": 16, "receiver_depth": 1}
SCHEMES = {
    "deepjscc": {"scheme": "deepjscc"},
    "lbvq": {"scheme": "lbvq"},
    "ibal": {"scheme": "ibal"},
    "label-only": {"scheme": "label-only"},
    "layered": {"scheme": "layered", **KEY},
    "dp-laplace": {"scheme": "dp-laplace", "epsilon": 5.0, "epsilon_range": [1.0, 100.0]},
    "dp-laplace, calibrated": {"scheme": "dp-laplace", "epsilon": 0.1, "mode": "calibrated", "constant": 0.1},
    **{
        f"encryption, {mode}, {lifetime}": {"scheme": "encryption", "mode": mode, "lifetime": lifetime, **KEY}
        for mode, lifetime in (
            ("shuffle", "per_message"),
            ("shuffle+signs", "fixed"),
            ("rotation", "per_message"),
        )
    },
    "noise between keys": {"scheme": "lbvq", "stages": ["keyed", "laplace", "keyed"], **KEY},
}


@pytest.fixture
def place():
    """The GPU, with some images."""
    source = make_source("shapes", num_images=64, size=16, half="system")
    assert source.statistics.mean_image_mse > 0
    with gpu() as place:
        place.source = source.to(CUDA)
        yield place


# -- sessions ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("case", "outside"),
    [
        *((case, "eavesdropper_0") for case in SCHEMES),
        ("deepjscc", "transmitter"),
        ("layered", "transmitter"),
    ],
)
def test_no_scheme_waits_in_a_session(place, case, outside):
    game = Game(place.source, num_symbols=8, nodes=wiretap(3), channel="rayleigh")
    scheme = make_scheme(spec=game.spec, **SCHEMES[case], **TINY).to(CUDA).eval()
    if scheme.constellation is not None and outside != "transmitter":
        game = game.with_rules(constellation=scheme.constellation)
    attackers = {name: make_eavesdropper("linear", game.spec).to(CUDA) for name in game.adversaries}
    session = Session(System(game, scheme, attackers, False, ""), [outside], num_envs=ROWS, max_cycles=2)
    action = {
        "transmitter": torch.rand(ROWS, 16, device=CUDA),
        "receiver": torch.zeros(ROWS, dtype=torch.int64, device=CUDA),
        "eavesdropper_0": torch.rand(ROWS, 3, 16, 16, device=CUDA),
    }[outside]
    session.reset(0)

    def step():
        scores = session.play({outside: action})
        info = session.info(outside, scores)
        session.advance(restart=session.over)
        return [*session.observe(outside).values(), *info.values(), scores.rewards[outside]]

    step()
    with place.no_waits():
        told = step() + step()
    assert {value.device for value in told} == {CUDA}


# -- trainings --------------------------------------------------------------------------------------

MULTIPLE = {"name": "adversary", "weighting": "multiple-gradient"}
TRAININGS = {
    "deepjscc": (SCHEMES["deepjscc"], ["task"]),
    "label-only": (SCHEMES["label-only"], ["task"]),
    "dp-laplace": (SCHEMES["dp-laplace"], ["task"]),
    "encryption": (SCHEMES["encryption, rotation, per_message"], ["task"]),
    "ibal": (SCHEMES["ibal"], ["task", "bottleneck", "adversary"]),
    "ibal, common step": (SCHEMES["ibal"], ["task", "bottleneck", MULTIPLE]),
    "lbvq": ({**SCHEMES["lbvq"], "dimension": 3}, ["task", "codebook", "bottleneck", "adversary"]),
    "lbvq, common step": (SCHEMES["lbvq"], ["task", "codebook", MULTIPLE]),
    "noise between keys": (SCHEMES["noise between keys"], ["task", "codebook"]),
}


def take_steps(place, module, loss):
    """Two steps of a training, in the second of which nobody waits."""
    config = LoopConfig(batch_size=ROWS, optimizer="adamw", learning_rate=1e-3, precision="float32")
    step = Step(module.train(), loss, config)
    index = torch.arange(ROWS, device=CUDA)
    step(index, 0, 1.0)
    with place.no_waits():
        figures = step(index, 1, 1.0)
    assert {value.device for value in (*figures.values(), *step.average.values())} == {CUDA}
    step.checks.synchronize()


@pytest.mark.parametrize("case", TRAININGS)
def test_no_step_of_a_scheme_waits(place, case):
    options, wanted = TRAININGS[case]
    game = Game(place.source, num_symbols=8, channel="rician", snr_db=[0.0, 12.0])
    scheme = make_scheme(spec=game.spec, **options, **TINY)
    game = game.with_rules(constellation=scheme.constellation)
    stream = torch.Generator(CUDA).manual_seed(0)
    trainee = Trainee(scheme, make_objectives(wanted, game.spec), game, SchemeTraining(colour=0.2), stream)
    for name in trainee.passes:
        trainee.begin(name, 0, 4)
        take_steps(place, trainee, trainee)


LOOKS = 2


@pytest.fixture
def watched(place, monkeypatch):
    """From the second epoch on, whatever waits but the host's looks at the figures, one in ``LOOKS`` steps, fails."""
    call, strict, schedule, done = Step.__call__, ExitStack(), loop._schedule, [0.0]

    def share_of(share_done, warmup):
        done[0] = share_done
        return schedule(share_done, warmup)

    def step(self, index, number, share):
        strict.close()
        if done[0] >= 0.5:
            strict.enter_context(place.no_waits())
        figures = call(self, index, number, share)
        if (number + 1) % LOOKS == 0:
            strict.close()
        return figures

    monkeypatch.setattr(loop, "SYNC_EVERY", LOOKS)
    monkeypatch.setattr(Step, "__call__", step)
    monkeypatch.setattr(loop, "_schedule", share_of)
    fork = torch.random.fork_rng  # of the CPU's stream alone, as there may be no GPU's
    monkeypatch.setattr(torch.random, "fork_rng", lambda devices=(): fork(devices=[]))
    yield place
    strict.close()


def learn(work=lambda x: x):
    """A training of two epochs of four steps whose loss does some work."""
    module, row = nn.Linear(1, 1).to(CUDA), torch.arange(6.0, device=CUDA)

    def loss(index):
        work(row)
        return module(index[:, None].float()).square().mean(), {}

    config = LoopConfig(epochs=2, batch_size=2, optimizer="adamw", learning_rate=1e-3, precision="float32")
    loop.train(module, loss, num_images=8, config=config, generator=torch.Generator(CUDA).manual_seed(0))


def test_a_training_waits_at_its_looks_alone(watched, monkeypatch):
    learn()
    with pytest.raises((HostWait, DataDependentOutputException, RuntimeError)):
        learn(lambda x: x.sum().item())
    call = Step.__call__

    def eager(self, *arguments):
        figures = call(self, *arguments)
        float(figures["loss"])  # as if the loop printed its loss each step
        return figures

    monkeypatch.setattr(Step, "__call__", eager)
    with pytest.raises((HostWait, DataDependentOutputException, RuntimeError)):
        learn()


def test_neither_phases_nor_a_receiver_alone_wait_between_steps(watched):
    game = Game(watched.source, num_symbols=8, channel="rayleigh", snr_db=[0.0, 12.0])
    config = SchemeTraining(LoopConfig(epochs=2, batch_size=ROWS, precision="float32"))
    objectives = make_objectives(["task", "bottleneck", "adversary"], game.spec)
    fit_scheme(make_scheme("ibal", game.spec, **TINY), game, config, objectives=objectives)
    fit_receiver(make_scheme("dp-laplace", game.spec, epsilon=50.0, **TINY), game, config, copies=2)


def test_everything_of_this_package_is_among_what_is_played_and_trained():
    names = {case["scheme"] for case, _ in TRAININGS.values()} | {case["scheme"] for case in SCHEMES.values()}
    ours = {name for name in schemes if schemes.origin(name).startswith("tosc_agents")}
    assert names | {"cnn", "vq", "label", "layered"} == ours
    seen = str(TRAININGS) + str([make_scheme(name).composition for name in names])
    for registry in (stages, objectives):
        assert all(
            f"'{name}'" in seen for name in registry if registry.origin(name).startswith("tosc_agents")
        )


# -- attackers --------------------------------------------------------------------------------------

TINY_MLP = {"width": 16, "depth": 1, "precision": "float32"}
BASES = {
    "inversion": {"widths": [8, 8, 8], "precision": "float32"},
    "inversion-unet": {"widths": [8, 8], "precision": "float32"},
    "inversion-mlp": {"components": 4, **TINY_MLP},
    "match": {
        "embedding": 8,
        "stem": 4,
        "widths": [4, 8],
        "blocks": [0, 1],
        "width": 16,
        "precision": "float32",
    },
    "label": TINY_MLP,
    "attribute": TINY_MLP,
}
CHOSEN = ["inversion-mlp", "match", "label"]
TRANSFORMED = {"base_attacks": CHOSEN, "base_attack_kwargs": {name: BASES[name] for name in CHOSEN}}
LINEAR = {"base_attacks": ["linear"]}
UNKEYED = {"unkeyed_encoder": True}
ROTATED, SHUFFLED = "encryption, rotation, per_message", "encryption, shuffle, per_message"
ATTACKS = [
    *((name, options, "deepjscc", {}) for name, options in BASES.items()),
    ("inversion-mlp", BASES["inversion-mlp"], "lbvq", {"queries": 40}),
    ("label", TINY_MLP, SHUFFLED, {}),
    ("match", BASES["match"], "dp-laplace", {"queries": 40}),
    ("linear", {}, "deepjscc", {}),
    ("mean-image", {}, "deepjscc", {}),
    ("match-query", {"images": 16}, "deepjscc", {"candidate_queries": True}),
    ("match-query", {"images": 16}, "lbvq", {"candidate_queries": True}),
    ("match-query", {"images": 16}, "dp-laplace", {"candidate_queries": True}),
    ("codebook", TRANSFORMED, "lbvq", {}),
    ("sorted", TRANSFORMED, SHUFFLED, {}),
    ("sorted", LINEAR, "noise between keys", {**UNKEYED, "keys": "without-pairs"}),
    ("denoise", TRANSFORMED, "deepjscc", {"receptions": 2}),
    ("unshuffle", TRANSFORMED, ROTATED, UNKEYED),
    ("few-pairs", {"pairs": 3}, ROTATED, {**UNKEYED, "candidate_queries": True}),
]
CHANNELS = {"awgn": {}, "rayleigh": {"coherence": 4}}


@pytest.mark.filterwarnings("ignore:for .* copying from a non-meta parameter")  # no values to copy
@pytest.mark.parametrize("place_in_row", range(len(ATTACKS)), ids=[f"{a[0]}, {a[2]}" for a in ATTACKS])
def test_no_attacker_waits(place, monkeypatch, place_in_row):
    """Neither in a step of its learning, where it learns in steps, nor in its attack; over either channel in turn."""
    name, options, case, threat = ATTACKS[place_in_row]
    channel = list(CHANNELS)[place_in_row % 2]
    game = Game(place.source, num_symbols=8, channel=channel, channel_kwargs=CHANNELS[channel])
    scheme = make_scheme(spec=game.spec, **SCHEMES[case], **TINY).to(CUDA).eval()
    game = game.with_rules(constellation=scheme.constellation)
    attacker = make_eavesdropper(name, game.spec, **options).to(CUDA)
    stepped = []

    def train_on(self, view, step_loss, validate, generator, progress, *, figure):
        self.to(view.device)
        take_steps(place, self, step_loss)
        stepped.append(self.name)
        return {figure: 0.0}

    monkeypatch.setattr(NeuralEavesdropper, "train_on", train_on)
    stream = torch.Generator(CUDA).manual_seed(0)
    view = View(game, scheme, ThreatModel(**threat), stream)
    with AsyncChecks().collect():
        attacker.fit(view, generator=stream)
    learners = [name] if name in BASES else options.get("base_attacks", [])
    assert stepped == [learner for learner in learners if learner in BASES]
    repeats = (2,) if attacker.repeated else ()
    received = torch.rand(ROWS, *repeats, 16, device=CUDA)
    csi = torch.rand(ROWS, *repeats, game.spec.num_csi, device=CUDA)
    candidates = place.source.gather(torch.arange(ROWS, device=CUDA)).images
    attacker.eval()
    if isinstance(attacker, FewPairs | MatchQuery):
        # It waits by nature: the host takes a hash of the candidates' content, to know them again.
        with AsyncChecks().collect():
            symbols = attacker._symbols(candidates)
        monkeypatch.setattr(attacker, "_symbols", lambda images: symbols)
    # Once: "match" compares candidates that it is shown again with those it remembers, which waits.
    with torch.no_grad(), place.no_waits():
        said = [
            getattr(attacker, capability)(received, csi, *([candidates] if capability == "match" else []))
            for capability in attacker.capabilities
        ]
    assert said and {value.device for value in said} == {CUDA}


@pytest.mark.parametrize("channel", CHANNELS)
def test_no_comparison_of_candidates_waits(place, channel):
    game = Game(place.source, num_symbols=8, channel=channel, channel_kwargs=CHANNELS[channel])
    attacker = MatchQuery(game.spec)
    attacker._points = constellation_points("16qam", CUDA)
    received, symbols = torch.rand(ROWS, 16, device=CUDA), torch.rand(2, ROWS, 16, device=CUDA)
    csi = torch.rand(ROWS, game.spec.num_csi, device=CUDA)
    with place.no_waits():
        for comparison in attacker._comparisons(fading=channel != "awgn", apart=channel != "awgn"):
            assert attacker._scores(comparison, received, csi, symbols).device == CUDA


@pytest.mark.parametrize("kind", KINDS)
def test_no_scores_under_a_kind_of_key_wait(place, kind):
    pairs, received = (torch.rand(2, ROWS, 16, device=CUDA) for _ in range(2))
    known = KINDS[kind].learn(pairs[0], *pairs)  # which fitting does, and may wait
    with place.no_waits():
        assert KINDS[kind].scores(known, *received, pairs[0]).device == CUDA


def test_every_attacker_of_this_package_is_among_them():
    ours = {name for name in eavesdroppers if eavesdroppers.origin(name).startswith("tosc_agents")}
    assert {name for name, *_ in ATTACKS} == ours


def test_no_attacker_waits_that_has_more_than_the_symbols(place, case="noise between keys"):
    """The key, the encoder without it, or candidates to be sent."""
    game = Game(place.source, num_symbols=8, channel="rayleigh")
    scheme = make_scheme(spec=game.spec, **SCHEMES[case], **TINY).to(CUDA).eval()
    game = game.with_rules(constellation=scheme.constellation)
    threat = ThreatModel(keys="with-key", unkeyed_encoder=True, candidate_queries=True, receptions=2)
    view = View(game, scheme, threat, torch.Generator(CUDA).manual_seed(0))
    index = torch.arange(ROWS, device=CUDA)

    def ask():
        symbols, reception, images = view.unkeyed(index)
        told = [symbols, reception.received, view.encode(images), view.symbols(index)]
        return [*told, view.sample(index)[0].received, view.sample_repeated(index)[0].received]

    with AsyncChecks().collect():
        ask()
        with place.no_waits():
            assert {value.device for value in ask()} == {CUDA}
