"""A training may start from any checkpoint: what fits is taken, the rest is said, frozen parts stay."""

from __future__ import annotations

import pytest
import torch
from tosc_agents import LoopConfig, SchemeTraining, Setting, fit_scheme
from tosc_agents.learning.seeding import weights_from
from tosc_agents.training.warm_start import WarmStart, freeze, known_options

from tosc_env.checkpoints import save_checkpoint
from tosc_env.errors import CheckpointError, InputError
from tosc_env.policies import PrivacyScheme, SystemSpec, make_eavesdropper, make_scheme, schemes

TINY = {"stem": 4, "widths": [4, 8, 8], "blocks": [0, 0, 0], "receiver_width": 16, "receiver_depth": 1}
SPEC = SystemSpec((3, 16, 16), 10, 8)


def make(name, seed, spec=SPEC, **options):
    with weights_from(seed):
        return make_scheme(name, spec, **{**TINY, **options})


@pytest.fixture
def baseline(tmp_path):
    scheme = make("deepjscc", 0, told_snr_db=12.0)
    path = tmp_path / "base.safetensors"
    save_checkpoint(path, scheme, {})
    return path, scheme.state_dict()


@pytest.mark.parametrize("name", ["deepjscc", "ibal", "lbvq", "dp-laplace", "encryption"])
def test_every_scheme_with_the_baselines_networks_takes_them_whole(baseline, name):
    path, tensors = baseline
    start = WarmStart(path)
    options = start.options_for(name)
    assert {k: options[k] for k in TINY} == TINY and "told_snr_db" not in options
    with weights_from(1):
        scheme = make_scheme(name, SPEC, **options)
    told = start.load(scheme)
    assert f"took {len(tensors)} of" in told
    own = scheme.state_dict()
    assert all(torch.equal(own[key], value) for key, value in tensors.items())
    assert set(start.fresh) == set(own) - set(tensors)


def test_a_layered_scheme_takes_its_inner_schemes_weights(tmp_path):
    path = tmp_path / "lbvq.safetensors"
    inner = make("lbvq", 0)
    save_checkpoint(path, inner, {})
    with weights_from(1):
        layered = make_scheme("layered", SPEC, inner="lbvq", inner_options=inner.options)
    WarmStart(path).load(layered)
    assert torch.equal(layered.inner.codewords, inner.codewords)


def test_another_task_keeps_the_encoder_and_starts_a_new_head(baseline):
    path, tensors = baseline
    scheme = make("deepjscc", 1, SystemSpec((3, 24, 24), 4, 8))
    start = WarmStart(path)
    told = start.load(scheme)
    assert start.fresh == ["receiver.3.weight", "receiver.3.bias"] and "starts afresh: receiver" in told
    assert torch.equal(scheme.transmitter.head.weight, tensors["transmitter.head.weight"])


def test_options_of_the_same_scheme_are_taken_over_whole(tmp_path):
    path = tmp_path / "lbvq.safetensors"
    save_checkpoint(path, make("lbvq", 0, codewords=4), {})
    assert WarmStart(path).options_for("lbvq")["codewords"] == 4
    assert "codewords" not in WarmStart(path).options_for("ibal")


def test_known_options_are_those_of_the_bases_too():
    assert {"beta", "stem", "told_snr_db"} <= known_options(schemes["ibal"])
    assert "key" in known_options(schemes["encryption"])


class Other(PrivacyScheme):
    name = "other"

    def __init__(self, spec):
        super().__init__(spec)
        self.up = torch.nn.Linear(3, 3)

    def encode(self, images, context):
        return images.flatten(1)[:, :16]

    def decode(self, received, csi, context):
        return received[:, :10]


def test_nothing_that_fits_is_an_error(baseline):
    with pytest.raises(InputError, match=r"nothing in .* fits the scheme 'other'"):
        WarmStart(baseline[0]).load(Other(SPEC))


def test_an_eavesdropper_is_no_start(tmp_path):
    path = tmp_path / "e.safetensors"
    save_checkpoint(path, make_eavesdropper("mean-image", SPEC), {})
    with pytest.raises(CheckpointError, match="holds an eavesdropper"):
        WarmStart(path)


def test_frozen_parts_stay_bit_for_bit_statistics_included():
    setting = Setting("shapes", {"num_images": 100, "size": 16}, num_symbols=8)
    scheme = make("deepjscc", 0)
    before = {k: v.clone() for k, v in scheme.state_dict().items()}
    assert freeze(scheme, ["transmitter"]) == ["transmitter"]
    loop = LoopConfig(epochs=2, batch_size=25, learning_rate=0.05)
    fit_scheme(scheme, setting.game(half="system"), SchemeTraining(loop, flip=False, cutout=0))
    for key, value in scheme.state_dict().items():
        assert torch.equal(value, before[key]) == key.startswith("transmitter."), key


def test_freezing_what_is_not_there_is_an_error():
    with pytest.raises(InputError, match=r"'transmiter'.*transmitter"):
        freeze(make("deepjscc", 0), ["transmiter"])
