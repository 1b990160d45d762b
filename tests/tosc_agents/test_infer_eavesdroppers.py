"""Inference: what a message says of labels and attributes is found, and nothing where it says nothing. And starts."""

from __future__ import annotations

import math

import pytest
import torch
from pixels import Pixels
from tosc_agents.eavesdroppers import restarts
from tosc_agents.learning.seeding import weights_from
from tosc_agents.learning.state import Run
from tosc_agents.training.evaluate import evaluate
from tosc_agents.training.fit_eavesdropper import fit_eavesdropper, forget_run

from tosc_env import metrics
from tosc_env.attackers import make_eavesdropper
from tosc_env.data import make_source
from tosc_env.data.base import Source
from tosc_env.errors import CheckpointError, DeniedError, InputError
from tosc_env.game import Game
from tosc_env.io.checkpoints import load_checkpoint, save_checkpoint
from tosc_env.privacy.threat import ThreatModel
from tosc_env.privacy.view import View
from tosc_env.testing import check_eavesdropper
from tosc_env.types import SystemSpec

SIDE, N = 16, 24
SMALL = {"width": 128, "epochs": 12, "batch_size": 100, "learning_rate": 3e-3}


def g(seed=0):
    return torch.Generator().manual_seed(seed)


class Nothing(Pixels):
    """Sends noise that has nothing to do with the image."""

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
    assert leak["infer_label"] > 4 * chance["label"]


def test_noise_tells_nothing_of_label_or_attributes():
    train, test = games()
    for name in ("label", "attribute"):
        *_, leak, chance = found(name, train, test, {**SMALL, "epochs": 3}, scheme=Nothing)
        assert leak
        for figure, rate in leak.items():
            best = chance[figure.removeprefix("infer_")]
            assert rate < best + noise_of(best), figure


def test_yes_or_no_answers_are_pairs_of_logits_under_their_own_names(tmp_path):
    names = ["Smiling", "Young"]
    train, test = games(data={"binary_attributes": names}, task="attributes", task_kwargs={"names": names})
    attacker, _, leak, _ = found("label", train, test, {**SMALL, "epochs": 1})
    assert attacker.inferred == (("Smiling", 2), ("Young", 2))
    assert set(leak) == {"infer_Smiling", "infer_Young"}
    assert attacker.infer(torch.zeros(3, 2 * N), torch.zeros(3, 1)).shape == (3, 4)
    save_checkpoint(tmp_path / "label.safetensors", attacker, {})
    assert load_checkpoint(tmp_path / "label.safetensors").policy.inferred == attacker.inferred


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
    attacker, _, leak, _ = found("label", train, test, {**SMALL, "epochs": 4})
    assert attacker.inferred == (("left", 2), ("upper", 2))
    assert min(leak.values()) > 0.95


# -- attribute --------------------------------------------------------------------------------------


def test_private_attributes_are_read_off_an_unprotected_message(tmp_path):
    train, test = games()
    attacker, record, leak, chance = found("attribute", train, test)
    source = train.source
    sizes = {n: len(v) for n, v in zip(source.attribute_names, source.attribute_values, strict=True)}
    assert dict(attacker.inferred) == sizes == record["options"]["values"]
    assert set(leak) == {f"infer_{name}" for name in sizes}
    assert leak["infer_colour"] > chance["colour"] + 0.3
    assert all(leak[f"infer_{name}"] > chance[name] - noise_of(chance[name]) for name in sizes)
    # A copy from a file knows its attributes, in the same order, and answers the same.
    save_checkpoint(tmp_path / "attribute.safetensors", attacker, {})
    copy = load_checkpoint(tmp_path / "attribute.safetensors").policy
    received, csi = torch.randn(4, 2 * N, generator=g()), torch.full((4, 1), 12.0)
    assert copy.inferred == attacker.inferred
    assert torch.equal(copy.infer(received, csi), attacker.infer(received, csi))
    check_eavesdropper(copy)


def test_some_attributes_can_be_chosen_and_unknown_ones_are_named():
    train, test = games()
    options = {**SMALL, "epochs": 1}
    attacker, _, leak, _ = found("attribute", train, test, {**options, "attributes": ["colour"]})
    assert [name for name, _ in attacker.inferred] == ["colour"] and set(leak) == {"infer_colour"}
    with pytest.raises(InputError, match=r"unknown private attribute 'color'.*colour"):
        found("attribute", train, test, {**options, "attributes": ["color"]})
    with pytest.raises(InputError, match=r"built for the values \{'colour': 3\}"):
        found(
            "attribute",
            train,
            test,
            {**options, "attributes": ["colour"], "values": {"colour": 3}},
        )


def test_images_without_attributes_have_none_to_infer():
    images = torch.randint(256, (20, 3, SIDE, SIDE), dtype=torch.uint8, generator=g())
    game = Game(Source.from_arrays(images, [0, 1] * 10, name="plain"), num_symbols=N)
    with pytest.raises(InputError, match="no private attributes"):
        fit_eavesdropper("attribute", game, Pixels(game.spec))


def test_attributes_are_not_known_before_they_are_learnt():
    attacker = make_eavesdropper("attribute", SystemSpec((3, SIDE, SIDE), 10, N))
    with pytest.raises(InputError, match="fit it"):
        attacker.infer(torch.zeros(1, 2 * N), torch.zeros(1, 1))


def test_weights_of_attributes_follow_from_the_seed_alone():
    train, _ = games()
    states = []
    for _ in range(2):
        torch.rand(3)  # the global stream is elsewhere each time
        attacker, _ = fit_eavesdropper(
            "attribute", train, Pixels(train.spec), options={**SMALL, "epochs": 1}, seed=5
        )
        states.append(attacker.state_dict())
    assert all(torch.equal(t, states[1][key]) for key, t in states[0].items())


