"""The command line of privacy schemes: warm starts, keys, threat models, all attackers, calibration, slips."""

from __future__ import annotations

import json
import stat

import pytest
from command_line import DATA, TRAIN, slip
from tosc_agents import cli
from tosc_agents.zoo import WEIGHTS

from tosc_env.attackers import eavesdroppers
from tosc_env.io.checkpoints import load_checkpoint, read_header

SMALL = [
    *("steps=4", "width=8", "components=4", "stem=4", "widths=[4,8]", "blocks=[0,0]", "batch_size=10"),
    *("inversion.widths=[4,4,4]", "unshuffle.pairs=20"),
]
QUICK = ("--data-kwargs", *DATA, "--num-symbols", "8", "--epochs", "1", "--batch-size", "10")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "160")
    return tmp_path


@pytest.fixture(scope="module")
def baseline(tmp_path_factory):
    path = tmp_path_factory.mktemp("trained") / "base.safetensors"
    assert cli.main([*TRAIN, "--output", str(path)]) == 0
    return path


def train(name, *arguments, output):
    assert cli.main(["train", name, "--data", "shapes", *QUICK, "--output", str(output), *arguments]) == 0


# -- training ---------------------------------------------------------------------------------------


def test_a_scheme_starts_from_the_baselines_weights_and_its_card_says_so(baseline, folder, capsys):
    train("lbvq", "--from", str(baseline), output="lbvq.safetensors")
    told = capsys.readouterr().out
    assert "from" in told and "starts afresh: codewords, usage" in told and "of 16 codewords used" in told
    header = read_header("lbvq.safetensors")
    assert header["options"]["stem"] == 4 and header["options"]["codewords"] == 16
    card = header["card"]
    assert card["training"]["warm_start"]["file"] == baseline.name
    assert card["training"]["loop"]["optimizer"] == "adamw" and sum(card["codeword_usage"]) == pytest.approx(
        1
    )
    assert card["complexity"]["bits"] == 32.0


def test_a_budget_and_its_guarantee_are_shown_and_kept(baseline, folder, capsys):
    options = ["--scheme-kwargs", "epsilon=20", "epsilon_range=[1,100]"]
    start = ["--from", str(baseline), "--freeze", "transmitter.convolutions"]
    train("dp-laplace", *start, *options, output="d.safetensors")
    assert "each message is 20-DP for its image" in capsys.readouterr().out
    card = read_header("d.safetensors")["card"]
    assert card["guarantee"].startswith("each message is 20-DP")
    assert card["training"]["frozen"] == ["transmitter.convolutions"]
    attack = ["attack", "d.safetensors", "--scheme-kwargs", "epsilon=5", "--eavesdropper", "mean-image"]
    assert cli.main([*attack, "--receptions", "16"]) == 0
    told = capsys.readouterr().out
    assert "each message is 5-DP" in told and "16 transmissions of the same image: 80-DP" in told
    assert "16 receptions of each image" not in told, "which the mean image does not need"


def test_a_key_is_made_once_in_a_file_of_its_own_and_appears_nowhere_else(baseline, folder, capsys):
    train("encryption", "--from", str(baseline), "--key-file", "my.key", output="e.safetensors")
    key = (folder / "my.key").read_text().strip()
    assert len(key) == 64 and stat.S_IMODE((folder / "my.key").stat().st_mode) == 0o600
    told = capsys.readouterr()
    assert key not in told.out + told.err
    raw = (folder / "e.safetensors").read_bytes()
    assert key.encode() not in raw and bytes.fromhex(key) not in raw


