"""A planted leak is found at the rate that theory gives, and where nothing leaks nobody finds anything.

Blindness and false alarms of every registered attacker, against toy schemes that leak one thing or nothing.
"""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from links import seeded as g
from tosc_agents.learning.seeding import weights_from
from tosc_agents.training.evaluate import evaluate
from tosc_agents.training.fit_eavesdropper import fit_eavesdropper

from tosc_env import metrics
from tosc_env.attackers import eavesdroppers, make_eavesdropper
from tosc_env.data import make_source
from tosc_env.game import Game
from tosc_env.modulation import constellation_points
from tosc_env.pipeline import make_scheme
from tosc_env.privacy.threat import ThreatModel
from tosc_env.privacy.view import View
from tosc_env.schemes import PrivacyScheme
from tosc_env.types import SystemSpec

SIDE, N, COUNT, SNR = 16, 32, 200, 20.0
SPEC = SystemSpec((3, SIDE, SIDE), 10, N)
EVERYTHING = ThreatModel(candidate_queries=True, unkeyed_encoder=True)
MLP = {"width": 64, "steps": 300, "batch_size": 100}
CNN = {"widths": (16, 16, 8, 8), "steps": 300, "batch_size": 50}
MATCH = {"stem": 8, "widths": (16, 32), "blocks": (0, 0), "width": 64, "steps": 400, "batch_size": 100}
BASES = {
    "inversion-mlp": {**MLP, "components": 24},
    "label": MLP,
    "match": MATCH,
    "attribute": MLP,
    "inversion": CNN,
    "inversion-unet": {"widths": (8, 16), "steps": 300, "batch_size": 50},
}


class Sends(PrivacyScheme):
    """A scheme whose message is a function of the image, and whose receiver says nothing."""

    def __init__(self, message, constellation=None):
        super().__init__(SPEC)
        self.message, self.constellation = message, constellation
        self.nothing = torch.nn.Parameter(torch.zeros(()))

    def encode(self, images, context):
        return self.message(images)

    def decode(self, received, csi, context):
        return received.new_zeros(len(received), 10) + self.nothing


def block(images):
    """The top left 4x4 pixels, and nothing else."""
    return F.pad(images[:, :, :4, :4].flatten(1) - 0.5, (0, 2 * N - 48)) + 1e-3


def brightness(images):
    """One number, on every real: the mean of the image."""
    return torch.ones(len(images), 2 * N) + 4 * (
        images.mean((1, 2, 3), keepdim=True).flatten(1) - 0.5
    ) * torch.linspace(-1, 1, 2 * N)


def own_code(images):
    """A code word for each image, which depends on all of it and is like no other's."""
    numbers = (
        images.flatten(1).double()
        * torch.linspace(1e3, 9e5, torch.Size(SPEC.image_shape).numel(), dtype=torch.float64)
    ).sum(1)
    phases = numbers[:, None] * torch.linspace(1, 7, 2 * N, dtype=torch.float64)
    return torch.sin(phases).float()


def constant(images):
    return torch.linspace(-1, 1, 2 * N).expand(len(images), -1).clone()


def points(images):
    """Of 16 points each as often as the image's own code has it."""
    grid = torch.view_as_real(constellation_points("16qam"))
    index = ((own_code(images)[:, :N] + 1) * 7.999).long()
    return grid[index].flatten(1)


def games(snr_db=SNR, constellation=None, **rules):
    rules = {"num_symbols": N, "snr_db": snr_db, "constellation": constellation, **rules}
    return (
        Game(make_source("shapes", half="attacker", num_images=2000, size=SIDE), **rules),
        Game(make_source("shapes", split="test", num_images=COUNT, size=SIDE), **rules),
    )


def options_of(name):
    """Short trainings, of base attacks too."""
    if name in BASES:
        return BASES[name]
    if name in ("codebook", "sorted", "denoise", "unshuffle"):
        return {"base_attack_kwargs": {base: BASES[base] for base in ("inversion-mlp", "label", "match")}}
    return {}


def found(name, scheme, *, threat=EVERYTHING, snr_db=SNR, options=None, **rules):
    """What an attacker gets, and how it got it."""
    train, test = games(snr_db, scheme.constellation, **rules)
    attacker, record = fit_eavesdropper(
        name, train, scheme, threat=threat, options=options_of(name) if options is None else options
    )
    result = evaluate(
        test,
        scheme,
        {name: attacker},
        snr_db=(snr_db,),
        seeds=1,
        with_ssim=False,
        candidates=COUNT,
        threat=threat,
    )
    return {key: figure.mean for key, figure in result.leaks[name][snr_db].items()}, record, result, attacker


def make(message, *stages, constellation=None):
    with weights_from(0):
        return make_scheme(Sends(message, constellation), stages=list(stages)).eval()


