"""Every registered attacker keeps the laws; the closed forms are exact; the learned ones learn."""

from __future__ import annotations

import math
import pickle

import pytest
import torch
from links import seeded as g
from pixels import Counted, Fresh, Noise, Pixels
from refusals import refused
from tosc_agents.eavesdroppers.base import drawn, held_out
from tosc_agents.eavesdroppers.likelihoods import codeword_posteriors
from tosc_agents.learning.seeding import weights_from
from tosc_agents.perceptual import FILES, PerceptualLoss
from tosc_agents.training.evaluate import evaluate
from tosc_agents.training.fit_eavesdropper import fit_eavesdropper

from tosc_env import metrics
from tosc_env.attackers import eavesdroppers, make_eavesdropper
from tosc_env.channels.flat import AWGN, Rayleigh
from tosc_env.data import make_source
from tosc_env.data.base import Source
from tosc_env.errors import DataError
from tosc_env.game import Game
from tosc_env.pipeline import make_scheme
from tosc_env.privacy.threat import ThreatModel
from tosc_env.privacy.view import View
from tosc_env.testing import check_eavesdropper
from tosc_env.types import SystemSpec

ELSEWHERE = ("codebook", "sorted", "denoise", "unshuffle", "few-pairs")
"""Attackers that transform receptions for others or want a system of their own kind, with tests of their own."""

OURS = [
    name
    for name in eavesdroppers
    if eavesdroppers.origin(name).startswith("tosc_agents") and name not in ELSEWHERE
]
QUICK = {
    "inversion": {"widths": (8, 8, 4, 4), "steps": 4, "batch_size": 32},
    "inversion-unet": {"widths": (4, 8), "steps": 4, "batch_size": 32},
    "inversion-mlp": {"components": 8, "width": 16, "steps": 4, "batch_size": 32},
    "match": {"stem": 4, "widths": (4, 8), "blocks": (0, 1), "width": 16, "steps": 4, "batch_size": 32},
    "label": {"width": 16, "steps": 4, "batch_size": 32},
    "attribute": {"width": 16, "steps": 4, "batch_size": 32},
}
ASK_FIRST = {"attribute": ("infer",), "match-query": ("match", "candidates")}
"""Attackers that cannot say anything before they are fitted, and what they would be asked."""

SIDE, N = 16, 24


def granted(name):
    """The threat model's fields that an attacker needs, with the first value of each that will do."""
    return {field: values[0] for field, values in eavesdroppers[name].needs.items()}


def make(name, spec, **options):
    with weights_from(0):
        return make_eavesdropper(name, spec, **{**QUICK.get(name, {}), **options})


def view_of(source, *, scheme=None, channel=None, snr_db=12.0, num_symbols=N, seed=0, **threat):
    game = Game(source, channel=channel or AWGN(), num_symbols=num_symbols, snr_db=snr_db)
    scheme = scheme or make_scheme(Pixels(game.spec))
    return View(game, scheme, ThreatModel(**threat), g(seed)), game, scheme


def open_pixels(game):
    return make_scheme(Pixels(game.spec))


@pytest.fixture(scope="module")
def source():
    return make_source("shapes", half="attacker", num_images=1000, size=SIDE)


@pytest.fixture(scope="module")
def test_source():
    return make_source("shapes", split="test", num_images=300, size=SIDE)


def leak(attacker, game, scheme, test_source, *, snr_db=12.0, seed=9, known_csi=True):
    """Mean PSNR and top-1 re-identification on the test images at one SNR."""
    at = game.with_rules(source=test_source, snr_db=snr_db)
    index = torch.arange(len(test_source))
    round_ = at.draw(len(index), generator=g(seed), index=index)
    heard = at.transmit(round_, scheme.send(test_source, index, at.context(round_))).eavesdropper
    csi = heard.csi if known_csi else torch.zeros_like(heard.csi)
    attacker.eval()
    with torch.no_grad():
        if "match" in attacker.capabilities:
            scores = attacker.match(heard.received, csi, round_.batch.images)
            return float(metrics.reidentification(scores).mean())
        rebuilt = attacker.reconstruct(heard.received, csi)
    return float(metrics.psnr(rebuilt, round_.batch.images).mean())


