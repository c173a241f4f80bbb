"""Building blocks: sizes, states, and heads that look coefficients up as their formulas say."""

from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from networks import narrow, noise, seeded
from torch import Tensor

from nrknet.config import PRESETS, RADII
from nrknet.layers import (
    EVIDENCE_BANDS,
    RESIDUAL_STEP,
    ConvLSTM,
    GatedHead,
    MemorylessCell,
    RadiusHead,
    ResidualBlock,
    UNet,
    blur_evidence,
    radius_weights,
    unit_sum,
    upsample,
)

GRID = torch.tensor(RADII, dtype=torch.float32)


def radius_head(*, stem: int = 1, table_seed: int | None = 0, **options: Any) -> RadiusHead:
    """A head with a basis of small whole numbers, which make exact sums."""
    head = RadiusHead(narrow(replace(PRESETS["default"], stem=stem, **options)))
    if head.basis.shape[0] < head.basis.shape[1]:
        head.basis.copy_(torch.randint(-3, 4, head.basis.shape, generator=seeded(5)))
    if table_seed is not None:
        with torch.no_grad():
            head.table.copy_(torch.randn(head.table.shape, generator=seeded(table_seed)))
    return head


def coefficients_of(coordinates: Tensor, basis: Tensor, *, sums: str) -> Tensor:
    """(...,P) coordinates -> (...,K) coefficients as their definition says."""
    others = coordinates @ basis
    delta = 1 - others.sum(-1, keepdim=True) if sums == "unit_sum" else torch.ones_like(others[..., :1])
    return torch.cat([delta, others], dim=-1)


# ------------------------------------------------------------------------------------------------------------- U-Net


@pytest.mark.parametrize("padding", ["reflect", "zeros"])
@pytest.mark.parametrize("widths", [(6,), (4, 6), (4, 6, 8), (4, 5, 6, 7)])
def test_the_u_net_keeps_the_size_and_gives_every_parameter_a_gradient(widths: tuple[int, ...], padding: str) -> None:
    unet = UNet(5, widths, (1,) * len(widths), padding=padding)
    features = unet(noise(2, 5, 16, 32))
    assert features.shape == (2, widths[0], 16, 32)
    features.square().sum().backward()
    assert all(p.grad is not None and bool(p.grad.abs().max() > 0) for p in unet.parameters())


@pytest.mark.parametrize("padding", ["reflect", "zeros"])
def test_a_residual_block_is_the_identity_plus_two_convolutions(padding: str) -> None:
    block = ResidualBlock(4, padding=padding)
    x = noise(2, 4, 6, 7)
    before = x.clone()
    expected = x + block.second(block.first(x).relu())
    torch.testing.assert_close(block(x), expected)
    assert torch.equal(x, before)


def test_reflect_padding_keeps_a_flat_image_flat_in_every_residual_block() -> None:
    block = ResidualBlock(4, padding="reflect")
    out = block(torch.full((1, 4, 6, 7), 0.5))
    torch.testing.assert_close(out, out[..., :1, :1].expand_as(out))


# ------------------------------------------------------------------------------------------------------------ memory


def test_a_missing_state_is_a_state_of_zeros() -> None:
    cell = ConvLSTM(4, 3, 5)
    x, zeros = noise(2, 4, 6, 7), torch.zeros(2, 3, 6, 7)
    for a, b in zip(cell(x, None)[1], cell(x, (zeros, zeros))[1], strict=True):
        assert torch.equal(a, b)


def test_the_lstm_is_its_gates_by_hand() -> None:
    cell = ConvLSTM(4, 3, 5)
    x, h, c = noise(2, 4, 6, 7), noise(2, 3, 6, 7, seed=1), noise(2, 3, 6, 7, seed=2)
    gates = F.conv2d(torch.cat([x, h], 1), cell.gates.weight, cell.gates.bias, padding=2)
    i, f, o, g = gates[:, :3].sigmoid(), gates[:, 3:6].sigmoid(), gates[:, 6:9].sigmoid(), gates[:, 9:].tanh()
    new_c = f * c + i * g
    hidden, state = cell(x, (h, c))
    torch.testing.assert_close(hidden, o * new_c.tanh())
    torch.testing.assert_close(state[1], new_c)
    assert state[0] is hidden


def test_the_memoryless_twin_ignores_any_state() -> None:
    cell = MemorylessCell(4, 3, 5).eval()
    x = noise(2, 4, 6, 7)
    with_state, kept = cell(x, (noise(2, 3, 6, 7), noise(2, 3, 6, 7)))
    assert kept is None and torch.equal(with_state, cell(x, None)[0]) and with_state.shape == (2, 3, 6, 7)


