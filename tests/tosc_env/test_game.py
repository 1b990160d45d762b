"""The rules of the game: power, links, randomness, bookkeeping and scores."""

from __future__ import annotations

import json

import pytest
import torch
from links import seeded as g
from refusals import refused

from tosc_env import metrics
from tosc_env.channels.flat import AWGN, Rayleigh
from tosc_env.data import make_source
from tosc_env.game import Game, GameConfig
from tosc_env.modulation import constellation_points
from tosc_env.nodes import Node
from tosc_env.types import Round, Waves


@pytest.fixture(scope="module")
def source():
    return make_source("shapes", num_images=500)


def make(source, **options) -> Game:
    return Game(source, **{"channel": AWGN(), "num_symbols": 16, **options})


def symbols(batch_size: int, width: int = 32, seed: int = 0) -> torch.Tensor:
    return torch.randn(batch_size, width, generator=g(seed))


# -- power ------------------------------------------------------------------------------------------


def test_what_is_sent_has_unit_mean_energy_and_the_zero_action_is_silence_with_a_finite_gradient(source):
    """The laws of the power constraint itself are in test_constraints.py."""
    game = make(source)
    sent = game.transmit(game.draw(64, generator=g()), symbols(64) * 7).sent
    assert torch.allclose(sent.square().sum(1), torch.full((64,), 16.0), atol=1e-4)
    zero = torch.zeros(2, 32, requires_grad=True)
    sent = game.transmit(game.draw(2, generator=g()), zero)
    assert torch.equal(sent.sent, torch.zeros(2, 32))
    sent.receiver.received.square().sum().backward()
    assert torch.isfinite(zero.grad).all()


# -- discrete games ---------------------------------------------------------------------------------


def test_points_of_the_constellation_are_sent_as_they_are(source):
    game = make(source, constellation="16qam")
    points = constellation_points("16qam")
    chosen = points[torch.randint(0, 16, (5, 16), generator=g())]
    corner = points[points.abs().argmax()].expand(1, 16)
    sent = game.transmit(
        game.draw(6, generator=g()), torch.view_as_real(torch.cat([chosen, corner])).flatten(1)
    )
    assert torch.equal(sent.sent, torch.view_as_real(torch.cat([chosen, corner])).flatten(1))
    assert float(sent.sent[5].square().sum()) / 16 == pytest.approx(1.8, abs=1e-4)
    assert torch.equal(game.points, points)


# -- links ------------------------------------------------------------------------------------------


def test_each_link_has_the_noise_of_its_own_snr(source):
    game = make(source, snr_db=20.0, eavesdropper_snr_db=0.0)
    round_ = game.draw(2000, generator=g())
    sent = game.transmit(round_, symbols(2000))
    for reception, noise_power in ((sent.receiver, 0.01), (sent.eavesdropper, 1.0)):
        error = (reception.received - sent.sent).square()
        assert float(error.mean()) == pytest.approx(noise_power / 2, rel=0.03)
    assert torch.equal(sent.receiver.csi, torch.full((2000, 1), 20.0))
    assert torch.equal(sent.eavesdropper.csi, torch.zeros(2000, 1))


def test_without_its_own_snr_the_eavesdropper_has_the_receivers(source):
    round_ = make(source, snr_db={"low": 0, "high": 20}).draw(8, generator=g())
    assert torch.equal(round_.snr_db, round_.links["eavesdropper"].snr_db)
    apart = make(source, snr_db={"low": 0, "high": 20}, eavesdropper_snr_db={"low": 0, "high": 20})
    round_ = apart.draw(8, generator=g())
    assert not torch.equal(round_.snr_db, round_.links["eavesdropper"].snr_db)


@pytest.mark.parametrize("channel", [AWGN(), Rayleigh()])
@pytest.mark.parametrize("side", ["receiver", "eavesdropper"])
def test_gradients_flow_from_each_reception_to_the_images_and_the_encoder(source, channel, side):
    game = make(source, channel=channel)
    round_ = game.draw(4, generator=g())
    encoder = torch.nn.Linear(3072, 32)
    images = round_.batch.images.requires_grad_()
    reception = getattr(game.transmit(round_, encoder(images.flatten(1))), side)
    (reception.received * symbols(4, seed=5)).sum().backward()
    assert (encoder.weight.grad != 0).any() and (images.grad.flatten(1) != 0).any(1).all()