# -- all of them ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", OURS)
def test_every_registered_attacker_keeps_the_laws_while_it_learns_a_budget_and_its_seed(source, name):
    """Over a fading link, and over AWGN: as many queries as it may, and all decided by the seed."""
    view, game, _ = view_of(source.subset(range(64)), channel=Rayleigh(coherence=8), **granted(name))
    check_eavesdropper(make(name, game.spec), view)
    states = []
    for _ in range(2):
        budget = {"candidates": 64} if "candidate_queries" in granted(name) else {}
        view, game, _ = view_of(source, queries=64, **budget, **granted(name))
        attacker = make(name, game.spec)
        attacker.fit(view, generator=g(1))
        states.append(attacker.state_dict())
        torch.rand(7)  # someone else draws from the global stream
        assert view.queries <= 64
    assert all(torch.equal(t, states[1][key]) for key, t in states[0].items())


@pytest.mark.parametrize("name", OURS)
def test_every_registered_attacker_copes_with_images_of_any_size(name):
    for shape in [(1, 28, 28), (3, 9, 13), (1, 96, 64)]:
        images = torch.randint(0, 256, (64, *shape), dtype=torch.uint8, generator=g())
        facts = {"attributes": torch.arange(64)[:, None] % 2, "attribute_names": ["odd"]}
        noise = Source.from_arrays(images, torch.arange(64) % 4, name="noise", **facts)
        view, game, _ = view_of(noise, **granted(name))
        check_eavesdropper(make(name, game.spec), view)
        if name == "inversion-mlp":
            assert make_eavesdropper(name, game.spec).options["components"] == min(96, math.prod(shape))


def test_held_out_images_are_as_many_of_each_label_however_the_images_are_sorted():
    """Law: a share of each label, known or in the mean, whatever the order; the same ones each time; nobody's twice."""
    images = torch.randint(0, 256, (400, 3, 8, 8), dtype=torch.uint8, generator=g())
    labels = torch.arange(400) // 100
    counts = {}
    for known in (True, False):
        view, *_ = view_of(Source.from_arrays(images, labels, name="sorted"), labels=known)
        kept, held = held_out(view)
        assert torch.equal(held, held_out(view)[1]) and view.queries == 0
        assert sorted([*kept.tolist(), *held.tolist()]) == list(range(400))
        counts[known] = labels[held].bincount(minlength=4)
    assert counts[True].tolist() == [25, 25, 25, 25]
    # Without labels a random hundred of four hundred: hypergeometric, standard deviation 3.8.
    assert (counts[False] - 25).abs().max() < 4 * 3.8 and counts[False].sum() == 100


