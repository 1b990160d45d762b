"""The laws of a pipeline: what it remembers changes no bit, and what follows from its parts."""

from __future__ import annotations

import copy
import gc
import io
import random
import weakref
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from fakes import SMALL, SPEC, FakeScheme
from pixels import Rounded
from refusals import refused
from torch import nn

from tosc_env import memory
from tosc_env.data import make_source
from tosc_env.envs.common import make_system
from tosc_env.envs.session import Session
from tosc_env.game import Game
from tosc_env.memory import evaluating
from tosc_env.pipeline import Pipeline, as_pipeline, make_scheme
from tosc_env.schemes import Stage, make_stage
from tosc_env.testing.laws import global_streams_untouched
from tosc_env.types import Context

SIZES = (1, 3, 8, 64)


@pytest.fixture(scope="module")
def source():
    return make_source("shapes", num_images=70)


@pytest.fixture(scope="module")
def network():
    """A real network, whose last bits depend on how many images it is given at once."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return make_scheme("deepjscc", SPEC, stem=8, widths=(16, 16), blocks=(1, 1)).eval().backbone


def context(batch, seed=0, snr_db=12.0, message=0):
    numbers = torch.zeros(batch, 5, dtype=torch.int64)
    numbers[:, 0], numbers[:, 2] = torch.arange(batch), message
    return Context(torch.full((batch,), snr_db), numbers, 0, torch.Generator().manual_seed(seed))


class Counting(FakeScheme):
    """A scheme that counts the images it encodes, by their values: one number may be counted once."""

    def __init__(self, spec=SPEC, **options):
        super().__init__(spec, **options)
        self.encoded = []

    def encode(self, images, context):
        self.encoded.append(len(images))
        return super().encode(images, context)

    @property
    def count(self):
        return sum(self.encoded)


def counting():
    """A pipeline of a counting scheme that has been asked what pipelines ask once."""
    scheme = Pipeline(Counting().eval())
    assert not scheme.stochastic
    scheme.backbone.encoded.clear()
    return scheme


class Flip(Stage):
    """Signs from the context's generator."""

    name = "flip"
    stochastic = True

    def protect(self, symbols, context):
        return symbols * (torch.rand(symbols.shape, generator=context.generator) - 0.5).sign()


# -- what is remembered changes no bit --------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "order"),
    [*((size, "forwards") for size in SIZES), (8, "backwards"), (3, "repeated"), (3, "after others")],
)
def test_remembered_symbols_are_those_of_encode_bit_for_bit(source, network, size, order):
    scheme = Pipeline(network)
    if order == "after others":
        for other in reversed(SIZES):
            scheme.send(source, torch.arange(other), context(other))
    index = {
        "forwards": torch.arange(len(source)),
        "backwards": torch.arange(len(source)).flip(0),
        "repeated": torch.randint(len(source), (3 * size,), generator=torch.Generator().manual_seed(size)),
        "after others": torch.arange(len(source)),
    }[order]
    for part in index.split(size):
        if len(part) < size:
            continue
        with torch.no_grad():
            wanted = network.encode(source.gather(part).images, context(size))
        assert torch.equal(scheme.send(source, part, context(size)), wanted)
        assert torch.equal(scheme.send(source, part, context(size, seed=9, snr_db=0.0, message=4)), wanted)


def episode(scheme, source, rows, steps, seed, between=lambda: None):
    """Receptions of an environment's rows."""
    system = make_system("shapes", {"eavesdropper"}, {"source": source, "scheme": scheme}, ())
    session = Session(system, {"eavesdropper"}, num_envs=rows, max_cycles=3)
    session.reset(seed)
    seen = []
    for _ in range(steps):
        seen.append(session.observe("eavesdropper")["received"])
        session.play({"eavesdropper": torch.full((rows, 3, 32, 32), 0.5)})
        session.advance(session.over)
        between()
    return torch.stack(seen)


