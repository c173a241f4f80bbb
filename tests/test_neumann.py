"""The blur operator is linear, its series inverts mild blur, and the scales add up as Eq. 10 says."""

from dataclasses import replace
from itertools import product

import pytest
import torch
import torch.nn.functional as F
from networks import noise, one_line, random_network
from torch import Tensor

from nrknet import atoms as atoms_module
from nrknet.atoms import ATOM_BANKS
from nrknet.config import PRESETS, NRKNetConfig
from nrknet.neumann import BlurOperator, LearnedFusion, downsample, fuse_scales, neumann_terms, pyramid

BANKS = list(product(ATOM_BANKS, (True, False)))


def operator_on(
    size: tuple[int, int], *, kind: str = "recursive", shared: bool = True, batch: int = 1, unit_sum: bool = False
) -> BlurOperator:
    """D with 3 random atoms and random coefficients of either sign, in float64."""
    torch.manual_seed(0)
    config = NRKNetConfig(atoms=kind, num_atoms=3, shared_atoms=shared)
    coefficients = noise(batch, 4, *size, seed=5).double() - 0.4
    if unit_sum:
        coefficients[:, 0] = 1 - coefficients[:, 1:].sum(1)
    return BlurOperator(ATOM_BANKS[kind](config).double(), coefficients)


def mild_gaussian(size: tuple[int, int]) -> BlurOperator:
    """A Gaussian blur (sigma 0.5) mixed with the identity, with shares that vary over the image."""
    share = 0.3 + 0.7 * noise(1, 1, *size, seed=2).double()
    bank = ATOM_BANKS["gaussian"](NRKNetConfig(atoms="gaussian", num_atoms=1)).double()
    return BlurOperator(bank, torch.cat([1 - share, share], dim=1))


def matrix_of(operator: BlurOperator, size: tuple[int, int]) -> Tensor:
    """(n,n) matrix of D on one colour channel, column by column."""
    n = size[0] * size[1]
    basis = torch.eye(n, dtype=torch.float64).view(n, 1, *size).expand(-1, 3, -1, -1)
    return operator(basis)[:, 0].reshape(n, n).T


# --------------------------------------------------------------------------------------------------------- operator


@pytest.mark.parametrize(("kind", "shared"), BANKS)
def test_the_operator_is_linear(kind: str, shared: bool) -> None:
    operator = operator_on((9, 12), kind=kind, shared=shared, batch=2)
    x, y = noise(2, 3, 9, 12).double(), noise(2, 3, 9, 12, seed=1).double()
    torch.testing.assert_close(operator(2.5 * x - 0.7 * y), 2.5 * operator(x) - 0.7 * operator(y))


@pytest.mark.parametrize(("kind", "shared"), BANKS)
def test_streaming_without_gradients_equals_the_stack_with_gradients(
    kind: str, shared: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    operator = operator_on((9, 12), kind=kind, shared=shared, batch=2)
    x = noise(2, 3, 9, 12).double()
    stacked = operator(x)
    assert stacked.requires_grad or kind == "gaussian"
    for limit in (atoms_module.MATRIX_SIZE_LIMIT, 0):
        monkeypatch.setattr(atoms_module, "MATRIX_SIZE_LIMIT", limit)
        with torch.no_grad():
            torch.testing.assert_close(operator(x), stacked.detach())


def test_the_operator_is_the_sum_of_eq_11() -> None:
    operator = operator_on((9, 12))
    x = noise(1, 3, 9, 12).double()
    responses = operator.bank(x)
    expected = sum(operator.coefficients[:, j : j + 1] * responses[:, j] for j in range(4))
    torch.testing.assert_close(operator(x), expected)
    torch.testing.assert_close(operator(x, responses=responses), expected)


def test_the_operator_does_not_change_its_argument() -> None:
    operator = operator_on((9, 12))
    x = noise(1, 3, 9, 12).double()
    before = x.clone()
    with torch.no_grad():
        operator(x)
    assert torch.equal(x, before)


@pytest.mark.parametrize("gradients", [True, False])
@pytest.mark.parametrize("size", [(9, 11), (12, 9), (18, 24), (1, 1)])
def test_an_image_of_another_size_is_refused_in_one_sentence(gradients: bool, size: tuple[int, int]) -> None:
    operator = operator_on((9, 12))
    with torch.set_grad_enabled(gradients), pytest.raises(ValueError, match=r"\(9, 12\)") as caught:
        operator(torch.zeros(1, 3, *size, dtype=torch.float64))
    assert str(size) in one_line(caught.value)


def test_learned_fusion_with_ones_is_the_plain_sum_and_its_bias_is_added() -> None:
    operator = operator_on((9, 12))
    fusion = LearnedFusion(4).double()
    with torch.no_grad():
        fusion.conv.weight.copy_(torch.eye(3).repeat(1, 4)[..., None, None])
        fusion.conv.bias.copy_(torch.tensor([0.1, 0.2, 0.3]))  # type: ignore[union-attr]
    x = noise(1, 3, 9, 12).double()
    learned = BlurOperator(operator.bank, operator.coefficients, fusion)
    expected = operator(x) + torch.tensor([0.1, 0.2, 0.3]).double().view(1, 3, 1, 1)
    torch.testing.assert_close(learned(x), expected, atol=1e-7, rtol=1e-6)
    with torch.no_grad():
        torch.testing.assert_close(learned(x), expected, atol=1e-7, rtol=1e-6)


@pytest.mark.parametrize(("kind", "shared"), BANKS)
def test_unit_sum_coefficients_keep_a_flat_image(kind: str, shared: bool) -> None:
    operator = operator_on((9, 12), kind=kind, shared=shared, unit_sum=True)
    flat = torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64).view(1, 3, 1, 1).expand(1, 3, 9, 12)
    torch.testing.assert_close(operator(flat), flat)


