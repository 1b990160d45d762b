"""Any stages in any order that makes sense: the laws, what the keys' owners see, what is proven, what is refused."""

from __future__ import annotations

import pytest
import torch
from links import seeded as g
from pixels import Linear, Rounded
from tosc_agents.learning.seeding import weights_from
from tosc_agents.stages.keyed import Keyed
from tosc_agents.stages.laplace import Laplace

from tosc_env.data import make_source
from tosc_env.game import Game
from tosc_env.pipeline import make_scheme
from tosc_env.schemes import stages
from tosc_env.testing import check_scheme, check_stage
from tosc_env.types import Context, SystemSpec

TINY = {"stem": 4, "widths": [4, 8, 8], "blocks": [0, 0, 0], "receiver_width": 16, "receiver_depth": 1}
SPEC = SystemSpec((3, 16, 16), 10, 8)
KEY, OTHER = "5a" * 32, "a5" * 32
SHUFFLE, SIGNS = "keyed", {"name": "keyed", "mode": "shuffle+signs", "lifetime": "fixed"}
ROTATION = {"name": "keyed", "mode": "rotation"}
NOISE, FAINT = {"name": "laplace", "epsilon": 20.0}, {"name": "laplace", "epsilon": 1e7}


LINEAR, ROUNDED = Linear.name, Rounded.name


@pytest.fixture(autouse=True)
def _strangers(monkeypatch):
    for stage in (Linear, Rounded):
        monkeypatch.setitem(stages._table, stage.name, stage)


def make(name="deepjscc", more=(), key=None, **options):
    with weights_from(0):
        return make_scheme(name, SPEC, stages=more, key=key, **TINY, **options).eval()


def context(batch_size, episode=0):
    message = torch.zeros(batch_size, 5, dtype=torch.long)
    message[:, 0], message[:, 1] = torch.arange(batch_size), episode
    return Context(torch.full((batch_size,), 12.0), message, 7, g(episode))


COMPOSITIONS = {
    "lbvq, shuffle": ("lbvq", [SHUFFLE]),
    "lbvq, noise": ("lbvq", [{"name": "laplace", "epsilon": 50.0}]),
    "ibal, rotation": ("ibal", [ROTATION]),
    "deepjscc, noise and rotation": ("deepjscc", [NOISE, ROTATION]),
    "lbvq, shuffle and noise": ("lbvq", [SHUFFLE, NOISE]),
    "dp-laplace, shuffle": ("dp-laplace", [SHUFFLE]),
    "deepjscc, two keys and a stranger": ("deepjscc", [SHUFFLE, ROTATION, LINEAR]),
    "deepjscc, a stranger between keys": ("deepjscc", [SHUFFLE, LINEAR, ROTATION, NOISE]),
    "deepjscc, rounded and shuffled": ("deepjscc", [ROUNDED, SHUFFLE]),
}


def compose(name):
    backbone, more = COMPOSITIONS[name]
    keyed = backbone == "layered" or any("keyed" in str(stage) for stage in more)
    return make(backbone, more, KEY if keyed else None)


@pytest.mark.parametrize(
    "stage",
    [
        Linear(SPEC),
        Rounded(SPEC),
        Keyed(SPEC),
        Keyed(SPEC, mode="shuffle+signs", lifetime="fixed"),
        Keyed(SPEC, "16qam", lifetime="fixed"),
        Keyed(SPEC, mode="rotation"),
        Laplace(SPEC, epsilon_range=[1, 100]),
        Laplace(SPEC, mode="calibrated", constant=0.1),
    ],
    ids=lambda stage: stage.name,
)
def test_every_stage_keeps_the_laws_of_stages(stage):
    check_stage(stage)


# No gradient passes a stage that rounds, so that nothing before it is trained.
@pytest.mark.parametrize("name", [name for name in COMPOSITIONS if "rounded" not in name])
def test_every_composition_keeps_the_laws_of_schemes(name):
    check_scheme(compose(name))


# -- what is sent and what is recovered ---------------------------------------------------------------


def test_what_a_discrete_composition_sends_are_points():
    for name in ["lbvq, noise", "lbvq, shuffle and noise", "deepjscc, rounded and shuffled"]:
        scheme = compose(name)
        game = Game(
            make_source("shapes", num_images=8, size=16), num_symbols=8, constellation=scheme.constellation
        )
        symbols = scheme.encode(torch.rand(50, 3, 16, 16, generator=g()), context(50))
        assert scheme.constellation == "16qam" and scheme.bits == 32.0
        assert torch.equal(game.normalise(symbols), symbols)


