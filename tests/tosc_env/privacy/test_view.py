"""A view holds what the threat model allows, counts what is asked of the encoder, and denies the rest."""

from __future__ import annotations

import copy
import math
import pickle
import sys
import threading
from collections.abc import Mapping
from contextlib import nullcontext, suppress
from dataclasses import replace

import pytest
import torch
from links import seeded as g
from pixels import Counted, Noise
from refusals import refused
from torch.overrides import TorchFunctionMode

from tosc_env.async_checks import AsyncChecks
from tosc_env.data import make_source
from tosc_env.data.base import Source
from tosc_env.errors import DeniedError, InputError
from tosc_env.game import Game
from tosc_env.nodes import wiretap
from tosc_env.pipeline import make_scheme
from tosc_env.privacy.oracle import Recorded
from tosc_env.privacy.threat import ThreatModel
from tosc_env.privacy.view import View
from tosc_env.schemes import PrivacyScheme, Stage
from tosc_env.types import Batch, Context, Link, Round, SystemSpec

SPEC = SystemSpec((3, 16, 16), 10, 8)


class Noisy(Counted):
    """Another message for the same image each time, all of the encoder's own doing."""

    def encode(self, images, context):
        symbols = super().encode(images, context)
        return symbols + torch.randn(symbols.shape, generator=context.generator)


class Mixed(Stage):
    """One secret matrix, applied as a product that autocast would round."""

    name = "mixed"
    keyed = True

    def __init__(self, spec):
        super().__init__(spec)
        self.matrix = torch.linalg.qr(torch.randn(16, 16, generator=g(3))).Q

    def protect(self, symbols, context):
        return symbols @ self.matrix

    def recover(self, received, csi, context):
        return received @ self.matrix.T


@pytest.fixture(scope="module")
def source():
    return make_source("shapes", half="attacker", num_images=1000, size=16)


def make_view(source, backbone=Counted, *, stages=(), seed=1, rules=None, **threat):
    scheme = make_scheme(backbone(SPEC), stages=stages).eval()
    game = Game(source, num_symbols=8, **(rules or {}))
    return View(game, scheme, ThreatModel(**threat), g(seed)), scheme.backbone


# -- once per image ---------------------------------------------------------------------------------


@pytest.mark.parametrize("stages", [[], [Mixed(SPEC)], [Noise(SPEC)]], ids=["bare", "keyed", "noisy"])
def test_the_encoder_runs_once_per_image_whatever_the_views_snrs_and_stages(source, stages):
    scheme = make_scheme(Counted(SPEC), stages=stages).eval()
    index = torch.arange(len(source))
    for snr_db in (0.0, 6.0, 12.0):
        game = Game(source, num_symbols=8, snr_db=snr_db)
        for threat in (
            ThreatModel(),
            ThreatModel(receptions=3, csi=False),
            ThreatModel(unkeyed_encoder=True),
        ):
            view = View(game, scheme, threat, g())
            for part in index.split(50):
                view.sample(part)
                view.sample_repeated(part)
            view.symbols(index)
            if threat.unkeyed_encoder:
                view.unkeyed(index)
    assert scheme.backbone.asked == len(source) == 500
    View(Game(source.subset(range(50)), num_symbols=8), scheme, ThreatModel(), g()).symbols(index[:50])
    assert scheme.backbone.asked == 550, "images of another source are other images"


