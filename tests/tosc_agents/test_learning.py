"""The training loop, its state on disk, precision, seeding and progress."""

from __future__ import annotations

import math

import pytest
import torch
from links import seeded as g
from refusals import refused
from torch import nn
from tosc_agents.learning import loop
from tosc_agents.learning import progress as progress_module
from tosc_agents.learning.loop import LoopConfig, train
from tosc_agents.learning.precision import autocast, has_fast_bf16, resolve_precision
from tosc_agents.learning.progress import show_progress
from tosc_agents.learning.seeding import weights_from
from tosc_agents.learning.state import Run, load_state, save_state

from tosc_env.errors import CheckpointError, TrainingError

CPU = torch.device("cpu")


# -- the loop ---------------------------------------------------------------------------------------

COUNT = 96
INPUTS = torch.randn(COUNT, 6, generator=g(1))
TARGETS = (INPUTS @ torch.randn(6, 3, generator=g(2))).argmax(1)


class Net(nn.Sequential):
    """With a batch norm and dropout: buffers and the random stream are part of a run's state, too."""

    def __init__(self):
        super().__init__(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 3))


def fit(config=None, *, progress=None, state_path=None, identity=None, seed=0, broken_at=None, loss_at=None):
    with weights_from(seed):
        module = Net()
    generator = g(seed)
    steps = []

    def step_loss(index):
        steps.append(index)
        noise = 0.1 * torch.randn(len(index), 6, generator=generator)
        logits = module(INPUTS[index] + noise)
        loss = nn.functional.cross_entropy(logits.float(), TARGETS[index])
        if broken_at is not None and len(steps) == broken_at:
            loss = loss * math.nan
        return loss, {"accuracy": (logits.detach().argmax(1) == TARGETS[index]).float().mean()}

    trained = train(
        module,
        step_loss,
        num_images=COUNT,
        config=config or CONFIG,
        generator=generator,
        progress=progress,
        run=None if state_path is None else Run(state_path, identity or {}),
    )
    return module, trained, steps


CONFIG = LoopConfig(epochs=4, batch_size=16, learning_rate=0.1, average=0.9, precision="float32")


def same(a, b) -> bool:
    return a.keys() == b.keys() and all(torch.equal(t, b[name]) for name, t in a.items())


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_training_learns_and_ends_in_evaluation_mode_with_the_averaged_weights(optimizer, monkeypatch):
    config = LoopConfig(
        epochs=30, batch_size=16, learning_rate=0.02, optimizer=optimizer, precision="float32"
    )
    averages, update = [], loop._update_average
    monkeypatch.setattr(loop, "_update_average", lambda *now: (update(*now), averages.append(now[0])))
    module, trained, steps = fit(config)
    assert not module.training and same(module.state_dict(), averages[-1])
    accuracy = (module(INPUTS).argmax(1) == TARGETS).float().mean()
    assert accuracy > 0.85 and len(steps) == 30 * 6
    assert trained.keys() == {"loss", "accuracy", "gradient"} and trained["loss"] < 0.7


def test_every_epoch_passes_over_all_images_once_in_another_order():
    _, _, steps = fit()
    epochs = [torch.cat(steps[i : i + 6]) for i in range(0, 24, 6)]
    assert all(torch.equal(order.sort().values, torch.arange(COUNT)) for order in epochs)
    assert not torch.equal(epochs[0], epochs[1])


def test_a_run_is_decided_by_its_seed_and_leaves_the_global_stream_alone():
    before = torch.get_rng_state()
    first = fit()[0].state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(11)
    assert same(first, fit()[0].state_dict())
    torch.set_rng_state(before)
    assert not same(first, fit(seed=1)[0].state_dict())


class Killed(Exception):
    pass