def test_recover_undoes_all_that_can_be_undone():
    for more in [[SHUFFLE, SIGNS], [SHUFFLE, ROTATION, LINEAR], [FAINT, ROTATION], [LINEAR, SHUFFLE]]:
        scheme = make("deepjscc", more, KEY)
        symbols = 0.01 * torch.randn(9, 16, generator=g())
        sent, csi = scheme.protect(symbols, context(9)), torch.full((9, 1), 12.0)
        assert not torch.allclose(sent, symbols, atol=1e-3)
        assert torch.allclose(scheme.recover(sent, csi, context(9))[0], symbols, atol=1e-5)
        images = torch.rand(9, 3, 16, 16, generator=g())
        logits = scheme.decode(scheme.encode(images, context(9)), csi, context(9))
        if FAINT not in more:  # the clip takes a part of larger symbols
            wanted = scheme.backbone.decode(scheme.backbone.encode(images, context(9)), csi, context(9))
            assert torch.allclose(logits, wanted, atol=1e-4)


def test_who_knows_the_keys_sees_what_lies_within_the_innermost():
    """The stages within it are as they were; all without is undone."""
    for inside, outside in [
        ([], [SHUFFLE]),
        ([], [SHUFFLE, ROTATION]),
        ([NOISE], [ROTATION]),
        ([LINEAR], [SHUFFLE, SIGNS]),
        ([NOISE, LINEAR], [SHUFFLE, LINEAR, ROTATION]),
    ]:
        scheme = make("deepjscc", [*inside, *outside], KEY)
        within = make("deepjscc", inside)
        symbols, csi = torch.randn(9, 16, generator=g()), torch.full((9, 1), 12.0)
        sent = scheme.protect(symbols, context(9))
        assert torch.allclose(
            scheme.recover(sent, csi, context(9), "keyed")[0], within.protect(symbols, context(9)), atol=1e-5
        )
        keyless = scheme.protect(symbols, context(9), keyed=False)
        rest = make("deepjscc", [*inside, *(stage for stage in outside if stage == LINEAR)])
        assert torch.allclose(keyless, rest.protect(symbols, context(9)), atol=1e-5)
        stranger = make("deepjscc", [*inside, *outside], OTHER)
        seen = stranger.recover(sent, csi, context(9), "keyed")[0]
        assert not torch.allclose(seen, within.protect(symbols, context(9)), atol=0.1)


def test_noise_under_a_key_is_noise_and_over_it_comes_back_shuffled():
    """The same noise either way, in the channel's order or in the symbols'."""
    symbols, csi = torch.full((400, 16), 0.05), torch.full((400, 1), 12.0)
    for more in ([NOISE, SHUFFLE], [SHUFFLE, NOISE]):
        scheme = make("deepjscc", more, KEY)
        back = scheme.recover(scheme.protect(symbols, context(400)), csi, context(400))[0]
        spread = float((back - symbols).abs().mean())
        assert spread == pytest.approx(2 / 20, rel=0.05), "the mean size of Laplace noise is its scale"


# -- keys -------------------------------------------------------------------------------------------


def test_a_key_counts_the_keyed_stages_alone_and_the_names_own_first():
    plain, mixed = make("encryption", [SHUFFLE], KEY), make("encryption", [NOISE, SHUFFLE], KEY)
    symbols = torch.randn(4, 16, generator=g())
    for one, other in ((0, 0), (1, 2)):
        sent = (
            plain.stages[one].protect(symbols, context(4)),
            mixed.stages[other].protect(symbols, context(4)),
        )
        assert torch.equal(*sent)
    fingerprint = plain.stages[0].key_fingerprint
    assert plain.key_fingerprint == mixed.key_fingerprint == f"{fingerprint}+{fingerprint}"


# -- what is refused --------------------------------------------------------------------------------


# -- what is proven ---------------------------------------------------------------------------------


def test_a_guarantee_names_every_stage_that_has_one_and_counts_repeats():
    both = make("dp-laplace", [SHUFFLE, {"name": "laplace", "epsilon": 5.0}], epsilon=20.0)
    once, often = both.guarantee(), both.guarantee(3)
    assert once.count("; and ") == 1 and "transmissions" not in once
    first, second = once.split("; and ")
    assert first.startswith("each message is 20-DP for its image") and second.startswith(
        "each message is 5-DP"
    )
    first, second = often.split("; and ")
    assert first.endswith("3 transmissions of the same image: 60-DP by basic composition")
    assert second.endswith("3 transmissions of the same image: 15-DP by basic composition")


def test_calibrated_noise_over_a_proof_leaves_the_proof_and_claims_nothing_more():
    calibrated = {"name": "laplace", "mode": "calibrated", "constant": 0.1}
    told = make("deepjscc", [NOISE, calibrated]).guarantee()
    assert told.count("DP") == 1 and "no differential privacy is claimed" in told
    assert make("deepjscc", [SHUFFLE, ROTATION]).guarantee(2) is None
    assert make("deepjscc", [SHUFFLE, NOISE]).guarantee(2) == make("deepjscc", [NOISE]).guarantee(2)
