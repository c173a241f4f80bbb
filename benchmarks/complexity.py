"""What the networks of Tables 1, 3 and 4 cost: parameters and multiply-accumulates by part, seconds for one photo.

    python -m benchmarks.complexity [--models paper released default lite] [--variants NonAdaptive ...]
                                    [--size 1280x720] [--repeats 5] [--tile N] [--device D] [--json FILE]

Variants are those of `paper`. Weights are random: the time does not depend on them. A photo is taken whole, without
tiles, unless --tile says otherwise, so that the time is that of the multiply-accumulates counted beside it.
"""

import argparse
import json
import platform
from pathlib import Path
from typing import Any

import torch

from benchmarks.equal_budget import commit
from nrknet._version import __version__
from nrknet.commands.options import size
from nrknet.complexity import complexity, time_photo
from nrknet.config import PRESETS, VARIANTS, NRKNetConfig
from nrknet.inference import MIN_TILE, Deblurrer
from nrknet.model import NRKNet

TIMED = ("NonAdaptive", "NonRecursive", "NonSeparable", "FullExp", "2Scales", "4Scales", "w/o ConvLSTM")
"""Of Tables 3 and 4; their full network is `paper` itself."""


def measure(config: NRKNetConfig, *, size: tuple[int, int], repeats: int, tile: int, device: str) -> dict[str, Any]:
    """Count a network and time it on a photo of (width, height) pixels."""
    width, height = size
    counted = complexity(config, height=height, width=width)
    torch.manual_seed(0)
    timing = time_photo(
        Deblurrer(NRKNet(config), device=device, tile=tile), height=height, width=width, repeats=repeats
    )
    return {
        "parameters": counted.parameters,
        "total_parameters": counted.total_parameters,
        "macs": counted.macs,
        "total_macs": counted.total_macs,
        "seconds": round(timing.median, 4),
        "shortest": round(timing.shortest, 4),
        "longest": round(timing.longest, 4),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="*", default=list(PRESETS), choices=PRESETS, metavar="PRESET")
    parser.add_argument("--variants", nargs="*", default=list(TIMED), choices=VARIANTS, metavar="V")
    parser.add_argument("--size", type=size, default="1280x720", metavar="WxH")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--tile", type=int, help="default: the photo's longer side")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    width, height = args.size
    tile = args.tile or max(width, height, MIN_TILE)
    device = torch.cuda.get_device_name() if args.device.startswith("cuda") else args.device
    found: dict[str, Any] = {
        "about": "parameters, multiply-accumulates and seconds of one photo; random weights, medians after a warm-up; "
        "see nrknet/complexity.py",
        "width": width, "height": height, "tile": tile, "repeats": args.repeats, "device": device,
        "threads": torch.get_num_threads(), "machine": platform.machine(),
        "versions": {"nrknet": __version__, "torch": torch.__version__}, "commit": commit(), "networks": [],
    }  # fmt: skip
    networks = [(name, None, PRESETS[name]) for name in args.models]
    networks += [("paper", name, VARIANTS[name]) for name in args.variants]
    for preset, variant, config in networks:
        row = measure(config, size=(width, height), repeats=args.repeats, tile=tile, device=args.device)
        print(preset, variant or "", row["total_parameters"], row["total_macs"], row["seconds"], flush=True)
        found["networks"].append({"preset": preset, "variant": variant, **row})
        if args.json:  # after each: what is done is kept
            args.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
