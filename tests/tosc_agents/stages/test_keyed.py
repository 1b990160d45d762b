"""A keyed transform is undone exactly by whoever has the key, and is garbage to everyone else."""

from __future__ import annotations

import pytest
import torch
from links import seeded as g
from refusals import refused
from tosc_agents.stages import keyed as keyed_module
from tosc_agents.stages.keyed import LIFETIMES, ROUNDS, Keyed

from tosc_env.modulation import constellation_points, hard_decision, modulate
from tosc_env.types import Context, SystemSpec

HEX = bytes(range(100, 132)).hex()
OTHER = bytes(range(32)).hex()
EVERY = [(mode, lifetime) for mode in ROUNDS for lifetime in LIFETIMES]
every = pytest.mark.parametrize(("mode", "lifetime"), EVERY)


def told(batch_size, *, episode=0, number=0, environment=0):
    message = torch.tensor([[0, episode, number, 0, 0]]).repeat(batch_size, 1)
    message[:, 0] = torch.arange(batch_size)
    return Context(torch.full((batch_size,), 12.0), message, environment)


def cipher(mode="shuffle", lifetime="per_message", n=64, constellation=None, key=HEX):
    spec = SystemSpec((3, 32, 32), 10, n)
    return Keyed(spec, constellation, mode=mode, lifetime=lifetime, key=key)


def undo(keyed, received, context):
    return keyed.recover(received, context.snr_db[:, None], context)


# -- the transform ----------------------------------------------------------------------------------


@every
def test_the_key_undoes_what_it_did_and_energy_stays(mode, lifetime):
    for n in [1, 3, 50, 64]:
        keyed, context = cipher(mode, lifetime, n), told(9, episode=2)
        symbols = torch.randn(9, 2 * n, generator=g())
        sent = keyed.protect(symbols, context)
        back = undo(keyed, sent, context)
        if mode == "rotation":
            assert torch.allclose(back, symbols, atol=1e-5)
        else:
            assert torch.equal(back, symbols)
        assert torch.allclose(sent.square().sum(1), symbols.square().sum(1), rtol=1e-5)
        assert n == 1 or not torch.equal(sent, symbols)
        alone = Context(context.snr_db[4:5], context.message[4:5])
        assert torch.equal(keyed.protect(symbols[4:5], alone)[0], sent[4]), "alone as in a batch"
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(keyed.protect(symbols, context), sent)
        # The other way round too: recover is the inverse, and so protects what it has recovered.
        assert torch.allclose(keyed.protect(undo(keyed, symbols, context), context), symbols, atol=1e-5)


def test_a_rotation_is_an_orthogonal_matrix_that_mixes_every_number_into_every_place():
    for n in [3, 16, 50, 60]:
        keyed = cipher("rotation", "fixed", n)
        matrix = keyed.protect(torch.eye(2 * n, dtype=torch.float64), told(2 * n))
        assert torch.allclose(matrix @ matrix.T, torch.eye(2 * n, dtype=torch.float64), atol=1e-12)
        if n >= 16:
            # No entry is large: every number is spread over all places. A Gaussian entry has the variance 1 / 2n.
            assert float(matrix.abs().max()) < 5.5 * (2 * n) ** -0.5
            assert float((matrix.abs() < 1e-9).double().mean()) < 0.2


def test_a_shuffle_keeps_the_values_and_signs_keep_the_magnitudes():
    symbols = torch.randn(4, 128, generator=g())
    plain = cipher("shuffle").protect(symbols, told(4))
    signed = cipher("shuffle+signs").protect(symbols, told(4))
    assert torch.equal(plain.sort(1).values, symbols.sort(1).values)
    assert torch.equal(signed.abs().sort(1).values, symbols.abs().sort(1).values)
    assert not torch.equal(signed.sort(1).values, symbols.sort(1).values)


