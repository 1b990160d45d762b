"""Figure 4: what an attacker makes of faces under every scheme, and whether it misleads him about their gender."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor

from tosc_agents.experiments import article, attacks, measurements
from tosc_agents.experiments.attacks import THREAT, Attacker
from tosc_agents.experiments.jobs import Job, RunCache
from tosc_agents.experiments.measurements import CONSTANT, MEAN_IMAGE, ORIGINAL, by_scheme, intervals, wide
from tosc_agents.experiments.methods import method
from tosc_agents.experiments.presets import GENDER, Preset
from tosc_agents.experiments.report import Plot, Section, Table, notes
from tosc_agents.experiments.systems import SCHEME, images_of, load_method, source_of
from tosc_agents.learning.augment import crop_flip_cutout
from tosc_agents.learning.loop import LoopConfig, train
from tosc_agents.learning.precision import autocast
from tosc_agents.learning.progress import Progress
from tosc_agents.learning.seeding import weights_from
from tosc_agents.learning.state import Run, check_form, fitting, load_state, save_state
from tosc_agents.networks import ImageEncoder
from tosc_agents.pictures import rebuild
from tosc_agents.training.evaluate import Figure
from tosc_env import metrics
from tosc_env.attackers import Eavesdropper
from tosc_env.data.base import Source
from tosc_env.io.checkpoints import load_checkpoint
from tosc_env.privacy.streams import stream
from tosc_env.privacy.view import View

CLASSIFIER, RUN = "classifier.safetensors", "classifier.run"
SNR_DB = article.TRAINING_SNR_DB
"""Es/N0 of both links in the test, and in the training of the attacker that reads symbols."""

COLUMNS = {
    "psnr_db": "PSNR",
    "ssim": "SSIM",
    "balanced_from_image": f"{GENDER} from the image, balanced",
    "balanced_adaptive": f"{GENDER}, adaptive, balanced",
    f"infer_{GENDER}": f"{GENDER} from the symbols, balanced",
    "gender_from_image": f"{GENDER} from the image, plain",
    "gender_adaptive": f"{GENDER}, adaptive, plain",
    f"plain_{GENDER}": f"{GENDER} from the symbols, plain",
}


class Fig4:
    """The jobs that the figure needs, and the measurements that their results give.

    Per method: the attacker ``inversion`` and what a classifier reads off its images, once trained on real images and
    once on such reconstructions; and the attacker ``attribute``, which reads the gender straight off the symbols.

    Images of Shapes, whose facts know left and right, are never mirrored for the ``classifier``, which by default is
    trained for the preset's epochs.
    """

    def __init__(
        self, preset: Preset, methods: Sequence[str], classifier: ClassifierTraining | None = None
    ) -> None:
        self.systems, self.setting, self.seeds = preset.faces, preset.faces.setting, preset.evaluation.seeds
        self.stand_in, self.methods = self.setting.data == "shapes", tuple(methods)
        usual = classifier or ClassifierTraining(epochs=preset.gender_epochs)
        self.classifier = replace(usual, flip=usual.flip and not self.stand_in)
        self.adaptive = replace(self.classifier, epochs=max(2, self.classifier.epochs // 2))
        config = attacks.EvaluationConfig((SNR_DB,), self.seeds, ssim_seeds=1)
        # Told its SNR and trained over the article's range, so that it serves at every SNR, in the zoo too.
        rebuilds = Attacker("inversion", "inversion", preset.face_attacker, train_snr_db=article.SNR_DB)
        options = {"attributes": [GENDER]} | {k: preset.face_attacker[k] for k in ("steps", "batch_size")}
        reads = Attacker("attribute", "attribute", options, train_snr_db=SNR_DB)
        self._inputs = {
            "version": 1,
            "setting": self.setting.plain(),
            "data": images_of(self.setting),
            "attribute": GENDER,
            "classifier": asdict(self.classifier),
        }
        self.floors = attacks.floors_job(self.systems)
        self.original = Job("fig4-classifier", self._inputs, self._original)
        self.rebuilding, self.reading = (
            {key: attacks.attack_job(self.systems, method(key), attacker, 0, config) for key in self.methods}
            for attacker in (rebuilds, reads)
        )
        self.recognising = {key: self._recognise(key) for key in self.methods}
        by_kind = (self.rebuilding, self.recognising, self.reading)
        self.jobs = [self.floors, self.original, *(jobs[key] for key in self.methods for jobs in by_kind)]

    def _original(self, cache: RunCache, folder: Path) -> dict[str, Any]:
        """A classifier of the attacker's own, real images."""
        own = source_of(self.setting, "train", "attacker", cache.device)
        test = source_of(self.setting, "test", None, cache.device)
        classifier = Classifier(own.image_shape[0], self.classifier, cache.device)
        generator = torch.Generator(cache.device).manual_seed(0)
        with cache.progress(f"fig4: {GENDER} in real images") as progress:
            how: dict[str, Any] = {"state_path": folder / RUN, "progress": progress}
            figures = classifier.fit(lambda index: own.gather(index).images, truth(own), generator, **how)
        save_state(folder / CLASSIFIER, {"network": classifier.network.state_dict()})
        (folder / RUN).unlink()
        images = test.gather(torch.arange(len(test), device=cache.device)).images
        right = classifier.accuracies(images, truth(test))
        return {**right, "images": len(test), "training_images": len(own), "figures": figures}

    def _recognise(self, key: str) -> Job:
        """The accuracy on reconstructions of the test images, of classifiers of real and of rebuilt images."""
        one = method(key)
        trained, attack = self.systems.training(one.training), self.rebuilding[key]

        def work(cache: RunCache, folder: Path) -> dict[str, Any]:
            scheme = load_method(cache.file(trained, SCHEME), one, cache.device)
            attacker = load_checkpoint(cache.file(attack, attacks.ATTACKER), device=cache.device).policy
            assert isinstance(attacker, Eavesdropper)
            own, test = (
                game.with_rules(snr_db=SNR_DB) for game in attacks.games(self.setting, scheme, cache.device)
            )
            # The adaptive one knows faces already and learns what is left of them in reconstructions.
            real, adaptive = (
                Classifier(own.source.image_shape[0], config, cache.device).load(
                    cache.file(self.original, CLASSIFIER)
                )
                for config in (self.classifier, self.adaptive)
            )
            generator = torch.Generator(cache.device).manual_seed(0)
            view = View(own, scheme, THREAT, stream("fig4", "channel", 0, cache.device))

            @torch.no_grad()
            def rebuilt(index: Tensor) -> Tensor:
                reception, _ = view.sample(index)
                return attacker.reconstruct(reception.received, reception.csi)

            with cache.progress(f"fig4: {GENDER} in what is rebuilt under {key}") as progress:
                how: dict[str, Any] = {"state_path": folder / RUN, "progress": progress}
                figures = adaptive.fit(rebuilt, truth(own.source), generator, **how)
            right = truth(test.source)
            draws = [
                rebuild(test, scheme, {key: attacker}, seed=1000 + i, threat=THREAT)[key]
                for i in range(self.seeds)
            ]
            found: dict[str, dict[str, float | None]] = {}
            for name, classifier in (("from_image", real), ("adaptive", adaptive)):
                of_draws = [classifier.accuracies(images, right) for images in draws]
                for kind in of_draws[0]:
                    found[f"{kind}_{name}"] = Figure.of([one[kind] for one in of_draws]).plain()
            # Not before all is measured: an interruption must not cost the training.
            (folder / RUN).unlink()
            return {**found, "seeds": self.seeds, "figures": figures}

        told = {"snr_db": SNR_DB, "seeds": self.seeds, "adaptive": asdict(self.adaptive)}
        inputs = {**self._inputs, "method": one.plain(), **told}
        return Job(f"fig4-recognise-{key}", inputs, work, (trained, attack, self.original))

    def rows(self, cache: RunCache) -> list[dict[str, Any]]:
        """All figures, once all is finished."""
        if not all(map(cache.finished, self.jobs)):
            return []
        floors = cache.result(self.floors)
        known = {
            ORIGINAL: {
                f"{kind}_original": cache.result(self.original)[kind] for kind in ("balanced", "gender")
            },
            CONSTANT: {f"chance_{k}": floors["chance"][k] for k in (f"plain_{GENDER}", f"infer_{GENDER}")},
            MEAN_IMAGE: floors["floors"]["mean-image"],
        }
        rows = measurements.rows_of(known, experiment="fig4")
        for key in self.methods:
            for job in (self.rebuilding[key], self.reading[key]):
                rows += measurements.of_evaluation("fig4", key, cache.result(job), threat=str(THREAT))
            read = cache.result(self.recognising[key])
            at = {"experiment": "fig4", "method": key, "snr_db": SNR_DB}
            by = {"attacker": "inversion", "threat": str(THREAT)}
            for name in ("balanced_from_image", "balanced_adaptive", "gender_from_image", "gender_adaptive"):
                figure = measurements.of_figure(read[name], read["seeds"])
                rows.append({**at, **by, "metric": name, **figure})
        return rows

    def section(self, cache: RunCache, folder: Path) -> Section:
        """Threat model and classifiers, and the picture, which shows people where the data does."""
        told = notes(
            "fig4",
            **vars(self),
            attackers=attacks.cut_short(cache, [*self.rebuilding.values(), *self.reading.values()]),
            threat=THREAT,
            result=cache.result(self.original),
            snr_db=f"{SNR_DB:g}",
            trained_db=", ".join(f"{snr:g}" for snr in article.SNR_DB),
        )
        rows = {}
        for key, attack in self.rebuilding.items():
            figures = cache.result(attack)["evaluation"]["leaks"]["inversion"][f"{SNR_DB:g}"]
            note = f"{figures['psnr_db']['mean']:.1f} dB, SSIM {figures['ssim']['mean']:.2f}"
            rows[key] = self.systems.training(method(key).training), attack, note
        test = source_of(self.setting, "test", None, cache.device)
        index = shown(truth(test), attacks.COUNT)
        attacks.rebuilt_grid(folder / "fig4.png", self.setting, rows, cache, index=index)
        caption = (
            f"The same test images in each row, of each value of {GENDER} in turn; PSNR and SSIM are means over all "
            f"{len(test):,} test images."
        )
        picture = Plot("What an attacker rebuilds", "fig4.png", caption, faces=not self.stand_in)
        return Section("Fig. 4: what an attacker makes of faces", test.provenance, told, [picture])

    @staticmethod
    def show(table: pd.DataFrame, folder: Path) -> tuple[list[Plot], list[Table]]:
        """The attacker's images in figures, and what they betray, with floor and ceiling beneath."""
        cells = wide(table, "method", "metric")
        for kind in ("balanced", "gender"):
            cells.loc[ORIGINAL, f"{kind}_from_image"] = cells.loc[ORIGINAL, f"{kind}_original"]
        guess, balanced = (cells.loc[CONSTANT, f"chance_{one}_{GENDER}"] for one in ("plain", "infer"))
        cells.loc[MEAN_IMAGE, list(COLUMNS)[2:]] = [balanced] * 3 + [guess] * 3
        cells = cells.drop(index=CONSTANT)[list(COLUMNS)].rename(columns=COLUMNS)
        ordered = by_scheme(cells, {ORIGINAL: "original images", MEAN_IMAGE: "knowing nothing"})
        title = f"The attacker's images at {SNR_DB:g} dB, and what they betray"
        return [], [Table(title, ordered, intervals(table))]


