"""Train model inversion against a trained system, measure what it sees, and draw it.

The attacker has its own half of the training images, may have the encoder send them as often as it likes, and knows
its own link: that is the default threat model, printed with the figures.

Example: python examples/train_attacker.py --eavesdropper inversion-mlp --steps 2000
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro
from tosc_agents import attack_picture, evaluate, fit_eavesdropper, show_progress

from tosc_env import GameConfig, ThreatModel, load_checkpoint, load_scheme, make_eavesdropper


@dataclass
class Arguments:
    """Attack a scheme of the zoo, or one of your own."""

    scheme: str = "deepjscc"
    """A name in the zoo ('tosc list'), or a checkpoint's path."""
    eavesdropper: str = "inversion-mlp"
    """A registered attacker that reconstructs ('tosc list')."""
    data: str = "shapes"
    """The data set the scheme was trained on."""
    num_images: int | None = None
    """Make Shapes this small (the attacker has half of it); by default its usual size."""
    snr_db: float = 12.0
    """Es/N0 of both links in dB."""
    queries: int | None = None
    """How many images the attacker may have sent; by default as many as it likes."""
    steps: int = 500
    """Steps of its training at most, for an attacker that learns in steps."""
    seed: int = 0
    """Of the attacker's weights and noise."""
    output: Path = Path("runs/example-attack.png")
    """The picture."""


def main(arguments: Arguments) -> None:
    """Fit, measure against the floor, draw."""
    size = {} if arguments.num_images is None else {"num_images": arguments.num_images}
    config = GameConfig(arguments.data, size, snr_db=arguments.snr_db)
    train, test = config.game(half="attacker"), config.game(split="test")
    if arguments.scheme.endswith(".safetensors"):
        scheme = load_checkpoint(arguments.scheme, kind="scheme").policy
    else:
        scheme = load_scheme(arguments.scheme, train)
    threat = ThreatModel(queries=arguments.queries)
    # A closed form has no steps.
    known = make_eavesdropper(arguments.eavesdropper, train.spec).options
    options = {"steps": arguments.steps} if "steps" in known else {}
    with show_progress(f"fit {arguments.eavesdropper}") as progress:
        attacker, record = fit_eavesdropper(
            arguments.eavesdropper,
            train,
            scheme,
            threat=threat,
            options=options,
            seed=arguments.seed,
            progress=progress,
        )
    floor, _ = fit_eavesdropper("mean-image", train, scheme, threat=threat)
    attackers = {arguments.eavesdropper: attacker, "mean-image": floor}
    found = evaluate(test, scheme, attackers, snr_db=(arguments.snr_db,), seeds=1)
    print(
        f"{train.source.provenance} Threat model: {threat}. The attacker spent {record['queries']:,} queries."
    )
    print(f"the receiver's accuracy: {found.accuracy[arguments.snr_db].mean:.1%}")
    for name, leaks in found.leaks.items():
        leak = leaks[arguments.snr_db]
        print(f"{name:>14}: PSNR {leak['psnr_db'].mean:.2f} dB, SSIM {leak['ssim'].mean:.3f}")
    attack_picture(arguments.output, test, scheme, attackers, arguments.snr_db)
    print(f"what they saw: {arguments.output}")


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
