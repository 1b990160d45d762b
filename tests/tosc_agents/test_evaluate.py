"""Figures are means over seeds with Student's interval, floors are what they claim, and extremes are extreme."""

from __future__ import annotations

import copy
import json
import math
import warnings

import numpy as np
import pytest
import small_world
import torch
from links import seeded as g
from pixels import Pixels, from_a_source
from refusals import refused
from scipy import stats
from tosc_agents.learning.seeding import weights_from
from tosc_agents.training.evaluate import Figure, evaluate, floors
from tosc_agents.training.fit_eavesdropper import fit_eavesdropper
from tosc_agents.training.identification import identification_curve

from tosc_env import metrics
from tosc_env.attackers import Eavesdropper, make_eavesdropper
from tosc_env.data import make_source
from tosc_env.data.base import Source
from tosc_env.errors import DeniedError
from tosc_env.exchange import rollout
from tosc_env.game import Game
from tosc_env.identity import another_system
from tosc_env.io.checkpoints import load_checkpoint, save_checkpoint
from tosc_env.nodes import Node, wiretap
from tosc_env.pipeline import make_scheme
from tosc_env.privacy.threat import ThreatModel
from tosc_env.privacy.view import View
from tosc_env.schemes import PrivacyScheme
from tosc_env.types import Context

COUNT = 120
TINY = {"stem": 4, "widths": (4, 8), "blocks": (0, 0), "receiver_width": 16, "receiver_depth": 1}


@pytest.fixture(scope="module")
def game():
    return Game(make_source("shapes", split="test", num_images=COUNT, size=16), num_symbols=8)


@pytest.fixture(scope="module")
def scheme(game):
    with weights_from(0):
        return make_scheme("deepjscc", game.spec, **TINY).eval()


CLEAR = 100.0
"""An SNR in dB at which a reception tells its image."""


@torch.no_grad()
def found_by(game, scheme, received):
    """The images of receptions over a link without noise, int64 [B], however the messages were ordered."""
    context = Context(torch.full((COUNT,), CLEAR), torch.zeros(COUNT, 5, dtype=torch.long))
    images = game.source.gather(torch.arange(COUNT)).images
    sent = game.normalise(scheme.encode(images, context))
    exact = "donot_use_mm_for_euclid_dist"
    return torch.cdist(received.double(), sent.double(), compute_mode=exact).argmin(1)


class Oracle(Eavesdropper):
    """An attacker that knows the images, and which one is sent as what."""

    name = "oracle"

    def __init__(self, game, scheme):
        super().__init__(game.spec)
        self.game, self.scheme = game, [scheme]

    def fit(self, view, *, generator, progress=None):
        return {}

    def reconstruct(self, received, csi):
        return self.game.source.gather(found_by(self.game, *self.scheme, received)).images

    def match(self, received, csi, candidates):
        return -torch.cdist(self.reconstruct(received, csi).flatten(1), candidates.flatten(1))


def mean_image(game):
    attacker = make_eavesdropper("mean-image", game.spec)
    with weights_from(0):
        scheme = make_scheme("deepjscc", game.spec, **TINY)
    attacker.fit(View(game, scheme, ThreatModel(), g()), generator=g())
    return attacker


def linear(game, scheme):
    attacker = make_eavesdropper("linear", game.spec)
    attacker.fit(View(game, scheme, ThreatModel(), g()), generator=g())
    return attacker


# -- a figure ---------------------------------------------------------------------------------------


def test_the_interval_is_students():
    for count in [2, 3, 11, 30]:
        values = np.random.default_rng(count).normal(3.0, 0.5, count)
        figure = Figure.of(values.tolist())
        low, high = stats.t.interval(0.95, count - 1, loc=values.mean(), scale=stats.sem(values))
        assert figure.mean == pytest.approx(values.mean())
        assert figure.interval == pytest.approx((high - low) / 2, rel=1e-6)
    alone = Figure.of([0.5])
    assert math.isnan(alone.interval) and alone.plain() == {"mean": 0.5, "interval95": None}


