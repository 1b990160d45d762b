"""Having the candidates encoded: perfect where nothing hides the symbols, chance where a fresh rotation does."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from links import seeded as g
from pixels import Fresh, Noise, Pixels
from refusals import refused
from tosc_agents.eavesdroppers.match_query import fading_scores
from tosc_agents.training.evaluate import evaluate
from tosc_agents.training.fit_eavesdropper import fit_eavesdropper

from tosc_env.attackers import make_eavesdropper
from tosc_env.channels import noise_power
from tosc_env.channels.flat import AWGN, Rayleigh
from tosc_env.data import make_source
from tosc_env.errors import DeniedError
from tosc_env.game import Game
from tosc_env.io.checkpoints import load_checkpoint, save_checkpoint
from tosc_env.modulation import constellation_points
from tosc_env.pipeline import make_scheme
from tosc_env.privacy.oracle import Recorded
from tosc_env.privacy.threat import ThreatModel
from tosc_env.privacy.view import View
from tosc_env.schemes import Stage
from tosc_env.types import CSILayout, SystemSpec

SIDE, N, COUNT = 16, 24, 300
SPEC = SystemSpec((3, SIDE, SIDE), 10, N)
ASK = ThreatModel(candidate_queries=True)


class Turned(Stage):
    """Another phase of every channel use."""

    keyed = stochastic = True

    def protect(self, symbols, context):
        angle = 2 * math.pi * torch.rand(len(symbols), N, generator=context.generator)
        waves = torch.view_as_complex(symbols.unflatten(1, (N, 2))) * torch.polar(torch.ones(()), angle)
        return torch.view_as_real(waves).flatten(1)


class Rotated(Stage):
    """Another orthogonal matrix for every message: all that is left is the energy, which the game makes 1."""

    keyed = stochastic = True

    def protect(self, symbols, context):
        matrices = torch.randn(len(symbols), 2 * N, 2 * N, generator=context.generator)
        return (torch.linalg.qr(matrices).Q @ symbols[:, :, None])[:, :, 0]


class Points(Pixels):
    """Projections rounded to the levels of 16-QAM."""

    constellation = "16qam"

    def encode(self, images, context):
        symbols = super().encode(images, context)
        symbols = symbols / symbols.norm(dim=1, keepdim=True).clamp_min(1e-6) * N**0.5
        grid = torch.view_as_real(constellation_points("16qam")).flatten()
        return grid[(symbols[:, :, None] - grid).abs().argmin(2)]


def behind(*stages):
    """Pixels behind these stages."""
    return make_scheme(Pixels(SPEC), stages=list(stages))


def shuffled_points():
    return make_scheme(Points(SPEC), stages=[Fresh(SPEC, "16qam")])


def play(scheme, *, channel=None, snr_db=20.0, options=None, threat=ASK, seed=0):
    """The attacker, the record of its fit, and its rate of success among 300 test images."""
    rules = {
        "num_symbols": N,
        "snr_db": snr_db,
        "channel": channel or AWGN(),
        "constellation": scheme.constellation,
    }
    train = Game(make_source("shapes", half="attacker", num_images=1000, size=SIDE), **rules)
    test = Game(make_source("shapes", split="test", num_images=COUNT, size=SIDE), **rules)
    attacker, record = fit_eavesdropper(
        "match-query", train, scheme, options=options, threat=threat, seed=seed
    )
    found = evaluate(test, scheme, {"q": attacker}, snr_db=(snr_db,), seeds=1, with_ssim=False).leaks["q"]
    assert set(found[snr_db]) == {"reid_query"}
    return attacker, record["fit"], found[snr_db]["reid_query"].mean


# -- what is found ----------------------------------------------------------------------------------


def test_a_deterministic_message_is_always_found_over_a_clear_link():
    _, record, rate = play(behind(), snr_db=40.0)
    assert record["comparison"] == "symbols" and record["encodings"] == 1 and record["images"] == 500
    assert record["top1"]["symbols"] == 1.0 and rate == 1.0


@pytest.mark.parametrize(
    ("stage", "comparison", "least"),
    [
        (Fresh(SPEC), "sorted", 0.5),
        (Fresh(SPEC, signs=True), "sorted-absolute", 0.2),
        (Turned(SPEC), "magnitude", 0.8),
    ],
)
def test_what_a_key_leaves_as_it_was_identifies(stage, comparison, least):
    _, record, rate = play(behind(stage), snr_db=30.0)
    assert record["comparison"] == comparison and rate > least
    assert record["top1"]["symbols"] < 0.05


def test_a_fresh_rotation_of_each_message_leaves_chance():
    for scheme, snr_db in ((behind(Rotated(SPEC)), 30.0), (behind(), -40.0)):  # and so does noise alone
        *_, rate = play(scheme, snr_db=snr_db)
        assert rate < 6 / COUNT


def test_of_few_images_it_chooses_by_many_messages():
    """Law: the rates of two fits on 20 images differ as those of 500 messages do, not as those of 20."""
    source, rates = make_source("shapes", half="attacker", num_images=40, size=SIDE), []
    for seed in (0, 1):
        game = Game(source, num_symbols=N, snr_db=-8.0)
        view = View(game, behind(), ASK, g(seed))
        record = make_eavesdropper("match-query", game.spec).fit(view, generator=g())
        assert record["images"] == view.queries == 20 and record["comparison"] in ("symbols", "l1")
        rates.append(torch.tensor(list(record["top1"].values())))
    assert 0.3 < float(rates[0][0]) < 0.9 and (rates[0] - rates[1]).abs().max() < 4 * (0.5 / 500) ** 0.5


def test_averaging_encodings_sees_through_a_stochastic_encoder():
    scheme = behind(Noise(SPEC, scale=0.7))
    one, many = (play(scheme, snr_db=30.0, options={"encodings": e}) for e in (1, 16))
    assert one[1]["encodings"] == 1 and many[1]["encodings"] == 16
    assert many[2] > one[2] + 0.05 and many[2] > 0.5


def test_a_shuffled_message_of_points_is_found_by_which_points_it_has():
    _, record, rate = play(shuffled_points(), snr_db=30.0)
    assert record["comparison"] == "counts" and rate > 0.3
    hidden = ThreatModel(candidate_queries=True, codebook=False)
    assert "counts" not in play(shuffled_points(), snr_db=30.0, threat=hidden)[1]["top1"]


# -- over a fading link -----------------------------------------------------------------------------


@pytest.mark.parametrize("equaliser", ["mmse", None])
def test_over_a_fading_link_it_undoes_the_equaliser_and_gains_by_the_csi(equaliser):
    channel = Rayleigh(coherence=4, equaliser=equaliser)
    _, record, rate = play(behind(), channel=channel, snr_db=4.0)
    assert record["top1"]["fading"] == max(record["top1"].values()) and record["comparison"] == "fading"
    assert record["top1"]["fading"] >= record["top1"]["symbols"] and rate > 0.5


def test_what_a_key_leaves_is_compared_behind_an_equaliser_whatever_the_channels():
    """Law: of a link whose gains are known, h s + n, s + n / h and the MMSE estimate say the same."""
    for coherence in (4, N):
        rates = {}
        for equaliser in ("mmse", "zf", None):
            channel = Rayleigh(coherence=coherence, equaliser=equaliser)
            _, record, rates[equaliser] = play(behind(Fresh(SPEC)), channel=channel, snr_db=30.0)
            # Where values have met fades of their own, all orders say no less than sorted values.
            assert record["comparison"] in (("orders", "sorted") if coherence < N else ("sorted",))
            if coherence < N:
                assert record["top1"]["orders"] >= record["top1"]["sorted"]
        assert rates["mmse"] > 0.3 and list(rates.values()) == pytest.approx([rates["mmse"]] * 3, abs=0.01)


def test_without_csi_there_is_no_fading_to_undo():
    threat = ThreatModel(candidate_queries=True, csi=False)
    _, record, _ = play(behind(), channel=Rayleigh(coherence=4), threat=threat)
    assert not any(name.startswith("fading") for name in record["top1"])


def test_scores_over_a_fading_link_are_log_likelihoods():
    for tiled in [False, True]:
        for equaliser in ("mmse", "zf", None):
            h = torch.randn(5, 4, dtype=torch.complex128, generator=g())
            x = torch.randn(7, 2 * N, dtype=torch.float64, generator=g(1))
            snr = torch.tensor([0.0, 5.0, 10.0, 20.0, -5.0], dtype=torch.float64)[:, None]
            gain = h.repeat(1, N // 4) if tiled else h.repeat_interleave(N // 4, 1)
            raw = torch.randn(5, N, dtype=torch.complex128, generator=g(2))
            waves = torch.view_as_complex(x.unflatten(1, (N, 2)))
            n0 = noise_power(snr)
            wanted = -(raw[:, None] - gain[:, None] * waves).abs().square().sum(2)
            received = {
                "mmse": raw * gain.conj() / (gain.abs().square() + n0),
                "zf": raw / gain,
                None: raw,
            }[equaliser]
            csi = torch.cat([snr, torch.view_as_real(h).flatten(1)], 1)
            uses = torch.arange(N) % 4 if tiled else torch.arange(N) // (N // 4)
            layout = CSILayout(tuple(uses.tolist()), equaliser)
            one = torch.view_as_real(received).flatten(1)[:, None], csi[:, None]
            found = fading_scores(*one, x, layout).double()
            assert torch.allclose(found, wanted - wanted.amax(1, keepdim=True), atol=1e-4)


# -- several receptions of an image -----------------------------------------------------------------


def test_log_likelihoods_of_several_receptions_add_up():
    """Law: minus squared distances over N0, absolute ones over its root; each row up to a constant."""
    attacker, view = fitted(make_scheme(Points(SPEC)), channel=Rayleigh(coherence=4), constellation="16qam")
    symbols = attacker._symbols(view.images(torch.arange(50)))
    reception, _ = view.sample(torch.arange(150) % 50)
    both = reception.received, reception.csi
    received, csi = (one.unflatten(0, (3, 50)).transpose(0, 1).clone() for one in both)
    csi[:, :, 0] += torch.tensor([0.0, -3.0, 5.0])
    n0 = noise_power(csi[:, :, :1])
    whole_n0 = 1 / (1 / n0).sum(1)
    for name in attacker._comparisons(fading=True):

        def logarithm(scores, n0, name=name):
            if name == "counts":
                return scores
            return (
                scores / n0.sqrt() if name == "l1" else scores / n0 if name == "fading" else -(scores**2) / n0
            )

        each = [attacker._scores(name, received[:, r], csi[:, r], symbols) for r in range(3)]
        wanted = sum(logarithm(one, n0[:, r]) for r, one in enumerate(each))
        found = logarithm(attacker._scores(name, received, csi, symbols), whole_n0)
        difference = found - wanted
        assert torch.allclose(difference, difference[:, :1].expand_as(difference), rtol=1e-4, atol=1e-2), name
        once = attacker._scores(name, received[:, :1], csi[:, :1], symbols)
        assert torch.equal(once, each[0]), "a single one is a single one"


def test_several_receptions_are_used_also_under_a_key_for_each():
    """Over AWGN eight are one at 9 dB more; and what each of eight keys leaves as it was is the image's."""
    for scheme, snr_db, least in ((behind(), -15.0, 0.2), (behind(Fresh(SPEC)), 15.0, 0.1)):
        rates = {}
        for receptions in (1, 8):
            threat = ThreatModel(candidate_queries=True, receptions=receptions)
            *_, rates[receptions] = play(scheme, snr_db=snr_db, threat=threat)
        assert rates[8] > rates[1] + least
        if scheme.stages:
            continue
        *_, better = play(scheme, snr_db=snr_db + 10 * math.log10(8))
        assert rates[8] == pytest.approx(better, abs=0.1)


