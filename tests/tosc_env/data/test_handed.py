"""Images handed over by users work, or are refused in one sentence that says what to do."""

from __future__ import annotations

import warnings

import gymnasium as gym
import numpy as np
import pytest
import torch
from PIL import Image

import tosc_env
from tosc_env.data import Source
from tosc_env.data.base import shuffled
from tosc_env.data.handed import as_source
from tosc_env.errors import DataError, InputError

IMAGES = np.random.default_rng(0).integers(0, 256, (8, 9, 13, 3), dtype=np.uint8)
LABELS = [0, 1, 2, 0, 1, 2, 0, 1]
WANTED = torch.from_numpy(IMAGES.transpose(0, 3, 1, 2).copy())


class Items(torch.utils.data.Dataset):
    """A data set of torch: items of any kind."""

    classes = ("a", "b", "c")

    def __init__(self, form):
        self.form = form

    def __len__(self):
        return len(IMAGES)

    def __getitem__(self, i):
        return self.form(i)


class Feature:
    """One column of Hugging Face's, as far as it is looked at."""

    def __init__(self, names=None):
        if names is not None:
            self.names = names


class Rows(Items):
    """A data set of Hugging Face: rows are dictionaries, columns are told."""

    classes = None
    features = {"img": Feature(), "label": Feature(["x", "y", "z"])}  # noqa: RUF012


FORMS = {
    "Pillow": lambda i: (Image.fromarray(IMAGES[i]), LABELS[i]),
    "array [H, W, 3]": lambda i: (IMAGES[i], np.int32(LABELS[i])),
    "reversed": lambda i: (IMAGES[i][:, ::-1][:, ::-1], LABELS[i]),
    "tensor [3, H, W]": lambda i: (WANTED[i], torch.tensor(LABELS[i])),
    "floats": lambda i: (WANTED[i].float() / 255, LABELS[i]),
    "float64": lambda i: (IMAGES[i] / 255, LABELS[i]),
    "list": lambda i: [IMAGES[i], LABELS[i]],
}


@pytest.mark.parametrize("form", FORMS)
def test_a_data_set_of_torch_is_read(form):
    source = as_source(Items(FORMS[form]), name="theirs")
    assert torch.equal(source.images, WANTED) and source.labels.tolist() == LABELS
    assert (source.name, source.class_names) == ("theirs", ("a", "b", "c"))


def test_a_data_set_of_hugging_face_is_read():
    source = as_source(Rows(lambda i: {"img": Image.fromarray(IMAGES[i]), "label": LABELS[i]}), split="test")
    assert torch.equal(source.images, WANTED) and source.labels.tolist() == LABELS
    assert (source.split, source.class_names) == ("test", ("x", "y", "z"))


@pytest.mark.parametrize(
    "items", [Items(FORMS["Pillow"]), Rows(lambda i: {"img": IMAGES[i], "label": LABELS[i]})]
)
def test_a_part_of_a_data_set_has_the_names_of_the_whole(items):
    part = torch.utils.data.Subset(torch.utils.data.Subset(items, range(6)), [4, 0, 1])
    source = as_source(part)
    assert torch.equal(source.images, WANTED[[4, 0, 1]]) and source.labels.tolist() == [1, 0, 1]
    assert source.class_names == as_source(items).class_names and source.num_classes == 3


def test_items_without_labels_or_with_names_for_labels_are_read():
    assert as_source(Items(lambda i: WANTED[i])).num_classes == 1
    named = as_source([(IMAGES[i], "cba"[LABELS[i]]) for i in range(8)])
    assert named.class_names == ("a", "b", "c") and named.labels.tolist() == [2 - label for label in LABELS]
    assert as_source([{"image": IMAGES[i], "label": LABELS[i]} for i in range(8)]).labels.tolist() == LABELS