@pytest.mark.parametrize(("optimizer", "epoch"), [("sgd", 4), ("adamw", 2)])
def test_a_killed_run_resumes_to_bit_identical_weights(tmp_path, epoch, optimizer):
    """Killed within an epoch: it goes on from the last whole one, and nothing tells the two runs apart."""
    config = LoopConfig(**{**vars(CONFIG), "optimizer": optimizer})
    whole, wanted, _ = fit(config)
    state = tmp_path / "run.run"

    def kill(done, total, figures):
        assert total == 24 and figures["epoch"] == math.ceil(done / 6)
        if figures["epoch"] == epoch:
            raise Killed

    with pytest.raises(Killed):
        fit(config, progress=kill, state_path=state, identity={"name": "a"})
    module, trained, steps = fit(config, state_path=state, identity={"name": "a"})
    assert len(steps) == 6 * (5 - epoch), "only what was not yet saved is done again"
    assert same(module.state_dict(), whole.state_dict()) and trained == wanted
    _, again, steps = fit(config, state_path=state, identity={"name": "a"})
    assert not steps and again == wanted, "finished, though not yet reported: nothing is done again"


def test_a_state_of_another_run_is_refused_and_says_in_what_it_differs(tmp_path):
    state = tmp_path / "run.run"
    fit(state_path=state, identity={"scheme": "a", "options": {"widths": (4, 8)}})
    fit(state_path=state, identity={"scheme": "a", "options": {"widths": [4, 8]}})
    with refused('scheme "a" "b"', CheckpointError) as caught:
        fit(state_path=state, identity={"scheme": "b", "options": {"widths": (4, 8)}})
    assert str(state) in str(caught.value)
    with refused("widths options", CheckpointError):
        fit(state_path=state, identity={"scheme": "a", "options": {"widths": (4, 9)}})
    same = {"state_path": state, "identity": {"scheme": "a", "options": {"widths": (4, 8)}}}
    for field, value in (("epochs", 5), ("clip", 1.0), ("average", 0.5), ("precision", "bf16")):
        with refused(f"{field} loop", CheckpointError):
            fit(LoopConfig(**{**vars(CONFIG), field: value}), **same)
    with refused("seed 0 1", CheckpointError):
        fit(seed=1, **same)


def test_a_damaged_state_is_a_checkpoint_error_and_is_not_overwritten(tmp_path):
    for content in [b"", b"not a state", bytes(range(256))]:
        state = tmp_path / "run.run"
        state.write_bytes(content)
        with refused("run.run", CheckpointError):
            fit(state_path=state)
        assert state.read_bytes() == content


def test_a_loss_that_is_no_number_stops_the_run_with_step_and_cause(tmp_path):
    state = tmp_path / "run.run"
    with refused("12", TrainingError):
        fit(state_path=state, broken_at=10)
    assert load_state(state, CPU)["epoch"] == 1, "the state of the last whole epoch is kept"
    assert all(t.isfinite().all() for t in load_state(state, CPU)["model"].values())


def test_progress_is_told_of_steps_and_figures_without_the_gradient():
    told = []
    fit(progress=lambda *now: told.append(now))
    assert [(done, total) for done, total, _ in told] == [(6, 24), (12, 24), (18, 24), (24, 24)]
    assert all(set(figures) == {"epoch", "loss", "accuracy"} for _, _, figures in told)
    _, _, steps = fit(LoopConfig(epochs=2, batch_size=1000, learning_rate=0.1, precision="float32"))
    assert [len(s) for s in steps] == [COUNT, COUNT], "a batch larger than the data is one step"


def test_a_wrong_setting_is_one_sentence():
    for options, sentence in [
        ({"epochs": 0}, "epochs 1 0"),
        ({"batch_size": 0}, "batch_size 1 0"),
        ({"learning_rate": 0.0}, "learning_rate 1.18e-38 0.0"),
        ({"learning_rate": math.nan}, "learning_rate 1.18e-38 nan"),
        ({"learning_rate": math.inf}, "learning_rate 3.4e+38 inf"),
    ]:
        with refused(sentence):
            LoopConfig(**options)


