"""``tosc attack``: train eavesdroppers against a checkpoint, or against symbols recorded elsewhere."""

from __future__ import annotations

import inspect
import io
import json
import math
import os
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import tyro

from tosc_agents.commands import common
from tosc_agents.commands.common import NodeOptions, SystemOptions, parse_options, snr_choices
from tosc_agents.leaks import describe, strongest, unprotected
from tosc_agents.learning.progress import show_progress
from tosc_agents.learning.seeding import weights_from
from tosc_agents.pictures import attack_picture
from tosc_agents.records import RESULTS, print_evaluation, provenance, rising, write_results
from tosc_agents.training import fit_eavesdropper as fitting
from tosc_agents.training.evaluate import CANDIDATES
from tosc_agents.training.identification import identification_curve
from tosc_env import Game, GameConfig, Pipeline, ThreatModel, View, save_checkpoint
from tosc_env.attackers import Eavesdropper, eavesdroppers, make_eavesdropper
from tosc_env.devices import resolve_device
from tosc_env.errors import DataError, DeniedError, InputError, shown, unknown
from tosc_env.exchange import known_spec
from tosc_env.identity import check_identity, identity
from tosc_env.nodes import as_nodes
from tosc_env.options import named_options
from tosc_env.privacy.oracle import Recorded
from tosc_env.zoos import UNPROTECTED

_LARGEST_RECORD = 2**31
"""Bytes of recorded symbols in memory, where they are float32."""
_LONGEST_HEADER = 2**16
"""Bytes of an array's file that are read for its shape and type; NumPy reads 10,000 at most."""
USUAL = ThreatModel(candidate_queries=True, unkeyed_encoder=True)
"""The threat model unless another is asked for, so that the strongest attackers are among those that run."""