def test_two_environments_that_share_scheme_and_source_do_not_change_each_others_bits(source, network):
    alone = {
        rows: episode(Pipeline(network, ["keyed"]).use_key("11" * 32), source, rows, 6, seed=rows)
        for rows in (1, 3, 64)
    }
    shared = Pipeline(network, ["keyed"]).use_key("11" * 32)

    def others():
        for rows in (64, 3, 1):
            episode(shared, source, rows, 2, seed=7 + rows)

    for rows, wanted in alone.items():
        assert torch.equal(episode(shared, source, rows, 6, seed=rows, between=others), wanted)


def test_autocast_around_it_does_not_change_what_is_sent(source, network):
    plain, fresh = Pipeline(network, ["keyed"]).use_key("11" * 32), Pipeline(network, ["keyed"])
    fresh.use_key("11" * 32)
    index = torch.arange(8)
    wanted = plain.send(source, index, context(8))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        first = fresh.send(source, index, context(8))
        adaptive = Pipeline(Adaptive(), ["keyed"]).eval().send(source, index, context(8))
    assert first.dtype == adaptive.dtype == torch.float32
    assert torch.equal(first, wanted) and torch.equal(fresh.send(source, index, context(8)), wanted)
    assert not torch.equal(adaptive, adaptive.bfloat16().float())


def test_no_gradient_is_sent_and_inference_mode_leaves_a_scheme_that_can_be_trained(source, network):
    scheme = Pipeline(copy.deepcopy(network))
    with torch.inference_mode():
        scheme.send(source, torch.arange(8), context(8))
    assert not scheme.send(source, torch.arange(8), context(8)).requires_grad
    trial = scheme(source.gather(torch.arange(8)).images, context(8), Air())
    trial.logits.sum().backward()
    assert all(p.grad is not None for p in scheme.parameters())


class Air:
    """A channel without noise."""

    def __call__(self, symbols):
        from tosc_env.types import Reception, Transmission

        reception = Reception(symbols, symbols.new_full((len(symbols), 1), 12.0))
        return Transmission({"receiver": reception, "eavesdropper": reception}, symbols)


# -- the backbone runs once per image ---------------------------------------------------------------


def test_environments_and_stages_share_what_is_known_of_a_source(source):
    scheme = counting()
    for seed, rows in enumerate((16, 40, 64)):
        episode(scheme, source, rows, 5, seed=seed)
    assert scheme.backbone.count <= len(source) + memory.SMALL_BATCH


def test_stages_run_every_time_and_the_backbone_does_not(source):
    scheme = Pipeline(Counting().eval(), [Flip(SPEC)])
    assert scheme.stochastic
    index = torch.arange(16)
    first, second = (scheme.send(source, index, context(16, seed)) for seed in (1, 2))
    again = scheme.send(source, index, context(16, 1))
    assert not torch.equal(first, second) and torch.equal(first, again)
    assert torch.equal(first.abs(), second.abs())
    assert scheme.backbone.count <= len(source) + 4  # and the two questions of two images


# -- what must not be remembered --------------------------------------------------------------------


class Adaptive(FakeScheme):
    """Louder where the link is better."""

    def encode(self, images, context):
        return super().encode(images, context) * context.snr_db[:, None]


class Careful(FakeScheme):
    """A scheme that reads its context, and would swallow any exception."""

    def encode(self, images, context):
        try:
            level = context.snr_db[:, None]
        except Exception:
            level = 1.0
        return super().encode(images, context) * level


class GlobalNoise(FakeScheme):
    """Random, reads nothing, and a constant image would not show it."""

    def encode(self, images, context):
        symbols = super().encode(images, context)
        return symbols + images.std((1, 2, 3), keepdim=False)[:, None] * torch.randn_like(symbols)


class Coin(FakeScheme):
    """Random by the streams of other libraries."""

    def encode(self, images, context):
        flips = random.random() < 0.5, np.random.rand() < 0.5  # noqa: NPY002
        return super().encode(images, context) * (1.0 if flips[0] else -1.0) * (2.0 if flips[1] else 1.0)


class Drifting(FakeScheme):
    """Never gives the same answer twice."""

    calls = 0

    def encode(self, images, context):
        self.calls += 1
        return super().encode(images, context) + self.calls


