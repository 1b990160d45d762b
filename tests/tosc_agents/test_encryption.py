"""Encryption is undone exactly by whoever has the key, garbage to everyone else, and the key is nowhere to be found."""

from __future__ import annotations

import copy
import pickle

import gymnasium as gym
import pytest
import torch
from fakes import SMALL
from tosc_agents.keys import SecretKey
from tosc_agents.learning.seeding import weights_from
from tosc_agents.schemes.deepjscc import DeepJSCC
from tosc_agents.schemes.encryption import LIFETIMES, ROUNDS, Encryption, KeyedTransform

from tosc_env.checkpoints import load_checkpoint, save_checkpoint
from tosc_env.data import make_source
from tosc_env.errors import InputError
from tosc_env.game import Game
from tosc_env.modulation import constellation_points, hard_decision, modulate
from tosc_env.policies import Context, SystemSpec, make_scheme
from tosc_env.testing import check_scheme

HEX = bytes(range(100, 132)).hex()
OTHER = bytes(range(32)).hex()
TINY = {"stem": 4, "widths": (4, 8, 8), "blocks": (1, 0, 1), "receiver_width": 16, "receiver_depth": 1}
SPEC = SystemSpec((3, 32, 32), 10)
EVERY = [(mode, lifetime) for mode in ROUNDS for lifetime in LIFETIMES]
every = pytest.mark.parametrize(("mode", "lifetime"), EVERY)


def g(seed=0):
    return torch.Generator().manual_seed(seed)


def told(batch_size, *, episode=0, number=0, environment=0):
    message = torch.tensor([[0, episode, number]]).repeat(batch_size, 1)
    message[:, 0] = torch.arange(batch_size)
    return Context(torch.full((batch_size,), 12.0), message, environment)


def make(mode="rotation", lifetime="per_message", key=HEX, spec=SPEC, cls=Encryption):
    with weights_from(0):
        return cls(spec, mode=mode, lifetime=lifetime, key=key, **TINY).eval()


def cipher(mode, lifetime="per_message", n=64, constellation=None, key=HEX):
    return KeyedTransform(n, constellation, mode=mode, lifetime=lifetime, key=key)


# -- the transform ----------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 3, 16, 50, 64, 128])
@every
def test_the_key_undoes_what_it_did_and_energy_stays(mode, lifetime, n):
    keyed, context = cipher(mode, lifetime, n), told(9, episode=2)
    symbols = torch.randn(9, 2 * n, generator=g())
    sent = keyed.protect(symbols, context)
    back = keyed.recover(sent, context)
    if mode == "rotation":
        assert torch.allclose(back, symbols, atol=1e-5)
    else:
        assert torch.equal(back, symbols)
    assert torch.allclose(sent.square().sum(1), symbols.square().sum(1), rtol=1e-5)
    assert n == 1 or not torch.equal(sent, symbols)
    # The other way round too: recover is the inverse, and so protects what it has recovered.
    assert torch.allclose(keyed.protect(keyed.recover(symbols, context), context), symbols, atol=1e-5)


@pytest.mark.parametrize("n", [3, 16, 50, 60])
def test_a_rotation_is_an_orthogonal_matrix_that_mixes_every_number_into_every_place(n):
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


@every
def test_fixed_is_one_transform_for_all_and_per_message_is_another_for_each(mode, lifetime):
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


@every
def test_a_message_is_sent_alike_alone_and_in_a_batch(mode, lifetime):
    keyed, context = cipher(mode, lifetime, 50), told(5, number=3)
    symbols = torch.randn(5, 100, generator=g())
    together = keyed.protect(symbols, context)
    for i in range(5):
        alone = Context(context.snr_db[i : i + 1], context.message[i : i + 1])
        assert torch.equal(keyed.protect(symbols[i : i + 1], alone)[0], together[i])