@dataclass(kw_only=True)
class Attack(SystemOptions, NodeOptions):
    """Train attackers against a scheme's checkpoint and measure what they get on the test images.

    The target may also be a .npz of noiseless symbols recorded elsewhere: arrays train_second_half [N/2, 2n]
    and test [M, 2n], in the order of the data set's images.

    Of several eavesdroppers the attackers are the first, or with --colluding all of them together.

    Example: tosc attack runs/deepjscc-cifar10-12dB.safetensors --eavesdropper linear inversion match
    """

    target: Annotated[Path, tyro.conf.Positional]
    """A scheme's checkpoint, or a .npz of recorded symbols."""
    key_file: Path | None = None
    """File of a keyed scheme's key (64 hexadecimal digits), made if it is missing; by default OUTPUT/secret.key."""
    eavesdropper: tuple[str, ...] = ("mean-image", "linear", "inversion-mlp", "inversion", "match", "label")
    """Registered eavesdroppers ('tosc list'), each with the same settings for every scheme."""
    all: bool = False
    """Every registered eavesdropper that the threat model allows and the scheme gives something to attack."""
    eavesdropper_kwargs: tuple[str, ...] = ()
    """Options for every attacker that has them, as name=value, e.g. steps=1000; or for one, as inversion.steps=1000."""
    snr_db: tuple[float, ...] = ()
    """Es/N0 in dB of both links, for training the attackers and for testing; by default the scheme's."""
    eavesdropper_snr_db: tuple[float, ...] = ()
    """Es/N0 in dB of the eavesdropper's link where it is another, paired with --snr-db."""
    attacker_data: str | None = None
    """Another data set of the same image size as the attackers' training images."""
    attacker_data_kwargs: tuple[str, ...] = ()
    """Options of that data set, as name=value."""
    threat: Annotated[ThreatModel, tyro.conf.arg(name="")] = USUAL
    """Means of the attackers."""
    data: str | None = None
    """The data set of recorded symbols, by default cifar10; a checkpoint knows its own, and another is refused."""
    seed: int = 0
    """Seed of the attackers' training."""
    curves: bool = False
    """Measure identification among 10 to all test images too, in bits above chance, at the (first) SNR."""
    output: Path | None = None
    """Folder for weights, results and picture; by default runs/attack-TARGET, with --play and --stages in its name."""

    def run(self) -> int:
        """Fit each attacker, measure all on the same receptions, write everything."""
        device = resolve_device(self.device)
        options = parse_options(self.eavesdropper_kwargs)
        named_options("--eavesdropper-kwargs", {key.split(".")[-1]: value for key, value in options.items()})
        for name in (*self.eavesdropper, *(key.partition(".")[0] for key in options if "." in key)):
            if name not in eavesdroppers:
                raise unknown("eavesdropper", name, eavesdroppers)
        threat = self._threat()
        folder = self.output or Path("runs") / self._folder_name()
        common.check_folder(folder)
        _check_options(list(eavesdroppers) if self.all else list(self.eavesdropper), options)
        setting, origin, (system, tested), threat = self._target(device, folder, threat)
        train, test = self._games(setting, (system, tested), device)
        if isinstance(system, Recorded):
            # That the candidates are among the records is as good as an encoder to ask.
            system.remember(test.source, tested.get_buffer("symbols"))
        common.tell_guarantee(tested, self.threat.receptions)
        told = {name: value for name, value in setting.plain().items() if name != "data_kwargs"}
        known = identity(setting=told, data=test.source, system=tested)
        asked = common.asked_of(self)
        _refuse_another(folder, known, asked)
        link_snr_db = train.snr_of(train.adversaries[0])
        card = {
            **provenance(train.source, device),
            "against": system.name,
            "composition": system.composition,
            "labels": list(train.task.labels),
            "setting": setting.plain(),
            "valid_snr_db": [link_snr_db.low, link_snr_db.high],
        }
        spec = known_spec(train.spec, system, threat)
        rules: dict[str, Any] = {"threat": threat, "seed": self.seed}
        # All that lies there is looked at before anything is written.
        wanted: dict[str, tuple[Eavesdropper, tuple[Eavesdropper, dict[str, Any]] | None]] = {}
        view = View(train, system, threat, torch.Generator(train.device))
        denied: list[str] = []
        for name in dict.fromkeys(eavesdroppers if self.all else self.eavesdropper):
            with weights_from(self.seed):
                fresh = make_eavesdropper(name, spec, **_applicable(name, options)).to(device)
            why = fresh.refusal(view) or _over_budget(fresh, view, len(test.source), self.curves)
            if why is not None:
                denied.append(f"{name}: {why}")
                if self.all:
                    print(f"{name}: left out, {why}")
                continue
            mine, finished = fitting.attack_identity(fresh, train, system, **rules), None
            if not _queries(fresh):
                path = folder / f"{name}.safetensors"
                finished = fitting.finished_attacker(path, mine, asked=asked, device=device)
            wanted[name] = fresh, finished
        if denied and not self.all:
            raise DeniedError(f"not all of these attackers have what they need ({'; '.join(denied)}).")
        fitted: dict[str, Eavesdropper] = {}
        records: dict[str, Any] = {}
        for name, (fresh, finished) in wanted.items():
            state = folder / f"{name}.run"
            if finished is not None:
                print(f"{name}: trained before with the same settings, taken from {folder}")
                fitted[name], record = finished
            else:
                with show_progress(f"fit {name}") as progress:
                    kept: dict[str, Any] = {"progress": progress, "state_path": state, "asked": asked}
                    fitted[name], record = fitting.fit_eavesdropper(fresh, train, system, **rules, **kept)
                if not _queries(fresh):
                    whole = {**card, "training": record}
                    save_checkpoint(folder / f"{name}.safetensors", fitted[name], whole)
            fitting.forget_run(state)
            records[name] = fitting.without_identity(record)
        levels = self.snr_db or train.snr_db.choices or (train.snr_db.low, train.snr_db.high)
        snrs = {"snr_db": levels, "eavesdropper_snr_db": self.eavesdropper_snr_db or None}
        found = self.measured(test, tested, fitted, **snrs, threat=threat)
        top = strongest(found)
        curves = {}
        if self.curves:
            snr_db = (self.eavesdropper_snr_db or levels)[0]
            curves = identification_curve(test, tested, fitted, snr_db=snr_db, threat=threat)
        record = {
            "target": self.target.name,
            "attacked": known,
            "asked": asked,
            "system": origin,
            "channel_uses": train.num_symbols,
            "threat_model": threat.plain(),
            "guarantee": tested.guarantee(self.threat.receptions),
            "attackers": records,
            **provenance(test.source, device),
            "results": found.plain(),
            "strongest": top,
            **({"curves": {name: asdict(curve) for name, curve in curves.items()}} if curves else {}),
        }
        note = f"{test.source.provenance} {self.seeds} seeds of channel noise. {found.terms}"
        lines = describe(top, {} if system.composition == UNPROTECTED else unprotected(setting, threat, top))
        title = f"{tested.title}, {self.target}"
        write_results(folder, record, found, "\n".join([note, "", *(f"* {line}" for line in lines)]), title)
        attack_picture(folder / "picture.png", test, tested, fitted, levels[0], threat=threat)
        print_evaluation(title, found, note)
        for line in [*rising(records), *lines]:
            print(line)
        print(f"results, weights and picture are in {folder}")
        return 0

    def _folder_name(self) -> str:
        """``attack-lbvq-cifar10-12dB+keyed``, ``attack-deepjscc-cifar10-12dB-encryption`` and the like."""
        play = "" if self.play is None else f"-{self.play}"
        stages = common.part_names(common.parse_parts(self.stages))
        return "+".join([f"attack-{self.target.stem}{play}", *stages])

    def _threat(self) -> ThreatModel:
        if self.attacker_data is not None:
            return replace(self.threat, images="other-data")
        if self.threat.images == "other-data":
            raise InputError("--images other-data are those of --attacker-data, which names none.")
        if self.attacker_data_kwargs:
            raise InputError("--attacker-data-kwargs are options of --attacker-data, which names none.")
        return self.threat

    def _target(
        self, device: torch.device, folder: Path, threat: ThreatModel
    ) -> tuple[GameConfig, dict[str, Any], tuple[Pipeline, Pipeline], ThreatModel]:
        """The target's setting, what a record says of it, who sends the training and the test images, and the threat
        model with what is true of the attackers' images."""
        if self.target.suffix == ".npz":
            if self.play or self.scheme_kwargs or self.stages or self.key_file:
                raise InputError(
                    f"the symbols in {self.target} are attacked as they are; --play, --scheme-kwargs, --stages and "
                    "--key-file belong to a checkpoint."
                )
            if threat.images != "other-half":
                raise InputError(
                    f"the symbols in {self.target} are those of the attackers' half (--images other-half), and of no "
                    f"images {threat.images}."
                )
            first, second = (Recorded(symbols.to(device)) for symbols in _recorded(self.target))
            data, options = self.data or "cifar10", parse_options(self.data_kwargs)
            setting = self.with_nodes(GameConfig(data, options, num_symbols=first.spec.num_symbols))
            record = {"recorded_symbols": self.target.name, "setting": setting.plain()}
            return setting, record, (first, second), threat
        loaded = self.load(self.target)
        scheme, setting = loaded.policy, self.with_nodes(self.on_data(common.setting_of(loaded)))
        if self.data not in (None, setting.data):
            raise InputError(f"{self.target} is of the data set {setting.data!r}, not {self.data!r}.")
        halved = common.check_images(self.target, loaded.card, setting)
        if not halved and threat.images in ("other-half", "same-half"):
            common.warn(
                f"as far as its card tells, {self.target} was not trained on a half of these images: the attackers' "
                "may be among its own, and the record says 'no-half'."
            )
            threat = replace(threat, images="no-half")
        # Kept, so that a resumed attack meets the same key.
        keyed = scheme.keyed and "key" not in common.scheme_options(self.scheme_kwargs)
        key = self.key_file or (folder / "secret.key" if keyed else None)
        if key is not None and not os.path.exists(key) and (folder / RESULTS).exists():
            raise InputError(f"{folder / RESULTS} is of another target or key; choose another --output.")
        common.use_key_file(scheme, key)
        return setting, common.system_of(scheme, loaded.card), (scheme, scheme), threat

    def _games(
        self, setting: GameConfig, systems: tuple[Pipeline, Pipeline], device: torch.device
    ) -> tuple[Game, Game]:
        """The games on the attackers' own images and on the test images."""
        other_snr = snr_choices(self.eavesdropper_snr_db) if self.eavesdropper_snr_db else None
        common.check_snr_pairs(self.snr_db, self.eavesdropper_snr_db)
        snr = snr_choices(self.snr_db) if self.snr_db else setting.snr_db
        rules: dict[str, Any] = {"snr_db": snr, "constellation": systems[0].constellation, "device": device}
        common.check_colluding(self.threat, setting)
        nodes = as_nodes(setting.nodes)
        if not self.threat.colluding:
            nodes = nodes[:2]  # the attackers are the first eavesdropper
        rules["transmitter_csi"] = [n.name for n in nodes if n.name in setting.transmitter_csi]
        rules["nodes"] = nodes if other_snr is None else [replace(node, snr_db=None) for node in nodes]
        half = {"other-half": "attacker", "same-half": "system"}.get(self.threat.images)
        own = setting
        if self.attacker_data is not None:
            theirs = parse_options(self.attacker_data_kwargs)
            half, own = None, replace(setting, data=self.attacker_data, data_kwargs=theirs)
            if (own.data, own.data_kwargs) == (setting.data, setting.data_kwargs):
                raise InputError(
                    f"--attacker-data {own.data} is the target's own; --images says which half of it."
                )
        train = own.game(half=half, eavesdropper_snr_db=other_snr, **rules)
        test = setting.game(split="test", **rules)
        if train.source.image_shape != test.source.image_shape:
            shape, wanted = train.source.image_shape, test.source.image_shape
            raise InputError(f"{self.attacker_data} images have the shape {shape}, the target's {wanted}.")
        for system, game in zip(systems, (train, test), strict=True):
            if not system.receives and len(system.get_buffer("symbols")) != len(game.source):
                raise DataError(
                    f"{self.target} has {len(system.get_buffer('symbols'))} recorded messages where "
                    f"{game.source.name} has {len(game.source)} images ({game.source.split})."
                )
        return train, test