@pytest.mark.parametrize("kind", [Adaptive, Careful])
def test_what_depends_on_the_snr_is_sent_for_each_snr(source, kind):
    scheme = Pipeline(kind().eval())
    index = torch.arange(8)
    assert scheme.stochastic
    sent = [scheme.send(source, index, context(8, snr_db=snr)) for snr in (1.0, 10.0)]
    assert torch.equal(10.0 * sent[0], sent[1])


@pytest.mark.parametrize("kind", [lambda: FakeScheme(stochastic=True), GlobalNoise, Drifting])
def test_what_is_random_is_drawn_anew_each_time(source, kind):
    scheme = Pipeline(kind().eval())
    index = torch.arange(8)
    with torch.random.fork_rng():
        sent = [scheme.send(source, index, context(8, seed)) for seed in (0, 1, 2)]
    assert scheme.stochastic and len({tuple(s.flatten().tolist()) for s in sent}) == 3


def test_asking_whether_symbols_are_random_moves_no_global_stream():
    with global_streams_untouched("the question"):
        assert Pipeline(GlobalNoise()).stochastic and not Pipeline(FakeScheme()).stochastic
        assert all(Pipeline(Coin().eval()).stochastic for _ in range(10))


def test_what_is_handed_out_is_the_callers_and_what_is_written_into_images_is_seen():
    scheme = Pipeline(FakeScheme().eval())
    images = torch.rand(9, 3, 32, 32)
    first = scheme.send_images(images, context(9))
    kept = first.clone()
    first.neg_()
    assert torch.equal(scheme.send_images(images, context(9)), kept)
    images.mul_(0.5)
    assert torch.allclose(scheme.send_images(images, context(9)), 0.5 * kept, atol=1e-5)
    images.numpy()[:] /= 2  # of which torch is not told
    assert torch.allclose(scheme.send_images(images, context(9)), 0.25 * kept, atol=1e-5)


def test_threads_are_sent_the_same_as_one_after_the_other(source):
    scheme, stream = Pipeline(FakeScheme().eval()), torch.Generator().manual_seed(0)
    asked = [torch.randint(len(source), (12,), generator=stream) for _ in range(60)]
    wanted = [Pipeline(FakeScheme().eval()).send(source, index, context(12)) for index in asked]
    with ThreadPoolExecutor(6) as pool:
        sent = list(pool.map(lambda index: scheme.send(source, index, context(12)), asked))
    assert all(torch.equal(one, other) for one, other in zip(sent, wanted, strict=True))


def test_a_scheme_in_training_mode_is_sent_as_in_evaluation_mode_and_left_as_it_is(source):
    scheme = Pipeline(FakeScheme().train())
    index = torch.arange(8)
    assert scheme.training and scheme.backbone.dropout.training
    wanted = Pipeline(FakeScheme().eval()).send(source, index, context(8))
    for _ in range(2):
        assert torch.equal(scheme.send(source, index, context(8)), wanted)
        images = source.gather(index).images
        with torch.random.fork_rng():
            assert not torch.equal(scheme.encode(images, context(8)), scheme.encode(images, context(8)))
    assert scheme.training and scheme.backbone.dropout.training


def test_a_pipeline_leaves_the_parts_of_a_backbone_in_the_mode_that_each_is_in():
    backbone = FakeScheme().train()
    backbone.dropout.eval()
    scheme = Pipeline(backbone, ["keyed"])
    assert scheme.training and backbone.training and not backbone.dropout.training
    assert scheme.stages[0].training
    with evaluating(scheme):
        assert not any(part.training for part in scheme.modules())
    assert backbone.training and not backbone.dropout.training


# -- weights that change ----------------------------------------------------------------------------


class Normed(FakeScheme):
    """With statistics that move in training, and a part that can be replaced."""

    def __init__(self, spec=SPEC, **options):
        super().__init__(spec, **options)
        self.norm = nn.BatchNorm1d(2 * spec.num_symbols)
        self.part = nn.Linear(2 * spec.num_symbols, 2 * spec.num_symbols)
        self.loudness = 1.0

    def encode(self, images, context):
        return self.loudness * self.part(self.norm(super().encode(images, context)))


