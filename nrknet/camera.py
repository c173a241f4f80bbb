"""What a camera does to the light of a scene: exposure and tone curve, and at the end noise, sharpening and 8 bits."""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from nrknet.defocus_config import DefocusConfig
from nrknet.lens import linear_to_srgb, srgb_to_linear
from nrknet.scenes import Dice


class Camera(NamedTuple):
    """One photo's relation of light and pixel values.

    Args:
        response: light = value^response; None: sRGB's curve.
        gamma: tone curve x^gamma of the encoded image.
        threshold, gain: linear values above the threshold are brightened by up to the gain.
        exposure: factor of all light.
    """

    response: float | None
    gamma: float
    threshold: float
    gain: float
    exposure: float

    def expose(self, encoded: Tensor) -> Tensor:
        """Linear light of an encoded image (3,H,W) in [0,1] under this exposure."""
        encoded = encoded.clamp(0, 1)
        if self.response is None:
            linear = srgb_to_linear(encoded**self.gamma)
        else:
            linear = encoded ** (self.gamma * self.response)
        if self.gain > 1:
            excess = (linear.amax(-3, keepdim=True) - self.threshold).clamp(min=0) / max(1 - self.threshold, 1e-3)
            linear = linear * (1 + (self.gain - 1) * excess**2)  # squared: lamps and glints, not every white wall
        return linear * self.exposure

    def encode(self, light: Tensor) -> Tensor:
        """Pixel values in [0,1] of linear light, clipped."""
        return linear_to_srgb(light) if self.response is None else light.clamp(0, 1) ** (1 / self.response)


def draw_camera(config: DefocusConfig, dice: Dice) -> Camera:
    """A random camera's tone curve and exposure."""
    return Camera(
        dice.uniform(*config.response) if dice.chance(config.response_chance) else None,
        dice.uniform(*config.gamma),
        dice.uniform(*config.highlight_threshold),
        dice.uniform(*config.highlight_gain) if dice.chance(config.highlight_chance) else 1.0,
        2 ** -dice.uniform(*config.dark_stops) if dice.chance(config.dark_chance) else 1.0,
    )


def develop(blurred: Tensor, truth: Tensor, config: DefocusConfig, dice: Dice) -> tuple[Tensor, Tensor]:
    """Adds noise to the blurred image, sharpens both as one camera would, clips both, and stores the blurred in 8 bits.

    The truth is what the same camera gives of the scene all in focus: it is sharpened alike, so that what is in focus
    stays equal in both, and sharpening is no blur to be undone; noise is not part of it.
    """
    clean = dice.chance(config.clean_chance)
    if not clean:
        blurred = blurred + _noise(blurred, config, dice)
    if dice.chance(config.sharpen_chance):
        amount, wide = dice.uniform(*config.sharpen), dice.chance(0.5)
        blurred, truth = (image + amount * (image - _smoothed(image, wide)) for image in (blurred, truth))
    return (blurred.clamp(0, 1) * 255).round() / 255, truth.clamp(0, 1)


def _noise(encoded: Tensor, config: DefocusConfig, dice: Dice) -> Tensor:
    """Noise of variance read^2 + shot^2 x in green, other in red and blue, correlated between channels and pixels."""
    read, shot = dice.uniform(*config.read_noise), dice.uniform(*config.shot_noise)
    gains = [dice.uniform(*config.noise_gain), 1.0, dice.uniform(*config.noise_gain)]
    common = dice.uniform(*config.noise_correlation)
    white = dice.noise(torch.cat([encoded, encoded[:1]]))
    if dice.chance(config.grain_chance):
        side = dice.uniform(0.1, 0.6)
        white = torch.cat([_grainy(white[:3], side, 2), _grainy(white[3:], side, 1)])  # colours in larger blotches
    noise = math.sqrt(common) * white[3:] + math.sqrt(1 - common) * white[:3]
    noise = noise * (read**2 + shot**2 * encoded.clamp(min=0)).sqrt()
    if dice.chance(config.reduction_chance):
        noise = noise * (1 - dice.uniform(*config.reduction) * _flatness(encoded, max(read, shot, 1e-3)))
    return noise * torch.tensor(gains, device=encoded.device)[:, None, None]


def _flatness(image: Tensor, contrast: float) -> Tensor:
    """(1,H,W): 1 where there is nothing to be seen, falling to 0 where detail stands out from such a contrast."""
    green = image[1:2]
    detail = _smoothed((green - _smoothed(green, True)).abs(), True)
    return 1 / (1 + (4 * detail / contrast) ** 2)


def _grainy(noise: Tensor, side: float, times: int) -> Tensor:
    """White noise (C,H,W) smoothed by [side, 1, side] both ways, once or twice, its variance kept."""
    for _ in range(times):
        noise = _three_taps(noise, side)
    return noise / (1 + 2 * side**2 if times == 1 else (1 + 2 * side**2) ** 2 + 8 * side**2 + 2 * side**4)


def _smoothed(image: Tensor, wide: bool) -> Tensor:
    """(C,H,W) smoothed by [1,2,1]/4 both ways, or twice: standard deviations of 0.7 and 1 pixel."""
    once = _three_taps(image, 0.5) / 4
    return _three_taps(once, 0.5) / 4 if wide else once


def _three_taps(image: Tensor, side: float) -> Tensor:
    """(C,H,W) filtered by [side, 1, side] both ways, borders repeated."""
    padded = F.pad(image[None], (1, 1, 1, 1), mode="replicate")[0]
    rows = padded[:, 1:-1] + side * (padded[:, :-2] + padded[:, 2:])
    return rows[..., 1:-1] + side * (rows[..., :-2] + rows[..., 2:])
