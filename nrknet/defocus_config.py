"""What random defocused scenes look like, as values."""

from dataclasses import dataclass

Range = tuple[float, float]


@dataclass(frozen=True)
class DefocusConfig:
    """What random scenes look like; ranges are (low, high), chances are in [0, 1], radii are in pixels.

    Args:
        max_radius: no circle of confusion is larger.
        median_radius, radius_spread: the largest radius of a scene is log-normal, with this median and this standard
            deviation of its logarithm, cut at `max_radius`.
        sharp_fraction: chance that a scene is sharp everywhere.
        plane, tilted, field, layers: relative weights of the kinds of scene: one plane facing the camera (blurred
            everywhere), one tilted plane, one smooth random relief, hard-edged layers that hide each other.
        max_layers: most layers in a scene, the background included.
        content_outline: chance that a layer's outline follows the image (a range of its colours), not a random shape.
        other_content: chance that a layer shows another image of the batch and not another cut of the same one.
        simple_chance: chance that a scene is blurred as simple programs do it: on the stored values, by plain discs or
            Gaussians whose radius varies from pixel to pixel, smoothly or in steps, nothing hiding anything.
        softness, rim, aspect: kernel shape, see `defocus_kernel`.
        plain_chance: chance of a plain kernel instead, hard discs and Gaussians alike often.
        rim_flip_chance: chance that the rim comes from spherical aberration: bright on one side of the plane in focus
            and dark on the other.
        polygon_chance: chance of an aperture of 5 to 8 blades and not a round one.
        eye_chance, eye: chance that the lens barrel cuts the aperture (cat's eyes), and by how much in the photo's
            corner; see `defocus_kernel`. A crop lies anywhere in a photo, and its kernels are those of its middle.
        colour_chance, colour_defocus: chance of longitudinal chromatic aberration, and the most by which red and blue
            are focused elsewhere than green, as a share of the scene's largest radius.
        lateral_chance, lateral: chance of lateral chromatic aberration, and how far red and blue move apart from green
            in the photo's corner, in pixels. Scenes sharp everywhere have no fringes of either kind.
        highlight_chance, highlight_threshold, highlight_gain: linear values above the threshold are brightened by up
            to the gain before blurring and clip after it.
        dark_chance, dark_stops: chance of low light, and how many stops darker it is.
        gamma: tone curve x^gamma applied to the encoded image.
        response_chance, response: chance that light and pixel values are related by light = value^response instead
            of sRGB's curve: cameras' and editors' curves differ, and a network trained on one counts on it.
        clean_chance, read_noise, shot_noise: chance of no noise; otherwise its variance at an encoded value x is
            read^2 + shot^2 x.
        noise_gain: factors of red's and of blue's noise, which white balance amplifies.
        noise_correlation: correlation of the channels' noise, which demosaicing and colour matrices bring about.
        grain_chance: chance that the noise is correlated over neighbouring pixels, as cameras' processing leaves it.
        reduction_chance, reduction: chance of a camera's noise reduction, which leaves noise on detail alone, and the
            share of it that goes from flat areas.
        sharpen_chance, sharpen: chance of a camera's unsharp masking, and its amount.

    Raises:
        ValueError: a value is outside its range.
    """

    max_radius: float = 25.0
    median_radius: float = 5.0
    radius_spread: float = 0.75
    sharp_fraction: float = 0.08
    plane: float = 0.08
    tilted: float = 0.24
    field: float = 0.18
    layers: float = 0.5
    max_layers: int = 4
    content_outline: float = 0.35
    other_content: float = 0.3
    simple_chance: float = 0.2
    softness: Range = (0.0, 0.6)
    rim: Range = (-0.4, 0.4)
    aspect: Range = (0.75, 1.0)
    plain_chance: float = 0.3
    rim_flip_chance: float = 0.7
    polygon_chance: float = 0.3
    eye_chance: float = 0.6
    eye: Range = (0.2, 1.0)
    colour_chance: float = 0.5
    colour_defocus: Range = (0.0, 0.06)
    lateral_chance: float = 0.3
    lateral: Range = (0.0, 1.0)
    highlight_chance: float = 0.35
    highlight_threshold: Range = (0.65, 0.95)
    highlight_gain: Range = (1.5, 8.0)
    dark_chance: float = 0.3
    dark_stops: Range = (0.5, 3.0)
    gamma: Range = (0.85, 1.2)
    response_chance: float = 0.6
    response: Range = (1.0, 2.6)
    clean_chance: float = 0.3
    read_noise: Range = (0.0, 0.007)
    shot_noise: Range = (0.0, 0.012)
    noise_gain: Range = (0.9, 1.3)
    noise_correlation: Range = (0.4, 1.0)
    grain_chance: float = 0.4
    reduction_chance: float = 0.4
    reduction: Range = (0.3, 0.95)
    sharpen_chance: float = 0.3
    sharpen: Range = (0.1, 0.7)

    def __post_init__(self) -> None:
        if not self.max_radius >= self.median_radius > 0:
            got = f"{self.median_radius} and {self.max_radius}"
            raise ValueError(f"expected 0 < median_radius <= max_radius, got {got}")
        if self.radius_spread < 0 or self.max_layers < 2:
            got = f"{self.radius_spread} and {self.max_layers}"
            raise ValueError(f"expected radius_spread >= 0 and max_layers >= 2, got {got}")
        if min(self.kind_weights) < 0 or sum(self.kind_weights) <= 0:
            raise ValueError(f"expected weights of scenes >= 0 and not all 0, got {self.kind_weights}")
        for name in _CHANCES:
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be a chance in [0, 1], got {getattr(self, name)}")
        for name, (low, high) in _BOUNDS.items():
            value = getattr(self, name)
            if len(value) != 2 or not low <= value[0] <= value[1] <= high:
                raise ValueError(f"{name} must be (low, high) within [{low}, {high}], got {value}")

    @property
    def kind_weights(self) -> tuple[float, float, float, float]:
        """Weights of the kinds of scene, in the order plane, tilted, field, layers."""
        return self.plane, self.tilted, self.field, self.layers


_CHANCES = (
    "sharp_fraction", "content_outline", "other_content", "simple_chance", "plain_chance", "rim_flip_chance",
    "polygon_chance", "eye_chance", "colour_chance", "lateral_chance", "highlight_chance", "dark_chance",
    "response_chance", "clean_chance", "grain_chance", "reduction_chance",
    "sharpen_chance",
)  # fmt: skip
_BOUNDS: dict[str, Range] = {
    "softness": (0, 1), "rim": (-1, 1), "aspect": (0.3, 1), "eye": (0, 1.2), "colour_defocus": (0, 0.5),
    "lateral": (0, 8), "highlight_threshold": (0, 1), "highlight_gain": (1, 100), "dark_stops": (0, 8),
    "gamma": (0.3, 3), "response": (0.5, 4), "read_noise": (0, 1), "shot_noise": (0, 1), "noise_gain": (0.1, 10),
    "noise_correlation": (0, 1), "reduction": (0, 1), "sharpen": (0, 3),
}  # fmt: skip
