"""``tosc train``: a scheme, end to end, over the game's channel."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from tosc_agents.commands import common
from tosc_agents.commands.common import NodeOptions, parse_options, parse_parts
from tosc_agents.complexity import complexity
from tosc_agents.keys import SecretKey
from tosc_agents.learning.loop import LoopConfig
from tosc_agents.learning.precision import Precision
from tosc_agents.learning.progress import show_progress
from tosc_agents.learning.seeding import weights_from
from tosc_agents.learning.state import kept_identity
from tosc_agents.records import accuracies, describe_usage
from tosc_agents.training.card import scheme_card
from tosc_agents.training.evaluate import evaluate
from tosc_agents.training.fit_scheme import SchemeTraining, fit_scheme
from tosc_agents.training.warm_start import WarmStart, freeze
from tosc_env import GameConfig, InputError, SystemSpec, make_scheme
from tosc_env.data import data_set
from tosc_env.devices import resolve_device
from tosc_env.io.checkpoints import check_registered, save_checkpoint
from tosc_env.schemes import defaults_of, make_objectives


@dataclass
class Train(NodeOptions):
    """Train a scheme and write its checkpoint; run the same command again to continue after an interruption.

    Example: tosc train deepjscc --data cifar10 --snr-db 12 --epochs 60
    """

    scheme: Annotated[str, tyro.conf.Positional]
    """A registered scheme ('tosc list')."""
    data: str | None = None
    """A registered data set; by default that in the card of --from, with its options and task, else shapes."""
    data_kwargs: tuple[str, ...] = ()
    """The data set's options, as name=value; a folder of your own is --data folder --data-kwargs path=FOLDER."""
    task: str | None = None
    """A registered task; by default the usual one for the data."""
    task_kwargs: tuple[str, ...] = ()
    """The task's options, as name=value, e.g. 'names=["Smiling"]'."""
    scheme_kwargs: tuple[str, ...] = ()
    """The scheme's options, as name=value."""
    stages: tuple[str, ...] = ()
    """More stages before the channel, as NAME or NAME:option=value,option=value, e.g. keyed laplace:epsilon=20."""
    objectives: tuple[str, ...] = ()
    """Aims of the training, written like stages, e.g. task bottleneck:beta=0.01; by default the scheme's usual ones."""
    channel: str = "awgn"
    """A registered channel."""
    channel_kwargs: tuple[str, ...] = ()
    """The channel's options, as name=value."""
    num_symbols: int = 64
    """Complex channel uses per message."""
    snr_db: tuple[float, ...] = (12.0,)
    """Es/N0 of the legitimate link in dB; several are drawn from."""
    warm_start: Annotated[Path | None, tyro.conf.arg(name="from")] = None
    """A scheme's checkpoint to start from: weights that fit, its nodes, and without --data its images and task."""
    freeze: tuple[str, ...] = ()
    """Parts that stay as they are, e.g. transmitter."""
    key_file: Path | None = None
    """File of a keyed scheme's key (64 hexadecimal digits), made if it is missing; by default the seed's, unwritten."""
    epochs: int = 60
    """Passes over the system's half of the training images."""
    batch_size: int = 256
    """Images per step."""
    optimizer: Literal["sgd", "adamw"] | None = None
    """Optimizer; by default the one recommended for the scheme."""
    learning_rate: float | None = None
    """Peak learning rate; by default the one recommended for the scheme."""
    weight_decay: float | None = None
    """Weight decay; by default the one recommended for the scheme."""
    flip: bool = True
    """Mirror images at random; turn off where left and right mean something."""
    cutout: int = 8
    """Side of the grey square laid over each image, 0 for none."""
    precision: Precision = "auto"
    """Use bf16 where the processor has it ('auto'), or float32."""
    seed: int = 0
    """Seed of the weights and of everything random in the run."""
    device: str = "cpu"
    """Processor or accelerator to train on, e.g. cuda:0."""
    output: Path | None = None
    """The checkpoint; by default runs/SCHEME-DATA-SNR.safetensors, of a folder with its name."""
    overwrite: bool = False
    """Replace a finished checkpoint."""

    def run(self) -> int:
        """Train, evaluate once at the training SNR, save."""
        device = resolve_device(self.device)
        stages = parse_parts(self.stages)
        config = self._training()
        start = None if self.warm_start is None else WarmStart(self.warm_start)
        setting = self.with_nodes(self._setting(start))
        game = setting.game(half="system", device=device)
        options = self._options(game.spec, stages, start)
        with weights_from(self.seed):
            scheme = make_scheme(self.scheme, game.spec, stages=stages, **options)
            wanted = parse_parts(self.objectives) or defaults_of(self.scheme).objectives
            objectives = make_objectives(wanted, game.spec)
        check_registered(scheme)
        taken = None if start is None else start.load(scheme)
        frozen = freeze(scheme, self.freeze)
        if frozen and not any(weight.requires_grad for weight in scheme.parameters()):
            raise InputError(f"--freeze {' '.join(frozen)} leaves nothing of {scheme.name!r} to train.")
        output = self.output or Path("runs") / self._file_name(stages, setting)
        state = output.with_suffix(".run")
        common.refuse_overwriting(output, self.overwrite, state)
        common.use_key_file(scheme, self.key_file)
        if scheme.keyed and self.key_file is None:
            # No file holds it, and a run that is gone on with must meet it again.
            scheme.use_key(SecretKey.from_seed(self.seed))
        game = game.with_rules(constellation=scheme.constellation)
        # Before the training: images that cannot be tested on are told before hours are spent.
        test = setting.game(split="test", device=device, constellation=scheme.constellation)
        print(f"{scheme.title}: {complexity(scheme, objectives)}")
        common.tell_guarantee(scheme)
        if taken is not None:
            print(taken)
        run: dict[str, Any] = {"objectives": objectives, "seed": self.seed}
        kept: dict[str, Any] = {"state_path": state, "asked": common.asked_of(self)}
        with show_progress(f"train {self.scheme} on {setting.data}") as progress:
            figures = fit_scheme(scheme, game, config, **run, **kept, progress=progress)
        scheme.eval()
        found = evaluate(test, scheme, {}, snr_db=self.snr_db)
        run |= {"identity": kept_identity(state), "start": start, "frozen": frozen, "found": found}
        card = scheme_card(scheme, game, setting, config, figures, **run)
        card["valid_snr_db"] = [game.snr_db.low, game.snr_db.high]
        save_checkpoint(output, scheme, card)
        state.unlink(missing_ok=True)
        print(f"{scheme.title}: test {accuracies(found)}; {game.source.provenance}")
        if found.usage is not None:
            print(f"{scheme.title}: {describe_usage(found.usage)}")
        print(f"saved {output}")
        return 0

    def _training(self) -> SchemeTraining:
        """The loop and the augmentation; InputError for a number out of its range, before anything is computed."""
        options = {name: getattr(self, name) for name in ("optimizer", "learning_rate", "weight_decay")}
        options = {name: value for name, value in options.items() if value is not None}
        options |= {"epochs": self.epochs, "batch_size": self.batch_size, "precision": self.precision}
        loop = LoopConfig(**{**defaults_of(self.scheme).training, **options})
        return SchemeTraining(loop, flip=self.flip, cutout=self.cutout)

    def _setting(self, start: WarmStart | None) -> GameConfig:
        """The data set, task and channel; those that were not given follow from the checkpoint to start from."""
        task_kwargs = parse_options(self.task_kwargs)
        own = {} if start is None or self.data is not None else start.images
        task = self.task or own.get("task")
        if self.task is None and own:
            task_kwargs = {**own.get("task_kwargs", {}), **task_kwargs}
        return GameConfig(
            self.data or own.get("data", "shapes"),
            {**own.get("data_kwargs", {}), **parse_options(self.data_kwargs)},
            task,
            task_kwargs or None,
            self.channel,
            parse_options(self.channel_kwargs),
            self.num_symbols,
            common.snr_choices(self.snr_db),
            **({} if start is None else start.nodes),
        )

    def _file_name(self, stages: list[Any], setting: GameConfig) -> str:
        """``deepjscc+keyed-cifar10-12dB.safetensors``, ``deepjscc-folder-pictures-12dB.safetensors`` and the like."""
        name = "+".join([self.scheme, *common.part_names(stages)])
        options, paths = setting.data_kwargs, data_set(setting.data).paths
        data = "-".join([setting.data, *(Path(options[path]).name for path in paths if path in options)])
        return f"{name}-{data}-{'_'.join(f'{s:g}' for s in self.snr_db)}dB.safetensors"

    def _options(self, spec: SystemSpec, stages: list[Any], start: WarmStart | None) -> dict[str, Any]:
        """The scheme's options: those given, and, as far as it has them, those that follow from start and SNR."""
        options = common.scheme_options(self.scheme_kwargs)
        defaults: dict[str, Any] = {}
        if start is not None and start.header["name"] == self.scheme:
            options = {k: v for k, v in start.header["options"].items() if k != "told_snr_db"} | options
        elif start is not None:
            defaults |= start.network
        if len(self.snr_db) == 1:
            # A receiver that has met one noise level alone is told that one, whatever the link's is.
            defaults["told_snr_db"] = float(self.snr_db[0])
        # Which options a scheme has, whoever wrote it, is seen on one.
        with weights_from(self.seed):
            known = make_scheme(self.scheme, spec, stages=stages, **options).options
        return {k: v for k, v in defaults.items() if k in known} | options
