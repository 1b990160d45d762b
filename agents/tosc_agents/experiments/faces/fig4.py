"""Figure 4: what an attacker makes of faces under every scheme, and whether it misleads him about their gender."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from tosc_agents.experiments import article
from tosc_agents.experiments.attacks import (
    ATTACKER,
    COUNT,
    THREAT,
    Attacker,
    EvaluationConfig,
    attack_job,
    floors_job,
    rebuild,
    rebuilt_grid,
)
from tosc_agents.experiments.charts import in_order
from tosc_agents.experiments.faces.data import GENDER, face_setting, values_of
from tosc_agents.experiments.faces.gender import Classifier, ClassifierTraining, shown
from tosc_agents.experiments.jobs import Job, RunCache
from tosc_agents.experiments.measurements import (
    CONSTANT,
    MEAN_IMAGE,
    ORIGINAL,
    intervals,
    knob,
    of_evaluation,
    of_figure,
    values,
)
from tosc_agents.experiments.methods import Method, label
from tosc_agents.experiments.sections import Plot, Section, Table
from tosc_agents.experiments.systems import Systems, images_of, source_of
from tosc_agents.experiments.trainings import SCHEME, load_method
from tosc_agents.training.evaluate import Figure
from tosc_env.attackers import Eavesdropper
from tosc_env.game import Game
from tosc_env.io.checkpoints import load_checkpoint
from tosc_env.privacy.streams import stream
from tosc_env.privacy.view import View

CLASSIFIER = "classifier.safetensors"
SNR_DB = article.TRAINING_SNR_DB
"""Es/N0 of both links in the test, and in the training of the attacker that reads symbols."""


class Fig4:
    """The jobs that the figure needs, and the measurements that their results give.

    Per method: the attacker ``inversion`` and what a classifier reads off its images, once trained on real images and
    once on such reconstructions; and the attacker ``attribute``, which reads the gender straight off the symbols.

    Args:
        systems: of the data set; on Shapes, trained in :func:`~tosc_agents.experiments.faces.data.face_setting`.
        methods: who is compared.
        inversion, attribute: options of the two attackers.
        classifier: how classifiers are trained. Images of Shapes are never mirrored, whose facts know left and right.
        seeds: draws of the channel's noise.

    Attributes:
        jobs: what is to be run; jobs know what they need.
    """

    def __init__(
        self,
        systems: Systems,
        *,
        methods: Sequence[Method],
        inversion: Mapping[str, Any],
        attribute: Mapping[str, Any],
        classifier: ClassifierTraining,
        seeds: int,
    ) -> None:
        self.setting, self.stand_in = face_setting(systems.setting)
        self.systems, self.methods, self.seeds = replace(systems, setting=self.setting), tuple(methods), seeds
        self.classifier = replace(classifier, flip=classifier.flip and self.stand_in is None)
        self.adaptive = replace(self.classifier, epochs=max(2, self.classifier.epochs // 2))
        config = EvaluationConfig((SNR_DB,), seeds, ssim_seeds=1)
        # Told its SNR and trained over the article's range, so that it serves at every SNR, in the zoo too.
        rebuilds = Attacker("inversion", "inversion", inversion, train_snr_db=article.SNR_DB)
        reads = Attacker("attribute", "attribute", {"attributes": [GENDER], **attribute}, train_snr_db=SNR_DB)
        self._inputs = {
            "version": 1,
            "setting": self.setting.plain(),
            "data": images_of(self.setting),
            "attribute": GENDER,
            "classifier": asdict(self.classifier),
        }
        self.floors = floors_job(self.systems)
        self.original = Job("fig4-classifier", self._inputs, self._original)
        self.rebuilding, self.reading = (
            {one.key: attack_job(self.systems, one, attacker, 0, config) for one in self.methods}
            for attacker in (rebuilds, reads)
        )
        self.recognising = {one.key: self._recognise(one) for one in self.methods}
        by_kind = (self.rebuilding, self.recognising, self.reading)
        self.jobs = [self.floors, self.original, *(jobs[one.key] for one in self.methods for jobs in by_kind)]

    def _recognise(self, method: Method) -> Job:
        trained, attack = self.systems.training(method.training), self.rebuilding[method.key]
        told = {"snr_db": SNR_DB, "seeds": self.seeds, "adaptive": asdict(self.adaptive)}
        work = partial(self._read_images, method, trained, attack)
        inputs = {**self._inputs, "method": method.plain(), **told}
        return Job(f"fig4-recognise-{method.key}", inputs, work, (trained, attack, self.original))

    def _classifier(self, device: torch.device, config: ClassifierTraining) -> Classifier:
        source = source_of(self.setting, "test", None)
        return Classifier(source.image_shape[0], values_of(source, GENDER)[1], config, device)

    def _original(self, cache: RunCache, folder: Path) -> dict[str, Any]:
        """A classifier of the attacker's own, real images."""
        own = source_of(self.setting, "train", "attacker", cache.device)
        test = source_of(self.setting, "test", None, cache.device)
        classifier = self._classifier(cache.device, self.classifier)
        with cache.progress(f"fig4: {GENDER} in real images") as progress:
            figures = classifier.fit(
                lambda index: own.gather(index).images,
                values_of(own, GENDER)[0],
                torch.Generator(cache.device).manual_seed(0),
                state_path=folder / "classifier.run",
                progress=progress,
            )
        classifier.save(folder / CLASSIFIER)
        (folder / "classifier.run").unlink()
        images = test.gather(torch.arange(len(test), device=cache.device)).images
        right = classifier.accuracy(images, values_of(test, GENDER)[0])
        return {"accuracy": right, "images": len(test), "training_images": len(own), "figures": figures}

    def _read_images(
        self, method: Method, trained: Job, attack: Job, cache: RunCache, folder: Path
    ) -> dict[str, Any]:
        """The accuracy on reconstructions of the test images, of classifiers of real and of rebuilt images."""
        scheme = load_method(cache.file(trained, SCHEME), method, cache.device)
        attacker = load_checkpoint(cache.file(attack, ATTACKER), device=cache.device).policy
        assert isinstance(attacker, Eavesdropper)
        own, test = (
            Game(
                source_of(self.setting, split, half, cache.device),
                self.setting,
                snr_db=SNR_DB,
                constellation=scheme.constellation,
            )
            for split, half in (("train", "attacker"), ("test", None))
        )
        # The adaptive one knows faces already and learns what is left of them in reconstructions.
        real, adaptive = (
            self._classifier(cache.device, config).load(cache.file(self.original, CLASSIFIER))
            for config in (self.classifier, self.adaptive)
        )
        generator = torch.Generator(cache.device).manual_seed(0)
        view = View(own, scheme, THREAT, stream("fig4", "channel", 0, cache.device))

        @torch.no_grad()
        def rebuilt(index: torch.Tensor) -> torch.Tensor:
            reception, _ = view.sample(index)
            return attacker.reconstruct(reception.received, reception.csi)

        with cache.progress(f"fig4: {GENDER} in what is rebuilt under {method.key}") as progress:
            figures = adaptive.fit(
                rebuilt,
                values_of(own.source, GENDER)[0],
                generator,
                state_path=folder / "classifier.run",
                progress=progress,
            )
        truth = values_of(test.source, GENDER)[0]
        draws = [rebuild(test, scheme, attacker, seed=1000 + i, threat=THREAT) for i in range(self.seeds)]
        found = {
            name: Figure.of([classifier.accuracy(images, truth) for images in draws]).plain()
            for name, classifier in (("from_image", real), ("adaptive", adaptive))
        }
        # Not before all is measured: an interruption must not cost the training.
        (folder / "classifier.run").unlink()
        return {**found, "seeds": self.seeds, "figures": figures}

    def rows(self, cache: RunCache) -> list[dict[str, Any]]:
        """All figures, once all is finished."""
        if not all(map(cache.finished, self.jobs)):
            return []
        floors = cache.result(self.floors)
        known = {
            (ORIGINAL, "gender_original"): cache.result(self.original)["accuracy"],
            **{
                (CONSTANT, f"chance_{one}_{GENDER}"): floors["chance"][f"{one}_{GENDER}"]
                for one in ("plain", "infer")
            },
            **{(MEAN_IMAGE, name): value for name, value in floors["floors"]["mean-image"].items()},
        }
        rows: list[dict[str, Any]] = [
            {"experiment": "fig4", "method": name, "metric": metric, "value": value}
            for (name, metric), value in known.items()
        ]
        for one in self.methods:
            for job in (self.rebuilding[one.key], self.reading[one.key]):
                rows += of_evaluation("fig4", one.key, cache.result(job)["evaluation"], threat=str(THREAT))
            read = cache.result(self.recognising[one.key])
            at = {"experiment": "fig4", "method": one.key, "knob": knob(one.key), "snr_db": SNR_DB}
            by = {"attacker": "inversion", "threat": str(THREAT)}
            for name in ("from_image", "adaptive"):
                rows.append({**at, **by, "metric": f"gender_{name}", **of_figure(read[name], read["seeds"])})
        return rows

    def section(self, cache: RunCache, folder: Path) -> Section:
        """Threat model and classifiers, and the picture, which shows people where the data does."""
        original = cache.result(self.original)
        notes = [
            *([self.stand_in] if self.stand_in else []),
            f"Attackers: {THREAT}; trained on {original['training_images']:,} images that the systems have not seen, "
            f"tested at {SNR_DB:g} dB on {original['images']:,} others. The one that rebuilds images is trained "
            f"over {', '.join(f'{snr:g}' for snr in article.SNR_DB)} dB and told its SNR; the one that reads symbols, "
            f"and the adaptive classifier, at {SNR_DB:g} dB.",
            "From the image: a classifier of real images looks at the reconstruction, as the article argues; that it "
            "errs on blurred ones does not show that the attribute is hidden. Adaptive: one trained on such "
            "reconstructions. From the symbols: no image is made.",
        ]
        shown_paths = {}
        for one in self.methods:
            training, attack = self.systems.training(one.training), self.rebuilding[one.key]
            figures = cache.result(attack)["evaluation"]["leaks"]["inversion"][f"{SNR_DB:g}"]
            note = f"{figures['psnr_db']['mean']:.1f} dB, SSIM {figures['ssim']['mean']:.2f}"
            files = cache.folder_of(training) / SCHEME, cache.folder_of(attack) / ATTACKER
            shown_paths[one.key] = (*files, note)
        test = source_of(self.setting, "test", None, cache.device)
        index = shown(test, GENDER, min(COUNT, len(test)))
        rebuilt_grid(folder / "fig4.png", self.setting, shown_paths, cache.device, snr_db=SNR_DB, index=index)
        caption = (
            f"The same test images in each row, of each value of {GENDER} in turn; PSNR and SSIM are means over all "
            f"{len(test):,} test images."
        )
        picture = Plot("What an attacker rebuilds", "fig4.png", caption, faces=self.stand_in is None)
        details = {
            "setting": self.setting.plain(),
            "classifier": asdict(self.classifier),
            "threat_model": THREAT.plain(),
            "attackers": {
                key: {name: cache.result(jobs[key])["training"] for name, jobs in self._attacks().items()}
                for key in self.rebuilding
            },
        }
        title = "Fig. 4: what an attacker makes of faces"
        return Section(title, test.provenance, notes, plots=[picture], details=details)

    def _attacks(self) -> dict[str, dict[str, Job]]:
        return {"rebuilding": self.rebuilding, "reading": self.reading}

    @staticmethod
    def show(table: pd.DataFrame, folder: Path) -> tuple[list[Plot], list[Table]]:
        """The attacker's images in figures, and what they betray, with floor and ceiling beneath."""
        columns = {
            "psnr_db": "PSNR",
            "ssim": "SSIM",
            "gender_from_image": f"{GENDER} from the image",
            "gender_adaptive": f"{GENDER}, adaptive",
            f"infer_{GENDER}": f"{GENDER} from the symbols, balanced",
        }
        said = {(r.method, r.metric): str(v) for r, v in zip(table.itertuples(), values(table), strict=True)}
        guess, balanced = (said[CONSTANT, f"chance_{one}_{GENDER}"] for one in ("plain", "infer"))
        special = {
            ORIGINAL: ("original images", {"gender_from_image": said[ORIGINAL, "gender_original"]}),
            MEAN_IMAGE: (
                "knowing nothing",
                {**dict.fromkeys(list(columns)[2:], guess), f"infer_{GENDER}": balanced},
            ),
        }
        lines = []
        for key in (*in_order([key for key in table.method if key not in (*special, CONSTANT)]), *special):
            name, known = special.get(key, (label(key), {}))
            cells = {
                told: known.get(metric) or said.get((key, metric), "") for metric, told in columns.items()
            }
            lines.append({"scheme": name, **cells})
        title = f"The attacker's images at {SNR_DB:g} dB, and what they betray"
        return [], [Table(title, pd.DataFrame(lines), intervals(table))]