# -- floors and extremes ----------------------------------------------------------------------------


def test_floors_are_those_of_the_training_means_on_these_images(game):
    batch = game.source.gather(torch.arange(COUNT))
    statistics = game.source.statistics
    found = floors(game, batch_size=50)
    for name, guess in (
        ("mean-image", statistics.mean_image.expand_as(batch.images)),
        ("class-mean", statistics.class_mean_images[batch.labels]),
    ):
        assert found[name]["psnr_db"] == pytest.approx(
            float(metrics.psnr(guess, batch.images).mean()), abs=1e-4
        )
        assert found[name]["ssim"] == pytest.approx(float(metrics.ssim(guess, batch.images).mean()), abs=1e-4)
    without = floors(game, batch_size=50, with_ssim=False)
    assert without == {name: {k: v for k, v in row.items() if k != "ssim"} for name, row in found.items()}


def test_images_that_are_too_small_for_ssim_have_floors_without_it():
    rules = {"num_symbols": small_world.N, "snr_db": CLEAR}
    tiny = Game(small_world.world(20, "test"), **rules)
    found = evaluate(tiny, small_world.sends("nothing"), {}, snr_db=(CLEAR,), seeds=1, with_ssim=False)
    assert set(found.floors["mean-image"]) == {"psnr_db", "psnr_clipped_db"}
    # Each pixel is off grey by as much.
    level = -20 * math.log10(small_world.SPREAD)
    assert found.floors["mean-image"]["psnr_db"] == pytest.approx(level, abs=0.1)


def test_a_perfect_attacker_has_every_leak_at_its_ceiling(game, scheme):
    found = evaluate(game, scheme, {"oracle": Oracle(game, scheme)}, snr_db=(CLEAR,), seeds=2)
    found = found.leaks["oracle"][CLEAR]
    assert found["psnr_db"].mean == pytest.approx(100.0) and found["psnr_clipped_db"].mean == pytest.approx(
        100.0
    )
    assert found["ssim"].mean == pytest.approx(1.0, abs=1e-4)
    assert found["reid_pixels"].mean == found["reid_match"].mean == 1.0
    assert found["psnr_db"].interval == pytest.approx(0.0, abs=1e-4)


def test_the_mean_image_is_at_the_floor_with_no_quality_and_no_identification(game, scheme):
    evaluation = evaluate(game, scheme, {"none": mean_image(game)}, seeds=2)
    found = evaluation.leaks["none"][12.0]
    assert found["psnr_db"].mean == pytest.approx(evaluation.floors["mean-image"]["psnr_db"], abs=1e-4)
    assert found["ssim"].mean == pytest.approx(evaluation.floors["mean-image"]["ssim"], abs=1e-4)
    # The one candidate nearest to the mean image is named for every message: right once in COUNT.
    assert found["reid_pixels"].mean <= 1.5 / COUNT
    assert "reid_match" not in found
    images = game.source.gather(torch.arange(COUNT)).images
    error = metrics.mse(game.source.statistics.mean_image.expand_as(images), images)
    overall = (game.floor - float(error.mean())) / (game.floor + float(error.mean()))
    assert overall == pytest.approx(0.0, abs=0.05)


# -- the evaluation ---------------------------------------------------------------------------------


def test_accuracy_is_that_of_the_receiver_on_all_images_at_each_snr(game, scheme):
    found = evaluate(game, scheme, {}, snr_db=(60.0, -40.0), seeds=3)
    assert list(found.accuracy) == [60.0, -40.0] and found.images == COUNT and found.seeds == 3
    index = torch.arange(COUNT)
    batch = game.source.gather(index)
    context = Context(torch.full((COUNT,), 60.0), torch.zeros(COUNT, 5, dtype=torch.long))
    with torch.no_grad():
        sent = game.normalise(scheme.encode(batch.images, context))
        decided = scheme.decode(sent, torch.full((COUNT, 1), 60.0), context).argmax(1)
    exact = float((decided == batch.labels).float().mean())
    assert found.accuracy[60.0].mean == pytest.approx(exact, abs=0.02)
    assert found.accuracy[60.0].interval < 0.05


