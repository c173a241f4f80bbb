"""The renderer keeps what light keeps, knows what hides what, and says the truth about its blur."""

import math
from dataclasses import FrozenInstanceError

import pytest
import torch
from skimage import data

from nrknet.aperture import Aperture
from nrknet.defocus import (
    DefocusConfig,
    Defocused,
    _compose,
    _draw_aperture,
    _Layer,
    _Lens,
    defocus_kernel,
    render_defocus,
    render_scene,
)
from nrknet.lens import linear_to_srgb, srgb_to_linear
from nrknet.scenes import Dice

IDEAL = {"colour_chance": 0.0, "lateral_chance": 0.0, "simple_chance": 0.0, "sharpen_chance": 0.0, "clean_chance": 1.0}
"""A lens without fringes and a camera without noise and sharpening: what is in focus is the truth, to 8 bits."""
SHAPES = [
    {},
    {"softness": 0.0},
    {"softness": 0.5},
    {"softness": 1.0},
    {"rim": 0.5},
    {"rim": -0.5},
    {"blades": 5},
    {"blades": 6, "angle": 0.3},
    {"aspect": 0.7, "angle": 1.0},
    {"eye": 0.6, "eye_angle": 0.5},
    {"eye": 1.0, "blades": 5, "rim": 0.4},
]


@pytest.fixture(scope="module")
def photos() -> torch.Tensor:
    pixels = [data.astronaut()[:128, 150:278], data.coffee()[100:228, 200:328], data.chelsea()[80:208, 150:278]]
    return torch.stack([torch.tensor(p).permute(2, 0, 1).float() / 255 for p in pixels])


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def constant(images: torch.Tensor, radius: float) -> torch.Tensor:
    return torch.full_like(images[:, :1], radius)


def second_moment(kernel: torch.Tensor) -> float:
    half = kernel.shape[0] // 2
    axis = torch.arange(-half, half + 1, dtype=torch.float32)
    return float((kernel * (axis[:, None] ** 2 + axis[None, :] ** 2)).sum())


# ------------------------------------------------------------------------------------------------------------- kernel


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("radius", [0.0, 0.2, 0.8, 1.0, 2.5, 7.0, 25.0])
def test_a_kernel_sums_to_one_and_is_not_negative(radius: float, shape: dict[str, float]) -> None:
    kernel = defocus_kernel(radius, **shape)  # type: ignore[arg-type]
    assert kernel.sum().item() == pytest.approx(1, abs=1e-5)
    assert kernel.min() >= 0


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("radius", [0.5, 1.0, 1.5, 3.0, 8.0, 20.0])
def test_every_shape_has_the_second_moment_of_the_disc_of_its_radius(radius: float, shape: dict[str, float]) -> None:
    # E|p|^2 of a disc is r^2/2; small outlines are coarse on the pixel grid, soft ones lose the tail beyond 3 sigma
    kernel = defocus_kernel(radius, **shape)  # type: ignore[arg-type]
    assert second_moment(kernel) == pytest.approx(radius**2 / 2, rel=0.04)


def test_a_hard_kernel_is_flat_inside_its_radius_and_nothing_outside() -> None:
    kernel = defocus_kernel(10.0, softness=0.0, size=31)
    centre = kernel[15]
    assert torch.allclose(centre[7:24], centre[15].expand(17), rtol=1e-4)
    assert float(centre[:4].sum()) == 0
    assert centre[15].item() == pytest.approx(1 / (torch.pi * 100), rel=0.02)


def test_the_softest_kernel_is_the_gaussian_of_half_the_radius() -> None:
    kernel = defocus_kernel(10.0, softness=1.0, size=41)
    axis = torch.arange(-20.0, 21.0)
    gaussian = torch.exp(-0.5 * (axis / 5) ** 2)
    expected = gaussian[:, None] * gaussian[None, :] / gaussian.sum() ** 2
    assert (kernel - expected).abs().max() < 0.03 * expected.max()


