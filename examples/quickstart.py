"""Ten lines: make the environment, listen to sixteen messages as an eavesdropper that always shows grey.

Without CIFAR-10 on the machine embedded images stand in for it, and a warning says so.

Example: python examples/quickstart.py
"""

import gymnasium as gym
import numpy as np
import tyro

import tosc_env  # noqa: F401 (registers the ids)


def main(id: str = "ToSC-CIFAR-v0", snr_db: float = 12.0, seed: int = 0) -> None:
    """Play one episode of an environment id at an SNR in dB, and print what each message paid."""
    env = gym.make(id, role="eavesdropper", snr_db=snr_db, split="test")
    observation, info = env.reset(seed=seed)
    print("hears", {key: value.shape for key, value in observation.items()}, "and answers", env.action_space)
    terminated = False
    while not terminated:
        reconstruction = np.full(env.action_space.shape, 0.5, dtype=np.float32)
        observation, reward, terminated, _, info = env.step(reconstruction)
        print(f"q {reward:+.2f}, PSNR {info['psnr_db']:.1f} dB; the receiver scored {info['accuracy']:.0f}")


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
