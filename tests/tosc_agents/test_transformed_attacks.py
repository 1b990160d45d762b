"""Transformed attacks: what each undoes, what it leaves alone, and that it is an attacker like any other."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from links import seeded as g
from pixels import Fresh, Noise, Pixels
from refusals import refused
from tosc_agents.eavesdroppers.transformed import BASE_ATTACKS, TransformedView
from tosc_agents.learning.seeding import weights_from
from tosc_agents.learning.state import Run

from tosc_env import metrics
from tosc_env.attackers import eavesdroppers, make_eavesdropper
from tosc_env.channels import noise_power
from tosc_env.channels.base import matched, mixed, to_constellation
from tosc_env.channels.flat import AWGN, Rayleigh
from tosc_env.data import Source, make_source
from tosc_env.errors import DeniedError, InputError
from tosc_env.game import Game
from tosc_env.io.checkpoints import load_checkpoint, save_checkpoint
from tosc_env.modulation import constellation_points, hard_decision, histogram, modulate
from tosc_env.pipeline import make_scheme
from tosc_env.privacy.threat import ThreatModel
from tosc_env.privacy.view import View, counted_view
from tosc_env.schemes import PrivacyScheme, Stage
from tosc_env.testing import check_eavesdropper
from tosc_env.types import CSILayout, SystemSpec

TRANSFORMED = ("codebook", "denoise", "sorted", "unshuffle")
SIDE, N = 16, 24
TINY = {
    "inversion-mlp": {"components": 4, "width": 8, "steps": 4, "batch_size": 32},
    "label": {"width": 8, "steps": 4, "batch_size": 32},
    "attribute": {"width": 8, "steps": 4, "batch_size": 32},
    "match": {
        "width": 8,
        "steps": 4,
        "batch_size": 32,
        "stem": 4,
        "widths": (4, 8),
        "blocks": (0, 1),
        "embedding": 8,
    },
}
LEARN = {"components": 32, "width": 128, "steps": 300, "batch_size": 50, "dropout": 0.0}


# -- schemes ----------------------------------------------------------------------------------------

SPEC = SystemSpec((3, SIDE, SIDE), 10, N)


class Key(Stage):
    """One secret orthogonal matrix."""

    name = "key"
    keyed = True

    def __init__(self, matrix):
        super().__init__(SPEC)
        self.matrix = matrix

    def protect(self, symbols, context):
        return symbols @ self.matrix

    def recover(self, received, csi, context):
        return received @ self.matrix.T


class Points(Pixels):
    """Projections quantised to 16-QAM in an order that a codebook knows and the points do not."""

    constellation = "16qam"

    def __init__(self, source):
        super().__init__(SPEC)
        levels = torch.tensor([-3.0, -1.0, 1.0, 3.0])
        self.book = self.codebook = torch.cartesian_prod(levels, levels)[torch.randperm(16, generator=g(8))]
        # As for a trained encoder, each symbol uses all codewords.
        sent = super().encode(source.gather(torch.arange(len(source))).images, None)
        self.centre, self.scale = sent.mean(0), sent.std(0) / 2

    def indices(self, images):
        values = (super().encode(images, None) - self.centre) / self.scale
        return torch.cdist(values.unflatten(1, (-1, 2)), self.book[None]).argmin(2)

    def encode(self, images, context):
        return modulate(self.indices(images), constellation_points("16qam"))


class Levels(PrivacyScheme):
    """Shares of brightness levels: shuffled, all there is lies in the values, nothing in places."""

    name = "levels"

    def encode(self, images, context):
        return images.flatten(1).quantile(torch.linspace(0, 1, 2 * N), dim=1).T - 0.3

    def decode(self, received, csi, context):
        return received[:, :10]


def open_pixels():
    return make_scheme(Pixels(SPEC))


def locked(matrix, *before):
    """Pixels under one secret matrix, behind other stages."""
    return make_scheme(Pixels(SPEC), stages=[*before, Key(matrix)])


def points(source, *stages):
    return make_scheme(Points(source), stages=list(stages))


def shuffled_levels():
    return make_scheme(Levels(SPEC), stages=[Fresh(SPEC)])


def secret(kind):
    if kind == "rotation":
        return torch.linalg.qr(torch.randn(2 * N, 2 * N, generator=g(5))).Q
    shuffle = torch.eye(2 * N)[torch.randperm(2 * N, generator=g(3))]
    signs = torch.where(torch.rand(2 * N, generator=g(4)) < 0.5, -1.0, 1.0)
    return shuffle * signs if kind == "signed permutation" else shuffle


# -- helpers ----------------------------------------------------------------------------------------


def transformed(name, spec, *, seed=0, base_attacks=("inversion-mlp",), kwargs=None, **options):
    """A transformed attack whose base attacks have the options of their name in ``kwargs``."""
    kwargs = {"inversion-mlp": LEARN} if kwargs is None else kwargs
    own = {base: kwargs[base] for base in base_attacks if base in kwargs}
    with weights_from(seed):
        return make_eavesdropper(
            name, spec, base_attacks=list(base_attacks), base_attack_kwargs=own, **options
        )


def view_of(source, scheme=None, *, channel=None, snr_db=12.0, seed=0, **threat):
    scheme = scheme or open_pixels()
    rules = {"num_symbols": N, "snr_db": snr_db, "constellation": scheme.constellation}
    game = Game(source, channel=channel or AWGN(), **rules)
    return View(game, scheme, ThreatModel(**threat), g(seed)), game, scheme


def grants(name):
    return {field: values[0] for field, values in eavesdroppers[name].needs.items()}


def scheme_for(name, source):
    return points(source) if name == "codebook" else locked(secret("permutation"))


def receptions(game, scheme, source, *, snr_db=12.0, repeats=1, seed=9):
    """Receptions of a source's images, [B, R, ...] where repeats > 1, and the images."""
    at = game.with_rules(source=source, snr_db=snr_db)
    index = torch.arange(len(source))
    generator = g(seed)
    got = []
    for number in range(repeats):
        round_ = at.draw(len(index), generator=generator, index=index)
        round_.message[:, 1:3] = torch.tensor([77, number])
        symbols = scheme.send(source, index, at.context(round_, generator))
        got.append(at.transmit(round_, symbols).eavesdropper)
    if repeats == 1:
        return got[0].received, got[0].csi, round_.batch.images
    many = [torch.stack([getattr(r, key) for r in got], dim=1) for key in ("received", "csi")]
    return *many, round_.batch.images


