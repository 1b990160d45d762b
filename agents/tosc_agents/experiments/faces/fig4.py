"""Figure 4: what an attacker makes of faces under every scheme, and whether it misleads him about their gender."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from tosc_agents.experiments import article
from tosc_agents.experiments.arms import ARMS, Arm
from tosc_agents.experiments.attacks import (
    ATTACKER,
    THREAT,
    Attacker,
    Measurement,
    attack_cell,
    floors_cell,
)
from tosc_agents.experiments.cells import Cell, Store, Work
from tosc_agents.experiments.faces.fig4_findings import findings
from tosc_agents.experiments.faces.gender import Classifier, ClassifierTraining, shown, values_of
from tosc_agents.experiments.faces.setting import GENDER, face_setting
from tosc_agents.experiments.findings import Findings, Picture
from tosc_agents.experiments.grids import COUNT, grid, rebuild
from tosc_agents.experiments.systems import Systems, images_of, source_of
from tosc_agents.experiments.trainings import SCHEME, load_arm
from tosc_agents.training.evaluate import Figure
from tosc_env.attackers import Eavesdropper
from tosc_env.game import Game
from tosc_env.io.checkpoints import load_checkpoint
from tosc_env.privacy.view import View

CLASSIFIER = "classifier.safetensors"


class Fig4:
    """Which cells the figure needs, and what their results say.

    Per arm: the attacker ``inversion`` and what a classifier reads off its images, once trained on real images and
    once on such reconstructions; and the attacker ``attribute``, which reads the attribute straight off the symbols.

    Args:
        systems: of the data set; on Shapes, trained in :func:`~tosc_agents.experiments.faces.setting.face_setting`.
        arms: who is compared.
        snr_db: Es/N0 of both links in the test, and in the training of the attacker that reads symbols.
        inversion, attribute_kwargs: of the two attackers.
        classifier: how classifiers are trained. Images of Shapes are never mirrored, whose facts know left and right.
        attribute: what is inferred.
        images: in a row of the picture.
        seeds: draws of the channel's noise.
        seed: of the attackers' and classifiers' trainings, and which training of the systems.
    """

    def __init__(
        self,
        systems: Systems,
        *,
        arms: Sequence[Arm] = ARMS,
        snr_db: float = article.TRAINING_SNR_DB,
        inversion: Mapping[str, Any] | None = None,
        attribute_kwargs: Mapping[str, Any] | None = None,
        classifier: ClassifierTraining | None = None,
        attribute: str = GENDER,
        images: int = COUNT,
        seeds: int = 3,
        seed: int = 0,
    ) -> None:
        self.setting, self.stand_in = face_setting(systems.setting)
        self.systems, self.arms = replace(systems, setting=self.setting), tuple(arms)
        self.snr_db, self.attribute, self.images = float(snr_db), attribute, images
        self.seeds, self.seed = seeds, seed
        config = classifier or ClassifierTraining()
        self.classifier = ClassifierTraining(
            **{**config.plain(), "flip": config.flip and self.stand_in is None}
        )
        self.adaptive = replace(self.classifier, epochs=max(2, self.classifier.epochs // 2))
        measured = Measurement((self.snr_db,), seeds, ssim_seeds=1)
        # Told its SNR and trained over the article's range, so that it serves at every SNR, in the zoo too.
        rebuilds = Attacker("inversion", "inversion", dict(inversion or {}), train_snr_db=article.SNR_DB)
        told = {"attributes": [attribute], **(attribute_kwargs or {})}
        reads = Attacker("attribute", "attribute", told, train_snr_db=self.snr_db)
        self.floors = floors_cell(self.systems)
        self.original = Cell("fig4-classifier", self._inputs(), self._original)
        self.rebuilding, self.reading = (
            {arm.key: attack_cell(self.systems, arm, attacker, seed, measured) for arm in self.arms}
            for attacker in (rebuilds, reads)
        )
        self.recognising = {arm.key: self._recognise(arm) for arm in self.arms}
        self.cells: list[Cell] = [
            self.floors,
            self.original,
            *(by[arm.key] for arm in self.arms for by in (self.rebuilding, self.recognising, self.reading)),
        ]
        """What is to be run; cells know what they need."""

    # -- cells ------------------------------------------------------------------------------------------

    def _inputs(self) -> dict[str, Any]:
        return {
            "version": 1,
            "setting": self.setting.plain(),
            "data": images_of(self.setting),
            "attribute": self.attribute,
            "classifier": self.classifier.plain(),
            "seed": self.seed,
        }

    def _recognise(self, arm: Arm) -> Cell:
        trained = self.systems.training(arm.training, self.seed)
        attack = self.rebuilding[arm.key]
        inputs = {
            **self._inputs(),
            "arm": {"scheme": arm.scheme, "options": dict(arm.options)},
            "snr_db": self.snr_db,
            "seeds": self.seeds,
            "adaptive": self.adaptive.plain(),
        }
        work = partial(self._read_images, arm, trained, attack)
        return Cell(f"fig4-recognise-{arm.key}", inputs, work, (trained, attack, self.original))

    # -- work -------------------------------------------------------------------------------------------

    def _classifier(self, device: torch.device, config: ClassifierTraining) -> Classifier:
        source = source_of(self.setting, "test", None)
        values = values_of(source, self.attribute)[1]
        return Classifier(source.image_shape, values, config, seed=self.seed, device=device)

    def _original(self, work: Work) -> dict[str, Any]:
        """A classifier of the attacker's own, real images."""
        own = source_of(self.setting, "train", "attacker", work.device)
        test = source_of(self.setting, "test", None, work.device)
        classifier = self._classifier(work.device, self.classifier)
        with work.progress(f"fig4: {self.attribute} in real images") as progress:
            figures = classifier.fit(
                lambda index: own.gather(index).images,
                values_of(own, self.attribute)[0],
                torch.Generator(work.device).manual_seed(self.seed),
                state_path=work.folder / "classifier.run",
                progress=progress,
            )
        classifier.save(work.folder / CLASSIFIER)
        images = test.gather(torch.arange(len(test), device=work.device)).images
        right = classifier.accuracy(images, values_of(test, self.attribute)[0])
        return {"accuracy": right, "images": len(test), "training_images": len(own), "figures": figures}

    def _read_images(self, arm: Arm, trained: Cell, attack: Cell, work: Work) -> dict[str, Any]:
        """What classifiers of real and of rebuilt images recognise in reconstructions of the test images."""
        scheme = load_arm(work.file(trained, SCHEME), arm, work.device)
        attacker = load_checkpoint(work.file(attack, ATTACKER), device=work.device).policy
        assert isinstance(attacker, Eavesdropper)
        own, test = (
            Game(
                source_of(self.setting, split, half, work.device),
                self.setting,
                snr_db=self.snr_db,
                constellation=scheme.constellation,
            )
            for split, half in (("train", "attacker"), ("test", None))
        )
        start = work.file(self.original, CLASSIFIER)
        real = self._classifier(work.device, self.classifier).load(start)
        # It knows faces already and learns what is left of them in reconstructions.
        adaptive = self._classifier(work.device, self.adaptive).load(start)
        generator = torch.Generator(work.device).manual_seed(self.seed)
        view = View(own, scheme, THREAT, generator)

        @torch.no_grad()
        def rebuilt(index: torch.Tensor) -> torch.Tensor:
            reception, _ = view.sample(index)
            return attacker.reconstruct(reception.received, reception.csi)

        with work.progress(f"fig4: {self.attribute} in what is rebuilt under {arm.key}") as progress:
            figures = adaptive.fit(
                rebuilt,
                values_of(own.source, self.attribute)[0],
                generator,
                state_path=work.folder / "classifier.run",
                keep=True,  # until all is measured: an interruption must not cost the training
                progress=progress,
            )
        truth = values_of(test.source, self.attribute)[0]
        found: dict[str, list[float]] = {"from_image": [], "adaptive": []}
        for noise in range(self.seeds):
            images = rebuild(test, scheme, attacker, seed=1000 + noise, threat=THREAT)
            found["from_image"].append(real.accuracy(images, truth))
            found["adaptive"].append(adaptive.accuracy(images, truth))
        (work.folder / "classifier.run").unlink(missing_ok=True)
        return {
            **{name: Figure.of(values).plain() for name, values in found.items()},
            "seeds": self.seeds,
            "figures": figures,
        }

    # -- findings ---------------------------------------------------------------------------------------

    def present(self, store: Store, folder: Path, notes: Sequence[str] = ()) -> Findings:
        """Rows, table and picture, once all cells are finished.

        Args:
            store: where the cells are.
            folder: for the picture, which shows people where the data does.
            notes: more sentences, such as what was trained shorter than it should be.
        """
        results = {
            arm.key: {
                "rebuilding": store.result(self.rebuilding[arm.key]),
                "recognising": store.result(self.recognising[arm.key]),
                "reading": store.result(self.reading[arm.key]),
            }
            for arm in self.arms
        }
        found = findings(self, results, store.result(self.original), store.result(self.floors), notes)
        found.pictures = [self._picture(store, folder, results)]
        return found

    def _picture(self, store: Store, folder: Path, results: Mapping[str, Any]) -> Picture:
        test = source_of(self.setting, "test", None, store.device)
        paths = {
            arm.key: (
                store.folder_of(self.systems.training(arm.training, self.seed)) / SCHEME,
                store.folder_of(self.rebuilding[arm.key]) / ATTACKER,
            )
            for arm in self.arms
        }
        notes = {}
        for key, result in results.items():
            figures = result["rebuilding"]["evaluation"]["leaks"]["inversion"][f"{self.snr_db:g}"]
            notes[key] = f"{figures['psnr_db']['mean']:.1f} dB, SSIM {figures['ssim']['mean']:.2f}"
        return grid(
            folder / "fig4.png",
            self.setting,
            test,
            paths,
            snr_db=self.snr_db,
            index=shown(test, self.attribute, min(self.images, len(test))),
            notes=notes,
            title="What an attacker rebuilds",
            caption=f"The same test images in each row, of each value of {self.attribute} in turn; PSNR and SSIM are "
            f"means over all {len(test):,} test images.",
            faces=self.stand_in is None,
        )