@pytest.mark.slow
def test_calibrated_noise_lies_as_far_under_the_rival_as_asked(folder, capsys):
    """The zoo's weights, calibrated anew to another mark: the accuracy at 0.05 is then that mark."""
    weights = WEIGHTS / "dp-laplace-article-shapes.safetensors"
    assert cli.main(["calibrate", str(weights), "--target", "0.97", "--output", "c.safetensors"]) == 0
    told = capsys.readouterr().out
    assert (
        "calibrated noise" in told and "no differential privacy is claimed" in told and "DP for" not in told
    )
    header = read_header("c.safetensors")
    options, found = header["options"], header["card"]["calibration"]["accuracy"]
    assert options["epsilon"] == 0.05 and options["mode"] == "calibrated"
    assert (
        found["0.05"] == pytest.approx(0.97, abs=0.005)
        and found["0.05"] < found["0.1"] <= found["0.9"] + 0.005
    )
    (noise,) = load_checkpoint("c.safetensors").policy.stages
    assert noise.reach / noise.epsilon == pytest.approx(options["constant"] / 0.05)
    assert cli.main(["calibrate", str(weights), "--target", "0.99999", "--output", "d.safetensors"]) == 2
    assert "target must lie between the accuracies" in capsys.readouterr().err


@pytest.fixture
def ours_alone(monkeypatch):
    """The attackers of this package, whatever other tests have registered in this process."""
    names = [name for name in eavesdroppers if eavesdroppers.origin(name).startswith("tosc_agents")]
    monkeypatch.setattr(eavesdroppers, "_table", {name: eavesdroppers[name] for name in names})


# -- attacking --------------------------------------------------------------------------------------


@pytest.mark.slow
def test_all_attackers_that_the_threat_model_allows_are_run_and_the_strongest_named(
    baseline, folder, capsys, ours_alone
):
    train("lbvq", "--from", str(baseline), output="lbvq.safetensors")
    arguments = [
        *("attack", "lbvq.safetensors", "--all", "--seeds", "1", "--no-ssim", "--receptions", "2"),
        *("--eavesdropper-kwargs", *SMALL, "--output", "out"),
    ]
    capsys.readouterr()
    assert cli.main(arguments) == 0
    told = capsys.readouterr().out
    assert "unshuffle: left out, the scheme has no key" in told
    for leak in ("PSNR", "re-identification", "inference of label", "inference of colour"):
        assert f"strongest at 12 dB in {leak}: " in told
    assert "above the floor" in told and "chance" in told
    record = json.loads((folder / "out" / "results.json").read_text())
    run = set(record["attackers"])
    assert {
        "codebook",
        "denoise",
        "sorted",
        "match-query",
        "attribute",
        "label",
        "inversion",
        "linear",
    } <= run
    assert record["threat_model"]["receptions"] == 2 and set(record["strongest"]["12"]) >= {
        "psnr_db",
        "reid",
        "label",
    }
    assert "\n* strongest at 12 dB" in (folder / "out" / "results.md").read_text()
    # Finished attackers are taken as they are, but for one that needs the encoder itself.
    assert cli.main(arguments) == 0
    told = capsys.readouterr().out
    assert "codebook: trained before" in told and "match-query: trained before" not in told


def test_what_the_threat_model_denies_is_left_out_with_the_reason(baseline, folder, capsys, ours_alone):
    denied = ["--no-candidate-queries", "--no-labels", "--no-unkeyed-encoder"]
    options = ["--eavesdropper-kwargs", *SMALL]
    arguments = ["attack", str(baseline), "--play", "encryption", "--all", "--seeds", "1", "--no-ssim"]
    assert cli.main([*arguments, *denied, *options, "--output", "out"]) == 0
    told = capsys.readouterr().out
    for name, why in (
        ("match-query", "candidate_queries=False"),
        ("label", "labels=False"),
        ("attribute", "labels=False"),
        ("unshuffle", "unkeyed_encoder=False"),
        ("denoise", "receptions=1"),
    ):
        assert f"{name}: left out, the threat model says {why}" in told
    assert "codebook: left out, the scheme has no codebook" in told
    # Of the usual base attacks the denied one is left out, and the record says so.
    fitted = json.loads((folder / "out" / "results.json").read_text())["attackers"]["sorted"]["fit"]
    assert "labels=False" in fitted["left_out"]["label"] and {"match", "inversion-mlp"} <= set(fitted)
    key = (folder / "out" / "secret.key").read_text().strip()
    for path in (folder / "out").iterdir():
        if path.name != "secret.key":
            assert key.encode() not in path.read_bytes() and bytes.fromhex(key) not in path.read_bytes()