def psnr(attacker, game, scheme, source, **how):
    received, csi, images = receptions(game, scheme, source, **how)
    attacker.eval()
    with torch.no_grad():
        return float(metrics.psnr(attacker.reconstruct(received, csi), images).mean())


@pytest.fixture(scope="module")
def source():
    return make_source("shapes", half="attacker", num_images=2000, size=SIDE)


@pytest.fixture(scope="module")
def test_source():
    return make_source("shapes", split="test", num_images=300, size=SIDE)


@pytest.fixture(scope="module")
def floor(test_source):
    images = test_source.gather(torch.arange(len(test_source))).images
    return float(metrics.psnr(test_source.statistics.mean_image.expand_as(images), images).mean())


@pytest.fixture(scope="module")
def unprotected(source, test_source):
    """The PSNR in dB of the same base attack where there is no key."""
    view, game, scheme = view_of(source)
    with weights_from(0):
        attacker = make_eavesdropper("inversion-mlp", game.spec, **LEARN)
    attacker.fit(view, generator=g())
    return psnr(attacker, game, scheme, test_source)


# -- all of them ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TRANSFORMED)
def test_every_transformed_attack_keeps_the_laws_of_an_attacker_and_comes_back_from_a_file(
    source, name, tmp_path
):
    few = source.subset(range(96))
    channel = Rayleigh(coherence=8) if name in ("sorted", "denoise") else None
    view, game, scheme = view_of(few, scheme_for(name, few), channel=channel, **grants(name))
    attacker = transformed(name, game.spec, base_attacks=BASE_ATTACKS, kwargs=TINY)
    assert attacker.capabilities == ("reconstruct", "match", "infer")
    assert attacker.inferred == (("label", game.spec.num_outputs),)
    check_eavesdropper(attacker, view)
    # A codebook's shape, an attribute's number of values: what is learnt in fitting must be in the file.
    attacker.fit(view, generator=g())
    attacker.eval()
    save_checkpoint(tmp_path / "a.safetensors", attacker, {})
    again = load_checkpoint(tmp_path / "a.safetensors").policy
    received, csi, images = receptions(game, scheme, few)
    for capability in attacker.capabilities:
        more = [images[:5]] if capability == "match" else []
        wanted = getattr(attacker, capability)(received, csi, *more)
        assert torch.equal(getattr(again, capability)(received, csi, *more), wanted)
    assert again.inferred == attacker.inferred


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 9, 13), (1, 96, 64)], ids=str)
@pytest.mark.parametrize("name", TRANSFORMED)
def test_every_transformed_attack_copes_with_images_of_any_size(name, shape):
    images = torch.randint(0, 256, (64, *shape), dtype=torch.uint8, generator=g())
    noise = Source.from_arrays(images, torch.arange(64) % 4, name="noise")
    game = Game(noise, num_symbols=N, snr_db=12.0)
    scheme = make_scheme(Pixels(game.spec), stages=[] if name == "codebook" else ["keyed"])
    if name == "codebook":
        scheme = make_scheme("lbvq", game.spec, stem=4, widths=(4,), blocks=(0,), receiver_width=8)
        game = game.with_rules(constellation=scheme.constellation)
    view = View(game, scheme, ThreatModel(**grants(name)), g())
    check_eavesdropper(transformed(name, game.spec, base_attacks=BASE_ATTACKS, kwargs=TINY), view)


