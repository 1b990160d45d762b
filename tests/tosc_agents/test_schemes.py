"""Every registered scheme keeps the laws; the baseline has the article's size; the label-only rival is optimal."""

from __future__ import annotations

import math

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from tosc_agents.learning.seeding import weights_from

from tosc_env.channels import noise_power
from tosc_env.data import make_source
from tosc_env.errors import InputError
from tosc_env.game import Game
from tosc_env.modulation import constellation_points
from tosc_env.policies import Context, SystemSpec, make_scheme, schemes
from tosc_env.testing import check_scheme

OURS = [name for name in schemes if schemes.origin(name).startswith("tosc_agents")]
TINY = {"stem": 4, "widths": (4, 8, 8), "blocks": (1, 0, 1), "receiver_width": 16, "receiver_depth": 1}


def g(seed=0):
    return torch.Generator().manual_seed(seed)


def make(name, spec=None, seed=0, **options):
    with weights_from(seed):
        return make_scheme(name, spec or SystemSpec((3, 32, 32), 10), **options).eval()


def context(batch_size, snr_db=12.0):
    return Context(torch.full((batch_size,), float(snr_db)), torch.zeros(batch_size, 3, dtype=torch.long))


# -- all of them ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", OURS)
def test_every_registered_scheme_keeps_the_laws(name):
    check_scheme(make(name))


@pytest.mark.parametrize("name", OURS)
def test_every_registered_scheme_works_with_small_networks_other_sizes_and_a_fading_link(name):
    small = {"inner_options": TINY} if name == "layered" else TINY
    check_scheme(make(name, SystemSpec((1, 16, 24), 4, num_symbols=16, num_csi=3), **small))


@pytest.mark.parametrize("name", OURS)
@pytest.mark.parametrize("side", [32, 64])
def test_image_sizes_of_both_data_sets(name, side):
    scheme = make(name, SystemSpec((3, side, side), 10))
    symbols = scheme.encode(torch.rand(2, 3, side, side, generator=g()), context(2))
    assert symbols.shape == (2, 128)


@pytest.mark.parametrize("shape", [(3, 30, 32), (3, 32, 28), (3, 17, 17)])
@pytest.mark.parametrize("name", OURS)
def test_sides_that_are_no_multiple_of_8_are_refused(name, shape):
    with pytest.raises(InputError, match=f"multiples of 8, not {shape[1]}x{shape[2]}"):
        make(name, SystemSpec(shape, 10))


@pytest.mark.parametrize("name", OURS)
def test_an_unknown_option_is_one_sentence(name):
    with pytest.raises(InputError, match=f"{name!r} has no option 'stemm'"):
        make(name, stemm=4)


@pytest.mark.parametrize("name", OURS)
def test_no_channel_use_is_no_system(name):
    with pytest.raises(InputError, match="num_symbols must be at least 1, not 0"):
        make(name, SystemSpec((3, 32, 32), 10, 0))


# -- deepjscc ---------------------------------------------------------------------------------------


def test_the_baseline_has_the_size_that_the_article_gives():
    """3.19 M parameters and 0.085 G multiply-accumulates for one 32x32 image, both ends together."""
    scheme = make("deepjscc")
    parameters = sum(p.numel() for p in scheme.parameters())
    assert parameters == pytest.approx(3.19e6, rel=0.03)
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        symbols = scheme.encode(torch.rand(1, 3, 32, 32, generator=g()), context(1))
        scheme.decode(symbols, torch.full((1, 1), 12.0), context(1))
    assert counter.get_total_flops() / 2 == pytest.approx(0.085e9, rel=0.03)


def test_a_receiver_told_a_constant_does_not_look_at_its_links_snr():
    received = torch.randn(3, 128, generator=g())
    low, high = torch.full((3, 1), 0.0), torch.full((3, 1), 20.0)
    fixed, aware = make("deepjscc", **TINY, told_snr_db=12.0), make("deepjscc", **TINY)
    assert torch.equal(fixed.decode(received, low, context(3)), fixed.decode(received, high, context(3)))
    assert not torch.equal(aware.decode(received, low, context(3)), aware.decode(received, high, context(3)))
    assert torch.equal(
        fixed.decode(received, low, context(3)), aware.decode(received, torch.full((3, 1), 12.0), context(3))
    )


def test_stages_need_one_width_and_one_block_count_each():
    with pytest.raises(InputError, match=r"one entry per stage, not \[4, 4\] and \[1\]"):
        make("deepjscc", widths=(4, 4), blocks=(1,))


# -- label-only -------------------------------------------------------------------------------------


def sent_and_received(scheme, labels, snr_db, seed=0):
    """The codewords of given labels over AWGN, and what the receiver decides."""
    symbols = scheme.codewords[labels]
    spread = (noise_power(torch.tensor(float(snr_db))) / 2).sqrt()
    received = symbols + spread * torch.randn(symbols.shape, generator=g(seed))
    return scheme.decode(received, torch.full((len(labels), 1), float(snr_db)), context(len(labels), snr_db))


def test_the_label_is_what_the_transmitter_itself_decides():
    scheme = make("label-only", **TINY)
    images = torch.rand(64, 3, 32, 32, generator=g())
    symbols = scheme.encode(images, context(64))
    decided = scheme.logits(images, context(64)).argmax(1)
    logits = scheme.decode(symbols, torch.full((64, 1), 12.0), context(64))
    assert torch.equal(logits.argmax(1), decided)