def test_each_link_has_its_own_snr_and_they_are_paired(game, scheme):
    listener = Listener(game.spec)
    pairs = {"snr_db": (0.0, 12.0), "eavesdropper_snr_db": (5.0, 7.0)}
    found = evaluate(game, scheme, {"a": listener}, **pairs, seeds=1, with_ssim=False)
    assert set(listener.levels) == {5.0, 7.0} and list(found.leaks["a"]) == [5.0, 7.0]
    assert list(found.accuracy) == [0.0, 12.0] and "ssim" not in found.leaks["a"][5.0]
    with pytest.raises(ValueError):
        evaluate(game, scheme, {}, snr_db=(0.0, 1.0), eavesdropper_snr_db=(5.0,))
    assert found.receiver_snr_db == {5.0: 0.0, 7.0: 12.0}
    assert found.plain()["receiver_snr_db"] == {"5": 0.0, "7": 12.0}
    for options, words in (({"seeds": 0}, "seeds 0"), ({"snr_db": (math.nan,)}, "nan")):
        with refused(words):
            evaluate(game, scheme, {}, **options)


def test_of_two_pairs_with_one_eavesdropper_snr_none_is_lost_in_silence(game, scheme):
    with refused("[5.0, 5.0] [0.0, 12.0] twice"):
        evaluate(game, scheme, {}, snr_db=(0.0, 12.0), eavesdropper_snr_db=(5.0, 5.0))
    twice = evaluate(game, scheme, {}, snr_db=(0.0, 0.0), seeds=1, with_floors=False)
    assert list(twice.accuracy) == [0.0] and not twice.receiver_snr_db


def test_the_number_of_candidates_moves_no_figure_but_those_that_count_them(game, scheme):
    attackers = {"a": Oracle(game, scheme), "b": mean_image(game)}
    found = [
        evaluate(game, scheme, attackers, snr_db=(CLEAR,), seeds=1, candidates=size).leaks
        for size in (COUNT, 37)
    ]
    for name in ("a", "b"):
        for figure in ("psnr_db", "ssim", "psnr_clipped_db"):
            values = [leaks[name][CLEAR][figure].mean for leaks in found]
            assert values[0] == pytest.approx(values[1], abs=1e-4)


# -- what is computed -------------------------------------------------------------------------------

LEVELS = (-4.0, 0.0, 4.0, 8.0, 12.0, 20.0)


class Watched(PrivacyScheme):
    """A scheme that sends what another one does, and counts the images of a source."""

    asked = 0

    def __init__(self, inner, *, reads_context=False):
        super().__init__(inner.spec)
        self.inner, self.reads_context = inner, reads_context

    def encode(self, images, context):
        if self.reads_context:
            _ = context.snr_db
        self.asked += from_a_source(images)
        return self.inner.encode(images, context)

    def decode(self, received, csi, context):
        return self.inner.decode(received, csi, context)


def test_each_image_is_encoded_once_and_figures_are_those_of_encoding_it_every_time(game, scheme):
    """A scheme that reads its context is encoded afresh each time, and sends the very same."""
    once, always = Watched(scheme), Watched(scheme, reads_context=True)
    attackers = {"none": mean_image(game), "linear": linear(game, scheme)}
    found = [
        evaluate(game, watched, attackers, snr_db=LEVELS, seeds=3, with_ssim=False).plain()
        for watched in (once, always)
    ]
    assert found[0] == found[1]
    json.dumps(found[0], allow_nan=False)
    assert (once.asked, always.asked) == (COUNT, len(LEVELS) * 3 * COUNT)


