"""The article's printed figures, as constants: Guo, Zhang, Wang, Feng, Quek, arXiv 2408.04188 (IEEE Wireless
Communications 2024). Its curves over the SNR have no printed numbers and are not here.
"""

from __future__ import annotations

import pandas as pd

SNR_DB: tuple[float, ...] = (0.0, 4.0, 8.0, 12.0, 16.0, 20.0)
"""Where it tests, in dB."""

TRAINING_SNR_DB = 12.0
"""Where it trains, in dB."""

ATTRIBUTES: tuple[str, ...] = ("Mustache", "Smiling", "Wavy_Hair")
"""The tasks of its CelebA table, each recognised by itself."""

COMPLEXITY = pd.DataFrame(
    {
        "DeepJSCC": (0.085, 3.19, 8.23, 0.002),
        "DP": (0.085, 3.19, 8.93, 0.002),
        "Encryption": (0.085, 3.19, 8.79, 0.002),
        "IBAL": (0.382, 10.91, 32.5, 0.002),
        "LBVQ": (0.477, 12.61, 37.30, 0.004),
    },
    index=["gflops", "mparameters", "seconds_per_epoch", "seconds_per_image"],
)
"""The complexity table (CIFAR-10); one column serves all budgets of DP.

GFLOPs are most likely multiply-accumulates, since the group's tool counts those; parameters, in 10^6, of inference and
training are not told apart; seconds are those of the authors' unnamed machine, of inference one image at a time.
"""

CELEBA = pd.DataFrame(
    {
        "DP-0.05": (73.3, 66.8, 69.6),
        "DP-0.1": (75.5, 66.7, 70.7),
        "DP-0.9": (76.5, 68.3, 70.8),
        "Encryption": (77.8, 65.7, 72.6),
        "IBAL": (76.7, 69.9, 71.7),
        "LBVQ": (85.0, 80.6, 79.4),
    },
    index=list(ATTRIBUTES),
)
"""The CelebA table: top-1 accuracy in percent, by scheme and attribute.

Mustache is about 4 % positive, where a constant guess scores 96 %: these figures need a balanced test set, which the
article does not mention.
"""
