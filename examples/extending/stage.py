"""A stage of your own: registered by ``tosc_env.register_stage``, here with channel uses that are left out at random.

A stage stands between a scheme and the channel and goes with any scheme: it sees symbols alone, and what it does to
them it may undo in ``recover``. An installed package declares ``punctured = "yourpackage:Punctured"`` under the entry
points ``tosc_env.stages``; ``gym.make(..., stages=["punctured"])`` and ``tosc train deepjscc --stages
punctured:share=0.8`` know it.

Example: python examples/extending/stage.py --share 0.8
"""

from __future__ import annotations

import gymnasium as gym
import torch
import tyro
from torch import Tensor
from tosc_agents import LoopConfig, SchemeTraining, evaluate, fit_eavesdropper, fit_scheme

import tosc_env


@tosc_env.register_stage("punctured")
class Punctured(tosc_env.Stage):
    """A stage that stays silent in a share of the channel uses, in others for every message."""

    name, stochastic = "punctured", True

    def __init__(self, spec: tosc_env.SystemSpec, constellation: str | None = None, *, share: float = 0.5):
        super().__init__(spec, constellation, share=share)
        if constellation is not None:
            raise tosc_env.InputError(f"silence is no point of {constellation!r}.")

    def protect(self, symbols: Tensor, context: tosc_env.Context) -> Tensor:
        shape = (len(symbols), self.spec.num_symbols)
        kept = torch.rand(shape, generator=context.generator, device=symbols.device) >= self.options["share"]
        return symbols * kept.repeat_interleave(2, dim=1)


def main(share: float = 0.9, num_images: int = 1000, snr_db: float = 12.0) -> None:
    """Play the zoo's DeepJSCC with a share of each message left out, then train it for that and attack it."""
    stage = {"name": "punctured", "share": share}
    tosc_env.testing.check_stage(tosc_env.make_stage(stage, tosc_env.SystemSpec((3, 32, 32), 10)))
    env = gym.make_vec(
        "ToSC-Shapes-v0", num_envs=1000, role="eavesdropper", stages=[stage], snr_db=snr_db, split="test"
    )
    env.reset(seed=0)
    _, _, _, _, info = env.step(torch.full(env.action_space.shape, 0.5))
    print(f"{stage} as it comes: the receiver is right {info['accuracy'].mean():.1%} of the time")

    config = tosc_env.GameConfig("shapes", {"num_images": num_images}, snr_db=snr_db)
    game, test = config.game(half="system"), config.game(split="test")
    # The zoo's weights are frozen until someone wants to train them.
    scheme = tosc_env.load_scheme("deepjscc", game, stages=[stage]).requires_grad_()
    loop = LoopConfig(epochs=1, batch_size=25, learning_rate=0.01)
    fit_scheme(scheme, game, SchemeTraining(loop, flip=False, cutout=0))
    for told, target in (("trained for it", scheme), ("without", tosc_env.load_scheme("deepjscc", game))):
        attacker, _ = fit_eavesdropper("linear", config.game(half="attacker"), target)
        found = evaluate(test, target, {"linear": attacker}, snr_db=(snr_db,), seeds=1, with_ssim=False)
        seen = found.leaks["linear"][snr_db]["psnr_db"].mean
        print(f"{told}: right {found.accuracy[snr_db].mean:.1%} of the time, rebuilt at {seen:.2f} dB")


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