def test_a_vanishing_radius_tends_to_the_delta_without_a_jump() -> None:
    kernels = [defocus_kernel(step / 50, size=9) for step in range(100)]
    assert kernels[0][4, 4] == 1
    steps = [float((a - b).abs().sum()) for a, b in zip(kernels, kernels[1:], strict=False)]
    assert max(steps) < 0.1


def test_a_rim_brightens_the_edge_and_blades_and_aspect_change_the_outline() -> None:
    bright_edge, bright_centre = defocus_kernel(10, rim=0.5, size=41), defocus_kernel(10, rim=-0.5, size=41)
    assert bright_edge[20, 20] < defocus_kernel(10, size=41)[20, 20] < bright_centre[20, 20]
    narrow = defocus_kernel(10, aspect=0.6, size=41)
    assert (narrow[20] > 1e-4).sum() > 1.4 * (narrow[:, 20] > 1e-4).sum()
    turned = [defocus_kernel(10, blades=5, angle=angle, size=41, softness=0) for angle in (0.0, torch.pi)]
    assert torch.allclose(turned[0].flip(0).flip(1), turned[1], atol=1e-5)
    assert not torch.allclose(turned[0], turned[1], atol=1e-3)


# --------------------------------------------------------------------------------------------------- one smooth layer


def test_tone_curves_are_each_others_inverse() -> None:
    values = torch.linspace(0, 1, 1001)
    assert torch.allclose(linear_to_srgb(srgb_to_linear(values)), values, atol=1e-5)


@pytest.mark.parametrize("level", [0.02, 0.5, 1.0])
def test_a_flat_image_stays_flat_up_to_its_borders(level: float) -> None:
    flat = torch.full((1, 3, 48, 64), level)
    ramp = torch.linspace(0, 20, 64).expand(1, 1, 48, 64)
    assert torch.allclose(render_defocus(flat, ramp), flat, atol=1e-4)


def test_radius_zero_returns_the_input(photos: torch.Tensor) -> None:
    out = render_defocus(photos, constant(photos, 0.0))
    assert torch.equal((out * 255).round(), (photos * 255).round())


def test_blur_keeps_the_mean_in_linear_light() -> None:
    image = torch.zeros(1, 3, 96, 96)
    image[:, :, 32:64, 32:64] = torch.rand(1, 3, 32, 32, generator=seeded())
    out = render_defocus(image, constant(image, 9.0))
    assert srgb_to_linear(out).mean().item() == pytest.approx(srgb_to_linear(image).mean().item(), rel=1e-3)
    assert out.mean() > image.mean() * 1.05  # the encoded mean is not what light keeps


def test_a_point_of_light_becomes_the_kernel_of_its_radius() -> None:
    image = torch.zeros(1, 3, 41, 41)
    image[:, :, 20, 20] = 1
    out = srgb_to_linear(render_defocus(image, constant(image, 6.0), blades=5, angle=0.4))
    expected = defocus_kernel(6.0, size=41, blades=5, angle=0.4)
    assert (out[0, 0] - expected).abs().max() < 0.01 * expected.max()


def test_a_varying_radius_looks_at_each_pixel_like_the_constant_one(photos: torch.Tensor) -> None:
    ramp = torch.linspace(0, 12, 128).expand(3, 1, 128, 128)
    varying = render_defocus(photos, ramp)
    for column in (10, 40, 64, 100, 120):
        same = render_defocus(photos, constant(photos, ramp[0, 0, 0, column].item()))
        assert (varying[..., column] - same[..., column]).abs().max() < 0.02


def test_images_of_a_batch_do_not_touch_each_other(photos: torch.Tensor) -> None:
    radius = torch.tensor([0.0, 3.0, 9.0]).view(3, 1, 1, 1).expand(3, 1, 128, 128)
    together = render_defocus(photos, radius)
    alone = torch.cat([render_defocus(photos[i : i + 1], radius[i : i + 1]) for i in range(3)])
    assert torch.equal(together, alone)


# ---------------------------------------------------------------------------------------------------------- occlusion