def test_size_and_channels_bring_images_to_one_shape():
    mixed = [(IMAGES[0], 0), (IMAGES[1][..., 0], 1), (IMAGES[2][:8], 0)]
    with pytest.raises(InputError, match=r"item 0 is 3x9x13 and item 1 is 1x9x13.*channels=3"):
        as_source(mixed)
    source = as_source(mixed, size=8, channels=3)
    assert source.image_shape == (3, 8, 8)
    assert as_source(mixed, size=[8, 16], channels=1).image_shape == (1, 8, 16)


def test_arrays_pairs_folders_and_sources_are_taken(tmp_path):
    for given in (
        as_source(WANTED, LABELS),
        as_source((WANTED.numpy(), LABELS)),
        as_source((WANTED, LABELS)),
    ):
        assert torch.equal(given.images, WANTED) and given.labels.tolist() == LABELS
    assert as_source(given) is given
    (tmp_path / "train" / "cat").mkdir(parents=True)
    Image.fromarray(IMAGES[0]).save(tmp_path / "train" / "cat" / "1.png")
    source = as_source(tmp_path, name="cats", size=np.int64(8))
    assert (source.name, source.class_names, source.image_shape) == ("cats", ("cat",), (3, 8, 8))


def test_what_was_handed_over_is_played_on():
    source = as_source(Items(FORMS["Pillow"])).take_half("system")
    scheme = tosc_env.make_scheme("deepjscc", tosc_env.Game(source).spec, stem=np.int64(4))
    options = {"snr_db": np.float32(12.0), "max_cycles": np.int64(2), "privacy_weight": np.float32(0.5)}
    env = gym.make("ToSC-Shapes-v0", role="eavesdropper", source=source, scheme=scheme, **options)
    observation, _ = env.reset(seed=0)
    assert observation["received"].shape == (128,)


class Broken(Items):
    def __getitem__(self, i):
        if i in (0, 5):
            raise OSError("cannot identify image file")
        return IMAGES[i], LABELS[i]


def test_broken_items_are_counted_named_and_left_out_if_asked():
    with pytest.raises(
        DataError, match=r"2 of 8 images cannot be read, the first being item 0 \(OSError: cannot"
    ):
        as_source(Broken(None))
    with pytest.warns(UserWarning, match="2 of 8"):
        source = as_source(Broken(None), skip_broken=True)
    assert source.labels.tolist() == [LABELS[i] for i in (1, 2, 3, 4, 6, 7)]


@pytest.mark.parametrize(
    ("given", "options", "words"),
    [
        (7, {}, "not int"),
        (iter([]), {}, "a length and items"),
        ({"train": [], "test": []}, {}, "one of 'train', 'test'"),
        ([], {}, "no images"),
        ([("picture", 0)], {}, "not str"),
        ([(IMAGES[0].astype(np.float32), 0)], {}, r"\[0, 1\], not normalised"),
        ([(IMAGES[0].astype(np.int64), 0)], {}, "not int64"),
        ([(np.zeros((9, 9, 2), np.uint8), 0)], {}, r"\[9, 9, 2\]"),
        ([(np.ma.masked_array(IMAGES[0]), 0)], {}, "masked array"),
        (WANTED, {"size": 8}, "an array takes no size"),
        (as_source(WANTED), {"provenance": "x"}, "a source takes no provenance"),
        (".", {"provenance": "x"}, "a folder takes no provenance"),
        (Items(FORMS["list"]), {"labels": LABELS}, "brings its own"),
        ([{"picture": 1}], {}, "'image' or 'img', and this one has 'picture'"),
    ],
)
def test_what_cannot_be_taken_is_refused_in_one_sentence(given, options, words):
    with pytest.raises((InputError, DataError), match=words) as caught:
        as_source(given, **options)
    assert "\n" not in str(caught.value) and str(caught.value).endswith(".")


# -- arrays -----------------------------------------------------------------------------------------


