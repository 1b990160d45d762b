"""The cost of a step of the environment over the arithmetic that it cannot do without.

The same round is played in two ways, in turn, in one process: through ``gym.make_vec`` with an outside
eavesdropper against a scheme that costs nothing, and as a bare loop of torch operations. The bare loop draws
image indices, gathers and converts the images, draws the noise of both links, normalises the power, adds the
noise, and scores error, PSNR, accuracy and rewards; it has no spaces, no checks, no infos, no episodes.  Both
times are minima over interleaved repeats, because anything else that runs on the machine only ever adds. On a machine
that is never quiet, ``--clock cpu`` counts the processor time of this process alone (one thread, CPU only).

On Linux the C library is told to keep the memory it is given back. Otherwise it returns batches of images to the system
whenever they happen to lie at the end of the heap, and the next one waits for fresh pages: a matter of luck that
was seen to slow down either side twofold.

Example: python benchmarks/step.py --sizes 1024 --repeats 40
"""

from __future__ import annotations

import ctypes
import json
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import gymnasium as gym
import torch
import torch.nn.functional as F
import tyro
from torch import Tensor

import tosc_env

LIMIT_AT = 1024
LIMIT = 1.25


@dataclass
class Arguments:
    """Time the environment's step against a bare torch loop and print JSON."""

    sizes: tuple[int, ...] = (1, 32, 1024, 8192)
    """Numbers of environments."""
    repeats: int = 40
    """Interleaved measurements of each; the smallest counts."""
    seconds: float = 0.1
    """About how long one measurement lasts (whole episodes, at least one)."""
    clock: Literal["wall", "cpu"] = "wall"
    """Time that passes, or the processor time of this process."""
    threads: int = 1
    """Threads of torch."""
    keep_memory: bool = True
    """Have the C library keep freed memory, see above."""
    num_images: int = 20_000
    """Size of the embedded data set."""
    device: str = "cpu"
    """Where both run, e.g. cuda:0."""


class Null(tosc_env.PrivacyScheme):
    """A scheme that sends and decides what it was given beforehand, at no cost."""

    def __init__(self, spec: tosc_env.SystemSpec, symbols: Tensor, logits: Tensor) -> None:
        super().__init__(spec)
        self.symbols, self.logits = symbols, logits

    def encode(self, images: Tensor, context: tosc_env.Context) -> Tensor:
        return self.symbols[:1].expand(len(images), -1)

    def decode(self, received: Tensor, csi: Tensor, context: tosc_env.Context) -> Tensor:
        return self.logits


CYCLES = 16
SYMBOLS = 64
SNR_DB = 12.0