@dataclass(frozen=True)
class ClassifierTraining:
    """Settings of a classifier's loop, augmentation (mirrored or not, the largest random shift in pixels) and network
    (0.57 M parameters), the same for real and for rebuilt images.
    """

    epochs: int = 12
    batch_size: int = 128
    learning_rate: float = 2e-3
    flip: bool = True
    pad: int = 4
    stem: int = 16
    widths: tuple[int, ...] = (32, 64, 128)


class Classifier:
    """A classifier of a yes-or-no attribute in images of so many channels, which answers as if both values were equally
    frequent (logit adjustment: Menon et al., ICLR 2021).

    >>> classifier = Classifier(3, ClassifierTraining(stem=4, widths=(4, 4, 4)))
    >>> classifier.decide(torch.rand(5, 3, 16, 16)).shape
    torch.Size([5])
    """

    def __init__(self, channels: int, config: ClassifierTraining, device: str | torch.device = "cpu") -> None:
        self.config, self.device = config, torch.device(device)
        size: dict[str, Any] = {
            "stem": config.stem,
            "widths": config.widths,
            "blocks": (1,) * len(config.widths),
        }
        with weights_from(0):
            network = ImageEncoder(channels, 2, **size)
        self.network = network.to(self.device).to(memory_format=torch.channels_last).eval()  # type: ignore[call-overload]

    def fit(
        self,
        images: Callable[[Tensor], Tensor],
        truth: Tensor,
        generator: torch.Generator,
        *,
        state_path: Path | None = None,
        progress: Progress | None = None,
    ) -> dict[str, float]:
        """Learn to tell the values; returns the last epoch's figures.

        ``images`` takes positions int64 [B] to images [B, C, H, W] in [0, 1], possibly others each time; ``truth`` are
        the right values, int64 [N]; ``generator`` orders and augments; at ``state_path`` the run is kept and resumed.
        """
        config = self.config
        loop = LoopConfig(
            epochs=config.epochs,
            batch_size=min(config.batch_size, len(truth)),
            learning_rate=config.learning_rate,
            weight_decay=1e-2,
            optimizer="adamw",
            average=0.99,
        )

        # Of a value that never occurs there is half an image, so that its logarithm is finite.
        counts = F.one_hot(truth, 2).sum(0).clamp_min(0.5)
        prior = (counts / counts.sum()).log()

        def step_loss(index: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
            seen = crop_flip_cutout(images(index), generator, pad=config.pad, flip=config.flip, cutout=0)
            logits = self.network(seen).float()
            right = (logits.detach().argmax(1) == truth[index]).float().mean()
            return F.cross_entropy(logits + prior, truth[index]), {"accuracy": right}

        run = Run(state_path, {"classifier": config, "truth": truth}) if state_path else None
        kept: dict[str, Any] = {"run": run, "progress": progress}
        return train(self.network, step_loss, num_images=len(truth), config=loop, generator=generator, **kept)

    @torch.no_grad()
    def decide(self, images: Tensor) -> Tensor:
        """The likeliest value of each image, int64 [B], in the precision of the training."""
        with autocast("auto", self.device):
            return torch.cat([self.network(part).argmax(1) for part in images.split(500)])

    def accuracies(self, images: Tensor, truth: Tensor) -> dict[str, float]:
        """The ``balanced`` accuracy on images [N, C, H, W] of values [N]; the share of right answers (``gender``)."""
        right = self.decide(images) == truth
        balanced = metrics.balanced_accuracy(right, truth)
        return {"balanced": float(balanced), "gender": float(right.float().mean())}

    def load(self, path: Path) -> Classifier:
        """Take the weights that lie in a file; returns itself."""
        kept = load_state(path, self.device).get("network")
        with fitting(path):
            self.network.load_state_dict(check_form(kept, self.network.state_dict(), "network"))
        self.network.eval()
        return self


def truth(source: Source) -> Tensor:
    """Whose gender is which, int64 [N]."""
    return source.attributes[:, source.attribute_names.index(GENDER)]


def shown(truth: Tensor, count: int) -> Tensor:
    """Positions of the first images of each value in turn, int64, at most ``count``: the same ones each time.

    >>> shown(torch.tensor([0, 0, 0, 1, 1]), 4).tolist()
    [0, 3, 1, 4]
    """
    # The rank of each image among those of its own value: first all firsts, then all seconds.
    same = F.one_hot(truth)
    rank = (same.cumsum(0) * same).sum(1)
    return (rank * same.shape[1] + truth).argsort()[:count]
