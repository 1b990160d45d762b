"""An intrinsic scheme under a perturbation: both keep their laws, the inner weights play, the key stays out."""

from __future__ import annotations

import json

import pytest
import torch
from tosc_agents.learning.seeding import weights_from
from tosc_agents.schemes.layered import Layered

from tosc_env.checkpoints import load_checkpoint, read_header, save_checkpoint
from tosc_env.data import make_source
from tosc_env.errors import CheckpointError, InputError
from tosc_env.game import Game
from tosc_env.policies import Context, SystemSpec, make_scheme
from tosc_env.testing import check_scheme

TINY = {"stem": 4, "widths": [4, 8, 8], "blocks": [0, 0, 0], "receiver_width": 16, "receiver_depth": 1}
SPEC = SystemSpec((3, 16, 16), 10, 8)
KEY = "5a" * 32
PAIRS = [
    ("lbvq", "encryption", {"mode": "shuffle"}),
    ("lbvq", "encryption", {"mode": "shuffle+signs", "lifetime": "fixed"}),
    ("ibal", "encryption", {"mode": "rotation"}),
    ("ibal", "dp-laplace", {"epsilon": 20.0}),
    ("lbvq", "dp-laplace", {"epsilon": 50.0}),
    ("deepjscc", "dp-laplace", {"epsilon": 5.0}),
]


def g(seed=0):
    return torch.Generator().manual_seed(seed)


def make(inner="lbvq", perturbation="encryption", options=None, seed=0, **more):
    with weights_from(seed):
        return Layered(
            SPEC,
            inner=inner,
            inner_options=TINY,
            perturbation=perturbation,
            perturbation_options=options,
            **({"key": KEY} if perturbation == "encryption" else {}) | more,
        )


def context(batch_size, episode=0):
    message = torch.zeros(batch_size, 3, dtype=torch.long)
    message[:, 0], message[:, 1] = torch.arange(batch_size), episode
    return Context(torch.full((batch_size,), 12.0), message, 7, g(episode))


@pytest.mark.parametrize(("inner", "perturbation", "options"), PAIRS)
def test_every_pair_keeps_the_laws_of_schemes(inner, perturbation, options):
    check_scheme(make(inner, perturbation, options))


@pytest.mark.parametrize("mode", ["shuffle", "shuffle+signs"])
def test_a_shuffled_lbvq_sends_the_same_indices_in_another_order_and_its_receiver_loses_nothing(mode):
    scheme = make(options={"mode": mode}).eval()
    inner = scheme.inner
    images = torch.rand(20, 3, 16, 16, generator=g())
    csi = torch.full((20, 1), 12.0)
    plain, sent = inner.encode(images, context(20)), scheme.encode(images, context(20))
    assert not torch.equal(plain, sent)
    magnitudes = [s.view(20, 8, 2).abs().sort(-1).values.sum(-1).sort(1).values for s in (plain, sent)]
    assert torch.allclose(*magnitudes, atol=1e-6)
    assert torch.equal(scheme.decode(sent, csi, context(20)), inner.decode(plain, csi, context(20)))
    assert torch.equal(scheme.unkeyed(images, context(20)), plain)
    assert torch.equal(scheme.remove_key(sent, csi, context(20)), plain)


def test_noise_over_lbvq_is_still_points_of_its_constellation():
    scheme = make("lbvq", "dp-laplace", {"epsilon": 5.0}).eval()
    game = Game(make_source("shapes", num_images=8, size=16), num_symbols=8, constellation="16qam")
    symbols = scheme.encode(torch.rand(50, 3, 16, 16), context(50))
    assert torch.equal(game.normalise(symbols), symbols)
    assert "5-DP" in (scheme.guarantee() or "")


@pytest.mark.parametrize(("inner", "perturbation", "options"), PAIRS)
def test_its_training_is_the_inner_schemes_with_the_perturbation_on_the_air(inner, perturbation, options):
    scheme = make(inner, perturbation, options).train()
    game = Game(
        make_source("shapes", num_images=32, size=16), num_symbols=8, constellation=scheme.constellation
    )
    round_ = game.draw(16, generator=g())
    scheme.begin_pass("system", 0, 2)
    loss, figures = scheme.loss(game, round_, Context(round_.snr_db, round_.message, 0, g()), game.task)
    loss.backward()
    assert torch.isfinite(loss) and "accuracy" in figures
    assert float(scheme.inner.transmitter.head.weight.grad.abs().max()) > 0


def test_the_inner_schemes_weights_play(tmp_path):
    with weights_from(0):
        inner = make_scheme("lbvq", SPEC, **TINY).eval()
    path = tmp_path / "lbvq.safetensors"
    save_checkpoint(path, inner, {})
    loaded = load_checkpoint(
        path, name="layered", options={"perturbation_options": {"mode": "shuffle+signs"}, "key": KEY}
    ).policy
    assert isinstance(loaded, Layered) and loaded.inner.options == inner.options
    images, csi = torch.rand(4, 3, 16, 16, generator=g()), torch.full((4, 1), 12.0)
    sent = loaded.encode(images, context(4))
    assert torch.equal(
        loaded.decode(sent, csi, context(4)), inner.decode(inner.encode(images, context(4)), csi, context(4))
    )
    with pytest.raises(CheckpointError, match="holds 'lbvq', whose weights 'layered' does not take"):
        load_checkpoint(path, name="layered", options={"inner": "ibal"})


def test_a_checkpoint_of_it_holds_no_key(tmp_path):
    scheme = make(options={"mode": "shuffle", "key": KEY})
    path = tmp_path / "layered.safetensors"
    save_checkpoint(path, scheme, {})
    raw = path.read_bytes()
    assert bytes.fromhex(KEY) not in raw and KEY.encode() not in raw
    assert KEY not in json.dumps(read_header(path)) and KEY not in repr(scheme)
    assert load_checkpoint(path).policy.options == scheme.options


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"inner": "layered"}, "inner='layered' is layered already"),
        ({"inner": "lbqv"}, "unknown scheme 'lbqv', did you mean 'lbvq'"),
        (
            {"perturbation": "ibal"},
            "the scheme 'ibal' offers no perturbation; those that do: dp-laplace, encryption",
        ),
        ({"perturbation_options": {"mode": "rotation"}}, "rotation.*shuffle"),
        ({"perturbation": "dp-laplace", "perturbation_options": {"epsilon": 0}}, "epsilon .* not 0"),
        ({"inner_options": {"codewords": 8}}, "no square QAM of 8 points"),
    ],
)
def test_wrong_layers_are_named(options, told):
    with pytest.raises(InputError, match=told):
        Layered(SPEC, **options)
