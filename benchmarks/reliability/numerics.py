"""How near each precision on each device is to PyTorch's float32 on the CPU, and what of its range it needs.

    python -m benchmarks.reliability.numerics
    python -m benchmarks.reliability.numerics --device cuda

Without --device every device that is here is measured. Agreement is of what the network gives, clipped to [0, 1].
"""

import argparse
import copy
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from skimage import data, transform

from benchmarks.reliability import figures
from benchmarks.reliability.extremes import constants, everything
from nrknet.arrays import Pixels
from nrknet.inference import Deblurrer
from nrknet.model import NRKNet
from nrknet.numerics import largest_activations
from nrknet.weights import load_model

DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32}


def photos() -> Iterator[tuple[str, Pixels]]:
    """16-bit photos, so that rounding of the result hides little: name, pixels."""
    for name, photo in everything(np.uint16):
        yield f"extreme: {name}", photo
    for name, photo in {"astronaut": data.astronaut(), "coffee": data.coffee()}.items():
        small = transform.resize(photo, (256, 320), anti_aliasing=True)
        yield f"photo: {name}", np.rint(small * 65535).astype(np.uint16)


class Reference:
    """The network in float32 on the CPU, as PyTorch computes it."""

    def __init__(self, model: NRKNet) -> None:
        self.model = copy.deepcopy(model).cpu()
        self.swap = model.config.channel_order == "bgr"

    def input(self, photo: Pixels) -> torch.Tensor:
        """(1,3,H,W) in the network's order of colours."""
        blurred = torch.from_numpy(photo.astype(np.float32) / np.float32(np.iinfo(photo.dtype).max))
        blurred = blurred.permute(2, 0, 1)[None]
        return blurred.flip(1) if self.swap else blurred

    @torch.no_grad()
    def __call__(self, photo: Pixels) -> np.ndarray:
        """(H,W,3) in [0,1]."""
        image = self.model(self.input(photo)).image[0]
        return (image.flip(0) if self.swap else image).clamp(0, 1).permute(1, 2, 0).double().numpy()


def agreement(deblurrer: Deblurrer, reference: Reference) -> dict[str, Any]:
    """Largest difference in levels of 8 bits, and the lowest PSNR, over extreme and over real photos."""
    found: dict[str, Any] = {"not_finite": 0, "same_bits_twice": True}
    for kind in ("extreme", "photo"):
        differences, lowest = 0.0, math.inf
        for name, photo in photos():
            if not name.startswith(kind):
                continue
            result = deblurrer(photo)
            found["same_bits_twice"] &= bool(np.array_equal(deblurrer(photo), result))
            error = np.abs(result / 65535 - reference(photo))
            found["not_finite"] += int(not np.isfinite(error).all())
            differences = max(differences, float(error.max()) * 255)
            lowest = min(lowest, -10 * math.log10(max(float((error**2).mean()), 1e-20)))
        found[kind] = {"largest_difference_of_255": round(differences, 4), "lowest_psnr_db": round(lowest, 1)}
    flat = [np.abs(deblurrer(photo).astype(int) - photo.astype(int)).max() for _, photo in constants(np.uint16)]
    found["most_change_of_flat_photos_of_255"] = round(float(max(flat)) / 257, 3)
    return found


@torch.no_grad()
def headroom(reference: Reference) -> dict[str, Any]:
    """The largest activation over all photos, and how many times over each dtype could hold it."""
    found = largest_activations(reference.model, lambda: [reference.model(reference.input(p)) for _, p in photos()])
    layer = max(found, key=lambda name: found[name])
    times = {name: float(f"{torch.finfo(dtype).max / found[layer]:.3g}") for name, dtype in DTYPES.items()}
    return {"largest_activation": round(found[layer], 2), "layer": layer, "times_within": times}


def devices() -> list[str]:
    """Those that are here."""
    mps = ["mps"] if torch.backends.mps.is_available() else []
    return ["cpu", *(["cuda"] if torch.cuda.is_available() else []), *mps]


def main() -> None:
    """Measure and record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", action="append", choices=("cpu", "cuda", "mps"), help="default: all that are here")
    parser.add_argument("--model", default="lite", help="as for nrknet deblur (default: %(default)s)")
    parser.add_argument("--json", type=Path, default=figures.DEFAULT, help="file of figures (default: %(default)s)")
    args = parser.parse_args()
    reference = Reference(load_model(args.model, device="cpu"))
    found: dict[str, Any] = {"model": args.model, "headroom": headroom(reference), "agreement": {}}
    for device in args.device or devices():
        for precision in ("auto", "exact"):
            deblurrer = Deblurrer(args.model, device=device, precision=precision)
            found["agreement"][f"{device}, {precision}"] = agreement(deblurrer, reference)
    print(json.dumps(found, indent=1))
    figures.record("numerics", found, args.json)


if __name__ == "__main__":
    main()