def test_fixed_is_one_transform_for_all_and_per_message_is_another_for_each():
    for mode, lifetime in EVERY:
        keyed = cipher(mode, lifetime)
        symbols = torch.randn(1, 128, generator=g()).expand(3, -1)
        sent = [
            row
            for options in ({}, {"episode": 1}, {"number": 1}, {"environment": 1})
            for row in keyed.protect(symbols, told(3, **options))
        ]
        distinct = {tuple(row.tolist()) for row in sent}
        assert len(distinct) == (1 if lifetime == "fixed" else 12)
        assert keyed.stochastic == (lifetime == "per_message") and keyed.keyed


def test_modes_lifetimes_lengths_and_kinds_do_not_share_a_stream():
    """The order in which the first ten numbers leave, under one key."""
    orders = set()
    made = [cipher(mode, lifetime, n) for mode, lifetime in EVERY for n in (64, 65)]
    made += [cipher(mode, lifetime, 64, "qpsk") for mode, lifetime in EVERY if mode != "rotation"]
    for keyed in made:
        order, _ = keyed._secrets(torch.zeros(1, 2 * keyed.spec.num_symbols), told(1))
        orders.add(tuple(order[0, 0, :10].tolist()))
    assert len(orders) == len(made)


def test_every_place_is_as_likely_for_every_number():
    """Chi-square of where each of 16 numbers goes; 225 degrees of freedom, within six standard deviations."""
    keyed, rows = cipher("shuffle", n=8), 8000
    where = keyed.protect(torch.arange(16.0).expand(rows, -1), told(rows)).long()
    counts = torch.zeros(16, 16).index_put_(
        (torch.arange(16).expand(rows, -1), where), torch.tensor(1.0), accumulate=True
    )
    expected = rows / 16
    chi_square = float(((counts - expected) ** 2 / expected).sum())
    assert abs(chi_square - 225) < 6 * (2 * 225) ** 0.5


def test_equal_words_do_not_break_the_inverse(monkeypatch):
    """Two words in 2**32 may be equal; with two different words in all, nearly every pair is."""
    real = keyed_module.keystream
    monkeypatch.setattr(keyed_module, "keystream", lambda *a, **k: real(*a, **k) & 1)
    for mode in ROUNDS:
        keyed, symbols = cipher(mode), torch.randn(3, 128, generator=g())
        back = undo(keyed, keyed.protect(symbols, told(3)), told(3))
        assert torch.allclose(back, symbols, atol=1e-5)


@pytest.mark.parametrize("n", [32, 25])
def test_a_rotation_makes_any_message_isotropic_over_the_keys(n):
    """Mean 0, covariance I and the kurtosis of a Gaussian in high dimensions, whatever was sent."""
    for shape in ["one peak", "constant", "half"]:
        length, rows = 2 * n, 4000
        symbols = {
            "one peak": torch.eye(length)[0] * length**0.5,
            "constant": torch.ones(length),
            "half": (torch.arange(length) < n) * 2**0.5,
        }[shape]
        sent = cipher("rotation", n=n).protect(symbols.expand(rows, -1), told(rows)).double()
        error = rows**-0.5
        assert float(sent.mean(0).abs().max()) < 5 * error
        covariance = sent.T @ sent / rows
        assert float((covariance - torch.eye(length)).abs().max()) < 5.5 * 2**0.5 * error
        # Uniform on the sphere: E y^4 = 3 L / (L + 2).
        assert float(sent.pow(4).mean()) == pytest.approx(3 * length / (length + 2), rel=0.06)


# -- points of a constellation ------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["shuffle", "shuffle+signs"])
def test_points_go_to_points_and_come_back(mode):
    for lifetime in LIFETIMES:
        for name in ["qpsk", "64qam"]:
            points = constellation_points(name)
            indices = torch.randint(len(points), (6, 25), generator=g())
            symbols = modulate(indices, points)
            keyed = cipher(mode, lifetime, 25, name)
            sent = keyed.protect(symbols, told(6))
            found = hard_decision(sent, points)
            assert torch.allclose(modulate(found, points), sent, atol=1e-6)
            assert torch.equal(undo(keyed, sent, told(6)), symbols)
            if mode == "shuffle":
                assert torch.equal(found.sort(1).values, indices.sort(1).values) and not torch.equal(
                    found, indices
                )
            else:
                assert not torch.equal(found.sort(1).values, indices.sort(1).values)


