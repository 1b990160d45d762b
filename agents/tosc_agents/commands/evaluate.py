"""``tosc evaluate``: a trained system and trained attackers, at any SNRs."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import tyro

from tosc_agents.commands.common import (
    NodeOptions,
    SystemOptions,
    check_colluding,
    colludes,
    setting_of,
    system_of,
    tell_guarantee,
    trained_against,
    use_key_file,
    weights_of,
)
from tosc_agents.records import describe_usage, print_evaluation, provenance, write_results
from tosc_agents.training.evaluate import evaluate
from tosc_env.attackers import Eavesdropper
from tosc_env.devices import resolve_device
from tosc_env.errors import InputError
from tosc_env.game import GameConfig
from tosc_env.io.checkpoints import check_fits, load_checkpoint, read_header
from tosc_env.nodes import WIRETAP, as_nodes
from tosc_env.pipeline import Pipeline
from tosc_env.privacy.threat import ThreatModel


@dataclass(kw_only=True)
class Evaluate(SystemOptions, NodeOptions):
    """Measure accuracy, and leaks to trained attackers, over a list of SNRs on the test images.

    Of several eavesdroppers each is measured, colluding ones as one.

    Example: tosc evaluate runs/deepjscc-cifar10-12dB.safetensors --snr-db 0 4 8 12 16 20
    """

    scheme: Annotated[Path, tyro.conf.Positional]
    """A scheme's checkpoint."""
    attacker: tuple[Path, ...] = ()
    """Eavesdroppers' checkpoints."""
    key_file: Path | None = None
    """The secret key of a keyed scheme (64 hexadecimal digits); by default a fresh one in memory."""
    snr_db: tuple[float, ...] = (0.0, 4.0, 8.0, 12.0, 16.0, 20.0)
    """Es/N0 in dB of both links."""
    data: str | None = None
    """The data set the scheme is wanted for; by default its own, another is refused."""
    num_symbols: int | None = None
    """The code length the scheme is wanted for; by default its own, another is refused."""
    output: Path | None = None
    """Folder for results.json, results.csv and results.md; by default nothing is written."""

    def run(self) -> int:
        """Load, measure, print, and write if asked."""
        device = resolve_device(self.device)
        if not self.snr_db:
            raise InputError("at least one --snr-db in dB is needed.")
        loaded = self.load(self.scheme)
        scheme, setting = loaded.policy, self.with_nodes(setting_of(loaded))
        use_key_file(scheme, self.key_file)
        tell_guarantee(scheme)
        game = setting.game(split="test", device=device, constellation=scheme.constellation)
        length = game.num_symbols if self.num_symbols is None else self.num_symbols
        wanted = replace(game.spec, num_symbols=length)
        check_fits(read_header(self.scheme), self.scheme, wanted, self.data)
        attackers: dict[str, Eavesdropper] = {}
        together: set[bool] = set()
        for path in self.attacker:
            check_fits(read_header(path), path, game.spec, setting.data)
            attacker = load_checkpoint(path, device=device, kind="eavesdropper")
            attackers[path.stem] = attacker.policy
            together.add(colludes(attacker.card))
            _warn_of_another(path, attacker.card, scheme, loaded.card)
        if len(together) > 1:
            raise InputError(
                "some of these attackers collude and others do not; evaluate them one kind at a time."
            )
        check_colluding(together == {True}, setting)
        for path in self.attacker:
            _warn_of_other_nodes(path, read_header(path)["card"], setting)
        found = evaluate(
            game,
            scheme,
            attackers,
            snr_db=self.snr_db,
            seeds=self.seeds,
            with_ssim=self.ssim,
            threat=ThreatModel(colluding=together == {True}),
        )
        note = (
            f"{game.source.provenance} {len(game.source)} test images, {self.seeds} seeds of channel noise. "
            f"{found.terms}"
        ).rstrip()
        print_evaluation(scheme.title, found, note)
        if found.usage is not None:
            print(f"{scheme.title}: {describe_usage(found.usage)}")
        if self.output is not None:
            record = {
                "target": self.scheme.name,
                "system": system_of(scheme, loaded.card),
                "setting": setting.plain(),
                "channel_uses": game.num_symbols,
                "bits": scheme.bits,
                "guarantee": scheme.guarantee(),
                **provenance(game.source, device),
                "results": found.plain(),
            }
            write_results(self.output, record, found, note, f"{scheme.title}, {self.scheme}")
            print(f"results are in {self.output}")
        return 0


def _warn_of_other_nodes(path: Path, card: dict[str, Any], setting: GameConfig) -> None:
    """Say so where an attacker's card tells of other eavesdroppers than those that play."""
    if "setting" not in card:
        return
    theirs, ours = (_antennas(plain) for plain in (card["setting"], setting.plain()))
    if theirs != ours:
        print(
            f"tosc: warning: {path} was trained beside eavesdroppers of {theirs} antennas, and those that play have "
            f"{ours}.",
            file=sys.stderr,
        )


def _antennas(setting: Mapping[str, Any]) -> str:
    """The numbers of the eavesdroppers' antennas in a setting's plain values, ``1 + 1``."""
    return " + ".join(str(node.antennas) for node in as_nodes(setting.get("nodes", WIRETAP))[1:])


def _warn_of_another(path: Path, card: dict[str, Any], scheme: Pipeline, own: dict[str, Any]) -> None:
    """Say so where an attacker's card tells of another system than the one that plays, or of other weights."""
    theirs, weights = card.get("composition"), trained_against(card)
    told = f"{theirs}, and {scheme.composition} plays"
    if theirs is None or theirs == scheme.composition:
        if weights is None or weights in weights_of(scheme, own):
            return
        told = "other weights than those that play"
    print(
        f"tosc: warning: {path} was trained against {told}: what is trained against that may see more.",
        file=sys.stderr,
    )
