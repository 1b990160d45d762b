"""Changing any option of a command between a kill and the next run is refused by name, or cannot change a result."""

from __future__ import annotations

import json
import pickle
from dataclasses import fields, is_dataclass
from functools import partial
from pathlib import Path

import pytest
import torch
from command_line import NETWORK, slip
from refusals import refused
from tosc_agents import cli
from tosc_agents.commands.attack import Attack
from tosc_agents.commands.common import asked_of
from tosc_agents.commands.train import Train
from tosc_agents.learning.state import Run, load_state, save_state
from tosc_agents.training.fit_eavesdropper import fit_eavesdropper

from tosc_env.attackers import Eavesdropper
from tosc_env.data import make_source, sources
from tosc_env.game import Game
from tosc_env.io.checkpoint_files import read_card, read_tensors
from tosc_env.pipeline import make_scheme
from tosc_env.privacy.threat import ThreatModel

KEY, OTHER_KEY = "5a" * 32, "00" * 32


class Killed(BaseException):
    pass


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("my.key").write_text(KEY)
    Path("other.key").write_text(OTHER_KEY)
    for name, seed in (("these", 1), ("those", 2)):
        load = partial(make_source, "shapes", seed=seed, num_images=60, size=16)
        monkeypatch.setitem(sources._table, name, load)
    return tmp_path


def killed_after(saves, monkeypatch, arguments):
    """Run a command that is killed right after a state was saved for the so-manieth time."""
    save, count = Run.save, []

    def dying(run, *state):
        save(run, *state)
        count.append(run.path)
        if len(count) == saves:
            raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(Run, "save", dying)
        with pytest.raises(Killed):
            cli.main([str(one) for one in arguments])


def arguments_of(options):
    """A command's arguments from its options; the positional one is called so."""
    line = []
    for name, value in options.items():
        if isinstance(value, bool):
            line.append(name if value else f"--no-{name[2:]}")
        else:
            values = [str(one) for one in (value if isinstance(value, list) else [value])]
            line += values if not name.startswith("--") else [name, *values]
    return line


def options_of(command):
    """The names of all options of a command, as a user writes them, from its dataclass."""
    names = set()
    for one in fields(command):
        names |= options_of(one.default) if is_dataclass(one.default) else {one.name}
    return names


def others(command, tried):
    """Another value of each option that is a number or a switch and is not tried yet."""
    found = {}
    for one in fields(command):
        name = f"--{one.name}".replace("_", "-")
        if name not in tried and one.type in ("int", "int | None", "float", "float | None", "bool"):
            found[name] = not one.default if one.type == "bool" else (one.default or 1) + 1
    return found


# -- training ---------------------------------------------------------------------------------------

TRAIN = {
    "COMMAND": "train",
    "SCHEME": "deepjscc",
    "--data": "shapes",
    "--data-kwargs": ["num_images=60", "size=16"],
    "--task": "attributes",
    "--task-kwargs": ["names=colour"],
    "--scheme-kwargs": NETWORK,
    "--stages": ["keyed:mode=rotation"],
    "--channel": "rician",
    "--channel-kwargs": ["k_factor_db=3"],
    "--num-symbols": 8,
    "--key-file": "my.key",
    "--epochs": 3,
    "--batch-size": 10,
    "--precision": "float32",
    "--output": "a.safetensors",
}
OTHERWISE = {
    "SCHEME": "ibal",
    "--data": "these",
    "--data-kwargs": ["num_images=60", "size=16", "seed=1"],
    "--task": "classification",
    "--task-kwargs": ["names=size"],
    "--scheme-kwargs": [*NETWORK[:-1], "receiver_depth=2"],
    "--stages": ["keyed:mode=shuffle"],
    "--objectives": ["task", "bottleneck"],
    "--channel": "rayleigh",
    "--channel-kwargs": ["k_factor_db=20"],
    "--num-symbols": 9,
    "--transmitter-csi": "receiver",
    "--snr-db": 3.0,
    "--from": "other.safetensors",
    "--freeze": "transmitter",
    "--key-file": "other.key",
    "--epochs": 4,
    "--batch-size": 12,
    "--optimizer": "adamw",
    "--learning-rate": 0.01,
    "--weight-decay": 0.1,
    "--flip": False,
    "--cutout": 0,
    "--precision": "bf16",
    "--seed": 1,
}
OTHERWISE |= others(Train, OTHERWISE)
OTHERWISE.pop("--overwrite", None)
CANNOT_MATTER = {"--output", "--overwrite", "--device"}
"""Where the result goes. Of devices, those of one kind: another kind draws other numbers and is refused."""

