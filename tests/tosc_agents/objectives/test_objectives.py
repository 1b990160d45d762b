"""Laws of every objective: named, made again, added up in a row, and training nothing that is not its own."""

from __future__ import annotations

import pytest
import torch
from refusals import refused
from tosc_agents import LoopConfig, SchemeTraining, fit_scheme
from tosc_agents.learning.loop import Step
from tosc_agents.learning.seeding import weights_from
from tosc_agents.objectives.task import TaskLoss
from tosc_agents.training.fit_scheme import SYSTEM, Trainee, usual_objectives

from tosc_env.data import make_source
from tosc_env.errors import CheckpointError
from tosc_env.game import Game
from tosc_env.io.checkpoints import read_tensors, save_checkpoint
from tosc_env.pipeline import make_scheme
from tosc_env.schemes import Objective, make_objectives, objectives
from tosc_env.testing import check_objective
from tosc_env.types import SystemSpec

TINY = {"stem": 4, "widths": (4, 8, 8), "blocks": (0, 0, 0), "receiver_width": 16, "receiver_depth": 1}
SPEC = SystemSpec((3, 16, 16), 10, 8)
OURS = [name for name in objectives if objectives.origin(name).startswith("tosc_agents")]
LOOP = LoopConfig(
    epochs=2, batch_size=16, learning_rate=1e-2, optimizer="adamw", weight_decay=0.1, precision="float32"
)


class Norm(Objective):
    """A stranger's: weighs the energy of the features; its own network learns that number in a pass of its own."""

    name = "test-norm"
    phases = ("norm",)

    def __init__(self, spec, *, weight=1.0):
        super().__init__(spec, weight=weight)
        self.guess = torch.nn.Linear(2 * spec.num_symbols, 1)
        self.begun = []

    def begin(self, scheme, phase, epoch, epochs):
        self.begun.append((phase, epoch, epochs))

    def loss(self, loss, trial, round_, task):
        norm = trial.features.square().mean()
        return loss + self.options["weight"] * norm, {"norm": norm.detach()}

    def phase_loss(self, phase, transmission, round_):
        error = (self.guess(transmission.sent) - 1.0).square().mean()
        return error, {"guess": error.detach()}


@pytest.fixture(autouse=True)
def _stranger(monkeypatch):
    monkeypatch.setitem(objectives._table, Norm.name, Norm)


def game(scheme, **rules):
    source = make_source("shapes", num_images=64, size=16)
    return Game(source, num_symbols=8, constellation=scheme.constellation, **rules)


def make(name="deepjscc", wanted=("task",), stages=()):
    with weights_from(0):
        return make_scheme(name, SPEC, stages=stages, **TINY), make_objectives(list(wanted), SPEC)


def trainee(name="deepjscc", wanted=("task",), stages=()):
    scheme, made = make(name, wanted, stages)
    return Trainee(scheme, made, game(scheme), SchemeTraining(), torch.Generator().manual_seed(1)).train()


# -- names and options ------------------------------------------------------------------------------


def test_its_name_and_options_make_it_again():
    for name in OURS:
        (made,) = make_objectives(name, SPEC)
        (again,) = make_objectives(made.plain(), SPEC)
        assert type(again) is type(made) and again.plain() == made.plain() and made.name == name
        assert make_objectives(made, SPEC) == [made], "an object is itself"


def test_a_stranger_keeps_the_laws_and_is_made_by_its_name():
    check_objective(Norm(SPEC), make()[0])
    check_objective(TaskLoss(SPEC), make()[0])
    (made,) = make_objectives({"name": "test-norm", "weight": 2.0}, SPEC)
    assert made.plain() == {"name": "test-norm", "weight": 2.0}


def test_what_is_none_is_one_sentence():
    for given, said in [
        ("tsk", "'tsk' 'task'"),
        (["task", {"name": "adversary", "wieght": 1}], "'adversary' 'wieght'"),
        ([{"name": "task", "weight": 1}], "'task' 'weight'"),
        ([{"weight": 1}], "objective {'name': ..., option: value}"),
        ([3], "3"),
        (7, "objectives 7"),
    ]:
        with refused(said):
            make_objectives(given, SPEC)
        with refused(said):
            fit_scheme(make()[0], game(make()[0]), SchemeTraining(LOOP), objectives=given)


# -- the row ----------------------------------------------------------------------------------------


