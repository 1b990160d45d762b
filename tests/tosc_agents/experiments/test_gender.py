"""A classifier of images learns an attribute that is there, resumes, and is asked about fixed images."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tosc_agents.experiments.fig4 import Classifier, ClassifierTraining, shown
from tosc_agents.learning.state import save_state

from tosc_env.data import make_source

TINY = ClassifierTraining(
    epochs=4, batch_size=25, learning_rate=1e-2, flip=False, pad=0, stem=4, widths=(8, 8)
)


def brightness(count=400):
    """Images that are dark or bright, with noise."""
    g = torch.Generator().manual_seed(0)
    truth = torch.randint(2, (count,), generator=g)
    return 0.5 * torch.rand(count, 3, 8, 8, generator=g) + 0.4 * truth[:, None, None, None], truth


def fitted(epochs=4, path=None, stop=None):
    images, truth = brightness()
    config = replace(TINY, epochs=epochs)
    classifier = Classifier(3, config)

    def progress(done, total, figures):
        if done == stop:
            raise KeyboardInterrupt

    generator = torch.Generator().manual_seed(0)
    classifier.fit(lambda i: images[i], truth, generator, state_path=path, progress=progress)
    return classifier


def test_it_learns_what_is_there_and_nothing_where_nothing_is():
    images, truth = brightness()
    classifier = fitted()
    assert min(classifier.accuracies(images[:200], truth[:200]).values()) > 0.95
    nothing = classifier.accuracies(torch.full_like(images, 0.5), truth)
    share = float(truth.float().mean())
    assert nothing["balanced"] == 0.5 and min(abs(nothing["gender"] - s) for s in (share, 1 - share)) < 1e-6
    assert len(classifier.decide(torch.full_like(images, 0.5)).unique()) == 1


def test_a_rare_value_is_as_good_an_answer_as_a_frequent_one():
    """Law: where images say nothing, the logits favour neither value, however rare one is: their loss has no slope."""
    truth = (torch.arange(400) % 10 == 0).long()
    images = torch.full((400, 3, 8, 8), 0.5)
    classifier = Classifier(3, replace(TINY, epochs=10, batch_size=400))
    classifier.fit(lambda i: images[i], truth, torch.Generator().manual_seed(0))
    gap = classifier.network(images[:1]).float().diff()
    assert abs(float(gap.detach())) < 0.3  # where it would be the logarithm of 1/9 without the prior, -2.2


def test_a_stopped_training_ends_as_one_that_was_not(tmp_path):
    path = tmp_path / "classifier.run"
    with pytest.raises(KeyboardInterrupt):
        fitted(path=path, stop=48)  # 16 steps an epoch: stopped in the third
    resumed, whole = fitted(path=path), fitted()
    states = resumed.network.state_dict(), whole.network.state_dict()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_saved_weights_decide_as_before(tmp_path):
    images, _ = brightness()
    classifier = fitted(1)
    save_state(tmp_path / "c.safetensors", {"network": classifier.network.state_dict()})
    again = Classifier(3, TINY).load(tmp_path / "c.safetensors")
    assert torch.equal(again.network(images[:9]), classifier.network(images[:9]))


def test_the_images_shown_are_the_first_of_each_value_in_turn():
    source = make_source("shapes", split="test", num_images=60, size=16)
    truth = source.attributes[:, source.attribute_names.index("size")]
    index = shown(truth, 8)
    assert truth[index].tolist() == [0, 1, 2, 0, 1, 2, 0, 1]
    for value in range(3):
        firsts = (truth == value).nonzero().flatten()[: int((truth[index] == value).sum())]
        assert index[truth[index] == value].tolist() == firsts.tolist()
