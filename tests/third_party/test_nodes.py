"""Artificial noise and colluding eavesdroppers, from a stranger's package and by name.

Law: nothing in tosc_env knows of them.

Labels are read with the receiver's own decoder, from 1,000 Shapes images; deepjscc was trained over AWGN.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from strangers import interpreter

HERE = Path(__file__).parent / "nodes"
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = tmp_path_factory.mktemp("nodes")
    python = interpreter([HERE / "tosc_artificial_noise"], tmp_path_factory.mktemp("nodes-site"), folder)
    return json.loads(python(str(HERE / "play.py")))


def test_four_antennas_serve_the_receiver_and_noise_in_its_null_space_hurts_the_eavesdropper_alone(found):
    one = found["one antenna"]
    assert abs(one[0] - one[1]) < 0.04  # the same channel, the same decoder
    receiver, eavesdropper = zip(
        *(found[f"four antennas, {share} noise"] for share in ("0", "0.3", "0.6")), strict=True
    )
    assert min(receiver) > 0.97 > 0.93 > one[0]
    assert eavesdropper[0] > eavesdropper[1] + 0.02 > eavesdropper[2] + 0.05
    assert abs(eavesdropper[0] - one[1]) < 0.05  # precoding for somebody else is no help


def test_colluding_eavesdroppers_read_what_one_cannot(found):
    one, two, four = (found[f"{count} at -10 dB"][1] for count in (1, 2, 4))
    assert one < 0.85 and two - one > 0.08 and four - two > 0.03 and four > 0.96
    assert abs(found["one with four antennas at -10 dB"][1] - four) < 0.02


def test_a_stage_on_waves_plays_is_attacked_and_evaluated_by_name(found):
    accuracy, psnr = found["evaluation"]
    assert accuracy > 0.95 and 5.0 < psnr < 30.0
    assert -1.0 <= found["environment"][0] <= 2.0
