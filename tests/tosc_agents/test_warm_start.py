"""A training may start from any checkpoint: what fits is taken, the rest is said, frozen parts stay."""

from __future__ import annotations

import pytest
import torch
from command_line import DATA, NETWORK
from refusals import refused
from tosc_agents import LoopConfig, SchemeTraining, cli, fit_scheme
from tosc_agents.learning.seeding import weights_from
from tosc_agents.training.warm_start import WarmStart, freeze

from tosc_env.attackers import make_eavesdropper
from tosc_env.errors import CheckpointError
from tosc_env.game import GameConfig
from tosc_env.io.checkpoints import read_header, save_checkpoint
from tosc_env.pipeline import as_pipeline, make_scheme
from tosc_env.schemes import PrivacyScheme
from tosc_env.types import SystemSpec

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


def test_every_scheme_with_the_baselines_networks_takes_them_whole(baseline):
    for name in ["deepjscc", "ibal", "lbvq", "dp-laplace", "encryption", "layered"]:
        for stages in [[], ["keyed", "laplace"]]:
            path, tensors = baseline
            start = WarmStart(path)
            assert start.network == TINY, "the sizes alone, not what the receiver was told"
            with weights_from(1):
                scheme = make_scheme(name, SPEC, stages=stages, **start.network)
            told = start.load(scheme)
            assert f"took {len(tensors)} of" in told
            own = scheme.state_dict()
            assert all(torch.equal(own[key], value) for key, value in tensors.items())
            assert set(start.fresh) == set(own) - set(tensors)


def test_another_task_keeps_the_encoder_and_starts_a_new_head(baseline):
    path, tensors = baseline
    scheme = make("deepjscc", 1, SystemSpec((3, 24, 24), 4, 8))
    start = WarmStart(path)
    told = start.load(scheme)
    assert (
        start.fresh == ["backbone.receiver.3.weight", "backbone.receiver.3.bias"]
        and "starts afresh: receiver" in told
    )
    head = "backbone.transmitter.head.weight"
    assert torch.equal(scheme.state_dict()[head], tensors[head])


def test_a_training_takes_the_same_schemes_options_and_of_another_scheme_the_sizes(tmp_path):
    def train(name, *arguments):
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.safetensors"
        command = ["train", name, "--data-kwargs", *DATA, "--epochs", "1", "--batch-size", "10"]
        assert cli.main([*command, "--num-symbols", "8", "--output", str(path), *arguments]) == 0
        return path

    first = train("lbvq", "--scheme-kwargs", *NETWORK, "codewords=4", "--snr-db", "12")
    again = read_header(train("lbvq", "--from", str(first), "--snr-db", "6"))["options"]
    assert again["codewords"] == 4 and again["stem"] == 4 and again["told_snr_db"] == 6.0
    several = read_header(train("lbvq", "--from", str(first), "--snr-db", "0", "12"))["options"]
    assert several["told_snr_db"] is None, "one that meets several SNRs is told its own link's"
    other = read_header(train("ibal", "--from", str(first)))["options"]
    assert other["stem"] == 4 and "codewords" not in other
    given = read_header(train("lbvq", "--from", str(first), "--scheme-kwargs", "told_snr_db=3"))["options"]
    assert given["told_snr_db"] == 3


class Other(PrivacyScheme):
    name = "other"

    def __init__(self, spec):
        super().__init__(spec)
        self.up = torch.nn.Linear(3, 3)

    def encode(self, images, context):
        return images.flatten(1)[:, :16]

    def decode(self, received, csi, context):
        return received[:, :10]


def test_frozen_parts_stay_bit_for_bit_statistics_included():
    setting = GameConfig("shapes", {"num_images": 100, "size": 16}, num_symbols=8)
    scheme = make("deepjscc", 0)
    before = {k: v.clone() for k, v in scheme.state_dict().items()}
    assert freeze(scheme, ["transmitter"]) == ["transmitter"]
    loop = LoopConfig(epochs=2, batch_size=25, learning_rate=0.05)
    fit_scheme(scheme, setting.game(half="system"), SchemeTraining(loop, flip=False, cutout=0))
    for key, value in scheme.state_dict().items():
        assert torch.equal(value, before[key]) == key.startswith("backbone.transmitter."), key


def test_a_start_that_does_not_fit_and_a_part_that_is_not_there_are_refused(baseline, tmp_path):
    with refused("'other'"):
        WarmStart(baseline[0]).load(as_pipeline(Other(SPEC)))
    path = tmp_path / "e.safetensors"
    save_checkpoint(path, make_eavesdropper("mean-image", SPEC), {})
    with refused("eavesdropper", CheckpointError):
        WarmStart(path)
    with refused("'transmiter' transmitter"):
        freeze(make("deepjscc", 0), ["transmiter"])