def test_modes_lifetimes_lengths_and_kinds_do_not_share_a_stream():
    """The order in which the first ten numbers leave, under one key."""
    orders = set()
    made = [cipher(mode, lifetime, n) for mode, lifetime in EVERY for n in (64, 65)]
    made += [cipher(mode, lifetime, 64, "qpsk") for mode, lifetime in EVERY if mode != "rotation"]
    for keyed in made:
        order, _ = keyed._secrets(torch.zeros(1, 2 * keyed.num_symbols), told(1))
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
    from tosc_agents.schemes import encryption

    real = encryption.keystream
    monkeypatch.setattr(encryption, "keystream", lambda *a, **k: real(*a, **k) & 1)
    for mode in ROUNDS:
        keyed, symbols = cipher(mode), torch.randn(3, 128, generator=g())
        back = keyed.recover(keyed.protect(symbols, told(3)), told(3))
        assert torch.allclose(back, symbols, atol=1e-5)


@pytest.mark.parametrize("n", [32, 25])
@pytest.mark.parametrize("shape", ["one peak", "constant", "half"])
def test_a_rotation_makes_any_message_isotropic_over_the_keys(shape, n):
    """Mean 0, covariance I and the kurtosis of a Gaussian in high dimensions, whatever was sent."""
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


@every
def test_gradients_are_rotated_as_the_symbols_are(mode, lifetime):
    keyed, context = cipher(mode, lifetime, 20), told(3)
    symbols = torch.randn(3, 40, generator=g()).requires_grad_()
    towards = torch.randn(3, 40, generator=g(1))
    keyed.protect(symbols, context).backward(towards)
    assert torch.allclose(symbols.grad, keyed.recover(towards, context), atol=1e-5)
    symbols.grad = None
    keyed.recover(symbols, context).backward(towards)
    assert torch.allclose(symbols.grad, keyed.protect(towards, context), atol=1e-5)


@every
def test_low_precision_and_autocast_cost_nothing(mode, lifetime):
    keyed, symbols = cipher(mode, lifetime), torch.randn(4, 128, generator=g()).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        sent = keyed.protect(symbols, told(4))
        back = keyed.recover(sent, told(4))
    assert sent.dtype == torch.float32 and torch.allclose(back, symbols.float(), atol=1e-5)


# -- points of a constellation ------------------------------------------------------------------------


@pytest.mark.parametrize("lifetime", LIFETIMES)
@pytest.mark.parametrize("mode", ["shuffle", "shuffle+signs"])
@pytest.mark.parametrize("name", ["qpsk", "16qam", "64qam"])
def test_points_go_to_points_and_come_back(name, mode, lifetime):
    points = constellation_points(name)
    indices = torch.randint(len(points), (6, 25), generator=g())
    symbols = modulate(indices, points)
    keyed = cipher(mode, lifetime, 25, name)
    sent = keyed.protect(symbols, told(6))
    found = hard_decision(sent, points)
    assert torch.allclose(modulate(found, points), sent, atol=1e-6)
    assert torch.equal(keyed.recover(sent, told(6)), symbols)
    if mode == "shuffle":
        assert torch.equal(found.sort(1).values, indices.sort(1).values) and not torch.equal(found, indices)
    else:
        assert not torch.equal(found.sort(1).values, indices.sort(1).values)


def test_signs_of_i_and_q_are_flipped_independently():
    """Each of the four combinations for a quarter of the points, so that a point of QPSK may become any."""
    sent = cipher("shuffle+signs", n=64, constellation="qpsk").protect(torch.ones(500, 128), told(500))
    quadrant = ((sent[:, 0::2] > 0).long() * 2 + (sent[:, 1::2] > 0).long()).flatten()
    shares = quadrant.bincount(minlength=4) / quadrant.numel()
    assert float((shares - 0.25).abs().max()) < 5 * (0.1875 / quadrant.numel()) ** 0.5


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            {"mode": "rotation", "constellation": "16qam"},
            "does not send points of '16qam' to points; .*'shuffle'",
        ),
        (
            {"mode": ["shuffle"], "key": HEX},
            r"unknown mode of encryption \['shuffle'\], did you mean 'shuffle'",
        ),
        ({"mode": "shufle"}, "unknown mode of encryption 'shufle', did you mean 'shuffle'"),
        ({"lifetime": "per-message"}, "unknown lifetime of a key 'per-message', did you mean 'per_message'"),
        ({"constellation": "8psk"}, "unknown constellation '8psk'"),
        ({"key": "secret"}, "32 bytes, written as 64 hexadecimal digits, not 6 characters"),
    ],
)
def test_what_is_not_allowed_is_one_sentence(options, sentence):
    with pytest.raises(InputError, match=sentence):
        KeyedTransform(8, **options)