# -- precision --------------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_both_precisions_train_and_keep_float32_weights(precision):
    config = LoopConfig(epochs=10, batch_size=16, learning_rate=0.1, precision=precision)
    module, trained, _ = fit(config)
    assert all(t.dtype in (torch.float32, torch.int64) for t in module.state_dict().values())
    assert math.isfinite(trained["loss"]) and trained["accuracy"] > 0.5
    x = torch.randn(4, 4, generator=g())
    with autocast(precision, CPU):
        assert (x @ x).dtype == {"float32": torch.float32, "bf16": torch.bfloat16}[precision]
    assert resolve_precision(precision, CPU) == precision
    assert resolve_precision("auto", CPU) == ("bf16" if has_fast_bf16(CPU) else "float32")


# -- state on disk ----------------------------------------------------------------------------------


def test_a_nested_state_comes_back_as_it_was(tmp_path):
    module = Net()
    optimizer = torch.optim.AdamW(module.parameters())
    module(INPUTS).sum().backward()
    optimizer.step()
    tree = {
        "model": module.state_dict(),
        "optimizer": optimizer.state_dict(),
        "generator": g(5).get_state(),
        "epoch": 3,
        "identity": {"widths": [1, 2], "name": "a", "nothing": None, "yes": True, "x": 0.1},
        "empty": {},
    }
    save_state(tmp_path / "s.run", tree)
    found = load_state(tmp_path / "s.run", CPU)
    assert found.keys() == tree.keys() and same(found["model"], tree["model"])
    assert found["identity"] == tree["identity"] and found["epoch"] == 3 and found["empty"] == {}
    assert torch.equal(found["generator"], tree["generator"])
    for number, state in optimizer.state_dict()["state"].items():
        assert same(found["optimizer"]["state"][number], state)
    torch.optim.AdamW(module.parameters()).load_state_dict(found["optimizer"])
    shared = torch.ones(3)
    save_state(tmp_path / "s.run", {"a": shared, "b": [shared, shared[:2]]})  # it occurs twice
    found = load_state(tmp_path / "s.run", CPU)
    assert torch.equal(found["a"], shared) and torch.equal(found["b"][1], shared[:2])


# -- seeding and progress ---------------------------------------------------------------------------


def test_weights_from_leaves_the_global_stream_untouched_and_depends_on_the_seed_alone():
    before = torch.get_rng_state()
    with weights_from(3):
        first = nn.Linear(4, 4).weight
    with pytest.raises(ZeroDivisionError), weights_from(3):
        torch.rand(1) / (1 // 0)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(9)
    with weights_from(3):
        second = nn.Linear(4, 4).weight
    with weights_from(4):
        other = nn.Linear(4, 4).weight
    assert torch.equal(first, second) and not torch.equal(first, other)


def test_in_a_log_progress_is_a_line_now_and_then_and_always_the_last(capsys, monkeypatch):
    clock = iter(range(0, 1000, 5))
    monkeypatch.setattr(progress_module.time, "monotonic", lambda: float(next(clock)))
    with show_progress("train", every=20.0) as progress:
        for done in range(1, 11):
            progress(done, 10, {"loss": 0.5, "accuracy": 0.25})
    lines = capsys.readouterr().err.splitlines()
    assert 2 <= len(lines) <= 4 and all("loss 0.5  accuracy 0.25" in line for line in lines)
    assert lines[-1].startswith("train: 10/10") and "s left" in lines[0]
    with show_progress("fit sorted", every=0.0) as progress:
        for part, pieces in (("match", 4), ("label", 2)):
            for done in range(1, pieces + 1):
                progress(done, pieces, {"base attack": part, "loss": 0.5})
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1].startswith("fit sorted: 2/2  base attack label  loss 0.5") and "10 s left" in lines[1]
    assert [line.endswith("left") for line in lines] == [False, True, True, True, False, True], (
        "each has a pace"
    )
    with show_progress("train", quiet=True) as progress:
        progress(1, 1, {"loss": 1.0})
    assert capsys.readouterr() == ("", "")
