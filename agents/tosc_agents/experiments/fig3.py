"""The article's Figure 3: accuracy and the attacker's PSNR over the SNR, and what the article could not see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from tosc_agents.experiments import attacks, charts, measurements
from tosc_agents.experiments.article import TRAINING_SNR_DB
from tosc_agents.experiments.attacks import THREAT
from tosc_agents.experiments.jobs import Job, RunCache
from tosc_agents.experiments.measurements import (
    CONSTANT,
    WORDS,
    by_scheme,
    in_order,
    intervals,
    strongest,
    wide,
)
from tosc_agents.experiments.methods import label, method
from tosc_agents.experiments.presets import Preset
from tosc_agents.experiments.report import Plot, Section, Table, notes
from tosc_agents.leaks import LEAKS

CHARTS = {
    "accuracy": "accuracy",
    "psnr_db": "PSNR of the strongest attacker",
    "reid": "re-identification by the strongest attacker",
    "label": "label inferred by the strongest attacker",
}
"""What is drawn over the SNR, and its title."""

PLANE = (
    "One point per method and SNR. Ringed: no other point shown is at least as accurate and as private, and better in "
    "one. Means alone are compared. An attacker under the mean image counts as no leak. The strongest attacker is told "
    "on the test images themselves, which can only overstate a leak."
)

AT = ["method", "snr_db"]
COLUMNS = {
    "re-identified": ("reid_pixels", "reid_match"),
    "by encoding candidates": ("reid_query",),
    "label inferred": ("infer_label",),
}
"""What the table of schemes tells of attackers, besides their PSNR."""


@dataclass(frozen=True)
class Fig3:
    """The jobs behind the figure, and what becomes of them, for a preset and the keys of methods."""

    preset: Preset
    methods: Sequence[str]

    def seeds(self, key: str) -> range:
        """The trainings of a method."""
        repeated = self.preset.repeated
        return range(self.preset.trainings if repeated is None or key in repeated else 1)

    def jobs_of(self, key: str, seed: int) -> list[Job]:
        """The method's own measurement and its attackers'."""
        one, config, later = method(key), self.preset.evaluation, self.preset.repeated_attackers
        attacking = [
            attacks.attack_job(self.preset.images, one, attacker, seed, config)
            for attacker in attacks.pointed_at(self.preset.attackers, one)
            if not seed or later is None or attacker.key in later
        ]
        return [attacks.evaluation_job(self.preset.images, one, seed, config), *attacking]

    @property
    def jobs(self) -> list[Job]:
        """All of them: first trainings before repeated ones, cheap things before dear ones."""
        first = [self.jobs_of(key, 0) for key in self.methods]
        attacking = [job for jobs in first for job in jobs[1:]]
        later = [
            job for key in self.methods for seed in self.seeds(key)[1:] for job in self.jobs_of(key, seed)
        ]
        return [attacks.floors_job(self.preset.images), *(jobs[0] for jobs in first), *attacking, *later]

    def rows(self, cache: RunCache) -> list[dict[str, Any]]:
        """Floors, chances and all that is finished of the methods; nothing before the first of these is."""
        known = attacks.floors_job(self.preset.images)
        found = [
            row
            for key in self.methods
            for seed in self.seeds(key)
            for job in self.jobs_of(key, seed)
            if cache.finished(job)
            for row in measurements.of_evaluation(
                "fig3", key, cache.result(job), seed=seed, threat=str(THREAT)
            )
        ]
        if not cache.finished(known) or not any(row["metric"] == "accuracy" for row in found):
            return []
        result = cache.result(known)
        chances = {f"chance_{name}": share for name, share in result["chance"].items()}
        knowing = {**result["floors"], CONSTANT: chances}
        return [*measurements.rows_of(knowing, experiment="fig3"), *found]

    def section(self, cache: RunCache, folder: Path) -> Section:
        """Data, threat model and trainings, and pictures of what is rebuilt."""
        known = cache.result(attacks.floors_job(self.preset.images))
        keys = dict.fromkeys((method(key).training, seed) for key in self.methods for seed in self.seeds(key))
        jobs = {one: self.preset.images.training(*one) for one in keys}
        trained = {one: cache.result(job) for one, job in jobs.items() if cache.finished(job)}
        attacking = [
            job for key in self.methods for seed in self.seeds(key) for job in self.jobs_of(key, seed)[1:]
        ]
        facts = {**vars(self.preset.images), "attackers": attacks.cut_short(cache, attacking)}
        told = notes("fig3", known=known, threat=THREAT, trained=trained, **facts)
        title = "Fig. 3: accuracy and privacy against SNR"
        return Section(title, known["provenance"], told, self._pictures(cache, folder))

    def _pictures(self, cache: RunCache, folder: Path) -> list[Plot]:
        """Reconstructions of the same test images by the strongest rebuilding attacker of each method."""
        snr_db = TRAINING_SNR_DB
        table = measurements.over_seeds(measurements.frame(self.rows(cache)))
        shown: dict[str, tuple[Job, Job, str]] = {}
        for best in strongest(table[table.snr_db == snr_db], LEAKS["psnr_db"]).itertuples():
            one = method(best.method)
            (attacker,) = (
                a for a in attacks.pointed_at(self.preset.attackers, one) if a.key == best.attacker
            )
            training = self.preset.images.training(one.training)
            attack = attacks.attack_job(self.preset.images, one, attacker, 0, self.preset.evaluation)
            if cache.finished(training) and cache.finished(attack):
                shown[best.method] = training, attack, f"{best.attacker}, {best.value:.2f} dB"
        if not shown:
            return []
        attacks.rebuilt_grid(folder / "fig3_grid.png", self.preset.images.setting, shown, cache)
        caption = (
            f"The first test images at {snr_db:g} dB, in each row what the strongest rebuilding attacker makes of the "
            "same messages; under each name that attacker and its mean PSNR over all test images."
        )
        return [Plot("What the strongest attacker of each scheme rebuilds", "fig3_grid.png", caption)]

    @staticmethod
    def show(table: pd.DataFrame, folder: Path) -> tuple[list[Plot], list[Table]]:
        """The planes and curves, the table of schemes, and each leak over the SNR."""
        known = {(row.method, row.metric): row.value for row in table[table.snr_db.isna()].itertuples()}
        floor, chance = (
            known[measurements.MEAN_IMAGE, "psnr_db"],
            known.get((CONSTANT, "chance_plain_label"), 0.0),
        )
        accuracy = table[table.metric == "accuracy"]
        leaks = {name: found for name in LEAKS if len(found := strongest(table, LEAKS[name]))}
        above = dict(leaks)
        if "psnr_db" in leaks:
            above["psnr_db"] = leaks["psnr_db"].assign(value=(leaks["psnr_db"].value - floor).clip(lower=0.0))
        # The methods in the upper half between chance and the best: the others would flatten them in a chart.
        best = accuracy.groupby("method").value.max()
        near = in_order(best[best > (chance + best.max()) / 2].index)
        plots, tables = [], [_schemes(table, accuracy, above.get("psnr_db"))]
        for name in [name for name in leaks if name != "label"]:
            points = accuracy[[*AT, "value"]].merge(above[name][[*AT, "value"]], on=AT)
            points = points.set_axis([*AT, "accuracy", "leak"], axis=1)
            shown, psnr = points[points.method.isin(near)], name == "psnr_db"
            if shown.empty:
                continue
            what = "PSNR leak above the mean image, dB" if psnr else CHARTS[name]
            file = f"fig3-plane-{name.removesuffix('_db')}.svg"
            charts.plane(folder / file, shown, front(shown), what, percent=not psnr)
            rest = ", ".join(label(key) for key in in_order(points.method) if key not in near)
            left_out = f" Near chance and left out: {rest}." if rest else ""
            plots.append(Plot(f"Accuracy against leak: {what}", file, PLANE + left_out))
        references = {
            "accuracy": {"chance": chance},
            "psnr_db": {
                "mean image (floor)": floor,
                "knows the label alone": known.get((measurements.CLASS_MEAN, "psnr_db"), floor),
            },
            "reid": {"chance": known.get((CONSTANT, "chance_reid_match"), 0.0)},
            "label": {"chance": known.get((CONSTANT, "chance_infer_label"), 0.0)},
        }
        for name, found in {"accuracy": accuracy, **leaks}.items():
            file, title, psnr = f"fig3-{name.removesuffix('_db')}.svg", CHARTS[name], name == "psnr_db"
            closer = near if name == "accuracy" and len(near) < found.method.nunique() else []
            how: dict[str, Any] = {"references": references[name], "percent": not psnr, "closer": closer}
            charts.curves(folder / file, found, "PSNR, dB" if psnr else title, **how)
            cells = wide(found, "method", "snr_db").rename(columns=lambda snr: f"{snr:g} dB")
            plots.append(Plot(f"{title} against SNR", file, intervals(found)))
            tables.append(Table(f"{title} against SNR", by_scheme(cells), intervals(found)))
        return plots, [*tables, _attackers(table)]


def front(points: pd.DataFrame) -> pd.DataFrame:
    """The points that no other dominates: at least as accurate and as private, and better in one.

    >>> points = pd.DataFrame({"method": ["a", "b", "c"], "accuracy": [0.9, 0.8, 0.7], "leak": [1.7, 0.5, 0.6]})
    >>> front(points).method.tolist()
    ['a', 'b']
    """
    ordered = points.sort_values(["leak", "accuracy"], ascending=[True, False])
    best = ordered[ordered.accuracy > ordered.accuracy.cummax().shift(fill_value=-1.0)]
    return points.merge(best[["accuracy", "leak"]])  # with those that coincide


def _schemes(table: pd.DataFrame, accuracy: pd.DataFrame, above: pd.DataFrame | None) -> Table:
    """The table that people read: what each scheme is worth at the SNR of the training."""
    here = table[table.snr_db == TRAINING_SNR_DB]
    levels = dict.fromkeys((accuracy.snr_db.min(), TRAINING_SNR_DB))
    parts = {f"accuracy, {snr_db:g} dB": accuracy[accuracy.snr_db == snr_db] for snr_db in levels}
    if above is not None:
        parts["PSNR leak"] = above[above.snr_db == TRAINING_SNR_DB]
    parts |= {name: strongest(here, metrics) for name, metrics in COLUMNS.items()}
    rows = pd.concat([part.assign(column=name) for name, part in parts.items()])
    cells = wide(rows, "method", "column", interval=False)[[name for name in parts if len(parts[name])]]
    if "PSNR leak" in cells:
        leak = parts["PSNR leak"].set_index("method")
        place = cells.columns.get_loc("PSNR leak") + 1
        cells.insert(place, "by", leak.attacker)
        if leak.value.get("deepjscc", 0.0) > 0:
            cells.insert(
                place + 1, "of DeepJSCC's", (leak.value / leak.value["deepjscc"]).map("{:.0%}".format)
            )
    title = f"Schemes at {TRAINING_SNR_DB:g} dB, against the strongest of the attackers tried"
    caption = "PSNR leak: above the mean image, at least 0. Intervals are in the tables of figure 3."
    return Table(title, by_scheme(cells.fillna("")), caption)


def _attackers(table: pd.DataFrame) -> Table:
    """Every attacker against every method, with all its figures."""
    here = table[(table.snr_db == TRAINING_SNR_DB) & (table.attacker != "") & table.metric.isin(WORDS)]
    cells = wide(here, ["method", "attacker"], "metric")
    cells = cells[[name for name in WORDS if name in cells]].rename(columns=WORDS)
    cells = cells.loc[in_order(here.method)].reset_index().rename_axis(columns=None)
    cells["method"] = cells.method.map(label)
    title = f"Every attacker against every method at {TRAINING_SNR_DB:g} dB"
    caption = f"{intervals(here)} name@12dB: trained at that SNR alone; others over all SNRs shown."
    return Table(title, cells, caption)
