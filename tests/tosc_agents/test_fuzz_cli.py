"""Every option of every command, and every field of the files that commands read, with odd values: one sentence and
exit code 2, or a success that used what it was given; never a traceback, never a file left half-written."""

from __future__ import annotations

import itertools
import json
import random
import shutil
import struct
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import tyro
from command_line import NETWORK, TRAIN, last_of, work_in_copy
from tosc_agents import cli
from tosc_agents.commands import demo

from tosc_env import errors

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

ODD = [
    *(
        "",
        "text",
        "nan",
        "inf",
        "-inf",
        "-1",
        "0",
        "1e308",
        "1" + "0" * 400,
        "ü" * 5000,
        "a\0b",
        "\ud800",
        "\n",
    ),
    *(
        "a folder",
        "a file/under",
        "a file/under.safetensors",
        "missing",
        "a file",
        "junk.safetensors",
        "/proc/1/mem",
    ),
    *(
        "k=v",
        "epochz=1",
        "linear.epochz=1",
        "steps=[1,2]",
        "steps=null",
        'steps={"a":1}',
        "=",
        "k=",
        "[" * 5000,
    ),
    *("null", "keyed:key=1", "laplace:epsilon=[]", "mean-image", "-5.5e-320", "--", "1_0"),
    *("1.5", "1e38", "9" * 18, "true", "[1,2]", "path=a folder"),
]
FORMER = [  # what fell before
    ("attack", "--output", "a file/under"),
    ("attack", "--eavesdropper-kwargs", "epochz=1"),
    ("attack", "--eavesdropper-kwargs", "steps=[1,2]"),
    ("attack", "--data", "cifar10"),
    ("attack", "--key-file", "ü" * 5000),
    ("evaluate", "--output", "a\0b"),
    ("evaluate", "--data", ""),
    ("train", "--from", "ü" * 5000),
    ("train", "--output", "a folder/x.safetensors/under.safetensors"),
    ("reproduce", "--output", "1" + "0" * 400),
]
TINY = last_of(*TRAIN, "--epochs", "1", "--data-kwargs", "num_images=24", "size=16")