def _queries(attacker: Eavesdropper) -> bool:
    """Whether it asks the encoder while it attacks, so that no file can hold it."""
    return "candidate_queries" in attacker.needs


def _over_budget(attacker: Eavesdropper, view: View, images: int, curves: bool) -> str | None:
    """The reason why an attacker could not be measured on so many test images: more candidates than it may encode."""
    allowed, each = view.threat.candidates, attacker.options.get("encodings")
    if allowed is None or each is None or not _queries(attacker):
        return None
    among = min(CANDIDATES, images)
    needed = (-(-images // among) * among + images * curves) * (1 if view.deterministic else each)
    told = f"it is measured with {needed:,} candidates encoded, and the threat model grants {allowed:,}"
    return told if needed > allowed else None


def _refuse_another(folder: Path, known: dict[str, Any], asked: dict[str, str]) -> None:
    """Raise CheckpointError where a folder holds results that are not of this target."""
    path = folder / RESULTS
    if path.exists():
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            theirs, then = record.get("attacked"), record.get("asked")
        except (OSError, ValueError, AttributeError, RecursionError):
            theirs, then = None, None
        check_identity(path, theirs, known, asked_then=then, asked_now=asked)


def _check_options(names: list[str], options: dict[str, Any]) -> None:
    """Raise InputError for an option that would go to none of these attackers."""
    applied = {name: _applicable(name, options) for name in names}
    for key in options:
        one, dot, _ = key.partition(".")
        if one not in names if dot else not any(_holds(found, key) for found in applied.values()):
            told = f"which goes to none of the attackers {', '.join(names)}"
            raise InputError(f"--eavesdropper-kwargs sets {shown(key)}, {told}.")


def _holds(options: Mapping[str, Any], name: str) -> bool:
    """Whether an option is among these, or among those that are handed on to base attacks."""
    handed = options.get("base_attack_kwargs")
    inner = handed.values() if isinstance(handed, Mapping) else ()
    return name in options or any(_holds(one, name) for one in inner if isinstance(one, Mapping))


def _applicable(name: str, options: dict[str, Any]) -> dict[str, Any]:
    """The options that an attacker has (``steps`` means nothing to a closed form), its very own before shared ones."""
    own = {
        key.removeprefix(f"{name}."): value for key, value in options.items() if key.startswith(f"{name}.")
    }
    shared = {key: value for key, value in options.items() if "." not in key}
    known = inspect.signature(eavesdroppers[name]).parameters
    if "base_attack_kwargs" in known:
        # A transformed attack hands the options on to its base attacks that have them, and refuses any other thing.
        kwargs = own.get("base_attack_kwargs", {})
        bases = own.get("base_attacks", known["base_attacks"].default)
        plain = isinstance(kwargs, dict) and all(isinstance(one, dict) for one in kwargs.values())
        if plain and isinstance(bases, list | tuple) and all(base in eavesdroppers for base in bases):
            own["base_attack_kwargs"] = kwargs | {
                base: {**_applicable(base, shared), **kwargs.get(base, {})} for base in bases
            }
    if not any(p.kind is p.VAR_KEYWORD for p in known.values()):
        shared = {key: value for key, value in shared.items() if key in known}
    return {**shared, **own}


def _recorded(path: Path) -> tuple[torch.Tensor, torch.Tensor]:
    if not os.path.isfile(path):
        raise DataError(f"no recorded symbols at {path}.")
    members = "train_second_half.npy", "test.npy"
    try:
        with zipfile.ZipFile(path) as archive:
            # What the headers claim, before anything is unpacked.
            size = sum(_claimed(archive, member) for member in members)
            if size > _LARGEST_RECORD:
                raise ValueError(f"they take {size:,} bytes in memory, more than {_LARGEST_RECORD:,}")
            first, second = (_symbols(archive, member) for member in members)
    except Exception as error:  # a damaged archive raises almost any
        told = " ".join(str(error).split()).rstrip(".")[:200] or type(error).__name__
        raise DataError(f"{path} does not hold the arrays train_second_half and test: {told}.") from None
    return first, second


def _claimed(archive: zipfile.ZipFile, member: str) -> int:
    """The bytes that an array takes as float32, or as it is stored where that is more."""
    if archive.getinfo(member).compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        # zipfile unpacks other kinds a piece at a time, of which a few bytes become gigabytes.
        raise ValueError("they must be packed as np.savez or np.savez_compressed does")
    with archive.open(member) as packed:
        file = io.BytesIO(packed.read(_LONGEST_HEADER))
        version = np.lib.format.read_magic(file)
        if version == (1, 0):  # later ones are for longer headers, and for names of columns
            shape, _, kind = np.lib.format.read_array_header_1_0(file)
    if version != (1, 0) or kind.kind not in "fiu":
        raise ValueError("they must hold finite real numbers")
    if len(shape) != 2 or min(shape) < 1 or shape[1] % 2:
        raise ValueError(f"symbols must be [N, 2n], not {list(shape)}")
    return math.prod(shape) * max(4, kind.itemsize)


def _symbols(archive: zipfile.ZipFile, member: str) -> torch.Tensor:
    with archive.open(member) as file, np.errstate(over="ignore"):
        symbols = np.lib.format.read_array(file, allow_pickle=False).astype(np.float32, copy=False)
    if not np.isfinite(symbols).all():
        raise ValueError("they must hold finite real numbers")
    return torch.from_numpy(symbols)
