"""Arguments and steps of several commands."""

from __future__ import annotations

import json
import os
import sys
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import tyro

from tosc_agents.keys import SecretKey
from tosc_agents.learning.state import kept_identity
from tosc_agents.training.evaluate import Evaluation, evaluate
from tosc_env import Checkpoint, Eavesdropper, Game, GameConfig, Pipeline, ThreatModel, load_checkpoint
from tosc_env.data import data_set
from tosc_env.devices import resolve_device
from tosc_env.errors import CheckpointError, InputError, shown, unknown, without_keys
from tosc_env.identity import digest
from tosc_env.io.checkpoint_files import SUFFIX, card_path, data_of, read_card
from tosc_env.nodes import WIRETAP, as_nodes, wiretap
from tosc_env.options import named_options
from tosc_env.registration import environments


def parse_options(pairs: Sequence[str]) -> dict[str, Any]:
    """``["coherence=16", "equaliser=zf"]`` as a dictionary; values are JSON where they can be, else text.

    >>> parse_options(["coherence=16", "equaliser=zf", "names=[1, 2]"])
    {'coherence': 16, 'equaliser': 'zf', 'names': [1, 2]}
    """
    options: dict[str, Any] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not name or not equals:
            raise InputError(f"an option is written name=value, not {shown(pair)}.")
        if name in options:
            raise InputError(f"each option is given once, but {shown(name)} is given twice.")
        try:
            options[name] = json.loads(text)
        except (ValueError, RecursionError):  # no JSON, a number of too many digits, too many brackets
            options[name] = text
    return options


def scheme_options(pairs: Sequence[str]) -> dict[str, Any]:
    """``--scheme-kwargs`` as a dictionary; InputError for what is no option of a scheme."""
    return named_options("--scheme-kwargs", parse_options(pairs))


def parse_parts(texts: Sequence[str]) -> list[str | dict[str, Any]]:
    """Stages or objectives, each written ``NAME`` or ``NAME:option=value,option=value``, as names and dictionaries.

    >>> parse_parts(["keyed", "laplace:epsilon=20,epsilon_range=[1,100],mode=laplace"])
    ['keyed', {'name': 'laplace', 'epsilon': 20, 'epsilon_range': [1, 100], 'mode': 'laplace'}]
    """
    parts: list[str | dict[str, Any]] = []
    for text in texts:
        name, colon, listed = text.partition(":")
        # No message shows more than the piece that is wrong: another may be a key.
        if not name or "=" in name or without_keys(name) != name:
            raise InputError(f"a part is written NAME or NAME:option=value,option=value, not {shown(name)}.")
        if not colon:
            parts.append(name)
            continue
        options = parse_options(_pieces(listed))
        if "name" in options:
            raise InputError(f"'name' is no option of {name!r}; it is what stands before the colon.")
        parts.append({"name": name, **options})
    return parts


def _pieces(text: str) -> list[str]:
    """A text cut at its commas, but for those inside brackets."""
    pieces, depth = [""], 0
    for letter in text:
        depth += (letter in "[{(") - (letter in "]})")
        if letter == "," and depth == 0:
            pieces.append("")
        else:
            pieces[-1] += letter
    return pieces


def asked_of(command: Any) -> dict[str, str]:
    """Each option of a command as a user writes it, with a digest of its value: a value may hold a key."""
    hints = typing.get_type_hints(type(command), include_extras=True)
    found: dict[str, str] = {}
    for one in fields(command):
        value = getattr(command, one.name)
        if is_dataclass(value):
            found |= asked_of(value)
            continue
        told = getattr(hints[one.name], "__metadata__", ())
        positional = tyro.conf.Positional in told
        names = [getattr(part, "name", None) for part in told if not positional]
        name = next((n for n in names if n), one.name).replace("_", "-")
        found[name.upper() if positional else f"--{name}"] = digest(value)[:16]
    return found


def snr_choices(values: Sequence[float]) -> Any:
    """One number as it is, several as choices to draw from."""
    return values[0] if len(values) == 1 else list(values)


def check_snr_pairs(snr_db: Sequence[float], eavesdropper_snr_db: Sequence[float]) -> None:
    """Raise InputError unless the eavesdropper's SNRs are none, or one for each of the receiver's."""
    if eavesdropper_snr_db and len(eavesdropper_snr_db) != len(snr_db):
        counts = f"{len(eavesdropper_snr_db)} and {len(snr_db)} values"
        raise InputError(f"--eavesdropper-snr-db pairs with --snr-db, but there are {counts}.")


def part_names(parts: Sequence[str | Mapping[str, Any]]) -> list[str]:
    """The names of stages or objectives as :func:`parse_parts` gives them."""
    return [part if isinstance(part, str) else part["name"] for part in parts]


