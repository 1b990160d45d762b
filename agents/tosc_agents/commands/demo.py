"""``tosc demo``: the main job on the embedded images, in about a minute and without any download."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import gymnasium as gym
import numpy as np
import torch

from tosc_agents.commands.common import setting_of
from tosc_agents.learning.progress import show_progress
from tosc_agents.pictures import attack_picture
from tosc_agents.records import print_evaluation, provenance, write_json
from tosc_agents.training.evaluate import evaluate
from tosc_agents.training.fit_eavesdropper import fit_eavesdropper
from tosc_agents.zoo import WEIGHTS
from tosc_env.attackers import Eavesdropper
from tosc_env.io.checkpoints import load_checkpoint
from tosc_env.io.files import replacing
from tosc_env.pipeline import Pipeline
from tosc_env.types import Context


@dataclass
class Demo:
    """A trained transmitter plays against a trained attacker, and against attackers trained while you watch.

    Example: tosc demo --output demo
    """

    snr_db: float = 12.0
    """Es/N0 of both links in dB."""
    output: Path = Path("demo")
    """Folder for the picture and the figures."""

    def run(self) -> int:
        """Play through ``gym.make``, attack, measure, draw."""
        start = time.perf_counter()
        loaded = load_checkpoint(WEIGHTS / "deepjscc-shapes.safetensors", kind="scheme")
        scheme, setting = loaded.policy, setting_of(loaded)
        self._play(scheme)
        attackers: dict[str, Eavesdropper] = {}
        train = setting.game(half="attacker", snr_db=self.snr_db)
        for name, options in (
            ("mean-image", {}),
            ("linear", {}),
            ("inversion-mlp", {"epochs": 20, "restarts": 1}),
            ("match", {"epochs": 20}),
        ):
            with show_progress(f"fit {name}") as progress:
                attackers[name], _ = fit_eavesdropper(name, train, scheme, options=options, progress=progress)
        ready = WEIGHTS / "inversion-deepjscc-shapes.safetensors"
        attackers["inversion (zoo)"] = load_checkpoint(ready, kind="eavesdropper").policy
        test = setting.game(split="test", snr_db=self.snr_db)
        found = evaluate(test, scheme, attackers, snr_db=(self.snr_db,), seeds=2)
        note = (
            f"{test.source.provenance} Embedded images, not CIFAR-10; attackers hold the other half of them."
        )
        print_evaluation("DeepJSCC, unprotected", found, note)
        picture = self.output / "attack.png"
        attack_picture(picture, test, scheme, attackers, self.snr_db)
        record = {
            "system": loaded.card,
            **provenance(test.source, torch.device("cpu")),
            "results": found.plain(),
        }
        write_json(self.output / "results.json", record)
        print(
            f"what the attackers saw: {picture}; a round as the environment shows it: {self.output / 'round.png'}"
        )
        print(f"took {time.perf_counter() - start:.0f} s")
        return 0

    def _play(self, scheme: Pipeline) -> None:
        """One episode in the transmitter's role, through ``gym.make``, and a picture of its last round."""
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
        with replacing(self.output / "round.png") as part:
            image.imsave(part, np.asarray(env.render()), format="png")
        env.close()
        print(
            f"one episode of ToSC-Shapes-v0 in the transmitter's role: mean reward "
            f"{sum(rewards) / len(rewards):.2f} over {len(rewards)} messages (task score minus the attacker's "
            "reconstruction quality)"
        )