WITH = {
    "--data": {"--data-kwargs": []},
    "--task": {"--task-kwargs": []},
    "--channel": {"--channel-kwargs": []},
}
"""What has to change with an option for the command to make sense."""


def test_every_option_of_train_is_tried():
    """Those of the dataclass: an option added tomorrow fails here until it is tried."""
    command = Train("deepjscc")
    assert set(asked_of(command)) == OTHERWISE.keys() | CANNOT_MATTER
    assert len(asked_of(command)) == len(fields(Train))


@pytest.mark.parametrize("option", OTHERWISE)
def test_a_training_changed_after_a_kill_is_refused_and_the_option_named(option, capsys, monkeypatch):
    if option == "--from":
        assert (
            cli.main(arguments_of({**TRAIN, "--epochs": 1, "--seed": 5, "--output": "other.safetensors"}))
            == 0
        )
    killed_after(1, monkeypatch, arguments_of(TRAIN))
    kept = Path("a.run").read_bytes()
    capsys.readouterr()
    told = slip(capsys, *arguments_of({**TRAIN, option: OTHERWISE[option], **WITH.get(option, {})}))
    assert "a.run belongs to a run with another " in told
    named = told.split("now; ")[1].split(" changed")[0]
    assert option in named.replace(",", "").split(), told
    assert Path("a.run").read_bytes() == kept and not Path("a.safetensors").exists()


def test_what_cannot_matter_does_not_keep_a_training_from_going_on(capsys, monkeypatch):
    assert cli.main(arguments_of({**TRAIN, "--output": "whole.safetensors"})) == 0
    killed_after(1, monkeypatch, arguments_of(TRAIN))
    Path("a.run").rename("b.run")
    assert cli.main(arguments_of({**TRAIN, "--output": "b.safetensors", "--overwrite": True})) == 0
    assert Path("b.safetensors").read_bytes() == Path("whole.safetensors").read_bytes()
    assert read_card("b.safetensors") == read_card("whole.safetensors")


def test_the_first_codes_own_case_is_refused(capsys, monkeypatch):
    """Killed with K = 3 dB and mirrored images, and run again with K = 20 dB, none mirrored and nothing covered."""
    killed_after(1, monkeypatch, arguments_of(TRAIN))
    capsys.readouterr()
    changed = {"--channel-kwargs": ["k_factor_db=20"], "--flip": False, "--cutout": 0}
    told = slip(capsys, *arguments_of({**TRAIN, **changed}))
    assert "--channel-kwargs, --flip, --cutout were changed" in told


def test_other_images_under_the_same_name_are_refused(capsys, monkeypatch):
    line = arguments_of({**TRAIN, "--data": "these", "--data-kwargs": []})
    killed_after(1, monkeypatch, line)
    monkeypatch.setitem(sources._table, "these", sources["those"])
    capsys.readouterr()
    told = slip(capsys, *line)
    assert "another data (other contents now);" in told, "no option was changed"


@pytest.mark.parametrize("identity", [{"scheme": "deepjscc", "options": {}, "seed": 0}, None])
def test_a_state_of_the_first_code_is_refused_in_a_sentence(identity, capsys, monkeypatch):
    killed_after(1, monkeypatch, arguments_of(TRAIN))
    state = load_state("a.run", torch.device("cpu"))
    del state["identity"]
    save_state("a.run", {**state, **({} if identity is None else {"identity": identity})})
    capsys.readouterr()
    assert "a.run does not say all that determined it" in slip(capsys, *arguments_of(TRAIN))


