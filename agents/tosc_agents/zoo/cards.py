"""The zoo's cards as one page of Markdown, written from the files and never by hand: python -m tosc_agents.zoo.cards"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader

from tosc_agents.leaks import LEAKS, CardLeaks, leak_title
from tosc_agents.records import write_text
from tosc_agents.zoo import WEIGHTS
from tosc_agents.zoo.pack import ATTACKER_LIMIT, ZOO_LIMIT
from tosc_env.data import data_set
from tosc_env.io.checkpoint_files import read_header, read_tensors
from tosc_env.privacy.threat import ThreatModel
from tosc_env.schemes import named


def render(folder: Path = WEIGHTS) -> str:
    """The page, for all checkpoints in a folder."""
    headers = {path: read_header(path) for path in sorted(folder.glob("*.safetensors"))}
    groups: dict[str, dict[Path, dict[str, Any]]] = {}
    for path, header in headers.items():
        name, shape = header["card"]["data"]["name"], "x".join(map(str, header["spec"]["image_shape"]))
        groups.setdefault(f"{name}, {shape}", {})[path] = header
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= FILTERS
    return environment.get_template("cards.md").render(
        groups=groups,
        files=len(headers),
        size=sum(path.stat().st_size for path in headers),
        limit=ZOO_LIMIT,
        parameters=ATTACKER_LIMIT,
        terms=lambda title: data_set(title.partition(",")[0]).terms,
    )


def _in_order(by_snr: Mapping[str, Any]) -> dict[str, Any]:
    return dict(sorted(by_snr.items(), key=lambda item: float(item[0])))


def _kinds(leaks: CardLeaks) -> list[str]:
    """The names of the leaks, the private attributes last."""
    there = {leak for by_leak in leaks.values() for leak in by_leak}
    return [leak for leak in LEAKS if leak in there] + sorted(there - LEAKS.keys())


def _threats(leaks: CardLeaks) -> list[str]:
    every = (best["threat_model"] for by_leak in _in_order(leaks).values() for best in by_leak.values())
    return list(dict.fromkeys(every))


def _got(best: Mapping[str, Any], threats: Sequence[str]) -> str:
    """What the strongest attacker got: ``15.47 dB (+2.92) by `inversion-mlp` (a)``."""
    several = f", mean of {best['mean_of_trainings']} trainings" if "mean_of_trainings" in best else ""
    by = f"by `{best['attacker']}` ({_mark(threats.index(best['threat_model']))}{several})"
    if "above_floor" in best:
        return f"{best['value']:.2f} dB ({best['above_floor']:+.2f}) {by}"
    chance = f" ({best['chance']:.1%})" if "chance" in best else ""
    return f"{best['value']:.1%}{chance} {by}"


def _psnrs(leaks: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    return {snr: row["psnr_db"] for snr, row in leaks.items()}


def _millions(path: Path) -> str:
    """Millions of values that the weights are."""
    return f"{sum(tensor.numel() for tensor in read_tensors(path).values()) / 1e6:.2f}"


def _start(training: Mapping[str, Any]) -> str:
    """``from `deepjscc`'s weights (24 epochs, seed 0), then``, of a training that started from another."""
    start = training.get("warm_start")
    if not start:
        return ""
    before = f" ({_start(start)}{start['epochs']} epochs, seed {start['seed']})" if "epochs" in start else ""
    return f"from `{start['scheme']}`'s weights{before}, then "


def _part(part: Any) -> str:
    """A stage or an objective: ``laplace (epsilon=20)``."""
    name, options = named("part", part)
    shown = ", ".join(f"{k}={_shown(v)}" for k, v in options.items() if v is not None)
    return f"`{name}` ({shown})" if shown else f"`{name}`"


def _shown(value: Any) -> str:
    """A plain value, its floats in four digits."""
    if isinstance(value, list):
        return f"[{', '.join(map(_shown, value))}]"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _range(valid_snr_db: Sequence[float]) -> str:
    low, high = valid_snr_db
    return f"{low:g} dB" if low == high else f"{low:g} to {high:g} dB"


def _snr(value: Any) -> str:
    return f"{value:g} dB" if isinstance(value, int | float) else f"{value} dB"


def _by_snr(table: Mapping[str, float], form: str) -> str:
    """``0 dB: 86.1%, 4 dB: ...``, in the order of the SNRs."""
    return ", ".join(f"{snr} dB: {form.format(value)}" for snr, value in _in_order(table).items())


def _of_each(by_snr: Mapping[str, Mapping[str, float]]) -> str:
    """``at 20 dB Smiling 88.0 % (AUC 95.0 %, plain 88.1 %), ...``, at the highest SNR; AUCs where there are any."""
    snr = max(by_snr, key=float)
    figures = by_snr[snr]
    names = [figure.removeprefix("infer_") for figure in figures if figure.startswith("infer_")]
    each = []
    for name in names:
        beside = {"AUC": figures.get(f"auc_{name}"), "plain": figures[f"plain_{name}"]}
        told = ", ".join(f"{what} {share:.1%}" for what, share in beside.items() if share is not None)
        each.append(f"{name} {figures[f'infer_{name}']:.1%} ({told})")
    return f"at {snr} dB {', '.join(each)}"


def _mark(index: int) -> str:
    return "abcdefghijklmnopqrstuvwxyz"[index]


def _threat(plain: Mapping[str, Any]) -> str:
    return str(ThreatModel(**plain))


FILTERS: dict[str, Callable[..., Any]] = {
    function.__name__.removeprefix("_"): function
    for function in (
        *(_part, _millions, _start, _range, _snr, _by_snr, _of_each, _mark),
        *(_in_order, _kinds, _threats, _threat, _got, _psnrs, leak_title),
    )
}
"""What the template writes figures with."""


if __name__ == "__main__":
    write_text("docs/zoo.md", render())
