"""A stranger's data set: grey digits of 28x28 pixels."""

import numpy as np

import tosc_env

FONT = "75557 26227 71747 71717 55711 74717 74757 71111 75757 75717"  # five rows of three pixels, as octal digits
GLYPHS = np.array([[[int(row) >> k & 1 for k in (2, 1, 0)] for row in digit] for digit in FONT.split()])


def load_digits(split="train", num_images=1000):
    random = np.random.default_rng(["train", "test"].index(split))
    labels = random.permutation(num_images) % 10
    images = random.integers(0, 60, (num_images, 1, 28, 28), dtype=np.uint8)
    for image, label, (y, x) in zip(
        images, labels, random.integers(0, (4, 14), (num_images, 2)), strict=True
    ):
        image[0, y : y + 25, x : x + 15] += np.kron(GLYPHS[label], np.full((5, 5), 180)).astype(np.uint8)
    training = None if split == "train" else lambda: load_digits("train", num_images).statistics
    return tosc_env.Source.from_arrays(images, labels, name="digits", split=split, training=training)


load_digits.terms = "Digits: drawn by their package; CC0."