def test_a_scheme_in_training_is_evaluated_as_it_will_be_and_goes_on_training(game, scheme):
    learning = copy.deepcopy(scheme).train()
    next(learning.backbone.receiver.children()).eval()  # a part that does not learn just now
    modes = [part.training for part in learning.modules()]
    before = {name: tensor.clone() for name, tensor in learning.state_dict().items()}
    found = [evaluate(game, one, {}, seeds=2).plain() for one in (learning, scheme)]
    assert found[0] == found[1]
    assert [part.training for part in learning.modules()] == modes and len(set(modes)) == 2
    assert all(torch.equal(tensor, before[name]) for name, tensor in learning.state_dict().items())


# -- inference, repetition, codewords ---------------------------------------------------------------


class Knows(Eavesdropper):
    """An attacker that infers every label right, and colour 0 for all; it takes R receptions when asked to."""

    name = "knows"

    def __init__(self, game, scheme, repeated=False):
        super().__init__(game.spec)
        self.game, self.scheme, self.repeated, self.shapes = game, [scheme], repeated, []
        self.inferred = (("label", game.spec.num_outputs), ("colour", 8))

    def fit(self, view, *, generator, progress=None):
        return {}

    def infer(self, received, csi):
        self.shapes.append(tuple(received.shape))
        once = received[:, 0] if self.repeated else received
        index = found_by(self.game, *self.scheme, once)
        labels = self.game.task.targets(self.game.source.gather(index))
        one_hot = torch.nn.functional.one_hot(labels, self.game.spec.num_outputs).float()
        colour = torch.zeros(len(received), 8)
        colour[:, 0] = 1.0
        return torch.cat([one_hot, colour], 1)


def test_inference_is_scored_by_name_against_the_right_truth(game, scheme):
    found = evaluate(game, scheme, {"knows": Knows(game, scheme)}, snr_db=(CLEAR,), seeds=2, with_ssim=False)
    row = found.leaks["knows"][CLEAR]
    colour = game.source.attributes[:, game.source.attribute_names.index("colour")]
    assert row["infer_label"].mean == 1.0
    assert row["plain_colour"].mean == pytest.approx(float((colour == 0).float().mean()))
    values = len(colour.unique())
    assert row["infer_colour"].mean == pytest.approx(1 / values) == found.chance["infer_colour"]
    assert row["plain_colour"].mean <= found.chance["plain_colour"]
    assert row["auc_label"].mean == 1.0 and row["auc_colour"].mean == pytest.approx(0.5)


@pytest.mark.parametrize("names", [["upper"], ["left", "upper"]])
def test_a_receivers_answers_have_balanced_accuracy_auc_and_plain_accuracy_in_that_order(names):
    """Law: the AUC is the share of pairs of a yes and a no in which the yes has the higher logit; a tie is a half."""
    images = torch.randint(256, (60, 3, 16, 16), dtype=torch.uint8, generator=g())
    values = (torch.rand(60, 2, generator=g(1)) < 0.2).long()
    facts = {
        "attributes": values,
        "attribute_names": ["upper", "left"],
        "attribute_values": [("no", "yes")] * 2,
    }
    source = Source.from_arrays(images, name="toy", split="test", **facts)
    game = Game(source, num_symbols=8, task="attributes", task_kwargs={"names": names})
    with weights_from(0):
        scheme = make_scheme("deepjscc", game.spec, **TINY).eval()
    figures = evaluate(game, scheme, {}, snr_db=(CLEAR,), seeds=1, with_floors=False).answers[CLEAR]
    assert list(figures) == [f"{kind}_{name}" for name in names for kind in ("infer", "auc", "plain")]
    sent = next(rollout(game.with_rules(snr_db=CLEAR), scheme, generator=g(), batch_size=60))
    logits = sent.logits().double()
    margins = (logits[:, 1:] - logits[:, :1]) if len(names) == 1 else logits
    for i, name in enumerate(names):
        truth = values[:, ["upper", "left"].index(name)]
        gap = margins[truth == 1, i][:, None] - margins[truth == 0, i]
        exact = float(((gap > 0).double() + 0.5 * (gap == 0).double()).mean())
        # Noise 100 dB down swaps no more than a pair or two.
        assert figures[f"auc_{name}"].mean == pytest.approx(exact, abs=3 / gap.numel())