# -- several antennas of the transmitter -----------------------------------------------------------


class Overheard(AWGN):
    """A channel that keeps the waves it was last given."""

    def apply(self, waves, link):
        self.waves = waves
        return super().apply(waves, link)


def _louder(waves):
    return Waves(waves.signal * 100.0, waves.weights * 100.0)


def _spread(waves):
    weights = waves.weights[:, :1].expand_as(waves.weights) * torch.tensor([0.3, 0.1j, -2.0])[:, None]
    return Waves(weights * waves.signal[:, :1], weights)


def _with_noise(waves):
    artificial = torch.randn(waves.signal.shape, dtype=torch.complex64, generator=g(8))
    return Waves(waves.signal + artificial, waves.weights)


@pytest.mark.parametrize("precode", [None, lambda waves: waves, _louder, _spread, _with_noise])
@pytest.mark.parametrize("constellation", [None, "16qam"])
def test_waves_have_the_energy_of_the_symbols_whatever_the_precoder_does(source, precode, constellation):
    game = make(source, channel=Overheard(), transmit_antennas=3, constellation=constellation)
    given = symbols(5)
    if constellation:
        points = constellation_points(constellation)
        given = torch.view_as_real(points[torch.randint(16, (5, 16), generator=g())]).flatten(1)
    sent = game.transmit(game.draw(5, generator=g()), given, precode=precode)
    waves = game.channel.waves
    assert waves.shape == sent.weights.shape == (5, 3, 16)
    energy = sent.sent.square().sum(1)
    assert torch.allclose(waves.abs().square().sum((1, 2)), energy, rtol=1e-5)
    if precode is not _with_noise:  # what is in the waves is the symbols alone, by the weights
        carried = torch.view_as_complex(sent.sent.unflatten(1, (16, 2)))[:, None] * sent.weights
        assert torch.allclose(waves, carried, atol=1e-5)
    else:
        artificial = waves - torch.view_as_complex(sent.sent.unflatten(1, (16, 2)))[:, None] * sent.weights
        assert (artificial.abs().square().sum((1, 2)) > 0.3 * energy).all()


def test_without_a_precoder_the_first_antenna_radiates_alone(source):
    game = make(source, channel=Overheard(), transmit_antennas=2)
    sent = game.transmit(game.draw(3, generator=g()), symbols(3))
    assert torch.equal(torch.view_as_real(game.channel.waves[:, 0]).flatten(1), sent.sent)
    assert not game.channel.waves[:, 1].any() and (sent.weights[:, 0] == 1).all()


@pytest.mark.parametrize("scale", [1e-25, 1e25])
def test_the_scale_of_a_precoder_does_not_matter(source, scale):
    game = make(source, transmit_antennas=2)
    round_, given = game.draw(3, generator=g()), symbols(3)
    plain, scaled = (
        game.transmit(round_, given, precode=lambda waves, s=s: Waves(s * waves.signal, s * waves.weights))
        for s in (1.0, scale)
    )
    assert torch.allclose(plain.receiver.received, scaled.receiver.received, atol=1e-4)


def test_gradients_pass_through_a_precoder(source):
    game = make(source, channel=Rayleigh(), transmit_antennas=3)
    given = symbols(4).requires_grad_()
    sent = game.transmit(game.draw(4, generator=g()), given, precode=_spread)
    (sent.receiver.received * symbols(4, seed=5)).sum().backward()
    assert given.grad.isfinite().all() and (given.grad != 0).any(1).all()


def test_the_transmitter_knows_the_gains_of_the_nodes_that_the_rules_name(source):
    channel = Rayleigh(coherence=4)
    nodes = (Node("receiver", 2), Node("eve", 3, adversary=True))
    game = make(source, channel=channel, nodes=nodes, transmit_antennas=2, transmitter_csi=["receiver"])
    round_ = game.draw(3, generator=g())
    gains = game.context(round_).gains
    assert list(gains) == ["receiver"] and gains["receiver"].shape == (3, 2, 2, 16)
    assert torch.equal(gains["receiver"], round_.links["receiver"].fades.repeat_interleave(4, dim=-1))
    assert not make(source, nodes=nodes).context(round_).gains


