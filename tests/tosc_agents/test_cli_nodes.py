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
    header = read_header(tmp_path / "a" / "linear.safetensors")
    assert (
        header["card"]["setting"] == results_in(tmp_path / "a")["attacked"]["setting"] == setting_in(trained)
    )
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


@pytest.mark.parametrize("command", ["train", "attack", "evaluate"])
@pytest.mark.parametrize(
    ("option", "value", "told"),
    [
        ("--eavesdroppers", 0, "eavesdroppers must be a whole number of at least 1, not 0"),
        ("--transmit-antennas", 0, "transmit_antennas must be a whole number of at least 1, not 0"),
        (
            "--receiver-antennas",
            -1,
            "the antennas of node 'receiver' must be a whole number from 1 to 1024, not -1",
        ),
        (
            "--eavesdropper-antennas",
            2000,
            "the antennas of node 'eavesdropper' must be a whole number from 1 to 1024, not 2000",
        ),
    ],
)
def test_a_wrong_number_is_one_line(plain, tmp_path, capsys, command, option, value, told):
    start = TRAIN if command == "train" else [command, plain]
    assert told in slip(capsys, *start, option, value, "--output", tmp_path / "x.safetensors")


def test_one_eavesdropper_cannot_collude(plain, tmp_path, capsys):
    assert "there is one: say how many with --eavesdroppers" in slip(
        capsys, "attack", plain, "--colluding", "--output", tmp_path / "x"
    )
    assert run("attack", plain, *LINEAR, *TWO, "--colluding", "--output", tmp_path / "two") == 0
    capsys.readouterr()
    weights = tmp_path / "two" / "linear.safetensors"
    assert "say how many with --eavesdroppers" in slip(capsys, "evaluate", plain, "--attacker", weights)