def test_symbols_of_another_shape_are_refused():
    for symbols in (torch.zeros(2, 126), torch.zeros(3, 128), torch.zeros(128)):
        with pytest.raises(InputError, match=r"the shape \[2, 128\], not"):
            cipher("shuffle").protect(symbols, told(2))


# -- the scheme -------------------------------------------------------------------------------------


@every
def test_it_keeps_the_laws_of_a_scheme(mode, lifetime):
    check_scheme(make(mode, lifetime, spec=SystemSpec((1, 16, 24), 4, num_symbols=10)))


def test_it_keeps_the_laws_over_a_fading_link():
    check_scheme(make(spec=SystemSpec((1, 16, 16), 4, num_symbols=16, num_csi=3)))


@every
def test_what_it_says_of_itself(mode, lifetime):
    scheme = make(mode, lifetime)
    assert scheme.name == "encryption" and scheme.weights_of == "deepjscc"
    assert scheme.keyed and scheme.stochastic == (lifetime == "per_message")
    assert scheme.options["mode"] == mode and scheme.options["lifetime"] == lifetime
    assert scheme.guarantee() is None and scheme.bits() is None and scheme.constellation is None
    assert scheme.key_fingerprint == SecretKey(HEX).fingerprint() == scheme.cipher.key_fingerprint
    assert Encryption(SPEC, **TINY).key_fingerprint != Encryption(SPEC, **TINY).key_fingerprint


@every
def test_over_awgn_the_key_costs_nothing(mode, lifetime):
    """protect(s) + noise, decrypted, is s + recover(noise): to the receiver, the same link."""
    scheme, context = make(mode, lifetime), told(6)
    bare = DeepJSCC(SPEC, **TINY).eval()
    bare.load_state_dict(scheme.state_dict())
    images = torch.rand(6, 3, 32, 32, generator=g())
    noise, csi = 0.2 * torch.randn(6, 128, generator=g(1)), torch.full((6, 1), 12.0)
    with torch.no_grad():
        symbols = bare.encode(images, context)
        assert torch.equal(scheme.unkeyed(images, context), symbols)
        sent = scheme.encode(images, context)
        assert torch.equal(scheme.emit(scheme.features(images), context), sent)
        opened = scheme.remove_key(sent + noise, csi, context)
        plain = symbols + scheme.remove_key(noise, csi, context)
        logits, unprotected = scheme.decode(sent + noise, csi, context), bare.decode(plain, csi, context)
    if mode == "rotation":
        assert torch.allclose(opened, plain, atol=1e-5) and torch.allclose(logits, unprotected, atol=1e-4)
    else:
        assert torch.equal(opened, plain) and torch.equal(logits, unprotected)


@every
def test_another_key_opens_nothing(mode, lifetime):
    """Opened with another key, normal symbols are as good as unrelated to what was sent."""
    symbols = torch.randn(200, 128, generator=g())
    sent = cipher(mode, lifetime).protect(symbols, told(200))
    opened = cipher(mode, lifetime, key=OTHER).recover(sent, told(200))
    assert abs(float(torch.corrcoef(torch.stack([opened.flatten(), symbols.flatten()]))[0, 1])) < 0.05
    if lifetime == "per_message":
        late = cipher(mode, lifetime).recover(sent, told(200, number=1))
        assert abs(float(torch.corrcoef(torch.stack([late.flatten(), symbols.flatten()]))[0, 1])) < 0.05


