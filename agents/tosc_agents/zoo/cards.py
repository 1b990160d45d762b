"""The zoo's cards as one page of Markdown, written from the files and never by hand.

python -m tosc_agents.zoo.cards, in a checkout
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tosc_agents.leaks import LEAKS, CardLeaks, leak_title
from tosc_agents.records import markdown_table, write_text
from tosc_agents.zoo import WEIGHTS
from tosc_agents.zoo.pack import ATTACKER_LIMIT, ZOO_LIMIT
from tosc_env.data import data_set
from tosc_env.io.checkpoint_files import read_header, read_tensors
from tosc_env.privacy.threat import ThreatModel
from tosc_env.schemes import named

Header = dict[str, Any]

INTRODUCTION = """# Trained weights

<!-- Written by `python -m tosc_agents.zoo.cards` from the cards beside the weights; a test compares the two. -->

`gym.make(..., scheme=..., eavesdropper=...)` plays with these weights by name; the card of `NAME.safetensors` is
`NAME.json` beside it.  {files} weight files, {size:.1f} MB of at most {limit:.0f} MB, float16, measured again after
rounding; an attacker has at most {parameters:.0f} M parameters.  `encryption` and `label-only` play with `deepjscc`'s
weights, `layered` with those of `lbvq`.  On an id's stand-in (Shapes), an environment plays with weights of the
stand-in.