@dataclass(kw_only=True)
class NodeOptions:
    """Nodes and antennas; what is not given stays as the checkpoint's card has it, else one of each."""

    eavesdroppers: int | None = None
    """Eavesdroppers, all alike; by default those in the checkpoint's card, else one."""
    transmit_antennas: int | None = None
    """The transmitter's antennas; without a stage that precodes, the first radiates alone."""
    receiver_antennas: int | None = None
    """The receiver's antennas, combined by maximum ratio."""
    eavesdropper_antennas: int | None = None
    """Each eavesdropper's antennas, combined likewise."""
    transmitter_csi: tuple[str, ...] | None = None
    """Nodes whose channel gains the transmitter knows, for stages that precode, e.g. receiver."""

    def with_nodes(self, setting: GameConfig) -> GameConfig:
        """The setting with the nodes and antennas that were given."""
        receiver, *others = as_nodes(setting.nodes)
        if self.eavesdroppers not in (None, len(others)):
            named = WIRETAP if self.eavesdroppers == 1 else wiretap(self.eavesdroppers)
            others = [replace(others[0], name=node.name) for node in named[1:]]
        if self.receiver_antennas is not None:
            receiver = replace(receiver, antennas=self.receiver_antennas)
        if self.eavesdropper_antennas is not None:
            others = [replace(node, antennas=self.eavesdropper_antennas) for node in others]
        nodes = (receiver, *others)
        rules: dict[str, Any] = {
            "transmit_antennas": self.transmit_antennas,
            "transmitter_csi": self.transmitter_csi,
        }
        given = {name: value for name, value in rules.items() if value is not None}
        known = tuple(node.name for node in nodes if node.name in setting.transmitter_csi)
        return replace(setting, **{"nodes": nodes, "transmitter_csi": known, **given})


@dataclass(kw_only=True)
class SystemOptions:
    """The system that plays with the weights in a scheme's checkpoint, and its measurement."""

    play: str | None = None
    """Another scheme that plays with the checkpoint's weights, e.g. encryption with those of deepjscc."""
    scheme_kwargs: tuple[str, ...] = ()
    """Options that the scheme's weights leave open, as name=value, e.g. epsilon=5 or mode=shuffle."""
    stages: tuple[str, ...] = ()
    """More stages before the channel, as NAME or NAME:option=value,option=value, e.g. keyed laplace:epsilon=20."""
    data_kwargs: tuple[str, ...] = ()
    """Options of the data set, as name=value, that override those of the checkpoint, e.g. path=MOVED."""
    seeds: int = 3
    """Draws of the channel's noise in the test."""
    noise_seed: int | None = 0
    """Seed of that noise and of the candidates' order; None: one that nobody could know before. The record has it."""
    ssim: bool = True
    """Compute SSIM too, which takes longer than most attackers."""
    device: str = "cpu"
    """Processor or accelerator to compute on, e.g. cuda:0."""

    def load(self, path: Path, play: str | None = None) -> Checkpoint:
        """The system, in its checkpoint; CheckpointError for a file that is not a scheme's."""
        return load_checkpoint(
            path,
            device=resolve_device(self.device),
            kind="scheme",
            name=self.play or play,
            options=scheme_options(self.scheme_kwargs),
            stages=parse_parts(self.stages),
        )

    def measured(
        self, game: Game, scheme: Pipeline, attackers: Mapping[str, Eavesdropper], **rules: Any
    ) -> Evaluation:
        """The evaluation with so many draws of the noise; ``rules`` are further arguments of it."""
        how: dict[str, Any] = {"seeds": self.seeds, "seed": self.noise_seed, "with_ssim": self.ssim}
        return evaluate(game, scheme, attackers, **how, **rules)

    def on_data(self, setting: GameConfig) -> GameConfig:
        """The setting on the data set with the options that were given."""
        return replace(setting, data_kwargs={**setting.data_kwargs, **parse_options(self.data_kwargs)})


def warn(text: str) -> None:
    """Tell of something that whoever reads the output should know."""
    print(f"tosc: warning: {text}", file=sys.stderr)


def check_images(path: Path, card: Mapping[str, Any], setting: GameConfig) -> bool:
    """Return whether a checkpoint was trained on the system's half of these images, as far as its card tells.

    Warns where the data set no longer has the images of that training: a folder that has grown is divided anew, so that
    some of them may be among those of the test. Raises InputError where its classes have other names.
    """
    known = _entry(card, "data", "sha256")
    if _entry(card, "training", "half") != "system":
        return False
    if known is None:  # of before cards had it: all that can be compared is what was asked for
        return _entry(card, "setting", "data_kwargs") == setting.data_kwargs
    game, labels = setting.game(half="system"), card.get("labels")
    if isinstance(labels, list) and labels != list(game.task.labels):
        theirs = shown(list(game.task.labels))
        raise InputError(f"{path} answers with one of {shown(labels)}, and these images are of {theirs}.")
    if game.source.sha256 != known:
        warn(
            f"the training images of {setting.data!r} are not those that {path} was trained on; some of those may be "
            "among the test images now."
        )
    return game.source.sha256 == known and not _started_on_others(card["training"], data_of(card), known)


