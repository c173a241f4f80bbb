"""What the networks in the repository do to photos they have not seen, blurred by a few lines of SciPy."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import convolve
from skimage import data

from nrknet import Deblurrer
from nrknet.columns import CONTEXT, SEAM, Column
from nrknet.metrics import psnr
from nrknet.weights import bundled_models


def halved(photo: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The photo at half its size: the backgrounds of scikit-image's photos are a little out of focus as they are."""
    return np.asarray(Image.fromarray(photo).reduce(2))


PHOTOS = {
    "astronaut": halved(data.astronaut()),
    "coffee": halved(data.coffee()),
    "motorcycle": halved(data.stereo_motorcycle()[0]),
}
RADII = (0.0, 2.0, 4.0)  # pixels, in three upright strips


def disc(radius: float) -> NDArray[np.float64]:
    half = int(np.ceil(radius))
    y, x = np.mgrid[-half : half + 1, -half : half + 1]
    inside = np.clip(radius + 0.5 - np.hypot(x, y), 0, 1)
    return inside / inside.sum()


def defocused(sharp: NDArray[np.uint8], *, noise: float = 0.003) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """The photo out of focus by one of RADII in each third of its width, and that radius at each pixel."""
    blurred = sharp / 255
    radius = np.zeros(sharp.shape[:2])
    for number, r in enumerate(RADII):
        strip = slice(number * sharp.shape[1] // 3, (number + 1) * sharp.shape[1] // 3)
        radius[:, strip] = r
        if r:
            blurred[:, strip] = convolve(sharp / 255, disc(r)[..., None], mode="mirror")[:, strip]
    blurred += noise * np.random.default_rng(0).standard_normal(blurred.shape)
    return (np.clip(blurred, 0, 1) * 255).round().astype(np.uint8), radius


@pytest.fixture(scope="module", params=bundled_models())
def deblurrer(request: pytest.FixtureRequest) -> Deblurrer:
    return Deblurrer(request.param, device="cpu")


def test_there_is_a_bundled_network_and_it_is_the_default() -> None:
    assert bundled_models()
    assert Deblurrer(device="cpu").model.config == Deblurrer(bundled_models()[0], device="cpu").model.config


def test_photos_out_of_focus_get_closer_to_the_sharp_ones(deblurrer: Deblurrer) -> None:
    gains = {}
    for name, sharp in PHOTOS.items():
        blurred, _ = defocused(sharp)
        gains[name] = psnr(deblurrer(blurred), sharp) - psnr(blurred, sharp)
    assert min(gains.values()) > 0.3, gains
    assert np.mean(list(gains.values())) > 0.6, gains


@pytest.mark.parametrize("name", PHOTOS)
def test_sharp_photos_are_left_alone(deblurrer: Deblurrer, name: str) -> None:
    assert psnr(deblurrer(PHOTOS[name]), PHOTOS[name]) > 38


@pytest.mark.parametrize("name", PHOTOS)
def test_the_defocus_map_tells_sharp_from_blurred_and_less_from_more(deblurrer: Deblurrer, name: str) -> None:
    blurred, radius = defocused(PHOTOS[name])
    found = deblurrer.analyze(blurred, details=False).defocus_map
    width = radius.shape[1]
    inner = np.abs(np.arange(width) % (width / 3) - width / 6) < width / 10
    medians = [float(np.median(found[:, inner][radius[:, inner] == r])) for r in RADII]
    assert medians[0] < 1, medians
    assert medians[0] < medians[1] < medians[2], medians
    assert medians[1] == pytest.approx(RADII[1], abs=1) and medians[2] == pytest.approx(RADII[2], abs=1.5), medians


def test_tiles_and_the_whole_photo_agree_to_50_db(deblurrer: Deblurrer) -> None:
    photo = data.stereo_motorcycle()[0]
    whole = Deblurrer(deblurrer.model, device="cpu", tile=1024)(photo)
    tiled = Deblurrer(deblurrer.model, device="cpu", tile=256)(photo)
    assert psnr(tiled, whole) > 50


@pytest.mark.parametrize("name", PHOTOS)
def test_the_network_for_cpus_gives_what_pytorch_gives(deblurrer: Deblurrer, name: str) -> None:
    photo = defocused(PHOTOS[name])[0]
    with torch.inference_mode():
        image = deblurrer.model(torch.from_numpy(photo).permute(2, 0, 1)[None].float() / 255).image[0]
    expected = image.clamp(0, 1).mul(255).round().byte().permute(1, 2, 0).numpy()
    assert psnr(deblurrer(photo), expected) > 75  # one value in a thousand falls on the other side of a half
    assert np.abs(deblurrer(photo).astype(int) - expected).max() <= 1


def test_seams_do_not_show_in_the_difference(deblurrer: Deblurrer) -> None:
    photo = defocused(np.concatenate([PHOTOS["motorcycle"], PHOTOS["motorcycle"][:, ::-1]], axis=1)[:96])[0]
    columns = Deblurrer(deblurrer.model, device="cpu", tile=160)(photo).astype(int)
    difference = np.abs(columns - Deblurrer(deblurrer.model, device="cpu", tile=2048)(photo)).mean(axis=(0, 2))
    starts = [c.first for c in Column.all(photo.shape[:2], 160, CONTEXT["auto"], deblurrer.model.config.size_multiple)]
    assert len(starts) > 2
    seams = np.concatenate([difference[first : first + SEAM] for first in starts[1:]])
    assert difference.max() < 1 and seams.max() < 0.5  # of 255; where every pixel is off by one the mean is 1