def test_its_symbols_are_points_of_qpsk_with_unit_energy():
    scheme = make("label-only", **TINY)
    symbols = scheme.encode(torch.rand(16, 3, 32, 32, generator=g()), context(16))
    points = constellation_points("qpsk")
    waves = torch.view_as_complex(symbols.unflatten(1, (64, 2)))
    assert float((waves[..., None] - points).abs().amin(-1).max()) < 1e-6
    assert torch.allclose(waves.abs(), torch.ones(16, 64))


@pytest.mark.parametrize(("outputs", "bits"), [(2, 1), (3, 2), (10, 4), (16, 4), (17, 5)])
@pytest.mark.parametrize("num_symbols", [5, 64])
def test_every_label_arrives_without_error_at_a_high_snr(outputs, bits, num_symbols):
    scheme = make("label-only", SystemSpec((3, 8, 8), outputs, num_symbols), **TINY)
    labels = torch.arange(outputs).repeat(50)
    assert scheme.bits() == bits
    assert torch.equal(sent_and_received(scheme, labels, 20.0).argmax(1), labels)


def test_two_labels_err_at_the_rate_of_antipodal_repetition():
    """One bit over n channel uses: 2n reals of energy 1/2 each, so P = Q(sqrt(2 n Es/N0))."""
    n, snr_db = 4, -6.0
    scheme = make("label-only", SystemSpec((3, 8, 8), 2, n), **TINY)
    labels = torch.arange(2).repeat(20_000)
    wrong = float((sent_and_received(scheme, labels, snr_db).argmax(1) != labels).float().mean())
    theory = 0.5 * math.erfc(math.sqrt(2 * n * 10 ** (snr_db / 10)) / math.sqrt(2))
    assert wrong == pytest.approx(theory, abs=5 * math.sqrt(theory / 40_000))


def test_sixteen_labels_err_at_the_rate_of_four_repeated_bits():
    """All 16 words of 4 bits exist, so maximum likelihood decides bit by bit: P = 1 - (1 - Q)^4."""
    n, snr_db = 8, -4.0
    scheme = make("label-only", SystemSpec((3, 8, 8), 16, n), **TINY)
    labels = torch.arange(16).repeat(2_500)
    wrong = float((sent_and_received(scheme, labels, snr_db).argmax(1) != labels).float().mean())
    repeats = 2 * n / 4  # reals of energy 1/2 per bit, in noise of variance N0/2
    q = 0.5 * math.erfc(math.sqrt(repeats * 10 ** (snr_db / 10)) / math.sqrt(2))
    theory = 1 - (1 - q) ** 4
    assert wrong == pytest.approx(theory, abs=5 * math.sqrt(theory / 40_000))


def test_ten_labels_err_less_than_the_union_bound_and_more_than_the_nearest_pair():
    n, snr_db = 8, -2.0
    scheme = make("label-only", SystemSpec((3, 8, 8), 10, n), **TINY)
    labels = torch.arange(10).repeat(4_000)
    wrong = float((sent_and_received(scheme, labels, snr_db).argmax(1) != labels).float().mean())
    distance = torch.cdist(scheme.codewords, scheme.codewords)
    noise = float(noise_power(torch.tensor(snr_db))) / 2
    pairs = 0.5 * torch.erfc(distance / 2 / math.sqrt(2 * noise))
    pairs.fill_diagonal_(0)
    slack = 5 * math.sqrt(wrong / 40_000)
    assert float(pairs.max(1).values.mean()) - slack < wrong < float(pairs.sum(1).mean()) + slack


def test_logits_are_log_likelihoods_up_to_a_constant():
    scheme = make("label-only", SystemSpec((3, 8, 8), 10, 8), **TINY)
    received, csi = torch.randn(5, 16, generator=g()), torch.full((5, 1), 3.0)
    logits = scheme.decode(received, csi, context(5, 3.0)).double()
    noise = 10 ** (-0.3)
    exact = -torch.cdist(received.double(), scheme.codewords.double()).square() / noise
    assert torch.allclose(logits.log_softmax(1), exact.log_softmax(1), atol=1e-4)


def test_attributes_are_sent_as_bits_of_their_own():
    scheme = make("label-only", SystemSpec((3, 8, 8), 3, 16, binary=True), **TINY)
    images = torch.rand(200, 3, 8, 8, generator=g())
    own = scheme.logits(images, context(200)) > 0
    symbols = scheme.encode(images, context(200))
    game = Game(
        make_source("shapes", num_images=8, size=16, binary_attributes=["a", "b", "c"]),
        task="attributes",
        task_kwargs={"names": ["a", "b", "c"]},
        num_symbols=16,
        constellation="qpsk",
    )
    assert torch.equal(game.normalise(symbols), symbols) and scheme.bits() == 3
    noisy = symbols + 0.1 * torch.randn(symbols.shape, generator=g(1))
    decided = game.task.decide(scheme.decode(noisy, torch.full((200, 1), 17.0), context(200)))
    assert torch.equal(decided, own.long())


def test_training_it_trains_the_decision_at_the_transmitter():
    scheme = make("label-only", SystemSpec((3, 16, 16), 10, 8), **TINY).train()
    game = Game(make_source("shapes", num_images=32, size=16), num_symbols=8, constellation="qpsk")
    round_ = game.draw(16, generator=g())
    loss, figures = scheme.loss(game, round_, context(16), game.task)
    loss.backward()
    assert all(p.grad is not None for p in scheme.parameters()) and 0 <= figures["accuracy"] <= 1
