"""``tosc calibrate``: the article's noise, fitted to lie a given distance under another scheme."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from tosc_agents.commands.common import refuse_overwriting, setting_of, tell_guarantee
from tosc_agents.training.calibrate import ARTICLE_BUDGET, calibratable, calibrate, unseen
from tosc_agents.training.evaluate import evaluate
from tosc_env.devices import resolve_device
from tosc_env.errors import CheckpointError, InputError, shown
from tosc_env.game import Game
from tosc_env.io.checkpoint_files import read_header
from tosc_env.io.checkpoints import check_fits, load_checkpoint
from tosc_env.options import check_positive


@dataclass
class Calibrate:
    """Fit the constant c of dp-laplace's mode 'calibrated' (noise scale c / epsilon) and write the calibrated scheme.

    The article prints no sensitivity, so no budget follows from its noise: c is chosen such that at epsilon 0.05 the
    accuracy lies --points under the rival's, both on images that neither was trained or is tested on. What is fitted
    is no finding, and no differential privacy is claimed.
    The checkpoint must have been trained over a range of budgets (epsilon_range), which then covers c / epsilon.

    Example: tosc calibrate runs/article.safetensors --rival runs/lbvq-cifar10-12dB.safetensors
    """

    scheme: Annotated[Path, tyro.conf.Positional]
    """A checkpoint of dp-laplace in mode 'calibrated', trained with an epsilon_range."""
    rival: Path | None = None
    """The checkpoint of the scheme whose accuracy is the mark, trained on the same data at the same SNR."""
    points: float = 3.5
    """Percentage points under the rival."""
    target: float | None = None
    """The accuracy itself, in (0, 1), instead of a rival."""
    budgets: tuple[float, ...] = (0.05, 0.1, 0.9)
    """Budgets at which the accuracy is reported."""
    device: str = "cpu"
    """Processor or accelerator to compute on, e.g. cuda:0."""
    output: Path | None = None
    """The calibrated checkpoint; by default CHECKPOINT-calibrated.safetensors."""
    overwrite: bool = False
    """Replace a finished checkpoint."""

    def run(self) -> int:
        """Bisect, report, save."""
        for budget in self.budgets:
            check_positive(budget, "each of --budgets")
        if (self.rival is None) == (self.target is None):
            raise InputError("give either --rival (with --points) or --target.")
        if self.target is not None and not 0 < self.target < 1:
            raise InputError(f"target must lie between 0 and 1, not {shown(self.target)}.")
        device = resolve_device(self.device)
        setting = setting_of(load_checkpoint(self.scheme, kind="scheme"))
        if not isinstance(setting.snr_db, int | float):
            raise InputError(
                f"{self.scheme} was trained at {setting.snr_db} dB; a calibration is made at one SNR."
            )
        calibratable(self.scheme, self.budgets, device)
        output = self.output or self.scheme.with_name(f"{self.scheme.stem}-calibrated.safetensors")
        refuse_overwriting(output, self.overwrite)
        game = setting.game(**unseen(setting.data), device=device)
        target, told = self.target, dict[str, Any](points=None, rival=None)
        if self.rival is not None:
            target = self._accuracy_of(self.rival, game, float(setting.snr_db)) - self.points / 100
            told = {"points": self.points, "rival": self.rival.name}
        assert target is not None
        calibration = calibrate(self.scheme, game, target, output, budgets=self.budgets, told=told)
        found = ", ".join(f"{value:.2%} at {budget}" for budget, value in calibration["accuracy"].items())
        print(
            f"constant {calibration['constant']:.4g}, fitted to {calibration['target']:.2%} at {ARTICLE_BUDGET}; "
            f"calibrated accuracies: {found}"
        )
        tell_guarantee(load_checkpoint(output).policy)
        print(f"saved {output}")
        return 0

    def _accuracy_of(self, path: Path, game: Game, snr_db: float) -> float:
        rival = load_checkpoint(path, kind="scheme", device=game.device)
        theirs = setting_of(rival).snr_db
        if theirs != snr_db:
            raise CheckpointError(
                f"{path} was trained at {theirs} dB, not at {snr_db:g} dB as {self.scheme}."
            )
        check_fits(read_header(path), path, game.spec, game.source.name)
        game = game.with_rules(constellation=rival.policy.constellation)
        found = evaluate(game, rival.policy, {}, snr_db=(snr_db,), with_floors=False)
        return found.accuracy[snr_db].mean
