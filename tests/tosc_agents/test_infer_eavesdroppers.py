"""Inference: what a message says of labels and attributes is found, and nothing where it says nothing. And starts."""

from __future__ import annotations

import inspect
import math

import pytest
import torch
from links import seeded as g
from pixels import Pixels
from refusals import refused
from tosc_agents.eavesdroppers.base import NeuralEavesdropper, held_out
from tosc_agents.records import trainings
from tosc_agents.training.evaluate import evaluate
from tosc_agents.training.fit_eavesdropper import fit_eavesdropper, forget_run

from tosc_env.attackers import make_eavesdropper
from tosc_env.data import make_source
from tosc_env.data.base import Source
from tosc_env.errors import DeniedError
from tosc_env.game import Game
from tosc_env.io.checkpoints import load_checkpoint, save_checkpoint
from tosc_env.privacy.threat import ThreatModel
from tosc_env.privacy.view import View
from tosc_env.testing import check_eavesdropper
from tosc_env.types import SystemSpec

SIDE, N = 16, 24
SMALL = {"width": 128, "steps": 300, "batch_size": 100, "learning_rate": 3e-3}


class Nothing(Pixels):
    """A scheme that sends noise which has nothing to do with the image."""

    def encode(self, images, context):
        return torch.randn(len(images), 2 * N, generator=context.generator)


def games(**rules):
    return [
        Game(
            make_source("shapes", num_images=count, size=SIDE, **part, **rules.get("data", {})),
            num_symbols=N,
            **{k: v for k, v in rules.items() if k != "data"},
        )
        for count, part in ((2000, {"half": "attacker"}), (500, {"split": "test"}))
    ]


def found(name, train, test, options=SMALL, scheme=Pixels):
    sends = scheme(train.spec)
    attacker, record = fit_eavesdropper(name, train, sends, options=options)
    evaluation = evaluate(test, sends, {name: attacker}, seeds=1, with_ssim=False)
    return attacker, record, {k: f.mean for k, f in evaluation.leaks[name][12.0].items()}, evaluation.chance


def noise_of(rate, count=500):
    """Four standard deviations of a rate measured on ``count`` images."""
    return 4 * math.sqrt(rate * (1 - rate) / count)


# -- label ------------------------------------------------------------------------------------------


def test_the_label_is_read_off_an_unprotected_message():
    train, test = games()
    attacker, record, leak, chance = found("label", train, test)
    assert attacker.inferred == (("label", 10),) and record["fit"]["inferred"] == [["label", 10]]
    assert leak["infer_label"] > 4 * chance["infer_label"]
    # What it says of itself, of images that it has not seen, is what others of that kind show.
    fit = record["fit"]
    assert fit["held_out_balanced_accuracy"] == {"label": pytest.approx(leak["infer_label"], abs=0.15)}
    figures = [key for key in fit if key.startswith("held_out_")]
    assert figures == ["held_out_log_probability", "held_out_balanced_accuracy"]
    assert trainings({"label": {"fit": fit, "seconds": 1.0}})[1][3].startswith("held_out_log_probability ")


def test_noise_tells_nothing_of_label_or_attributes():
    train, test = games()
    for name in ("label", "attribute"):
        *_, leak, chance = found(name, train, test, {**SMALL, "steps": 60}, scheme=Nothing)
        assert leak
        for figure, rate in leak.items():
            best = chance[figure]
            # Of a rare value few images tell: a balanced accuracy is less certain than a share.
            spread = 0.1 if figure.startswith(("auc", "infer")) else noise_of(best)
            assert rate < best + spread, figure