def test_objectives_add_up_in_their_row_and_all_figures_are_told():
    wanted = [
        "task",
        {"name": "bottleneck", "start": 0, "ramp": 0, "beta": 0.5},
        {"name": "test-norm", "weight": 3.0},
    ]
    found = {}
    for row in ([wanted[0]], wanted[:2], wanted):
        loss, figures = trainee(wanted=row)(torch.arange(32))
        found[len(row)] = float(loss.detach())
    assert found[2] - found[1] == pytest.approx(0.5 * float(figures["kl"]), rel=1e-4)
    assert found[3] - found[2] == pytest.approx(3.0 * float(figures["norm"]), rel=1e-4)
    assert set(figures) == {"accuracy", "kl", "norm"}


def test_fit_scheme_takes_the_usual_ones_where_nothing_is_said():
    for name, figures in (("ibal", {"leak", "kl", "adversary"}), ("lbvq", {"distortion", "symbol_errors"})):
        scheme = make(name)[0]
        told = fit_scheme(scheme, game(scheme), SchemeTraining(LOOP))
        assert set(told) == {"loss", "accuracy", "gradient", *figures}
        again = make(name)[0]
        same = fit_scheme(again, game(again), SchemeTraining(LOOP), objectives=usual_plain(name))
        assert same == told


def usual_plain(name):
    return [objective.plain() for objective in usual_objectives(name, SPEC)]


def test_each_epoch_passes_through_the_phases_and_then_the_system():
    scheme, made = make(wanted=["task", "test-norm", "adversary"])
    told = fit_scheme(scheme, game(scheme), SchemeTraining(LOOP), objectives=made)
    passes = ("norm", "adversary", SYSTEM)
    assert made[1].begun == [(name, epoch, 2) for epoch in range(2) for name in passes]
    assert {"norm", "guess"} < set(told), "a figure of an earlier pass stands until there is a newer one"


@pytest.mark.parametrize(("name", "phase", "owner"), [("deepjscc", "norm", 3), ("lbvq", "adversary", 2)])
def test_a_phase_trains_the_weights_of_its_objective_and_no_others(name, phase, owner):
    """Neither the loss nor the optimizer, which decays weights, touches the rest."""
    for stages in [[], ["keyed", "laplace"]]:
        row = ["task", {"name": "bottleneck", "start": 0}, {"name": "adversary", "width": 8}, "test-norm"]
        system = trainee(name, row, stages)
        assert system.passes == ("adversary", "norm", SYSTEM)
        step = Step(system, system, LOOP)
        before = {n: p.detach().clone() for n, p in system.named_parameters()}
        system.begin(phase, 0, 2)
        for number in range(2):
            step(torch.arange(16), number, 1.0)
        moved = {n for n, p in system.named_parameters() if not torch.equal(p, before[n])}
        assert moved == {n for n in before if n.startswith(f"objectives.{owner}.")} != set()


# -- files ------------------------------------------------------------------------------------------


def test_an_interrupted_run_resumes_with_its_objectives_and_refuses_others(tmp_path):
    def stop(done, total, figures):
        if figures["epoch"] == 2:
            raise KeyboardInterrupt

    row = ["task", {"name": "adversary", "width": 8}]
    whole, first = make("ibal", row)
    fit_scheme(whole, game(whole), SchemeTraining(LOOP), objectives=first)
    state = tmp_path / "a.run"
    scheme, made = make("ibal", row)
    with pytest.raises(KeyboardInterrupt):
        fit_scheme(
            scheme, game(scheme), SchemeTraining(LOOP), objectives=made, state_path=state, progress=stop
        )
    scheme, made = make("ibal", row)
    fit_scheme(scheme, game(scheme), SchemeTraining(LOOP), objectives=made, state_path=state)
    for one, other in ((scheme, whole), (made[1], first[1])):
        assert all(torch.equal(t, other.state_dict()[n]) for n, t in one.state_dict().items())
    other = ["task", {"name": "adversary", "width": 8, "weight": 2.0}]
    with refused("objectives 1", CheckpointError):
        fit_scheme(make("ibal")[0], game(scheme), SchemeTraining(LOOP), objectives=other, state_path=state)
    stages = make("ibal", stages=["keyed"])[0]
    with refused("stages 0 scheme", CheckpointError):
        fit_scheme(stages, game(stages), SchemeTraining(LOOP), objectives=row, state_path=state)
    with refused("'task'"):
        fit_scheme(scheme, game(scheme), SchemeTraining(LOOP), objectives=[])
    save_checkpoint(tmp_path / "a.safetensors", scheme, {})
    assert read_tensors(tmp_path / "a.safetensors").keys() == make("deepjscc")[0].state_dict().keys()
