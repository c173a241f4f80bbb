"""What is out of focus in photos that are meant to be sharp: a soft background is no truth to train towards."""

import logging
import time
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from nrknet.inference import Deblurrer
from nrknet.processes import Processes

log = logging.getLogger(__name__)

SOFT_RADIUS = 1.0
"""Pixels: what is blurred by more is soft."""
VISIBLE = 0.02
"""Standard deviation of brightness over 9 pixels from which on one can tell sharp from soft."""
MOST_SOFT = 0.1
"""A crop of which a larger share of the visible pixels is soft is not trained towards."""
REPORT_EVERY = 15.0  # seconds


@dataclass(frozen=True)
class Softness:
    """Maps (H,W) bool of one photo: where there is something to see, and where that is out of focus."""

    visible: Tensor
    soft: Tensor

    def share(self, top: int, left: int, side: int) -> float:
        """Share of the visible pixels of a square window that are soft; 0 where nothing is visible."""
        window = slice(top, top + side), slice(left, left + side)
        visible = int(self.visible[window].sum())
        return int(self.soft[window].sum()) / visible if visible else 0.0


def find_softness(photo: Tensor, curator: Deblurrer) -> Softness:
    """Where a photo is out of focus, as a network's defocus map has it.

    Args:
        photo: (3,H,W) uint8.
        curator: any trained network.
    """
    defocus = torch.from_numpy(curator.analyze(photo.permute(1, 2, 0).numpy(), details=False).defocus_map)
    grey = photo.float().mean(dim=0)[None, None] / 255
    mean, square = (F.avg_pool2d(x, 9, 1, 4, count_include_pad=False) for x in (grey, grey.square()))
    visible = ((square - mean.square()).clamp(min=0).sqrt() > VISIBLE)[0, 0]
    return Softness(visible, visible & (defocus > SOFT_RADIUS))


def find_all(photos: list[Tensor], curator: Deblurrer, processes: Processes | None = None) -> list[Softness]:
    """`find_softness` of many photos, shared among processes; says how a long search gets on, and what it found."""
    processes = processes or Processes(curator.device)
    found: list[Softness] = []
    reported = time.monotonic()
    for softness in processes.in_turns(lambda photo: find_softness(photo, curator), photos):
        found.append(softness)
        if time.monotonic() - reported > REPORT_EVERY:
            reported = time.monotonic()
            log.info("looking for what is out of focus: %d of %d photos", len(found), len(photos))
    shares = [float(s.soft.sum()) / max(float(s.visible.sum()), 1.0) for s in found]
    num_soft = sum(share > MOST_SOFT for share in shares)
    log.info("photos that are out of focus in more than %.0f %%: %d of %d", 100 * MOST_SOFT, num_soft, len(photos))
    return found
