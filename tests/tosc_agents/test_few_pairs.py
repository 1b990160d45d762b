"""Re-identification under a key that stays, from a few pairs; and the likelihoods behind it and others."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from links import seeded as g
from pixels import Noise, Pixels
from refusals import refused
from scipy.special import erfc
from tosc_agents.eavesdroppers.few_pairs import KINDS, mean_cosines
from tosc_agents.eavesdroppers.likelihoods import (
    codeword_posteriors,
    codewords_likelihood,
    counts_likelihood,
    gaussian_likelihood,
    log_mean_over_permutations,
    permuted_likelihood,
)
from tosc_agents.training.evaluate import evaluate
from tosc_agents.training.fit_eavesdropper import fit_eavesdropper

from tosc_env import metrics
from tosc_env.attackers import make_eavesdropper
from tosc_env.channels.flat import AWGN, Rayleigh
from tosc_env.data import make_source
from tosc_env.game import Game
from tosc_env.modulation import constellation_points, histogram, modulate
from tosc_env.pipeline import make_scheme
from tosc_env.privacy.threat import ThreatModel
from tosc_env.types import CSILayout, SystemSpec

N = 8


def play(kind, key, pairs, noise, trials=200, among=16, reals=2 * N, last=None, fades=False):
    """The share of messages that are identified among some, each under a key of its own (or the last one ``last``)."""
    stream, hits = g(), 0.0
    for _ in range(trials):
        turn = key(reals, stream)
        s = torch.randn(pairs + among, reals, generator=stream)
        s = s / s.norm(dim=1, keepdim=True) * math.sqrt(reals / 2)
        w = torch.full((pairs + 1, reals), noise)
        if fades:
            w = w / torch.empty_like(w).exponential_(generator=stream)
        y = s[: pairs + 1] @ turn + w.sqrt() * torch.randn(pairs + 1, reals, generator=stream)
        own = y[pairs:] if last is None else y[pairs:] @ last
        known = KINDS[kind].learn(s[:pairs], y[:pairs], w[:pairs])
        scores = KINDS[kind].scores(known, own, w[pairs:], s[pairs:])
        hits += float(metrics.reidentification(scores))
    return hits / trials


def rotation(reals, stream):
    return torch.linalg.qr(torch.randn(reals, reals, generator=stream)).Q


def permutation(reals, stream):
    return torch.eye(reals)[torch.randperm(reals, generator=stream)]


def test_without_noise_as_many_pairs_as_values_open_every_rotation():
    assert play("rotation", rotation, 2 * N, 1e-6, trials=50) == 1.0


def test_pairs_of_one_rotation_identify_more_the_more_there_are():
    rates = [play("rotation", rotation, pairs, 0.1, trials=100) for pairs in (1, 4, 12)]
    assert 2 / 16 < rates[0] < rates[1] - 0.1 and rates[1] < rates[2] - 0.2


def test_the_mean_of_a_rotation_given_pairs_is_that_over_all_rotations():
    """Law: of the density ``exp(sum f_j R_jj)``, by 30,000 rotations and reflections drawn evenly."""
    for f in ([1.0, 1.0, 1.0], [5.0, 0.0, 0.0], [4.0, 2.0, 1.0], [10.0, 10.0, 10.0]):
        factors = torch.linalg.qr(torch.randn(30_000, 3, 3, generator=g()))
        evenly = factors.Q * factors.R.diagonal(dim1=1, dim2=2).sign()[:, None]
        cosines = evenly.diagonal(dim1=1, dim2=2)
        exact = (cosines @ torch.tensor(f)).softmax(0) @ cosines
        assert torch.allclose(mean_cosines(torch.tensor(f)), exact, atol=0.05)


def test_noise_is_what_it_was_where_each_value_was_received():
    """Law: with the key all but known, as many are identified as by the likelihood of s R in that noise."""
    by_pairs = play("rotation", rotation, 200, 0.4, trials=60, fades=True)
    hits, stream = 0.0, g(7)
    for _ in range(1000):
        s = torch.randn(16, 2 * N, generator=stream)
        s = s / s.norm(dim=1, keepdim=True) * math.sqrt(N)
        w = 0.4 / torch.empty(2 * N).exponential_(generator=stream)
        y = s[:1] + w.sqrt() * torch.randn(1, 2 * N, generator=stream)
        hits += float(metrics.reidentification(-((y[:, None] - s).square() / w).sum(2)))
    exact = hits / 1000
    assert by_pairs == pytest.approx(exact, abs=3 * (exact * (1 - exact) / 60) ** 0.5)


def test_one_pair_of_a_permutation_says_more_than_its_inner_product():
    by_inner, by_place = (
        play(kind, permutation, 1, 0.03, trials=100) for kind in ("rotation", "permutation")
    )
    assert by_place > by_inner + 0.2


def test_pairs_of_another_key_say_nothing():
    """Law: chance, 1 in 16, within three standard errors."""
    trials = 200
    spread = 3 * math.sqrt(1 / 16 * 15 / 16 / trials)
    assert abs(play("rotation", rotation, 4, 0.01, trials, last=rotation(2 * N, g(1))) - 1 / 16) < spread


def signed_permutation(reals, stream):
    return permutation(reals, stream) * (2.0 * torch.randint(2, (reals,), generator=stream) - 1)


def test_the_mean_over_permutations_is_that_of_all_of_them():
    """Law: exact where no permutation is likelier than another, and within half a unit while none is certain; of a
    single one that is, more than the right value by what Bethe's free energy lacks of equal entries."""
    size = 6
    every = torch.tensor(list(itertools.permutations(range(size))))
    for scale, error in ((0.0, 1e-4), (1.0, 0.5), (2.0, 0.5)):
        fit = scale * torch.randn(50, size, size, generator=g())
        exact = fit[:, torch.arange(size), every].sum(2).logsumexp(1) - math.log(len(every))
        found, chance = log_mean_over_permutations(fit)
        assert float((found - exact).abs().max()) < error
        assert torch.allclose(chance.sum(1), torch.ones(50, size), atol=1e-4)
    found, chance = log_mean_over_permutations(100 * torch.eye(size)[every[100]])
    lacks = math.log(2 * math.pi * size / math.e) / 2
    assert float(found) == pytest.approx(100 * size - math.log(len(every)) + lacks, abs=0.05)
    assert torch.allclose(chance, torch.eye(size)[every[100]])


