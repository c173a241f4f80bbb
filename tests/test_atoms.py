"""Every atom bank: positive atoms of sum 1, and a forward pass that is the correlation with the kernels it shows."""

from dataclasses import replace
from itertools import product

import pytest
import torch
import torch.nn.functional as F
from networks import noise, seeded
from torch import Tensor

from nrknet import atoms as atoms_module
from nrknet.atoms import ATOM_BANKS, AtomBank, RecursiveAtoms, reflect_index, reflect_pad, toeplitz
from nrknet.config import PRESETS, NRKNetConfig

SETTINGS = list(product(ATOM_BANKS, ("free", "symmetric"), (True, False)))
FORMS = list(product(("free", "symmetric"), (True, False)))


def bank_of(kind: str, taps: str, shared: bool, *, num_atoms: int = 5) -> AtomBank:
    """A bank in float64 with clearly uneven random atoms."""
    config = NRKNetConfig(atoms=kind, taps=taps, shared_atoms=shared, num_atoms=num_atoms)
    bank = ATOM_BANKS[kind](config).double()
    generator = seeded(3)
    with torch.no_grad():
        for parameter in bank.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return bank


def count(config: NRKNetConfig) -> int:
    return sum(p.numel() for p in ATOM_BANKS[config.atoms](config).parameters())


def impulse_response(bank: AtomBank) -> Tensor:
    """(K,3,S,S) what the bank makes of one bright pixel far from the border, flipped to a correlation kernel."""
    size = bank.support + 2
    image = torch.zeros(1, 3, size, size, dtype=torch.float64)
    image[:, :, size // 2, size // 2] = 1
    return bank(image)[0, :, :, 1:-1, 1:-1].flip(-1, -2)


# ---------------------------------------------------------------------------------------------------------- kernels


@pytest.mark.parametrize(("kind", "taps", "shared"), SETTINGS)
def test_atoms_are_not_negative_and_sum_to_one_and_the_first_is_the_delta(kind: str, taps: str, shared: bool) -> None:
    bank = bank_of(kind, taps, shared)
    kernels = bank.kernels()
    assert kernels.shape == (6, 1 if shared else 3, 11, 11)
    assert bool((kernels >= 0).all())
    torch.testing.assert_close(kernels.sum((-1, -2)), torch.ones_like(kernels[..., 0, 0]))
    delta = torch.zeros(11, 11, dtype=torch.float64)
    delta[5, 5] = 1
    assert torch.equal(kernels[0], delta.expand_as(kernels[0]))


@pytest.mark.parametrize(("kind", "taps", "shared"), SETTINGS)
def test_atom_j_is_positive_on_2j_plus_1_pixels_and_zero_outside(kind: str, taps: str, shared: bool) -> None:
    kernels = bank_of(kind, taps, shared).kernels()
    for j in range(6):
        inside = torch.zeros(11, 11, dtype=torch.bool)
        inside[5 - j : 6 + j, 5 - j : 6 + j] = True
        assert bool((kernels[j][:, inside] > 0).all()) and bool((kernels[j][:, ~inside] == 0).all())


@pytest.mark.parametrize(("kind", "shared"), list(product(ATOM_BANKS, (True, False))))
def test_symmetric_atoms_equal_their_mirror_images_and_free_ones_do_not(kind: str, shared: bool) -> None:
    kernels = bank_of(kind, "symmetric", shared).kernels()
    torch.testing.assert_close(kernels, kernels.flip(-1))
    torch.testing.assert_close(kernels, kernels.flip(-2))
    if kind != "gaussian":
        free = bank_of(kind, "free", shared).kernels()
        assert not torch.allclose(free[1:], free[1:].flip(-1))


def test_the_largest_of_twenty_atoms_covers_41_pixels() -> None:
    assert ATOM_BANKS["recursive"](PRESETS["paper"]).kernels().shape[-1] == 41


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (PRESETS["paper"], 60),
        (replace(PRESETS["paper"], atoms="nonrecursive"), 440),
        (replace(PRESETS["paper"], atoms="nonseparable"), 12_340),
        (replace(PRESETS["paper"], atoms="gaussian"), 0),
        (PRESETS["released"], 21 * 3 * 2),
    ],
    ids=["recursive", "nonrecursive", "nonseparable", "gaussian", "released"],
)
def test_atom_parameters_are_counted_as_in_table_3(config: NRKNetConfig, expected: int) -> None:
    assert count(config) == expected


# ---------------------------------------------------------------------------------------------------------- forward


