"""``tosc demo``: the main job on the embedded images, in about a minute and without any download."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import gymnasium as gym
import numpy as np
import torch

from tosc_agents.commands.attack import Attack
from tosc_agents.commands.common import check_folder
from tosc_agents.zoo import WEIGHTS
from tosc_env import Context, Pipeline, load_checkpoint
from tosc_env.io.files import replacing


@dataclass
class Demo:
    """A trained transmitter plays against a trained attacker, and against attackers trained while you watch.

    Example: tosc demo --output demo
    """

    snr_db: float = 12.0
    """Es/N0 of both links in dB."""
    output: Path = Path("demo")
    """Folder for weights, results and pictures."""

    def run(self) -> int:
        """Play through ``gym.make``, then attack."""
        check_folder(self.output)
        target = WEIGHTS / "deepjscc-shapes.safetensors"
        self._play(load_checkpoint(target, kind="scheme").policy)
        return Attack(
            target=target,
            eavesdropper=("mean-image", "linear", "inversion-mlp", "match"),
            eavesdropper_kwargs=("steps=300", "match.steps=200", "match.towers=1"),
            snr_db=(self.snr_db,),
            seeds=2,
            output=self.output,
        ).run()

    def _play(self, scheme: Pipeline) -> None:
        """Play an episode in the transmitter's role, and draw its last round."""
        from matplotlib import image

        env = gym.make(
            "ToSC-Shapes-v0", role="transmitter", snr_db=self.snr_db, split="test", render_mode="rgb_array"
        )
        context = Context(torch.tensor([self.snr_db]), torch.zeros(1, 5, dtype=torch.int64))
        observation, _ = env.reset(seed=0)
        rewards, done = [], False
        while not done:
            with torch.no_grad():
                symbols = scheme.encode(torch.from_numpy(observation["image"])[None], context)[0]
            observation, reward, terminated, truncated, _ = env.step((symbols / symbols.abs().max()).numpy())
            rewards.append(float(reward))
            done = terminated or truncated
        picture = self.output / "round.png"
        with replacing(picture) as part:
            image.imsave(part, np.asarray(env.render()), format="png")
        env.close()
        print(
            f"one episode of ToSC-Shapes-v0 in the transmitter's role: mean reward {fmean(rewards):.2f} over "
            f"{len(rewards)} messages (task score minus the attacker's reconstruction quality); its last round is "
            f"drawn in {picture}"
        )