@pytest.mark.parametrize("name", TRANSFORMED)
def test_a_budget_of_queries_is_kept_and_the_seed_decides_all(source, name):
    states = []
    for _ in range(2):
        view, game, _ = view_of(source, scheme_for(name, source), queries=64, **grants(name))
        attacker = transformed(name, game.spec, base_attacks=["inversion-mlp", "linear"], kwargs=TINY)
        attacker.fit(view, generator=g(1))
        assert view.queries <= 64
        states.append(attacker.state_dict())
        torch.rand(7)
    assert all(torch.equal(tensor, states[1][key]) for key, tensor in states[0].items())


class Stop(Exception):
    pass


@pytest.mark.slow
def test_an_interrupted_attack_ends_in_the_very_same_attacker(source, tmp_path):
    few = source.subset(range(96))
    bases = ["inversion-mlp", "label"]
    kwargs = {base: {**TINY[base], "steps": 250, "dropout": 0.1} for base in bases}

    def fitted(path=None, stop=None):
        game = Game(few, num_symbols=N)
        view, count = counted_view(game, shuffled_levels(), ThreatModel(), g(2))
        attacker = transformed("sorted", game.spec, base_attacks=bases, kwargs=kwargs)
        if path is not None:
            attacker.run = Run(path, {"target": "x"}, {}, count)

        def progress(done, total, figures):
            if stop is not None and figures["base_attack"] == stop and done > 0.6 * total:
                raise Stop

        attacker.fit(view, generator=g(3), progress=progress)
        return attacker.state_dict()

    whole = fitted()
    path = tmp_path / "sorted.run"
    for stop in bases:
        with pytest.raises(Stop):
            fitted(path, stop)
    kept = sorted(p.name for p in tmp_path.iterdir())
    assert kept == ["sorted.inversion-mlp.run", "sorted.label.run"]
    resumed = fitted(path)
    assert all(torch.equal(tensor, resumed[key]) for key, tensor in whole.items())
    Run(path, {}).forget()
    assert list(tmp_path.iterdir()) == [], "what its caller removes"


def test_a_wrong_option_is_one_sentence():
    for name, options, sentence in [
        ("sorted", {"base_attacks": []}, "different"),
        ("sorted", {"base_attacks": "linear"}, "list strings 'linear'"),
        ("sorted", {"base_attacks": ["linear", "linear"]}, "different"),
        ("sorted", {"base_attacks": ["lineer"]}, "lineer"),
        ("denoise", {"base_attacks": ["sorted"]}, "ordinary 'sorted'"),
        (
            "unshuffle",
            {"base_attacks": ["linear"], "base_attack_kwargs": {"linear": {"steps": 3}}},
            "'linear' 'steps'",
        ),
        (
            "unshuffle",
            {"base_attacks": ["linear"], "base_attack_kwargs": {"label": {"steps": 3}}},
            "'label'",
        ),
        ("unshuffle", {"pairs": 9}, "pairs 10 9"),
        ("sorted", {"points": 5}, "5"),
        ("sorted", {"measured": 1}, "2 1"),
        ("codebook", {"codewords": 12}, "12"),
        ("codebook", {"dimension": 0}, "dimension 1 0"),
    ]:
        with refused(sentence):
            make_eavesdropper(name, SystemSpec((3, SIDE, SIDE), 10, N), **options)


def test_a_transformed_view_denies_what_the_view_denies(source):
    few = source.subset(range(96))
    index = torch.arange(4)
    denied = {"labels": False, "codebook": False, "queries": 8, "keys": "without-pairs"}
    keyed, game, _ = view_of(few, locked(secret("rotation")), **denied)
    inner = TransformedView(keyed, transformed("sorted", game.spec, kwargs=TINY))
    for ask in (
        lambda: inner.labels(index),
        lambda: inner.attributes(index),
        lambda: inner.sample(index),
        lambda: inner.symbols(index),
        lambda: inner.unkeyed(index),
        lambda: inner.encode(inner.images(index)),
    ):
        with pytest.raises(DeniedError):
            ask()
    discrete, game, _ = view_of(few, points(few), **{**denied, "candidate_queries": True, "candidates": 4})
    inner = TransformedView(discrete, transformed("sorted", game.spec, kwargs=TINY))
    for ask in (lambda: inner.codebook, lambda: inner.constellation, lambda: inner.sample(index + 5)):
        with pytest.raises(DeniedError):
            ask()
    assert len(inner.statistics.class_mean_images) == 1 and inner.num_images == 8
    assert inner.encode(inner.images(index)).shape == (4, 2 * inner.spec.num_symbols)
    inner.sample(index)
    assert inner.queries == discrete.queries == 4
    with pytest.raises(DeniedError):
        inner.sample_repeated(index + 5)
    for again in (inner.sample_repeated, inner.sample_whole):
        assert again(index)[0].received.shape == (4, 1, 2 * inner.spec.num_symbols)