def test_an_attacker_is_as_strong_on_sorted_images():
    """Law: half of the images are one and the same picture, which says nothing; whether it comes first or anywhere
    makes no difference to what was drawn by position: who may be sent, is compared, is paired, or spans the axes."""
    varied = make_source("shapes", half="attacker", num_images=800, size=SIDE).images
    images, labels = torch.cat([varied[:1].repeat(400, 1, 1, 1), varied]), torch.arange(800) // 400
    test = make_source("shapes", split="test", num_images=100, size=SIDE)
    fixed = [{"name": "keyed", "mode": "rotation", "lifetime": "fixed", "key": "11" * 32}]
    cases: list[tuple[str, list, dict, dict, float]] = [
        ("linear", [], {}, {"queries": 300}, 0.2),
        ("match-query", [Fresh(SystemSpec((3, SIDE, SIDE), 2, N))], {"images": 100}, {}, 0.05),
        ("few-pairs", fixed, {"pairs": 24}, {}, 0.15),
    ]
    found: dict[str, list[float]] = {}
    for order in (torch.arange(800), torch.randperm(800, generator=g())):
        source = Source.from_arrays(images[order], labels[order], name="mine")
        game = Game(source, num_symbols=N, snr_db=20.0)
        for name, stages, options, threat, _ in cases:
            scheme = make_scheme(Pixels(game.spec), stages=stages)
            grants = ThreatModel(**granted(name), **threat)
            attacker, record = fit_eavesdropper(name, game, scheme, options=options, threat=grants)
            at = game.with_rules(source=test)
            leaks = evaluate(at, scheme, {"it": attacker}, snr_db=(20.0,), seeds=1, with_ssim=False).leaks
            rate = next(iter(leaks["it"][20.0].values())).mean
            # By what it measures on its own images it chooses how to compare.
            found.setdefault(name, []).append(record["fit"].get("top1", {}).get("sorted", rate))
        if len(found["linear"]) == 1:
            view, *_ = view_of(source)
            assert view.labels(drawn(view, torch.arange(800), 100)).bincount().tolist() == [50, 50]
    for name, _, _, _, within in cases:
        assert found[name][0] == pytest.approx(found[name][1], abs=within), name
    assert found["linear"][0] > 14 and found["match-query"][0] > 0.4 and found["few-pairs"][0] > 0.5, found
    dark_first = torch.cat([torch.zeros(5000, 1, 8, 8), torch.full((5000, 1, 8, 8), 255)]).to(torch.uint8)
    view, _, _ = view_of(Source.from_arrays(dark_first, torch.arange(10_000) // 5000, name="mine"))
    attacker = make("match", view.spec)
    attacker._find_axes(view, torch.arange(10_000))
    both = view.symbols(torch.tensor([0, 9999]))
    assert torch.allclose(attacker.centre, both.mean(0), atol=0.01)


def test_the_defaults_fit_both_image_sizes():
    for name in OURS:
        for side in (32, 64):
            with weights_from(0):
                attacker = make_eavesdropper(name, SystemSpec((3, side, side), 10)).eval()
            received, csi = torch.zeros(1, 128), torch.zeros(1, 1)
            if name in ASK_FIRST:
                capability, *more = ASK_FIRST[name]
                with refused("fit"):
                    getattr(attacker, capability)(
                        received, csi, *(torch.rand(2, 3, side, side) for _ in more)
                    )
            elif "infer" in attacker.capabilities:
                assert attacker.infer(received, csi).shape == (1, 10)
            elif "match" in attacker.capabilities:
                assert attacker.match(received, csi, torch.rand(2, 3, side, side, generator=g())).shape == (
                    1,
                    2,
                )
            else:
                assert attacker.reconstruct(received, csi).shape == (1, 3, side, side)


def test_a_wrong_option_is_one_sentence():
    for name, options, sentence in [
        ("linear", {"ridge": 0.0}, "ridge 0 0.0"),
        ("inversion", {"perceptual_weight": -1.0}, "0 -1.0"),
        ("inversion", {"perceptual_weight": math.nan}, "0 nan"),
        ("inversion-mlp", {"components": 0}, "1..768 0"),
        ("inversion-mlp", {"components": 769}, "1..768 769"),
        ("match", {"embeding": 3}, "'embeding'"),
        ("label", {"names": ["a"]}, "0"),
        ("attribute", {"attributes": []}, "at least one"),
        ("match-query", {"encodings": 0}, "encodings 1 0"),
    ]:
        with refused(sentence):
            make(name, SystemSpec((3, SIDE, SIDE), 10, N), **options)


@pytest.mark.slow
def test_attackers_of_one_scheme_share_what_it_has_sent(source):
    """The encoder runs once per image and changed copy, however many learn from it, at whatever SNR; each pays for its
    own queries."""
    scheme = make_scheme(Counted(SystemSpec((3, SIDE, SIDE), 10, N)))
    for snr_db in (0.0, 12.0):
        for name in ("linear", "inversion-mlp", "match", "label"):
            view, game, _ = view_of(source, scheme=scheme, snr_db=snr_db)
            make(name, game.spec, **({} if name == "linear" else {"steps": 100})).fit(view, generator=g())
            assert view.queries > 480
    assert 2000 < scheme.backbone.asked <= view.augmentations * len(source) == 4000


# -- mean-image -------------------------------------------------------------------------------------


def test_the_mean_image_is_the_floor(source, test_source):
    view, game, scheme = view_of(source)
    attacker = make("mean-image", game.spec)
    assert attacker.instant and attacker.fit(view, generator=g()) == {} and view.queries == 0
    guess = source.statistics.mean_image
    images = test_source.gather(torch.arange(len(test_source))).images
    wanted = float(metrics.psnr(guess.expand_as(images), images).mean())
    assert leak(attacker, game, scheme, test_source) == pytest.approx(wanted, abs=1e-5)
    assert torch.equal(attacker.reconstruct(torch.zeros(2, 2 * N), torch.zeros(2, 1))[1], guess)


# -- linear -----------------------------------------------------------------------------------------


def test_linear_is_the_explicit_ridge_solution(source):
    for snr_db in [-5.0, 12.0, 40.0]:
        for ridge in [1e-3, 0.3]:
            view, game, _ = view_of(source)
            attacker = make("linear", game.spec, ridge=ridge)
            attacker.fit(view, generator=g())
            index = torch.arange(len(source))
            s, x = view.symbols(index).double(), view.images(index).flatten(1).double()
            s0, x0 = s - s.mean(0), x - x.mean(0)
            cover = s0.T @ s0 / len(s) + (10 ** (-snr_db / 10) / 2 + ridge) * torch.eye(
                2 * N, dtype=torch.float64
            )
            weights = torch.linalg.solve(cover, s0.T @ x0 / len(s))
            received = s + 0.5 * torch.randn(s.shape, generator=g(3), dtype=torch.float64)
            wanted = (x.mean(0) + (received - s.mean(0)) @ weights).clamp(0, 1)
            found = attacker.reconstruct(received.float(), torch.full((len(s), 1), snr_db)).flatten(1)
            assert float((found - wanted).abs().max()) < 2e-4


@pytest.mark.parametrize("equaliser", ["mmse", "zf", None])
def test_over_a_fading_link_it_knows_each_fade_and_whoever_is_denied_them_learns_from_receptions(
    source, test_source, equaliser
):
    """The exact estimate is the same whatever the equaliser, and better than one that has to average over fades."""
    rates = {}
    for csi in (True, False):
        view, game, scheme = view_of(source, channel=Rayleigh(coherence=4, equaliser=equaliser), csi=csi)
        attacker = make("linear", game.spec)
        record = attacker.fit(view, generator=g())
        assert record["analytic_noise"] is csi is attacker.options["known_noise"]
        rates[csi] = leak(attacker, game, scheme, test_source, known_csi=csi)
    floor = make("mean-image", game.spec)
    floor.fit(view, generator=g())
    lowest = leak(floor, game, scheme, test_source)
    assert rates[True] > lowest + 1 and rates[True] > rates[False] > lowest - 0.3


def test_a_scheme_s_own_noise_is_no_reason_to_ignore_the_link_s(source, test_source):
    """A little of it costs little, and the same whatever the equaliser; at each SNR of a range the estimate is that of
    one who knows no other."""
    rates = {}
    for equaliser in ("mmse", "zf", None):
        for stages in ([], [Noise(SystemSpec((3, SIDE, SIDE), 10, N), scale=0.05)]):
            scheme = make_scheme(Pixels(SystemSpec((3, SIDE, SIDE), 10, N)), stages=stages)
            view, game, _ = view_of(source, scheme=scheme, channel=Rayleigh(coherence=4, equaliser=equaliser))
            attacker = make("linear", game.spec)
            attacker.fit(view, generator=g())
            # Measured without the scheme's own noise, on the very same receptions.
            rates[equaliser, bool(stages)] = leak(attacker, game, open_pixels(game), test_source)
    assert max(rates.values()) - min(rates.values()) < 0.2, rates
    wide, game, scheme = view_of(source, scheme=scheme, snr_db=(-10.0, 20.0))
    attacker = make("linear", game.spec)
    assert attacker.fit(wide, generator=g())["analytic_noise"] is True
    for snr_db in (-10.0, 5.0, 20.0):
        own = make("linear", game.spec)
        own.fit(view_of(source, scheme=scheme, snr_db=snr_db)[0], generator=g())
        found, wanted = (
            leak(a, game, open_pixels(game), test_source, snr_db=snr_db) for a in (attacker, own)
        )
        assert found == pytest.approx(wanted, abs=0.05)


# -- inversion-mlp ----------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options"),
    [
        (
            "inversion-mlp",
            {"components": 32, "width": 128, "steps": 300, "batch_size": 50, "dropout": 0.0},
        ),
        (
            "inversion",
            {"widths": (32, 16, 16, 8), "steps": 300, "batch_size": 50, "learning_rate": 5e-3},
        ),
    ],
)
def test_model_inversion_learns_to_see_through_a_scheme_that_sends_pixels(source, test_source, name, options):
    view, game, scheme = view_of(source)
    attacker, floor = make(name, game.spec, **options), make("mean-image", game.spec)
    floor.fit(view, generator=g())
    record = attacker.fit(view, generator=g())
    assert record["images"] == 400 and record["validation"] == {"images": 100, "of": "held-out images"}
    assert record["steps"] == 300 and math.isfinite(record["held_out_psnr_db"])
    assert leak(attacker, game, scheme, test_source) > leak(floor, game, scheme, test_source) + 1.5


# -- match ------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_match_finds_the_image_far_more_often_than_chance(source, test_source):
    view, game, scheme = view_of(source)
    options = {
        "widths": (8, 16),
        "blocks": (0, 0),
        "width": 64,
        "embedding": 32,
        "steps": 300,
        "batch_size": 50,
    }
    attacker = make("match", game.spec, **options, learning_rate=5e-3)
    record = attacker.fit(view, generator=g())
    assert record["held_out_top1"] == pytest.approx(max(record["top1_by_weight"]))
    assert leak(attacker, game, scheme, test_source) > 30 / 300


class Signs(Pixels):
    """Projections rounded to the points of QPSK."""

    constellation = "qpsk"

    def encode(self, images, context):
        return super().encode(images, context).sign() / 2**0.5


def test_match_hears_codewords_also_where_the_csi_is_denied(source):
    """At the usual SNR, the middle of its link's; a hidden codebook leaves values."""
    game = Game(source.subset(range(64)), num_symbols=N, snr_db=(4.0, 10.0), constellation="qpsk")
    scheme, received = make_scheme(Signs(game.spec)), torch.randn(5, 2 * N, generator=g())
    for codebook in (True, False):
        view = View(game, scheme, ThreatModel(csi=False, codebook=codebook), g())
        attacker = make("match", game.spec)
        attacker.fit(view, generator=g())
        assert attacker.options["points"] == (4 if codebook else 0)
        if codebook:
            usual = codeword_posteriors(
                received, torch.full((5, 1), 7.0), game.spec.layout, view.constellation
            )
            assert torch.equal(attacker.heard(received, torch.zeros(5, 1))[0], usual)
        check_eavesdropper(attacker)


# -- the perceptual loss ----------------------------------------------------------------------------

LAYOUTS = {
    FILES[0]: {"features.0": (64, 3, 3, 3), "features.2": (64, 64, 3, 3), "features.5": (128, 64, 3, 3)},
    FILES[1]: {"0": (3, 3, 1, 1), "2": (64, 3, 3, 3), "5": (64, 64, 3, 3), "9": (128, 64, 3, 3)},
}


def tensors(name):
    table = {}
    for i, (layer, shape) in enumerate(LAYOUTS[name].items()):
        table[f"{layer}.weight"] = torch.randn(shape, generator=g(i)) / math.prod(shape[1:]) ** 0.5
        table[f"{layer}.bias"] = 0.1 * torch.randn(shape[0], generator=g(10 + i))
    return table


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("TOSC_DATA_DIR", str(tmp_path))
    return tmp_path


def test_a_perceptual_weight_without_vgg_weights_is_an_error_that_says_what_to_do(source, root):
    view, game, _ = view_of(source.subset(range(32)))
    attacker = make("inversion", game.spec, perceptual_weight=0.1)
    with refused("tosc perceptual_weight=0", DataError) as caught:
        attacker.fit(view, generator=g())
    assert str(root) in str(caught.value) and view.queries == 0


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 9, 13), (1, 96, 64)])
@pytest.mark.parametrize("name", FILES)
def test_images_of_any_size_and_without_colour_have_a_perceptual_loss(root, name, shape):
    torch.save(tensors(name), root / name)
    loss = PerceptualLoss()
    one, other = torch.rand(2, 2, *shape, generator=g())
    wide = [images.expand(-1, 3, -1, -1).clone() for images in (one, other)]
    assert float(loss(one, one)) == 0 < float(loss(one, other)) == float(loss(*wide))


