"""The laws of a session: its own randomness, rows that do not touch, policies that are left as they were."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from fakes import SMALL, FakeEavesdropper, FakeScheme, spec_of
from refusals import refused

from tosc_env.envs.common import make_system
from tosc_env.envs.session import Session


def make(role="eavesdropper", num_envs=4, max_cycles=3, **kwargs):
    options = {"data_kwargs": SMALL, "scheme": FakeScheme(spec_of({}), stochastic=True)} | kwargs
    if role != "eavesdropper":
        options.setdefault("eavesdropper", FakeEavesdropper())
    return Session(
        make_system("shapes", {role}, options, ()), {role}, num_envs=num_envs, max_cycles=max_cycles
    )


def images(num_envs=4):
    return torch.full((num_envs, 3, 32, 32), 0.5)


def run(session, steps, reset_at=None, mask=None):
    """The receptions of ``steps`` messages, with a partial reset before one of them."""
    session.reset(5)
    seen = [session.observe("eavesdropper")["received"]]
    for t in range(steps):
        session.play({"eavesdropper": images(session.num_envs)})
        session.advance()
        if t == reset_at:
            session.reset(mask=mask)
        seen.append(session.observe("eavesdropper")["received"])
    return torch.stack(seen)


def test_a_partial_reset_changes_nothing_for_other_rows():
    mask = np.array([True, False, False, True])
    plain = run(make(max_cycles=20), 6)
    mixed = run(make(max_cycles=20), 6, reset_at=2, mask=mask)
    assert torch.equal(plain[:, ~mask], mixed[:, ~mask])
    assert torch.equal(plain[:3, mask], mixed[:3, mask])
    assert not torch.equal(plain[3, mask], mixed[3, mask])


def test_a_partial_reset_counts_episodes_per_row():
    session = make(max_cycles=20)
    run(session, 4, reset_at=1, mask=np.array([False, True, False, False]))
    assert session.cycles.tolist() == [4, 2, 4, 4]
    assert session.present.round.message[:, :3].tolist() == [[0, 0, 4], [1, 1, 2], [2, 0, 4], [3, 0, 4]]


def test_a_row_that_is_over_keeps_its_message_until_it_restarts():
    session = make(max_cycles=2)
    session.reset(0)
    session.play({"eavesdropper": images()})
    session.advance()
    session.reset(mask=np.array([True, False, False, False]))
    before = session.observe("eavesdropper")["received"]
    session.play({"eavesdropper": images()})
    assert session.over.tolist() == [False, True, True, True]
    session.advance()
    after = session.observe("eavesdropper")["received"]
    assert torch.equal(before[1:], after[1:])
    assert not torch.equal(before[0], after[0])


def test_what_a_session_cannot_do_is_refused():
    for name in ("num_envs", "max_cycles"):
        for value in (0, -1, 2.0, True):
            with refused(f"{name} 1 {value!r}"):
                make(**{name: value})
    session, everyone = make(), np.ones(4, bool)
    for seed in (-1, 1.5, "7"):
        with refused(f"seed {seed!r}"):
            session.reset(seed)
    with refused("reset()"):
        session.observe("eavesdropper")
    with refused("first"):
        session.reset(mask=everyone)
    session.reset(0)
    with refused("seed"):
        session.reset(1, mask=everyone)
    for mask in (np.ones(3, bool), np.ones(4), np.zeros(4, bool), torch.ones(4, 1, dtype=torch.bool)):
        with refused("reset_mask"):
            session.reset(mask=mask)
    with refused("eavesdropper_0"):
        session.play({})


def test_no_message_number_is_ever_used_twice_without_a_new_seed():
    scheme = FakeScheme(stochastic=True)
    session = make(scheme=scheme, max_cycles=2)
    session.reset()
    for _ in range(3):
        for _ in range(2):
            session.play({"eavesdropper": images()})
            session.advance()
        session.reset()
    assert len(scheme.messages) == len(set(scheme.messages)) == 4 * (3 * 2 + 1)


def test_sessions_without_a_seed_differ_in_environment_number():
    one, two = make(), make()
    one.reset()
    two.reset()
    assert one.environment != two.environment
    one.reset(3)
    two.reset(3)
    assert one.environment == two.environment


def test_policies_act_in_evaluation_mode_and_are_left_in_their_own():
    scheme = FakeScheme()
    scheme.train()
    scheme.dropout.eval()
    session = make(scheme=scheme)
    session.reset(0)
    received = session.observe("eavesdropper")["received"]
    assert scheme.training
    assert not scheme.dropout.training
    scheme.eval()
    session.reset(0)
    assert torch.equal(received, session.observe("eavesdropper")["received"])
    assert not received.requires_grad
    inside = make("receiver")
    inside.reset(0)
    inside.play({"receiver": torch.zeros(4, dtype=torch.int64)})
    rebuilt = inside.last.reconstructions["eavesdropper"]
    assert float(rebuilt.min()) == 0.0 and float(rebuilt.max()) == 1.0, "an attacker's images are clipped"


def test_snr_is_drawn_per_episode_and_row():
    session = make(snr_db={"low": 0, "high": 20}, eavesdropper_snr_db=[3.0, 6.0], max_cycles=3)
    session.reset(0)
    first = session.present.round.snr_db.clone()
    assert len(set(first.tolist())) == 4
    for _ in range(2):
        session.play({"eavesdropper": images()})
        session.advance()
        assert torch.equal(first, session.present.round.snr_db)
    session.reset()
    assert not torch.equal(first, session.present.round.snr_db)
    own = session.info("eavesdropper", None)["snr_db"]
    assert set(own.tolist()) <= {3.0, 6.0}
    assert torch.equal(own, session.observe("eavesdropper")["csi"][:, 0])


def test_images_repeat_within_an_episode_only():
    session = make("transmitter", repeat=2, max_cycles=3)
    session.reset(0)
    session.observe("transmitter")["image"].zero_()
    assert session.present.round.batch.images.abs().sum() > 0, "observations are the caller's to overwrite"
    shown = [session.present.round.batch.index]
    for _ in range(2):
        session.play({"transmitter": torch.ones(4, 128)})
        session.advance()
        shown.append(session.present.round.batch.index)
    assert torch.equal(shown[0], shown[1])
    assert not torch.equal(shown[1], shown[2])
    session.play({"transmitter": torch.ones(4, 128)})
    session.reset()
    assert not torch.equal(shown[2], session.present.round.batch.index)


def test_info_keys_are_the_same_before_and_after_a_score_with_extra_metrics():
    session = make(metrics=("ssim",))
    session.reset(0)
    before = session.info("eavesdropper", None)
    after = session.info("eavesdropper", session.play({"eavesdropper": images()}))
    assert list(before) == list(after) == ["accuracy", "psnr_db", "mse", "snr_db", "stand_in", "ssim"]
    assert all(v.dtype == torch.float32 and v.shape == (4,) and v.isfinite().all() for v in after.values())


@pytest.mark.parametrize(
    "outside", [{"transmitter", "receiver", "eavesdropper"}, {"transmitter"}, {"receiver"}]
)
def test_stages_stand_between_whoever_transmits_and_the_channel(outside):
    """A key added to a system hides an outside transmitter's symbols from the eavesdropper, not from the receiver."""
    options = {"data_kwargs": SMALL, "snr_db": 60.0, "stages": [{"name": "keyed", "mode": "rotation"}]}
    if outside != {"transmitter", "receiver", "eavesdropper"}:
        options |= {"scheme": FakeScheme(spec_of({})), "eavesdropper": FakeEavesdropper()}
    session = Session(make_system("shapes", outside, options, ()), outside, num_envs=4)
    session.reset(1)
    symbols = torch.randn(4, 128, generator=torch.Generator().manual_seed(2))
    if "transmitter" in outside:
        session.send(symbols)
    else:
        symbols = session.system.scheme.eval().backbone.encode(session.present.round.batch.images, None)
    clear = session.game.normalise(symbols)
    heard = {role: session.observe(role)["received"] for role in ("receiver", "eavesdropper")}
    assert (heard["receiver"] - clear).abs().max() < 0.02
    assert (heard["eavesdropper"] - clear).abs().mean() > 0.3
    assert (session.present.transmission.receiver.received - clear).abs().mean() > 0.3


def test_noise_is_added_to_an_outside_transmitters_symbols_from_the_sessions_own_stream():
    sent = []
    for _ in range(2):
        session = make(
            "transmitter", stages=[{"name": "laplace", "epsilon": 20.0}], scheme=FakeScheme(spec_of({}))
        )
        session.reset(1)
        session.send(torch.ones(4, 128))
        sent.append(session.present.transmission.sent)
    assert torch.equal(*sent) and sent[0].std() > 0.3
    with refused("symbols [B, 128]"):
        session.send(torch.ones(4, 64))
