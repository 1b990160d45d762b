"""The training loop that schemes and neural eavesdroppers share.

Everything stays on the device: the host waits for it only when it reads the running figures, a few times per epoch.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn

from tosc_agents.learning.precision import Precision, autocast, resolve_precision
from tosc_agents.learning.progress import Progress
from tosc_agents.learning.state import Run, check_form, fitting
from tosc_env import options
from tosc_env.async_checks import AsyncChecks
from tosc_env.errors import InputError, ToscError, TrainingError, warn_user
from tosc_env.identity import identity, tensor_digest
from tosc_env.options import check_count, check_fields, check_hint, check_is, check_tensor

StepLoss = Callable[[Tensor], tuple[Tensor, dict[str, Tensor]]]
"""A function from image indices [B] to the loss and figures to log."""

SYNC_EVERY = 25
"""Steps between two times that the host reads the running loss, and so waits for the device."""


@dataclass
class StepConfig:
    """Settings of a step, whatever is trained and however long."""

    batch_size: Annotated[int, options.Within(1, options.MOST_MESSAGES)] = 256
    """Images per step."""
    learning_rate: options.Positive = 0.15
    """Peak learning rate."""
    weight_decay: options.Weight = 5e-4
    """Weight decay (decoupled for adamw)."""
    optimizer: Literal["sgd", "adamw"] = "sgd"
    """Nesterov momentum 0.9, or AdamW."""
    clip: options.Positive = 5.0
    """Largest norm of the gradient."""
    average: options.Share = 0.998
    """Decay of the exponential average of the weights that is kept in the end; 0 keeps the last weights."""
    precision: Precision = "auto"
    """bf16 where the processor has it, or float32."""

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass
class LoopConfig(StepConfig):
    """Settings of a training over a number of epochs."""

    epochs: options.Count = 60
    """Passes over the training images."""
    warmup: options.Share = 0.15
    """Fraction of the run in which the learning rate rises; then it falls along a cosine to zero."""


class Step:
    """One step of a training: a batch's loss, its gradient, the optimizer, the average of the weights.

    It queues work on the device and waits for nothing (``tests/tosc_agents/test_devices.py``).

    Attributes:
        average: the exponential average of the module's state.
        checks: of values, to be synchronised when the figures are read.
    """

    def __init__(self, module: nn.Module, step_loss: StepLoss, config: StepConfig) -> None:
        self._module, self._step_loss, self._config = module, step_loss, config
        self._device = next(module.parameters()).device
        self._parameters = [p for p in module.parameters() if p.requires_grad]
        self.optimizer = _optimizer(self._parameters, config)
        self.average = {name: t.detach().clone() for name, t in module.state_dict().items()}
        self.checks = AsyncChecks()

    def __call__(self, index: Tensor, step: int, share: float) -> dict[str, Tensor]:
        """Take the step number ``step``, from 0, with the images at ``index`` [B] and a share of the learning rate.

        Returns figures on the device: the loss, those that come with it, and the norm of the gradient.
        """
        config = self._config
        for group in self.optimizer.param_groups:
            group["lr"] = config.learning_rate * share
        with autocast(config.precision, self._device), self.checks.collect():
            try:
                loss, logs = self._step_loss(index)
            except ValueError as error:
                if len(index) > 1 or isinstance(error, ToscError):
                    raise
                raise InputError(
                    f"a step on a single image is not possible here ({error}); give at least 2 images, and a "
                    "batch_size of at least 2."
                ) from error
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self._parameters, config.clip)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        _update_average(self.average, self._module, min(config.average, (step + 1) / (step + 10)))
        return {"loss": loss.detach(), **logs, "gradient": norm}

    def take(
        self,
        batches: Sequence[Tensor],
        first: int,
        share: Callable[[int], float],
        told: Callable[[int, dict[str, float]], None],
    ) -> None:
        """Take a step for each batch of indices, the first of that number, with a share of the learning rate for each.

        ``told`` of how many steps were taken and the mean figures since the first, each time that the host reads them.
        """
        sums: dict[str, Tensor] = {}
        for done, index in enumerate(batches, 1):
            step = first + done - 1
            for figure, value in self(index, step, share(step)).items():
                sums[figure] = sums[figure] + value if figure in sums else value.float()
            if done % SYNC_EVERY == 0 or done == len(batches):
                figures = {figure: float(value) / done for figure, value in sums.items()}
                _check_finite(figures, self._module, step)
                self.checks.synchronize()
                told(step + 1, figures)

    def state(self, generator: torch.Generator) -> dict[str, Any]:
        """What a training goes on from, with the stream that it draws from."""
        return {
            "model": self._module.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": self.average,
            "generator": generator.get_state(),
        }

    def checked(self, found: Any, what: str) -> dict[str, Tensor]:
        """Return what a state has as weights of the module, if they are such (raises InputError)."""
        fresh = self._module.state_dict()
        weights = check_form(found, fresh, what)
        for name, tensor in fresh.items():
            # A buffer may hold what is not finite on purpose.
            if (tensor.isfinite() & ~weights[name].isfinite()).any():
                raise InputError(f"{what}.{name} is not finite")
        return weights

    def take_state(self, state: dict[str, Any], generator: torch.Generator) -> None:
        """Go on from a state that was kept, once all of it fits."""
        weights, means = (self.checked(state.get(name), name) for name in ("model", "average"))
        stream = check_tensor(state.get("generator"), "generator", generator.get_state().shape, torch.uint8)
        steps = _checked_optimizer(state.get("optimizer"), self.optimizer)
        generator.set_state(stream.cpu())
        self._module.load_state_dict(weights)
        self.optimizer.load_state_dict(steps)
        for name, tensor in means.items():
            self.average[name].copy_(tensor)


def train(
    module: nn.Module,
    step_loss: StepLoss,
    *,
    num_images: int,
    config: LoopConfig,
    generator: torch.Generator,
    progress: Progress | None = None,
    run: Run | None = None,
    passes: tuple[str, ...] = ("",),
    begin_phase: Callable[[str, int, int], None] | None = None,
) -> dict[str, float]:
    """Train ``module`` in place; it ends with the averaged weights, in evaluation mode.

    Args:
        module: what is trained, on its device.
        step_loss: the loss of a batch of image indices.
        num_images: how many images an epoch passes over.
        config: epochs, optimizer and precision.
        generator: the only source of randomness, on the module's device.
        progress: told the figures each time that the host reads them.
        run: where to keep the run's state after each epoch, to be resumed from, and what else its result depends on
            besides the module, its weights, the loop's settings, the seed and the kind of device.
        passes: the passes over the images that make an epoch, in turn.
        begin_phase: told the name of each pass, the epoch from 0, and the number of epochs.

    Returns:
        The last epoch's mean figures.

    Raises:
        TrainingError: the loss is no longer finite; names the step and the cause.
        CheckpointError: the state found belongs to another run.
    """
    device = next(module.parameters()).device
    take_step = Step(module, step_loss, config)
    steps_per_epoch = max(1, num_images // config.batch_size)
    if steps_per_epoch == 1 and num_images != config.batch_size:
        warn_user(
            f"a batch of {config.batch_size} of {num_images} images makes each epoch a single step; a smaller "
            "batch_size, or more epochs, trains better."
        )
    total = steps_per_epoch * config.epochs * len(passes)
    epoch = 0
    figures: dict[str, float] = {}
    known: dict[str, Any] = {}
    if run is not None:
        known = identity_of(module, config, generator, **run.parts, num_images=num_images, passes=passes)
        state = run.load(known, device)
        if state is not None:
            with fitting(run.path):
                epoch = check_count(state.get("epoch"), "epoch", 1, config.epochs)
                figures = check_hint(state.get("figures"), dict[str, float], "figures")
                take_step.take_state(state, generator)

    def share(step: int) -> float:
        return _schedule(step / total, config.warmup)

    def told(step: int, found: dict[str, float]) -> None:
        # The figures of an earlier pass stand until this one has figures of the same name.
        figures.update(found)
        if progress is not None:
            progress(step, total, {"epoch": epoch + 1, **without_gradient(figures)})

    module.train()
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        for epoch in range(epoch, config.epochs):  # noqa: B020
            # Dropout knows the global stream alone: it is set epoch by epoch, so that a resumed run draws the same.
            torch.manual_seed((generator.initial_seed() * 1_000_003 + epoch) % 2**63)
            figures = {}
            for k, name in enumerate(passes):
                if begin_phase is not None:
                    begin_phase(name, epoch, config.epochs)
                order = torch.randperm(num_images, generator=generator, device=device)
                first = (epoch * len(passes) + k) * steps_per_epoch
                take_step.take(order.split(config.batch_size)[:steps_per_epoch], first, share, told)
            if run is not None:
                run.save(known, {**take_step.state(generator), "epoch": epoch + 1, "figures": figures})
    module.load_state_dict(take_step.average)
    module.eval()
    return figures


def identity_of(
    module: nn.Module, config: StepConfig, generator: torch.Generator, **parts: Any
) -> dict[str, Any]:
    """Describe what determines a training's result: its module and settings, and what else it depends on."""
    # Of the module its parameters: what a buffer holds was worked out from all the rest, perhaps in other last bits
    # where other threads work.
    parameters = dict(module.named_parameters())
    device = next(module.parameters()).device
    return identity(
        seed=generator.initial_seed(),
        loop=config,
        device=device.type,
        precision=resolve_precision(config.precision, device),
        frozen=[name for name, parameter in parameters.items() if not parameter.requires_grad],
        **parts,
        trained={"parameters": list(parameters), "weights": tensor_digest(parameters.values())},
    )