def test_an_attacker_of_grey_images_learns_with_a_perceptual_loss(root):
    torch.save(tensors(FILES[1]), root / FILES[1])
    images = torch.randint(0, 256, (40, 1, 9, 13), dtype=torch.uint8, generator=g())
    view, game, _ = view_of(Source.from_arrays(images, torch.arange(40) % 2, name="grey"))
    attacker = make("inversion", game.spec, perceptual_weight=0.1)
    assert attacker.fit(view, generator=g())["vgg"] == FILES[1]


@pytest.mark.parametrize("name", FILES)
def test_the_layers_are_those_of_vgg(root, name):
    """conv1_1, conv1_2, pool, conv2_1, each with its ReLU, computed here once more by hand."""
    import torch.nn.functional as F

    stored = tensors(name)
    torch.save(stored, root / name)
    images = torch.rand(1, 3, 16, 16, generator=g())
    layers = list(LAYOUTS[name])
    if name == FILES[0]:
        mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
        x, mode = (images - mean[:, None, None]) / std[:, None, None], "constant"
    else:
        x, mode = F.conv2d(images, stored["0.weight"], stored["0.bias"]), "reflect"
        layers = layers[1:]
    for i, (layer, found) in enumerate(zip(layers, PerceptualLoss().features(images), strict=True)):
        if i == 2:
            x = F.max_pool2d(x, 2)
        x = F.relu(
            F.conv2d(F.pad(x, (1,) * 4, mode=mode), stored[f"{layer}.weight"], stored[f"{layer}.bias"])
        )
        assert torch.allclose(found, x, atol=1e-5)
    loss, other = PerceptualLoss(), torch.rand(1, 3, 16, 16, generator=g(1)).requires_grad_()
    assert loss.file == name and not any(p.requires_grad for p in loss.parameters())
    value = loss(other, images)
    value.backward()
    assert float(loss(images, images)) == 0 < float(value.detach()) and other.grad.isfinite().all()