def test_an_attacker_that_was_fitted_against_another_system_is_told_of(tmp_path, game, scheme):
    """Law: another scheme, other stages or weights are another system, and another key that is fixed; another SNR, or
    another key where each message has one of its own, is not; whether it comes from a file or not."""
    train = Game(make_source("shapes", half="attacker", num_images=40, size=16), num_symbols=8)
    keyed = [{"name": "keyed", "mode": "shuffle", "key": digit * 64} for digit in "12"]
    fixed = [scheme.with_stages([{**one, "lifetime": "fixed"}]) for one in keyed]
    with weights_from(1):
        others = make_scheme("deepjscc", game.spec, **TINY).eval()
    mine, with_key, other_key = scheme, scheme.with_stages(keyed[:1]), scheme.with_stages(keyed[1:])

    def told(fitted, played, **rules):
        attacker, record = fit_eavesdropper("linear", train, fitted)
        path = tmp_path / "a.safetensors"
        save_checkpoint(path, attacker, {"composition": fitted.composition, "training": record})
        attackers = {"a": attacker, "file": load_checkpoint(path).policy}
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            evaluate(game, played, attackers, seeds=1, with_ssim=False, with_floors=False, **rules)
        return [str(one.message) for one in caught if "was fitted against" in str(one.message)]

    for played, rules in ((mine, {}), (copy.deepcopy(mine), {}), (mine, {"snr_db": (-5.0,)})):
        assert not told(mine, played, **rules)
    assert not told(with_key, other_key) and not told(fixed[0], fixed[0])
    for fitted, played, why in (
        (mine, others, "other weights"),
        (fixed[0], fixed[1], "other weights"),
        (mine, with_key, "'keyed'"),
        (mine, Pixels(game.spec), "'pixels'"),
    ):
        of_both = told(fitted, played)
        assert [text.split()[0] for text in of_both] == ["a", "file"]
        assert all(why in text and text.endswith("may see more.") for text in of_both)


def test_a_system_is_known_by_the_weights_that_it_was_rounded_from(tmp_path, game, scheme):
    """Law: of a file's system, until somebody trains it on, with stages or under another name too."""
    before = scheme.fingerprint()["weights"]
    save_checkpoint(tmp_path / "s.safetensors", scheme, {"unrounded": before[0]}, half=True)
    whole = {"composition": None, "weights": before}
    loaded = load_checkpoint(tmp_path / "s.safetensors").policy
    played = load_checkpoint(tmp_path / "s.safetensors", name="encryption").policy
    for one in (loaded, played, loaded.with_stages(["keyed"])):
        assert another_system(whole, one.fingerprint()) is None and len(one.fingerprint()["weights"]) == 2
    next(loaded.parameters()).data += 1
    assert another_system(whole, loaded.fingerprint()) == "other weights than those that play"


def test_an_attacker_of_repeated_transmissions_gets_as_many_as_the_threat_model_says(game, scheme):
    many, one = Knows(game, scheme, repeated=True), Knows(game, scheme)
    threat = ThreatModel(receptions=3)
    both = {"many": many, "one": one}
    found = evaluate(game, scheme, both, seeds=1, with_ssim=False, threat=threat)
    n = 2 * game.num_symbols
    assert {s[1:] for s in many.shapes} == {(3, n)} and {s[1:] for s in one.shapes} == {(n,)}
    assert [found.threats[name].receptions for name in ("many", "one")] == [3, 1]
    told = {one.split(":")[0]: one for one in found.terms.split(". ")}
    assert "3 receptions" in told["Attackers many"] and "3 receptions" not in told["Attackers one"]
    _, record = fit_eavesdropper("mean-image", game, scheme, threat=threat)
    assert record["threat_model"]["receptions"] == 1