def test_the_gated_head_is_the_hidden_state_times_one_plus_its_gate() -> None:
    head = GatedHead(narrow(PRESETS["paper"])).eval()
    features, hidden = noise(1, 8, 6, 7), noise(1, 21, 6, 7, seed=1) - 0.5
    coefficients, logits = head(features, hidden, 1)
    ratio = coefficients / hidden
    assert logits is None and bool((ratio >= 1 - 1e-5).all())
    torch.testing.assert_close(coefficients, hidden * (1 + head.norm(head.conv(features)).relu()))


def test_unit_sum_replaces_the_deltas_coefficient_alone() -> None:
    coefficients = noise(2, 5, 3, 4) - 0.5
    found = unit_sum(coefficients)
    assert torch.equal(found[:, 1:], coefficients[:, 1:])
    torch.testing.assert_close(found.sum(1), torch.ones(2, 3, 4))


@pytest.mark.parametrize("stem", [1, 2])
def test_the_gated_heads_unit_sum_is_that_of_its_free_coefficients(stem: int) -> None:
    free = GatedHead(narrow(replace(PRESETS["paper"], stem=stem))).eval()
    sums = GatedHead(narrow(replace(PRESETS["paper"], stem=stem, coefficients="unit_sum"))).eval()
    sums.load_state_dict(free.state_dict())
    features, hidden = noise(1, 8, 6, 7), noise(1, 21, 6, 7, seed=1) - 0.5
    assert torch.equal(sums(features, hidden, 1)[0], unit_sum(free(features, hidden, 1)[0]))


# ------------------------------------------------------------------------------------------------------- radius head


@pytest.mark.parametrize("stem", [1, 2])
@pytest.mark.parametrize("scale", [1, 2, 3])
def test_an_untrained_radius_head_answers_the_delta_for_any_features(stem: int, scale: int) -> None:
    head = radius_head(stem=stem, table_seed=None)
    coefficients, logits = head(noise(2, 8, 6, 7), noise(2, 21, 6, 7, seed=1), scale)
    assert coefficients.shape == (2, 21, 6 * stem, 7 * stem) and logits.shape == (2, len(RADII), 6, 7)
    delta = torch.zeros(21).index_fill_(0, torch.tensor(0), 1).view(1, 21, 1, 1)
    assert torch.equal(coefficients, delta.expand_as(coefficients))


def test_interpolation_weights_give_the_radius_back_and_sum_to_one() -> None:
    radius = RADII[-1] * noise(2, 1, 9, 11)
    weights = radius_weights(radius, GRID)
    assert weights.shape == (2, len(RADII), 9, 11) and bool((weights >= 0).all())
    assert int((weights > 0).sum(1).max()) <= 2
    torch.testing.assert_close(weights.sum(1), torch.ones(2, 9, 11))
    torch.testing.assert_close((weights * GRID.view(1, -1, 1, 1)).sum(1, keepdim=True), radius)


def test_a_radius_on_the_grid_gets_exactly_one_weight() -> None:
    weights = radius_weights(GRID.view(1, 1, 1, -1), GRID)[0, :, 0]
    assert torch.equal(weights, torch.eye(len(RADII)))


@pytest.mark.parametrize(("radius", "index"), [(-3.0, 0), (1e6, -1)])
def test_radii_outside_the_grid_take_its_ends(radius: float, index: int) -> None:
    weights = radius_weights(torch.full((1, 1, 1, 1), radius), GRID).flatten()
    assert weights[index] == 1 and weights.sum() == 1


@pytest.mark.parametrize("sums", ["unit_sum", "free"])
@pytest.mark.parametrize("count", [1, 8, 20, None])
@pytest.mark.parametrize("scale", [1, 2, 3])
def test_the_table_is_interpolated_linearly_and_radius_zero_is_the_delta(
    scale: int, count: int | None, sums: str
) -> None:
    head = radius_head(num_coordinates=count, coefficients=sums)
    assert head.table.shape == (3, len(RADII) - 1, count or 20) and head.basis.shape == (count or 20, 20)
    coordinates = torch.cat([torch.zeros(1, count or 20), head.table[scale - 1].detach()])
    nodes = coefficients_of(coordinates, head.basis, sums=sums)
    on_grid = head.lookup(GRID.view(1, 1, 1, -1), scale)[0, :, 0].T
    assert torch.equal(on_grid[0], F.one_hot(torch.tensor(0), 21).float())
    torch.testing.assert_close(on_grid, nodes)
    middle = (GRID[1:] + GRID[:-1]) / 2
    between = head.lookup(middle.view(1, 1, 1, -1), scale)[0, :, 0].T
    torch.testing.assert_close(between, (nodes[1:] + nodes[:-1]) / 2)


