"""The command line sets nodes and antennas; a checkpoint's card keeps them for whatever is done with it later."""

from __future__ import annotations

import json

import pytest
from command_line import TRAIN, slip
from tosc_agents import cli

from tosc_env.io.checkpoint_files import read_header
from tosc_env.nodes import Node, as_nodes

LINEAR = ["--eavesdropper", "linear", "--seeds", "1", "--no-ssim"]
TWO = ["--eavesdroppers", "2", "--transmit-antennas", "2", "--receiver-antennas", "3"]
ANTENNAS = ["--eavesdropper-antennas", "4"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("nodes")


@pytest.fixture(scope="module")
def trained(folder):
    path = folder / "two.safetensors"
    assert run(*TRAIN, *TWO, *ANTENNAS, "--output", path) == 0
    return path


@pytest.fixture(scope="module")
def plain(folder):
    path = folder / "plain.safetensors"
    assert run(*TRAIN, "--output", path) == 0
    return path


def run(*arguments):
    return cli.main([str(a) for a in arguments])


def setting_in(path):
    return read_header(path)["card"]["setting"]


def results_in(folder):
    return json.loads((folder / "results.json").read_text())


def eavesdroppers(count, antennas=1):
    return tuple(Node(f"eavesdropper_{k}", antennas, adversary=True) for k in range(count))


def test_a_card_keeps_the_nodes_of_a_training_and_says_nothing_of_usual_ones(trained, plain):
    setting = setting_in(trained)
    assert setting["transmit_antennas"] == 2
    assert as_nodes(setting["nodes"]) == (Node("receiver", 3), *eavesdroppers(2, 4))
    assert not {"nodes", "transmit_antennas", "transmitter_csi"} & setting_in(plain).keys()


def test_a_warm_start_keeps_the_nodes_of_its_checkpoint(trained, tmp_path):
    assert run(*TRAIN, "--from", trained, "--output", tmp_path / "on.safetensors") == 0
    assert setting_in(tmp_path / "on.safetensors") == setting_in(trained)
    other = ["--eavesdroppers", "1", "--receiver-antennas", "1", "--output", tmp_path / "one.safetensors"]
    assert run(*TRAIN, "--from", trained, *other) == 0
    setting = setting_in(tmp_path / "one.safetensors")
    assert as_nodes(setting["nodes"]) == (Node("receiver"), Node("eavesdropper", 4, adversary=True))
    assert setting["transmit_antennas"] == 2


def test_what_the_card_says_is_attacked_and_evaluated(trained, tmp_path):
    assert run("attack", trained, *LINEAR, "--colluding", "--output", tmp_path / "a") == 0
    assert setting_in(tmp_path / "a" / "linear.safetensors") == setting_in(trained)
    attacked = results_in(tmp_path / "a")["attacked"]["setting"]
    assert attacked == {name: one for name, one in setting_in(trained).items() if name != "data_kwargs"}
    found = ["--snr-db", "12", "--seeds", "1", "--no-ssim", "--output", tmp_path / "e"]
    assert run("evaluate", trained, "--attacker", tmp_path / "a" / "linear.safetensors", *found) == 0
    record = results_in(tmp_path / "e")
    assert record["setting"] == setting_in(trained)
    assert record["results"]["leaks"]["linear"] == results_in(tmp_path / "a")["results"]["leaks"]["linear"]


def test_an_option_goes_before_the_card(plain, trained, tmp_path):
    """Each of several that do not collude is measured; whoever has many antennas sees more."""
    assert run("attack", plain, *LINEAR, "--output", tmp_path / "one") == 0
    weights = tmp_path / "one" / "linear.safetensors"
    leaks = {}
    for antennas in (1, 64):
        options = ["--eavesdroppers", 3, "--eavesdropper-antennas", antennas, "--snr-db", -10, "--seeds", 1]
        output = tmp_path / f"e{antennas}"
        assert run("evaluate", plain, "--attacker", weights, *options, "--no-ssim", "--output", output) == 0
        record = results_in(output)
        assert as_nodes(record["setting"]["nodes"])[1:] == eavesdroppers(3, antennas)
        leaks[antennas] = [by["-10"]["psnr_db"]["mean"] for by in record["results"]["leaks"].values()]
    assert len(leaks[1]) == 3 and min(leaks[64]) > max(leaks[1])
    assert run("attack", plain, *LINEAR, *TWO, "--colluding", "--output", tmp_path / "two") == 0
    nodes = results_in(tmp_path / "two")["attacked"]["setting"]["nodes"]
    assert as_nodes(nodes) == (Node("receiver", 3), *eavesdroppers(2))


def test_a_wrong_number_is_one_line(plain, tmp_path, capsys):
    for option, value, words in (
        ("--eavesdroppers", 0, "eavesdroppers 1 0"),
        ("--transmit-antennas", 0, "transmit_antennas 1 0"),
        ("--receiver-antennas", -1, "'receiver' 1024 -1"),
        ("--eavesdropper-antennas", 2000, "'eavesdropper' 1024 2000"),
    ):
        for start in (TRAIN, ["attack", plain], ["evaluate", plain]):
            told = slip(capsys, *start, option, value, "--output", tmp_path / "x.safetensors")
            assert all(word in told for word in words.split()), told


def test_one_eavesdropper_cannot_collude(plain, tmp_path, capsys):
    assert "there is one: say how many with --eavesdroppers" in slip(
        capsys, "attack", plain, "--colluding", "--output", tmp_path / "x"
    )
    assert run("attack", plain, *LINEAR, *TWO, "--colluding", "--output", tmp_path / "two") == 0
    capsys.readouterr()
    weights = tmp_path / "two" / "linear.safetensors"
    assert "say how many with --eavesdroppers" in slip(capsys, "evaluate", plain, "--attacker", weights)


def test_what_an_attacker_was_given_stands_beside_its_figures(plain, folder, capsys):
    """Colluding eavesdroppers' attacker, evaluated: the threat model is in the record and the caption."""
    four = ["--eavesdroppers", "4", "--colluding", "--snr-db", "0"]
    assert run("attack", plain, *four, *LINEAR, "--output", folder / "four") == 0
    capsys.readouterr()
    attacker = [
        "--attacker",
        folder / "four" / "linear.safetensors",
        "--seeds",
        "1",
        "--no-ssim",
        "--snr-db",
        "0",
    ]
    assert run("evaluate", plain, *attacker, "--eavesdroppers", "4", "--output", folder / "same") == 0
    told = capsys.readouterr()
    assert "colluding eavesdroppers" in told.out and "trained beside" not in told.err
    results = results_in(folder / "same")["results"]
    assert results["threat_models"]["linear"]["colluding"] and len(results["antennas"]) == 4
    assert run("evaluate", plain, *attacker, "--eavesdroppers", "3") == 0
    assert "eavesdroppers of 1 + 1 + 1 + 1 antennas; those that play have 1 + 1 + 1" in " ".join(
        capsys.readouterr().err.split()
    )


def test_the_command_line_says_whose_gains_the_transmitter_knows(folder):
    path = folder / "knows.safetensors"
    assert run(*TRAIN, *TWO, "--transmitter-csi", "receiver", "--output", path) == 0
    assert setting_in(path)["transmitter_csi"] == ["receiver"]