def _checked_optimizer(given: Any, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """The state of an optimizer, if it is of one like this: the same settings but for the learning rate, which the
    schedule sets, and for each parameter what this kind of optimizer keeps of it."""
    given = check_is(given, dict, "optimizer")
    groups = json.loads(json.dumps(optimizer.state_dict()["param_groups"]))
    found = check_is(given.get("param_groups"), list, "optimizer.param_groups")
    for group in (*groups, *found):
        check_is(group, dict, "optimizer.param_groups").pop("lr", None)
    if found != groups:
        raise InputError("optimizer.param_groups must be those of this training")
    rates = [group["lr"] for group in optimizer.param_groups]
    kept = check_is(given.get("state"), dict, "optimizer.state")
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for place, one in kept.items():
        parameter = parameters[check_count(place, "optimizer.state", 0, len(parameters) - 1)]
        whole = torch.zeros_like(parameter)
        like = dict.fromkeys(("exp_avg", "exp_avg_sq"), whole) | {"step": torch.zeros(())}
        if isinstance(optimizer, torch.optim.SGD):
            like = {"momentum_buffer": whole}
        for name, tensor in check_form(one, like, f"optimizer.state.{place}").items():
            if not bool(tensor.isfinite().all()):
                raise InputError(f"optimizer.state.{place}.{name} is not finite")
    return {"state": kept, "param_groups": [{**g, "lr": r} for g, r in zip(groups, rates, strict=True)]}


def _optimizer(parameters: list[nn.Parameter], config: StepConfig) -> torch.optim.Optimizer:
    # Norms and biases are not decayed: shrinking them only fights the normalisation.
    decayed = [p for p in parameters if p.dim() > 1]
    rest = [p for p in parameters if p.dim() <= 1]
    groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": rest, "weight_decay": 0.0}]
    if config.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=config.learning_rate, momentum=0.9, nesterov=True)
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=(0.9, 0.99))


