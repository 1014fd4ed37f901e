"""Weights on the int8 grid: where they lie, what that costs a layer, and what equalisation leaves as it was."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from small_network import make_calibration, make_network
from torch import nn

from siamedge.export.graphs.branches import fuse_norms, random_feeds
from siamedge.export.quantization.channel_steps import NARROW_STEPS, channel_steps, paired_steps, partner_of
from siamedge.export.quantization.equalisation import equalise_network, find_pairs, input_range, output_range
from siamedge.export.quantization.preparation import Preparation
from siamedge.export.quantization.recipes import ORT
from siamedge.export.quantization.weight_rounding import (
    as_columns,
    factor_of_inverse,
    layers_of,
    round_layers,
    round_network,
    watched,
)
from siamedge.export.verification.tensors import reference_of

LAYERS = [
    nn.Conv2d(12, 8, 1),
    nn.Conv2d(12, 8, 3, stride=2, padding=1, bias=False),
    nn.Conv2d(12, 24, 3, padding=1, groups=12),
    nn.Conv2d(12, 8, 5, dilation=2, groups=4),
    nn.Linear(12, 8),
]
LEFT = [0.25, 0.25, 0.6, 0.25, 0.25]
"""Share of the squared error of rounding to the nearest step; a depth-wise layer has no channels that are alike."""
MIXTURE = torch.linspace(-1, 1, 36).sin().reshape(12, 3)


def alike_inputs(layer: nn.Module, count: int) -> torch.Tensor:
    """Inputs behind a ReLU whose channels are mixtures of three: not around 0, and alike."""
    maps = torch.einsum("nchw,kc->nkhw", torch.randn(count, 3, 16, 16), MIXTURE)
    inputs = torch.relu(1 + maps + 0.1 * torch.randn(count, 12, 16, 16))
    return inputs[:, :, 0, 0] if isinstance(layer, nn.Linear) else inputs


@pytest.mark.parametrize(("layer", "left"), list(zip(LAYERS, LEFT, strict=True)), ids=str)
def test_rounded_layers_give_nearly_what_they_gave_and_keep_its_mean(layer: nn.Module, left: float) -> None:
    torch.manual_seed(1)
    block = nn.Sequential(copy.deepcopy(layer))
    seen, unseen = alike_inputs(layer, 200), alike_inputs(layer, 200)
    with torch.no_grad():
        expected = [block(seen), block(unseen)]
        with watched(block) as moments:
            block(seen)
        nearest = copy.deepcopy(block)
        steps, scale = channel_steps(block[0].weight.numpy(), (0,))
        nearest[0].weight = nn.Parameter(torch.from_numpy(steps * scale))
        plain = [nearest(x) - y for x, y in zip((seen, unseen), expected, strict=True)]
        round_layers(block, moments)
        apart = [block(x) - y for x, y in zip((seen, unseen), expected, strict=True)]
    assert apart[0].transpose(0, 1).flatten(1).mean(1).abs().max() < 0.2 * plain[0].abs().mean()
    assert apart[0].square().mean() < left * plain[0].square().mean()
    assert apart[1].square().mean() < left * plain[1].square().mean()


def test_columns_times_weights_are_what_the_layer_computes() -> None:
    torch.manual_seed(2)
    for layer in LAYERS:
        x = torch.randn(2, 12) if isinstance(layer, nn.Linear) else torch.randn(2, 12, 11, 11)
        with torch.no_grad():
            expected = layer(x).reshape(2, layer.weight.shape[0], -1)
            if layer.bias is not None:
                expected -= layer.bias[:, None]
            columns = as_columns(layer, x)
            products = columns @ layer.weight.reshape(len(columns), -1, columns.shape[2]).transpose(1, 2)
        found = products.permute(0, 2, 1).reshape(layer.weight.shape[0], 2, -1).transpose(0, 1)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_every_quantizer_finds_the_weights_on_its_grid() -> None:
    network = make_network()
    rounded = round_network(network, make_calibration(), template=True)
    for module in (rounded.template, rounded.search):
        for layer in layers_of(module).values():
            values = layer.weight.detach().numpy()
            steps, scale = channel_steps(values, (0,))
            np.testing.assert_allclose(steps * scale, values, rtol=1e-5, atol=1e-9)


def test_each_weight_is_added_to_that_of_the_neighbouring_input() -> None:
    assert partner_of(4).tolist() == [1, 0, 3, 2]
    assert partner_of(2, 1, 3).tolist() == [3, 4, 5, 0, 1, 2]
    assert partner_of(3, 1, 1).tolist() == [1, 0, 2]
    assert partner_of(3, 3, 3) is None


def test_as_many_steps_as_two_products_leave_in_16_bits() -> None:
    weights = np.array(
        [
            [1.0, 0.0, 0.51234, 0.4321],
            [1.0, 1.0, 0.0, 0.0],
            [1.0, -1.0, 1.0, -1.0],
            [1.0, 0.2517, 0.0, 0.0],
            [0.0, 0.0, 0.0, 0.0],
        ],
        np.float32,
    )
    assert paired_steps(weights).tolist() == [127, 64, 127, 102, 127]
    assert paired_steps(np.ones((2, 3, 3, 3), np.float32)).tolist() == [NARROW_STEPS, NARROW_STEPS]


def test_the_grid_of_weights_that_lie_on_one_is_found_again() -> None:
    steps = np.array([[100.0, 20.0, -3.0, 7.0]], np.float32)
    assert paired_steps(steps * np.float32(0.0123)).tolist() == [100]


def in_pairs(layer: nn.Conv2d) -> torch.Tensor:
    """Steps of (outputs, pairs of neighbouring inputs, 2, places)."""
    values = layer.weight.detach()
    steps = torch.from_numpy(paired_steps(values.numpy())).reshape(-1, 1, 1, 1)
    scale = values.abs().amax((1, 2, 3), keepdim=True) / steps
    return (values / scale).reshape(len(values), values.shape[1] // 2, 2, -1)


def test_weights_that_are_rounded_in_pairs_never_saturate_and_lose_less_than_the_nearest_of_7_bits() -> None:
    torch.manual_seed(3)
    block = nn.Sequential(nn.Conv2d(12, 8, 3, padding=1))
    inputs = alike_inputs(block[0], 100)
    with torch.no_grad():
        expected = block(inputs)
        with watched(block) as moments:
            block(inputs)
        weight = block[0].weight.clone()
        scale = weight.abs().amax((1, 2, 3), keepdim=True) / NARROW_STEPS
        block[0].weight.copy_((weight / scale).round() * scale)
        nearest = (block(inputs) - expected).square().mean()
        block[0].weight.copy_(weight)
        round_layers(block, moments, in_pairs=True)
        found = (block(inputs) - expected).square().mean()
    steps = in_pairs(block[0])
    assert torch.allclose(steps, steps.round(), atol=1e-3)
    for sign in (1, -1):
        assert 255 * (sign * steps.round()).clamp_min(0).sum(2).max() < 2**15
    assert steps.abs().amax((1, 2, 3)).min() > NARROW_STEPS
    assert found < 0.1 * nearest


def test_a_weight_behind_an_input_that_is_always_0_does_not_set_the_scale() -> None:
    torch.manual_seed(4)
    block = nn.Sequential(nn.Conv2d(12, 8, 3, padding=1))
    inputs = alike_inputs(block[0], 100)
    inputs[:, 5] = 0
    errors: list[torch.Tensor] = []
    for giant in (0.0, 40.0):
        own = copy.deepcopy(block)
        with torch.no_grad():
            own[0].weight[:, 5] = giant
            expected = own(inputs)
            with watched(own) as moments:
                own(inputs)
            round_layers(own, moments)
            errors.append((own(inputs) - expected).square().mean())
    assert errors[1] < 1.5 * errors[0]


def test_a_depthwise_channel_that_was_always_0_keeps_its_weights() -> None:
    torch.manual_seed(5)
    block = nn.Sequential(nn.Conv2d(12, 12, 3, padding=1, groups=12))
    inputs = alike_inputs(block[0], 20)
    inputs[:, 5] = 0
    before = block[0].weight.detach().clone()
    with torch.no_grad():
        with watched(block) as moments:
            block(inputs)
        round_layers(block, moments)
    assert (block[0].weight[5] - before[5]).abs().max() <= before[5].abs().max() / 127


def test_a_layer_that_never_ran_and_the_source_network_stay_as_they_are() -> None:
    network = make_network()
    network.search.unused = nn.Conv2d(3, 3, 3)
    before = {name: value.clone() for name, value in network.search.state_dict().items()}
    rounded = round_network(network, make_calibration(), template=False)
    assert torch.equal(rounded.search.unused.weight, before["unused.weight"])
    assert all(torch.equal(value, before[name]) for name, value in network.search.state_dict().items())
    assert not torch.equal(rounded.search.cls.weight, before["cls.weight"])
    source, ours = (reference_of(item, make_calibration()) for item in (network, rounded))
    for kernels, expected in zip(ours.kernels, source.kernels, strict=True):
        for name, value in kernels.items():
            np.testing.assert_allclose(value, expected[name], rtol=1e-4, atol=1e-4)


class Chain(nn.Module):
    """Planted: the channels between the layers differ by a factor of a thousand."""

    def __init__(self, between: nn.Module) -> None:
        super().__init__()
        first, depthwise, last = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.Conv2d(8, 4, 1)
        self.layers = nn.Sequential(first, nn.BatchNorm2d(8), between, nn.Sequential(depthwise, nn.ReLU()), last)
        with torch.no_grad():
            factors = torch.logspace(-1.5, 1.5, 8)
            first.weight *= factors.reshape(8, 1, 1, 1)
            first.bias *= factors
            depthwise.weight /= factors.reshape(8, 1, 1, 1)

    def forward(self, crop: torch.Tensor, *kernels: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(self.layers(crop / 128 - 1) for _ in range(3 if kernels else 2))


def ratio(values: torch.Tensor) -> float:
    return float(values.max() / values.min())


def test_equalisation_leaves_the_outputs_and_makes_channels_alike() -> None:
    torch.manual_seed(3)
    network = replace(make_network("BGR"), template=Chain(nn.ReLU()).eval(), search=Chain(nn.Identity()).eval())
    equalised = equalise_network(network)
    for role in ("template", "search"):
        before, after = (fuse_norms(copy.deepcopy(getattr(item, role))) for item in (network, equalised))
        feeds = random_feeds(network, role)
        with torch.no_grad():
            for ours, expected in zip(after(*feeds), before(*feeds), strict=True):
                assert (ours - expected).abs().max() <= 1e-4 * expected.abs().max()
        (first, depthwise), (_, last) = find_pairs(after)
        wild = next(find_pairs(before))[0]
        assert ratio(output_range(wild)) > 200
        assert ratio(output_range(first)) < 20
        torch.testing.assert_close(output_range(first), input_range(depthwise), rtol=0.02, atol=0)
        torch.testing.assert_close(output_range(depthwise), input_range(last), rtol=0.02, atol=0)


def test_where_nothing_commutes_there_is_nothing_to_equalise() -> None:
    network = replace(make_network("BGR"), template=Chain(nn.ReLU6()).eval(), search=Chain(nn.Hardswish()).eval())
    assert [len(list(find_pairs(fuse_norms(item)))) for item in (network.template, network.search)] == [1, 1]
    assert equalise_network(make_network()) is None


def test_what_was_prepared_once_is_given_again_and_a_plain_recipe_changes_nothing() -> None:
    network, crops = make_network(), make_calibration()
    preparation = Preparation(network)
    rounded = replace(ORT, rounding="compensated", template_precision="int8 weights")
    assert preparation.prepare(crops, ORT) is network
    assert preparation.prepare(crops, rounded) is preparation.prepare(crops, rounded)
    alone = preparation.prepare(crops, replace(rounded, template_precision="fp16"))
    expected, found = (layers_of(item.template)["backbone.layers.0"].weight for item in (network, alone))
    folded = fuse_norms(copy.deepcopy(network.template).eval())
    assert torch.equal(found, layers_of(folded)["backbone.layers.0"].weight)
    assert not torch.equal(found, expected)


@pytest.mark.parametrize("largest", [1.0, 1e12])
def test_inputs_that_depend_on_one_another_have_a_factor_too(largest: float) -> None:
    """Pictures of a capped lens: one input follows from the other, and rounding makes the matrix indefinite."""
    covariance = torch.tensor([[[largest, 2.0, 0.0], [2.0, 1e-9, 0.0], [0.0, 0.0, 0.0]]], dtype=torch.float64)
    factor = factor_of_inverse(covariance)
    assert torch.isfinite(factor).all()
    assert (factor.diagonal(dim1=1, dim2=2) > 0).all()
