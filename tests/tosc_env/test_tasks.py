"""Tasks: targets, decisions, scores, losses and action spaces fit together."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from gymnasium import spaces
from refusals import refused

from tosc_env.data import Source, make_source
from tosc_env.tasks import make_task


@pytest.fixture(scope="module")
def shapes():
    return make_source("shapes", num_images=40)


@pytest.fixture(scope="module")
def faces():
    return make_source("shapes", num_images=40, binary_attributes=["Smiling", "Male", "Young"])


def tasks(shapes, faces):
    return {
        "classes": (make_task("classification", shapes), shapes),
        "colour": (make_task("attributes", shapes, names="colour"), shapes),
        "one bit": (make_task("attributes", faces, names=["Male"]), faces),
        "bits": (make_task("attributes", faces, names=["Young", "Smiling"]), faces),
    }


@pytest.mark.parametrize(("name", "outputs"), [("classes", 10), ("colour", 8), ("one bit", 2), ("bits", 2)])
def test_confident_right_logits_score_one_and_wrong_ones_zero(shapes, faces, name, outputs):
    task, source = tasks(shapes, faces)[name]
    batch = source.gather(torch.arange(12))
    targets = task.targets(batch)
    assert task.num_outputs == outputs and len(task.labels) == outputs
    if name == "bits":
        right = targets * 20.0 - 10.0
        wrong = -right
    else:
        right = F.one_hot(targets, outputs) * 20.0
        wrong = right.roll(1, dims=1)
    assert torch.equal(task.decide(right), targets)
    assert torch.equal(task.score(task.decide(right), targets), torch.ones(12))
    assert torch.equal(task.score(task.decide(wrong), targets), torch.zeros(12))
    assert float(task.loss(right, targets)) < 1e-3 < float(task.loss(wrong, targets))
    space = task.space()
    for target in targets.numpy():
        assert space.contains(np.asarray(target, dtype=space.dtype))
    assert isinstance(task.describe(targets[0]), str) and 0 < task.chance < 1


def test_the_targets_are_the_columns_asked_for_in_the_order_asked_for(faces):
    task = make_task("attributes", faces, names=["Young", "Smiling"])
    batch = faces.gather(torch.arange(40))
    assert torch.equal(task.targets(batch), batch.attributes[:, [2, 0]])
    assert task.space() == spaces.MultiBinary(2)
    assert task.describe(torch.tensor([1, 0])) == "Young" and task.describe(torch.tensor([0, 0])) == "none"


def test_the_score_of_several_attributes_is_the_fraction_that_is_right(faces):
    task = make_task("attributes", faces, names=["Young", "Smiling"])
    score = task.score(torch.tensor([[1, 0], [1, 1]]), torch.tensor([[1, 1], [1, 1]]))
    assert score.tolist() == [0.5, 1.0]


def test_losses_are_those_of_torch_with_and_without_smoothing(shapes, faces):
    g = torch.Generator().manual_seed(0)
    logits, targets = torch.randn(6, 10, generator=g), torch.arange(6)
    task = make_task("classification", shapes)
    assert torch.allclose(task.loss(logits, targets, label_smoothing=0.1),
                          F.cross_entropy(logits, targets, label_smoothing=0.1))  # fmt: skip
    bits = make_task("attributes", faces, names=["Young", "Smiling"])
    logits, targets = torch.randn(6, 2, generator=g), torch.tensor([[0, 1]] * 6)
    share = faces.attributes[:, [2, 0]].double().mean(0)
    expected = F.binary_cross_entropy_with_logits(
        logits + (share / (1 - share)).log().float(), targets * 0.8 + 0.1
    )
    assert torch.allclose(bits.loss(logits, targets, label_smoothing=0.2), expected)
    half = torch.zeros(2, 10, dtype=torch.bfloat16)
    assert task.loss(half, torch.tensor([0, 1])).dtype == torch.float32


@pytest.mark.parametrize("names", [["Male"], ["Young", "Smiling"]])
def test_attributes_of_any_frequency_are_learnt_as_if_all_values_were_equally_frequent(names):
    """The best that can be said of images without knowing them is not the most frequent value but neither: at logits
    of 0 the loss of all images together has no slope."""
    g = torch.Generator().manual_seed(3)
    values = (torch.rand(200, 3, generator=g) < torch.tensor([0.03, 0.3, 0.9])).long().numpy()
    images = np.zeros((200, 3, 8, 8), np.uint8)
    names_of = {"attribute_names": ["Male", "Young", "Smiling"]}
    source = Source.from_arrays(images, name="rare", attributes=values, **names_of)
    task = make_task("attributes", source, names=names)
    targets = task.targets(source.gather(torch.arange(200)))
    logits = torch.zeros(task.num_outputs, requires_grad=True)
    task.loss(logits.expand(200, -1), targets).backward()
    assert logits.grad.abs().max() < 1e-6
    assert task.measure == "balanced accuracy"
    always = torch.full_like(targets, 1)
    assert float(task.accuracy(always, targets)) == 0.5  # where the share of right answers is 3 or 60 %
    assert float(task.accuracy(targets, targets)) == 1.0
    assert list(task.answers(targets, targets)) == names


@pytest.mark.parametrize("names", [["Male"], ["Young", "Smiling"]])
def test_logits_of_answers_decide_as_the_task_does(names):
    g = torch.Generator().manual_seed(3)
    values = torch.randint(2, (50, 3), generator=g)
    images = np.zeros((50, 3, 8, 8), np.uint8)
    source = Source.from_arrays(
        images, name="faces", attributes=values, attribute_names=["Male", "Young", "Smiling"]
    )
    task = make_task("attributes", source, names=names)
    logits = torch.randn(50, task.num_outputs, generator=g)
    told = task.answer_logits(logits)
    assert list(told) == names and all(part.shape == (50, 2) for part in told.values())
    answers = task.answers(task.decide(logits), task.targets(source.gather(torch.arange(50))))
    for name, part in told.items():
        right, truth = answers[name]
        assert torch.equal(part.argmax(1) == truth, right)


def test_what_makes_no_task_is_refused(shapes):
    plain = Source.from_arrays(np.zeros((4, 3, 8, 8), np.uint8), name="plain")  # images without classes
    for source, name, options, words in (
        (shapes, "attributes", {"names": "color"}, "'color' 'colour'"),
        (shapes, "attributes", {"names": ["colour", "size"]}, "binary"),
        (shapes, "attributes", {"names": []}, "name"),
        (shapes, "attributes", {}, "'attributes' 'names'"),
        (shapes, "classify", {}, "'classify'"),
        (shapes, "classification", {"names": "colour"}, "'classification' 'names'"),
        (plain, "classification", {}, "2"),
    ):
        with refused(words):
            make_task(name, source, **options)