def test_a_map_of_a_file_stays_on_the_disk(tmp_path, recwarn):
    written = np.memmap(tmp_path / "images", np.uint8, "w+", shape=tuple(WANTED.shape))
    written[:] = WANTED.numpy()
    written.flush()
    for mode in ("r", "r+", "c"):
        images = np.memmap(tmp_path / "images", np.uint8, mode, shape=tuple(WANTED.shape))
        source = Source.from_arrays(images, LABELS, name="mapped", halves="in-order")
        half = source.take_half("attacker")
        assert torch.equal(source.images, WANTED) and torch.equal(half.images, WANTED[4:])
        # What somebody can write to is copied.
        assert (source._images.data_ptr() == images.ctypes.data) == (mode == "r")
        assert (half._images.data_ptr() == images[4:].ctypes.data) == (mode == "r")
    assert not recwarn.list


@pytest.mark.parametrize(
    "images",
    [
        WANTED.numpy()[::-1][::-1],
        WANTED.numpy()[:, :, ::-1],
        np.asfortranarray(WANTED.numpy()),
        WANTED[..., ::2],
    ],
    ids=["twice reversed", "upside down", "Fortran", "strided"],
)
def test_arrays_of_any_strides_are_read(images):
    assert np.array_equal(Source.from_arrays(images, name="mine").images.numpy(), np.asarray(images))


@pytest.mark.parametrize(
    "labels",
    [
        np.array(LABELS, ">i8"),
        np.array(LABELS, "<u2"),
        np.array(LABELS, np.uint64),
        np.array(LABELS)[::-1][::-1],
        np.array(LABELS, np.float32).astype(object).astype(int),
        np.array(["abc"[label] for label in LABELS]),
        ["abc"[label] for label in LABELS],
        torch.tensor(LABELS, dtype=torch.uint8),
    ],
)
def test_labels_of_any_kind_of_integer_or_as_names_are_read(labels):
    assert Source.from_arrays(WANTED, labels, name="mine").labels.tolist() == LABELS


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"images": np.ma.masked_array(WANTED.numpy(), WANTED.numpy() > 9)},
            "images must not be a masked array",
        ),
        ({"labels": np.ma.masked_array(LABELS, [False] * 7 + [True])}, "labels must not be a masked array"),
        ({"attributes": np.ma.masked_array(np.zeros((8, 1), int))}, "attributes must not be a masked array"),
        ({"labels": [*"abcabca", 1]}, "all integers or all strings|unknown label"),
        ({"labels": [*"abcabcab"], "class_names": ["a", "b", "d"]}, "unknown label 'c'"),
        ({"halves": "random"}, "'shuffled' or 'in-order', not 'random'"),
    ],
)
def test_masked_values_and_mixed_labels_are_refused(change, words):
    with pytest.raises(InputError, match=words):
        Source.from_arrays(**{"images": WANTED, "labels": LABELS, "name": "mine", **change})


@pytest.mark.parametrize("what", ["labels", "attributes"])
@pytest.mark.parametrize("largest", [2**20, 10**9, 2**63])
@pytest.mark.parametrize("kind", [np.asarray, torch.from_numpy])
def test_numbers_are_bounded_as_they_were_given_before_each_is_named(what, largest, kind):
    values = np.zeros(8, np.uint64)
    values[3] = largest
    values = values if what == "labels" else values[:, None]
    with pytest.raises(InputError, match=rf"{what} must lie in 0\.\.1048575, and {largest} does not\."):
        Source.from_arrays(WANTED, **{"labels": LABELS, what: kind(values)}, name="mine")
    with pytest.raises(InputError, match=r"must lie in 0\.\.1048575, and -1 does not\."):
        Source.from_arrays(WANTED, **{what: kind(np.full(values.shape, -1))}, name="mine")


@pytest.mark.parametrize(
    ("labels", "told"),
    [([0, 2, 5] * 4, "label 1, 3, 4,"), ([7] * 12, "label 0, 1, 2, 3, 4, 5, 6,"), ([0, 1] * 6, None)],
)
def test_classes_without_images_are_named_once(labels, told):
    images = np.zeros((12, 1, 8, 8), np.uint8)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        source = Source.from_arrays(images, labels, name="mine")
        source.take_half("system"), source.subset([0])
        Source.from_arrays(images, labels, name="mine", class_names=list("abcdefgh"))
    assert [told in str(one.message) for one in caught] == ([] if told is None else [True])