@pytest.mark.parametrize(
    ("name", "scheme", "threat", "words", "error"),
    [
        ("sorted", None, {"labels": False}, "'label' 'sorted' labels=False", DeniedError),
        ("sorted", "levels", {"keys": "without-pairs"}, "pairs", DeniedError),
        ("unshuffle", "locked", {}, "encoder key", DeniedError),
        ("unshuffle", "locked", {"unkeyed_encoder": True, "keys": "without-pairs"}, "pairs", DeniedError),
        ("codebook", None, {}, "'codebook'", InputError),
        ("codebook", "points", {"codebook": False}, "codebook=False", DeniedError),
    ],
)
def test_what_an_attack_cannot_do_without_is_told_before_anything_is_spent(
    source, name, scheme, threat, words, error
):
    schemes = {"levels": shuffled_levels(), "points": points(source), "locked": locked(secret("permutation"))}
    view, game, _ = view_of(source, schemes.get(scheme), **threat)
    attacker = transformed(name, game.spec, base_attacks=["inversion-mlp", "label"], kwargs=TINY)
    with refused(words, error):
        attacker.fit(view, generator=g())
    assert view.queries == 0


def test_a_base_attack_with_nothing_to_attack_is_told_before_anything_is_spent(source):
    bare = Source.from_arrays(source.images, source.labels, name="bare")
    view, game, _ = view_of(bare)
    attacker = transformed("sorted", game.spec, base_attacks=["attribute"], kwargs={})
    with refused("'attribute' 'sorted' no private attributes"):
        attacker.fit(view, generator=g())
    assert view.queries == 0


def test_a_usual_base_attack_that_is_denied_is_left_out_and_one_that_was_asked_for_is_refused(
    source, tmp_path
):
    few = source.subset(range(96))
    view, game, scheme = view_of(few, labels=False)
    kwargs = {name: TINY[name] for name in BASE_ATTACKS}
    attacker = make_eavesdropper("sorted", game.spec, base_attack_kwargs=kwargs)
    assert attacker.refusal(view) is None
    record = attacker.fit(view, generator=g())
    assert list(record["left_out"]) == ["label"] and "labels=False" in record["left_out"]["label"]
    assert attacker.capabilities == ("reconstruct", "match") and "labels" not in attacker.needs
    save_checkpoint(tmp_path / "a.safetensors", attacker.eval(), {})
    again = load_checkpoint(tmp_path / "a.safetensors").policy
    received, csi, _ = receptions(game, scheme, few)
    assert torch.equal(again.reconstruct(received, csi), attacker.reconstruct(received, csi))
    asked = transformed("sorted", game.spec, base_attacks=["inversion-mlp", "label"], kwargs=TINY)
    assert asked.refusal(view) == "'label', a base attack of 'sorted', is denied what it needs (labels=False)"


def test_who_needs_pairs_says_so_where_they_are_denied(source):
    for unkeyed in (False, True):
        view, game, _ = view_of(source, shuffled_levels(), keys="without-pairs", unkeyed_encoder=unkeyed)
        for name, refuses in (("mean-image", False), ("linear", True), ("sorted", not unkeyed)):
            why = make_eavesdropper(name, game.spec).refusal(view)
            assert (why is not None and "pairs" in why) is refuses
        assert view.queries == 0
    open_view, game, _ = view_of(source, keys="without-pairs")
    assert make_eavesdropper("linear", game.spec).refusal(open_view) is None, "it has no key"


def test_progress_is_that_of_one_base_attack_after_the_other(source):
    view, game, _ = view_of(source)
    kwargs = {
        "inversion-mlp": {**TINY["inversion-mlp"], "steps": 120},
        "label": {**TINY["label"], "steps": 60},
    }
    told = []
    attacker = transformed("sorted", game.spec, base_attacks=list(kwargs), kwargs=kwargs)
    attacker.fit(
        view, generator=g(), progress=lambda done, total, f: told.append((f["base_attack"], done, total))
    )
    assert list(dict.fromkeys(name for name, _, _ in told)) == list(kwargs)
    for name in kwargs:
        steps = [done for base, done, _ in told if base == name]
        assert steps == sorted(steps) and {t for base, _, t in told if base == name} == {
            kwargs[name]["steps"]
        }


def test_a_transformed_view_gives_what_the_attack_makes_of_receptions(source):
    view, game, _ = view_of(source, locked(secret("rotation")), unkeyed_encoder=True)
    attacker = transformed("sorted", game.spec, kwargs=TINY)
    with refused("'sorted' infer"):
        attacker.infer(torch.zeros(1, 2 * N), torch.zeros(1, 1))
    attacker.learn(view, g())
    inner = TransformedView(view, attacker)
    assert not inner.deterministic and inner.spec.num_symbols == 5 * N // 2
    reception, images = inner.sample(torch.arange(500))
    assert reception.received.shape == (500, 5 * N) and torch.equal(images, view.images(torch.arange(500)))
    assert reception.received.std() == pytest.approx(1, abs=0.1)
    symbols = view.symbols(torch.arange(5))
    wanted, _ = attacker.transform(symbols, torch.full((5, 1), 100.0))
    assert torch.equal(inner.symbols(torch.arange(5)), wanted)
    assert inner.images == view.images and inner.num_images == copy.deepcopy(inner).num_images == 1000
    with pytest.raises(AttributeError):
        _ = inner._game