@pytest.mark.parametrize(
    ("backbone", "stages", "keys"),
    [
        (Counted, [], "with-pairs"),
        (Counted, [Mixed(SPEC)], "with-key"),
        (Noisy, [], "with-pairs"),
        (Counted, [Noise(SPEC)], "with-pairs"),
    ],
)
def test_attackers_learn_on_the_symbols_that_are_sent_in_whatever_mode_they_are_first_asked(
    source, backbone, stages, keys
):
    """Bit for bit: a loop around the question computes in another precision, and no transmitter does."""
    index, learnt = torch.arange(40), []
    for mode in (nullcontext(), torch.autocast("cpu", torch.bfloat16), torch.inference_mode()):
        granted = {"unkeyed_encoder": True, "candidate_queries": True, "keys": keys}
        view, _ = make_view(source, backbone, stages=stages, **granted)
        with mode:
            learnt.append(
                {
                    "symbols": view.symbols(index),
                    "sample": view.sample(index)[0].received,
                    "unkeyed": view.unkeyed(index)[0],
                    "encode": view.encode(view.images(index)),
                }
            )
        view.sample(torch.arange(60))  # a training may come later
    for name, plain in learnt[0].items():
        assert plain.dtype == torch.float32 and not plain.is_inference(), name
        assert all(torch.equal(plain, other[name]) for other in learnt), name
    if backbone is Counted and not stages:
        context = Context(torch.full((40,), 12.0), torch.zeros(40, 5, dtype=torch.int64))
        direct = Counted(SPEC).encode(source.gather(index).images, context)
        wanted = Game(source, num_symbols=8).normalise(direct)
        assert torch.allclose(learnt[1]["symbols"], wanted, atol=1e-5)


# -- counting ---------------------------------------------------------------------------------------


def test_of_a_deterministic_scheme_distinct_images_are_counted(source):
    view, scheme = make_view(source)
    assert view.queries == 0 and view.deterministic
    first = view.symbols(torch.arange(10))
    assert view.queries == 10
    assert torch.equal(first, view.symbols(torch.arange(10)))
    view.sample(torch.arange(100))
    view.symbols(torch.tensor([3, 3, 99]))
    assert view.queries == 100
    other = View(Game(source, num_symbols=8), make_scheme(scheme), ThreatModel(), g())
    assert other.queries == 0, "each attacker pays for itself"


@pytest.mark.parametrize(("backbone", "stages"), [(Noisy, []), (Counted, [Noise(SPEC)])])
def test_of_a_stochastic_scheme_every_message_is_counted(source, backbone, stages):
    view, scheme = make_view(source, backbone, stages=stages)
    assert not view.deterministic
    first, again = view.symbols(torch.arange(10)), view.symbols(torch.arange(10))
    assert not torch.equal(first, again)
    view.sample(torch.arange(5))
    assert view.queries == 25 and (backbone is Counted or scheme.asked == 25)


def test_within_a_budget_only_the_first_images_have_symbols(source):
    view, _ = make_view(source, queries=100)
    assert view.num_images == 100
    assert view.symbols(torch.arange(100)).shape == (100, 16)
    assert view.queries == 100
    with refused("first 100", DeniedError) as caught:
        view.symbols(torch.tensor([3, 100]))
    assert "image 100" in str(caught.value) and view.queries == 100
    with pytest.raises(DeniedError):
        view.sample(torch.tensor([499]))