@pytest.mark.parametrize(("kind", "taps", "shared"), SETTINGS)
def test_the_response_to_one_pixel_is_the_kernel(
    kind: str, taps: str, shared: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    bank = bank_of(kind, taps, shared)
    expected = bank.kernels().expand(-1, 3, -1, -1)
    torch.testing.assert_close(impulse_response(bank), expected)
    monkeypatch.setattr(atoms_module, "MATRIX_SIZE_LIMIT", 0)
    torch.testing.assert_close(impulse_response(bank), expected)


@pytest.mark.parametrize(("taps", "shared"), FORMS)
def test_the_recursion_equals_the_explicit_cascade_of_3x3_kernels(taps: str, shared: bool) -> None:
    bank = bank_of("recursive", taps, shared)
    assert isinstance(bank, RecursiveAtoms)
    for channel in range(3):
        cascade = torch.ones(1, 1, 1, 1, dtype=torch.float64)
        for j, step in enumerate(bank.taps(), start=1):
            a = step[0 if shared else channel]
            # correlating with one kernel after another is correlating with their convolution
            cascade = F.conv2d(F.pad(cascade, (2,) * 4), torch.outer(a, a).flip(0, 1)[None, None])
            found = impulse_response(bank)[j, channel, 5 - j : 6 + j, 5 - j : 6 + j]
            torch.testing.assert_close(found, cascade[0, 0])


@pytest.mark.parametrize("size", [(9, 14), (14, 9), (3, 20), (13, 13)])
@pytest.mark.parametrize(("kind", "taps", "shared"), SETTINGS)
def test_matrix_products_stencils_and_the_chain_agree(
    kind: str, taps: str, shared: bool, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    bank = bank_of(kind, taps, shared)
    x = noise(2, 3, *size).double()
    by_matrices = bank(x)
    assert by_matrices.shape == (2, 6, 3, *size)
    monkeypatch.setattr(atoms_module, "MATRIX_SIZE_LIMIT", 0)
    torch.testing.assert_close(by_matrices, bank(x))
    torch.testing.assert_close(by_matrices, torch.stack(list(bank.chain(x)), dim=1))


@pytest.mark.parametrize(("taps", "shared"), FORMS)
def test_matrix_products_and_stencils_agree_in_their_gradients(
    taps: str, shared: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = noise(1, 3, 7, 10).double().requires_grad_()
    bank = bank_of("recursive", taps, shared)
    target = noise(1, 6, 3, 7, 10, seed=1).double()
    wanted = (x, *bank.parameters())
    first = torch.autograd.grad(((bank(x) - target) ** 2).sum(), wanted)
    monkeypatch.setattr(atoms_module, "MATRIX_SIZE_LIMIT", 0)
    second = torch.autograd.grad(((bank(x) - target) ** 2).sum(), wanted)
    for a, b in zip(first, second, strict=True):
        assert bool(a.abs().max() > 0)
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize(("kind", "taps", "shared"), SETTINGS)
def test_a_flat_image_stays_flat_up_to_its_borders(kind: str, taps: str, shared: bool) -> None:
    x = torch.tensor([0.2, 0.5, 0.9], dtype=torch.float64).view(1, 3, 1, 1).expand(1, 3, 8, 11)
    torch.testing.assert_close(bank_of(kind, taps, shared)(x), x[:, None].expand(1, 6, -1, -1, -1))


@pytest.mark.parametrize(("kind", "taps", "shared"), SETTINGS)
def test_the_delta_returns_the_image_itself(kind: str, taps: str, shared: bool) -> None:
    x = noise(2, 3, 8, 11).double()
    assert torch.equal(bank_of(kind, taps, shared)(x)[:, 0], x)


@pytest.mark.parametrize("kind", ATOM_BANKS)
def test_per_channel_atoms_keep_the_colours_apart(kind: str) -> None:
    bank = bank_of(kind, "free", False)
    x = noise(1, 3, 9, 9).double()
    changed = x.clone()
    changed[:, 1] += noise(9, 9, seed=1)
    difference = (bank(changed) - bank(x)).abs().amax((0, 1, 3, 4))
    assert difference[0] == 0 and difference[1] > 0 and difference[2] == 0


# ---------------------------------------------------------------------------------------------------------- borders


@pytest.mark.parametrize(
    ("size", "pad"), [((6, 9), 2), ((6, 9), 5), ((6, 9), 6), ((3, 4), 20), ((1, 5), 3), ((2, 2), 7)]
)
def test_reflection_repeats_back_and_forth_however_large_the_padding(size: tuple[int, int], pad: int) -> None:
    x = noise(2, 3, *size)
    expected = x
    for axis in (-1, -2):  # one pixel at a time: the next one outside mirrors what lies as far inside the original
        n = x.shape[axis]
        period = [*range(n), *range(n - 2, 0, -1)]
        order = [period[i % len(period)] for i in range(-pad, n + pad)]
        expected = expected.index_select(axis, torch.tensor(order))
    assert torch.equal(reflect_pad(x, pad), expected)


def test_reflection_needs_no_batch_axes() -> None:
    x = noise(5, 6)
    assert torch.equal(reflect_pad(x, 2), F.pad(x[None, None], (2,) * 4, mode="reflect")[0, 0])


@pytest.mark.parametrize("size", [1, 2, 3, 10])
def test_a_toeplitz_matrix_filters_like_a_convolution_with_reflecting_ends(size: int) -> None:
    kernel = noise(7).double()
    signal = noise(size, seed=1).double()
    padded = signal[reflect_index(size, 3)]
    expected = F.conv1d(padded[None, None], kernel[None, None])[0, 0]
    torch.testing.assert_close(toeplitz(kernel, size) @ signal, expected)