@every
def test_normalising_power_and_encrypting_commute(mode, lifetime):
    game = Game(make_source("shapes", **SMALL))
    keyed, features = cipher(mode, lifetime), 3 * torch.randn(4, 128, generator=g())
    first = game.normalise(keyed.protect(features, told(4)))
    assert torch.allclose(first, keyed.protect(game.normalise(features), told(4)), atol=1e-5)


def test_it_plays_with_the_weights_of_a_trained_baseline(tmp_path):
    with weights_from(3):
        bare = DeepJSCC(SPEC, **TINY, told_snr_db=12.0).eval()
    path = tmp_path / "bare.safetensors"
    save_checkpoint(path, bare, {})
    options = {"mode": "shuffle", "lifetime": "fixed", "key": HEX}
    scheme = load_checkpoint(path, name="encryption", options=options).policy
    images = torch.rand(2, 3, 32, 32, generator=g())
    assert isinstance(scheme, Encryption) and scheme.told_snr_db == 12.0
    assert torch.equal(scheme.unkeyed(images, told(2)), bare.encode(images, told(2)))


def test_the_transform_is_lent_to_other_schemes():
    lent = Encryption.perturbation(16, "16qam", key=HEX)
    assert isinstance(lent, KeyedTransform) and (lent.mode, lent.lifetime) == ("shuffle", "per_message")
    assert lent.options == {"mode": "shuffle", "lifetime": "per_message"}
    assert lent.key_fingerprint == SecretKey(HEX).fingerprint() and lent.guarantee() is None
    assert Encryption.perturbation(16, None, mode="rotation", lifetime="fixed").mode == "rotation"
    with pytest.raises(InputError, match="'encryption' has no option 'modus'"):
        Encryption.perturbation(16, None, modus="rotation")


# -- the key is nowhere to be found -----------------------------------------------------------------


def shows(value):
    """Whether the key, in digits, raw or as a list, is in some text or bytes."""
    raw = bytes.fromhex(HEX)
    texts = (HEX, HEX.upper(), str(raw), str(list(raw)))
    if isinstance(value, bytes):
        return raw in value or any(text.encode() in value for text in texts)
    return any(text in value for text in texts)


@every
def test_the_key_is_in_nothing_that_is_shown_or_saved(tmp_path, mode, lifetime):
    scheme = make(mode, lifetime)
    assert "key" not in scheme.options
    assert set(scheme.state_dict()) == set(DeepJSCC(SPEC, **TINY).state_dict())
    save_checkpoint(tmp_path / "a.safetensors", scheme, {"key": scheme.key_fingerprint})
    saved = (tmp_path / "a.safetensors").read_bytes()
    for value in (repr(scheme), str(scheme.options), str(vars(scheme)), str(vars(scheme.cipher)), saved):
        assert not shows(value)
    back = load_checkpoint(tmp_path / "a.safetensors").policy
    assert back.key_fingerprint != scheme.key_fingerprint and back.options == scheme.options
    same = load_checkpoint(tmp_path / "a.safetensors", options={"key": HEX}).policy
    images = torch.rand(2, 3, 32, 32, generator=g())
    assert torch.equal(same.encode(images, told(2)), scheme.encode(images, told(2)))


@pytest.mark.parametrize(
    "options", [{"key": HEX + "ab"}, {"key": HEX, "mode": ["x"]}, {"key": HEX, "stemm": 1}]
)
def test_the_key_is_in_no_error(options):
    for make_it in (lambda: make_scheme("encryption", SPEC, **options), lambda: Encryption(SPEC, **options)):
        with pytest.raises(InputError) as caught:
            make_it()
        assert not shows(str(caught.value))


def test_a_scheme_is_copied_with_its_key_but_not_pickled():
    scheme = make(lifetime="fixed")
    images = torch.rand(2, 3, 32, 32, generator=g())
    assert torch.equal(copy.deepcopy(scheme).encode(images, told(2)), scheme.encode(images, told(2)))
    with pytest.raises(InputError, match="a secret key is not written to files"):
        pickle.dumps(scheme)