class Bare:
    """The arithmetic of a round and nothing else; the environment's episodes have no counterpart here."""

    def __init__(self, source: tosc_env.Source, symbols: Tensor, logits: Tensor, action: Tensor) -> None:
        self.images, self.labels = source.images, source.labels
        self.floor = source.statistics.mean_image_mse
        self.symbols, self.logits, self.action = symbols, logits, action
        self.batch = len(symbols)
        self.generator = torch.Generator(source.device).manual_seed(0)
        self.draw()

    def draw(self) -> None:
        """The next message of every row, as both sides receive it."""
        device = self.images.device
        index = torch.randint(len(self.images), (self.batch,), generator=self.generator, device=device)
        self.shown = self.images.index_select(0, index).float().div_(255)
        self.targets = self.labels.index_select(0, index)
        snr_db = torch.full((self.batch, 1), SNR_DB, device=device)
        scale = torch.pow(10.0, -snr_db / 20.0)
        noise = [
            torch.randn(self.batch, SYMBOLS, dtype=torch.complex64, generator=self.generator, device=device)
            for _ in range(2)
        ]
        energy = self.symbols.square().sum(1, keepdim=True) / SYMBOLS
        sent = self.symbols * torch.rsqrt(energy + 1e-12)
        waves = torch.view_as_complex(sent.unflatten(1, (SYMBOLS, 2)))
        self.received, self.eavesdropped = (torch.view_as_real(waves + scale * n).flatten(1) for n in noise)

    def step(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Score the present message, then draw the next."""
        accuracy = (self.logits.argmax(-1) == self.targets).float()
        error = F.mse_loss(self.action.clamp(0.0, 1.0), self.shown, reduction="none").flatten(1).mean(1)
        psnr = -10.0 * torch.log10(error.clamp_min(1e-10))
        reward = (self.floor - error) / (self.floor + error)
        system = accuracy - reward
        self.draw()
        return reward, system, accuracy, psnr


def keep_memory() -> bool:
    """Have freed memory kept for the next tensor; False where the C library has no such switch."""
    trim_threshold, mmap_max = -1, -4
    try:
        library = ctypes.CDLL(None)
        return bool(library.mallopt(mmap_max, 0) and library.mallopt(trim_threshold, 2**31 - 1))
    except (AttributeError, OSError, TypeError):
        return False


def make(size: int, arguments: Arguments) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """One step of the environment and one of the bare loop, on the same images and actions."""
    device = arguments.device
    symbols = torch.ones(size, 2 * SYMBOLS, device=device)
    logits = torch.zeros(size, 10, device=device)
    spec = tosc_env.SystemSpec((3, 32, 32), 10, SYMBOLS)
    env = gym.make_vec(
        "ToSC-Shapes-v0",
        num_envs=size,
        role="eavesdropper",
        scheme=Null(spec, symbols, logits).eval(),
        snr_db=SNR_DB,
        max_cycles=CYCLES,
        data_kwargs={"num_images": arguments.num_images},
        device=device,
    )
    env.reset(seed=0)
    source = env.unwrapped.session.game.source  # type: ignore[attr-defined]
    action = source.statistics.mean_image.expand(size, -1, -1, -1).clone()
    bare = Bare(source, symbols, logits, action)
    return lambda: env.step(action), bare.step


def timed(step: Callable[[], Any], steps: int, arguments: Arguments) -> float:
    """Seconds per step."""
    clock = time.perf_counter if arguments.clock == "wall" else time.process_time
    start = clock()
    for _ in range(steps):
        step()
    if arguments.device != "cpu":
        torch.cuda.synchronize(arguments.device)
    return (clock() - start) / steps


@torch.no_grad()
def measure(size: int, arguments: Arguments) -> dict[str, float]:
    """Both times at one size, in microseconds per step, and their ratio."""
    rivals = make(size, arguments)
    one = timed(rivals[0], CYCLES, arguments)
    steps = CYCLES * max(1, round(arguments.seconds / one / CYCLES))
    best = [float("inf")] * len(rivals)
    for _ in range(arguments.repeats):
        for i, step in enumerate(rivals):
            best[i] = min(best[i], timed(step, steps, arguments))
    env, bare = (1e6 * value for value in best)
    return {
        "environment_us": round(env, 1),
        "bare_us": round(bare, 1),
        "ratio": round(env / bare, 3),
        "messages_per_second": round(1e6 * size / env),
        "steps_per_measurement": steps,
    }


def main(arguments: Arguments) -> None:
    """Measure every size and print one JSON object."""
    torch.set_num_threads(arguments.threads)
    kept = arguments.keep_memory and keep_memory()
    sizes = {str(size): measure(size, arguments) for size in arguments.sizes}
    record: dict[str, Any] = {
        "what": "seconds of ToscVectorEnv.step over those of the same arithmetic in a bare torch loop",
        "requirement": {"num_envs": LIMIT_AT, "ratio_at_most": LIMIT},
        "device": arguments.device,
        "processor": platform.processor() or platform.machine(),
        "threads": arguments.threads,
        "clock": arguments.clock,
        "memory_kept": kept,
        "torch": torch.__version__,
        "repeats": arguments.repeats,
        "sizes": sizes,
    }
    if str(LIMIT_AT) in sizes:
        record["meets_requirement"] = sizes[str(LIMIT_AT)]["ratio"] <= LIMIT
    print(json.dumps(record, indent=2))


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