# ----------------------------------------------------------------------------------------------------------- series


@pytest.mark.parametrize("known", [True, False])
def test_each_term_is_the_last_minus_its_blur_and_the_blurs_add_up(known: bool) -> None:
    operator = operator_on((9, 12), batch=2)
    blurred = noise(2, 3, 9, 12).double()
    terms = neumann_terms(operator, blurred, 4, responses=operator.bank(blurred) if known else None)
    assert len(terms) == 5 and terms[0] is blurred
    for last, term in zip(terms[:-1], terms[1:], strict=True):
        torch.testing.assert_close(term, last - operator(last))
    torch.testing.assert_close(torch.stack([operator(t) for t in terms[:-1]]).sum(0), blurred - terms[-1])


def test_power_zero_is_the_blurred_image_alone() -> None:
    blurred = noise(1, 3, 9, 12).double()
    assert neumann_terms(operator_on((9, 12)), blurred, 0) == [blurred]


def test_the_series_converges_to_the_exact_inverse_of_a_mild_blur() -> None:
    size = (6, 8)
    operator = mild_gaussian(size)
    sharp = noise(1, 3, *size).double()
    blurred = operator(sharp)
    exact = torch.linalg.solve(matrix_of(operator, size), blurred.reshape(3, -1).T).T.reshape(1, 3, *size)
    torch.testing.assert_close(exact, sharp)  # the solve itself
    partial = torch.stack(neumann_terms(operator, blurred, 60)).cumsum(0)
    errors = [float((p - exact).norm()) for p in partial]
    assert all(later < 0.9 * earlier for earlier, later in zip(errors[:15], errors[1:16], strict=True))
    torch.testing.assert_close(partial[-1], exact, atol=1e-9, rtol=0)


def test_the_error_of_the_truncated_series_is_the_next_power_applied_to_the_truth() -> None:
    operator = operator_on((6, 8))
    sharp = noise(1, 3, 6, 8).double()
    partial = torch.stack(neumann_terms(operator, operator(sharp), 3)).sum(0)
    torch.testing.assert_close(sharp - partial, neumann_terms(operator, sharp, 4)[-1])


# ----------------------------------------------------------------------------------------------------------- scales


def test_fusion_adds_the_highest_powers_or_all_of_them() -> None:
    coarse = [noise(1, 3, 4, 6, seed=s) for s in range(3)]
    fine = [noise(1, 3, 8, 12, seed=s) for s in range(10, 13)]

    def up(x: Tensor) -> Tensor:
        return F.interpolate(x, size=(8, 12), mode="bilinear", align_corners=False)

    crossed = fuse_scales([coarse, fine[:2]], expansion="cross_scale")
    torch.testing.assert_close(crossed, fine[0] + up(coarse[2]) + fine[1])
    full = fuse_scales([coarse, fine], expansion="full")
    torch.testing.assert_close(full, fine[0] + up(coarse[1]) + up(coarse[2]) + fine[1] + fine[2])


@pytest.mark.parametrize("size", [(32, 48), (37, 50)])
@pytest.mark.parametrize("expansion", ["cross_scale", "full"])
@pytest.mark.parametrize("num_scales", [1, 2, 3, 4])
@pytest.mark.parametrize("preset", ["paper", "lite"])
def test_eq_10_composed_by_hand_from_the_scales_is_the_series(
    preset: str, num_scales: int, expansion: str, size: tuple[int, int]
) -> None:
    config = replace(PRESETS[preset], num_scales=num_scales, expansion=expansion)
    with torch.no_grad():
        output = random_network(config)(noise(1, 3, *size))
    assert [s.scale for s in output.scales] == list(range(num_scales, 0, -1))
    finest = output.scales[-1].terms[0]
    image = finest.clone()
    for scale in output.scales:
        powers = [scale.scale] if expansion == "cross_scale" else range(1, num_scales + 1)
        term = scale.terms[0]
        for k in range(1, max(powers) + 1):
            with torch.no_grad():
                term = term - scale.operator(term)
            if k in powers:
                up = 2 ** (scale.scale - 1)
                image += term if up == 1 else F.interpolate(term, scale_factor=up, mode="bilinear")
    torch.testing.assert_close(output.series, image[..., : size[0], : size[1]], atol=1e-5, rtol=1e-4)


def test_the_nearest_pyramid_takes_every_second_pixel_and_the_antialiased_one_keeps_the_mean_place() -> None:
    x = noise(1, 3, 8, 12)
    assert torch.equal(downsample(x, mode="nearest"), x[..., ::2, ::2])
    ramp = torch.arange(12.0).expand(1, 3, 8, 12)
    halved = downsample(ramp, mode="antialias")
    centres = torch.arange(6.0) * 2 + 0.5
    torch.testing.assert_close(halved[..., 1:-1], centres[1:-1].expand(1, 3, 4, 4))


@pytest.mark.parametrize("mode", ["nearest", "antialias"])
def test_the_pyramid_runs_from_coarse_to_fine_and_keeps_a_flat_image(mode: str) -> None:
    x = torch.full((2, 3, 16, 24), 0.3)
    levels = pyramid(x, 3, mode=mode)
    assert [tuple(level.shape[-2:]) for level in levels] == [(4, 6), (8, 12), (16, 24)] and levels[-1] is x
    for level in levels:
        torch.testing.assert_close(level, torch.full_like(level, 0.3))