# -- unshuffle --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["signed permutation", "rotation"])
def test_a_fixed_key_is_recovered_from_hundreds_of_pairs_and_then_protects_nothing(
    source, test_source, unprotected, kind
):
    key = secret(kind)
    scheme = locked(key)
    view, game, _ = view_of(source, scheme, unkeyed_encoder=True)
    attacker = transformed("unshuffle", game.spec, pairs=800 if kind == "rotation" else 300)
    record = attacker.fit(view, generator=g())
    assert record["key"] == kind
    assert record["residual"][kind] == pytest.approx(record["residual_of_noise_alone"], rel=0.2)
    assert record["residual_of_noise_alone"] == pytest.approx(10**-1.2 / 2, rel=0.1)
    if kind == "rotation":
        index = torch.arange(len(source))
        wanted = view.unkeyed(index)[0]
        error = (view.symbols(index) @ attacker.inverse - wanted).norm() / wanted.norm()
        assert float(error) < 0.05
    else:
        assert torch.equal(attacker.inverse, key.T)
    assert psnr(attacker, game, scheme, test_source) > unprotected - 0.1


def test_a_key_is_found_without_csi_over_fading_and_under_the_scheme_s_own_noise(source):
    key = secret("signed permutation")
    for scheme, how in (
        (locked(key), {"csi": False}),
        (locked(key), {"channel": Rayleigh(coherence=8)}),
        (locked(key), {"snr_db": (0.0, 20.0)}),
        (locked(key, Noise(SPEC)), {}),
    ):
        view, game, _ = view_of(source, scheme, unkeyed_encoder=True, **how)
        attacker = transformed("unshuffle", game.spec, kwargs=TINY)
        assert attacker.learn(view, g())["key"] == "signed permutation", how
        assert torch.equal(attacker.inverse, key.T)


@pytest.mark.parametrize("mode", ["shuffle", "shuffle+signs", "rotation"])
def test_over_fading_a_fixed_key_protects_nothing_whatever_the_equaliser(source, test_source, mode):
    """Whoever works it out rebuilds images as whoever has it."""
    stage = {"name": "keyed", "mode": mode, "lifetime": "fixed", "key": "11" * 32}
    scheme = make_scheme(Pixels(SPEC), stages=[stage])
    kind = {"shuffle": "permutation", "shuffle+signs": "signed permutation"}.get(mode, mode)
    rates = []
    for equaliser in ("mmse", "zf", None):
        channel = Rayleigh(coherence=1, equaliser=equaliser)
        view, game, _ = view_of(source, scheme, channel=channel, unkeyed_encoder=True)
        attacker = transformed("unshuffle", game.spec, base_attacks=["linear"], kwargs={})
        record = attacker.fit(view, generator=g())
        assert record["key"] == kind and record["linear"]["analytic_noise"] is True
        assert record["residual"][kind] == pytest.approx(record["residual_of_noise_alone"], rel=0.2)
        rates.append(psnr(attacker, game, scheme, test_source))
    known, game, _ = view_of(source, scheme, channel=Rayleigh(coherence=1), keys="with-key")
    insider = make_eavesdropper("linear", known.spec)
    insider.fit(known, generator=g())
    index = torch.arange(len(test_source))
    own = view_of(test_source, scheme, channel=Rayleigh(coherence=1), keys="with-key")[0]
    reception, images = own.sample(index)
    rebuilt = insider.reconstruct(reception.received, reception.csi)
    assert max(rates) - min(rates) < 0.01
    assert rates[0] == pytest.approx(float(metrics.psnr(rebuilt, images).mean()), abs=0.3)


def test_decrypted_values_come_with_the_amplitudes_that_they_have_met(source):
    """Of what the base attacks are shown, what the symbols leave is noise of the variance that its CSI tells."""
    for kind, equaliser in (("signed permutation", None), ("signed permutation", "mmse"), ("rotation", "zf")):
        scheme, channel = locked(secret(kind)), Rayleigh(coherence=4, equaliser=equaliser)
        view, game, _ = view_of(source, scheme, channel=channel, unkeyed_encoder=True, snr_db=(0.0, 20.0))
        attacker = transformed("unshuffle", game.spec, kwargs=TINY)
        attacker.learn(view, g())
        attacker.inverse = secret(kind).T.contiguous()
        index = torch.arange(len(source))
        symbols = view.unkeyed(index)[0]
        for shown in (attacker.observe(view, index)[0], attacker.through(view.sample(index)[0])):
            values, power = matched(shown.received, shown.csi, CSILayout(aligned=True))
            left = (values - power * symbols).square() / (power * noise_power(shown.csi[:, :1]) / 2)
            assert float(left.mean()) == pytest.approx(1, rel=0.1 if kind == "rotation" else 0.03)
    gains, csi = torch.rand(3, 4, generator=g()), torch.full((3, 1), 7.0)
    attacker = transformed("unshuffle", SystemSpec((3, SIDE, SIDE), 10, 2), kwargs=TINY)
    attacker.inverse = torch.tensor([[1.0, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]]) / 2
    known = torch.cat([csi, gains], dim=1)
    assert torch.allclose(attacker._undone(gains, known)[1][:, 1:], mixed(gains, csi), rtol=1e-5)