def test_the_use_of_codewords_is_counted_over_all_symbols(game):
    """A label sent in QPSK uses the points as its codewords do."""
    discrete = Game(game.source, num_symbols=game.num_symbols, constellation="qpsk")
    with weights_from(0):
        scheme = make_scheme("label-only", discrete.spec, **TINY).eval()
    found = evaluate(discrete, scheme, {}, seeds=1)
    sent = scheme.encode(
        game.source.gather(torch.arange(COUNT)).images,
        Context(torch.full((COUNT,), 12.0), torch.zeros(COUNT, 5, dtype=torch.int64)),
    )
    negative = (sent.view(COUNT, -1, 2) < 0).long()
    share = (
        torch.bincount((2 * negative[..., 0] + negative[..., 1]).flatten(), minlength=4)
        / negative[..., 0].numel()
    )
    assert found.usage == pytest.approx(share.tolist())


class Listener(Eavesdropper):
    """An attacker that notes the SNR which its CSI gives."""

    name = "listener"

    def __init__(self, spec):
        super().__init__(spec)
        self.levels = []

    def fit(self, view, *, generator, progress=None):
        return {}

    def reconstruct(self, received, csi):
        self.levels.append(round(float(csi[0, 0]), 3))
        return torch.zeros(len(received), *self.spec.image_shape)


NEAR_AND_FAR = [
    Node("receiver"),
    Node("near", snr_db=20.0, adversary=True),
    Node("far", snr_db=-9.0, adversary=True),
]


def test_each_node_is_evaluated_at_its_own_snr_and_filed_under_it(game, scheme):
    several, listener = game.with_rules(nodes=NEAR_AND_FAR), Listener(game.spec)
    found = evaluate(several, scheme, {"a": listener}, snr_db=[3.0], seeds=1, with_ssim=False)
    assert list(found.leaks["a@near"]) == [20.0] and list(found.leaks["a@far"]) == [-9.0]
    assert listener.levels == [20.0, -9.0]
    asked = evaluate(
        several, scheme, {"a": listener}, snr_db=[3.0], eavesdropper_snr_db=[5.0], seeds=1, with_ssim=False
    )
    assert list(asked.leaks["a@near"]) == list(asked.leaks["a@far"]) == [5.0]
    with refused("near 20"):
        evaluate(several, scheme, {"a": listener}, snr_db=[3.0, 6.0], seeds=1, with_ssim=False)
    assert list(evaluate(several, scheme, {}, snr_db=[3.0, 6.0], seeds=1).accuracy) == [3.0, 6.0]


@pytest.mark.parametrize("threat", [ThreatModel(colluding=True), ThreatModel()], ids=["said", "by the rules"])
def test_colluding_eavesdroppers_are_evaluated_as_one(game, scheme, threat):
    rules = {"nodes": wiretap(4), "colluding": not threat.colluding}
    listener = Listener(game.spec)
    found = evaluate(
        game.with_rules(**rules),
        scheme,
        {"a": listener},
        snr_db=[0.0],
        seeds=1,
        with_ssim=False,
        threat=threat,
    )
    assert list(found.leaks) == ["a"] and listener.levels == [6.021]


def test_nearest_symbols_are_looked_for_in_what_colluding_eavesdroppers_have_together(game, scheme):
    """Four at 30 dB find as much as one with four antennas, and each of them alone less."""
    rates = {}
    for name, nodes, colluding in (
        ("together", wiretap(4), True),
        ("one", [Node("receiver"), Node("eve", antennas=4, adversary=True)], False),
        ("alone", wiretap(2), False),
    ):
        threat = ThreatModel(candidate_queries=True, colluding=colluding)
        there = game.with_rules(nodes=nodes, snr_db=30.0)
        query, _ = fit_eavesdropper("match-query", there, scheme, threat=threat)
        found = evaluate(there, scheme, {"q": query}, snr_db=[30.0], seeds=6, with_ssim=False, threat=threat)
        rates[name] = {who: rows[30.0]["reid_query"].mean for who, rows in found.leaks.items()}
    (together,), (one,) = rates["together"].values(), rates["one"].values()
    assert sorted(rates["alone"]) == ["q@eavesdropper_0", "q@eavesdropper_1"]
    assert abs(together - one) < 0.1 and together > 1.3 * max(rates["alone"].values())


