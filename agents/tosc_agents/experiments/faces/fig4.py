"""Figure 4: what an attacker makes of faces under every scheme, and whether it misleads him about their gender."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from tosc_agents.experiments import article
from tosc_agents.experiments.attacks import (
    ATTACKER,
    THREAT,
    Attacker,
    EvaluationConfig,
    attack_job,
    floors_job,
)
from tosc_agents.experiments.faces.data import GENDER, face_setting, values_of
from tosc_agents.experiments.faces.gender import Classifier, ClassifierTraining
from tosc_agents.experiments.grids import rebuild
from tosc_agents.experiments.jobs import Job, RunCache
from tosc_agents.experiments.methods import Method
from tosc_agents.experiments.systems import Systems, images_of, source_of
from tosc_agents.experiments.trainings import SCHEME, load_method
from tosc_agents.training.evaluate import Figure
from tosc_env.attackers import Eavesdropper
from tosc_env.game import Game
from tosc_env.io.checkpoints import load_checkpoint
from tosc_env.privacy.view import View

CLASSIFIER = "classifier.safetensors"
SNR_DB = article.TRAINING_SNR_DB
"""Es/N0 of both links in the test, and in the training of the attacker that reads symbols."""


class Fig4:
    """Which jobs the figure needs, and what their results say.

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
        """What classifiers of real and of rebuilt images recognise in reconstructions of the test images."""
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
        view = View(own, scheme, THREAT, generator)

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
