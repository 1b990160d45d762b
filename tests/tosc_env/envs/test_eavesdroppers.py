"""Several eavesdroppers: every form plays them, each is paid its own, the system for the best, colluding ones pool."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
import torch
from fakes import SMALL, FakeEavesdropper, FakeScheme
from pettingzoo.test import api_test, parallel_api_test
from refusals import refused

import tosc_env
from tosc_env.envs.common import make_system
from tosc_env.envs.session import Session
from tosc_env.nodes import wiretap

COUNTS = [2, 16]


def options(count: int, **more) -> dict:
    return {"data_kwargs": SMALL, "nodes": wiretap(count), "render_mode": "rgb_array", **more}


def policies() -> dict:
    return {"scheme": FakeScheme().eval(), "eavesdropper": FakeEavesdropper()}


def session(outside, **rules) -> Session:
    players = {} if {"receiver"} <= set(outside) else {"scheme": FakeScheme().eval()}
    system = make_system("shapes", outside, {"data_kwargs": SMALL, **players, **rules}, ())
    made = Session(system, outside, num_envs=5)
    made.reset(3)
    return made


@pytest.mark.parametrize("count", COUNTS)
def test_the_aec_form_has_an_agent_for_each(count):
    env = tosc_env.aec_env("ToSC-Shapes-v0", max_cycles=2, **options(count))
    assert env.possible_agents[2:] == [f"eavesdropper_{k}" for k in range(count)]
    env.reset(seed=0)
    order = list(_episode(env))
    assert order[: 2 + count] == env.possible_agents and len(order) == 3 * (2 + count)
    assert env.render().shape == (360, 1200, 3)
    if count < 16:
        api_test(tosc_env.aec_env("ToSC-Shapes-v0", max_cycles=2, **options(count)), num_cycles=20)


def _episode(env):
    for agent in env.agent_iter():
        _, _, over, _, _ = env.last()
        yield agent
        env.step(None if over else env.action_space(agent).sample())


@pytest.mark.parametrize("count", COUNTS)
def test_the_parallel_form_has_an_agent_for_each(count):
    env = tosc_env.parallel_env("ToSC-Shapes-v0", max_cycles=3, **options(count))
    env.reset(seed=0)
    paid = {}
    while env.agents:
        actions = {agent: env.action_space(agent).sample() for agent in env.agents}
        for k in range(count):
            actions[f"eavesdropper_{k}"] = np.full((3, 32, 32), (k + 1) / 17, np.float32)
        _, paid, _, _, infos = env.step(actions)
    eavesdroppers = [f"eavesdropper_{k}" for k in range(count)]
    best = max(eavesdroppers, key=lambda agent: paid[agent])
    assert count == 1 or min(paid[agent] for agent in eavesdroppers) < paid[best]
    assert paid["transmitter_0"] == pytest.approx(infos[best]["accuracy"] - paid[best], abs=1e-6)
    assert infos["receiver_0"]["psnr_db"] == infos[best]["psnr_db"]
    assert env.render().shape == (360, 1200, 3)
    if count < 16:
        parallel_api_test(
            tosc_env.parallel_env("ToSC-Shapes-v0", max_cycles=2, **options(count)), num_cycles=20
        )


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("role", ["transmitter", "receiver", "eavesdropper", "eavesdropper_last"])
def test_the_vector_and_the_single_form_play_one_of_them_outside(count, role):
    role = role.replace("last", str(count - 1))
    given = policies()
    env = gym.make_vec("ToSC-Shapes-v0", num_envs=4, role=role, **options(count), **given)
    single = gym.make("ToSC-Shapes-v0", role=role, **options(count), **given)
    _, info = single.reset(seed=1)
    assert single.unwrapped.role == ("eavesdropper_0" if role == "eavesdropper" else role)
    assert single.render().shape == (360, 1200, 3) and set(info) == {
        "accuracy",
        "psnr_db",
        "mse",
        "snr_db",
        "stand_in",
    }
    env.reset(seed=1)
    _, rewards, _, _, infos = env.step(torch.as_tensor(np.asarray(env.action_space.sample())))
    assert rewards.shape == infos["psnr_db"].shape == (4,)
    single.step(single.action_space.sample())


def test_the_system_is_paid_for_the_best_eavesdropper_row_by_row():
    made = session({"eavesdropper_0", "eavesdropper_1"}, nodes=wiretap(2))
    images = made.present.round.batch.images
    rows = torch.tensor([True, False, True, False, True])[:, None, None, None]
    scores = made.play(
        {
            "eavesdropper_0": torch.where(rows, images, torch.zeros_like(images)),
            "eavesdropper_1": torch.where(rows, torch.zeros_like(images), images),
        }
    )
    first, second = scores.rewards["eavesdropper_0"], scores.rewards["eavesdropper_1"]
    assert (
        torch.equal(torch.maximum(first, second), torch.ones(5)) and (torch.minimum(first, second) < 0).all()
    )
    assert torch.allclose(scores.rewards["transmitter"], scores.accuracy - 1.0)
    assert torch.equal(made.info("receiver", scores)["mse"], torch.zeros(5))
    assert torch.equal(made.info("eavesdropper_1", scores)["mse"], scores.leaks["eavesdropper_1"].mse)


def test_each_hears_its_own_link_and_nobody_elses():
    nodes = (*wiretap(2, snr_db=60.0), tosc_env.Node("far", snr_db=-30.0, adversary=True))
    made = session({"eavesdropper_0"}, nodes=nodes, snr_db=60.0, eavesdropper=FakeEavesdropper())
    sent = made.present.transmission.sent
    error = {
        name: float((made.observe(name)["received"] - sent).abs().mean())
        for name in ("receiver", "eavesdropper_0", "eavesdropper_1", "far")
    }
    assert error["far"] > 5 and max(error["eavesdropper_0"], error["eavesdropper_1"]) < 0.01
    heard = [made.observe(name)["received"] for name in ("eavesdropper_0", "eavesdropper_1")]
    assert not torch.equal(*heard)
    assert made.info("far", None)["snr_db"].tolist() == [-30.0] * 5


def test_colluding_eavesdroppers_see_one_reception_of_all_their_antennas():
    rules = {"nodes": wiretap(4, snr_db=0.0), "colluding": True}
    made = session({"eavesdropper_0", "eavesdropper_3"}, eavesdropper=FakeEavesdropper(), **rules)
    first, last = (made.observe(name) for name in ("eavesdropper_0", "eavesdropper_3"))
    assert torch.equal(first["received"], last["received"])
    assert torch.allclose(first["csi"], torch.full((5, 1), 6.0206), atol=1e-3)  # four times the energy
    alone = [made.present.transmission.receptions[f"eavesdropper_{k}"].received for k in range(4)]
    assert torch.allclose(first["received"], torch.stack(alone).mean(0), atol=1e-5)
    assert len({id(policy) for policy in made.system.eavesdroppers.values()}) == 1
    error = (first["received"] - made.present.transmission.sent).square().mean()
    assert 0.08 < float(error) < 0.18  # N0 / 2 over four


def test_the_threat_model_says_whether_they_collude():
    game = tosc_env.GameConfig("shapes", nodes=wiretap(3, snr_db=0.0), data_kwargs=SMALL).game(
        half="attacker"
    )
    index = torch.arange(8)
    heard = {}
    for colluding in (False, True):
        threat = tosc_env.ThreatModel(colluding=colluding)
        stream = torch.Generator().manual_seed(0)
        heard[colluding] = tosc_env.View(game, FakeScheme().eval(), threat, stream).sample(index)[0]
    assert float(heard[False].csi[0, 0]) == 0.0
    assert float(heard[True].csi[0, 0]) == pytest.approx(4.771, abs=1e-3)
    assert "colluding eavesdroppers" in str(tosc_env.ThreatModel(colluding=True))


@pytest.mark.parametrize("outside", ["transmitter", "eavesdropper_1"])
def test_an_eavesdropper_inside_that_gives_nan_is_named(outside):
    """Or else one of them would make everybody's rewards and figures NaN."""

    class Broken(FakeEavesdropper):
        def reconstruct(self, received, csi):
            return super().reconstruct(received, csi) * torch.nan

    env = gym.make("ToSC-Shapes-v0", role=outside, **options(2), **{**policies(), "eavesdropper": Broken()})
    env.reset(seed=0)
    with refused("eavesdropper_0"):
        env.step(env.action_space.sample())