@pytest.mark.parametrize(("labels", "kept"), [(list("aabbcc"), list("ac")), ([0, 0, 1, 1, 2, 2], [0, 2])])
def test_what_was_kept_back_has_the_classes_of_its_training_split(labels, kept):
    """Numbered by itself, 'c' would be the second class here and the third there."""
    train = Source.from_arrays(np.zeros((6, 1, 8, 8), np.uint8), labels, name="mine")
    test = Source.from_arrays(
        np.zeros((2, 1, 8, 8), np.uint8), kept, name="mine", split="test", training=train
    )
    assert test.class_names == train.class_names and test.labels.tolist() == [0, 2]


# -- halves -----------------------------------------------------------------------------------------


def test_halves_of_a_sorted_source_hold_half_of_every_class():
    """The law that a slice breaks: sorted by class, the first half has classes that the second has not."""
    labels = torch.tensor([0] * 7 + [1] * 12 + [2] * 2 + [3] * 5)
    images = torch.arange(26, dtype=torch.uint8).reshape(26, 1, 1, 1).expand(26, 1, 8, 8)
    whole = Source.from_arrays(images, labels, name="sorted")
    system, attacker = whole.take_half("system"), whole.take_half("attacker")
    assert (len(system), len(attacker)) == (13, 13)
    both = torch.cat([system.images, attacker.images])[:, 0, 0, 0]
    assert sorted(both.tolist()) == list(range(26))
    assert (system.labels.bincount() - attacker.labels.bincount()).abs().tolist() == [1, 0, 0, 1]
    assert torch.equal(labels[system.images[:, 0, 0, 0].long()], system.labels)
    assert system.labels.diff().ne(0).sum() > 5  # and a slice of a half is no class either


@pytest.mark.parametrize("count", [2, 3, 10, 101])
def test_the_order_of_halves_is_one_and_the_same_permutation(count):
    labels = torch.arange(count) % 3
    order = shuffled(labels)
    torch.manual_seed(count)
    assert torch.equal(order, shuffled(labels)) and order.sort()[0].tolist() == list(range(count))
    first, second = (
        labels[part].bincount(minlength=3) for part in (order[: count // 2], order[count // 2 :])
    )
    assert (first - second).abs().max() <= 1


def test_a_receiver_trained_on_one_half_knows_the_classes_of_the_other():
    """Nearest class mean, the closed form of a receiver: right on the other half but for what noise does."""
    stream = torch.Generator().manual_seed(0)
    labels = torch.arange(10).repeat_interleave(40)
    means = torch.randint(60, 196, (10, 1, 8, 8), generator=stream)
    noise = torch.randn(400, 1, 8, 8, generator=stream) * 20
    images = (means[labels] + noise).clamp(0, 255).to(torch.uint8)

    def accuracy(halves):
        source = Source.from_arrays(images, labels, name="sorted", halves=halves)
        ours, theirs = source.take_half("system"), source.take_half("attacker")
        known = ours.labels.unique()
        centres = torch.stack([ours.images[ours.labels == k].float().mean(0) for k in known]).flatten(1)
        nearest = known[torch.cdist(theirs.images.float().flatten(1), centres).argmin(1)]
        return float((nearest == theirs.labels).float().mean())

    assert accuracy("shuffled") == 1.0
    with pytest.warns(UserWarning, match="no image of 5 of its classes"):
        assert accuracy("in-order") == 0.0


def test_a_class_that_is_missing_from_a_half_is_told():
    source = Source.from_arrays(WANTED, [0, 0, 0, 0, 0, 0, 0, 1], name="mine", class_names=["many", "one"])
    with pytest.warns(
        UserWarning, match=r"the (system|attacker) half of mine has no image of 1 of its classes \('one'\)"
    ):
        for half in ("system", "attacker"):
            source.take_half(half)


def test_official_orders_keep_their_halves():
    source = tosc_env.make_source("shapes", num_images=400)
    for half, part in (("system", slice(0, 200)), ("attacker", slice(200, 400))):
        assert torch.equal(source.take_half(half).images, source.images[part])