def test_yes_or_no_answers_are_right_far_more_often_than_by_chance():
    """The brightness of the upper and the left half of an image, which any projection of its pixels holds."""
    pixels = torch.rand(3000, 3, SIDE, SIDE, generator=g()) * 0.2
    answers = torch.randint(2, (3000, 2), generator=g(1))
    pixels[:, :, : SIDE // 2] += 0.3 * answers[:, 0, None, None, None]
    pixels[:, :, :, : SIDE // 2] += 0.3 * answers[:, 1, None, None, None]
    whole = Source.from_arrays(
        (pixels * 255).to(torch.uint8), name="toy", attributes=answers, attribute_names=["upper", "left"]
    )
    rules = {"task": "attributes", "task_kwargs": {"names": ["left", "upper"]}, "num_symbols": N}
    train, test = (Game(whole.subset(range(*part)), **rules) for part in ((0, 2500), (2500, 3000)))
    attacker, record, leak, _ = found("label", train, test, {**SMALL, "steps": 200})
    assert attacker.inferred == (("left", 2), ("upper", 2)) and {"infer_left", "infer_upper"} <= set(leak)
    assert min(record["fit"]["held_out_balanced_accuracy"][name] for name in ("left", "upper")) > 0.95
    assert attacker.infer(torch.zeros(3, 2 * N), torch.zeros(3, 1)).shape == (3, 4)
    assert min(leak.values()) > 0.95


# -- attribute --------------------------------------------------------------------------------------


def test_private_attributes_are_read_off_an_unprotected_message(tmp_path):
    train, test = games()
    attacker, record, leak, chance = found("attribute", train, test)
    source = train.source
    sizes = {n: len(v) for n, v in zip(source.attribute_names, source.attribute_values, strict=True)}
    assert dict(attacker.inferred) == sizes == record["options"]["values"]
    assert set(leak) == {f"{figure}_{name}" for name in sizes for figure in ("infer", "plain", "auc")}
    assert leak["infer_colour"] > chance["infer_colour"] + 0.3 and leak["auc_colour"] > 0.8
    assert all(leak[f"infer_{name}"] > chance[f"infer_{name}"] - 0.1 for name in sizes)
    # A copy from a file knows its attributes, in the same order, and answers the same.
    save_checkpoint(tmp_path / "attribute.safetensors", attacker, {})
    copy = load_checkpoint(tmp_path / "attribute.safetensors").policy
    received, csi = torch.randn(4, 2 * N, generator=g()), torch.full((4, 1), 12.0)
    assert copy.inferred == attacker.inferred
    assert torch.equal(copy.infer(received, csi), attacker.infer(received, csi))
    check_eavesdropper(copy)


def test_some_attributes_can_be_chosen_and_those_that_cannot_be_inferred_are_named():
    train, test = games()
    options = {**SMALL, "steps": 10}
    attacker, _, leak, _ = found("attribute", train, test, {**options, "attributes": ["colour"]})
    assert [name for name, _ in attacker.inferred] == ["colour"] and set(leak) == {
        "infer_colour",
        "plain_colour",
        "auc_colour",
    }
    images = torch.randint(256, (20, 3, SIDE, SIDE), dtype=torch.uint8, generator=g())
    plain = Game(Source.from_arrays(images, [0, 1] * 10, name="plain"), num_symbols=N)
    for game, more, words in (
        (train, {"attributes": ["color"]}, "'color' colour"),
        (train, {"attributes": ["colour"], "values": {"colour": 3}}, "{'colour': 3}"),
        (plain, {}, "attributes"),
    ):
        with refused(words):
            fit_eavesdropper("attribute", game, Pixels(game.spec), options={**options, **more})
    with refused("fit"):  # not known before they are learnt
        attacker = make_eavesdropper("attribute", SystemSpec((3, SIDE, SIDE), 10, N))
        attacker.infer(torch.zeros(1, 2 * N), torch.zeros(1, 1))
    for name in ("label", "attribute"):
        view = View(train, Pixels(train.spec), ThreatModel(labels=False), g())
        with refused("labels=False", DeniedError):
            make_eavesdropper(name, train.spec).fit(view, generator=g())
        assert view.queries == 0


# -- several starts ---------------------------------------------------------------------------------

MLP = {"components": 8, "width": 32, "steps": 30, "batch_size": 50}
CNN = {"widths": (8, 8, 4, 4), "steps": 20, "batch_size": 50}


def fit(name, options, count=800, progress=None, state=None):
    source = make_source("shapes", half="attacker", num_images=count, size=SIDE)
    game = Game(source, num_symbols=N, snr_db=[0.0, 12.0])
    found = fit_eavesdropper(
        name, game, Pixels(game.spec), options=options, seed=3, progress=progress, state_path=state
    )
    if state is not None:
        forget_run(state)
    return found


@pytest.mark.parametrize(("name", "options"), [("inversion-mlp", MLP), ("inversion", CNN)])
def test_the_psnr_of_held_out_images_decides_which_weights_are_kept(name, options, monkeypatch):
    validates, parts, train_on = [], [], NeuralEavesdropper.train_on

    def watch(self, view, step_loss, validate, *others, **names):
        validates.append(validate)
        parts.extend(held_out(view))
        return train_on(self, view, step_loss, validate, *others, **names)

    monkeypatch.setattr(NeuralEavesdropper, "train_on", watch)
    _, record = fit(name, options)
    told = record["fit"]
    assert told["images"] == 300 and told["validation"] == {"images": 100, "of": "held-out images"}
    with torch.no_grad():
        assert validates[0]() == pytest.approx(told["held_out_psnr_db"], abs=1e-6)
    names = inspect.getclosurevars(validates[0]).nonlocals
    ((reception, images),) = names["tests"]
    source = make_source("shapes", half="attacker", num_images=800, size=SIDE)
    assert torch.equal(images, source.gather(parts[1]).images) and not set(parts[0].tolist()) & set(
        parts[1].tolist()
    )
    assert len(reception.csi[:, 0].unique()) == 2, "at the SNRs of the view"


@pytest.mark.parametrize(("name", "options", "share"), [("inversion-mlp", MLP, 0.5), ("inversion", CNN, 0.8)])
def test_a_killed_attack_resumes_to_the_very_same_attacker(tmp_path, name, options, share):
    state = tmp_path / "a.run"

    def stop(done, total, figures):
        if done > share * total:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(name, options, progress=stop, state=state)
    resumed, record = fit(name, options, state=state)
    whole, wanted = fit(name, options)
    assert all(torch.equal(t, resumed.state_dict()[key]) for key, t in whole.state_dict().items())
    assert record["fit"] == wanted["fit"] and list(tmp_path.iterdir()) == []