class Evil:
    """A pickle that would write a file."""

    def __init__(self, victim):
        self.victim = str(victim)

    def __reduce__(self):
        return (open, (self.victim, "w"))


def test_a_file_that_is_not_what_its_name_says_is_a_data_error_and_nothing_in_it_is_executed(root):
    torch.save(tensors(FILES[0]), root / FILES[0])
    whole = (root / FILES[0]).read_bytes()
    for content in (
        whole[:0],
        whole[:5000],
        pickle.dumps(Evil(root / "victim"), protocol=2),
        {"features.0.weight": Evil(root / "victim")},
        {},
        torch.zeros(3),
        {"features.0.weight": torch.zeros(64, 3, 3, 3)},
        {**tensors(FILES[0]), "features.2.weight": torch.zeros(64)},
        {**tensors(FILES[0]), "features.5.bias": torch.zeros(3)},
        {**tensors(FILES[0]), "features.0.weight": [1]},
        {**tensors(FILES[0]), "features.0.weight": torch.zeros(64, 4, 3, 3)},
        {**tensors(FILES[0]), "features.0.weight": torch.zeros(64, 3, 3, 3, device="meta")},
        {**tensors(FILES[0]), "features.0.weight": torch.zeros(64, 3, 3, 3).to_sparse()},
        {**tensors(FILES[0]), "features.0.weight": torch.full((64, 3, 3, 3), torch.nan)},
    ):
        if isinstance(content, bytes):
            (root / FILES[0]).write_bytes(content)
        else:
            torch.save(content, root / FILES[0])
        with refused(FILES[0], DataError):
            PerceptualLoss()
    assert not (root / "victim").exists()
