"""Parts of photos that are out of focus by themselves are found, and not trained towards."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from networks import noise, one_line
from PIL import Image
from skimage import data
from torch import Tensor

from nrknet.config import PRESETS, NRKNetConfig
from nrknet.curation import Softness, find_all, find_softness
from nrknet.data import RenderedCrops
from nrknet.defocus import DefocusConfig, render_defocus
from nrknet.inference import Deblurrer
from nrknet.recipes import RECIPES
from nrknet.sources import open_source
from nrknet.stream import StreamOptions
from nrknet.train import train

SIDE = 96


def curator_that_finds(defocus: np.ndarray) -> Deblurrer:
    """A stand-in that has one answer for every photo."""
    return cast(Deblurrer, SimpleNamespace(analyze=lambda image, details: SimpleNamespace(defocus_map=defocus)))


def left_soft(height: int, width: int) -> np.ndarray:
    defocus = np.zeros((height, width), np.float32)
    defocus[:, : width // 2] = 3.0
    return defocus


def textured(height: int, width: int) -> Tensor:
    return noise(3, height, width).mul(255).byte()


def test_what_is_blurred_and_can_be_seen_is_soft() -> None:
    photo = textured(SIDE, SIDE)
    photo[:, : SIDE // 2] = 90  # nothing to see in the upper half
    found = find_softness(photo, curator_that_finds(left_soft(SIDE, SIDE)))
    assert not found.visible[: SIDE // 2 - 5].any() and found.visible[SIDE // 2 + 5 :].all()
    assert found.soft[SIDE // 2 + 5 :, : SIDE // 2].all() and not found.soft[:, SIDE // 2 :].any()
    assert found.share(SIDE // 2 + 5, SIDE // 4, SIDE // 4) == 1.0
    assert found.share(SIDE // 2 + 5, 3 * SIDE // 8, SIDE // 4) == pytest.approx(0.5, abs=0.02)
    assert found.share(0, 0, SIDE // 4) == 0.0


def test_a_trained_network_finds_the_soft_half_of_a_photo() -> None:
    sharp = torch.from_numpy(data.stereo_motorcycle()[0][180:436, 220:476]).permute(2, 0, 1).float()[None] / 255
    radius = torch.zeros(1, 1, 256, 256)
    radius[..., :128] = 4.0
    photo = render_defocus(sharp, radius)[0].mul(255).round().byte()
    found = find_all([photo], Deblurrer("lite", device="cpu"))[0]
    assert found.share(64, 0, 120) > 0.6 > 0.2 > found.share(64, 136, 120)


def crops_of(photo: Tensor, softness: list[Softness]) -> RenderedCrops:
    still = DefocusConfig(sharp_fraction=1.0, dark_chance=0, highlight_chance=0, gamma=(1, 1), sharpen_chance=0)
    options = StreamOptions(size=32, batch=4, pool=16, reuse=1, seed=0, device=torch.device("cpu"))
    return RenderedCrops([photo], options, margin=0, defocus=still, softness=softness)


def test_crops_keep_clear_of_what_is_soft() -> None:
    photo = torch.full((3, SIDE, 2 * SIDE), 40, dtype=torch.uint8)
    photo[:, :, SIDE:] = 200
    softness = find_softness(textured(SIDE, 2 * SIDE), curator_that_finds(left_soft(SIDE, 2 * SIDE)))
    free, curated = (crops_of(photo, some).make_pool(0).sharp.float().mean((1, 2, 3)) for some in ([], [softness]))
    assert float(free.min()) < 60
    assert float(curated.min()) > 180


def test_photos_that_are_soft_all_over_are_refused_in_one_sentence() -> None:
    photo = textured(SIDE, SIDE)
    softness = find_softness(photo, curator_that_finds(np.full((SIDE, SIDE), 5, np.float32)))
    with pytest.raises(ValueError, match="out of focus") as caught:
        crops_of(photo, [softness]).make_pool(0)
    one_line(caught.value)


def test_a_run_with_a_curator_says_so_and_cannot_go_on_without_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PRESETS, "tiny", NRKNetConfig(num_atoms=3, widths=(4, 8), num_blocks=(1, 1)))
    for name in ("astronaut", "coffee", "chelsea"):
        Image.fromarray(getattr(data, name)()[100:228, 150:278]).save(tmp_path / f"{name}.png")
    options: dict[str, Any] = {"preset": "tiny", "recipe": "smoke", "device": "cpu"}
    train(tmp_path, tmp_path / "run", steps=1, curator="lite", **options)
    assert '"curated": true' in (tmp_path / "run" / "run.json").read_text()
    with pytest.raises(ValueError, match="curator"):
        train(tmp_path, tmp_path / "run", steps=2, **options)


def test_pairs_need_no_curator(tmp_path: Path) -> None:
    for name in ("source", "target"):
        (tmp_path / name).mkdir()
    with pytest.raises(ValueError, match="curator") as caught:
        open_source(tmp_path, "pairs", RECIPES["smoke"], curator=curator_that_finds(np.zeros((1, 1), np.float32)))
    one_line(caught.value)
