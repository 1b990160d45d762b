"""Closed forms of communication theory, against which measurements are held."""

from __future__ import annotations

import math


def theoretical_ser(num_points: int, snr_db: float) -> float:
    """The symbol error rate of square M-QAM over AWGN with minimum-distance decisions.

    ``SER = 1 - (1 - P)^2`` with ``P = 2 (1 - 1/sqrt(M)) Q(sqrt(3 (Es/N0) / (M - 1)))``, the error rate of each of the
    two PAMs (Proakis, Digital Communications, section 4.3).
    """
    argument = math.sqrt(3.0 * 10.0 ** (snr_db / 10.0) / (num_points - 1))
    # Q(x) = erfc(x / sqrt(2)) / 2
    axis = (1.0 - 1.0 / math.sqrt(num_points)) * math.erfc(argument / math.sqrt(2.0))
    return axis * (2.0 - axis)


def rayleigh_diversity_ber(branches: int, snr_db: float) -> float:
    """The bit error rate of QPSK with Gray labels over so many independent Rayleigh branches, maximum-ratio combined.

    ``((1 - mu) / 2)^L sum_l C(L - 1 + l, l) ((1 + mu) / 2)^l`` with ``mu = sqrt(g / (1 + g))``, g the mean SNR per bit
    and branch (Tse and Viswanath, Fundamentals of Wireless Communication, eq. 3.37; Proakis, section 13.4).
    """
    g = 10.0 ** (snr_db / 10.0) / 2.0
    mu = math.sqrt(g / (1.0 + g))
    tail = sum(math.comb(branches - 1 + k, k) * ((1.0 + mu) / 2.0) ** k for k in range(branches))
    return ((1.0 - mu) / 2.0) ** branches * tail