def _schedule(done: float, warmup: float) -> float:
    """1 at the end of the warm-up, 0 at the end of the run."""
    if done < warmup:
        return (done + 1e-3) / (warmup + 1e-3)
    return 0.5 * (1.0 + math.cos(math.pi * (done - warmup) / (1.0 - warmup)))


@torch.no_grad()
def _update_average(average: dict[str, Tensor], module: nn.Module, decay: float) -> None:
    for name, tensor in module.state_dict().items():
        if tensor.is_floating_point():
            average[name].lerp_(tensor, 1.0 - decay)
        else:
            average[name].copy_(tensor)


def _check_finite(figures: dict[str, float], module: nn.Module, step: int) -> None:
    broken = next((name for name, value in figures.items() if not math.isfinite(value)), None)
    if broken is None:
        return
    weights = [name for name, p in module.named_parameters() if not bool(torch.isfinite(p).all())]
    cause = f"parameter {weights[0]!r} is not finite" if weights else f"the {broken} is not finite"
    raise TrainingError(
        f"training stopped within the {SYNC_EVERY} steps up to step {step + 1}: {cause}; "
        "lower the learning rate or use precision float32 (the state of the last whole epoch is kept)."
    )


def without_gradient(figures: dict[str, float]) -> dict[str, float]:
    """The figures that a person is shown."""
    return {name: value for name, value in figures.items() if name != "gradient"}
