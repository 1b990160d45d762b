"""The checkers of Gymnasium, PettingZoo and Stable-Baselines3 pass, and importing stays light."""

from __future__ import annotations

import subprocess
import sys
import time
import warnings
from itertools import count
from types import SimpleNamespace

import gymnasium as gym
import pytest
from fakes import SMALL, FakeEavesdropper, FakeScheme
from gymnasium.utils.env_checker import check_env
from pettingzoo.test import (
    api_test,
    max_cycles_test,
    parallel_api_test,
    parallel_seed_test,
    performance_benchmark,
    render_test,
    seed_test,
    state_test,
)
from pettingzoo.utils import parallel_to_aec

import tosc_env
from tosc_env.nodes import wiretap
from tosc_env.registration import environments
from tosc_env.types import SystemSpec

ROLES = ("transmitter", "receiver", "eavesdropper")
SPECS = {"celeba": SystemSpec((3, 64, 64), 3)}


@pytest.fixture(autouse=True)
def no_data(monkeypatch, tmp_path):
    monkeypatch.setenv("TOSC_DATA_DIR", str(tmp_path))


def make(id, role, **kwargs):
    spec = SPECS.get(environments()[id], SystemSpec((3, 32, 32), 10))
    options = {"role": role, "scheme": FakeScheme(spec), **kwargs}
    if role != "eavesdropper":
        options["eavesdropper"] = FakeEavesdropper(spec)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*stand in.*")
        return gym.make(id, **options)


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("id", list(environments()))
@pytest.mark.filterwarnings("ignore:.*stand in.*", "ignore:.*no display.*")
def test_gymnasiums_check_env(id, role):
    """Every warning but one is an error: that CSI and received symbols have no bounds is the physics."""
    env = make(id, role)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for harmless in (
            ".*Box observation space m.*imum value is -?infinity.*",
            ".*stand in.*",
            ".*no display.*",
        ):
            warnings.filterwarnings("ignore", message=harmless)
        check_env(env.unwrapped, skip_render_check=id != "ToSC-Shapes-v0")
        if (id, role) == ("ToSC-Shapes-v0", "transmitter"):
            check_env(make(id, role, constellation="16qam").unwrapped, skip_render_check=True)


def test_stable_baselines_check_env():
    checker = pytest.importorskip("stable_baselines3.common.env_checker")
    for role in ROLES:
        checker.check_env(make("ToSC-Shapes-v0", role, data_kwargs=SMALL).unwrapped, warn=False)


FORMS = {
    "plain": {},
    "flat": {"flatten": True},
    "wide": {"channel": "rayleigh", "snr_db": {"low": 0, "high": 20}},
    "many": {"nodes": wiretap(3), "flatten": True},
}
"""What PettingZoo's tests look at, both forms of each."""


@pytest.fixture(params=FORMS)
def zoo(request):
    """A module as PettingZoo has one for each environment."""

    def env(**options):
        return tosc_env.aec_env("ToSC-Shapes-v0", data_kwargs=SMALL, **FORMS[request.param], **options)

    def parallel_env(**options):
        return tosc_env.parallel_env("ToSC-Shapes-v0", data_kwargs=SMALL, **FORMS[request.param], **options)

    return SimpleNamespace(env=env, parallel_env=parallel_env)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_pettingzoos_api_and_seed_tests(zoo):
    api_test(zoo.env(), num_cycles=60)
    parallel_api_test(zoo.parallel_env(), num_cycles=40)
    seed_test(zoo.env, num_cycles=20)
    parallel_seed_test(zoo.parallel_env, num_cycles=20)


@pytest.mark.filterwarnings("ignore:.*state space value is.*", "error:State")
def test_pettingzoos_state_test(zoo):
    """CSI and received symbols have no bounds, by physics; no other warning is allowed."""
    state_test(zoo.env(max_cycles=4), zoo.parallel_env())


def test_pettingzoos_max_cycles_test(zoo):
    max_cycles_test(zoo)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*no display.*")
def test_pettingzoos_render_test(zoo):
    render_test(zoo.env)
    # The test takes turns; this library's own conversion gives them to the pipeline.
    render_test(lambda render_mode: parallel_to_aec(zoo.parallel_env(render_mode=render_mode)))


def test_pettingzoos_performance_benchmark(zoo, monkeypatch):
    """It plays for 5 seconds of a clock that is wound on here."""
    clock = count()
    monkeypatch.setattr(time, "time", lambda: float(next(clock)))
    performance_benchmark(zoo.env())
    performance_benchmark(parallel_to_aec(zoo.parallel_env()))


@pytest.mark.filterwarnings("ignore:.*stand in.*")
@pytest.mark.parametrize("id", list(environments()))
def test_every_id_has_its_pettingzoo_forms(id):
    env = tosc_env.parallel_env(id, max_cycles=2)
    env.reset(seed=0)
    env.step({agent: env.action_space(agent).sample() for agent in env.agents})
    turns = tosc_env.aec_env(id, max_cycles=1)
    turns.reset(seed=0)
    turns.step(turns.action_space("transmitter_0").sample())


def test_an_environment_is_made_again_from_its_spec():
    env = make("ToSC-Shapes-v0", "receiver", data_kwargs=SMALL, snr_db=3.0)
    again = env.spec.make()
    one, two = env.reset(seed=0)[0], again.reset(seed=0)[0]
    assert (one["received"] == two["received"]).all()


def test_an_id_of_ones_own_has_all_forms():
    tosc_env.register_env("ToSC-Own-v0", "shapes", data_kwargs=SMALL, num_symbols=8)
    try:
        assert tosc_env.parallel_env("ToSC-Own-v0").action_space("transmitter_0").shape == (16,)
        assert tosc_env.aec_env("ToSC-Own-v0", num_symbols=4).action_space("transmitter_0").shape == (8,)
        spec = SystemSpec((3, 32, 32), 10, num_symbols=8)
        env = gym.make_vec("ToSC-Own-v0", 2, scheme=FakeScheme(spec), role="eavesdropper")
        assert env.single_observation_space["received"].shape == (16,)
    finally:
        del gym.registry["ToSC-Own-v0"]


def test_importing_is_light_and_registers_the_ids():
    heavy = (
        "sionna",
        "matplotlib",
        "torchmetrics",
        "PIL",
        "scipy",
        "pooch",
        "requests",
        "rich",
        "torchvision",
    )
    program = (
        "import sys, torch, gymnasium, pettingzoo\n"
        "known = set(sys.modules)\n"
        "def loaded(*names): return [m for m in names if m in sys.modules and m not in known]\n"
        "import tosc_env\n"
        f"print(loaded(*{heavy!r}, 'tosc_agents', 'tosc_env.game'))\n"
        "import tosc_env.data, tosc_env.channels.flat, tosc_env.modulation, tosc_env.channels.sionna\n"
        "tosc_env.channels.sionna.TDL()\n"
        f"print(loaded(*{heavy!r}))\n"
        "print(all(i in gymnasium.registry for i in ('ToSC-CIFAR-v0', 'ToSC-CelebA-v0', 'ToSC-Shapes-v0')))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:3] == ["[]", "[]", "True"]


def test_every_public_name_exists():
    for name in tosc_env.__all__:
        assert getattr(tosc_env, name) is not None
        assert name in dir(tosc_env)
    assert tosc_env.__version__ == "0.1.0"
    with pytest.raises(AttributeError, match="no attribute 'Gane'"):
        _ = tosc_env.Gane
