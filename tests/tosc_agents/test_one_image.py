"""Every attacker copes with a single image, a single query, or images that are all equal: it learns what there is."""

from __future__ import annotations

import inspect
import math

import pytest
import torch
from tosc_agents.learning.seeding import weights_from
from tosc_agents.training.evaluate import evaluate
from tosc_agents.training.fit_eavesdropper import fit_eavesdropper

from tosc_env.attackers import eavesdroppers
from tosc_env.data import make_source
from tosc_env.game import Game
from tosc_env.pipeline import make_scheme
from tosc_env.privacy.threat import ThreatModel
from tosc_env.privacy.view import View

TINY = {"stem": 4, "widths": (4, 8), "blocks": (0, 0), "receiver_width": 16, "receiver_depth": 1}
SMALL = {"steps": 4, "width": 8, "components": 4, "stem": 4, "batch_size": 10}
TOWER = {"widths": (4, 8), "blocks": (0, 0)}


def options_of(name):
    """The tiny options that an attacker has, and its base attacks."""
    known = inspect.signature(eavesdroppers[name]).parameters
    found = {key: value for key, value in SMALL.items() if key in known}
    if "blocks" in known:
        found |= TOWER
    elif "widths" in known:
        found["widths"] = (8, 4, 4, 4)
    if "base_attack_kwargs" in known:
        found["base_attack_kwargs"] = {base: options_of(base) for base in known["base_attacks"].default}
    return found


@pytest.mark.parametrize("what", ["one image", "one query", "equal images"])
@pytest.mark.parametrize("name", list(eavesdroppers))
def test_an_attacker_learns_from_one_image(name, what):
    whole = make_source("shapes", half="attacker", num_images=40, size=16)
    shown = {"one image": whole.subset([0]), "one query": whole, "equal images": whole.subset([0] * 12)}[what]
    threat = ThreatModel(
        queries=1 if what == "one query" else None,
        candidates=1000 if what == "one query" else None,
        candidate_queries=True,
        unkeyed_encoder=True,
        receptions=2 if eavesdroppers[name].repeated else 1,
    )
    met = 0
    for scheme_name, stages in (("deepjscc", []), ("deepjscc", ["keyed"]), ("lbvq", ["keyed"])):
        with weights_from(0):
            spec = Game(whole, num_symbols=16).spec
            scheme = make_scheme(scheme_name, spec, stages=stages, key="5a" * 32 if stages else None, **TINY)
        game, test = (
            Game(images, num_symbols=16, constellation=scheme.constellation)
            for images in (shown, make_source("shapes", split="test", num_images=20, size=16))
        )
        if eavesdroppers[name].nothing_to_attack(View(game, scheme.eval(), threat, torch.Generator())):
            continue
        attacker, _ = fit_eavesdropper(name, game, scheme, threat=threat, options=options_of(name))
        assert all(bool(t.isfinite().all()) for t in attacker.state_dict().values())
        found = evaluate(
            test, scheme, {name: attacker}, seeds=1, with_ssim=False, with_floors=False, threat=threat
        )
        assert all(math.isfinite(f.mean) for by in found.leaks[name].values() for f in by.values())
        met += 1
    assert met
