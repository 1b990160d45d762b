"""The zoo's cards as one page of Markdown, written from the files and never by hand.

python -m tosc_agents.zoo.cards, in a checkout
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tosc_agents.leaks import LEAKS, CardLeaks
from tosc_agents.records import write_text
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
attributes (in brackets, what chance gives).  The attackers that ship are for playing against, and seldom the strongest.
"""


def render(folder: Path = WEIGHTS) -> str:
    """The page, for all checkpoints in a folder."""
    headers = {path: read_header(path) for path in sorted(folder.glob("*.safetensors"))}
    size = sum(path.stat().st_size for path in headers)
    lines = [
        INTRODUCTION.format(
            files=len(headers), size=size / 1e6, limit=ZOO_LIMIT / 1e6, parameters=ATTACKER_LIMIT / 1e6
        ),
    ]
    groups: dict[tuple[str, str], dict[Path, Header]] = {}
    for path, header in headers.items():
        shape = "x".join(map(str, header["spec"]["image_shape"]))
        groups.setdefault((header["card"]["data"]["name"], shape), {})[path] = header
    for (name, shape), group in groups.items():
        lines += ["", f"## {name}, {shape}", "", f"Terms: {data_set(name).terms}"]
        for path, header in group.items():
            if header["kind"] == "scheme":
                lines += ["", f"### {path.stem}", "", *_scheme(path, header)]
        attackers = {path: header for path, header in group.items() if header["kind"] == "eavesdropper"}
        if attackers:
            lines += ["", f"### Attackers on {name}, {shape}", "", *_attackers(attackers)]
    return "\n".join(lines) + "\n"


def _scheme(path: Path, header: Header) -> list[str]:
    card, spec, training = header["card"], header["spec"], header["card"]["training"]
    setting, loop = card["setting"], training["loop"]
    half = f" ({training['half']}'s half)" if training.get("half") else ""
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
        f"batch {loop['batch_size']}, {training['precision_used']}"
        + f"; for {', '.join(map(_part, training['objectives']))}"
        + (f"; frozen: {', '.join(training['frozen'])}" if training.get("frozen") else ""),
        "accuracy": f"{_by_snr(card['test_accuracy'], _percent)} ({card['test_images']:,} test images)",
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
    rows = []
    for name in names:
        told = {"psnr_db": "PSNR", "reid": "re-identification"}.get(name, f"inference of {name}")
        cells = (_leak(by_leak.get(name), threats) for by_leak in leaks.values())
        rows.append([told, *cells])
    return [
        *_table(["leak", *(f"{snr} dB" for snr in leaks)], rows),
        "",
        *(f"Threat model ({_mark(i)}): {threat}." for i, threat in enumerate(threats)),
    ]


def _leak(best: Mapping[str, Any] | None, threats: Sequence[str]) -> str:
    if best is None:
        return ""
    several = f", mean of {best['mean_of_trainings']} trainings" if "mean_of_trainings" in best else ""
    by = f"by `{best['attacker']}` ({_mark(threats.index(best['threat_model']))}{several})"
    if "above_floor" in best:
        return f"{best['value']:.2f} dB ({best['above_floor']:+.2f}) {by}"
    chance = f" ({_percent(best['chance'])})" if "chance" in best else ""
    return f"{_percent(best['value'])}{chance} {by}"


def _attackers(headers: Mapping[Path, Header]) -> list[str]:
    rows, threats = [], []
    for path, header in headers.items():
        card, training = header["card"], header["card"]["training"]
        threat = str(ThreatModel(**training["threat_model"]))
        if threat not in threats:
            threats.append(threat)
        rows.append(
            [
                f"`{path.stem}`",
                f"`{header['name']}` against {_target(card)}",
                f"{_millions(path):.2f} M",
                str(training["fit"].get("epochs", "")),
                str(training["seed"]),
                _range(card),
                _by_snr({snr: row["psnr_db"] for snr, row in card["leaks"].items()}, "{:.2f}".format),
                f"{card['floors']['mean-image']['psnr_db']:.2f}",
                _mark(threats.index(threat)),
                f"`{card['commit']}`",
            ]
        )
    heading = [
        "file",
        "attacker",
        "values",
        "epochs",
        "seed",
        "for",
        "PSNR dB",
        "floor dB",
        "threat",
        "commit",
    ]
    data = {h["card"]["data"]["provenance"]: h["card"]["data"]["images"] for h in headers.values()}
    return [
        *_table(heading, rows),
        "",
        *(f"Threat model ({_mark(i)}): {threat}.  " for i, threat in enumerate(threats)),
        *(f"Trained on {images:,} images of the attacker's half. {told}" for told, images in data.items()),
    ]


def _millions(path: Path) -> float:
    """How many values the weights are."""
    return sum(tensor.numel() for tensor in read_tensors(path).values()) / 1e6


def _start(training: Mapping[str, Any]) -> str:
    start = training.get("warm_start")
    if not start:
        return ""
    if "epochs" not in start:
        return f"from `{start['scheme']}`'s weights, then "
    return f"from `{start['scheme']}`'s weights ({_start(start)}{start['epochs']} epochs, seed {start['seed']}), then "


def _target(card: Mapping[str, Any]) -> str:
    """What an attacker was trained against: its name, and all its stages."""
    stages = ", ".join(map(_part, card["composition"]["stages"]))
    return f"`{card['against']}`{f' with {stages}' if stages else ''}"


def _part(part: Any) -> str:
    """A stage or an objective: ``laplace (epsilon=20)``."""
    name, options = named("part", part)
    told = ", ".join(f"{k}={_shown(v)}" for k, v in options.items() if v is not None)
    return f"`{name}` ({told})" if told else f"`{name}`"


def _shown(value: Any) -> str:
    """A plain value, its floats in four digits."""
    if isinstance(value, list):
        return f"[{', '.join(map(_shown, value))}]"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _calibrated(told: Mapping[str, Any]) -> str:
    found = ", ".join(f"{_percent(value)} at {budget}" for budget, value in told["accuracy"].items())
    rival = f", {told['points']:g} points under `{told['rival']}`," if told.get("rival") else ""
    return (
        f"constant {told['constant']:.4g}, fitted so that epsilon {told['fitted_at']:g} reaches "
        f"{_percent(told['target'])}{rival} on {told['on']}; accuracies by epsilon: {found}"
    )


def _range(card: Mapping[str, Any]) -> str:
    low, high = card["valid_snr_db"]
    return f"{low:g} dB" if low == high else f"{low:g} to {high:g} dB"


def _snr(value: Any) -> str:
    return f"{value:g} dB" if isinstance(value, int | float) else f"{value} dB"


def _by_snr(table: Mapping[str, Any], show: Any) -> str:
    """``0 dB: 86.1%, 4 dB: ...``, in the order of the SNRs."""
    ordered = sorted(table.items(), key=lambda item: float(item[0]))
    return ", ".join(f"{snr} dB: {show(value)}" for snr, value in ordered)


def _percent(share: float) -> str:
    return f"{share:.1%}"


def _mark(index: int) -> str:
    return "abcdefghijklmnopqrstuvwxyz"[index]


def _table(heading: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [list(heading), ["---"] * len(heading), *map(list, rows)]
    return ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines]


if __name__ == "__main__":
    write_text("docs/zoo.md", render())