def test_without_pairs_only_who_needs_none_is_run(baseline, folder, capsys, ours_alone):
    """Said of each before anything is trained; who learns from the encoder without its key needs none."""
    arguments = ["attack", str(baseline), "--play", "encryption", "--all", "--seeds", "1", "--no-ssim"]
    denied = ["--keys", "without-pairs", "--no-labels"]
    asked = ["--eavesdropper-kwargs", *SMALL, 'sorted.base_attacks=["linear", "label"]']
    assert cli.main([*arguments, *denied, *asked, "--output", "out"]) == 0
    told = capsys.readouterr().out
    for name in ("linear", "match", "inversion", "match-query"):
        assert f"{name}: left out, the threat model denies pairs" in told
    assert (
        "sorted: left out, 'label', a base attack of 'sorted', is denied what it needs (labels=False)" in told
    )
    assert set(json.loads((folder / "out" / "results.json").read_text())["attackers"]) == {"mean-image"}
    asked = ["--eavesdropper-kwargs", *SMALL, 'sorted.base_attacks=["linear"]']
    assert cli.main([*arguments, *denied, *asked, "--output", "more"]) == 0
    assert set(json.loads((folder / "more" / "results.json").read_text())["attackers"]) == {
        "mean-image",
        "sorted",
    }


# -- slips ------------------------------------------------------------------------------------------


def test_a_key_file_that_holds_no_key_is_one_line(capsys, folder, baseline):
    (folder / "bad.key").write_text("00ff")
    told = slip(capsys, "attack", baseline, "--play", "encryption", "--key-file", "bad.key")
    assert "64 hexadecimal digits" in told and "00ff" not in told
    assert "takes none" in slip(capsys, "attack", baseline, "--key-file", "bad.key")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("train", "dp-laplace", *QUICK, "--scheme-kwargs", "mode=approximate"), "calibrated 'approximate'"),
        (("train", "encryption", *QUICK, "--scheme-kwargs", "key=abc123"), "32 bytes"),
        (("train", "layered", *QUICK, "--scheme-kwargs", "mode=rotation"), "'16qam'"),
        (("train", "lbvq", *QUICK, "--from", "nowhere.safetensors"), "checkpoint nowhere.safetensors"),
        (("train", "lbvq", *QUICK, "--from", "BASE", "--freeze", "decoder"), "'decoder'"),
        (
            ("attack", "BASE", "--eavesdropper", "match-query", "--no-candidate-queries"),
            "candidate_queries=False",
        ),
        (("attack", "BASE", "--eavesdropper", "label", "--no-labels"), "labels=False"),
        (("attack", "BASE", "--eavesdropper", "codebook"), "codebook"),
        # All are asked before anyone is trained.
        (
            ("attack", "BASE", "--eavesdropper", "linear", "few-pairs", "codebook", "label", "--no-labels"),
            "few-pairs: codebook: label: labels=False",
        ),
        (
            (
                *("attack", "BASE", "--eavesdropper", "linear", "match-query"),
                *("--candidates", "119", "--curves"),
            ),
            "match-query: 120 119",
        ),
        (("attack", "BASE", "--receptions", "0"), "receptions 1 0"),
        (("attack", "BASE", "--images", "other-data"), "--attacker-data"),
        (("attack", "BASE", "--eavesdropper-kwargs", "inversoin.steps=1"), "'inversoin'"),
        (("calibrate", "BASE", "--target", "0.5"), "dp-laplace 'calibrated'"),
    ],
)
def test_a_slip_is_one_line(capsys, baseline, folder, arguments, words):
    told = slip(capsys, *(baseline if one == "BASE" else one for one in arguments))
    assert not any(folder.rglob("*.safetensors")), "nothing was trained"
    assert all(word in told for word in words.split()) and "abc123" not in told