def test_a_keyed_training_follows_from_its_seed(monkeypatch):
    """Without a key file too: the key is drawn from the seed, so that a killed run meets it again."""
    line = {name: value for name, value in TRAIN.items() if name != "--key-file"}
    for name in ("a", "b"):
        if name == "b":
            killed_after(2, monkeypatch, arguments_of({**line, "--output": "b.safetensors"}))
        assert cli.main(arguments_of({**line, "--output": f"{name}.safetensors"})) == 0
    assert Path("a.safetensors").read_bytes() == Path("b.safetensors").read_bytes()


@pytest.mark.parametrize("left", ["weights", "card", "both"])
def test_a_training_killed_as_it_ended_ends_in_the_same_files(left, monkeypatch):
    """Between its weights and its card, or before its state was removed."""
    assert cli.main(arguments_of({**TRAIN, "--output": "whole.safetensors"})) == 0
    killed_after(3, monkeypatch, arguments_of(TRAIN))
    if left != "card":
        Path("a.safetensors").write_bytes(Path("whole.safetensors").read_bytes())
    if left != "weights":
        Path("a.json").write_bytes(Path("whole.json").read_bytes())
    assert cli.main(arguments_of(TRAIN)) == 0
    assert not Path("a.run").exists()
    assert Path("a.safetensors").read_bytes() == Path("whole.safetensors").read_bytes()
    assert Path("a.json").read_bytes() == Path("whole.json").read_bytes()


def test_a_state_does_not_make_another_checkpoint_its_own(capsys, monkeypatch):
    assert cli.main(arguments_of({**TRAIN, "--seed": 1})) == 0
    before = Path("a.safetensors").read_bytes()
    killed_after(1, monkeypatch, [*arguments_of(TRAIN), "--overwrite"])
    capsys.readouterr()
    assert "a.safetensors exists; choose another --output" in slip(capsys, *arguments_of(TRAIN))
    assert Path("a.safetensors").read_bytes() == before
    assert cli.main([*arguments_of(TRAIN), "--overwrite"]) == 0


# -- attacks ----------------------------------------------------------------------------------------

ATTACK = {
    "COMMAND": "attack",
    "TARGET": "tiny.safetensors",
    "--stages": ["keyed:mode=shuffle"],
    "--key-file": "my.key",
    "--eavesdropper": ["mean-image", "linear", "inversion-mlp", "label"],
    "--eavesdropper-kwargs": ["steps=150", "width=8", "components=4", "batch_size=10"],
    "--attacker-data": "these",
    "--seeds": 1,
    "--ssim": False,
    "--output": "out",
}
ATTACKED_OTHERWISE = {
    "TARGET": "other.safetensors",
    "--play": "label-only",
    "--scheme-kwargs": ["told_snr_db=3.0"],
    "--stages": ["keyed:mode=rotation"],
    "--key-file": "other.key",
    "--eavesdropper": ["linear", "label"],
    "--all": True,
    "--eavesdropper-kwargs": ["steps=250", "width=8", "components=4", "batch_size=10"],
    "--transmitter-csi": "receiver",
    "--snr-db": 3.0,
    "--eavesdropper-snr-db": 3.0,
    "--attacker-data": "those",
    "--attacker-data-kwargs": ["num_images=60", "size=16"],
    "--data-kwargs": ["num_images=50"],
    "--images": "same-half",
    "--labels": False,
    "--queries": 20,
    "--candidate-queries": False,
    "--candidates": 50,
    "--codebook": False,
    "--unkeyed-encoder": False,
    "--keys": "with-key",
    "--csi": False,
    "--receptions": 2,
    "--colluding": True,
    "--data": "shapes",
    "--seeds": 2,
    "--ssim": True,
    "--seed": 1,
}
ATTACKED_OTHERWISE |= others(Attack, ATTACKED_OTHERWISE) | others(ThreatModel, ATTACKED_OTHERWISE)
ATTACKED_WITH = {
    "--eavesdropper": {"--eavesdropper-kwargs": ["steps=150", "width=8", "batch_size=10"]},
    "--eavesdropper-snr-db": {"--snr-db": 12.0},
    "--images": {"--attacker-data": None},
    "--attacker-data-kwargs": {"--attacker-data": "shapes"},
    "--queries": {"--candidates": 100},
    "--labels": {"--eavesdropper": ["mean-image", "linear", "inversion-mlp"]},
}
MAY_BE_TAKEN = {
    "--all",
    "--eavesdropper",
    "--data",
    "--data-kwargs",
    "--seeds",
    "--ssim",
    "--noise-seed",
    "--curves",
}
MAY_BE_TAKEN |= {"--candidate-queries", "--candidates", "--receptions"}
"""What a finished attacker does not depend on: who else attacks, on what images and how it is measured, and what is
granted to those alone that need it or use it."""