def options():
    """Each command and its arguments as the parser has them."""

    def walk(parser, name):
        inner = [action for action in parser._actions if isinstance(action.choices, dict)]
        for action in inner:
            for key, one in action.choices.items():
                yield from walk(one, (*name, key))
        if not inner:
            yield from ((name, action) for action in parser._actions if "--help" not in action.option_strings)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        config = (tyro.conf.OmitSubcommandPrefixes, tyro.conf.OmitArgPrefixes)
        return list(walk(tyro.extras.get_parser(cli.commands(), config=config), ()))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with a file of each kind that commands read."""
    folder = tmp_path_factory.mktemp("fuzz")
    assert cli.main([*TINY, "--output", str(folder / "tiny.safetensors")]) == 0
    noisy = [
        *("--scheme-kwargs", *NETWORK, "mode=calibrated", "constant=1", "epsilon=0.5"),
        "epsilon_range=[0.01,1]",
    ]
    assert (
        cli.main(last_of("train", "dp-laplace", *TINY[2:], *noisy, "--output", folder / "noisy.safetensors"))
        == 0
    )
    attack = [
        "attack",
        str(folder / "tiny.safetensors"),
        "--eavesdropper",
        "mean-image",
        "--seeds",
        "1",
        "--no-ssim",
    ]
    assert cli.main([*attack, "--output", str(folder / "attacked")]) == 0
    (folder / "a folder").mkdir()
    (folder / "a file").write_text("x")
    (folder / "junk.safetensors").write_bytes(b"junk" * 10)
    return folder


@pytest.fixture
def folder(made, tmp_path, monkeypatch):
    return work_in_copy(made, tmp_path, monkeypatch)


QUICK = ["--seeds", "1", "--no-ssim"]
EVALUATE = ["evaluate", "tiny.safetensors", *QUICK, "--snr-db", "12"]
ATTACK = ["attack", "tiny.safetensors", "--eavesdropper", "mean-image", *QUICK]
CALIBRATE = ["calibrate", "noisy.safetensors", "--target", "0.5", "--budgets", "0.05"]
BASES = {
    ("demo",): ["demo", "--output", "out"],
    ("data", "get"): ["data", "get", "shapes"],
    ("train",): [*TINY, "--output", "out/x.safetensors", "--overwrite"],
    ("attack",): [*ATTACK, "--output", "out"],
    ("evaluate",): [*EVALUATE, "--attacker", "attacked/mean-image.safetensors"],
    ("calibrate",): [*CALIBRATE, "--overwrite", "--output", "out/c.safetensors"],
    ("reproduce",): ["reproduce", "claims", "--output", "out"],
}


def outcome(capsys, *arguments) -> tuple[int, str]:
    """The exit code and what was told as an error; fails for anything but a success or one sentence."""
    code = cli.main(list(arguments))
    told = capsys.readouterr().err
    if code == 2:
        lines = [
            line for line in told.splitlines() if not line.startswith(("train ", "fit ", "tosc: warning: "))
        ]
        assert len(lines) == 1 and lines[0].startswith("tosc: error: ") and lines[0].endswith("."), told[
            :2000
        ]
        assert len(lines[0]) < LONGEST + len("tosc: error: "), lines[0]
        return code, lines[0]
    assert code == 0, told
    return code, ""


def with_odd(name, action, value):
    """A command that works, with one of its arguments replaced."""
    base = BASES[name]
    if not action.option_strings:
        return [*base[: len(name)], value, *base[len(name) + 1 :]]
    rest = last_of(*base, action.option_strings[0])[:-1]
    flag = action.option_strings[0]
    return [*rest, f"{flag}={value}"] if action.nargs == 0 else [*rest, flag, value]


@pytest.mark.timeout(900)  # thousands of commands, 20 ms each where nothing else runs
def test_every_option_of_every_command_takes_odd_values(folder, capsys, monkeypatch):
    # What it does after its first episode is an attack, which is tried by itself.
    monkeypatch.setattr(demo, "Attack", lambda **options: SimpleNamespace(run=lambda: 0))
    chosen = list(itertools.product(options(), ODD))
    assert {name for (name, _), _ in chosen} == set(BASES)
    random.Random(7).shuffle(chosen)
    named = {
        (name[0], action.option_strings[0]): (name, action)
        for name, action in options()
        if action.option_strings
    }
    chosen += [(named[command, flag], value) for command, flag, value in FORMER]
    for (name, action), value in chosen:
        shutil.rmtree("out", ignore_errors=True)
        arguments = with_odd(name, action, value)
        try:
            code, _ = outcome(capsys, *arguments)
        except BaseException as error:
            raise AssertionError(f"{[text[:40] for text in arguments]}: {error!r}"[:1500]) from error
        if (name[0], (action.option_strings or [""])[0], value) in FORMER:
            assert code == 2, arguments
        assert not list(folder.rglob("*.part")), arguments


@pytest.mark.parametrize(
    "flags", [["--epochs", "1", "--epochs", "2"], ["--flip", "--no-flip"], ["--seed=1", "--seed", "1"]]
)
def test_an_option_is_given_once(folder, capsys, flags):
    base = last_of(*TINY, "--epochs")[:-1]
    code, told = outcome(capsys, *base, *flags)
    assert code == 2 and "given once" in told


# The errors shorten their sentences; a tree without that is not asked to.
LONGEST = getattr(errors, "LONGEST", 100_000) + 1
FIELDS = [None, "text", "", -1, 0, 1e300, 10**15, True, [], [1], {}, {"a": 1}, "ü" * 5000, [[[[]]]]]


def places(value, at=()):
    """Every place within plain values."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in pairs:
        yield (*at, key)
        yield from places(inner, (*at, key))


def replaced(value, at, new):
    """Plain values with another one at a place."""
    value = json.loads(json.dumps(value))
    inner = value
    for key in at[:-1]:
        inner = inner[key]
    inner[at[-1]] = new
    return value