class Recording(Encryption):
    """Remembers which environment and message numbers it was asked to encrypt under."""

    def emit(self, features, context):
        self.used = getattr(self, "used", [])
        self.used += [(context.environment, *row) for row in context.message.tolist()]
        return super().emit(features, context)


def play(scheme, *, num_envs, seed, steps=5, **options):
    env = gym.make_vec(
        "ToSC-Shapes-v0",
        num_envs=num_envs,
        role="eavesdropper",
        scheme=scheme,
        data_kwargs=SMALL,
        max_cycles=2,
        **options,
    )
    seen = [env.reset(seed=seed)]
    for _ in range(steps):
        seen.append(env.step(torch.full((num_envs, 3, 32, 32), 0.5))[::4])
    seen.append(env.reset())
    env.close()
    return seen


def test_environments_never_use_a_key_stream_again():
    """Neither across rows, steps, episodes and resets, nor between environments of one seed and one key."""
    scheme = make(cls=Recording)
    for num_envs, options in ((3, {}), (4, {}), (3, {"snr_db": 3.0}), (3, {"split": "test"})):
        play(scheme, num_envs=num_envs, seed=1, **options)
    play(scheme, num_envs=3, seed=2)
    play(scheme, num_envs=3, seed=None)
    assert len(scheme.used) >= 6 * 3 * 7
    assert len(set(scheme.used)) == len(scheme.used)
    # The three numbers alone, as they go into the nonce, come again: it is the environment's that tells them apart.
    assert len({row[1:] for row in scheme.used}) < len(scheme.used)


def leaves(value):
    """Every value in nested dictionaries, and every key, as bytes."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield str(name).encode()
            yield from leaves(inner)
    else:
        yield value.numpy().tobytes() if isinstance(value, torch.Tensor) else repr(value).encode()


def test_an_eavesdropper_finds_no_key_in_what_it_is_told():
    for observation, info in play(make(), num_envs=3, seed=0):
        assert set(observation) == {"received", "csi"}
        found = [*leaves(observation), *leaves(info)]
        assert len(found) > 4 and not any(shows(part) for part in found)


def test_the_legitimate_pair_wins_through_the_whole_game():
    """An inside receiver with the key hears the symbols; with another key, something else."""
    game = Game(make_source("shapes", **SMALL), snr_db=60.0)
    round_ = game.draw(8, generator=g())
    context = Context(round_.snr_db, round_.message)
    scheme, stranger = make(), make(key=OTHER)
    with torch.no_grad():
        reception = game.transmit(round_, scheme.encode(round_.batch.images, context)).receiver
        plain = game.normalise(scheme.unkeyed(round_.batch.images, context))
        ours = scheme.remove_key(reception.received, reception.csi, context)
        theirs = stranger.remove_key(reception.received, reception.csi, context)
    assert float((ours - plain).square().mean()) < 1e-5
    assert float((theirs - plain).square().mean()) > 0.3  # 1 for unrelated symbols of energy 1/2 per real


def test_a_module_moves_and_is_used_from_inference_to_training():
    for lifetime in LIFETIMES:
        keyed, symbols = cipher("rotation", lifetime), torch.randn(2, 128, generator=g())
        with torch.inference_mode():
            first = keyed.protect(symbols, told(2))
        again = keyed.half().float().protect(symbols.requires_grad_(), told(2))
        again.sum().backward()
        assert torch.equal(first, again.detach())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@every
def test_both_ends_may_be_on_different_devices(mode, lifetime):
    keyed, symbols, context = cipher(mode, lifetime, 50), torch.randn(5, 100, generator=g()), told(5)
    sent = keyed.protect(symbols, context)
    there = Context(context.snr_db.cuda(), context.message.cuda())
    assert torch.allclose(keyed.cuda().recover(sent.cuda(), there).cpu(), symbols, atol=1e-5)