# -- what leaks is found ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "linear",
        *(
            pytest.param(one, marks=pytest.mark.slow)
            for one in ("inversion-mlp", "inversion", "inversion-unet")
        ),
    ],
)
def test_a_block_of_pixels_that_is_sent_is_rebuilt(name):
    """The error of the block is near that of the noise, which is Es/N0 below the block's own energy; blind, its
    variance would be left."""
    *_, attacker = found(name, make(block))
    _, test = games()
    images = test.source.gather(torch.arange(COUNT)).images
    symbols = block(images)
    scale = symbols.square().mean(1, keepdim=True).mul(2).sqrt()
    sent = symbols / scale
    received = sent + math.sqrt(10 ** (-SNR / 10) / 2) * torch.randn(sent.shape, generator=g())
    rebuilt = attacker.reconstruct(received, torch.full((COUNT, 1), SNR))
    part = (rebuilt - images)[:, :, :4, :4].square().mean()
    blind = images[:, :, :4, :4].var(0).mean()
    assert float(part) < 0.35 * float(blind)


@pytest.mark.slow
def test_an_image_with_a_code_of_its_own_is_found_by_encoding_candidates_and_by_nothing_else():
    leak, *_ = found("match-query", make(own_code))
    assert leak["reid_query"] > 0.97
    blind, *_ = found("match", make(own_code))
    assert blind["reid_match"] < 6 / COUNT, "what has no rule cannot be learnt"


@pytest.mark.slow
def test_a_smooth_message_is_learnt_by_match_as_well_as_it_is_found_by_encoding():
    most = found("match-query", make(brightness))[0]["reid_query"]
    learnt = found("match", make(brightness))[0]["reid_match"]
    assert most > 10 / COUNT and learnt > 0.5 * most


@pytest.mark.parametrize("constellation", [None, "16qam"])
def test_a_multiset_is_found_behind_a_permutation_of_each_message(constellation):
    message = points if constellation else own_code
    keyed = {"name": "keyed", "mode": "shuffle", "lifetime": "per_message", "key": "11" * 32}
    leak, record, *_ = found("match-query", make(message, keyed, constellation=constellation), snr_db=30.0)
    assert leak["reid_query"] > 0.95
    assert record["fit"]["comparison"] == ("counts" if constellation else "sorted")


@pytest.mark.slow
def test_the_label_behind_a_fixed_permutation_is_read():
    with weights_from(0):
        words = torch.randn(10, 2 * N)
    train, _ = games()
    known = {}
    for source in (train.source, games()[1].source):
        batch = source.gather(torch.arange(len(source)))
        for image, label in zip(batch.images, batch.labels, strict=True):
            known[image.numpy().tobytes()] = int(label)

    def label_word(images):
        return words[[known.get(image.numpy().tobytes(), 0) for image in images]]

    keyed = {"name": "keyed", "mode": "shuffle", "lifetime": "fixed"}
    leak, *_ = found("label", make(label_word, keyed))
    assert leak["infer_label"] > 0.98 and leak["auc_label"] > 0.99


# -- where nothing leaks, nothing is found ----------------------------------------------------------

THREATS = {
    "usual": ThreatModel(),
    "everything": EVERYTHING,
    "blind": ThreatModel(csi=False, labels=False, codebook=False, queries=300),
    "repeated": ThreatModel(receptions=3),
    "without pairs": ThreatModel(keys="without-pairs", unkeyed_encoder=True, candidate_queries=True),
}
SILENT = {
    "one constant message": lambda: make(constant),
    "a rotation of each message": lambda: make(
        own_code, {"name": "keyed", "mode": "rotation", "lifetime": "per_message"}
    ),
}


def at_chance(share, chance, count):
    """Within four standard errors above chance."""
    return share <= chance + 4 * math.sqrt(chance * (1 - chance) / count)


@pytest.mark.slow
@pytest.mark.parametrize("silent", SILENT)
@pytest.mark.parametrize("threat", THREATS)
def test_where_nothing_leaks_no_attacker_is_above_chance(silent, threat):
    scheme, granted = SILENT[silent](), THREATS[threat]
    train, _ = games()
    view = View(train, scheme, granted, g())
    ours = [name for name in eavesdroppers if eavesdroppers.origin(name).startswith("tosc_agents")]
    tried = 0
    for name in ours:
        if make_eavesdropper(name, train.spec).refusal(view):
            continue
        tried += 1
        leak, _, result, _ = found(name, scheme, threat=granted)
        for figure, share in leak.items():
            kind = figure.partition("_")[0]
            told = f"{name}: {figure} {share:.4f}"
            if figure == "psnr_db":
                assert share <= result.floors["mean-image"]["psnr_db"] + 0.03, told
            elif kind == "reid":
                assert at_chance(share, 1 / COUNT, COUNT), told
            elif kind == "infer":
                assert at_chance(share, result.chance[figure], COUNT), told
            elif kind == "auc":
                assert abs(share - 0.5) < 0.09, told
    assert tried >= 2


def test_a_constant_score_is_right_once_in_as_many_as_there_are():
    assert float(metrics.reidentification(torch.zeros(50, 50)).mean()) == pytest.approx(1 / 50)
