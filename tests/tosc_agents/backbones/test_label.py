"""The obvious rival sends nothing but its decision, as well as it can be sent."""

from __future__ import annotations

import pytest
import torch
from links import seeded as g
from refusals import refused
from tosc_agents.backbones.label import Label
from tosc_agents.learning.seeding import weights_from
from tosc_agents.training.fit_scheme import SchemeTraining, Trainee

from tosc_env.channels.base import noise_power
from tosc_env.channels.flat import Rayleigh
from tosc_env.data import make_source
from tosc_env.game import Game
from tosc_env.pipeline import make_scheme
from tosc_env.schemes import make_objectives
from tosc_env.types import Context, SystemSpec

TINY = {"stem": 4, "widths": (4, 8, 8), "blocks": (1, 0, 1), "receiver_width": 16, "receiver_depth": 1}


def make(spec=None, **options):
    with weights_from(0):
        return make_scheme(
            "label-only", spec or SystemSpec((3, 32, 32), 10), **TINY, **options
        ).backbone.eval()


def context(batch_size, snr_db=12.0):
    return Context(torch.full((batch_size,), float(snr_db)), torch.zeros(batch_size, 5, dtype=torch.long))


def sent_and_received(scheme, labels, snr_db, seed=0):
    """The codewords of given labels over AWGN, and what the receiver decides."""
    symbols = scheme.codewords[labels]
    spread = (noise_power(torch.tensor(float(snr_db))) / 2).sqrt()
    received = symbols + spread * torch.randn(symbols.shape, generator=g(seed))
    return scheme.decode(received, torch.full((len(labels), 1), float(snr_db)), context(len(labels), snr_db))


def test_the_label_is_what_the_transmitter_itself_decides():
    scheme = make()
    images = torch.rand(64, 3, 32, 32, generator=g())
    symbols = scheme.encode(images, context(64))
    decided = scheme.logits(images).argmax(1)
    logits = scheme.decode(symbols, torch.full((64, 1), 12.0), context(64))
    assert torch.equal(logits.argmax(1), decided)


def test_every_label_arrives_without_error_at_a_high_snr():
    for outputs, bits in [(2, 1), (10, 4), (16, 4), (17, 5)]:
        for num_symbols in [5, 64]:
            scheme = make(SystemSpec((3, 8, 8), outputs, num_symbols))
            labels = torch.arange(outputs).repeat(50)
            assert scheme.bits == bits
            assert torch.equal(sent_and_received(scheme, labels, 20.0).argmax(1), labels)


def test_logits_are_log_likelihoods_up_to_a_constant():
    scheme = make(SystemSpec((3, 8, 8), 10, 8))
    received, csi = torch.randn(5, 16, generator=g()), torch.full((5, 1), 3.0)
    logits = scheme.decode(received, csi, context(5, 3.0)).double()
    noise = 10 ** (-0.3)
    exact = -torch.cdist(received.double(), scheme.codewords.double()).square() / noise
    assert torch.allclose(logits.log_softmax(1), exact.log_softmax(1), atol=1e-4)


def test_attributes_are_sent_as_bits_of_their_own():
    scheme = make(SystemSpec((3, 8, 8), 3, 16, binary=True))
    images = torch.rand(200, 3, 8, 8, generator=g())
    own = scheme.logits(images) > 0
    symbols = scheme.encode(images, context(200))
    game = Game(
        make_source("shapes", num_images=8, size=16, binary_attributes=["a", "b", "c"]),
        task="attributes",
        task_kwargs={"names": ["a", "b", "c"]},
        num_symbols=16,
        constellation="qpsk",
    )
    assert torch.equal(game.normalise(symbols), symbols) and scheme.bits == 3
    noisy = symbols + 0.1 * torch.randn(symbols.shape, generator=g(1))
    decided = game.task.decide(scheme.decode(noisy, torch.full((200, 1), 17.0), context(200)))
    assert torch.equal(decided, own.long())


def test_training_it_trains_the_decision_at_the_transmitter():
    spec = SystemSpec((3, 16, 16), 10, 8)
    with weights_from(0):
        scheme = make_scheme("label-only", spec, **TINY)
    game = Game(make_source("shapes", num_images=32, size=16), num_symbols=8, constellation="qpsk")
    trainee = Trainee(scheme, make_objectives("task", spec), game, SchemeTraining(), g()).train()
    loss, figures = trainee(torch.arange(16))
    loss.backward()
    assert all(p.grad is not None for p in scheme.parameters()) and 0 <= figures["accuracy"] <= 1


def test_it_decides_as_the_other_backbone_does_over_a_clear_link():
    spec = SystemSpec((3, 16, 16), 10, 8)
    with weights_from(0):
        other = make_scheme("ibal", spec, **TINY).eval().backbone
    images = torch.rand(8, 3, 16, 16, generator=g())
    symbols = other.encode(images, context(8))
    sent = symbols * torch.rsqrt(symbols.square().sum(1, keepdim=True) / 8)
    wanted = other.decode(sent, torch.full((8, 1), 20.0), context(8, 20.0))
    assert torch.allclose(Label(spec, backbone=other).eval().logits(images), wanted, atol=1e-5)


@pytest.mark.parametrize("equaliser", ["mmse", "zf", None])
def test_over_fading_links_the_label_is_the_likeliest_one(equaliser):
    """Of ten labels at 20 dB over Rayleigh fading in each channel use hardly any is lost, whatever the equaliser."""
    channel = Rayleigh(coherence=1, equaliser=equaliser)
    source = make_source("shapes", num_images=200)
    game = Game(source, channel=channel, snr_db=20.0, constellation="qpsk")
    scheme = Label(game.spec).eval()
    round_ = game.draw(400, generator=g())
    sent = scheme.codewords[torch.arange(400) % 10]
    reception = game.transmit(round_, sent).receiver
    logits = scheme.decode(reception.received, reception.csi, game.context(round_))
    assert float((logits.argmax(1) == torch.arange(400) % 10).float().mean()) == 1.0
    link = round_.links["receiver"]
    waves = torch.view_as_complex(scheme.codewords.unflatten(1, (64, 2)))
    raw = channel.apply(torch.view_as_complex(sent.unflatten(1, (64, 2)))[:, None], link)[:, 0]
    gains = channel.gains(link, 64)[:, 0, 0]
    likelihood = (
        -(raw[:, None] - gains[:, None] * waves).abs().square().sum(2) / noise_power(link.snr_db)[:, None]
    )
    assert torch.allclose(logits.log_softmax(1), likelihood.log_softmax(1), atol=0.05, rtol=1e-3)


def test_a_message_too_short_for_the_labels_is_refused():
    with refused("7 4 3"):
        Label(SystemSpec((3, 32, 32), 100, num_symbols=3))
    with refused("9 5 4"):
        Label(SystemSpec((3, 32, 32), 9, num_symbols=4, binary=True))
