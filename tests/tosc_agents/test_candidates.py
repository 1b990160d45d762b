"""What attackers remember of candidates that were encoded for them."""

from __future__ import annotations

import torch
from links import seeded as g
from refusals import refused
from tosc_agents.eavesdroppers.candidates import REMEMBERED, Remembered


def test_a_set_is_encoded_once_as_often_as_it_is_asked_for_and_known_by_its_content():
    asked = []

    def encode(images):
        asked.append(len(images))
        return images.flatten(1) + len(asked)

    memory, images = Remembered(), torch.rand(600, 1, 2, 2, generator=g())
    first = memory.symbols("it", images, encode, 3)
    assert first.shape == (3, 600, 4) and asked == [500, 100] * 3
    assert memory.symbols("it", images.clone(), encode, 3) is first and len(asked) == 6
    images[0] += 0.01  # in place: another set, though at the same address
    assert memory.symbols("it", images, encode, 3) is not first and len(asked) == 12
    memory.clear()
    assert len(memory) == 0


def test_what_is_remembered_is_bounded_and_the_last_are_kept():
    memory, sets = Remembered(), torch.rand(REMEMBERED + 1, 2, 1, 2, 2, generator=g())
    answers = [memory.symbols("it", images, lambda part: part.flatten(1), 1) for images in sets]
    assert len(memory) == REMEMBERED
    again = [memory.symbols("it", images, lambda part: part.flatten(1), 1) for images in (sets[-1], sets[0])]
    assert again[0] is answers[-1] and again[1] is not answers[0]


def test_without_an_encoder_there_is_nothing_to_remember():
    with refused("'it' fit it"):
        Remembered().symbols("it", torch.rand(2, 1, 2, 2), None, 1)