# -- what it may and what it remembers --------------------------------------------------------------


def fitted(scheme, *, channel=None, constellation=None, **threat):
    rules = {"num_symbols": N, "channel": channel or AWGN(), "constellation": constellation}
    game = Game(make_source("shapes", half="attacker", num_images=200, size=SIDE), **rules)
    view = View(game, scheme, ThreatModel(candidate_queries=True, **threat), g())
    attacker = make_eavesdropper("match-query", game.spec).eval()
    attacker.fit(view, generator=g())
    return attacker, view


def test_whoever_may_not_have_candidates_encoded_is_told_before_spending_anything():
    game = Game(make_source("shapes", half="attacker", num_images=100, size=SIDE), num_symbols=N)
    for scheme, threat in ((behind(), ThreatModel()), (Recorded(torch.randn(50, 2 * N, generator=g())), ASK)):
        view = View(game, scheme, threat, g())
        with refused("encoded", DeniedError):
            make_eavesdropper("match-query", game.spec).fit(view, generator=g())
        assert view.queries == 0


def test_the_same_candidates_get_the_same_answer_also_from_a_stochastic_encoder():
    attacker, _ = fitted(behind(Noise(SPEC)))
    received, csi = torch.randn(4, 2 * N, generator=g()), torch.full((4, 1), 12.0)
    sets = [torch.rand(6, 3, SIDE, SIDE, generator=g(seed)) for seed in (1, 2)]
    first = [attacker.match(received, csi, images) for images in sets]
    again = [attacker.match(received, csi, images.clone()) for images in sets]
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    for seed in range(40):
        attacker.match(received, csi, torch.rand(2, 3, SIDE, SIDE, generator=g(seed)))
    assert len(attacker._remembered) == 32, "what it remembers is bounded"
    sets[0][0] += 0.01  # changed in place: another set, though at the same address
    assert not torch.equal(attacker.match(received, csi, sets[0]), first[0])


def test_a_copy_from_a_file_has_no_encoder_until_it_is_fitted(tmp_path):
    attacker, view = fitted(behind())
    save_checkpoint(tmp_path / "q.safetensors", attacker, {})
    loaded = load_checkpoint(tmp_path / "q.safetensors").policy
    images = torch.rand(3, 3, SIDE, SIDE, generator=g())
    arguments = (torch.zeros(2, 2 * N), torch.full((2, 1), 12.0), images)
    with refused("encoder fit"):
        loaded.match(*arguments)
    loaded.fit(view, generator=g())
    assert torch.equal(loaded.match(*arguments), attacker.match(*arguments))
    assert torch.equal(copy.deepcopy(attacker).match(*arguments), attacker.match(*arguments))