def by_an_optimizer_step(scheme):
    optimizer = torch.optim.AdamW(scheme.parameters(), lr=0.1)
    scheme.backbone.up.grad = torch.ones_like(scheme.backbone.up)
    optimizer.step()


def by_loading(scheme):
    scheme.load_state_dict({name: value + 1.0 for name, value in scheme.state_dict().items()})


def by_loading_in_place_of_it(scheme):
    scheme.load_state_dict({name: value + 1.0 for name, value in scheme.state_dict().items()}, assign=True)


def by_another_part(scheme):
    scheme.backbone.part = nn.Linear(128, 128)


def by_moving_statistics(scheme):
    scheme.train()
    with torch.no_grad():
        scheme.backbone.norm(torch.randn(8, 128) * 9.0)
    scheme.eval()


def by_writing_into_it(scheme):
    with torch.no_grad():
        scheme.backbone.up[3, 4] += 100.0


def by_a_plain_attribute(scheme):
    scheme.backbone.loudness = 2.0


def by_a_new_weight_at_the_old_address(scheme):
    """A tensor that is freed first may leave its address to the next one."""
    values, old = scheme.backbone.up.detach() + 1.0, id(scheme.backbone.up)
    scheme.backbone.up = None
    others = [nn.Parameter(values) for _ in range(100)]
    scheme.backbone.up = next((one for one in others if id(one) == old), others[0])


def by_one_weight_less(scheme):
    scheme.backbone.norm.register_parameter("weight", None)


@pytest.mark.parametrize(
    "change",
    [
        by_an_optimizer_step,
        by_loading,
        by_loading_in_place_of_it,
        by_another_part,
        by_moving_statistics,
        by_writing_into_it,
        by_a_plain_attribute,
        by_a_new_weight_at_the_old_address,
        by_one_weight_less,
    ],
)
def test_changed_weights_are_never_sent_with_old_symbols(source, change):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        scheme = Pipeline(Normed().eval())
        with torch.no_grad():
            scheme.backbone.norm.weight.add_(torch.rand(128))
        index = torch.arange(16)
        before = scheme.send(source, index, context(16))
        change(scheme)
        after = scheme.send(source, index, context(16))
    with torch.no_grad():
        wanted = scheme.backbone.encode(source.gather(index).images, context(16))
    assert torch.equal(after, wanted) and not torch.equal(after, before)


def test_weights_that_do_not_change_are_not_asked_again(source):
    scheme = counting()
    index = torch.arange(len(source))
    scheme.send(source, index, context(len(source)))
    scheme.load_state_dict(scheme.state_dict())  # written, though with the same numbers: who knows
    scheme.send(source, index, context(len(source)))
    encoded = scheme.backbone.count
    scheme.train()
    scheme.eval().requires_grad_(False)
    scheme.send(source, index, context(len(source)))
    assert scheme.backbone.count == encoded


# -- how much, and how long -------------------------------------------------------------------------


def remembered(scheme):
    """Bytes of symbols that a pipeline holds."""
    tables = [table for of_one in scheme._memory._known.values() for table in of_one.values()]
    return sum(table._symbols.numel() * table._symbols.element_size() for table in tables)


def test_a_source_that_dies_takes_its_symbols_along():
    scheme = counting()
    mine = make_source("shapes", num_images=64).subset(range(40))
    scheme.send(mine, torch.arange(40), context(40))
    alive = weakref.ref(mine)
    assert remembered(scheme) == 40 * 128 * 4
    del mine
    gc.collect()
    assert alive() is None and remembered(scheme) == 0


@pytest.mark.parametrize("tables", [0, 2])
def test_no_more_is_remembered_of_a_source_than_the_limit(source, monkeypatch, tables):
    """Batches below 8 have symbols of their own each: all of them together keep to the limit."""
    monkeypatch.setattr(memory, "MEMORY_LIMIT", tables * 8 * 64 * len(source))
    scheme = counting()
    wanted = FakeScheme().eval()
    for size in SIZES:
        index = torch.arange(size)
        sent = scheme.send(source, index, context(size))
        assert torch.equal(sent, wanted.encode(source.gather(index).images, context(size)))
    assert remembered(scheme) <= memory.MEMORY_LIMIT
    assert len(scheme._memory._known.get(source, {})) == tables