def edge_scene(front_radius: float, back_radius: float) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A white half plane, columns 32 on, before black: linear values along the middle row, radius, truth."""
    size = (1, 64, 64)
    alpha = torch.zeros(size)
    alpha[..., 32:] = 1
    back = _Layer(torch.zeros(3, 64, 64), torch.ones(size), torch.full(size, back_radius), (back_radius,) * 2)
    front = _Layer(torch.ones(3, 64, 64), alpha, torch.full(size, front_radius), (front_radius,) * 2)
    out, truth, radius = _compose([back, front], _Lens(Aperture(0.0)))
    return out[0, 32], radius[0, 32], truth[0, 32]


def test_a_sharp_foreground_keeps_a_crisp_edge_before_a_blurred_background() -> None:
    row, radius, truth = edge_scene(front_radius=0.0, back_radius=8.0)
    assert torch.allclose(row, truth, atol=1e-5)
    assert radius[31] == 8 and radius[32] == 0


def test_a_blurred_foreground_bleeds_over_a_sharp_background() -> None:
    row, radius, truth = edge_scene(front_radius=8.0, back_radius=0.0)
    assert radius[31] == 0 and radius[32] == 8 and truth[31] == 0
    assert row[28] > 0.15 and row[35] < 0.85
    assert bool((row[20:45].diff() >= -1e-5).all())
    assert row[20] < 1e-4 and row[43] > 1 - 1e-4


# ------------------------------------------------------------------------------------------------------ random scenes


def test_a_scene_has_the_promised_shapes_ranges_and_levels(photos: torch.Tensor) -> None:
    config = DefocusConfig()
    for seed in range(4):
        scene = render_scene(photos, config, seeded(seed))
        assert isinstance(scene, Defocused)
        assert scene.blurred.shape == scene.sharp.shape == photos.shape
        assert scene.radius.shape == (3, 1, 128, 128)
        levels = scene.blurred * 255
        assert torch.allclose(levels, levels.round(), atol=1e-4)
        for image in (scene.blurred, scene.sharp):
            assert image.min() >= 0 and image.max() <= 1
        assert scene.radius.min() >= 0 and scene.radius.max() <= config.max_radius * 1.0001


def test_one_seed_gives_one_result_and_another_seed_another(photos: torch.Tensor) -> None:
    first, again, other = (render_scene(photos, DefocusConfig(), seeded(seed)) for seed in (7, 7, 8))
    for name in ("blurred", "sharp", "radius"):
        assert torch.equal(getattr(first, name), getattr(again, name))
        assert not torch.equal(getattr(first, name), getattr(other, name))


def test_a_scene_leaves_its_input_and_the_global_generator_alone(photos: torch.Tensor) -> None:
    before, state = photos.clone(), torch.random.get_rng_state()
    render_scene(photos, DefocusConfig(), seeded())
    assert torch.equal(photos, before)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_the_share_of_sharp_pixels_and_the_tail_of_radii_are_as_promised(photos: torch.Tensor) -> None:
    small = torch.nn.functional.interpolate(photos, size=(32, 32), mode="area")
    generator = seeded(1)
    batches = [render_scene(small, DefocusConfig(), generator).radius for _ in range(100)]
    radius = torch.cat(batches)
    largest, smallest = radius.amax((1, 2, 3)), radius.amin((1, 2, 3))
    assert 0.3 < (radius < 0.5).float().mean() < 0.48
    assert 0.04 < (largest == 0).float().mean() < 0.13
    assert 0.08 < (smallest > 0.5).float().mean() < 0.25
    assert 0.6 < ((largest > 1) & (largest < 10)).float().mean()
    assert 0.01 < (largest > 15).float().mean() < 0.15


@pytest.mark.parametrize("kind", ["plane", "tilted", "field", "layers"])
def test_in_each_kind_of_scene_pixels_said_sharp_are_and_pixels_said_blurred_are_not(
    photos: torch.Tensor, kind: str
) -> None:
    weights = {name: float(name == kind) for name in ("plane", "tilted", "field", "layers")}
    config = DefocusConfig(**weights, **IDEAL, sharp_fraction=0.0, median_radius=6.0, radius_spread=0.0)  # type: ignore[arg-type]
    changes_blurred, changes_sharp = [], []
    for seed in range(4):
        scene = render_scene(photos, config, seeded(seed))
        assert torch.allclose(scene.radius.amax((1, 2, 3)), torch.tensor(6.0), atol=0.01) or kind == "layers"
        change = (scene.blurred - scene.sharp).abs().mean(1, keepdim=True)
        near = torch.nn.functional.max_pool2d(scene.radius, 15, stride=1, padding=7)
        changes_sharp.append(change[near < 0.1])
        changes_blurred.append(change[scene.radius > 4])
    sharp, blurred = torch.cat(changes_sharp), torch.cat(changes_blurred)
    assert blurred.mean() > 0.01
    if kind != "plane":
        assert sharp.numel() > 0 and sharp.max() < 0.01


def test_a_scene_sharp_everywhere_without_noise_is_the_truth_to_8_bits(photos: torch.Tensor) -> None:
    scene = render_scene(photos, DefocusConfig(sharp_fraction=1.0, clean_chance=1.0), seeded())
    assert scene.radius.max() == 0
    assert (scene.blurred - scene.sharp).abs().max() <= 0.5 / 255 + 1e-4


def test_low_light_and_clipped_highlights_occur_often_enough() -> None:
    grey = torch.linspace(0, 1, 64).expand(16, 3, 32, 64)
    sharp = render_scene(grey, DefocusConfig(), seeded()).sharp
    peaks = sharp.amax((1, 2, 3))
    assert 0.1 < (peaks < 0.85).float().mean() < 0.6
    clipped = (sharp > 0.999).float().mean((1, 2, 3))
    assert 0.1 < (clipped > 2 / 64).float().mean() < 0.6


@pytest.mark.parametrize("exponent", [1.0, 2.2])
def test_blur_keeps_the_light_that_the_cameras_curve_says_there_is(photos: torch.Tensor, exponent: float) -> None:
    config = DefocusConfig(
        plane=1, tilted=0, field=0, layers=0, sharp_fraction=0, radius_spread=0, highlight_chance=0,
        dark_chance=0, response_chance=1, response=(exponent, exponent), **IDEAL,
    )  # type: ignore[arg-type]  # fmt: skip
    scene = render_scene(photos.flatten(2).amax(2)[:, :, None, None] * (photos > 0.5), config, seeded())
    kept = scene.blurred.pow(exponent).mean((1, 2, 3)) - scene.sharp.pow(exponent).mean((1, 2, 3))
    encoded = scene.blurred.mean((1, 2, 3)) - scene.sharp.mean((1, 2, 3))
    assert kept.abs().max() < 0.01
    assert (encoded > 0.02).all() == (exponent > 1)


def test_noise_stays_small(photos: torch.Tensor) -> None:
    flat = torch.full((16, 3, 48, 48), 0.5)
    scene = render_scene(flat, DefocusConfig(dark_chance=0.0), seeded())
    spread = (scene.blurred - scene.blurred.mean((2, 3), keepdim=True)).std((1, 2, 3))
    assert spread.max() < 0.015 and spread.min() < 0.002
    assert (scene.blurred - scene.sharp).mean((1, 2, 3)).abs().max() < 0.004


@pytest.mark.parametrize("size", [(16, 16), (17, 90), (120, 33)])
def test_small_and_odd_sizes_work(size: tuple[int, int]) -> None:
    images = torch.rand(2, 3, *size, generator=seeded())
    config = DefocusConfig(median_radius=20.0, sharp_fraction=0.0)
    for seed in range(3):
        scene = render_scene(images, config, seeded(seed))
        assert scene.blurred.shape == images.shape and bool(scene.blurred.isfinite().all())


def test_a_batch_of_one_works(photos: torch.Tensor) -> None:
    config = DefocusConfig(plane=0, tilted=0, field=0, layers=1, other_content=1.0)
    assert render_scene(photos[:1], config, seeded()).blurred.shape == (1, 3, 128, 128)


# --------------------------------------------------------------------------------------------------- lens and fringes


def edges(count: int = 4) -> torch.Tensor:
    """Grey photos (count,3,64,64): bright squares on dark ground."""
    image = torch.full((count, 3, 64, 64), 0.2)
    image[..., 16:48, 16:48] = 0.8
    return image


def colourfulness(image: torch.Tensor) -> float:
    return float((image.amax(1) - image.amin(1)).max())


@pytest.mark.parametrize(
    "fringes",
    [{"colour_chance": 1.0, "colour_defocus": (0.3, 0.3)}, {"lateral_chance": 1.0, "lateral": (8.0, 8.0)}],
)
def test_fringes_colour_edges_of_the_blurred_image_alone_and_leave_the_radius(fringes: dict[str, object]) -> None:
    values = IDEAL | {"plane": 1.0, "tilted": 0.0, "field": 0.0, "layers": 0.0, "radius_spread": 0.0}
    plain, fringed = (
        render_scene(edges(), DefocusConfig(**(values | {"sharp_fraction": 0.0} | extra)), seeded())  # type: ignore[arg-type]
        for extra in ({}, fringes)
    )
    assert colourfulness(plain.blurred) < 1e-6
    assert colourfulness(fringed.sharp) < 1e-6 and colourfulness(fringed.blurred) > 0.02
    assert torch.allclose(fringed.radius, torch.full_like(fringed.radius, 5.0))
    nowhere = DefocusConfig(**(values | {"sharp_fraction": 1.0} | fringes))  # type: ignore[arg-type]
    assert colourfulness(render_scene(edges(), nowhere, seeded()).blurred) < 1e-6


def test_colours_trade_places_at_focus() -> None:
    # A positive fringe is more defocus nearer than the plane in focus, and less beyond it.
    lens = _Lens(Aperture(0.3), fringes=(1.5, 0.0))
    colour = edges(1)[0]
    softness = []
    for side in (6.0, -6.0):
        layer = _Layer(colour, torch.ones(1, 64, 64), torch.full((1, 64, 64), side), (side, side))
        out, truth, radius = _compose([layer], lens)
        assert torch.equal(truth, colour) and bool((radius == 6).all())
        red, green = out[0, 32].diff().abs().max(), out[1, 32].diff().abs().max()
        softness.append(float(red / green))
    assert softness[0] < 0.95 and softness[1] > 1.05


def test_a_cats_eye_is_narrow_towards_the_middle_of_the_photo_and_grows_away_from_it() -> None:
    config = DefocusConfig(eye_chance=1.0, eye=(0.9, 0.9), plain_chance=0.0)
    for place in ((0.8, 0.0), (0.0, 0.5), (-0.6, 0.4), (0.0, 0.0)):
        dice = Dice(seeded(), torch.device("cpu"))
        aperture = _draw_aperture(config, dice, place)
        assert aperture.eye == pytest.approx(0.9 * math.hypot(*place))
        assert aperture.eye == 0 or aperture.eye_angle == pytest.approx(math.atan2(place[1], place[0]))
    kernel = defocus_kernel(10, eye=0.8, eye_angle=0.0, size=51)
    axis = torch.arange(-25.0, 26.0) ** 2
    along, across = kernel.sum(0) @ axis, kernel.sum(1) @ axis
    assert along < 0.5 * across
    turned = defocus_kernel(10, eye=0.8, eye_angle=math.pi / 2, size=51)
    assert torch.allclose(turned, kernel.T, atol=1e-5)


def test_hard_discs_and_gaussians_are_among_the_kernels() -> None:
    dice = Dice(seeded(), torch.device("cpu"))
    drawn = [_draw_aperture(DefocusConfig(plain_chance=0.4), dice, (0.5, 0.2)) for _ in range(400)]
    for softness in (0.0, 1.0):
        assert 0.14 < sum(aperture == Aperture(softness) for aperture in drawn) / 400 < 0.26


def test_simple_scenes_blur_stored_values_and_hide_nothing(photos: torch.Tensor) -> None:
    values = IDEAL | {"simple_chance": 1.0, "sharp_fraction": 0.0, "highlight_chance": 0.0, "radius_spread": 0.0}
    counts = []
    for seed in range(6):
        config = DefocusConfig(**values, plane=0.0, tilted=1.0, field=0.0, layers=1.0)  # type: ignore[arg-type]
        scene = render_scene(photos, config, seeded(seed))
        assert scene.radius.max() <= 5.01
        near = torch.nn.functional.max_pool2d(scene.radius, 3, stride=1, padding=1)
        # no lens: where the radius is zero the truth shows, however blurred the surface beside it
        assert ((scene.blurred - scene.sharp).abs().amax(1, keepdim=True)[near < 0.05] < 0.01).all()
        counts += [len(radius.unique()) for radius in scene.radius]
    assert min(counts) <= 9 and max(counts) > 100
    blurred = render_scene(edges(), DefocusConfig(**values, plane=1.0, tilted=0.0, field=0.0, layers=0.0), seeded())  # type: ignore[arg-type]
    assert (blurred.blurred.mean((1, 2, 3)) - blurred.sharp.mean((1, 2, 3))).abs().max() < 0.002


# ------------------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"max_radius": 2.0}, "median_radius <= max_radius, got 5.0 and 2.0"),
        ({"sharp_fraction": 1.5}, r"sharp_fraction must be a chance in \[0, 1\], got 1.5"),
        ({"softness": (0.6, 0.1)}, r"softness must be \(low, high\) within \[0, 1\], got \(0.6, 0.1\)"),
        ({"max_layers": 1}, "max_layers >= 2, got 0.75 and 1"),
        ({"plane": -1.0}, "weights of scenes >= 0"),
        ({"simple_chance": -0.1}, r"simple_chance must be a chance in \[0, 1\], got -0.1"),
        ({"eye": (0.0, 1.5)}, r"eye must be \(low, high\) within \[0, 1.2\]"),
        ({"colour_defocus": (0.1, 0.0)}, r"colour_defocus must be \(low, high\)"),
        ({"reduction": (0.0, 2.0)}, r"reduction must be \(low, high\) within \[0, 1\]"),
    ],
)
def test_a_wrong_config_is_refused_in_one_clear_sentence(values: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DefocusConfig(**values)  # type: ignore[arg-type]


def test_a_config_is_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        DefocusConfig().max_radius = 3.0  # type: ignore[misc]


def test_wrong_arguments_are_refused_in_one_clear_sentence(photos: torch.Tensor) -> None:
    with pytest.raises(ValueError, match=r"float of shape \(B,3,H,W\), got torch.uint8"):
        render_scene((photos * 255).byte(), DefocusConfig(), seeded())
    with pytest.raises(ValueError, match=r"got torch.float32 of shape \(3, 128, 128\)"):
        render_defocus(photos[0], constant(photos, 1.0))
    with pytest.raises(ValueError, match=r"radius must have shape \(3, 1, 128, 128\), got \(2, 1, 128, 128\)"):
        render_defocus(photos, constant(photos[:2], 1.0))
    with pytest.raises(ValueError, match="got a minimum of -1"):
        render_defocus(photos, constant(photos, -1.0))
    with pytest.raises(ValueError, match=r"softness must be in \[0, 1\], got 2"):
        defocus_kernel(3.0, softness=2)
    with pytest.raises(ValueError, match=r"eye must be in \[0, 1.2\], got 2"):
        defocus_kernel(3.0, eye=2)
    with pytest.raises(ValueError, match="positive odd number, got 4"):
        defocus_kernel(3.0, size=4)
    with pytest.raises(ValueError, match="radius must be >= 0 pixels, got -1"):
        defocus_kernel(-1)