def test_a_precoder_that_knows_the_channel_gains_as_many_antennas_in_snr(source):
    """Maximum-ratio transmission over T antennas is an SNR of T on average at the receiver, of 1 at an eavesdropper."""
    game = make(source, channel=Rayleigh(), transmit_antennas=4, transmitter_csi=["receiver"])
    round_ = game.draw(4000, generator=g())
    gains = game.context(round_).gains["receiver"][:, 0].conj()
    matched = gains / gains.abs().square().sum(1, keepdim=True).sqrt()
    sent = game.transmit(
        round_, symbols(4000), precode=lambda waves: Waves(waves.signal[:, :1] * matched, matched)
    )
    power = {name: one.csi[:, 1:].square().sum(1) for name, one in sent.receptions.items()}
    assert float(power["receiver"].mean()) == pytest.approx(4.0, rel=0.05)
    assert float(power["eavesdropper"].mean()) == pytest.approx(1.0, rel=0.08)


# -- draws ------------------------------------------------------------------------------------------


def flat(round_: Round) -> list[torch.Tensor]:
    names = ("snr_db", "fades", "noise", "age")
    links = [getattr(link, name) for link in round_.links.values() for name in names]
    return [
        round_.batch.images,
        round_.batch.index,
        round_.targets,
        round_.snr_db,
        *links,
        round_.message,
        round_.shown,
    ]


def test_the_same_seed_gives_the_same_rounds_bit_for_bit_whatever_the_global_stream(source):
    game = make(source, channel=Rayleigh(), snr_db=[0, 12])

    def play():
        stream, round_, seen = g(7), None, []
        for _ in range(4):
            torch.rand(3)  # another user of the global stream
            round_ = game.draw(5, generator=stream, previous=round_)
            seen += flat(round_)
        return seen

    assert all(torch.equal(a, b) for a, b in zip(play(), play(), strict=True))
    state = torch.get_rng_state()
    game.draw(5, generator=g())
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("eavesdropper_snr_db", [None, 3.0])
def test_the_numbers_drawn_depend_on_the_batch_size_alone(source, eavesdropper_snr_db):
    game = make(
        source,
        channel=Rayleigh(coherence=64),
        repeat=2,
        snr_db=[0, 12],
        eavesdropper_snr_db=eavesdropper_snr_db,
    )
    first = game.draw(4, generator=g(1))
    some = torch.tensor([True, False, True, False])
    states = []
    for kwargs in (
        {},
        {"previous": first},
        {"previous": first, "restart": some},
        {"previous": first, "restart": ~some},
        {"index": torch.arange(4)},
    ):
        stream = g(2)
        game.draw(4, generator=stream, **kwargs)
        states.append(stream.get_state())
    assert all(torch.equal(state, states[0]) for state in states)


def test_one_rows_restart_changes_nothing_in_the_other_rows(source):
    """Of no node, however many antennas it has and whether its SNR is its own."""
    snr_range = {"low": 0, "high": 20}
    nodes = (Node("receiver"), Node("one", 2, adversary=True), Node("two", 3, snr_range, adversary=True))
    game = make(source, channel=Rayleigh(coherence=64), repeat=3, snr_db=snr_range, nodes=nodes)
    first = game.draw(4, generator=g(1))
    some = torch.tensor([True, False, True, False])
    mixed = flat(game.draw(4, generator=g(2), previous=first, restart=some))
    on = flat(game.draw(4, generator=g(2), previous=first))
    anew = flat(game.draw(4, generator=g(2), previous=first, restart=torch.ones(4, dtype=torch.bool)))
    for m, o, a in zip(mixed, on, anew, strict=True):
        assert torch.equal(m[~some], o[~some]) and torch.equal(m[some], a[some])


