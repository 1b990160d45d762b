"""Play a stage for four antennas, and colluding eavesdroppers, all by name; print the figures as JSON."""

from __future__ import annotations

import json
import warnings

import gymnasium as gym
import torch

import tosc_env
from tosc_env.exchange import rollout

FOUR = {"channel": "rayleigh", "snr_db": 0.0, "transmit_antennas": 4, "transmitter_csi": ["receiver"]}


def labels_read(stages=(), colluding=False, **rules):
    """The shares of labels that the receiver reads, and the eavesdroppers with the receiver's own decoder."""
    game = tosc_env.GameConfig("shapes", **rules).game(split="test")
    scheme = tosc_env.load_scheme("deepjscc", "ToSC-Shapes-v0", stages=stages)
    stream = torch.Generator().manual_seed(0)
    index = torch.arange(1000)
    exchange = next(rollout(game, scheme, generator=stream, index=index, batch_size=1000))
    heard = exchange.observed(tosc_env.ThreatModel(colluding=colluding))
    right = exchange.round.targets
    with torch.no_grad():
        theirs = scheme.decode(heard.received, heard.csi, exchange.context).argmax(1)
    ours = exchange.logits().argmax(1)
    return [round(float((answer == right).float().mean()), 3) for answer in (ours, theirs)]


def main() -> None:
    found = {"one antenna": labels_read(channel="rayleigh", snr_db=0.0)}
    for share in (0.0, 0.3, 0.6):
        stage = [{"name": "artificial-noise", "share": share}]
        found[f"four antennas, {share:g} noise"] = labels_read(stages=stage, **FOUR)
    for count in (1, 2, 4):
        nodes = tosc_env.wiretap(count, snr_db=-10.0)
        found[f"{count} at -10 dB"] = labels_read(colluding=count > 1, nodes=nodes)
    alone = (tosc_env.Node("receiver"), tosc_env.Node("eve", antennas=4, snr_db=-10.0, adversary=True))
    found["one with four antennas at -10 dB"] = labels_read(nodes=alone)

    # The same stage in an environment, an evaluation and an attack.
    from tosc_agents import evaluate, fit_eavesdropper

    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # no zoo has an attacker of this, and the weights were trained over AWGN
        env = gym.make_vec(
            "ToSC-Shapes-v0", num_envs=64, role="receiver", stages=["artificial-noise"], split="test", **FOUR
        )
    env.reset(seed=0)
    _, reward, _, _, info = env.step(torch.zeros(64, dtype=torch.int64))
    found["environment"] = [round(float(reward.mean()), 3), round(float(info["psnr_db"].mean()), 3)]
    scheme = tosc_env.load_scheme("deepjscc", "ToSC-Shapes-v0", stages=["artificial-noise"])
    config = tosc_env.GameConfig("shapes", data_kwargs={"num_images": 800}, **FOUR)
    attacker, _ = fit_eavesdropper("linear", config.game(half="attacker"), scheme)
    result = evaluate(config.game(split="test"), scheme, {"linear": attacker}, snr_db=[0.0], seeds=1)
    found["evaluation"] = [result.accuracy[0.0].mean, result.leaks["linear"][0.0]["psnr_db"].mean]
    print(json.dumps(found))


if __name__ == "__main__":
    main()
