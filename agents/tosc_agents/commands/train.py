"""``tosc train``: a scheme, end to end, over the game's channel."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from tosc_agents.commands.common import (
    key_option,
    parse_options,
    refuse_overwriting,
    snr_choices,
    tell_guarantee,
)
from tosc_agents.complexity import complexity
from tosc_agents.learning.loop import LoopConfig
from tosc_agents.learning.precision import Precision
from tosc_agents.learning.progress import show_progress
from tosc_agents.learning.seeding import weights_from
from tosc_agents.records import describe_usage
from tosc_agents.setting import Setting
from tosc_agents.training.card import scheme_card
from tosc_agents.training.evaluate import evaluate
from tosc_agents.training.fit_scheme import SchemeTraining, fit_scheme
from tosc_agents.training.warm_start import WarmStart, freeze, known_options
from tosc_env.checkpoints import save_checkpoint
from tosc_env.devices import resolve_device
from tosc_env.policies import make_scheme, schemes
from tosc_env.senders import SchemeSender


@dataclass
class Train:
    """Train a scheme and write its checkpoint; run the same command again to continue after an interruption.

    Example: tosc train deepjscc --data cifar10 --snr-db 12 --epochs 60
    """

    scheme: Annotated[str, tyro.conf.Positional]
    """A registered scheme ('tosc list')."""
    data: str = "shapes"
    """A registered data set."""
    data_options: tuple[str, ...] = ()
    """The data set's options, as name=value."""
    task: str = ""
    """A registered task; by default the usual one for the data."""
    task_options: tuple[str, ...] = ()
    """The task's options, as name=value, e.g. 'names=["Smiling"]'."""
    scheme_options: tuple[str, ...] = ()
    """The scheme's options, as name=value."""
    channel: str = "awgn"
    """A registered channel."""
    channel_options: tuple[str, ...] = ()
    """The channel's options, as name=value."""
    num_symbols: int = 64
    """Complex channel uses per message."""
    snr_db: tuple[float, ...] = (12.0,)
    """Es/N0 of the legitimate link in dB; several are drawn from."""
    warm_start: Annotated[Path | None, tyro.conf.arg(name="from")] = None
    """A checkpoint whose weights to start from, of any scheme, SNR, channel, task or data set: what fits is taken."""
    freeze: tuple[str, ...] = ()
    """Parts that stay as they are, e.g. transmitter."""
    key_file: Path | None = None
    """The secret key of a keyed scheme (64 hexadecimal digits); made there if there is none."""
    epochs: int = 60
    """Passes over the system's half of the training images."""
    batch_size: int = 256
    """Images per step."""
    optimizer: Literal["sgd", "adamw"] | None = None
    """By default the one recommended for the scheme."""
    learning_rate: float | None = None
    """Peak learning rate; by default the one recommended for the scheme."""
    weight_decay: float | None = None
    """By default the one recommended for the scheme."""
    flip: bool = True
    """Mirror images at random; turn off where left and right mean something."""
    cutout: int = 8
    """Side of the grey square laid over each image, 0 for none."""
    precision: Precision = "auto"
    """bf16 where the processor has it ('auto'), or float32."""
    seed: int = 0
    """Of the weights and of everything random in the run."""
    device: str = "cpu"
    """Where to train, e.g. cuda:0."""
    output: Path | None = None
    """The checkpoint; by default runs/SCHEME-DATA-SNR.safetensors."""
    overwrite: bool = False
    """Replace a finished checkpoint."""

    def run(self) -> int:
        """Train, evaluate once at the training SNR, save."""
        device = resolve_device(self.device)
        snr = snr_choices(self.snr_db)
        setting = Setting(
            self.data,
            parse_options(self.data_options),
            self.task,
            parse_options(self.task_options),
            self.channel,
            parse_options(self.channel_options),
            self.num_symbols,
            snr,
        )
        name = f"{self.scheme}-{self.data}-{'_'.join(f'{s:g}' for s in self.snr_db)}dB.safetensors"
        output = self.output or Path("runs") / name
        refuse_overwriting(output, self.overwrite)
        factory = schemes[self.scheme]
        start = None if self.warm_start is None else WarmStart(self.warm_start)
        options = parse_options(self.scheme_options)
        if start is not None:
            options = {**start.options_for(self.scheme), **options}
        if len(self.snr_db) == 1 and "told_snr_db" in known_options(factory):
            # A receiver that has met one noise level alone is told that one, whatever the link's is.
            options = {"told_snr_db": float(self.snr_db[0]), **options}
        game = setting.game(half="system", device=device)
        with weights_from(self.seed):
            scheme = make_scheme(self.scheme, game.spec, **options, **key_option(factory, self.key_file))
        if scheme.constellation is not None:
            game = setting.game(half="system", device=device, constellation=scheme.constellation)
        print(f"{self.scheme}: {complexity(scheme)}")
        tell_guarantee(scheme)
        if start is not None:
            print(start.load(scheme))
        frozen = freeze(scheme, self.freeze)
        chosen = {name: getattr(self, name) for name in ("optimizer", "learning_rate", "weight_decay")}
        plain: dict[str, Any] = {
            **scheme.training_defaults,
            **{k: v for k, v in chosen.items() if v is not None},
        }
        loop = LoopConfig(epochs=self.epochs, batch_size=self.batch_size, precision=self.precision, **plain)
        config = SchemeTraining(loop, flip=self.flip, cutout=self.cutout)
        state = output.with_suffix(".run")
        with show_progress(f"train {self.scheme} on {self.data}") as progress:
            trained = fit_scheme(scheme, game, config, seed=self.seed, state_path=state, progress=progress)
        scheme.eval()
        test = setting.game(split="test", device=device, constellation=scheme.constellation)
        found = evaluate(test, SchemeSender(scheme), {}, scheme=scheme, snr_db=self.snr_db)
        card = scheme_card(
            scheme, game, setting, config, trained, seed=self.seed, start=start, frozen=frozen, found=found
        )
        save_checkpoint(output, scheme, card)
        state.unlink(missing_ok=True)
        told = ", ".join(f"{f.mean:.2%} at {s:g} dB" for s, f in found.accuracy.items())
        print(f"{self.scheme}: test accuracy {told}; {game.source.provenance}")
        if found.usage is not None:
            print(f"{self.scheme}: {describe_usage(found.usage)}")
        print(f"saved {output}")
        return 0