@pytest.mark.slow
def test_a_key_for_each_message_is_not_found_and_the_attack_is_then_an_ordinary_one(
    source, test_source, floor, unprotected
):
    scheme = make_scheme(Pixels(SPEC), stages=[Fresh(SPEC)])
    view, game, _ = view_of(source, scheme, unkeyed_encoder=True)
    attacker = transformed("unshuffle", game.spec)
    record = attacker.fit(view, generator=g())
    assert record["key"] == "no fixed key found"
    assert min(record["residual"].values()) > 10 * record["residual_of_noise_alone"]
    assert torch.equal(attacker.inverse, torch.eye(2 * N))
    leaked = psnr(attacker, game, scheme, test_source)
    by_sorting = transformed("sorted", game.spec)
    by_sorting.fit(view, generator=g())
    assert floor - 0.3 < leaked < psnr(by_sorting, game, scheme, test_source) + 0.1
    assert leaked < unprotected - 2


# -- sorted -----------------------------------------------------------------------------------------


def test_sorted_values_do_not_change_under_any_permutation_of_the_reals():
    attacker = transformed("sorted", SystemSpec((3, SIDE, SIDE), 10, N), kwargs=TINY)
    y = torch.randn(50, 2 * N, generator=g())
    order = torch.rand(50, 2 * N, generator=g(1)).argsort(1)
    csi = torch.zeros(50, 1)
    before, after = attacker.features(y, csi), attacker.features(y.gather(1, order), csi)
    assert torch.equal(before[:, : 4 * N], after[:, : 4 * N])
    assert not torch.equal(before[:, 4 * N :], after[:, 4 * N :]), "magnitudes pair the reals"


def test_absolute_values_do_not_change_under_signs_nor_magnitudes_under_rotated_symbols():
    attacker = transformed("sorted", SystemSpec((3, SIDE, SIDE), 10, N), kwargs=TINY)
    y, csi = torch.randn(50, 2 * N, generator=g()), torch.zeros(50, 1)
    signs = torch.where(torch.rand(50, 2 * N, generator=g(1)) < 0.5, -1.0, 1.0)
    order = torch.rand(50, N, generator=g(2)).argsort(1)
    symbols = (y * signs).unflatten(1, (N, 2))
    moved = symbols.gather(1, order[..., None].expand(-1, -1, 2)).flatten(1)
    before, after = attacker.features(y, csi), attacker.features(moved, csi)
    assert torch.equal(before[:, 2 * N :], after[:, 2 * N :])
    assert not torch.equal(before[:, : 2 * N], after[:, : 2 * N])
    angle = torch.polar(torch.ones(50, N), 6.28 * torch.rand(50, N, generator=g(3)))
    turned = torch.view_as_real(torch.view_as_complex(y.unflatten(1, (N, 2))) * angle).flatten(1)
    assert torch.allclose(attacker.features(turned, csi)[:, 4 * N :], before[:, 4 * N :], atol=1e-5)


def test_counts_of_points_are_those_sent_whatever_their_order_and_signs(source):
    view, game, scheme = view_of(source, points(source))
    attacker = transformed("sorted", game.spec, kwargs=TINY)
    assert attacker.learn(view, g())["points"] == attacker.options["points"] == 16
    received, csi, _ = receptions(game, scheme, source, snr_db=40.0)
    index = scheme.backbone.indices(game.source.gather(torch.arange(len(source))).images)
    counted = torch.nn.functional.one_hot(index, 16).float().mean(1)
    shares = attacker.features(received, csi)[:, -32:]
    assert torch.allclose(shares[:, :16], counted, atol=1e-5)
    signs = torch.where(torch.rand(received.shape, generator=g(1)) < 0.5, -1.0, 1.0)
    assert torch.allclose(attacker.features(received * signs, csi)[:, -16:], shares[:, 16:], atol=1e-6)
    # Where decisions err, the sum of the posterior probabilities is nearer to what was sent.
    received, csi, _ = receptions(game, scheme, source, snr_db=5.0)
    decided = histogram(received, constellation_points("16qam")) / N
    soft = attacker.features(received, csi)[:, -32:-16]
    assert (soft - counted).square().mean() < 0.9 * (decided - counted).square().mean()
    hidden, _, _ = view_of(source, points(source), codebook=False)
    assert attacker.learn(hidden, g())["points"] == 0, "where the constellation is hidden, values must do"


def test_over_fading_statistics_are_those_of_estimates_whatever_the_equaliser(source):
    scheme, seen = points(source), []
    for equaliser in ("mmse", "zf", None):
        view, game, _ = view_of(source, scheme, channel=Rayleigh(coherence=4, equaliser=equaliser))
        attacker = transformed("sorted", game.spec, kwargs=TINY)
        attacker.learn(view, g())
        seen.append(attacker.features(*receptions(game, scheme, source, snr_db=15.0)[:2]))
    assert torch.allclose(seen[1], seen[0], atol=1e-3) and torch.allclose(seen[2], seen[0], atol=1e-3)
    blind, game, _ = view_of(source, scheme, channel=Rayleigh(coherence=4), snr_db=(0.0, 20.0), csi=False)
    attacker = transformed("sorted", game.spec, kwargs=TINY)
    attacker.learn(blind, g())
    assert attacker.options["usual_snr_db"] == 10.0
    got = blind.sample(torch.arange(100))[0]
    shares = attacker.features(got.received, got.csi)[:, -32:-16]
    assert float(shares.amax(1).mean()) > 1.5 / 16, "without CSI the points are counted all the same"


