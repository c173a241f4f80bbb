"""What an Analysis shows is what the network computed for the photo."""

from typing import Any

import numpy as np
import pytest
import torch
from networks import narrow, randomise
from numpy.typing import NDArray
from skimage import data

from nrknet.analysis import Analysis, atom_taps, blur_radius, rms
from nrknet.config import PRESETS, NRKNetConfig
from nrknet.inference import MIN_TILE, Deblurrer
from nrknet.model import NRKNet, ScaleOutput
from nrknet.neumann import BlurOperator, fuse_scales

TINY = {"num_atoms": 3, "widths": (4, 8), "num_blocks": (1, 1)}
RADIUS = {"coefficients": "unit_sum", "head": "radius", "radii": (0, 2, 5), "num_coordinates": 2, "memory_channels": 4}


def tiny(seed: int = 0, **options: Any) -> NRKNet:
    torch.manual_seed(seed)
    return NRKNet(NRKNetConfig(**{**TINY, **options}))


def random_photo(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def restless() -> Deblurrer:
    return Deblurrer(randomise(tiny(**RADIUS)), device="cpu", tile=MIN_TILE)


@pytest.mark.parametrize("head", [{}, RADIUS], ids=["gated", "radius"])
def test_an_analysis_shows_what_a_call_computed(head: dict[str, Any]) -> None:
    model = randomise(tiny(**head)) if head else tiny()
    deblurrer = Deblurrer(model, device="cpu")
    photo = data.chelsea()[100:149, 150:211]
    analysis = deblurrer.analyze(photo)
    assert np.array_equal(analysis.image, deblurrer(photo))
    assert analysis.defocus_map.shape == photo.shape[:2] and analysis.defocus_map.dtype == np.float32
    assert analysis.defocus_map.min() >= 0 and np.isfinite(analysis.defocus_map).all()
    count = model.config.num_coefficients
    assert analysis.coefficients is not None and analysis.terms is not None
    assert [len(c) for c in analysis.coefficients] == [count] * 3
    assert [len(t) for t in analysis.terms] == [4, 3, 2]
    assert analysis.atoms.shape == (count, 1, 7, 7)
    assert np.allclose(analysis.atoms.sum((-1, -2)), 1, atol=1e-5)


def test_the_terms_of_an_analysis_compose_to_the_photo_that_comes_out(restless: Deblurrer) -> None:
    # Z_0 = Y_1 + sum over the scales of their highest term, enlarged (Eq. 10)
    photo = data.chelsea()[100:149, 150:211]
    analysis = restless.analyze(photo)
    assert analysis.terms is not None
    assert np.allclose(analysis.terms[-1][0][:49, :61] * 255, photo, atol=1e-3)
    terms = [[torch.from_numpy(t).permute(2, 0, 1)[None] for t in scale] for scale in analysis.terms]
    fused = fuse_scales(terms, expansion="cross_scale")[0, :, :49, :61].permute(1, 2, 0).numpy()
    assert np.array_equal((fused.clip(0, 1) * 255).round().astype(np.uint8), analysis.image)


def test_details_are_left_out_on_request(restless: Deblurrer) -> None:
    analysis = restless.analyze(random_photo(20, 20), details=False)
    assert analysis.coefficients is None and analysis.terms is None


def test_a_network_without_a_radius_head_shows_the_width_of_its_kernels() -> None:
    # one Gaussian atom of standard deviation s, mixed with the delta: variance c s^2 along each axis, r = 2 sqrt(c) s
    model = tiny(atoms="gaussian")
    variance = float((model.atoms.kernels()[3, 0].sum(0) * torch.arange(-3.0, 4.0) ** 2).sum())
    coefficients = torch.zeros(1, 4, 5, 6)
    coefficients[:, 3] = torch.linspace(0, 1, 6)
    coefficients[:, 0] = 1 - coefficients[:, 3]
    expected = 2 * (torch.linspace(0, 1, 6) * variance).sqrt().expand(1, 1, 5, 6)
    for gain in (1.0, 0.8):  # brightness is no blur
        operator = BlurOperator(model.atoms, gain * coefficients)
        scale = ScaleOutput(1, (), gain * coefficients, operator, torch.zeros(1, 3, 5, 6), None, None)
        assert torch.allclose(blur_radius(scale), expected, atol=1e-4)


def test_a_network_with_a_radius_head_shows_what_that_says(restless: Deblurrer) -> None:
    photo = random_photo(24, 32)
    with torch.no_grad():
        output = restless.model(torch.from_numpy(photo).permute(2, 0, 1)[None].float() / 255)
    assert output.scales[-1].radius is not None
    seen = Deblurrer(restless.model, precision="exact").analyze(photo)
    assert np.allclose(seen.defocus_map, output.scales[-1].radius[0, 0], atol=1e-5)
    assert np.allclose(restless.analyze(photo).defocus_map, seen.defocus_map, atol=0.01)

# ---------------------------------------------------------------------------------------------- what follows from terms


@pytest.fixture(scope="module", params=["paper", "released", "lite"])
def seen(request: pytest.FixtureRequest) -> tuple[Deblurrer, NDArray[np.uint8], Analysis]:
    deblurrer = Deblurrer(randomise(NRKNet(narrow(PRESETS[request.param]))), device="cpu")
    photo = data.chelsea()[100:149, 150:211]
    return deblurrer, photo, deblurrer.analyze(photo)


Seen = tuple[Deblurrer, NDArray[np.uint8], Analysis]


def test_the_contributions_of_the_scales_and_the_photo_make_the_series(seen: Seen) -> None:
    deblurrer, photo, analysis = seen
    assert analysis.contributions is not None and analysis.series is not None
    assert [part.shape for part in analysis.contributions] == [photo.shape] * 3
    assert np.allclose(photo / 255 + sum(analysis.contributions), analysis.series, atol=1e-5)
    if deblurrer.model.image_head is None:
        assert np.abs(analysis.series.clip(0, 1) * 255 - analysis.image).max() < 0.501  # another order of sums


@pytest.mark.parametrize("preset", ["paper", "lite"])
def test_the_kernel_at_a_pixel_makes_the_reblurred_pixel_from_those_around_it(preset: str) -> None:
    # D_1 Z_0 at a pixel is the sum of the pixels around it under K_{h,w} (Eq. 1, 4)
    deblurrer = Deblurrer(randomise(NRKNet(narrow(PRESETS[preset]))), device="cpu")
    analysis = deblurrer.analyze(data.chelsea()[100:149, 150:211])
    row, column = 24, 31
    kernel = analysis.kernel_at(row, column)
    half = kernel.shape[-1] // 2
    assert analysis.series is not None and analysis.reblurred is not None
    around = analysis.series[row - half : row + half + 1, column - half : column + half + 1]
    found = (around.transpose(2, 0, 1) * kernel).sum((1, 2))
    assert np.allclose(found, analysis.reblurred[row, column], atol=2e-5)
    assert not np.allclose(found, analysis.series[row, column], atol=2e-4)


def test_the_kernels_of_a_network_that_leaves_the_photo_are_the_delta() -> None:
    analysis = Deblurrer(NRKNet(narrow(PRESETS["lite"])), device="cpu").analyze(data.chelsea()[:40, :50])
    for scale in (1, 2, 3):
        kernel = analysis.kernel_at(39, 49, scale=scale)
        delta = np.zeros_like(kernel)
        delta[..., kernel.shape[-1] // 2, kernel.shape[-1] // 2] = 1
        assert np.allclose(kernel, delta)


@pytest.mark.parametrize(
    ("row", "column", "scale", "message"),
    [
        (-1, 0, 1, "the pixel must lie in the photo of 40x50, got row -1, column 0"),
        (0, 50, 1, "got row 0, column 50"),
        (0, 0, 4, r"scale must be from 1 \(full size\) to 3, got 4"),
    ],
)
def test_a_kernel_is_asked_for_inside_the_photo(row: int, column: int, scale: int, message: str) -> None:
    analysis = Deblurrer(tiny(), device="cpu").analyze(data.chelsea()[:40, :50])
    with pytest.raises(ValueError, match=message):
        analysis.kernel_at(row, column, scale=scale)


def test_without_details_there_are_no_kernels() -> None:
    analysis = Deblurrer(tiny(), device="cpu").analyze(data.chelsea()[:40, :50], details=False)
    with pytest.raises(ValueError, match="holds no coefficients"):
        analysis.kernel_at(0, 0)


def test_an_analysis_takes_one_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    deblurrer, seen = Deblurrer(tiny(), device="cpu"), []
    network = deblurrer._network

    def record(photo: Any, **options: Any) -> Any:
        seen.append(photo.shape)
        return network(photo, **options)

    monkeypatch.setattr(deblurrer, "_network", record)
    assert deblurrer.analyze(data.chelsea()[:40, :50]).terms is not None
    assert seen == [(40, 50, 3)]


def test_the_running_sum_starts_at_the_photo_and_ends_at_the_series(seen: Seen) -> None:
    _, photo, analysis = seen
    sums = analysis.running_sums()
    assert len(sums) == 4 and np.allclose(sums[0], photo / 255, atol=1e-6)
    assert analysis.contributions is not None and analysis.series is not None
    assert np.allclose(sums[2] - sums[1], analysis.contributions[1], atol=1e-5)
    assert np.allclose(sums[-1], analysis.series, atol=1e-5)


def test_the_residual_is_the_reblurred_photo_less_the_photo(seen: Seen) -> None:
    _, photo, analysis = seen
    assert analysis.reblurred is not None
    assert np.allclose(analysis.residual(), analysis.reblurred - photo / 255, atol=5e-7)
    assert rms(analysis.residual()) > 1e-5


def test_a_network_that_leaves_the_photo_has_no_residual() -> None:
    analysis = Deblurrer(NRKNet(narrow(PRESETS["lite"])), device="cpu").analyze(data.chelsea()[:40, :50])
    assert rms(analysis.residual()) < 1e-6


def test_without_details_there_are_no_sums() -> None:
    analysis = Deblurrer(tiny(), device="cpu").analyze(data.chelsea()[:40, :50], details=False)
    with pytest.raises(ValueError, match="holds no terms"):
        analysis.residual()


@pytest.mark.parametrize("preset", ["paper", "released"])
def test_the_taps_in_rgb_make_the_first_atom_in_rgb(preset: str) -> None:
    deblurrer = Deblurrer(randomise(NRKNet(narrow(PRESETS[preset]))), device="cpu")
    taps, atoms = atom_taps(deblurrer.model), deblurrer.analyze(data.chelsea()[:40, :50], details=False).atoms
    assert taps is not None and np.allclose(taps.sum(-1), 1)
    middle = atoms.shape[-1] // 2
    first = atoms[1][:, middle - 1 : middle + 2, middle - 1 : middle + 2]
    assert np.allclose(first, taps[0][:, :, None] * taps[0][:, None, :], atol=1e-6)


def test_atoms_that_are_not_recursive_have_no_taps() -> None:
    assert atom_taps(tiny(atoms="gaussian")) is None


def test_rms_is_the_root_of_the_mean_square() -> None:
    assert rms(np.array([[3.0, -4.0]], np.float32)) == pytest.approx(12.5**0.5)


def test_a_scale_is_as_large_as_what_covers_the_photo(seen: Seen) -> None:
    _, photo, analysis = seen  # 49 x 61, padded by the network
    for scale, size in ((1, (49, 61)), (2, (25, 31)), (3, (13, 16))):
        assert analysis.coefficients_at(scale).shape[1:] == size
        terms = analysis.terms_at(scale)
        assert [term.shape for term in terms] == [(*size, 3)] * (scale + 1)
        assert analysis.terms is not None and np.array_equal(terms[1], analysis.terms[-scale][1][: size[0], : size[1]])
    with pytest.raises(ValueError, match="scale must be from 1"):
        analysis.terms_at(0)