@pytest.mark.parametrize("stages", [[], [Noise(SPEC, scale=1e-4)]], ids=["bare", "stochastic"])
def test_a_budget_is_spent_on_images_as_mixed_as_all_of_them(stages):
    """Law: of a sorted source a random sample (hypergeometric); images, labels and messages have one numbering."""
    images = torch.randint(0, 256, (400, 3, 16, 16), dtype=torch.uint8, generator=g())
    sorted_source = Source.from_arrays(images, torch.arange(400) // 100, name="sorted")
    grants = {"candidate_queries": True, "unkeyed_encoder": True, "candidates": 400}
    view, _ = make_view(sorted_source, stages=stages, queries=100, rules={"snr_db": 80.0}, **grants)
    index = torch.arange(100)
    # Of four equal classes of a hundred: standard deviation 3.8.
    assert (view.labels(index).bincount(minlength=4) - 25).abs().max() < 4 * 3.8
    rest = torch.arange(400)
    assert torch.equal(view.images(rest).flatten(1).sum(1).sort().values, every(sorted_source).sort().values)
    sent = view.encode(view.images(index))
    reception, shown = view.sample(index)
    symbols, bare, again = view.unkeyed(index)
    for one in (view.symbols(index), reception.received, symbols, bare.received):
        assert torch.allclose(one, sent, atol=0.01)
    assert torch.equal(shown, view.images(index)) and torch.equal(again, shown)


def every(source):
    """The sum of all pixels of each of a source's images."""
    return source.gather(torch.arange(len(source))).images.flatten(1).sum(1)


def test_a_stochastic_scheme_with_a_budget_is_asked_once_per_image(source):
    """A query buys one noiseless message; asking for the same image again gives that message again."""
    view, scheme = make_view(source, Noisy, queries=25)
    first = view.symbols(torch.arange(20))
    assert view.queries == scheme.asked == 25
    assert torch.equal(view.symbols(torch.arange(20)), first)
    assert view.queries == scheme.asked == 25
    with refused("25", DeniedError):
        view.symbols(torch.arange(26))


# -- what is denied ---------------------------------------------------------------------------------


class Coded(Counted):
    constellation = "16qam"
    codebook = torch.arange(32.0).view(16, 2)


def test_what_the_threat_model_grants_is_given_and_the_rest_denied_by_its_field(source):
    index, batch = torch.arange(7), source.gather(torch.arange(7))
    budgets = {"queries": 10_000, "candidates": 10_000}
    view, scheme = make_view(source, Coded, unkeyed_encoder=True, candidate_queries=True, **budgets)
    assert view.num_images == 500, "a budget above the number of images is no limit"
    assert torch.equal(view.labels(index), batch.labels)
    assert torch.equal(view.attributes(index), batch.attributes)
    assert view.constellation.shape == (16,)
    view.codebook.zero_()
    assert torch.equal(view.codebook, scheme.codebook) and float(scheme.codebook.sum()) > 0, "a copy"
    view.constellation.zero_()
    assert view.constellation.abs().min() > 0, "a copy, not the points of the whole process"
    object.__setattr__(view.spec.layout, "equaliser", "another")
    assert view.spec.layout.equaliser != "another", "a copy, not the channel's own"
    poor, _ = make_view(source, Coded, labels=False, codebook=False)
    game = Game(source, num_symbols=8)
    symbols = torch.randn(len(source), 16, generator=g())
    recorded = View(game, Recorded(symbols), ThreatModel(candidate_queries=True), g())
    for ask, words in (
        (lambda: poor.labels(index), "labels=False"),
        (lambda: poor.attributes(index), "labels=False"),
        (lambda: poor.constellation, "codebook"),
        (lambda: poor.codebook, "codebook"),
        (lambda: poor.unkeyed(index), "unkeyed_encoder=False"),
        (lambda: poor.encode(batch.images), "candidate_queries=False"),
        (lambda: recorded.encode(batch.images), "encoder"),
    ):
        with refused(words, DeniedError):
            ask()
    assert torch.allclose(recorded.symbols(index), game.normalise(symbols[:7]))
    assert recorded.deterministic and recorded.queries == 7
    bare, _ = make_view(source, codebook=False)
    assert bare.constellation is None and bare.codebook is None, "a continuous scheme has none to deny"


HIDDEN = (Game, Source, Round, Batch, Context, Link, PrivacyScheme, Stage, torch.Generator)


def names_of(thing):
    return [name for name in dir(thing) if not name.startswith("__")]


def reached(thing, depth=4):
    """Everything that names and items of a thing lead to, public and underscore names alike."""
    yield thing
    if depth == 0 or isinstance(thing, (torch.Tensor, torch.device, str, bytes, int, float, type(None))):
        return
    inner = [getattr(thing, name) for name in names_of(thing) if hasattr(thing, name)]
    if isinstance(thing, Mapping):
        inner += [*thing, *thing.values()]
    elif isinstance(thing, (tuple, list, set, frozenset)):
        inner += [*thing]
    for one in inner:
        yield from reached(one, depth - 1)


def test_no_name_on_a_view_leads_to_what_the_referee_has(source):
    """A malicious attacker tries every public and underscore name, and those of what it finds."""
    view, _ = make_view(source, stages=[Mixed(SPEC)], queries=10)
    view.symbols(torch.arange(2))
    held = [view, view.sample(torch.arange(2)), copy.copy(view), copy.deepcopy(view)]
    for thing in held:
        for found in reached(thing):
            assert not isinstance(found, HIDDEN), type(found)
            assert not (isinstance(found, torch.Tensor) and len(found.shape) and len(found) == len(source))
    for name in names_of(view):
        assert getattr(getattr(view, name), "__self__", view) is view, name
    assert set(names_of(view)) == {
        *(
            "additive",
            "attribute_values",
            "attributes",
            "augmentations",
            "batch_size",
            "candidates",
            "codebook",
            "constellation",
            "deterministic",
        ),
        *(
            "device",
            "encode",
            "encode_unkeyed",
            "fading",
            "images",
            "keyed",
            "labels",
            "num_images",
            "outputs",
            "queries",
        ),
        *(
            "sample",
            "sample_repeated",
            "sample_whole",
            "snr_db",
            "spec",
            "statistics",
            "symbols",
            "threat",
            "unkeyed",
            "_ask",
        ),
    }, "a new name on the view: say here what it may show"
    for name in ("_game", "_scheme", "_send", "_generator", "_sent", "__class__", "_threat"):
        with pytest.raises(DeniedError, match="has no"):
            view._ask(name)


def test_grants_cannot_be_assigned_forged_or_doubled(source):
    view, _ = make_view(source, queries=10, labels=False)
    wide = ThreatModel(candidate_queries=True, keys="with-key", unkeyed_encoder=True)
    for name in [*names_of(view), "_threat", "_game", "anything"]:
        for set_it in (setattr, object.__setattr__):
            if (name, set_it) == ("_ask", object.__setattr__):
                continue  # who replaces the way to the referee asks nobody
            with pytest.raises(AttributeError):
                set_it(view, name, wide)
        with pytest.raises(AttributeError):
            delattr(view, name)
    object.__setattr__(view.threat, "queries", None)
    object.__setattr__(view.threat, "labels", True)
    object.__setattr__(view.snr_db, "choices", (60.0,))
    object.__setattr__(view.spec, "num_symbols", 1)
    view.statistics.mean_image.zero_()
    view.images(torch.arange(3)).zero_()
    assert view.threat == ThreatModel(queries=10, labels=False) and view.num_images == 10
    assert view.sample(torch.arange(1))[0].csi[0, 0] == 12 == view.snr_db.constant and view.spec == SPEC
    assert float(view.statistics.mean_image.sum()) > 0 and float(view.images(torch.arange(3)).sum()) > 0
    view.symbols(torch.arange(4))
    for other in (view, copy.copy(view), copy.deepcopy(view)):
        assert other.queries == view.queries > 0, "a copy has the same budget, not one more"
        with pytest.raises(DeniedError):
            other.symbols(torch.arange(11))
        with AsyncChecks().collect():  # never looked at
            seen = other.symbols(torch.arange(20))
        assert len(seen.unique(dim=0)) == 10
    with pytest.raises(InputError, match="not pickled"):
        pickle.dumps(view)


def test_every_encoding_counts_and_candidates_have_a_budget_of_their_own(source):
    index = torch.arange(10)
    view, _ = make_view(source, queries=10, candidate_queries=True, candidates=25)
    view.encode(view.images(index))
    assert (view.candidates, view.queries) == (10, 0)
    view.encode(view.images(index) * 0.99)
    with pytest.raises(DeniedError, match="25 candidates encoded; 20 have been, and 10 more"):
        view.encode(view.images(index))
    view.encode(view.images(index[:5]))
    assert view.candidates == 25
    view, _ = make_view(source, unkeyed_encoder=True)
    view.unkeyed(index)
    assert view.queries == 10
    view, _ = make_view(source, stages=[Mixed(SPEC)], unkeyed_encoder=True)
    view.unkeyed(index)
    view.sample(index + 5)
    assert view.queries == 15


def test_without_pairs_candidates_give_none_either(source):
    view, _ = make_view(source, stages=[Mixed(SPEC)], keys="without-pairs", candidate_queries=True)
    for ask in (view.symbols, view.sample, lambda index: view.encode(view.images(index))):
        with pytest.raises(DeniedError, match="pairs of images and symbols"):
            ask(torch.arange(3))
    assert (view.queries, view.candidates) == (0, 0)


def test_with_the_key_symbols_are_what_receptions_are_of(source):
    """Decrypted, both: what is learnt from symbols is what is received."""
    view, _ = make_view(
        source, stages=[Mixed(SPEC)], keys="with-key", candidate_queries=True, rules={"snr_db": 100.0}
    )
    index = torch.arange(20)
    bare = make_view(source)[0].symbols(index)
    for found in (view.symbols(index), view.sample(index)[0].received, view.encode(view.images(index))):
        assert torch.allclose(found, bare, atol=1e-3)


def test_the_view_gives_the_attackers_half_and_only_that(source):
    view, _ = make_view(source)
    whole = make_source("shapes", num_images=1000, size=16)
    assert torch.equal(view.images(torch.arange(500)), whole.gather(torch.arange(500, 1000)).images)
    assert view.augmentations == 8
    with refused("499 3999 4000"):
        view.images(torch.tensor([4000]))


def test_each_image_may_be_sent_in_changed_copies_each_a_query_of_its_own(source):
    view, _ = make_view(source)
    index = torch.arange(20)
    ways = [view.symbols(index + way * view.num_images) for way in range(view.augmentations)]
    assert view.queries == 160 and len({tuple(one[0].tolist()) for one in ways}) == 8
    mirrored = view.images(index + view.num_images)
    assert torch.equal(mirrored, view.images(index).flip(3))
    assert torch.equal(view.labels(index + 3 * view.num_images), view.labels(index))
    # A limited budget is spent on images themselves, and has no others.
    limited, _ = make_view(source, queries=100)
    assert limited.augmentations == 1
    with refused("first 100", DeniedError):
        limited.symbols(torch.tensor([100]))


# -- receptions -------------------------------------------------------------------------------------


def test_receptions_have_the_noise_of_the_eavesdroppers_link(source):
    """y = s + n with n of variance N0/2 per real dimension, at the eavesdropper's SNR and not the receiver's."""
    view, _ = make_view(source, rules={"snr_db": 30.0, "eavesdropper_snr_db": 3.0})
    index = torch.arange(500)
    reception, images = view.sample(index)
    assert torch.equal(images, view.images(index))
    assert torch.equal(reception.csi, torch.full((500, 1), 3.0))
    assert view.snr_db.constant == 3.0
    noise = reception.received - view.symbols(index)
    wanted = 10 ** (-0.3) / 2
    # 8,000 squares of Gaussians: the standard error of their mean is sqrt(2 / 8000) = 1.6 %.
    assert float(noise.square().mean()) == pytest.approx(wanted, rel=0.06)


def test_each_sample_is_fresh_and_the_generator_decides_all(source):
    index = torch.arange(20)
    one, two = make_view(source, seed=5)[0], make_view(source, seed=5)[0]
    first = one.sample(index)[0].received
    assert not torch.equal(first, one.sample(index)[0].received)
    torch.manual_seed(123)
    assert torch.equal(first, two.sample(index)[0].received)


# -- keys, codebooks, candidates, repetition --------------------------------------------------------


class Flipped(Stage):
    """Keyed: the signs of a message's symbols follow from its numbers, which are remembered."""

    name = "flipped"
    keyed = stochastic = True

    def __init__(self, spec=SPEC):
        super().__init__(spec)
        self.numbers: list[tuple[int, ...]] = []

    def protect(self, symbols, context):
        rows = context.message.tolist()
        self.numbers += [tuple(row) for row in rows]
        return symbols * torch.stack(
            [torch.randn(16, generator=g(hash(tuple(row)) % 2**31)).sign() for row in rows]
        )

    def recover(self, received, csi, context):
        return self.protect(received, context)


def keyed_view(source, **threat):
    stage = Flipped()
    view, _ = make_view(source, stages=[stage], rules={"snr_db": 100.0}, **threat)
    return view, stage


def test_no_two_messages_of_a_keyed_scheme_share_a_number(source):
    view, stage = keyed_view(source, candidate_queries=True)
    index = torch.arange(20)
    for _ in range(5):
        view.sample(index)
        view.encode(view.images(index))
    assert len(stage.numbers) == len(set(stage.numbers)) == 200
    assert view.keyed and view.queries == 100


def test_pairs_of_images_and_encrypted_symbols_are_denied_without_pairs(source):
    view, _ = keyed_view(source, keys="without-pairs", unkeyed_encoder=True)
    for ask in (view.symbols, view.sample, view.sample_repeated, view.sample_whole):
        with refused("denies", DeniedError):
            ask(torch.arange(3))
    symbols, reception, images = view.unkeyed(torch.arange(3))
    assert torch.allclose(reception.received, symbols, atol=1e-3) and len(images) == 3


def test_whoever_has_the_key_hears_what_an_unkeyed_scheme_would_send(source):
    view, _ = keyed_view(source, keys="with-key", unkeyed_encoder=True, candidate_queries=True)
    index = torch.arange(30)
    bare = view.unkeyed(index)[0]
    assert torch.allclose(view.sample(index)[0].received, bare, atol=1e-3)
    assert torch.allclose(view.encode(view.images(index)), bare, atol=1e-4)
    assert not view.keyed
    without, _ = keyed_view(source)
    assert not torch.allclose(without.sample(index)[0].received, bare, atol=0.1)


def test_asking_for_candidates_moves_nothing_that_is_heard(source):
    heard = []
    for asks in (False, True):
        view, _ = make_view(source, candidate_queries=True)
        if asks:
            view.encode(view.images(torch.arange(5)))
        heard.append(view.sample(torch.arange(10))[0].received)
    assert torch.equal(*heard)


def test_repeated_transmissions_share_the_image_and_nothing_else(source):
    view, _ = make_view(source, receptions=64, rules={"snr_db": 3.0})
    index = torch.arange(20)
    reception, images = view.sample_repeated(index)
    assert reception.received.shape == (20, 64, 16) and reception.csi.shape == (20, 64, 1)
    assert torch.equal(images, view.images(index))
    noise = reception.received - view.symbols(index)[:, None]
    # Independent noise of N0/2 per real: the mean of 64 has a 64th of its variance.
    assert float(noise.var()) == pytest.approx(10**-0.3 / 2, rel=0.05)
    assert float(noise.mean(1).var()) == pytest.approx(10**-0.3 / 2 / 64, rel=0.2)


def test_a_game_in_which_all_collude_is_said_so_whatever_the_threat_model(source):
    view, _ = make_view(source, rules={"nodes": wiretap(4, snr_db=-10.0), "colluding": True})
    assert view.threat.colluding and "colluding" in str(view.threat)
    assert float(view.sample(torch.arange(2))[0].csi[0, 0]) == pytest.approx(
        -10 + 10 * math.log10(4), abs=1e-3
    )


class Spy(torch.Tensor):
    """A tensor that is shown all that is computed with it, and lies about its length."""

    seen = []  # noqa: RUF012

    def __len__(self):
        return 0

    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        cls.seen.append(function)
        return super().__torch_function__(function, types, args, kwargs or {})


class Mode(TorchFunctionMode):
    def __torch_function__(self, function, types, args=(), kwargs=None):
        Spy.seen.append(function)
        return function(*args, **(kwargs or {}))


def test_no_kind_of_tensor_sees_what_is_computed_for_it_or_is_not_counted(source):
    view, _ = make_view(source, stages=[Mixed(SPEC)], queries=10, candidate_queries=True, candidates=4)
    index, images = torch.arange(3).as_subclass(Spy), view.images(torch.arange(3)).as_subclass(Spy)
    beyond = torch.arange(20).as_subclass(Spy)
    Spy.seen.clear()
    for ask in (view.symbols, view.sample, view.images):
        ask(index)
    view.encode(images)
    plain = torch.arange(3)
    with Mode():
        view.symbols(plain)
    assert Spy.seen == [] and view.candidates == 3 and view.queries == 3
    with pytest.raises(DeniedError):
        view.symbols(beyond)
    with pytest.raises(DeniedError):
        view.encode(images)


class Name(str):
    """Granted when it is looked up for the first time, and another afterwards."""

    asked = False

    def __hash__(self):
        self.asked, first = True, not self.asked
        return hash("spec") if first else super().__hash__()

    def __eq__(self, other):
        return True


class Liar:
    """Says that it is a tensor, and that none of its numbers is too large."""

    __class__ = torch.Tensor
    dtype, device = torch.int64, torch.device("cpu")

    def __len__(self):
        return 10

    def dim(self):
        return 1

    def itself(self, *_):
        return self

    __lt__ = __gt__ = __or__ = as_subclass = detach = clone = itself

    def any(self):
        return False

    def clamp(self, *_):
        return torch.arange(100, 110)


class Changing(torch.Tensor):
    def as_subclass(self, kind):
        return Liar()


def test_neither_names_nor_tensors_that_lie_get_more_than_is_granted(source):
    view, _ = make_view(source, queries=10)
    with pytest.raises(DeniedError, match="has no"):
        view._ask(Name("__getstate__"))
    with refused("symbols Liar"):
        view.symbols(Liar())
    assert len(view.symbols(torch.arange(3).as_subclass(Changing))) == 3 == view.queries


def test_no_graph_leads_from_what_is_handed_over_to_the_systems_weights(source):
    class Weighted(Stage):
        name = "weighted"

        def __init__(self, spec):
            super().__init__(spec)
            self.weight = torch.nn.Parameter(torch.ones(()))

        def protect(self, symbols, context):
            return symbols * self.weight

        def precode(self, waves, context):
            return replace(waves, signal=waves.signal * self.weight)

    view, _ = make_view(source, stages=[Weighted(SPEC)], candidate_queries=True, unkeyed_encoder=True)
    index = torch.arange(3)
    given = view.symbols(index), view.sample(index)[0].received, view.unkeyed(index)[1].received
    assert not any(t.requires_grad for t in (*given, view.encode(view.images(index))))


def test_threads_do_not_share_a_budget_twice(source):
    view, _ = make_view(source, candidate_queries=True, candidates=4)
    images, encoded = view.images(torch.arange(1)), []

    def ask():
        with suppress(DeniedError):
            encoded.append(view.encode(images))

    pause = sys.getswitchinterval()
    sys.setswitchinterval(1e-9)
    try:
        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(pause)
    assert len(encoded) == 4 == view.candidates


@pytest.mark.parametrize(
    ("ask", "given", "words"),
    [
        ("symbols", [1, 2], "int64 list"),
        ("images", torch.tensor(1), "int64 []"),
        ("sample", torch.tensor([0.5]), "float32"),
        ("symbols", torch.tensor([4000]), "499 4000"),
        ("labels", torch.tensor([-1]), "499 -1"),
        ("encode", torch.zeros(2, 3, 8, 8), "16 8"),
        ("encode", torch.zeros(2, 3, 16, 16, dtype=torch.uint8), "float32 uint8"),
    ],
)
def test_what_is_asked_for_in_the_wrong_form_is_one_sentence(source, ask, given, words):
    view, _ = make_view(source, candidate_queries=True)
    with refused(words):
        getattr(view, ask)(given)
    assert (view.queries, view.candidates) == (0, 0)


def test_a_random_scheme_without_its_key_is_asked_once_within_a_budget(source):
    view, _ = make_view(source, stages=[{"name": "laplace", "epsilon": 5}], queries=5, unkeyed_encoder=True)
    index = torch.arange(5)
    first, again = view.unkeyed(index)[0], view.unkeyed(index)[0]
    assert torch.equal(first, again) and torch.equal(first, view.symbols(index)) and view.queries == 5