class ByPosition(Eavesdropper):
    """Says that the candidates stand in the messages' order, and spoils what it is handed."""

    name = "by-position"

    def fit(self, view, *, generator, progress=None):
        return {}

    def reconstruct(self, received, csi):
        received.zero_()
        return torch.full((len(received), *self.spec.image_shape), 0.5)

    def match(self, received, csi, candidates):
        received.zero_()
        return torch.eye(len(candidates))


def test_an_answer_by_position_is_chance_and_nobody_spoils_what_others_receive(game, scheme):
    alone = evaluate(game, scheme, {"mean": make_eavesdropper("mean-image", game.spec)}, seeds=1)
    attackers = {"position": ByPosition(game.spec), "mean": make_eavesdropper("mean-image", game.spec)}
    found = evaluate(game, scheme, attackers, seeds=1)
    assert found.leaks["position"][12.0]["reid_match"].mean < 0.1
    assert found.leaks["mean"] == alone.leaks["mean"] and found.accuracy == alone.accuracy


# -- who knows what -------------------------------------------------------------------------------------


class Ear(Eavesdropper):
    """An attacker that keeps what it was shown last."""

    name = "ear"

    def fit(self, view, *, generator, progress=None):
        return {}

    def reconstruct(self, received, csi):
        self.received, self.csi = received, csi
        return torch.zeros(len(received), *self.spec.image_shape)


@pytest.mark.parametrize("first", ["with-key", "with-pairs"])
def test_each_attacker_hears_what_its_own_threat_model_grants(game, scheme, first):
    """Law: the key decrypts for whoever has it and for nobody else, in whatever order they are named."""
    secret = make_scheme("deepjscc", game.spec, stages=[{"name": "keyed", "mode": "shuffle"}], **TINY).eval()
    train = Game(make_source("shapes", half="attacker", num_images=40, size=16), num_symbols=8)
    second = {"with-key": "with-pairs", "with-pairs": "with-key"}[first]
    ears = {
        keys: fit_eavesdropper(Ear(game.spec), train, secret, threat=ThreatModel(keys=keys))[0]
        for keys in (first, second)
    }
    told = evaluate(game, secret, ears, snr_db=(CLEAR,), seeds=1, with_ssim=False)
    assert {name: threat.keys for name, threat in told.threats.items()} == {first: first, second: second}
    context = Context(torch.full((COUNT,), CLEAR), torch.zeros(COUNT, 5, dtype=torch.long))
    with torch.no_grad():
        images = game.source.gather(torch.arange(COUNT)).images
        bare = game.normalise(secret.backbone.encode(images, context))
    nearest = {name: torch.cdist(ear.received, bare).amin(1).max() for name, ear in ears.items()}
    assert nearest["with-key"] < 0.01 < nearest["with-pairs"]


def test_what_was_denied_in_fitting_is_not_handed_over_in_evaluating(game, scheme):
    train = Game(make_source("shapes", half="attacker", num_images=40, size=16), num_symbols=8)
    deaf, _ = fit_eavesdropper(Ear(game.spec), train, scheme, threat=ThreatModel(csi=False))
    evaluate(game, scheme, {"deaf": deaf}, seeds=1, with_ssim=False)
    assert not deaf.csi.any()
    identification_curve(game, scheme, {"deaf": deaf})
    assert not deaf.csi.any()
    for play in (evaluate, identification_curve):
        with refused("deaf csi=False csi=True"):
            play(game, scheme, {"deaf": deaf}, threat=ThreatModel())


class Near(Eavesdropper):
    """An attacker that has candidates encoded, and says that it needs it or does not."""

    name = "near"

    def fit(self, view, *, generator, progress=None):
        self.view = view
        return {}

    def match(self, received, csi, candidates):
        return -torch.cdist(received, self.view.encode(candidates))


