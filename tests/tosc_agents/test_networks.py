"""The building blocks: shapes, fresh residual blocks that do nothing, rows that do not touch one another."""

from __future__ import annotations

import pytest
import torch
from tosc_agents.networks import ConvNorm, ImageDecoder, ImageEncoder, ResidualBlock, ResidualMLP, scaled_snr


@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


@pytest.mark.parametrize("stride", [1, 2])
def test_a_convolution_keeps_or_divides_the_resolution(stride):
    out = ConvNorm(3, 5, stride=stride)(torch.rand(2, 3, 16, 8))
    assert out.shape == (2, 5, 16 // stride, 8 // stride) and (out >= 0).all()
    assert (ConvNorm(3, 5, activation=False)(torch.rand(2, 3, 16, 8)) < 0).any()


def test_a_fresh_residual_block_is_the_identity_on_activations():
    x = torch.rand(4, 6, 8, 8)
    assert torch.equal(ResidualBlock(6)(x), x)


def test_a_fresh_residual_block_still_learns():
    block = ResidualBlock(6)
    block(torch.rand(4, 6, 8, 8)).square().sum().backward()
    assert (block.body[1][1].weight.grad != 0).all()


def test_a_residual_mlp_adds_to_its_input():
    mlp = ResidualMLP(12, 3)
    x = torch.randn(5, 12)
    assert mlp(x).shape == (5, 12) and len(mlp.layers) == 3
    for layer in mlp.layers:
        torch.nn.init.zeros_(layer[1].weight)
        torch.nn.init.zeros_(layer[1].bias)
    assert torch.equal(mlp(x), x)
    assert torch.equal(ResidualMLP(12, 0)(x), x)


def test_encoder_and_decoder_are_of_any_image_size():
    for shape in [(3, 64, 64), (1, 28, 28), (3, 9, 15)]:
        encoder = ImageEncoder(shape[0], 20, stem=4, widths=(4, 6, 8), blocks=(1, 0, 1)).eval()
        code = encoder(torch.rand(2, *shape))
        assert code.shape == (2, 20)
        decoder = ImageDecoder(20, shape, widths=(8, 6, 4, 4)).eval()
        images = decoder(code)
        assert images.shape == (2, *shape) and images.dtype == torch.float32
        assert images.min() >= 0 and images.max() <= 1


def test_in_evaluation_rows_do_not_touch_one_another():
    encoder = ImageEncoder(3, 20, stem=4, widths=(4, 6, 8)).eval()
    images = torch.rand(5, 3, 32, 32)
    whole = encoder(images)
    assert torch.allclose(whole[2:3], encoder(images[2:3]), atol=1e-5)


def test_stages_need_as_many_widths_as_block_counts():
    with pytest.raises(ValueError):
        ImageEncoder(3, 8, widths=(4, 4), blocks=(1,))


def test_every_parameter_of_both_networks_gets_a_gradient():
    encoder = ImageEncoder(3, 8, stem=4, widths=(4, 6), blocks=(1, 1))
    decoder = ImageDecoder(8, (3, 16, 16), widths=(8, 6, 4, 4))
    for network in (encoder, decoder):
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                torch.nn.init.ones_(
                    module.weight
                )  # fresh blocks are the identity, and pass nothing further in
    decoder(encoder(torch.rand(4, 3, 16, 16))).square().sum().backward()
    named = [*encoder.named_parameters(), *decoder.named_parameters()]
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for _, p in named)


def test_the_snr_range_of_the_article_becomes_about_one():
    scaled = scaled_snr(torch.tensor([0.0, 10.0, 20.0]))
    assert torch.equal(scaled, torch.tensor([[-1.0], [0.0], [1.0]]))