def test_messages_are_numbered_by_row_episode_and_message_and_never_repeat(source):
    game, stream = make(source), g(4)
    round_ = game.draw(3, generator=stream)
    seen = [round_.message]
    for t in range(1, 9):
        restart = torch.tensor([t % 2 == 0, t % 3 == 0, False])
        round_ = game.draw(3, generator=stream, previous=round_, restart=restart)
        seen.append(round_.message)
    assert seen[0][:, :3].tolist() == [[0, 0, 0], [1, 0, 0], [2, 0, 0]]
    assert seen[3][:, :3].tolist() == [[0, 1, 1], [1, 1, 0], [2, 0, 3]]
    everything = torch.cat(seen).tolist()
    assert len({tuple(m) for m in everything}) == len(everything)


def test_repeat_sends_each_image_that_many_times_in_a_row(source):
    game, stream = make(source, repeat=3), g(5)
    rounds = [game.draw(2, generator=stream)]
    for _ in range(6):
        rounds.append(game.draw(2, generator=stream, previous=rounds[-1]))
    index = torch.stack([r.batch.index for r in rounds])
    assert [r.shown.tolist() for r in rounds] == [[n, n] for n in (1, 2, 3, 1, 2, 3, 1)]
    assert (index[0:3] == index[0]).all() and (index[3:6] == index[3]).all()
    assert (index[3] != index[0]).all() and (index[6] != index[3]).all()
    assert not torch.equal(rounds[0].links["receiver"].noise, rounds[1].links["receiver"].noise)


def test_an_episode_that_ends_ends_repetition_and_snr_of_its_rows_alone(source):
    snr_range = {"low": 0, "high": 20}
    game, stream = make(source, repeat=3, snr_db=snr_range, eavesdropper_snr_db=snr_range), g(6)
    first = game.draw(2, generator=stream)
    second = game.draw(2, generator=stream, previous=first, restart=torch.tensor([True, False]))
    assert second.shown.tolist() == [1, 2]
    for kept in (
        second.batch.index == first.batch.index,
        second.snr_db == first.snr_db,
        second.links["eavesdropper"].snr_db == first.links["eavesdropper"].snr_db,
    ):
        assert kept.tolist() == [False, True]


def test_a_game_is_played_in_float32(source):
    torch.set_default_dtype(torch.float64)
    try:
        with refused("float32 set_default_dtype"):
            Game(source)
    finally:
        torch.set_default_dtype(torch.float32)


def test_an_index_sends_those_images(source):
    game = make(source)
    round_ = game.draw(3, generator=g(), index=torch.tensor([5, 5, 499]))
    assert round_.batch.index.tolist() == [5, 5, 499]
    assert torch.equal(round_.batch.images, source.images[[5, 5, 499]] / 255.0)
    assert torch.equal(round_.targets, source.labels[[5, 5, 499]])


# -- score ------------------------------------------------------------------------------------------


def test_scores_are_the_task_the_error_and_the_rewards_of_the_definition(source):
    game = make(source, reward_kwargs={"privacy_weight": 0.5}, metrics=("ssim",))
    round_ = game.draw(4, generator=g())
    decision = round_.targets.clone()
    decision[1] = (decision[1] + 1) % 10
    images = round_.batch.images
    rebuilt = (images + 0.1).clamp(0, 1)
    scores = game.score(round_, decision, rebuilt)
    error = (rebuilt - images).square().mean((1, 2, 3))
    q = (game.floor - error) / (game.floor + error)
    assert scores.accuracy.tolist() == [1.0, 0.0, 1.0, 1.0]
    assert torch.allclose(scores.mse, error) and torch.allclose(scores.psnr_db, -10 * error.log10())
    assert torch.allclose(scores.rewards["eavesdropper"], q, atol=1e-6)
    assert torch.allclose(scores.rewards["transmitter"], scores.accuracy - 0.5 * q, atol=1e-6)
    assert torch.allclose(scores.worst.extra["ssim"], metrics.ssim(rebuilt, images))


# -- arguments --------------------------------------------------------------------------------------


