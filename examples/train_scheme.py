"""Train a transmitter and its receiver end to end over the game's channel, save and measure them.

The system learns from its half of the training images; the other half is the attackers'. ``tosc train`` does the
same with every option there is, and continues after an interruption.

Example: python examples/train_scheme.py --epochs 20 --width 128
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
import tyro
from tosc_agents import LoopConfig, SchemeTraining, evaluate, fit_scheme, show_progress

from tosc_env import GameConfig, load_checkpoint, make_scheme, save_checkpoint


@dataclass
class Arguments:
    """Train DeepJSCC on embedded or real images."""

    data: str = "shapes"
    """A registered data set ('tosc data list')."""
    num_images: int | None = None
    """Make Shapes this small (half of it trains the system); by default its usual size."""
    snr_db: float = 12.0
    """Es/N0 of the legitimate link in dB."""
    epochs: int = 4
    """Passes over the system's half of the training images."""
    width: int = 64
    """Channels of the transmitter's last stage; the earlier ones have half and a quarter of them."""
    seed: int = 0
    """Of weights, order of the images, and noise."""
    output: Path = Path("runs/example-scheme.safetensors")
    """The checkpoint."""


def main(arguments: Arguments) -> None:
    """Train, save, load again, measure."""
    options = {} if arguments.num_images is None else {"num_images": arguments.num_images}
    config = GameConfig(arguments.data, options, snr_db=arguments.snr_db)
    game = config.game(half="system")
    torch.manual_seed(arguments.seed)
    width = arguments.width
    scheme = make_scheme(
        "deepjscc",
        game.spec,
        told_snr_db=arguments.snr_db,
        stem=max(4, width // 8),
        widths=(width // 4, width // 2, width),
        blocks=(1, 1, 1),
        receiver_width=2 * width,
        receiver_depth=1,
    )
    # Mirroring is left out: in Shapes left and right mean something (the position is a private attribute).
    loop = LoopConfig(epochs=arguments.epochs, batch_size=min(125, len(game.source)))
    training = SchemeTraining(loop, flip=False, cutout=0)
    with show_progress("train deepjscc") as progress:
        fit_scheme(scheme, game, training, seed=arguments.seed, progress=progress)
    card = {
        "data": {
            "name": game.source.name,
            "provenance": game.source.provenance,
            "sha256": game.source.sha256,
        },
        "training": {"half": game.source.half},
        "setting": config.plain(),
        "labels": list(game.task.labels),
    }
    save_checkpoint(arguments.output, scheme, card)

    # From here on the file is all that is needed: gym.make(..., scheme="runs/example-scheme.safetensors").
    scheme = load_checkpoint(arguments.output, kind="scheme").policy
    test = config.game(split="test")
    found = evaluate(test, scheme, {}, snr_db=(0.0, arguments.snr_db))
    for snr_db, accuracy in found.accuracy.items():
        print(f"accuracy {accuracy.mean:.1%} at {snr_db:g} dB (chance {test.task.chance:.0%})")
    print(f"saved {arguments.output}")


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
