"""``tosc evaluate``: a trained system and trained attackers, at any SNRs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import tyro

from tosc_agents.commands import common
from tosc_agents.commands.common import NodeOptions, SystemOptions, is_file, setting_of
from tosc_agents.records import describe_usage, print_evaluation, provenance, write_results
from tosc_env import Eavesdropper, Game, GameConfig, InputError
from tosc_env.devices import resolve_device
from tosc_env.io.checkpoints import check_fits, load_checkpoint, read_header
from tosc_env.nodes import WIRETAP, as_nodes
from tosc_env.registration import environments
from tosc_env.snr import SNRRange
from tosc_env.zoos import check_has_weights, eavesdropper_file, scheme_file


@dataclass(kw_only=True)
class Evaluate(SystemOptions, NodeOptions):
    """Measure accuracy, and leaks to trained attackers, over a list of SNRs on the test images.

    Of several eavesdroppers each is measured, colluding ones as one.

    Example: tosc evaluate deepjscc --data shapes --attacker inversion --snr-db 0 4 8 12 16 20
    """

    scheme: Annotated[str, tyro.conf.Positional]
    """A scheme's checkpoint, or the name of a trained one ('tosc list'), with --data."""
    attacker: tuple[str, ...] = ()
    """Eavesdroppers' checkpoints, or names of some that were trained against this scheme."""
    key_file: Path | None = None
    """The secret key of a keyed scheme (64 hexadecimal digits); by default a fresh one in memory."""
    snr_db: tuple[float, ...] = (0.0, 4.0, 8.0, 12.0, 16.0, 20.0)
    """Es/N0 in dB of both links."""
    eavesdropper_snr_db: tuple[float, ...] = ()
    """Es/N0 in dB of the eavesdropper's link where it is another, paired with --snr-db."""
    channel: str | None = None
    """A registered channel; by default that of the checkpoint."""
    channel_kwargs: tuple[str, ...] = ()
    """The channel's options, as name=value."""
    data: str | None = None
    """The data set (or environment) the scheme is wanted for; that of a checkpoint is its own, another is refused."""
    output: Path | None = None
    """Folder for results.json, results.csv and results.md; by default nothing is written."""

    def run(self) -> int:
        """Load, measure, print, and write if asked."""
        device = resolve_device(self.device)
        common.check_snr_pairs(self.snr_db, self.eavesdropper_snr_db)
        if self.output is not None:
            common.check_folder(self.output)
        target, data, play = self._target()
        loaded = self.load(target, play)
        setting = self.with_nodes(self.on_data(setting_of(loaded)))
        options = common.parse_options(self.channel_kwargs)
        if self.channel is not None or options:
            setting = replace(setting, channel=self.channel or setting.channel, channel_kwargs=options)
        scheme = loaded.policy
        common.use_key_file(scheme, self.key_file)
        common.tell_guarantee(scheme)
        game = setting.game(split="test", device=device, constellation=scheme.constellation)
        check_fits(read_header(target), target, game.spec, data)
        common.check_images(target, loaded.card, setting)
        asked = self._at_snrs(game)
        attackers: dict[str, Eavesdropper] = {}
        for given in self.attacker:
            # By its name one is found, or refused, at the SNRs that are asked for.
            path = Path(given) if is_file(given) else eavesdropper_file(given, setting.data, asked, scheme)
            name = path.stem if is_file(given) else given
            check_has_weights(read_header(path)["name"])
            if name in attackers:
                raise InputError(f"--attacker names {name!r} twice; files are told apart by their names.")
            check_fits(read_header(path), path, game.spec, setting.data)
            attacker = load_checkpoint(path, device=device, kind="eavesdropper")
            attackers[name] = attacker.policy
            common.check_colluding(attacker.policy.fitted_under, setting)
            _warn_of_other_nodes(path, attacker.card, setting)
            _warn_of_snr(path, attacker.card, asked.snr_of(asked.adversaries[0]))
        snrs = {"snr_db": self.snr_db, "eavesdropper_snr_db": self.eavesdropper_snr_db or None}
        found = self.measured(game, scheme, attackers, **snrs)
        note = (
            f"{game.source.provenance} {len(game.source)} test images, {self.seeds} seeds of channel noise. "
            f"{found.terms}"
        ).rstrip()
        print_evaluation(scheme.title, found, note)
        if found.usage is not None:
            print(f"{scheme.title}: {describe_usage(found.usage)}")
        if self.output is not None:
            record = {
                "target": target.name,
                "system": common.system_of(scheme, loaded.card),
                "setting": setting.plain(),
                "channel_uses": game.num_symbols,
                "bits": scheme.bits,
                "guarantee": scheme.guarantee(),
                **provenance(game.source, device),
                "results": found.plain(),
            }
            write_results(self.output, record, found, note, f"{scheme.title}, {target}")
            print(f"results are in {self.output}")
        return 0

    def _at_snrs(self, game: Game) -> Game:
        """The game at the SNRs that are asked for, which go before those of nodes as in :func:`evaluate`."""
        others = self.eavesdropper_snr_db
        nodes = [replace(node, snr_db=None) for node in game.nodes] if others else game.nodes
        snr_db, other_snr_db = map(common.snr_choices, (self.snr_db, others or self.snr_db))
        return game.with_rules(snr_db=snr_db, eavesdropper_snr_db=other_snr_db, nodes=nodes)

    def _target(self) -> tuple[Path, str | None, str | None]:
        """The scheme's file, the data set it must be of, and the scheme that plays where it is another's weights."""
        if is_file(self.scheme):
            return Path(self.scheme), self.data, None
        if self.data is None:
            raise InputError(f"{self.scheme!r} is no file; a scheme by its name ('tosc list') needs --data.")
        id = common.environment_of(self.data)
        path = scheme_file(self.scheme, id, common.scheme_options(self.scheme_kwargs))
        return path, environments()[id], self.scheme


def _warn_of_other_nodes(path: Path, card: dict[str, Any], setting: GameConfig) -> None:
    """Say so where an attacker's card tells of other eavesdroppers than those that play."""
    if "setting" not in card:
        return
    given = card["setting"].get("nodes", WIRETAP), setting.nodes
    theirs, ours = (" + ".join(str(node.antennas) for node in as_nodes(nodes)[1:]) for nodes in given)
    if theirs != ours:
        common.warn(
            f"{path} was trained beside eavesdroppers of {theirs} antennas; those that play have {ours}."
        )


def _warn_of_snr(path: Path, card: dict[str, Any], link: SNRRange) -> None:
    """Say so where an attacker's link has SNRs outside the range that its card says it was trained for."""
    valid = card.get("valid_snr_db")
    if not (isinstance(valid, list) and len(valid) == 2 and all(type(one) in (int, float) for one in valid)):
        return  # a card holds what somebody wrote into it
    low, high = valid
    if not low <= link.low <= link.high <= high:
        told = f"{low:g} dB" if low == high else f"{low:g} to {high:g} dB"
        common.warn(
            f"{path} was trained for {told} and plays at {link} dB: what is trained for that may see more."
        )
