"""LPIPS: distance of two photos in the features of an image classifier (Zhang et al., CVPR 2018), AlexNet v0.1.

    LPIPS(a, b) = sum over 5 layers of the mean over pixels of sum_c w_c (f_c(a) / |f(a)| - f_c(b) / |f(b)|)^2

The weights w are those of the package lpips, which is not used itself: it imports torchvision, which pins one build of
PyTorch, and pip would replace the build that was chosen. Its values are what tests compare with.
"""

import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from nrknet.metrics import Image8, Metric, check_images
from nrknet.tensorfile import read_tensors

BACKBONE_VARIABLE = "NRKNET_LPIPS_BACKBONE"
"""Names the backbone file where none is given."""
BACKBONE_URL = "https://download.pytorch.org/models/alexnet-owt-7be5be79.pth"
"""AlexNet trained on ImageNet, torchvision's; 233 MB."""
BACKBONE_HASH = "7be5be79"
"""Start of the file's SHA-256."""
HEADS = Path(__file__).with_name("lpips_heads.safetensors")
PATIENCE = 5  # seconds without an answer
MIN_SIDE = 31  # a smaller photo leaves nothing for the second pooling


class LpipsUnavailable(Exception):
    """The backbone can be had from nowhere; the message is one sentence that says why and what to do."""


class Lpips(nn.Module):
    """LPIPS v0.1 on AlexNet.

    Args:
        backbone: torchvision's AlexNet state dict, or its `features.*` alone; every convolution must be in it.

    Raises:
        ValueError: a tensor is missing, of another shape, or unknown.
    """

    TAPS = (1, 4, 7, 9, 11)  # the ReLU after each convolution

    def __init__(self, backbone: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 64, 11, stride=4, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2),
            nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2),
            nn.Conv2d(192, 384, 3, padding=1), nn.ReLU(),
            nn.Conv2d(384, 256, 3, padding=1), nn.ReLU(),
            nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(),
        )  # fmt: skip
        heads = load_file(HEADS)
        self.heads = nn.ParameterList(heads[f"head{i}"] for i in range(len(self.TAPS)))
        self.register_buffer("shift", torch.tensor([-0.030, -0.088, -0.188])[:, None, None])
        self.register_buffer("scale", torch.tensor([0.458, 0.448, 0.450])[:, None, None])
        found = {k.removeprefix("features."): v for k, v in backbone.items() if k.startswith("features.")}
        try:
            self.features.load_state_dict(found, strict=True)
        except RuntimeError as error:
            raise ValueError(" ".join(str(error).split())) from error
        self.eval().requires_grad_(False)

    def forward(self, image: Tensor, truth: Tensor) -> Tensor:
        """(B,3,H,W) RGB in [-1,1], twice, H and W at least 31 -> (B,) distances."""
        x = (torch.cat([image, truth]) - self.get_buffer("shift")) / self.get_buffer("scale")
        total = image.new_zeros(len(image))
        weights = iter(self.heads)
        for index, layer in enumerate(self.features):
            x = layer(x)
            if index in self.TAPS:
                unit = x / (x.square().sum(1, keepdim=True).sqrt() + 1e-10)
                first, second = unit.chunk(2)
                total += torch.einsum("c,bchw->bhw", next(weights), (first - second).square()).mean((1, 2))
        return total

    @torch.inference_mode()
    def score(self, image: Image8, truth: Image8) -> float:
        """LPIPS of 8-bit (H,W,3) RGB; nan for sides under 31 pixels, where it is not defined."""
        check_images(image, truth)
        if min(image.shape[:2]) < MIN_SIDE:
            return float("nan")
        return float(self(*(_to_tensor(x).to(self.get_buffer("shift").device) for x in (image, truth))))

    @property
    def metrics(self) -> dict[str, Metric]:
        """Name -> score of (image, truth): as it is meant, and as scripts take it that read photos with OpenCV."""
        return {"lpips": self.score, "lpips_bgr": lambda image, truth: self.score(image[..., ::-1], truth[..., ::-1])}


def load_lpips(backbone: str | Path | None = None, *, show_progress: bool = False) -> Lpips:
    """LPIPS with the ImageNet backbone of a file, or downloaded once and kept in PyTorch's cache.

    Args:
        backbone: a .pth file, torchvision's AlexNet or its `features.*`; None stands for the file that the environment
            variable NRKNET_LPIPS_BACKBONE names, else the download.
        show_progress: draw a bar on stderr during the download.

    Raises:
        ValueError: the file is missing or holds something else.
        LpipsUnavailable: no file was given, and the download failed.
    """
    file = backbone or os.environ.get(BACKBONE_VARIABLE) or _downloaded(show_progress)
    try:
        return Lpips(read_tensors(Path(file)))
    except OSError as error:
        raise ValueError(f"{file}: {error.strerror or error}; expected AlexNet's weights") from error
    except (ValueError, AttributeError, RuntimeError) as error:
        raise ValueError(f"{file} does not hold torchvision's AlexNet weights, features.0.weight and so on") from error


def _downloaded(show_progress: bool) -> Path:
    """The file in the cache that torchvision uses too."""
    file = Path(torch.hub.get_dir(), "checkpoints", BACKBONE_URL.rpartition("/")[2])
    if file.is_file():
        return file
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with _patience():
            torch.hub.download_url_to_file(BACKBONE_URL, str(file), BACKBONE_HASH, progress=show_progress)
    except (OSError, HTTPException, RuntimeError) as error:  # RuntimeError: what came has another hash
        reason = " ".join(str(getattr(error, "reason", error)).split())
        raise LpipsUnavailable(
            f"AlexNet's weights cannot be downloaded ({reason}); name a file with torchvision's by --lpips-backbone or "
            f"{BACKBONE_VARIABLE}"
        ) from error
    return file


@contextmanager
def _patience() -> Iterator[None]:
    """Let connections without a time limit of their own fail after a few seconds of silence."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(PATIENCE)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _to_tensor(image: Image8) -> Tensor:
    """(H,W,3) uint8 -> (1,3,H,W) float32 in [-1,1]."""
    return torch.from_numpy(image.astype(np.float32) / 127.5 - 1).permute(2, 0, 1)[None]
