"""The card of a trained scheme's checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from tosc_agents.complexity import complexity
from tosc_agents.learning.precision import resolve_precision
from tosc_agents.records import provenance
from tosc_agents.training.evaluate import Evaluation, Figure
from tosc_agents.training.fit_scheme import SchemeTraining
from tosc_agents.training.warm_start import WarmStart
from tosc_env import Game, GameConfig, Pipeline
from tosc_env.identity import digest


def scheme_card(
    scheme: Pipeline,
    game: Game,
    setting: GameConfig,
    config: SchemeTraining,
    figures: dict[str, float],
    *,
    objectives: list[Any],
    seed: int,
    identity: Mapping[str, Any],
    start: WarmStart | None = None,
    frozen: list[str] | None = None,
    found: Evaluation | None = None,
) -> dict[str, Any]:
    """The card of a scheme that was trained on ``game``; ``identity``: what its run was kept with; ``found``: what a
    test on other images gave."""
    card: dict[str, Any] = {
        **provenance(game.source, game.device),
        "labels": list(game.task.labels),
        "setting": setting.plain(),
        "complexity": complexity(scheme, objectives).plain(),
        "training": {
            **asdict(config),
            "objectives": [one.plain() for one in objectives],
            "seed": seed,
            "half": game.source.half,
            "warm_start": None if start is None else start.plain(),
            "frozen": frozen or [],
            "precision_used": resolve_precision(config.loop.precision, game.device),
            "figures": figures,
            "identity": digest(identity),
        },
        **({"guarantee": scheme.guarantee()} if scheme.guarantee() else {}),
    }
    return card if found is None else card | measured(found)


MEASURED = ("test_accuracy", "measure", "test_answers", "test_images", "codeword_usage")
"""Entries of a card that an evaluation gave."""


def measured(found: Evaluation) -> dict[str, Any]:
    """The figures of an evaluation that a scheme's card holds."""
    return {
        "test_accuracy": {f"{snr:g}": figure.mean for snr, figure in found.accuracy.items()},
        **({"measure": found.measure, "test_answers": _means(found.answers)} if found.answers else {}),
        "test_images": found.images,
        **({} if found.usage is None else {"codeword_usage": found.usage}),
    }


def _means(answers: Mapping[float, Mapping[str, Figure]]) -> dict[str, dict[str, float]]:
    return {f"{snr:g}": {name: f.mean for name, f in figures.items()} for snr, figures in answers.items()}