def test_a_rule_that_cannot_be_is_refused(source):
    for name in ("num_symbols", "repeat", "transmit_antennas"):
        for value in (0, 2.5, True, None):
            with refused(f"{name} 1 {value!r}"):
                make(source, **{name: value})
    for options, words in (
        ({"snr_db": "loud"}, "snr_db 'loud'"),
        ({"eavesdropper_snr_db": []}, "eavesdropper_snr_db list"),
        ({"task": "poetry"}, "task 'poetry'"),
        ({"reward_fn": "fame"}, "reward 'fame'"),
        ({"metrics": ("lpips",)}, "metric 'lpips'"),
        ({"constellation": "17qam"}, "constellation '17qam'"),
        ({"channel": Rayleigh(coherence=24)}, "coherence 24"),
        ({"snr": 3.0}, "'snr' 'snr_db'"),
        ({"transmitter_csi": ["bob"]}, "node 'bob'"),
    ):
        with refused(words):
            make(source, **options)


def test_tensors_of_another_shape_are_refused_and_not_broadcast(source):
    for shape in ((4, 31), (32,), (2, 16, 2)):
        with refused("[B, 32]"):
            make(source).normalise(torch.zeros(shape))
    game = make(source, transmit_antennas=2)
    round_ = game.draw(4, generator=g())
    for precode, words in (
        (lambda waves: None, "Waves NoneType"),
        (lambda waves: Waves(waves.signal[:, :1], waves.weights), "signal [4, 2, 16]"),
        (lambda waves: Waves(waves.signal, waves.weights.real), "weights complex"),
    ):
        with refused(words):
            game.transmit(round_, symbols(4), precode=precode)
    images = round_.batch.images
    with refused("decision [4] [4, 1]"):
        game.score(round_, round_.targets[:, None], images)
    with refused("reconstruction [4, 3, 32, 32] [4, 1, 32, 32]"):
        game.score(round_, round_.targets, images[:, :1])


def test_the_spec_says_the_shapes_of_the_game(source):
    spec = make(source, channel=Rayleigh(coherence=4)).spec
    assert (spec.image_shape, spec.num_outputs, spec.num_symbols, spec.num_csi) == ((3, 32, 32), 10, 16, 9)
    assert type(spec).from_plain(spec.plain()) == spec


# -- the rules as a config --------------------------------------------------------------------------


def test_changes_stand_over_the_config_and_a_config_of_names_over_none(source):
    config = GameConfig(
        "shapes", channel="rayleigh", channel_kwargs={"coherence": 4}, num_symbols=16, snr_db=3.0
    )
    game = Game(source, config, snr_db=5.0)
    assert (game.snr_db.constant, game.num_symbols, game.channel.coherence) == (5.0, 16, 4)
    # The options of one channel are not those of another.
    assert type(Game(source, config, channel="awgn").channel) is AWGN


def test_other_rules_are_another_game_and_leave_the_first_as_it_is(source):
    game = make(source, channel=Rayleigh(coherence=4), eavesdropper_snr_db=3.0, repeat=2, metrics=("ssim",))
    other = game.with_rules(snr_db=0.0)
    assert (other.snr_db.constant, game.snr_db.constant) == (0.0, 12.0)
    kept = ("source", "task", "channel", "reward", "num_symbols", "repeat", "metrics")
    assert other.config.eavesdropper_snr_db == 3.0
    assert all(getattr(other, name) == getattr(game, name) for name in kept)
    assert game.with_rules(constellation="qpsk").with_rules(snr_db=1.0).constellation == "qpsk"


def test_a_config_of_objects_makes_a_game_and_no_card(source):
    config = GameConfig("shapes", channel=Rayleigh(coherence=4), num_symbols=16)
    assert Game(source, config).channel is config.channel
    with refused("values channel"):
        config.plain()


def test_a_config_as_plain_values_makes_the_same_game():
    config = GameConfig(
        "shapes",
        {"num_images": 20, "size": 16},
        "attributes",
        {"names": ["colour"]},
        snr_db={"low": 0.0, "high": 6.0},
        metrics=("ssim",),
    )
    again = GameConfig(**json.loads(json.dumps(config.plain())))
    assert again.plain() == json.loads(json.dumps(config.plain()))
    first, second = config.game(half="attacker"), again.game(half="attacker")
    assert first.spec == second.spec and first.task.labels == second.task.labels
    draws = [one.draw(6, generator=torch.Generator().manual_seed(3)) for one in (first, second)]
    assert torch.equal(draws[0].batch.images, draws[1].batch.images)
    assert torch.equal(draws[0].snr_db, draws[1].snr_db)