@pytest.mark.parametrize("way", ["copy", "pickle"])
def test_a_copy_begins_with_an_empty_memory_and_sends_the_same(source, way):
    scheme = make_scheme("deepjscc", SPEC, stem=4, widths=(4, 8), blocks=(0, 0), stages=[Flip(SPEC)]).eval()
    index = torch.arange(16)
    wanted = scheme.send(source, index, context(16))
    if way == "copy":
        again = copy.deepcopy(scheme)
    else:
        file = io.BytesIO()
        torch.save(scheme, file)
        file.seek(0)
        again = torch.load(file, weights_only=False)
    assert remembered(scheme) > 0 == remembered(again)
    assert torch.equal(again.send(source, index, context(16)), wanted)
    with torch.no_grad():
        next(again.parameters()).add_(1.0)
    assert not torch.equal(again.send(source, index, context(16)), wanted)
    assert torch.equal(scheme.send(source, index, context(16)), wanted)


# -- the smallest thing that is a scheme ------------------------------------------------------------


# -- what follows from the parts --------------------------------------------------------------------


def test_a_ready_scheme_is_its_own_pipeline_and_a_bare_one_is_one_of_it_alone():
    scheme, bare = make_scheme("deepjscc", SPEC), FakeScheme()
    assert as_pipeline(scheme) is scheme and make_scheme(scheme) is scheme
    assert as_pipeline(bare).backbone is bare and list(as_pipeline(bare).stages) == []
    with refused("backbone with_stages"):
        Pipeline(scheme)


def test_title_and_composition_tell_which_system_it_is():
    laplace = {"name": "laplace", "epsilon": 9.0}
    scheme = make_scheme("encryption", SPEC, mode="shuffle", stages=[laplace])
    assert [stage.name for stage in scheme.stages] == ["keyed", "laplace"]
    assert [stage.name for stage in scheme.added] == ["laplace"]
    assert scheme.title == "encryption + laplace(epsilon=9, clip=1, mode=laplace)"
    composition = scheme.composition
    assert (composition["weights"], composition["backbone"]) == ("deepjscc", "cnn")
    assert [stage["name"] for stage in composition["stages"]] == ["keyed", "laplace"]
    # However it is said, the same system is the same composition.
    other = make_scheme("deepjscc", SPEC, stages=[{"name": "keyed", "mode": "shuffle"}, laplace])
    assert other.composition == composition and other.title != scheme.title


def test_more_stages_are_another_pipeline_around_the_same_weights():
    scheme = make_scheme("encryption", SPEC)
    longer = scheme.with_stages(["keyed"]).with_stages({"name": "laplace"})
    assert longer.backbone is scheme.backbone
    assert longer.stages[0].key_fingerprint == scheme.stages[0].key_fingerprint
    assert [stage.name for stage in longer.added] == ["keyed", "laplace"] and scheme.added == []
    assert (longer.name, longer.options) == (scheme.name, scheme.options)
    assert scheme.with_stages([]) is scheme and scheme.with_stages(None) is scheme


def test_the_order_of_protect_is_that_of_the_stages_and_recover_goes_back(source):
    class Add(Stage):
        name = "add"

        def protect(self, symbols, context):
            return symbols + 3.0

        def recover(self, received, csi, context):
            return received - 3.0

    class Double(Stage):
        name = "double"

        def protect(self, symbols, context):
            return 2.0 * symbols

        def recover(self, received, csi, context):
            return received / 2.0

    scheme = Pipeline(FakeScheme().eval(), [Add(SPEC), Double(SPEC)])
    symbols, csi = torch.zeros(2, 128), torch.full((2, 1), 12.0)
    sent = scheme.protect(symbols, context(2))
    assert torch.equal(sent, torch.full_like(symbols, 6.0))
    assert torch.equal(scheme.recover(sent, csi, context(2))[0], symbols)
    assert torch.equal(scheme.decode(sent, csi, context(2)), scheme.backbone.decode(symbols, csi, context(2)))


