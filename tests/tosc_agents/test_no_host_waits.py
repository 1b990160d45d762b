"""Law: between two looks of the host at the figures, a training never waits for the device.

The schemes here stand for all; test_devices.py takes a step of every one.
A CPU does not show it, so every operation of a training is watched here, and those are noted that wait on a GPU:
values that become Python's, results whose shape depends on values, and Python's values that become a tensor.
"""

from __future__ import annotations

import traceback

import pytest
import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from tosc_agents.backbones import vq
from tosc_agents.learning import loop as loop_module
from tosc_agents.learning.loop import LoopConfig, Step, train
from tosc_agents.learning.seeding import weights_from
from tosc_agents.training.fit_receiver import fit_receiver
from tosc_agents.training.fit_scheme import SchemeTraining, fit_scheme, usual_objectives

from tosc_env.data import make_source
from tosc_env.data.base import Source
from tosc_env.errors import InputError
from tosc_env.game import Game
from tosc_env.pipeline import make_scheme
from tosc_env.schemes import defaults_of, make_objectives

WAITING_OPERATIONS = {
    *("_local_scalar_dense", "item", "is_nonzero", "equal", "allclose"),  # a value becomes Python's
    *("nonzero", "argwhere", "masked_select", "bincount", "_unique2", "unique_dim", "unique_consecutive"),
    *("lift_fresh", "lift"),  # Python's values become a tensor, whose copy to a GPU waits
}
WAITING_METHODS = {"cpu", "cuda", "numpy", "tolist"}
"""What is no operation at all for a tensor on the CPU."""
BEGIN, END, LOOK = "step begins", "step ends", "host looks"
LOOKS = 2


class Events(list):
    """What happened, in order: :data:`BEGIN`, :data:`END`, :data:`LOOK`, or a wait and where."""

    ignoring = False

    def wait(self, what):
        if not self.ignoring:
            frames = [
                f for f in traceback.extract_stack() if "tosc_" in f.filename or "test_no" in f.filename
            ]
            own = [f for f in frames if f.name not in ("wait", "__torch_dispatch__", "__torch_function__")]
            self.append(f"{what} at {own[-1].filename}:{own[-1].lineno}")

    def forbidden(self):
        """The waits in a step, and those between two steps where the host does not look."""
        found, since, state = [], [], LOOK
        for event in self:
            if event in (BEGIN, END, LOOK):
                found += [] if LOOK in (event, state) else since
                since, state = [], event
            else:
                since.append(event)
        return found

    def look(self, done, total, figures):
        """The loop's progress. The first epoch is forgotten: what is then known for good, as the grid of a
        constellation is, may be looked up in it.
        """
        if figures["epoch"] == 1:
            self.clear()
        self.append(LOOK)


class Operations(TorchDispatchMode):
    def __init__(self, events):
        super().__init__()
        self.events = events

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.overloadpacket._qualified_op_name.removeprefix("aten::")
        masks = name.strip("_").startswith("index") and any(
            isinstance(t, torch.Tensor) and t.dtype == torch.bool
            for t in (args[1] if isinstance(args[1], list | tuple) else ())
        )
        if masks or name in WAITING_OPERATIONS or str(function) == "aten.repeat_interleave.Tensor":
            self.events.wait(str(function))
        return function(*args, **(kwargs or {}))


class Methods(TorchFunctionMode):
    def __init__(self, events):
        super().__init__()
        self.events = events

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if getattr(function, "__name__", "") in WAITING_METHODS:
            self.events.wait(f"Tensor.{function.__name__}")
        return function(*args, **(kwargs or {}))


@pytest.fixture
def events(monkeypatch):
    """The events of a training that runs under :func:`watching`."""
    events, call = Events(), Step.__call__

    def step(self, *arguments):
        events.append(BEGIN)
        figures = call(self, *arguments)
        events.append(END)
        return figures

    def update(self, *arguments):
        # AdamW reads its own step counts, which torch keeps on the host whatever the device.
        events.ignoring = True
        try:
            return adamw(self, *arguments)
        finally:
            events.ignoring = False

    adamw = torch.optim.AdamW.step
    monkeypatch.setattr(torch.optim.AdamW, "step", update)
    monkeypatch.setattr(Step, "__call__", step)
    monkeypatch.setattr(loop_module, "SYNC_EVERY", LOOKS)
    with Operations(events), Methods(events):
        yield events