def test_over_fading_each_sorted_value_comes_with_what_it_has_kept(source):
    """Law: value and share are those of one channel use, whatever the order, and 0 where the fades are not told."""
    _, game, scheme = view_of(source, channel=Rayleigh(coherence=1))
    attacker = transformed("sorted", game.spec, kwargs=TINY)
    received, csi, _ = receptions(game, scheme, source)
    power = csi[:, 1:].unflatten(1, (N, 2)).square().sum(2).repeat_interleave(2, dim=1)
    kept = power / (power + noise_power(csi[:, :1]))
    found = attacker.features(received, csi)
    values, order = received.sort(1)
    assert torch.equal(found[:, : 2 * N], values)
    assert torch.allclose(found[:, 5 * N : 7 * N], kept.gather(1, order), atol=1e-5)
    attacker.options["usual_snr_db"] = 12.0
    assert not attacker.features(received, torch.zeros_like(csi))[:, 5 * N : 7 * N].any()


@pytest.mark.slow
@pytest.mark.parametrize("keys", ["with-pairs", "without-pairs"])
def test_sorted_values_see_through_a_key_for_each_message(source, test_source, floor, keys):
    """Also without a single pair: the statistics of unkeyed messages are the same."""
    scheme = shuffled_levels()
    view, game, _ = view_of(source, scheme, keys=keys, unkeyed_encoder=keys == "without-pairs")
    attacker = transformed("sorted", game.spec)
    record = attacker.fit(view, generator=g())
    assert record["learns_from"] == ("pairs" if keys == "with-pairs" else "unkeyed")
    if keys == "without-pairs":
        assert view.queries >= view.num_images, "each is an encoding"
    assert psnr(attacker, game, scheme, test_source) > floor + 1.5


# -- denoise ----------------------------------------------------------------------------------------


def test_denoise_is_the_mean_and_tells_twelve_decibels_more_for_sixteen_receptions():
    attacker = transformed("denoise", SystemSpec((3, SIDE, SIDE), 10, N), kwargs=TINY)
    received = torch.randn(5, 16, 2 * N, generator=g())
    combined, csi = attacker.transform(received, torch.full((5, 16, 1), 3.0))
    assert torch.allclose(combined, received.mean(1), atol=1e-6)
    assert torch.allclose(csi, torch.full((5, 1), 3.0 + 10 * math.log10(16)), atol=1e-4)
    once, same = attacker.transform(received[:, 0], csi)
    assert torch.equal(once, received[:, 0]) and torch.equal(same, csi)
    # Each reception counts by its SNR.
    combined, csi = attacker.transform(received[:1, :2], torch.tensor([[[0.0], [10 * math.log10(3)]]]))
    assert torch.allclose(combined[0], received[0, 0] / 4 + received[0, 1] * 3 / 4, atol=1e-5)
    assert float(csi) == pytest.approx(10 * math.log10(4), abs=1e-4)