def _entry(card: Any, *names: str) -> Any:
    """What stands in a card under one name within another; None where somebody wrote something else there."""
    for name in names:
        card = card.get(name) if isinstance(card, Mapping) else None
    return card


def _started_on_others(training: Any, name: str | None, known: str) -> bool:
    """Whether a training, or one that it started from, had other images of the same data set."""
    start = _entry(training, "warm_start")
    if not isinstance(start, Mapping):
        return False
    others = start.get("data") == name and start.get("images", known) != known
    return others or _started_on_others(start, name, known)


def is_file(given: str) -> bool:
    """Whether what a command was given is a file, and not a name that 'tosc list' shows."""
    return given.endswith(SUFFIX) or os.sep in given or os.path.isfile(given)


def environment_of(data: str) -> str:
    """An environment's id for the id itself, or for the name of a data set; InputError where there is none."""
    known = environments()
    by_data = {name: id for id, name in reversed(known.items())}
    if os.path.isdir(data):
        data_set(data)  # says how a folder is given
    if data not in known and data not in by_data:
        raise unknown("data set or environment", data, (*by_data, *known))
    return data if data in known else by_data[data]


def use_key_file(scheme: Pipeline, path: Path | None) -> None:
    """Give a scheme the key in a file, or a fresh one that is then written there; nothing when no file is named."""
    if path is not None:
        # Where nothing takes a key, the pipeline says so before a file is made.
        scheme.use_key(SecretKey.at(path) if scheme.keyed else path)


def system_of(scheme: Pipeline, card: dict[str, Any]) -> dict[str, Any]:
    """The system that a result is about, as plain values: scheme, options, added stages, composition and card."""
    return {
        "scheme": scheme.name,
        "options": scheme.options,
        "stages": [stage.plain() for stage in scheme.added],
        "composition": scheme.composition,
        "card": card,
    }


def tell_guarantee(scheme: Pipeline, transmissions: int = 1) -> None:
    """Print what is proven of the privacy of an image sent this many times, where anything is."""
    if guarantee := scheme.guarantee(transmissions):
        print(f"{scheme.title}: {guarantee}")


def setting_of(loaded: Checkpoint) -> GameConfig:
    """The setting in a checkpoint's card."""
    try:
        return GameConfig(**loaded.card["setting"])
    except (KeyError, TypeError):
        wanted = "save it with {'setting': config.plain()} in its card"
        raise CheckpointError(
            f"{loaded.path} does not say in which setting it was trained: {wanted}."
        ) from None


def check_colluding(threat: ThreatModel | None, setting: GameConfig) -> None:
    """Raise InputError where a single eavesdropper is to collude."""
    if threat is not None and threat.colluding and len(setting.nodes) == 2:
        raise InputError(
            "colluding is for several eavesdroppers, and there is one: say how many with --eavesdroppers."
        )


def check_folder(path: Path) -> None:
    """Raise InputError for an --output that is no folder and cannot become one, before anything is computed for it."""
    try:
        place = next(one for one in (path, *path.parents) if one.exists())
        why = "" if os.access(place, os.W_OK | os.X_OK) else f"{place} may not be written to"
        why = why if place.is_dir() else f"{place} is no folder"
    except OSError as error:
        why = error.strerror or str(error)
    if why:
        raise InputError(f"--output cannot be in the folder {path}: {why}.")


def refuse_overwriting(path: Path, overwrite: bool, state: Path | None = None) -> None:
    """Raise InputError for a name that is none of weights, and where a finished checkpoint or its card would be lost.

    Not so of what the run kept in ``state`` has written itself: killed as it ended, it has left one file or both.
    """
    if path.suffix != SUFFIX:
        raise InputError(f"--output names weights, whose files end in {SUFFIX!r}, not {path}.")
    check_folder(path.parent)
    for one in (path, card_path(path)):
        if os.path.isdir(one):
            raise InputError(f"--output names a file, and {one} is a folder.")
    there = [one for one in (path, card_path(path)) if os.path.exists(one)]
    if there and not overwrite and not (state is not None and state.exists() and _left_by(state, path)):
        raise InputError(f"{there[0]} exists; choose another --output, or give --overwrite.")


def _left_by(state: Path, path: Path) -> bool:
    """Whether weights and card are of the run in this state, or one of them was never written."""
    try:
        card = read_card(path) if path.exists() else {}
    except CheckpointError:
        return True  # a card of other weights: those before it are gone
    return not card or _entry(card, "training", "identity") == digest(kept_identity(state))