SNR is Es/N0 per complex symbol.  A *leak* is what the strongest of the attackers tried got: PSNR in dB (in brackets,
how far above the mean image's), re-identification among candidate images, inference of the label or of private
attributes (in brackets, what chance gives).  The strongest is told on the test images, which can only overstate a leak.
The attackers that ship are for playing against, and seldom the strongest.  What is proven of noise holds towards those
who do not know its seed.
"""


def render(folder: Path = WEIGHTS) -> str:
    """The page, for all checkpoints in a folder."""
    headers = {path: read_header(path) for path in sorted(folder.glob("*.safetensors"))}
    size, limit = sum(path.stat().st_size for path in headers) / 1e6, ZOO_LIMIT / 1e6
    lines = [INTRODUCTION.format(files=len(headers), size=size, limit=limit, parameters=ATTACKER_LIMIT / 1e6)]
    groups: dict[str, dict[Path, Header]] = {}
    for path, header in headers.items():
        name, shape = header["card"]["data"]["name"], "x".join(map(str, header["spec"]["image_shape"]))
        groups.setdefault(f"{name}, {shape}", {})[path] = header
    for title, group in groups.items():
        lines += ["", f"## {title}", "", f"Terms: {data_set(title.partition(',')[0]).terms}"]
        for path, header in group.items():
            if header["kind"] == "scheme":
                lines += ["", f"### {path.stem}", "", *_scheme(path, header)]
        attackers = {path: header for path, header in group.items() if header["kind"] == "eavesdropper"}
        if attackers:
            lines += ["", f"### Attackers on {title}", "", *_attackers(attackers)]
    return "\n".join(lines) + "\n"


def _scheme(path: Path, header: Header) -> list[str]:
    card, spec, training = header["card"], header["spec"], header["card"]["training"]
    setting, loop = card["setting"], training["loop"]
    half = f" ({training['half']}'s half)" if training.get("half") else ""
    frozen = f"; frozen: {', '.join(training['frozen'])}" if training.get("frozen") else ""
    options = ", ".join(f"{key}={value}" for key, value in header["options"].items())
    facts = {
        "scheme": f"`{header['name']}` ({options}){''.join(f' + {_part(one)}' for one in header['stages'])}",
        "weights": f"{_millions(path):.2f} M values, {path.stat().st_size / 1e6:.1f} MB",
        "cost": f"{card['complexity']['parameters'] / 1e6:.2f} M parameters in use, "
        f"{card['complexity']['macs'] / 1e6:.1f} M multiply-accumulates per image",
        "data": f"{card['data']['images']:,} training images{half}. {card['data']['provenance']}",
        "task": f"{setting['task']}: {', '.join(card['labels'])}",
        "channel": f"{setting['channel']}, {spec['num_symbols']} channel uses, trained at {_snr(setting['snr_db'])}, "
        f"offered for {_range(card)}",
        "training": f"{_start(training)}{loop['epochs']} epochs, seed {training['seed']}; {loop['optimizer']}, "
        f"batch {loop['batch_size']}, {training['precision_used']}; for "
        f"{', '.join(map(_part, training['objectives']))}{frozen}",
        card.get(
            "measure", "accuracy"
        ): f"{_by_snr(card['test_accuracy'], '{:.1%}')} ({card['test_images']:,} test images)",
        **({"of each": _answers(card["test_answers"])} if "test_answers" in card else {}),
        "proven of its privacy": card.get("guarantee") or "nothing",
        **({"calibrated": _calibrated(card["calibration"])} if "calibration" in card else {}),
        "code": f"commit `{card['commit']}`, torch {card['torch']}",
    }
    lines = [f"* **{name}**: {fact}" for name, fact in facts.items()]
    return [*lines, "", *_leaks(card.get("leaks", {}))]


def _leaks(leaks: CardLeaks) -> list[str]:
    """A row for each leak, a column for each SNR, and the threat models beneath."""
    if not leaks:
        return ["Leaks: not measured on these weights."]
    leaks = dict(sorted(leaks.items(), key=lambda item: float(item[0])))
    there = {leak for by_leak in leaks.values() for leak in by_leak}
    names = [leak for leak in LEAKS if leak in there] + sorted(there - LEAKS.keys())
    threats = list(dict.fromkeys(best["threat_model"] for by in leaks.values() for best in by.values()))
    rows = [
        [leak_title(name), *(_leak(by_leak.get(name), threats) for by_leak in leaks.values())]
        for name in names
    ]
    return [*markdown_table(["leak", *(f"{snr} dB" for snr in leaks)], rows), *_threat_models(threats)]


def _leak(best: Mapping[str, Any] | None, threats: Sequence[str]) -> str:
    if best is None:
        return ""
    several = f", mean of {best['mean_of_trainings']} trainings" if "mean_of_trainings" in best else ""
    by = f"by `{best['attacker']}` ({_mark(threats.index(best['threat_model']))}{several})"
    if "above_floor" in best:
        return f"{best['value']:.2f} dB ({best['above_floor']:+.2f}) {by}"
    chance = f" ({best['chance']:.1%})" if "chance" in best else ""
    return f"{best['value']:.1%}{chance} {by}"


def _attackers(headers: Mapping[Path, Header]) -> list[str]:
    trainings = [header["card"]["training"] for header in headers.values()]
    threats = list(dict.fromkeys(str(ThreatModel(**one["threat_model"])) for one in trainings))
    rows = []
    for path, header in headers.items():
        card, training = header["card"], header["card"]["training"]
        stages = ", ".join(map(_part, card["composition"]["stages"]))
        target = f"`{card['against']}`{f' with {stages}' if stages else ''}"
        row = {
            "file": f"`{path.stem}`",
            "attacker": f"`{header['name']}` against {target}",
            "values": f"{_millions(path):.2f} M",
            "steps": str(training["fit"].get("steps", "")),
            "seed": str(training["seed"]),
            "for": _range(card),
            "PSNR dB": _by_snr({snr: leak["psnr_db"] for snr, leak in card["leaks"].items()}, "{:.2f}"),
            "floor dB": f"{card['floors']['mean-image']['psnr_db']:.2f}",
            "threat": _mark(threats.index(str(ThreatModel(**training["threat_model"])))),
            "commit": f"`{card['commit']}`",
        }
        rows.append(row)
    data = {h["card"]["data"]["provenance"]: h["card"]["data"]["images"] for h in headers.values()}
    return [
        *markdown_table(list(rows[0]), [list(row.values()) for row in rows]),
        *_threat_models(threats),
        *(
            f"Trained on {images:,} images of the attacker's half. {origin}"
            for origin, images in data.items()
        ),
    ]


def _threat_models(threats: Sequence[str]) -> list[str]:
    return ["", *(f"Threat model ({_mark(i)}): {threat}.  " for i, threat in enumerate(threats))]


def _millions(path: Path) -> float:
    """Millions of values that the weights are."""
    return sum(tensor.numel() for tensor in read_tensors(path).values()) / 1e6


def _start(training: Mapping[str, Any]) -> str:
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


def _calibrated(fit: Mapping[str, Any]) -> str:
    found = ", ".join(f"{value:.1%} at {budget}" for budget, value in fit["accuracy"].items())
    rival = f", {fit['points']:g} points under `{fit['rival']}`," if fit.get("rival") else ""
    return (
        f"constant {fit['constant']:.4g}, fitted so that epsilon {fit['fitted_at']:g} reaches "
        f"{fit['target']:.1%}{rival} on {fit['on']}; accuracies by epsilon: {found}"
    )


def _range(card: Mapping[str, Any]) -> str:
    low, high = card["valid_snr_db"]
    return f"{low:g} dB" if low == high else f"{low:g} to {high:g} dB"


def _snr(value: Any) -> str:
    return f"{value:g} dB" if isinstance(value, int | float) else f"{value} dB"


def _by_snr(table: Mapping[str, float], form: str) -> str:
    """``0 dB: 86.1%, 4 dB: ...``, in the order of the SNRs."""
    ordered = sorted(table.items(), key=lambda item: float(item[0]))
    return ", ".join(f"{snr} dB: {form.format(value)}" for snr, value in ordered)


def _answers(by_snr: Mapping[str, Mapping[str, float]]) -> str:
    """``at 20 dB Smiling 88.0 % (plain 88.1 %), ...``, at the highest SNR."""
    snr = max(by_snr, key=float)
    figures = by_snr[snr]
    names = [figure.removeprefix("infer_") for figure in figures if figure.startswith("infer_")]
    each = (f"{name} {figures[f'infer_{name}']:.1%} (plain {figures[f'plain_{name}']:.1%})" for name in names)
    return f"at {snr} dB {', '.join(each)}"


def _mark(index: int) -> str:
    return "abcdefghijklmnopqrstuvwxyz"[index]


if __name__ == "__main__":
    write_text("docs/zoo.md", render())