def test_signs_add_to_a_permutation_what_they_add_to_its_likelihood():
    """Law: of two values, which two orders and four pairs of signs can have brought, the sum over all eight."""
    s, y, w = torch.tensor([[0.3, -0.9]]), torch.tensor([[0.8, 0.2]]), torch.tensor([[0.4, 0.7]])
    keys = [
        torch.tensor(signs) * torch.eye(2)[list(order)]
        for order in itertools.permutations(range(2))
        for signs in itertools.product((1.0, -1.0), repeat=2)
    ]
    exact = torch.stack([torch.distributions.Normal(s @ key, w.sqrt()).log_prob(y).sum() for key in keys])
    assert KINDS["signed permutation"].evidence(s, y, w) == pytest.approx(
        float(exact.logsumexp(0)) - math.log(8), abs=0.05
    )


def test_a_pair_under_an_unknown_rotation_is_normal():
    s, y, w = (
        torch.randn(1, 16, generator=g()),
        torch.randn(1, 16, generator=g(1)),
        torch.rand(1, 16, generator=g(2)),
    )
    wanted = torch.distributions.Normal(0.0, (s.square().mean() + w).sqrt()).log_prob(y).sum()
    assert KINDS["rotation"].evidence(s, y, w) == pytest.approx(float(wanted), abs=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_pairs_tell_their_kind_of_key(kind):
    """Law: one pair at 20 dB, four at 6 dB."""
    stream = g()
    make = {"rotation": rotation, "permutation": permutation, "signed permutation": signed_permutation}[kind]
    for pairs, snr_db in ((1, 20.0), (4, 6.0)):
        w = torch.full((pairs, 1), 10 ** (-snr_db / 10) / 2)
        right = 0
        for _ in range(20):
            s = torch.randn(pairs, 64, generator=stream) * math.sqrt(0.5)
            y = s @ make(64, stream) + w.sqrt() * torch.randn(pairs, 64, generator=stream)
            found = {name: each.evidence(s, y, w) for name, each in KINDS.items()}
            right += max(found, key=lambda name: found[name]) == kind
        assert right >= 18


SPEC = SystemSpec((3, 16, 16), 10, 24)
ASK = {"candidate_queries": True, "unkeyed_encoder": True}


def attack(mode, channel=None, *, snr_db=12.0, pairs=32, noise=None, options=None, seeds=1, **threat):
    """The kind that is found, and the share of 200 test images that is identified under a key that stays."""
    rules = {"num_symbols": 24, "snr_db": snr_db, "channel": channel or AWGN()}
    train, test = (
        Game(make_source("shapes", num_images=count, size=16, **part), **rules)
        for count, part in ((400, {"half": "attacker"}), (200, {"split": "test"}))
    )
    keyed = {"name": "keyed", "mode": mode, "lifetime": "fixed", "key": "11" * 32}
    stages = [keyed] if noise is None else [Noise(SPEC, scale=noise), keyed]
    scheme = make_scheme(Pixels(SPEC), stages=stages)
    grants = ThreatModel(**ASK, **threat)
    options = {"pairs": pairs, **(options or {})}
    attacker, record = fit_eavesdropper("few-pairs", train, scheme, threat=grants, options=options)
    rules = {"snr_db": (snr_db,), "seeds": seeds, "with_ssim": False, "candidates": 200}
    found = evaluate(test, scheme, {"few": attacker}, **rules)
    return record["fit"]["kind"], found.leaks["few"][snr_db]["reid_query"].mean


FADING = [Rayleigh(coherence=1, equaliser=equaliser) for equaliser in ("mmse", "zf", None)]


@pytest.mark.parametrize(
    ("channel", "csi", "least"),
    [(AWGN(), True, 0.8), (AWGN(), False, 0.8)]
    + [(Rayleigh(coherence=4, equaliser=equaliser), True, 0.4) for equaliser in ("mmse", "zf", None)],
    ids=["awgn", "denied", "mmse", "zf", "raw"],
)
def test_a_held_rotation_is_no_shelter_over_any_link(channel, csi, least):
    """Law: fades are taken from the CSI whatever the equaliser, and where it is denied the SNR is the link's usual."""
    kind, rate = attack("rotation", channel, csi=csi)
    assert kind == "rotation" and rate > least


@pytest.mark.parametrize(
    ("mode", "pairs", "kind", "least"),
    [
        ("shuffle", 1, "permutation", 0.8),
        ("shuffle", 64, "permutation", 0.99),
        ("shuffle+signs", 2, "signed permutation", 0.8),
    ],
)
def test_a_held_shuffle_is_opened_by_a_pair_or_two(mode, pairs, kind, least):
    found, rate = attack(mode, pairs=pairs)
    assert found == kind and rate > least


def test_behind_a_shuffle_each_value_has_the_gain_of_the_use_that_it_was_received_at():
    """Law: no equaliser makes a difference, and four pairs do nearly as well as over a link that does not fade."""
    (kind, rate), *others = [attack("shuffle", channel, pairs=4) for channel in FADING]
    assert kind == "permutation" and rate > 0.9
    assert all(other == (kind, pytest.approx(rate, abs=0.01)) for other in others)


def test_where_no_csi_tells_the_noise_a_shuffle_is_known_as_one_all_the_same():
    kind, rate = attack("shuffle", FADING[1], pairs=16, csi=False)
    assert kind == "permutation" and rate > 0.8


def test_averaging_encodings_sees_through_a_stochastic_encoder():
    one, many = (attack("shuffle", noise=0.5, pairs=4, options={"encodings": e})[1] for e in (1, 16))
    assert many > one + 0.1


def test_candidates_are_encoded_once():
    """Law: 200 are allowed, and two draws of the same 200 test images need no more."""
    assert attack("shuffle", pairs=4, seeds=2, queries=50, candidates=200)[1] > 0.9


def test_it_cannot_match_before_it_is_fitted():
    with refused("'few-pairs' fit it"):
        make_eavesdropper("few-pairs").match(
            torch.zeros(1, 128), torch.zeros(1, 1), torch.zeros(1, 3, 32, 32)
        )


# -- likelihoods ------------------------------------------------------------------------------------


def test_the_gaussian_likelihood_is_that_of_the_raw_reception():
    """Law: of y = g s + n the normal density, up to what all candidates share, one spread for all or one each."""
    mean, variance = torch.randn(5, 6, generator=g()), torch.rand(5, 6, generator=g(1)) + 0.1
    gain, noise = torch.rand(4, 6, generator=g(2)), torch.rand(4, 1, generator=g(3)) + 0.1
    for g_, w in ((gain, noise), (torch.ones(4, 6), noise[:1].expand(4, 1))):
        y = torch.randn(4, 6, generator=g(4))
        spread = g_[:, None].square() * variance + w[:, None]
        wanted = torch.distributions.Normal(g_[:, None] * mean, spread.sqrt()).log_prob(y[:, None]).sum(2)
        powers = (g_.square(), g_.square()[:1, :1]) if bool((g_ == 1).all()) else (g_.square(),)
        for power in powers:
            found = gaussian_likelihood(g_ * y, power, w, mean, variance)
            difference = wanted - found
            assert torch.allclose(difference, difference[:, :1].expand_as(difference), atol=1e-4)


def test_posteriors_of_codewords_decide_as_often_wrongly_as_theory_says():
    """QPSK over AWGN: a bit is wrong with probability Q(sqrt(Es/N0)); the posteriors are that of the right point."""
    points, snr = constellation_points("qpsk"), 6.0
    index = torch.randint(4, (2000, N), generator=g())
    received = modulate(index, points)
    n0 = 10 ** (-snr / 10)
    received = received + math.sqrt(n0 / 2) * torch.randn(received.shape, generator=g(1))
    log = codeword_posteriors(received, torch.full((2000, 1), snr), CSILayout(), points)
    assert torch.allclose(log.exp().sum(2), torch.ones(2000, N), atol=1e-5)
    wrong = float((log.argmax(2) != index).float().mean())
    bit = 0.5 * erfc(math.sqrt(1 / n0) / math.sqrt(2))
    expected = 1 - (1 - bit) ** 2
    spread = 4 * math.sqrt(expected / (2000 * N))
    assert wrong == pytest.approx(expected, abs=spread)
    assert float(1 - log.exp().amax(2).mean()) == pytest.approx(expected, abs=spread), "they are calibrated"
    sure = torch.nn.functional.one_hot(index[:50], 4).float().clamp_min(1e-9).log()
    scores = codewords_likelihood(log[:50], sure)
    assert float(metrics.reidentification(scores).mean()) == 1.0


def test_counts_of_points_identify_whatever_the_order():
    points, snr = constellation_points("16qam"), 12.0
    index = torch.randint(16, (100, 64), generator=g())
    counts = histogram(modulate(index, points), points)
    orders = torch.rand(100, 64, generator=g(1)).argsort(1)
    received = modulate(index.gather(1, orders), points)
    received = received + math.sqrt(10 ** (-snr / 10) / 2) * torch.randn(received.shape, generator=g(2))
    csi = torch.full((100, 1), snr)
    soft = counts_likelihood(received, csi, CSILayout(), points, counts)
    hard = -torch.cdist(histogram(received, points), counts)
    rates = [float(metrics.reidentification(scores).mean()) for scores in (soft, hard)]
    assert rates[0] >= rates[1] and rates[0] > 0.95


def test_the_likelihood_of_symbols_in_an_unknown_order_is_the_mean_over_all_orders():
    """QPSK of six uses over flat fades: all 84 ways to send so many of each point, all orders of each summed up."""
    points, uses = constellation_points("qpsk"), 6
    messages = torch.cartesian_prod(*[torch.arange(4)] * uses)
    each = torch.nn.functional.one_hot(messages, 4).sum(1)
    counts, kind, orders = each.unique(dim=0, return_inverse=True, return_counts=True)
    truth = torch.randint(len(counts), (300,), generator=g())
    sent = modulate(messages[[int((kind == one).nonzero()[0]) for one in truth]], points)
    h = torch.randn(300, 1, dtype=torch.complex64, generator=g(1))
    noise = 0.3 * torch.randn(300, uses, dtype=torch.complex64, generator=g(2))
    waves = torch.view_as_complex(sent.unflatten(1, (uses, 2))) * h + noise
    csi = torch.cat([torch.full((300, 1), -20 * math.log10(0.3)), torch.view_as_real(h).flatten(1)], dim=1)
    heard = torch.view_as_real(waves).flatten(1), csi, CSILayout(equaliser=None)
    log = codeword_posteriors(*heard, points)
    whole = torch.stack([log[:, use, messages[:, use]] for use in range(uses)]).sum(0).exp()
    exact = (torch.zeros(300, len(counts)).index_add_(1, kind, whole) / orders).log()
    found = counts_likelihood(*heard, points, counts.float())
    share, best = (float(metrics.reidentification(scores, truth).mean()) for scores in (found, exact))
    assert best > 0.5 and share == pytest.approx(best, abs=0.03)
    likely = exact > exact.amax(1, keepdim=True) - 5
    error = (found - exact) - (found - exact)[torch.arange(300), truth][:, None]
    assert float(error[likely].abs().mean()) < 0.4, "in nats, of those within 5"
    nothing = permuted_likelihood(torch.full((1, uses, 4), 0.25), counts.float())
    assert torch.allclose(nothing, nothing[:, :1].expand_as(nothing), atol=1e-4), (
        "nothing heard, nothing said"
    )


def test_a_message_is_weighed_by_its_own_gains_whoever_is_heard_with_it():
    points, snr = constellation_points("16qam"), 12.0
    index = torch.randint(16, (60, 64), generator=g())
    counts, sent = histogram(modulate(index, points), points), modulate(index, points)
    for fades, uses in ((1, ()), (16, tuple((torch.arange(64) // 4).tolist()))):
        h = torch.randn(60, fades, dtype=torch.complex64, generator=g(1))
        noise = 10 ** (-snr / 20) * torch.randn(60, 64, dtype=torch.complex64, generator=g(2))
        gains = h.repeat_interleave(64 // fades, 1)
        waves = torch.view_as_complex(sent.unflatten(1, (64, 2))) * gains + noise
        received = torch.view_as_real(waves).flatten(1)
        csi = torch.cat([torch.full((60, 1), snr), torch.view_as_real(h).flatten(1)], dim=1)
        rest = CSILayout(uses, None), points, counts
        together = counts_likelihood(received, csi, *rest)
        alone = torch.cat([counts_likelihood(received[i : i + 1], csi[i : i + 1], *rest) for i in range(60)])
        assert torch.allclose(together, alone, rtol=1e-4, atol=1e-3)
        assert float(metrics.reidentification(together).mean()) > 0.75


def test_the_spec_of_the_system_is_the_attackers():
    spec = SystemSpec((3, 32, 32), 10)
    assert make_eavesdropper("few-pairs", spec).spec == spec