# -- the watch itself -------------------------------------------------------------------------------

ROW = torch.arange(6.0)
WAITS = {
    "item": lambda x: x.sum().item(),
    "float": lambda x: float(x.sum()),
    "bool": lambda x: 1 if (x > 2).any() else 0,
    "tolist": lambda x: x.tolist(),
    "cpu": lambda x: x.cpu(),
    "numpy": lambda x: x.detach().numpy(),
    "nonzero": lambda x: x.nonzero(),
    "mask": lambda x: x[x > 2],
    "write by mask": lambda x: x.detach().clone().__setitem__(x > 2, 0.0),
    "tensor of numbers": lambda x: x * torch.tensor([1.0] * 6),
    "list as index": lambda x: x[[0, 3]],
    "equal": lambda x: torch.equal(x, x),
    "bincount": lambda x: torch.bincount(x.long()),
    "unique": lambda x: torch.unique(x),
    "one_hot without a size": lambda x: nn.functional.one_hot(x.long()),
}


def learn(events, work):
    """A training of two epochs of four steps whose loss does some work."""
    module = nn.Linear(1, 1)

    def loss(index):
        work(ROW)
        return module(index[:, None].float()).square().mean(), {}

    config = LoopConfig(epochs=2, batch_size=2, optimizer="adamw", learning_rate=1e-3, precision="float32")
    generator = torch.Generator().manual_seed(0)
    train(module, loss, num_images=8, config=config, generator=generator, progress=events.look)
    marks = [event for event in events if event in (BEGIN, END, LOOK)]
    assert marks == [LOOK] + 2 * [*LOOKS * [BEGIN, END], LOOK]


@pytest.mark.parametrize("name", WAITS)
def test_a_wait_in_a_step_is_noticed(events, name):
    learn(events, WAITS[name])
    assert len(events.forbidden()) >= 4, "in every step"
    assert all(f"{__file__}:" in wait for wait in events.forbidden())


def test_what_stays_on_the_device_is_no_wait(events):
    def work(x):
        taken = x[torch.arange(3)] * 2.0 + torch.full((3,), 0.5)
        return (
            torch.where(taken > 1, taken, 0.0).sum()
            + nn.functional.softmax(x, 0)[torch.randint(6, (2,))].sum()
        )

    learn(events, work)
    assert events.forbidden() == []
    seen = [event for event in events if event not in (BEGIN, END, LOOK)]
    assert len(seen) >= 4, "the host's own looks at loss and gradient are seen, and allowed"


def test_a_look_at_every_step_would_be_noticed(events, monkeypatch):
    """As if the loop printed its loss each step: waits between steps that no look of the host explains."""
    call = Step.__call__

    def eager(self, *arguments):
        figures = call(self, *arguments)
        float(figures["loss"])
        return figures

    monkeypatch.setattr(Step, "__call__", eager)
    learn(events, lambda x: x)
    assert len(events.forbidden()) == 2, "after the steps that no look follows"


# -- the schemes ------------------------------------------------------------------------------------

TINY = {"stem": 4, "widths": [4, 8], "blocks": [0, 1], "receiver_width": 16, "receiver_depth": 1}
KEY = {"key": "5a" * 32}
NOISE = {"epsilon": 50.0}
COMMON = ["task", "bottleneck", {"name": "adversary", "weighting": "multiple-gradient"}]
ALL = ["task", "codebook", {"name": "bottleneck", "beta": 0.1}, "adversary"]
CASES = {
    "unprotected": {"name": "deepjscc"},
    "rotation per message": {"name": "encryption", "mode": "rotation", **KEY},
    "noise of many budgets": {"name": "dp-laplace", "epsilon": 5.0, "epsilon_range": [1.0, 100.0]},
    "bottleneck, common step": {"name": "ibal", "objectives": COMMON},
    "codebook for all objectives": {"name": "lbvq", "dimension": 3, "objectives": ALL},
    "noise between keys": {
        "name": "ibal",
        "stages": ["keyed", "laplace", {"name": "keyed", "mode": "rotation"}],
    },
}
FADING = {
    "channel": "rayleigh",
    "snr_db": [0.0, 12.0],
    "eavesdropper_snr_db": {"low": 0.0, "high": 20.0},
}


