"""``tosc calibrate``: the article's noise, fitted to lie a given distance under another scheme."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
import tyro

from tosc_agents.accounting import check_positive
from tosc_agents.calibration import ARTICLE_BUDGET, calibrate_constant
from tosc_agents.commands.common import load_scheme, refuse_overwriting, tell_guarantee
from tosc_agents.schemes.differential_privacy import DPLaplace
from tosc_env.checkpoints import load_checkpoint, read_header, save_checkpoint
from tosc_env.devices import resolve_device
from tosc_env.errors import CheckpointError, InputError
from tosc_env.game import Game
from tosc_env.policies import Context


@dataclass
class Calibrate:
    """Fit the constant c of dp-laplace's mode 'article' (noise scale c / epsilon) and write the calibrated scheme.

    The article prints no sensitivity, so no budget follows from its noise: c is chosen such that at epsilon 0.05 the
    accuracy lies --points under the rival's. What is fitted is no finding, and no differential privacy is claimed.
    The checkpoint must have been trained over a range of budgets (epsilon_range), which then covers c / epsilon.

    Example: tosc calibrate runs/article.safetensors --rival runs/lbvq-cifar10-12dB.safetensors
    """

    scheme: Annotated[Path, tyro.conf.Positional]
    """A checkpoint of dp-laplace in mode 'article', trained with an epsilon_range."""
    rival: Path | None = None
    """The scheme whose accuracy is the mark, by its card."""
    points: float = 3.5
    """Percentage points under the rival."""
    target: float | None = None
    """The accuracy itself, in (0, 1), instead of a rival."""
    budgets: tuple[float, ...] = (0.05, 0.1, 0.9)
    """Budgets at which the accuracy is reported."""
    device: str = "cpu"
    """Where to compute, e.g. cuda:0."""
    output: Path | None = None
    """The calibrated checkpoint; by default CHECKPOINT-calibrated.safetensors."""
    overwrite: bool = False
    """Replace a finished checkpoint."""

    def run(self) -> int:
        """Bisect, report, save."""
        for budget in self.budgets:
            check_positive(budget, "each of --budgets")
        output = self.output or self.scheme.with_name(f"{self.scheme.stem}-calibrated.safetensors")
        refuse_overwriting(output, self.overwrite)
        policy, setting, loaded = load_scheme(self.scheme, resolve_device(self.device))
        if (
            not isinstance(policy, DPLaplace)
            or policy.epsilon_range is None
            or policy.mechanism.constant is None
        ):
            raise CheckpointError(
                f"{self.scheme} is no dp-laplace in mode 'article' that was trained over an epsilon_range."
            )
        snr_db = setting.snr_db if isinstance(setting.snr_db, int | float) else None
        if snr_db is None:
            raise InputError(
                f"a calibration is made at one SNR, but {self.scheme} was trained at {setting.snr_db}."
            )
        target = self._target(float(snr_db))
        accuracy = accuracy_at_scale(policy, setting.game(split="test", device=policy_device(policy)))
        # The noise of scale constant / epsilon that was trained for, as constants at the article's budget.
        trained, (low, high) = policy.mechanism.constant, policy.epsilon_range
        constant = calibrate_constant(
            accuracy, target, trained / high * ARTICLE_BUDGET, trained / low * ARTICLE_BUDGET
        )
        ratio = constant / trained
        options = {
            "constant": constant,
            "epsilon": ARTICLE_BUDGET,
            "epsilon_range": [low * ratio, high * ratio],
        }
        for budget in self.budgets:
            if not low * ratio <= budget <= high * ratio:
                raise InputError(
                    f"budget {budget:g} lies outside of what was trained for, which at the fitted constant is "
                    f"{low * ratio:.3g} to {high * ratio:.3g}."
                )
        calibrated = load_checkpoint(self.scheme, device=self.device, options=options).policy
        assert isinstance(calibrated, DPLaplace)
        found = {f"{b:g}": accuracy(constant / b) for b in self.budgets}
        card = {
            **loaded.card,
            "calibration": {
                "constant": constant,
                "target": target,
                "points": None if self.target is not None else self.points,
                "rival": None if self.rival is None else self.rival.name,
                "fitted_at": ARTICLE_BUDGET,
                "on": "the test images themselves",
                "accuracy": found,
            },
        }
        save_checkpoint(output, calibrated, card)
        told = ", ".join(f"{value:.2%} at {budget}" for budget, value in found.items())
        print(
            f"constant {constant:.4g}, fitted to {target:.2%} at {ARTICLE_BUDGET}; calibrated accuracies: {told}"
        )
        tell_guarantee(calibrated)
        print(f"saved {output}")
        return 0

    def _target(self, snr_db: float) -> float:
        if (self.rival is None) == (self.target is None):
            raise InputError("give either --rival (with --points) or --target.")
        if self.rival is None:
            assert self.target is not None
            if not 0 < self.target < 1:
                raise InputError(f"target must lie between 0 and 1, not {self.target!r}.")
            return self.target
        told = read_header(self.rival)["card"].get("test_accuracy", {}).get(f"{snr_db:g}")
        mean = told["mean"] if isinstance(told, dict) else told
        if not isinstance(mean, float):
            raise CheckpointError(f"the card of {self.rival} has no test accuracy at {snr_db:g} dB.")
        return mean - self.points / 100


def policy_device(policy: DPLaplace) -> torch.device:
    """Where a scheme's weights are."""
    return next(policy.parameters()).device


def accuracy_at_scale(scheme: DPLaplace, game: Game, *, seed: int = 0) -> Callable[[float], float]:
    """A function from the noise's scale to the accuracy on all of the game's images, with the same noise each time.

    The network runs once; only noise, channel and receiver are done again for each scale.
    """
    index = torch.arange(len(game.source), device=game.device).split(500)
    with torch.no_grad():
        features = [scheme.features(game.source.gather(part).images) for part in index]

    @torch.no_grad()
    def accuracy(scale: float) -> float:
        trained = scheme.mechanism.epsilon
        scheme.mechanism.epsilon = scheme.mechanism.reach / scale
        generator = torch.Generator(game.device).manual_seed(seed)
        total = torch.zeros((), device=game.device)
        for part, known in zip(index, features, strict=True):
            round_ = game.draw(len(part), generator=generator, index=part)
            context = Context(round_.snr_db, round_.message, generator=generator)
            heard = game.transmit(round_, scheme.emit(known, context)).receiver
            decided = game.task.decide(scheme.decode(heard.received, heard.csi, context))
            total += game.task.score(decided, round_.targets).sum()
        scheme.mechanism.epsilon = trained
        return float(total) / len(game.source)

    return accuracy
