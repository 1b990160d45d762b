"""Every registered scheme keeps the laws, and is the composition that its name stands for."""

from __future__ import annotations

import inspect

import pytest
import torch
from refusals import refused
from tosc_agents.backbones import cnn
from tosc_agents.backbones.vq import VQ
from tosc_agents.learning.seeding import weights_from
from tosc_agents.schemes import VQ_OPTIONS

from tosc_env.pipeline import make_scheme
from tosc_env.schemes import schemes
from tosc_env.testing import check_scheme
from tosc_env.types import Context, SystemSpec

OURS = [name for name in schemes if schemes.origin(name).startswith("tosc_agents")]
TINY = {"stem": 4, "widths": (4, 8, 8), "blocks": (1, 0, 1), "receiver_width": 16, "receiver_depth": 1}
SPEC = SystemSpec((3, 32, 32), 10)
KEYED = {"encryption": "rotation", "layered": "shuffle"}


def make(name, spec=SPEC, seed=0, **options):
    with weights_from(seed):
        return make_scheme(name, spec, **options).eval()


def context(batch_size):
    message = torch.zeros(batch_size, 5, dtype=torch.long)
    return Context(torch.full((batch_size,), 12.0), message, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", OURS)
def test_every_registered_scheme_works_with_small_networks_other_sizes_and_a_fading_link(name):
    check_scheme(make(name, SystemSpec((1, 16, 24), 4, num_symbols=16, num_csi=3), **TINY))


def test_images_of_any_size_are_sent():
    for name in OURS:
        for shape in [(3, 64, 64), (3, 17, 30), (1, 8, 8)]:
            scheme = make(name, SystemSpec(shape, 10))
            images = torch.rand(2, *shape, generator=torch.Generator().manual_seed(0))
            assert scheme.encode(images, context(2)).shape == (2, 128)


def test_what_makes_no_scheme_is_refused():
    for name in OURS:
        with refused(f"{name!r} 'stemm' stem,"):
            make(name, stemm=4)
        with refused("num_symbols 1 0"):
            make(name, SystemSpec((3, 32, 32), 10, 0))
    for name in ("label", "label-only", "encryption", "layered"):
        with refused("backbone 'cnn'"):
            make(name, backbone="cnn")
    with refused("'vq'"):  # a label is not decided on a codebook
        schemes["label-only"](SPEC, backbone=make("lbvq", **TINY).backbone)


def test_the_listed_options_are_those_that_the_networks_take():
    def options_of(network):
        return {p.name for p in inspect.signature(network).parameters.values() if p.kind is p.KEYWORD_ONLY}

    assert set(cnn.OPTIONS) == options_of(cnn.CNN)
    assert set(VQ_OPTIONS) == options_of(VQ) | set(cnn.OPTIONS) - {"sharpness", "told"}


# -- what a name stands for ---------------------------------------------------------------------------

COMPOSITIONS = {
    "cnn": ("deepjscc", "cnn", []),
    "vq": ("lbvq", "vq", []),
    "label": ("deepjscc", "label", []),
    "deepjscc": ("deepjscc", "cnn", []),
    "label-only": ("deepjscc", "label", []),
    "dp-laplace": ("dp-laplace", "cnn", ["laplace"]),
    "encryption": ("deepjscc", "cnn", ["keyed"]),
    "ibal": ("ibal", "cnn", []),
    "lbvq": ("lbvq", "vq", []),
    "layered": ("lbvq", "vq", ["keyed"]),
}


def test_every_registered_scheme_is_listed_here():
    assert sorted(COMPOSITIONS) == sorted(OURS)


def test_a_name_is_a_backbone_its_stages_and_whose_weights_it_plays_with():
    for name in COMPOSITIONS:
        scheme, (weights, backbone, stages) = make(name, **TINY), COMPOSITIONS[name]
        told = scheme.composition
        assert (told["weights"], told["backbone"]) == (weights, backbone)
        assert [stage["name"] for stage in told["stages"]] == stages
        assert scheme.name == name and scheme.title == name and not scheme.added
        assert scheme.keyed == ("keyed" in stages) and scheme.stochastic == bool(stages)
        assert name not in KEYED or scheme.options["mode"] == KEYED[name]
        more = scheme.with_stages(["laplace"])
        assert more.name == name and [stage.name for stage in more.added] == ["laplace"]
        assert more.title.startswith(f"{name} + laplace(epsilon=20")
        assert more.backbone is scheme.backbone and not scheme.added, "the shorter one is left as it was"


def test_a_scheme_that_is_given_a_backbone_wraps_that_very_one():
    for name, trained in [("encryption", "ibal"), ("label-only", "ibal"), ("layered", "lbvq")]:
        backbone = make(trained, told_snr_db=3.0, **TINY).backbone
        scheme = schemes[name](SPEC, backbone=backbone)
        assert backbone in (scheme.backbone, getattr(scheme.backbone, "decider", None))
        assert scheme.options.items() >= {"told_snr_db": 3.0, "stem": 4}.items()
        assert schemes[name](SPEC, backbone=backbone, stem=4, widths=(4, 8, 8)).options == scheme.options
        with refused("stem=4 8"):
            schemes[name](SPEC, backbone=backbone, stem=8)