@pytest.mark.parametrize("name", ["label", "attribute"])
def test_without_labels_nothing_is_fitted_and_nothing_spent(name):
    train, _ = games()
    view = View(train, Pixels(train.spec), ThreatModel(labels=False), g())
    with pytest.raises(DeniedError, match="labels=False"):
        make_eavesdropper(name, train.spec).fit(view, generator=g())
    assert view.queries == 0


# -- several starts ---------------------------------------------------------------------------------

MLP = {"components": 8, "width": 32, "epochs": 3, "batch_size": 50}
CNN = {"widths": (8, 8, 4, 4), "epochs": 2, "batch_size": 50}


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
def test_the_best_of_several_starts_is_kept(name, options, monkeypatch):
    """Each start's PSNR is recorded, and the attacker in the end has that of the best, on images held out."""
    seen = []
    measure = restarts._psnr_db

    def watch(attacker, test):
        seen.append((test, {k: t.clone() for k, t in attacker.state_dict().items()}))
        return measure(attacker, test)

    monkeypatch.setattr(restarts, "_psnr_db", watch)
    attacker, record = fit(name, {**options, "restarts": 3})
    told = record["fit"]
    psnr = [start["validation_psnr_db"] for start in told["restarts"]]
    assert [start["seed"] for start in told["restarts"]] == [3, 3 + 1009, 3 + 2018]
    assert told["kept"] == psnr.index(max(psnr)) and len(set(psnr)) == 3
    assert told["images"] == 300 and told["validation"] == {"images": 100, "of": "held-out images"}
    test, best = seen[told["kept"]]
    assert measure(attacker, test) == pytest.approx(max(psnr), abs=1e-6)
    assert all(torch.equal(t, best[key]) for key, t in attacker.state_dict().items())
    # The receptions and images it was measured on are those of the images that no start was trained on.
    source = make_source("shapes", half="attacker", num_images=800, size=SIDE)
    ((reception, images),) = test
    assert torch.equal(images, source.gather(torch.arange(300, 400)).images)
    rebuilt = attacker.reconstruct(reception.received, reception.csi)
    assert float(metrics.psnr(rebuilt, images).mean()) == pytest.approx(max(psnr), abs=1e-4)
    assert len(reception.csi[:, 0].unique()) == 2, "at the SNRs of the view"


def test_a_small_view_chooses_on_its_training_images_and_says_so():
    _, record = fit("inversion-mlp", {**MLP, "epochs": 1, "restarts": 2}, count=200)
    assert record["fit"]["validation"] == {"images": 100, "of": "training images"}
    assert record["fit"]["images"] == 100


@pytest.mark.parametrize(("name", "options"), [("inversion-mlp", MLP), ("inversion", CNN)])
def test_one_start_is_the_plain_training_on_all_images(name, options, monkeypatch):
    attacker, record = fit(name, {**options, "restarts": 1})
    assert record["fit"]["images"] == 400 and "restarts" not in record["fit"]

    def plain(self, view, step_loss, generator, progress, *, begin=lambda: None):
        begin()
        return self.train_on(view, step_loss, generator, progress)

    monkeypatch.setattr(f"tosc_agents.eavesdroppers.{name.replace('-', '_')}.best_restart", plain)
    other, _ = fit(name, {**options, "restarts": 1})
    assert all(torch.equal(t, other.state_dict()[key]) for key, t in attacker.state_dict().items())


@pytest.mark.parametrize(
    ("name", "options", "share"),
    [
        ("inversion-mlp", MLP, 0.2),
        ("inversion-mlp", MLP, 0.5),
        ("inversion-mlp", MLP, 0.8),
        ("inversion", CNN, 0.8),
    ],
)
def test_an_attack_killed_in_any_start_resumes_to_the_very_same_attacker(tmp_path, name, options, share):
    options = {**options, "restarts": 2}
    state, steps = tmp_path / "a.run", []

    def stop(done, total, figures):
        if done > share * total:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(name, options, progress=stop, state=state)
    resumed, record = fit(name, options, progress=lambda done, *_: steps.append(done), state=state)
    whole, wanted = fit(name, options)
    assert all(torch.equal(t, resumed.state_dict()[key]) for key, t in whole.state_dict().items())
    assert record["fit"] == wanted["fit"] and list(tmp_path.iterdir()) == []
    if share == 0.8:
        assert min(steps) > max(steps) / 2, "a finished start is not trained again"


def test_starts_that_are_all_done_are_not_trained_again_while_their_file_stays(tmp_path):
    """Whoever fits several attackers in turn is killed in a later one, and comes back to this one."""
    options, path = {**MLP, "restarts": 2}, tmp_path / "a.run"
    source = make_source("shapes", half="attacker", num_images=800, size=SIDE)
    game = Game(source, num_symbols=N)
    ends = []
    for identity in ({"target": "x"}, {"target": "x"}, {"target": "y"}):
        with weights_from(0):
            attacker = make_eavesdropper("inversion-mlp", game.spec, **options)
        attacker.run, stream = Run(path, identity), g(4)
        view = View(game, Pixels(game.spec), ThreatModel(), stream)
        steps = []
        if identity["target"] == "y":
            with pytest.raises(CheckpointError, match="another target"):
                attacker.fit(view, generator=stream)
            continue
        record = attacker.fit(view, generator=stream, progress=lambda *now, steps=steps: steps.append(now))
        ends.append((record, torch.rand(3, generator=stream), attacker.state_dict(), bool(steps)))
    (first, after, weights, trained), (second, later, same, again) = ends
    assert trained and not again and first == second and torch.equal(after, later)
    assert all(torch.equal(t, same[key]) for key, t in weights.items())
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.run", "a.start1.run"]