@pytest.fixture(scope="module")
def targets(tmp_path_factory):
    """Two tiny systems."""
    place = tmp_path_factory.mktemp("targets")
    line = {
        name: TRAIN[name]
        for name in ("COMMAND", "SCHEME", "--data", "--data-kwargs", "--scheme-kwargs", "--num-symbols")
    }
    for name, seed in (("tiny", 0), ("other", 1)):
        output = place / f"{name}.safetensors"
        assert cli.main(arguments_of({**line, "--epochs": 1, "--seed": seed, "--output": output})) == 0
    return place


@pytest.fixture
def interrupted(targets, folder, monkeypatch):
    """An attack that was killed in its third attacker, with two finished ones beside it."""
    for path in targets.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    killed_after(1, monkeypatch, arguments_of(ATTACK))
    assert {p.name for p in Path("out").iterdir()} >= {"linear.safetensors", "inversion-mlp.run"}


def without(record, *names):
    """A record without some entries, however deep."""
    if isinstance(record, dict):
        return {k: without(v, *names) for k, v in record.items() if k not in names}
    return [without(v, *names) for v in record] if isinstance(record, list) else record


def results(place):
    """The results, but for what tells of the run and not of the attack."""
    return without(json.loads((place / "results.json").read_text()), "seconds", "asked", "target")


def test_every_option_of_attack_is_tried():
    names = {f"--{name}".replace("_", "-") for name in options_of(Attack) - {"target"}} | {"TARGET"}
    assert names == set(asked_of(Attack(target=Path("a"))))
    assert names == ATTACKED_OTHERWISE.keys() | {"--output", "--device"}
    assert {f.name for f in fields(ThreatModel)} <= options_of(Attack)


QUICKLY = {"TARGET", "--attacker-data", "--eavesdropper-snr-db", "--eavesdropper-kwargs"}


@pytest.mark.parametrize(
    "option",
    [pytest.param(one, marks=() if one in QUICKLY else pytest.mark.slow) for one in ATTACKED_OTHERWISE],
)
def test_an_attack_changed_after_a_kill_is_refused_by_name_or_ends_as_if_begun_anew(
    option, interrupted, capsys
):
    before = {path.name: path.read_bytes() for path in Path("out").iterdir()}
    changed = {**ATTACK, option: ATTACKED_OTHERWISE[option], **ATTACKED_WITH.get(option, {})}
    line = arguments_of({k: v for k, v in changed.items() if v is not None})
    capsys.readouterr()
    code = cli.main(line)
    told = capsys.readouterr()
    fresh = arguments_of({k: v for k, v in {**changed, "--output": "fresh"}.items() if v is not None})
    if code == 0:
        assert option in MAY_BE_TAKEN, told.out
        assert cli.main(fresh) == 0
        assert results(Path("out")) == results(Path("fresh"))
        for path in Path("fresh").glob("*.safetensors"):
            ours = read_tensors(Path("out") / path.name)
            assert all(torch.equal(t, ours[name]) for name, t in read_tensors(path).items())
        assert not list(Path("out").glob("*.run")) or option == "--eavesdropper"
        return
    assert code == 2
    assert {path.name: path.read_bytes() for path in Path("out").iterdir()} == before
    assert option not in MAY_BE_TAKEN
    if "belongs to a run with another" in told.err:
        named = told.err.split("now; ")[1].split(" changed")[0]
        assert option in named.replace(",", "").split(), told.err
    else:  # it makes no sense, be it begun anew or not
        assert cli.main(fresh) == 2, told.err


