"""An encrypted scheme costs its receiver nothing, and its key is nowhere to be found."""

from __future__ import annotations

import copy
import json
import pickle

import gymnasium as gym
import pytest
import torch
from fakes import SMALL
from links import seeded as g
from refusals import refused
from tosc_agents.keys import SecretKey
from tosc_agents.learning.seeding import weights_from
from tosc_agents.stages.keyed import LIFETIMES, ROUNDS, Keyed

from tosc_env.errors import InputError
from tosc_env.io.checkpoints import load_checkpoint, read_header, save_checkpoint
from tosc_env.pipeline import make_scheme
from tosc_env.schemes import schemes
from tosc_env.types import Context, SystemSpec

HEX = bytes(range(100, 132)).hex()
TINY = {"stem": 4, "widths": (4, 8, 8), "blocks": (1, 0, 1), "receiver_width": 16, "receiver_depth": 1}
SPEC = SystemSpec((3, 32, 32), 10)
EVERY = [(mode, lifetime) for mode in ROUNDS for lifetime in LIFETIMES]


def told(batch_size):
    message = torch.zeros(batch_size, 5, dtype=torch.long)
    message[:, 0] = torch.arange(batch_size)
    return Context(torch.full((batch_size,), 12.0), message)


def make(mode="rotation", lifetime="per_message", key=HEX, spec=SPEC):
    with weights_from(0):
        return make_scheme("encryption", spec, mode=mode, lifetime=lifetime, key=key, **TINY).eval()


def test_what_it_says_of_itself():
    for mode, lifetime in EVERY:
        scheme = make(mode, lifetime)
        assert scheme.keyed and scheme.stochastic == (lifetime == "per_message")
        assert scheme.options["mode"] == mode and scheme.options["lifetime"] == lifetime
        assert scheme.guarantee() is None and scheme.bits is None and scheme.constellation is None
        assert scheme.key_fingerprint == SecretKey(HEX).fingerprint() == scheme.stages[0].key_fingerprint
        assert make(key=None).key_fingerprint != make(key=None).key_fingerprint


def test_over_awgn_the_key_costs_nothing():
    """protect(s) + noise, decrypted, is s + recover(noise): to the receiver, the same link."""
    for mode, lifetime in EVERY:
        scheme, context = make(mode, lifetime), told(6)
        bare = scheme.backbone
        images = torch.rand(6, 3, 32, 32, generator=g())
        noise, csi = 0.2 * torch.randn(6, 128, generator=g(1)), torch.full((6, 1), 12.0)
        with torch.no_grad():
            symbols = bare.encode(images, context)
            assert torch.equal(scheme.protect(symbols, context, keyed=False), symbols)
            sent = scheme.encode(images, context)
            assert torch.equal(scheme.protect(symbols, context), sent)
            opened = scheme.recover(sent + noise, csi, context, "keyed")[0]
            plain = symbols + scheme.recover(noise, csi, context, "keyed")[0]
            logits, unprotected = scheme.decode(sent + noise, csi, context), bare.decode(plain, csi, context)
        if mode == "rotation":
            assert torch.allclose(opened, plain, atol=1e-5) and torch.allclose(logits, unprotected, atol=1e-4)
        else:
            assert torch.equal(opened, plain) and torch.equal(logits, unprotected)


# -- the key is nowhere to be found -----------------------------------------------------------------


def shows(value):
    """Check that the key, in digits, raw or as a list, is in some text or bytes."""
    raw = bytes.fromhex(HEX)
    texts = (HEX, HEX.upper(), str(raw), str(list(raw)))
    if isinstance(value, bytes):
        return raw in value or any(text.encode() in value for text in texts)
    return any(text in value for text in texts)


def test_the_key_is_in_nothing_that_is_shown_or_saved(tmp_path):
    scheme = make()
    assert "key" not in scheme.options
    assert set(scheme.state_dict()) == set(make_scheme("deepjscc", SPEC, **TINY).state_dict())
    save_checkpoint(tmp_path / "a.safetensors", scheme, {"key": scheme.key_fingerprint})
    saved = [path.read_bytes() for path in tmp_path.iterdir()]
    header = json.dumps(read_header(tmp_path / "a.safetensors"))
    stage = scheme.stages[0]
    texts = (
        repr(scheme),
        str(scheme.options),
        str(scheme.composition),
        str(vars(scheme)),
        str(vars(stage)),
        header,
    )
    for value in (*texts, *saved):
        assert not shows(value)
    back = load_checkpoint(tmp_path / "a.safetensors").policy
    assert back.key_fingerprint != scheme.key_fingerprint and back.options == scheme.options
    same = load_checkpoint(tmp_path / "a.safetensors", options={"key": HEX}).policy
    images = torch.rand(2, 3, 32, 32, generator=g())
    assert torch.equal(same.encode(images, told(2)), scheme.encode(images, told(2)))


def test_the_key_is_in_no_error():
    for make_it in [
        lambda: make_scheme("encryption", SPEC, key=HEX + "ab"),
        lambda: make_scheme("encryption", SPEC, key=HEX, mode=["x"]),
        lambda: make_scheme("encryption", SPEC, key=HEX, stemm=1),
        lambda: make_scheme("deepjscc", SPEC, key=HEX),
        lambda: make_scheme("deepjscc", SPEC, stages=[{"name": "keyed", "key": HEX, "mode": ["x"]}]),
        lambda: make_scheme("deepjscc", SPEC, stages=[{"name": "keyed", "key": HEX, "modus": "x"}]),
        lambda: make_scheme("deepjscc", SPEC, stages=[{"nam": "keyed", "key": HEX}]),
        lambda: make_scheme("lbvq", SPEC, stages=[{"name": "keyed", "key": HEX, "mode": "rotation"}]),
        lambda: schemes["encryption"](SPEC, key=HEX),
        lambda: Keyed(SPEC, "8psk", key=HEX),
    ]:
        with pytest.raises(InputError) as caught:
            make_it()
        assert not shows(str(caught.value))


def test_a_scheme_is_copied_with_its_key_but_not_pickled():
    scheme = make(lifetime="fixed")
    images = torch.rand(2, 3, 32, 32, generator=g())
    assert torch.equal(copy.deepcopy(scheme).encode(images, told(2)), scheme.encode(images, told(2)))
    with refused("key files"):
        pickle.dumps(scheme)


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
