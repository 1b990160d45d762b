"""The article's Figure 3: accuracy and the attacker's PSNR over the SNR, and what the article could not see."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from tosc_agents.experiments import charts
from tosc_agents.experiments.article import TRAINING_SNR_DB
from tosc_agents.experiments.attacks import (
    ATTACKER,
    THREAT,
    attack_job,
    evaluation_job,
    floors_job,
    pointed_at,
    rebuilt_grid,
)
from tosc_agents.experiments.jobs import Job, RunCache
from tosc_agents.experiments.measurements import (
    CLASS_MEAN,
    CONSTANT,
    MEAN_IMAGE,
    WORDS,
    frame,
    intervals,
    of_evaluation,
    over_seeds,
    strongest,
    values,
)
from tosc_agents.experiments.methods import Method, label, method
from tosc_agents.experiments.presets import Preset
from tosc_agents.experiments.sections import Plot, Section, Table
from tosc_agents.experiments.systems import Systems
from tosc_agents.experiments.trainings import SCHEME

LEAKS: Mapping[str, tuple[str, ...]] = {
    "psnr": ("psnr_db",),
    "reid": ("reid_pixels", "reid_match", "reid_query"),
    "label": ("infer_label",),
}
"""What attackers get, by the name of its chart, and the metrics of which the largest counts."""

TITLES = {
    "accuracy": "accuracy",
    "psnr": "PSNR of the strongest attacker",
    "reid": "re-identification by the strongest attacker",
    "label": "label inferred by the strongest attacker",
}


@dataclass(frozen=True)
class Fig3:
    """The jobs behind the figure, and what becomes of them.

    Attributes:
        preset: attackers, SNRs, seeds.
        systems: the trained systems.
        methods: keys of those that are drawn.
    """

    preset: Preset
    systems: Systems
    methods: tuple[str, ...]

    def seeds(self, one: Method) -> range:
        """The trainings of a method."""
        repeated = self.preset.repeated
        return range(self.preset.trainings if repeated is None or one.key in repeated else 1)

    def jobs_of(self, one: Method, seed: int) -> list[Job]:
        """The method's own measurement and its attackers'."""
        config, later = self.preset.evaluation, self.preset.repeated_attackers
        attacks = [
            attack_job(self.systems, one, attacker, seed, config)
            for attacker in pointed_at(self.preset.attackers, one)
            if not seed or later is None or attacker.key in later
        ]
        return [evaluation_job(self.systems, one, seed, config), *attacks]

    @property
    def jobs(self) -> list[Job]:
        """All of them: first trainings before repeated ones, cheap things before dear ones."""
        chosen = [method(key) for key in self.methods]
        first = [self.jobs_of(one, 0) for one in chosen]
        attacks = [job for jobs in first for job in jobs[1:]]
        later = [job for one in chosen for seed in self.seeds(one)[1:] for job in self.jobs_of(one, seed)]
        return [floors_job(self.systems), *(jobs[0] for jobs in first), *attacks, *later]

    def rows(self, cache: RunCache) -> list[dict[str, Any]]:
        """Floors, chances and all that is finished of the methods; nothing before the first of these is."""
        known = floors_job(self.systems)
        found = [
            row
            for key in self.methods
            for seed in self.seeds(method(key))
            for job in self.jobs_of(method(key), seed)
            if cache.finished(job)
            for row in of_evaluation(
                "fig3", key, cache.result(job)["evaluation"], seed=seed, threat=str(THREAT)
            )
        ]
        if not cache.finished(known) or not any(row["metric"] == "accuracy" for row in found):
            return []
        result = cache.result(known)
        floors = [
            (name, metric, value) for name, by in result["floors"].items() for metric, value in by.items()
        ]
        chances = [(CONSTANT, f"chance_{name}", value) for name, value in result["chance"].items()]
        rows = [
            {"experiment": "fig3", "method": name, "metric": metric, "value": value}
            for name, metric, value in (*floors, *chances)
        ]
        return rows + found

    def section(self, cache: RunCache, folder: Path) -> Section:
        """Data, threat model and trainings, and pictures of what is rebuilt."""
        known, setting = cache.result(floors_job(self.systems)), self.systems.setting
        keys = dict.fromkeys(
            (method(key).training, seed) for key in self.methods for seed in self.seeds(method(key))
        )
        jobs = {f"{key}, seed {seed}": self.systems.training(key, seed) for key, seed in keys}
        cards = {name: cache.result(job) for name, job in jobs.items() if cache.finished(job)}
        notes = [
            f"{known['images']:,} test images; attackers: {THREAT}; trained on their half of the training images.",
            f"{setting.num_symbols} complex channel uses per message over AWGN; trained at {setting.snr_db:g} dB; both "
            "links have the SNR shown.",
            f"Trainings: {'; '.join(self._training(*one) for one in cards.items())}.",
        ]
        if self.systems.shared_start and any(name.endswith("seed 1") for name in cards):
            notes.append(
                "Where an interval is over trainings, all of them started from one and the same baseline: it says how "
                "figures vary between warm starts, which is less than between trainings from the very beginning."
            )
        details = {
            "trainings": cards,
            "attackers": [attacker.plain() for attacker in self.preset.attackers],
            "threat_model": THREAT.plain(),
        }
        missing = [job.name for job in self.jobs if not cache.finished(job)]
        title = "Fig. 3: accuracy and privacy against SNR"
        return Section(title, known["provenance"], notes, missing, self._pictures(cache, folder), details)

    def _training(self, name: str, result: dict[str, Any]) -> str:
        training, epochs = result["card"]["training"], self.systems.recipes[name.split(",")[0]].epochs
        done, warm = training["loop"]["epochs"], training.get("warm_start")
        differs = "" if done == epochs else f" (the preset says {epochs})"
        start = f", started from weights of {warm['scheme']}" if warm else ""
        part = f", {' and '.join(training['frozen'])} frozen" if training.get("frozen") else ""
        given = f", given as {result['given']}" if result["given"] else ""
        return f"{name}: {done} epochs{differs}{start}{part}{given}"

    def _pictures(self, cache: RunCache, folder: Path) -> list[Plot]:
        """Reconstructions of the same test images by the strongest rebuilding attacker of each method."""
        snr_db = float(self.systems.setting.snr_db)  # type: ignore[arg-type]
        table = over_seeds(frame(self.rows(cache)))
        shown: dict[str, tuple[Path, Path, str]] = {}
        for best in strongest(table[table.snr_db == snr_db], ("psnr_db",)).itertuples():
            one = method(best.method)
            (attacker,) = (a for a in pointed_at(self.preset.attackers, one) if a.key == best.attacker)
            jobs = (
                self.systems.training(one.training),
                attack_job(self.systems, one, attacker, 0, self.preset.evaluation),
            )
            if all(map(cache.finished, jobs)):
                files = cache.folder_of(jobs[0]) / SCHEME, cache.folder_of(jobs[1]) / ATTACKER
                shown[best.method] = (*files, f"{best.attacker}, {best.value:.2f} dB")
        if not shown:
            return []
        rebuilt_grid(folder / "fig3_grid.png", self.systems.setting, shown, cache.device, snr_db=snr_db)
        caption = (
            f"The first test images at {snr_db:g} dB, in each row what the strongest rebuilding attacker makes of the "
            "same messages; under each name that attacker and its mean PSNR over all test images."
        )
        return [Plot("What the strongest attacker of each scheme rebuilds", "fig3_grid.png", caption)]

    @staticmethod
    def show(table: pd.DataFrame, folder: Path) -> tuple[list[Plot], list[Table]]:
        """The planes and curves, the table of schemes, and each leak over the SNR."""
        known = {(row.method, row.metric): row.value for row in table[table.snr_db.isna()].itertuples()}
        floor, chance = known[MEAN_IMAGE, "psnr_db"], known.get((CONSTANT, "chance_plain_label"), 0.0)
        accuracy = table[table.metric == "accuracy"]
        leaks = {name: found for name, metrics in LEAKS.items() if len(found := strongest(table, metrics))}
        above = (
            {"psnr": leaks["psnr"].assign(value=(leaks["psnr"].value - floor).clip(lower=0.0))}
            if "psnr" in leaks
            else {}
        )
        plots, tables = [], [_schemes(table, accuracy, above)]
        near = _working(accuracy, chance)
        for name, found in {**leaks, **above}.items():
            points = points_of(accuracy, found)
            shown = points[points.method.isin(near)]
            if name == "label" or shown.empty:
                continue
            what = "PSNR leak above the mean image, dB" if name == "psnr" else TITLES[name]
            file, rest = (
                f"fig3-plane-{name}.svg",
                charts.in_order([key for key in points.method if key not in near]),
            )
            charts.plane(folder / file, shown, front(shown), what, percent=name != "psnr")
            left_out = f" Near chance and left out: {', '.join(map(label, rest))}." if rest else ""
            plots.append(Plot(f"Accuracy against leak: {what}", file, PLANE + left_out))
        references = {
            "accuracy": {"chance": chance},
            "psnr": {
                "mean image (floor)": floor,
                "knows the label alone": known.get((CLASS_MEAN, "psnr_db"), floor),
            },
            "reid": {"chance": known.get((CONSTANT, "chance_reid_match"), 0.0)},
            "label": {"chance": known.get((CONSTANT, "chance_infer_label"), 0.0)},
        }
        for name, found in {"accuracy": accuracy, **leaks}.items():
            file, title = f"fig3-{name}.svg", TITLES[name]
            unit = "PSNR, dB" if name == "psnr" else title
            closer = near if name == "accuracy" and len(near) < found.method.nunique() else []
            charts.curves(
                folder / file, found, unit, references=references[name], percent=name != "psnr", closer=closer
            )
            plots.append(Plot(f"{title} against SNR", file, intervals(found)))
            tables.append(Table(f"{title} against SNR", by_snr(found), intervals(found)))
        tables.append(_attackers(table))
        return plots, tables


PLANE = (
    "One point per method and SNR. Ringed: no other point shown is at least as accurate and as private, and better in "
    "one. Means alone are compared. An attacker under the mean image counts as no leak. The strongest attacker is told "
    "on the test images themselves, which can only overstate a leak."
)


def points_of(accuracy: pd.DataFrame, leak: pd.DataFrame) -> pd.DataFrame:
    """Accuracy against leak, a row for each method and SNR that has both."""
    at = ["method", "snr_db"]
    joined = accuracy[[*at, "value"]].merge(leak[[*at, "value"]], on=at, suffixes=("_accuracy", "_leak"))
    return joined.rename(columns={"value_accuracy": "accuracy", "value_leak": "leak"})


def front(points: pd.DataFrame) -> pd.DataFrame:
    """The points that no other dominates: at least as accurate and as private, and better in one.

    >>> points = pd.DataFrame({"method": ["a", "b", "c"], "accuracy": [0.9, 0.8, 0.7], "leak": [1.7, 0.5, 0.6]})
    >>> front(points).method.tolist()
    ['a', 'b']
    """
    ordered = points.sort_values(["leak", "accuracy"], ascending=[True, False])
    best = ordered[ordered.accuracy > ordered.accuracy.cummax().shift(fill_value=-1.0)]
    return points.merge(best[["accuracy", "leak"]])  # with those that coincide


def by_snr(table: pd.DataFrame) -> pd.DataFrame:
    """Methods down, SNRs across, at most one row for each."""
    said = table.assign(text=list(map(str, values(table)))).pivot(
        index="method", columns="snr_db", values="text"
    )
    said = said.loc[charts.in_order(said.index)].fillna("")
    said.columns = [f"{snr:g} dB" for snr in said.columns]
    said.insert(0, "scheme", list(map(label, said.index)))
    return said


def _schemes(table: pd.DataFrame, accuracy: pd.DataFrame, above: Mapping[str, pd.DataFrame]) -> Table:
    """The table that people read: what each scheme is worth at the SNR of the training."""
    here = table[table.snr_db == TRAINING_SNR_DB]
    columns = {
        f"accuracy, {snr_db:g} dB": _said(accuracy[accuracy.snr_db == snr_db])
        for snr_db in dict.fromkeys((accuracy.snr_db.min(), TRAINING_SNR_DB))
    }
    for found in above.values():
        leak = found[found.snr_db == TRAINING_SNR_DB].set_index("method")
        columns["PSNR leak"] = _said(leak.reset_index())
        columns["by"] = leak.attacker.to_dict()
        if leak.value.get("deepjscc", 0.0) > 0:
            columns["of DeepJSCC's"] = {
                key: f"{share:.0%}" for key, share in (leak.value / leak.value["deepjscc"]).items()
            }
    for name, metrics in (
        ("re-identified", ("reid_pixels", "reid_match")),
        ("by encoding candidates", ("reid_query",)),
        ("label inferred", ("infer_label",)),
    ):
        columns[name] = _said(strongest(here, metrics))
    cells = pd.DataFrame({name: column for name, column in columns.items() if column}).fillna("")
    cells = cells.loc[charts.in_order(cells.index)]
    cells.insert(0, "scheme", list(map(label, cells.index)))
    title = f"Schemes at {TRAINING_SNR_DB:g} dB, against the strongest of the attackers tried"
    return Table(
        title, cells, "PSNR leak: above the mean image, at least 0. Intervals are in the tables of figure 3."
    )


def _said(rows: pd.DataFrame) -> dict[str, str]:
    return dict(zip(rows.method, map(str, values(rows.assign(interval=math.nan))), strict=True))


def _attackers(table: pd.DataFrame) -> Table:
    """Every attacker against every method, with all its figures."""
    here = table[(table.snr_db == TRAINING_SNR_DB) & (table.attacker != "") & table.metric.isin(WORDS)]
    said = here.assign(text=list(map(str, values(here))))
    cells = said.pivot(index=["method", "attacker"], columns="metric", values="text").fillna("")
    keys = charts.in_order(here.method)
    cells = cells[[name for name in WORDS if name in cells.columns]].rename(columns=WORDS).reset_index()
    cells = cells.sort_values("method", key=lambda column: column.map(keys.index), kind="stable")
    cells["method"] = cells.method.map(label)
    title = f"Every attacker against every method at {TRAINING_SNR_DB:g} dB"
    return Table(
        title, cells, f"{intervals(here)} name@12dB: trained at that SNR alone; others over all SNRs shown."
    )


def _working(accuracy: pd.DataFrame, chance: float) -> list[str]:
    """The methods in the upper half between chance and the best: the others would flatten them in a chart."""
    best = accuracy.groupby("method").value.max()
    return charts.in_order(best[best > (chance + best.max()) / 2].index)
