"""Ways of scoring, named after whose they are: SSIMs, or LPIPS, taken in two ways are not comparable."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Protocol:
    """What is measured on each photo, and whose way that is.

    Attributes:
        whose: who scores like this.
        metrics: names of what is measured, in the table's order: keys of METRICS, `Lpips.metrics` or `changes`.
        about: what a reader must know to compare the numbers with others.
        has_truth: the photos are Pairs and the input is scored as well; otherwise they are Masked, and what is measured
            is how the output differs from the input.
    """

    whose: str
    metrics: tuple[str, ...]
    about: str
    has_truth: bool = True

    @property
    def uses_lpips(self) -> bool:
        """Whether AlexNet's weights are needed."""
        return any(name.startswith("lpips") for name in self.metrics)


PROTOCOLS = {
    "default": Protocol(
        "this project's",
        ("psnr", "psnr_affine", "ssim_uniform", "ssim_gaussian", "lpips"),
        "8-bit RGB after clipping and rounding, full frame; psnr_affine is taken after the best gain and offset per "
        "photo and channel; ssim_uniform has scikit-image's 7x7 window, ssim_gaussian 11x11 with sigma 1.5; lpips is "
        "AlexNet v0.1, lower is better",
    ),
    "papers": Protocol(
        "most papers'",
        ("psnr", "ssim_uniform", "lpips"),
        "8-bit RGB, full frame; SSIM with scikit-image's default, the 7x7 uniform window; lpips is AlexNet v0.1, lower "
        "is better",
    ),
    "nrknet": Protocol(
        "the released test script of NRKNet",
        ("psnr", "ssim_gaussian", "lpips_bgr"),
        "8-bit; SSIM Gaussian 11x11, sigma 1.5; lpips_bgr is AlexNet v0.1 shown blue, green, red, as OpenCV reads. "
        "Sides that are no multiple of 16 are padded inside the network and cropped: RTF's 360x360 photos, padded to "
        "368 by the script, are scored on the 360 as there; of other photos the script scores the padding too",
    ),
    "gkmnet": Protocol(
        "the released test script of GKMNet",
        ("psnr", "ssim_gaussian"),
        "8-bit RGB; SSIM Gaussian 11x11, sigma 1.5; sides that are no multiple of 16 are padded inside the network and "
        "cropped, where the script scores the padding too; its LPIPS is left out: it is taken on [0,1], not [-1,1]",
    ),
    "cuhk": Protocol(
        "this project's, for photos without a sharp version",
        ("sharpening", "sharpening_blurred", "sharpening_sharp", "unchanged_sharp"),
        "all in dB; sharpening is how much the mean squared brightness gradient grew, over the photo and where the "
        "mask says blurred or sharp (noise and halos count as gradients too); unchanged_sharp is the PSNR of the "
        "output against the input where the mask says sharp",
        has_truth=False,
    ),
}


def find_protocol(name: str) -> Protocol:
    """The protocol of a name; ValueError that lists the known ones otherwise."""
    if name not in PROTOCOLS:
        raise ValueError(f"unknown protocol {name!r}; known: {', '.join(PROTOCOLS)}")
    return PROTOCOLS[name]
