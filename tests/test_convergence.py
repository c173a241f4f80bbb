"""The truncated series against algebra, and the norm of I - D against operators whose norm is known."""

import pytest
import torch
from networks import noise, seeded

from nrknet.atoms import ATOM_BANKS
from nrknet.config import NRKNetConfig
from nrknet.convergence import radial_responses, residual_norm, truncated_inverse
from nrknet.neumann import BlurOperator, neumann_terms


@pytest.mark.parametrize("power", [0, 1, 3, 7])
def test_blurring_then_restoring_leaves_one_minus_the_next_power(power: int) -> None:
    transfer = torch.linspace(-0.2, 1.0, 25, dtype=torch.float64)
    left = truncated_inverse(transfer, power) * transfer
    torch.testing.assert_close(left, 1 - (1 - transfer) ** (power + 1))


def test_the_series_of_frequencies_is_the_series_of_images() -> None:
    # an image that is one number per frequency, D a product
    transfer, blurred = noise(1, 3, 8, 8), noise(1, 3, 8, 8, seed=1)
    terms = neumann_terms(lambda x, responses=None: transfer * x, blurred, 3)  # type: ignore[arg-type]
    torch.testing.assert_close(sum(terms), truncated_inverse(transfer, 3) * blurred)


def test_a_negative_power_is_refused() -> None:
    with pytest.raises(ValueError, match="power must be 0 or more, got -1"):
        truncated_inverse(torch.ones(1), -1)


@pytest.mark.parametrize("lowest", [0.5, -0.13])
def test_the_norm_is_the_largest_distance_of_the_transfer_function_from_one(lowest: float) -> None:
    factors = torch.linspace(lowest, 1, 64).reshape(1, 1, 8, 8).expand(1, 3, 8, 8)
    found = residual_norm(lambda x: factors * x, torch.zeros(1, 3, 8, 8), steps=60, generator=seeded())
    assert found == pytest.approx(1 - lowest, rel=0.01)


def test_the_norm_of_blur_that_varies_is_that_of_its_matrix() -> None:
    config = NRKNetConfig(num_atoms=3)
    bank = ATOM_BANKS["recursive"](config).requires_grad_(False)
    operator = BlurOperator(bank, torch.randn(1, 4, 6, 6, generator=seeded()))
    columns = []
    for i in range(3 * 36):
        unit = torch.zeros(3 * 36)
        unit[i] = 1
        columns.append((unit.view(1, 3, 6, 6) - operator(unit.view(1, 3, 6, 6))).flatten())
    expected = float(torch.linalg.matrix_norm(torch.stack(columns, dim=1), 2))
    found = residual_norm(operator, torch.zeros(1, 3, 6, 6), steps=200, generator=seeded(1))
    assert found == pytest.approx(expected, rel=1e-3)


def test_the_identity_leaves_nothing_to_invert() -> None:
    assert residual_norm(lambda x: 1.0 * x, torch.zeros(1, 3, 4, 4), generator=seeded()) == 0


def gaussian(sigma: float, half: int = 12) -> torch.Tensor:
    line = torch.exp(-0.5 * (torch.arange(-half, half + 1.0) / sigma) ** 2)
    return torch.outer(line, line) / line.sum() ** 2


def test_the_response_of_a_gaussian_falls_as_its_transform_does() -> None:
    frequencies, blurred, _ = radial_responses(gaussian(2.0), 3)
    expected = torch.exp(-2 * (torch.pi * 2.0 * frequencies) ** 2)
    assert torch.allclose(blurred, expected, atol=0.01)  # rings are as wide as a frequency


def test_each_power_of_the_series_brings_more_of_a_gaussians_frequencies_back() -> None:
    restored = [radial_responses(gaussian(1.5), power)[2] for power in range(4)]
    assert torch.equal(restored[0], radial_responses(gaussian(1.5), 0)[1])
    for less, more in zip(restored, restored[1:], strict=False):
        assert (more[1:40] > less[1:40]).all() and (more < 1 + 1e-5).all()