@pytest.mark.slow
def test_a_killed_attack_ends_as_if_never_killed(interrupted, capsys):
    capsys.readouterr()
    assert cli.main(arguments_of(ATTACK)) == 0
    assert "linear: trained before with the same settings" in capsys.readouterr().out
    assert cli.main(arguments_of({**ATTACK, "--output": "fresh"})) == 0
    assert results(Path("out")) == results(Path("fresh"))
    for path in Path("fresh").glob("*.safetensors"):
        assert (Path("out") / path.name).read_bytes() == path.read_bytes()
    assert {p.name for p in Path("out").iterdir()} == {p.name for p in Path("fresh").iterdir()}


@pytest.mark.slow
def test_an_attacker_killed_between_weights_and_card_is_not_trained_again(interrupted, capsys, monkeypatch):
    """Its run is kept until both are written."""
    from tosc_agents.commands import attack

    save = attack.save_checkpoint

    def half(path, policy, card):
        save(path, policy, card)
        path.with_suffix(".json").unlink()
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(attack, "save_checkpoint", half)
        with pytest.raises(Killed):
            cli.main(arguments_of(ATTACK))
    assert Path("out/inversion-mlp.run").exists() and not Path("out/inversion-mlp.json").exists()
    saved = []
    keep = Run.save
    monkeypatch.setattr(Run, "save", lambda run, *state: (saved.append(run.path.name), keep(run, *state)))
    assert cli.main(arguments_of(ATTACK)) == 0
    assert "inversion-mlp.run" not in saved and "label.run" in saved
    assert not list(Path("out").glob("*.run"))


def test_no_secret_is_in_what_a_run_keeps(interrupted, capsys):
    assert cli.main(arguments_of(ATTACK)) == 0
    keys = (KEY, KEY.upper(), bytes.fromhex(KEY))
    for path in Path("out").iterdir():
        held = path.read_bytes()
        assert not any((key.encode() if isinstance(key, str) else key) in held for key in keys), path


def test_an_attackers_file_of_the_first_code_is_refused_in_a_sentence(interrupted, capsys):
    card = json.loads(Path("out/linear.json").read_text())
    card["training"] = without(card["training"], "identity")
    Path("out/linear.json").write_text(json.dumps(card))
    capsys.readouterr()
    assert "linear.safetensors does not say all that determined it" in slip(capsys, *arguments_of(ATTACK))


class Caught(torch.Tensor):
    """A tensor that clears whatever it is combined with in place."""

    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        if function.__name__ == "__ior__":
            args[0].zero_()
        return super().__torch_function__(function, types, args, kwargs or {})


class Forger(Eavesdropper):
    """An attacker that rewrites what its run is known by."""

    name, run, forge = "forger", None, "parts"

    def fit(self, view, *, generator, progress=None):
        view.symbols(torch.arange(view.num_images))
        if self.forge == "count":
            state = self.run.carried.state_dict()
            zero = torch.zeros_like(state["asked"]).as_subclass(Caught)
            self.run.carried.load_state_dict({**state, "asked": zero})
        self.run.parts["threat_model"]["csi"] = False
        self.run.asked["--seed"] = "forged"
        return {}

    def reconstruct(self, received, csi):
        return received.new_zeros(len(received), *self.spec.image_shape)


def test_what_an_attacker_writes_to_its_run_is_in_no_record(tmp_path):
    game = Game(make_source("shapes", num_images=40, size=16, half="attacker"), num_symbols=8)
    scheme = make_scheme("deepjscc", game.spec, stem=4, widths=(4, 8), blocks=(0, 0))
    asked, attacker = {"--seed": "true"}, Forger(game.spec)
    _, record = fit_eavesdropper(attacker, game, scheme, state_path=tmp_path / "a.run", asked=asked)
    assert record["queries"] == len(game.source) and record["identity"]["threat_model"]["csi"] is True
    assert record["asked"] == asked == {"--seed": "true"}
    assert attacker.run is None and pickle.loads(pickle.dumps(attacker)).run is None
    attacker.forge = "count"
    with refused("asked Caught"):
        fit_eavesdropper(attacker, game, scheme, state_path=tmp_path / "b.run")