def test_bits_and_constellation_are_those_of_what_is_sent():
    scheme = make_scheme("lbvq", SPEC, stages=["keyed"])
    assert (scheme.constellation, scheme.bits) == ("16qam", 256.0)
    label = make_scheme("label-only", SPEC, stages=[{"name": "laplace", "epsilon": 50.0}])
    assert (label.constellation, label.bits) == ("qpsk", 4.0)
    assert (make_scheme("deepjscc", SPEC).constellation, make_scheme("deepjscc", SPEC).bits) == (None, None)

    assert Pipeline(FakeScheme(), [Rounded(SPEC), "keyed"]).bits == 256.0


@pytest.mark.parametrize(
    ("name", "stages", "words"),
    [
        ("lbvq", ["keyd"], "'keyd' 'keyed'"),
        ("lbvq", [{"name": "keyed", "mood": "shuffle"}], "'keyed' 'mood'"),
        ("lbvq", [{"mode": "shuffle"}], "{'name': ..., option: value}"),
        ("lbvq", [7], "7"),
        ("lbvq", 7, "stages 7"),
        ("lbvq", [{"name": "keyed", "mode": "rotation"}], "'rotation' '16qam'"),
        ("lbvq", [make_stage("keyed", SPEC)], "None '16qam'"),
        ("deepjscc", [make_stage("keyed", replace(SPEC, num_symbols=8))], "8 64"),
        ("deepjscc", ["keyed", Rounded(SPEC)], "'keyed' 'rounded-test' '16qam'"),
        ("deepjscc", [Rounded(SPEC)] * 2, "once"),
    ],
)
def test_a_slip_in_the_stages_gets_one_sentence(name, stages, words):
    with refused(words):
        make_scheme(name, SPEC, stages=stages)


def test_a_key_for_what_takes_none_is_refused():
    with refused("key 'deepjscc'"):
        make_scheme("deepjscc", SPEC, key="11" * 32)
    with refused("'flip'"):
        Flip(SPEC).use_key("11" * 32, 0)


def test_two_stages_with_the_same_knob_have_one_each():
    """Budgets are drawn, obeyed and told per stage: the first's is called epsilon, the second's epsilon-2."""
    ranged = {"name": "laplace", "epsilon": 20.0, "epsilon_range": [10.0, 30.0]}
    fixed = {"name": "laplace", "epsilon": 500.0, "epsilon_range": [400.0, 600.0]}
    scheme = make_scheme("deepjscc", SPEC, stages=[ranged, "keyed", fixed]).train()
    obeyed, told = [], []
    for stage in (scheme.stages[0], scheme.stages[2]):
        protect = stage.protect
        stage.protect = lambda v, c, protect=protect: obeyed.append(c.knobs) or protect(v, c)
    logits = scheme.backbone.decode
    scheme.backbone.decode = lambda v, csi, c: told.append(c.knobs) or logits(v, csi, c)
    game = Game(make_source("shapes", **SMALL), num_symbols=64)
    round_ = game.draw(4, generator=torch.Generator().manual_seed(0))
    said = Context(round_.snr_db, round_.message, generator=torch.Generator().manual_seed(1))
    scheme(round_.batch.images, said, lambda symbols: game.transmit(round_, symbols))
    first, second = (knobs["epsilon"] for knobs in obeyed)
    assert ((first >= 10) & (first <= 30)).all() and ((second >= 400) & (second <= 600)).all()
    assert torch.equal(told[0]["epsilon"], first) and torch.equal(told[0]["epsilon-2"], second)
    scheme.eval()
    scheme.decode(torch.randn(4, 128), torch.full((4, 1), 12.0), said)
    assert {name: float(value[0]) for name, value in told[1].items()} == {"epsilon": 20.0, "epsilon-2": 500.0}


def test_a_keyed_object_in_two_pipelines_is_two_stages():
    """Each has a key of its own, so that giving one a key does not change what the other sends."""
    stage = make_stage("keyed", SPEC)
    first, second = (make_scheme("deepjscc", SPEC, stages=[stage]) for _ in range(2))
    before = first.key_fingerprint
    second.use_key("5a" * 32)
    assert first.stages[0] is stage and first.key_fingerprint == before != second.key_fingerprint