def test_over_fading_links_the_combination_is_the_best_linear_estimate(source):
    """The orthogonality principle: its error is 1 / (1 + sum |h|^2 / N0), and less than any single one's."""
    view, game, _ = view_of(source, channel=Rayleigh(coherence=8), snr_db=(0.0, 10.0), receptions=4)

    def powers(csi):
        fades = csi[..., 1:].unflatten(-1, (-1, 2)).square().sum(-1)
        return fades[..., torch.arange(N) // 8]

    attacker = transformed("denoise", game.spec, kwargs=TINY)
    got, _ = view.sample_repeated(torch.arange(1000))
    combined, csi = attacker.transform(got.received, got.csi)
    sent = view.symbols(torch.arange(1000))
    quality = (powers(got.csi) / noise_power(got.csi[..., :1])).sum(1)
    error = (combined - sent).square().mean()
    assert float(error) == pytest.approx(float((0.5 / (1 + quality)).mean()), rel=0.05)
    assert error < (got.received - sent[:, None]).square().mean((0, 2)).min() / 2
    # What the base attacks are told describes the very same link.
    told = powers(csi) / noise_power(csi[:, :1])
    assert csi.shape == (1000, game.spec.num_csi) and torch.allclose(told, quality, rtol=1e-3)
    single, again = attacker.transform(got.received[:, :1], got.csi[:, :1])
    assert torch.allclose(single, got.received[:, 0], atol=1e-5)
    assert torch.allclose(again[:, 0], got.csi[:, 0, 0], atol=1e-3)
    blind, _ = attacker.transform(got.received, torch.zeros_like(got.csi))
    assert torch.equal(blind, got.received.mean(1)), "without CSI there is the plain mean"


def test_a_base_attack_that_could_use_several_receptions_gets_the_one_that_they_were_combined_into(source):
    view, game, scheme = view_of(source, snr_db=-12.0, receptions=16, candidate_queries=True)
    attacker = transformed("denoise", game.spec, base_attacks=["match-query"], kwargs={})
    attacker.fit(view, generator=g())
    received, csi, images = receptions(game, scheme, source.subset(range(300)), snr_db=-12.0, repeats=16)
    assert float(metrics.reidentification(attacker.match(received, csi, images)).mean()) > 0.3


@pytest.mark.parametrize(
    "channel", [None, Rayleigh(coherence=4), Rayleigh(equaliser=None)], ids=["awgn", "mmse", "none"]
)
def test_a_closed_form_knows_the_noise_of_what_is_combined(source, channel):
    """It is the one of a single reception, at the SNR and fades that it is told."""
    view, game, scheme = view_of(source, channel=channel, snr_db=(0.0, 10.0), receptions=4)
    attacker = transformed("denoise", game.spec, base_attacks=["linear"], kwargs={})
    assert attacker.fit(view, generator=g())["linear"]["analytic_noise"] is True
    alone = make_eavesdropper("linear", attacker.attackers["linear"].spec)
    alone.fit(view_of(source, scheme, channel=channel)[0], generator=g())
    got, _ = view.sample_repeated(torch.arange(200))
    shown = attacker.transform(got.received, got.csi)
    assert torch.allclose(attacker.reconstruct(got.received, got.csi), alone.reconstruct(*shown), atol=1e-3)


def test_of_a_scheme_s_own_noise_a_closed_form_takes_the_share_that_is_left(source):
    scheme = make_scheme(Pixels(SPEC), stages=[Noise(SPEC)])
    view, game, _ = view_of(source, scheme, receptions=16)
    attacker = transformed("denoise", game.spec, base_attacks=["linear"], kwargs={})
    attacker.fit(view, generator=g())
    first, second = (view.symbols(torch.arange(len(source))) for _ in range(2))
    own = (first - second).square().sum(1).mean() / 2
    sent = first.var(0, correction=0).sum() - own
    assert float(attacker.attackers["linear"].energies.sum()) == pytest.approx(
        float(sent + own / 16), rel=0.03
    )


@pytest.mark.slow
def test_hearing_an_image_sixteen_times_leaks_more_than_hearing_it_once(source, test_source):
    scheme, leaked = make_scheme(Pixels(SPEC), stages=[Noise(SPEC)]), {}
    for repeats in (1, 16):
        view, game, _ = view_of(source, scheme, snr_db=0.0, receptions=repeats)
        attacker = transformed("denoise", game.spec, kwargs={"inversion-mlp": {**LEARN, "steps": 200}})
        assert attacker.repeated and attacker.fit(view, generator=g())["receptions"] == repeats
        leaked[repeats] = psnr(attacker, game, scheme, test_source, snr_db=0.0, repeats=repeats)
    assert leaked[16] > leaked[1] + 0.5, leaked


# -- codebook ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("snr_db", [6.0, 30.0])
@pytest.mark.parametrize("equaliser", ["awgn", "mmse", "zf", None], ids=str)
def test_mean_codewords_are_nearer_to_those_sent_than_decisions(source, equaliser, snr_db):
    """Over every link; where hardly any noise is they are those sent."""
    channel = None if equaliser == "awgn" else Rayleigh(coherence=8, equaliser=equaliser)
    view, game, scheme = view_of(source, points(source), channel=channel)
    attacker = transformed("codebook", game.spec, kwargs=TINY)
    attacker.learn(view, g())
    received, csi, _ = receptions(game, scheme, source, snr_db=snr_db)
    sent = scheme.backbone.indices(game.source.gather(torch.arange(len(source))).images)
    words = scheme.codebook / scheme.codebook.square().mean().sqrt()
    shown = attacker.transform(received, csi)[0][:, : 2 * N].unflatten(1, (N, 2))
    behind = to_constellation(received, csi, game.spec.layout)
    decided = words[hard_decision(behind, constellation_points("16qam")).long()]
    errors = [(one - words[sent]).square().mean() for one in (shown, decided)]
    assert errors[0] < 0.9 * errors[1] or errors[1] < 1e-5 > errors[0]
    if channel is None and snr_db == 30.0:
        assert torch.allclose(shown, words[sent], atol=1e-5)
        assert torch.equal(attacker.transform(received, csi)[0][:, 2 * N :], received), "beside them"


def test_a_codebook_of_another_shape_is_taken_from_the_scheme(source):
    long = Points(source)
    long.codebook = torch.cat([long.book, long.book.square(), long.book[:, :1]], dim=1)
    view, game, _ = view_of(source.subset(range(96)), make_scheme(long))
    for soft in (True, False):
        attacker = transformed("codebook", game.spec, kwargs=TINY, soft=soft)
        attacker.fit(view, generator=g())
        assert (attacker.options["codewords"], attacker.options["dimension"]) == (16, 5)
        check_eavesdropper(attacker)