def read(path):
    raw = path.read_bytes()
    length = struct.unpack("<Q", raw[:8])[0]
    return json.loads(raw[8 : 8 + length]), raw[8 + length :]


def write(path, header, body):
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)


def cases(plain, count, stream):
    every = list(itertools.product(places(plain), FIELDS))
    return stream.sample(every, min(count, len(every)))


@pytest.mark.parametrize("file", ["tiny.safetensors", "attacked/mean-image.safetensors"])
def test_every_field_of_a_checkpoint_and_its_card_takes_odd_values(folder, capsys, file):
    stream, path = random.Random(11), folder / file
    arguments = [*EVALUATE, "--attacker", "attacked/mean-image.safetensors"]
    header, body = read(path)
    policy = json.loads(header["__metadata__"]["tosc_env"])
    card_file = path.with_suffix(".json")
    card = json.loads(card_file.read_text())
    for at, new in cases(card, 250, stream):
        card_file.write_text(json.dumps(replaced(card, at, new)))
        check(capsys, arguments, at, new)
    card_file.unlink()
    for at, new in cases(policy, 200, stream):
        meta = {"tosc_env": json.dumps(replaced(policy, at, new))}
        write(path, header | {"__metadata__": meta}, body)
        check(capsys, arguments, at, new)


def check(capsys, arguments, at, new):
    try:
        outcome(capsys, *arguments)
    except BaseException as error:
        raise AssertionError(f"{at}: {str(new)[:40]}: {error!r}"[:1500]) from error


def test_every_field_of_an_attacks_results_and_of_its_finished_attackers_takes_odd_values(folder, capsys):
    stream, path = random.Random(13), folder / "attacked" / "results.json"
    arguments = [*ATTACK, "--output", "attacked"]
    results, card_file = json.loads(path.read_text()), folder / "attacked" / "mean-image.json"
    for at, new in cases(results, 40, stream):
        path.write_text(json.dumps(replaced(results, at, new)))
        check(capsys, arguments, at, new)
    path.write_text(json.dumps(results))
    card = json.loads(card_file.read_text())
    for at, new in cases(card, 60, stream):
        card_file.write_text(json.dumps(replaced(card, at, new)))
        check(capsys, arguments, at, new)


def test_recorded_symbols_and_key_files_with_odd_content_are_one_sentence(folder, capsys):
    good = {"train_second_half": np.ones((5000, 16), np.float32), "test": np.ones((2000, 16), np.float32)}
    attack = [
        "attack",
        "odd.npz",
        "--eavesdropper",
        "mean-image",
        "--data",
        "shapes",
        "--seeds",
        "1",
        "--no-ssim",
        "--output",
        "out",
    ]
    odd = [
        *(
            np.full((4, 16), np.nan),
            np.full((4, 16), np.inf),
            np.full((4, 16), "a"),
            np.ones((4, 15)),
            np.ones(4),
        ),
        *(np.ones((0, 16)), np.ones((4, 0)), np.ones((4, 16, 1)), np.ones((4, 16), complex), np.float64(1)),
        *(np.full((4, 16), 1e300), np.array([None, 1], object), np.ones((4, 16), "M8[s]"), np.ones((4, 8))),
    ]
    for name, array in itertools.product(good, odd):
        np.savez("odd.npz", **{**good, name: array})
        code, told = outcome(capsys, *attack)
        assert code == 2 and "odd.npz" in told, (name, array.dtype, array.shape)
    keyed = [
        "evaluate",
        "tiny.safetensors",
        "--seeds",
        "1",
        "--no-ssim",
        "--snr-db",
        "12",
        "--stages",
        "keyed",
        "--key-file",
        "odd.key",
    ]
    for content in (b"", b"\0" * 64, b"zz" * 32, b"00" * 33, "ü".encode() * 32, b"00" * 31 + b"0\n1", b"[]"):
        (folder / "odd.key").write_bytes(content)
        code, told = outcome(capsys, *keyed)
        assert code == 2 and "odd.key" in told
        assert len(content) < 8 or content.decode(errors="replace")[:8] not in told, "never a piece of a key"
