"""Laws of every source: what is drawn, what is gathered, and what is refused when it is made."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from refusals import refused

from tosc_env.data import Source, compute_statistics, data_set, make_source, register_source, sources
from tosc_env.devices import resolve_device


def some_images(count: int = 9, channels: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, channels, 8, 8), dtype=np.uint8)


def a_source(count: int = 9, **options) -> Source:
    return Source.from_arrays(some_images(count), np.arange(count) % 3, name="mine", **options)


def test_gather_gives_the_images_in_unit_range_in_the_order_asked():
    source = a_source()
    index = torch.tensor([4, 0, 4])
    batch = source.gather(index)
    expected = torch.from_numpy(some_images())[index].float() / 255
    assert batch.images.dtype == torch.float32
    assert torch.equal(batch.images, expected)
    assert batch.labels.tolist() == [1, 0, 1]
    assert batch.attributes.shape == (3, 0)
    assert batch.index.tolist() == [4, 0, 4]


def test_a_batch_shares_no_memory_with_its_source():
    source = a_source()
    before = source.images.clone(), source.labels.clone()
    index = torch.arange(9)
    batch = source.gather(index)
    for tensor in (batch.images, batch.labels, batch.attributes, batch.index):
        tensor.fill_(7)
    assert torch.equal(source.images, before[0])
    assert torch.equal(source.labels, before[1])
    assert index.tolist() == list(range(9))


def test_nothing_that_is_written_anywhere_changes_a_source():
    """What follows from its images (remembered symbols, key streams, identities) would be that of others."""
    given, tensor = some_images(), torch.from_numpy(some_images(seed=1))
    views = given[:], torch.from_numpy(given), tensor.numpy()
    frozen = given[:]
    frozen.flags.writeable = False
    labels, columns = np.arange(9) % 3, np.arange(9)[:, None] % 2
    with torch.inference_mode():
        inside = Source.from_arrays(tensor, labels, name="inside")
    sources_ = [Source.from_arrays(given, labels, attributes=columns, name="mine"), inside]
    sources_ += [Source.from_arrays(frozen, labels, name="frozen"), make_source("shapes", num_images=9)]
    before = [[getattr(one, name) for name in ("images", "labels", "attributes")] for one in sources_]
    told = [(one.number, one.sha256) for one in sources_]
    for array in (*views, tensor, labels, columns):
        array[:] = 1
    for one in sources_:
        for handed in (one.images, one.labels, one.attributes):
            handed.numpy()[:] = 1
            handed.data.fill_(2)
            with torch.inference_mode():
                handed.fill_(3)
    after = [[getattr(one, name) for name in ("images", "labels", "attributes")] for one in sources_]
    assert all(
        torch.equal(old, new)
        for one, other in zip(before, after, strict=True)
        for old, new in zip(one, other, strict=True)
    )
    fresh = [Source.from_arrays(one.images, one.labels, name="again").number for one in sources_]
    assert fresh == [one.number for one in sources_] and told == [
        (one.number, one.sha256) for one in sources_
    ]


@pytest.mark.parametrize("name", ["images", "labels", "attributes", "name", "number", "sha256", "gather"])
def test_nothing_of_a_source_can_be_assigned(name):
    source = a_source()
    with pytest.raises(AttributeError):
        setattr(source, name, getattr(source, name))


def test_a_source_is_not_subclassed():
    """A ``gather`` of its own would give other images than those that its number and remembered symbols are of."""
    with refused("subclassed Augmented from_arrays SchemeTraining"):

        class Augmented(Source):  # type: ignore[misc]
            def gather(self, index):
                return super().gather(index)


def test_its_number_is_what_key_streams_were_always_made_from():
    images = np.arange(2 * 3 * 8 * 8, dtype=np.uint8).reshape(2, 3, 8, 8)
    assert Source.from_arrays(images, name="counted").number == 4970183953896441801


def test_draw_depends_on_the_generator_alone_and_is_uniform():
    source = a_source()
    torch.manual_seed(1)
    first = source.draw(20_000, torch.Generator().manual_seed(3))
    torch.manual_seed(2)
    assert torch.equal(first, source.draw(20_000, torch.Generator().manual_seed(3)))
    frequency = torch.bincount(first, minlength=9) / len(first)
    assert (frequency - 1 / 9).abs().max() < 5 * (1 / 9 / 20_000) ** 0.5


def test_halves_in_order_are_disjoint_and_make_up_the_whole():
    whole = a_source(halves="in-order")
    system, attacker = whole.take_half("system"), whole.take_half("attacker")
    assert (len(system), len(attacker)) == (4, 5)
    assert torch.equal(torch.cat([system.images, attacker.images]), whole.images)
    assert (system.half, attacker.half, whole.half) == ("system", "attacker", None)


def test_statistics_of_a_half_or_a_subset_are_those_of_the_whole_training_split():
    whole = a_source()
    for part in (whole.take_half("system"), whole.take_half("attacker"), whole.subset([0, 5])):
        assert part.statistics is whole.statistics
    test = Source.from_arrays(some_images(4, seed=5), [0, 1, 2, 0], name="mine", split="test", training=whole)
    assert test.statistics is whole.statistics


@pytest.mark.parametrize("count", [1, 256, 700])
def test_statistics_equal_their_definition(count):
    images = torch.from_numpy(some_images(count, seed=count))
    labels = torch.arange(count) % 2
    found = compute_statistics(images, labels, 3)
    pixels = images.double() / 255
    mean = pixels.mean(0)
    assert torch.allclose(found.mean_image.double(), mean, atol=1e-7)
    assert found.mean_image_mse == pytest.approx(float(((pixels - mean) ** 2).mean()), rel=1e-9, abs=1e-15)
    assert torch.allclose(found.class_mean_images[0].double(), pixels[labels == 0].mean(0), atol=1e-7)
    assert torch.equal(found.class_mean_images[2], found.mean_image)  # a class without images
    assert torch.allclose(found.channel_mean.double(), pixels.mean((0, 2, 3)), atol=1e-7)
    assert torch.allclose(found.channel_std.double(), pixels.std((0, 2, 3), correction=0), atol=1e-6)


def test_attributes_keep_their_names_and_values():
    columns = np.stack([np.arange(9) % 2, np.arange(9) % 4], axis=1)
    source = a_source(
        attributes=columns, attribute_names=["a", "b"], attribute_values=[("no", "yes"), ("n", "e", "s", "w")]
    )
    assert source.attribute_values[1][source.gather(torch.tensor([3])).attributes[0, 1]] == "w"
    assert a_source(attributes=columns).attribute_values == (("0", "1"), ("0", "1", "2", "3"))


def test_grey_read_only_images_without_labels_have_one_class_and_no_warning(recwarn):
    images = some_images(channels=1)
    images.flags.writeable = False
    source = Source.from_arrays(images, name="grey")
    assert (source.num_classes, source.image_shape, source.labels.tolist()) == (1, (1, 8, 8), [0] * 9)
    assert not recwarn.list


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"images": some_images().astype(np.float32)}, "uint8"),
        ({"images": some_images()[0]}, "[N, C, H, W]"),
        ({"images": some_images().transpose(0, 2, 3, 1)}, "channels"),
        ({"images": some_images()[:0]}, "empty"),
        ({"images": [[1]]}, "array [[1]]"),
        ({"labels": [0, 1]}, "[9]"),
        ({"labels": np.linspace(0, 1, 9)}, "integers"),
        ({"labels": [-1] * 9}, "-1"),
        ({"labels": [5] * 9, "class_names": ["a", "b"]}, "0..1"),
        ({"class_names": ["a", "a", "b"]}, "different"),
        ({"class_names": "abc"}, "list of strings"),
        ({"class_names": ["a", "b", "\x1b[2J"]}, "control characters"),
        ({"attributes": np.zeros(9, int)}, "[9, A]"),
        ({"attributes": np.zeros((9, 2), int), "attribute_names": ["one"]}, "2 attribute_names"),
        ({"attributes": np.full((9, 1), 2), "attribute_values": [("no", "yes")]}, "0..1"),
        ({"attribute_names": ["a"]}, "attributes"),
        ({"split": "dev"}, "'dev'"),
        ({"training": a_source().take_half(None), "images": some_images()[:, :, :4]}, "fit"),
    ],
)
def test_arrays_that_do_not_fit_are_refused_in_one_sentence(change, words):
    arguments = {"images": some_images(), "labels": np.arange(9) % 3, "name": "mine"} | change
    with refused(words):
        Source.from_arrays(**arguments)


def test_a_part_or_a_source_that_there_is_not_is_refused():
    for index in ([], [[0]], [9], [-1]):
        with refused("subset"):
            a_source().subset(index)
    with refused("already"):
        a_source().take_half("system").take_half("system")
    with refused("'cuda:99'"):
        resolve_device("cuda:99")
    for arguments, words in (
        ({"name": "cifar"}, "'cifar' 'cifar10'"),
        ({"split": "valid"}, "'train' 'test' 'valid'"),
        ({"split": 3}, "3"),
        ({"half": "mine"}, "'system' 'attacker' None 'mine'"),
        ({"half": "system", "split": "test"}, "test"),
        ({"colour": "red"}, "'colour' size, seed, num_images, binary_attributes"),
        ({"device": "gpu"}, "'gpu'"),
        ({"device": "meta"}, "meta"),
        ({"device": 0}, "0"),
    ):
        with refused(words):
            make_source(**({"name": "shapes"} | arguments))


@pytest.fixture
def own_registry(monkeypatch):
    monkeypatch.setattr(sources, "_table", dict(sources._table))


@pytest.mark.usefixtures("own_registry")
def test_a_registered_function_gets_halves_and_probing_for_free():
    @register_source("mine")
    def load(split="train", count=6):
        return a_source(count, split=split)

    load.is_available = lambda: False
    assert "mine" in sources
    assert len(make_source("mine", half="attacker", count=7)) == 4
    assert not data_set("mine").is_available()
    register_source("wrong")(lambda split="train": [])
    with refused("Source list"):
        make_source("wrong")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_source_works_the_same_on_a_gpu():
    here, there = a_source(), a_source().to("cuda")
    index = there.draw(5, torch.Generator("cuda").manual_seed(0))
    assert there.device == resolve_device("cuda") == index.device
    assert torch.equal(there.gather(index).images.cpu(), here.gather(index.cpu()).images)
    assert there.statistics.mean_image.device == there.device