def test_signs_of_i_and_q_are_flipped_independently():
    """Each of the four combinations for a quarter of the points, so that a point of QPSK may become any."""
    sent = cipher("shuffle+signs", n=64, constellation="qpsk").protect(torch.ones(500, 128), told(500))
    quadrant = ((sent[:, 0::2] > 0).long() * 2 + (sent[:, 1::2] > 0).long()).flatten()
    shares = quadrant.bincount(minlength=4) / quadrant.numel()
    assert float((shares - 0.25).abs().max()) < 5 * (0.1875 / quadrant.numel()) ** 0.5


def test_what_is_not_allowed_is_one_sentence():
    for options, sentence in [
        ({"mode": "rotation", "constellation": "16qam"}, "'rotation' '16qam' 'shuffle'"),
        ({"mode": ["shuffle"], "key": HEX}, "['shuffle'] 'shuffle'"),
        ({"mode": "shufle"}, "'shufle' 'shuffle'"),
        ({"lifetime": "per-message"}, "'per-message' 'per_message'"),
        ({"constellation": "8psk"}, "'8psk'"),
        ({"key": "secret"}, "32 64 6"),
    ]:
        with refused(sentence):
            Keyed(SystemSpec((3, 32, 32), 10, 8), **options)
    for symbols in (torch.zeros(2, 126), torch.zeros(3, 128), torch.zeros(128)):
        with refused("[2, 128]"):
            cipher("shuffle").protect(symbols, told(2))


# -- the key ----------------------------------------------------------------------------------------


def test_each_place_of_a_shared_key_has_a_stream_of_its_own_and_the_first_that_of_the_key_alone():
    for mode, lifetime in EVERY:
        symbols, sent = torch.randn(4, 128, generator=g()), []
        for place in range(4):
            keyed = cipher(mode, lifetime, key=None)
            keyed.use_key(HEX, place)
            sent.append(keyed.protect(symbols, told(4)))
            assert torch.allclose(undo(keyed, sent[-1], told(4)), symbols, atol=1e-5)
            assert keyed.key_fingerprint == cipher().key_fingerprint
        assert torch.equal(sent[0], cipher(mode, lifetime).protect(symbols, told(4)))
        assert len({tuple(s.flatten().tolist()) for s in sent}) == 4


def test_a_stage_that_was_made_with_a_key_keeps_it_and_one_that_was_not_takes_any():
    own, none = cipher(), cipher(key=None)
    fresh = none.key_fingerprint
    for keyed in (own, none):
        keyed.use_key(OTHER, 0)
    assert own.key_fingerprint == cipher().key_fingerprint
    assert none.key_fingerprint == cipher(key=OTHER).key_fingerprint != fresh
    assert none.options == {"mode": "shuffle", "lifetime": "per_message"}
    assert none.plain() == {"name": "keyed", **none.options}
    assert none.guarantee() is None and none.guarantee(100) is None and not none.knobs, (
        "nothing is proven of it"
    )


def test_another_key_opens_nothing():
    """Opened with another key, normal symbols are as good as unrelated to what was sent."""
    for mode, lifetime in EVERY:
        symbols = torch.randn(200, 128, generator=g())
        sent = cipher(mode, lifetime).protect(symbols, told(200))
        opened = undo(cipher(mode, lifetime, key=OTHER), sent, told(200))
        assert abs(float(torch.corrcoef(torch.stack([opened.flatten(), symbols.flatten()]))[0, 1])) < 0.05
        if lifetime == "per_message":
            late = undo(cipher(mode, lifetime), sent, told(200, number=1))
            assert abs(float(torch.corrcoef(torch.stack([late.flatten(), symbols.flatten()]))[0, 1])) < 0.05


def test_a_module_moves_and_is_used_from_inference_to_training():
    for lifetime in LIFETIMES:
        keyed, symbols = cipher("rotation", lifetime), torch.randn(2, 128, generator=g())
        with torch.inference_mode():
            first = keyed.protect(symbols, told(2))
        again = keyed.half().float().protect(symbols.requires_grad_(), told(2))
        again.sum().backward()
        assert torch.equal(first, again.detach())