def test_a_certain_posterior_looks_up_what_the_known_radius_does() -> None:
    head = radius_head()
    with torch.no_grad():
        head.posterior.bias.fill_(-200).index_fill_(0, torch.tensor(7), 200)  # type: ignore[union-attr]
    coefficients, logits = head(noise(1, 8, 4, 5), noise(1, 21, 4, 5), 2)
    radius = torch.full((1, 1, 4, 5), float(RADII[7]))
    torch.testing.assert_close(coefficients, head.lookup(radius, 2))
    torch.testing.assert_close(head.expected_radius(logits), radius)


@pytest.mark.parametrize("stem", [1, 2])
def test_the_expected_radius_is_the_mean_of_the_posterior_at_full_resolution(stem: int) -> None:
    head = radius_head(stem=stem)
    logits = 3 * noise(2, len(RADII), 4, 5)
    mean = (logits.softmax(1) * GRID.view(1, -1, 1, 1)).sum(1, keepdim=True)
    torch.testing.assert_close(head.expected_radius(logits), upsample(mean, stem))


def test_without_coordinates_the_basis_is_the_coefficients_themselves() -> None:
    assert torch.equal(RadiusHead(narrow(replace(PRESETS["default"], num_coordinates=None))).basis, torch.eye(20))


@pytest.mark.parametrize("sums", ["unit_sum", "free"])
@pytest.mark.parametrize("count", [8, None])
def test_the_residual_reaches_every_pixel_of_a_two_by_two_stem_by_itself(count: int | None, sums: str) -> None:
    head = radius_head(stem=2, table_seed=None, num_coordinates=count, coefficients=sums)
    bias = torch.arange(4.0 * (count or 20))  # one number per coordinate and pixel of the 2x2 block
    with torch.no_grad():
        head.residual.bias.copy_(bias)  # type: ignore[union-attr]
    found = head(noise(1, 8, 3, 3), noise(1, 21, 3, 3), 1)[0][0, :, :2, :2].flatten(1)
    coordinates = RESIDUAL_STEP * bias.view(-1, 4).T
    torch.testing.assert_close(found.T, coefficients_of(coordinates, head.basis, sums=sums))


# ---------------------------------------------------------------------------------------------------------- evidence


def blurred(x: Tensor, times: int) -> Tensor:
    for _ in range(times):
        x = F.avg_pool2d(F.pad(x, (1,) * 4, mode="reflect"), 3, stride=1)
    return x


@pytest.mark.parametrize("stem", [1, 2])
@pytest.mark.parametrize("size", [(16, 16), (16, 30), (40, 64), (4, 8)])
def test_evidence_has_one_channel_per_band_at_the_stems_resolution(stem: int, size: tuple[int, int]) -> None:
    evidence = blur_evidence(noise(2, 3, *size), stem)
    assert evidence.shape == (2, EVIDENCE_BANDS, size[0] // stem, size[1] // stem)
    assert bool(evidence.isfinite().all())


def test_evidence_falls_with_blur_and_most_in_the_finest_band() -> None:
    sharp = noise(1, 3, 64, 64)
    drop = (blur_evidence(sharp, 1) - blur_evidence(blurred(sharp, 3), 1)).mean((0, 2, 3))
    assert bool((drop > 0).all()) and int(drop.argmax()) == 0


def test_evidence_is_blind_to_brightness_and_finite_on_a_flat_image() -> None:
    x = 0.5 * noise(1, 3, 32, 32)
    torch.testing.assert_close(blur_evidence(x, 1), blur_evidence(x + 0.3, 1), atol=1e-3, rtol=1e-3)
    flat = blur_evidence(torch.full((1, 3, 32, 32), 0.5), 1)
    torch.testing.assert_close(flat, flat[..., :1, :1].expand_as(flat))


def test_evidence_does_not_change_the_image() -> None:
    x = noise(1, 3, 32, 32)
    before = x.clone()
    blur_evidence(x, 2)
    assert torch.equal(x, before)


def test_upsampling_by_one_is_nothing_and_keeps_flat_images_otherwise() -> None:
    x = noise(1, 2, 4, 5)
    assert upsample(x, 1) is x
    assert upsample(x, 2).shape == (1, 2, 8, 10)
    torch.testing.assert_close(upsample(torch.full((1, 2, 4, 5), 0.4), 4), torch.full((1, 2, 16, 20), 0.4))