def binary_source():
    stream = torch.Generator().manual_seed(0)
    images = torch.randint(256, (40, 3, 16, 16), generator=stream, dtype=torch.uint8)
    attributes = torch.randint(2, (40, 3), generator=stream)
    return Source.from_arrays(images, attributes=attributes, name="noise")


def fit(events, name, source=None, objectives=None, rules=None, **options):
    source = source or make_source("shapes", num_images=80, size=16, half="system")
    game = Game(source, num_symbols=8, **(rules or {}))
    with weights_from(0):
        scheme = make_scheme(name, game.spec, **options, **TINY)
    wanted = (
        usual_objectives(name, game.spec) if objectives is None else make_objectives(objectives, game.spec)
    )
    loop = LoopConfig(epochs=2, batch_size=8, precision="bf16", **defaults_of(name).training)
    game = game.with_rules(constellation=scheme.constellation)
    config = SchemeTraining(loop, colour=0.2)
    fit_scheme(scheme, game, config, objectives=wanted, progress=events.look)
    return 2 if any(objective.phases for objective in wanted) else 1


@pytest.mark.parametrize("case", CASES)
def test_no_scheme_waits_in_a_step(events, case):
    passes = fit(events, **CASES[case])
    assert events.count(BEGIN) == events.count(END) == 5 * passes and events.count(LOOK) == 1 + 3 * passes
    assert events.forbidden() == []


@pytest.mark.parametrize("case", ["noise of many budgets", "codebook for all objectives"])
def test_neither_fading_nor_drawn_snrs_wait(events, case):
    fit(events, **CASES[case], rules=FADING)
    assert events.forbidden() == []


def test_a_task_of_several_attributes_does_not_wait(events):
    task = {"task": "attributes", "task_kwargs": {"names": ["attribute_2", "attribute_0"]}}
    fit(events, "ibal", binary_source(), rules=task)
    assert events.forbidden() == []


def test_a_receiver_that_is_trained_alone_does_not_wait(events):
    game = Game(make_source("shapes", num_images=80, size=16, half="system"), num_symbols=8)
    scheme = make_scheme("dp-laplace", game.spec, **NOISE, **TINY)
    loop = LoopConfig(epochs=2, batch_size=8, precision="bf16", **defaults_of("dp-laplace").training)
    fit_receiver(scheme, game, SchemeTraining(loop), copies=2, progress=events.look)
    assert events.count(BEGIN) == 5 and events.forbidden() == []


def test_what_may_not_be_sent_stops_the_training_at_the_next_look(events, monkeypatch):
    """The check of a discrete scheme's points is put off, and not left out."""
    honest = vq.modulate
    monkeypatch.setattr(vq, "modulate", lambda index, points: 1.1 * honest(index, points))
    with pytest.raises(InputError, match="a symbol was no point of '16qam'"):
        fit(events, "lbvq")
    assert events.count(BEGIN) == LOOKS


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("case", CASES)
def test_cuda_agrees(case, monkeypatch):
    """CUDA's own debug mode raises at a wait in any step of the second epoch."""
    call = Step.__call__

    def step(self, index, number, total):
        torch.cuda.set_sync_debug_mode("error" if number >= total // 2 else "default")
        try:
            return call(self, index, number, total)
        finally:
            torch.cuda.set_sync_debug_mode("default")

    monkeypatch.setattr(Step, "__call__", step)
    source = make_source("shapes", num_images=80, size=16, half="system", device="cuda:0")
    fit(Events(), **CASES[case], source=source)