def test_candidates_are_encoded_for_those_alone_whose_record_says_so(game, scheme):
    train = Game(make_source("shapes", half="attacker", num_images=40, size=16), num_symbols=8)
    told = {}
    for needs in ({}, {"candidate_queries": (True,)}):
        attacker = Near(game.spec)
        attacker.needs = needs
        attacker, _ = fit_eavesdropper(attacker, train, scheme, threat=ThreatModel(candidate_queries=True))
        try:
            found = evaluate(game, scheme, {"near": attacker}, seeds=1, with_ssim=False)
            told[bool(needs)] = found.threats["near"].candidate_queries
        except DeniedError as error:
            told[bool(needs)] = str(error)
    assert told[True] is True and "needs do not name it" in told[False]


class Pool(Eavesdropper):
    """An attacker that averages what it has heard at the same place before."""

    name = "pool"

    def __init__(self, game, scheme, remembers):
        super().__init__(game.spec)
        context = Context(torch.zeros(COUNT), torch.zeros(COUNT, 5, dtype=torch.long))
        self.images = game.source.gather(torch.arange(COUNT)).images
        self.sent = game.normalise(scheme.encode(self.images, context))
        self.remembers, self.heard = remembers, []

    def fit(self, view, *, generator, progress=None):
        return {}

    def match(self, received, csi, candidates):
        self.heard = [*(self.heard if self.remembers else []), received]
        which = torch.cdist(candidates.flatten(1), self.images.flatten(1)).argmin(1)
        return -torch.cdist(torch.stack(self.heard).mean(0), self.sent[which])


def test_what_is_heard_at_another_node_or_time_helps_nobody_by_its_place(game):
    """Law: eavesdroppers that do not collude, and receptions that are no repetition, are not pooled by an attacker that
    remembers: averaged over eight of other images it hears nothing but noise."""
    pixels = Pixels(game.spec)

    def evaluated(attacker, seeds, **rules):
        how = {"snr_db": (6.0,), "seeds": seeds, "with_ssim": False}
        leaks = evaluate(game.with_rules(**rules), pixels, {"a": attacker}, **how).leaks
        return max(by_snr[6.0]["reid_match"].mean for by_snr in leaks.values())

    def in_a_curve(attacker):
        several = game.with_rules(nodes=wiretap(8))
        curves = identification_curve(several, pixels, {"a": attacker}, snr_db=6.0, sizes=[COUNT])
        return max(curve.overall[COUNT] for curve in curves.values())

    for play in (
        lambda attacker: evaluated(attacker, 1, nodes=wiretap(8)),
        lambda attacker: evaluated(attacker, 8),
        in_a_curve,
    ):
        alone, pooled = (play(Pool(game, pixels, remembers)) for remembers in (False, True))
        assert pooled <= alone + 0.02


def test_candidates_are_of_all_classes_though_the_source_is_sorted_by_class(game, scheme):
    """Law: each gallery is a random sample of the test images, whatever their order: 40 of 120 hold 10 classes."""
    whole = game.source.gather(torch.arange(COUNT))
    order = whole.labels.argsort(stable=True)
    images = (whole.images[order] * 255).round().to(torch.uint8).numpy()
    train = make_source("shapes", half="system", num_images=COUNT, size=16)
    source = Source.from_arrays(
        images, whole.labels[order].numpy(), name="sorted", split="test", training=train
    )
    seen = []

    class Looks(Oracle):
        def match(self, received, csi, candidates):
            which = torch.cdist(candidates.flatten(1), whole.images[order].flatten(1)).argmin(1)
            seen.append(whole.labels[order][which])
            return super().match(received, csi, candidates)

    sorted_game = game.with_rules(source=source)
    result = evaluate(
        sorted_game, scheme, {"looks": Looks(sorted_game, scheme)}, snr_db=(CLEAR,), seeds=1, candidates=40
    )
    assert len(seen) == 3 and all(len(labels.unique()) >= 8 for labels in seen)
    assert result.leaks["looks"][CLEAR]["reid_match"].mean == pytest.approx(1.0)
