"""How far photos done in tiles differ from the same photos done whole, in dB.

    python -m benchmarks.tiles PHOTOS --tiles 256 512 --limit 5 --json benchmarks/results/tiles.json
"""

import argparse
import json
from pathlib import Path

from nrknet import Deblurrer
from nrknet.imageio import is_probably_image
from nrknet.metrics import psnr
from nrknet.reading import read_pixels


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path, help="a folder of 8-bit photos that fit into memory whole")
    parser.add_argument("--tiles", type=int, nargs="+", default=[256, 512])
    parser.add_argument("--limit", type=int, default=5)
    parser.add_argument("--model", default="default")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    paths = sorted(p for p in args.photos.iterdir() if p.is_file() and is_probably_image(p))[: args.limit]
    if not paths:
        parser.error(f"{args.photos} holds no photos")
    model = Deblurrer(args.model).model
    rows = []
    for path in paths:
        photo = read_pixels(path)
        whole = Deblurrer(model, tile=max(photo.shape))(photo)
        rows.append({"photo": path.name})
        rows[-1] |= {str(tile): round(psnr(Deblurrer(model, tile=tile)(photo), whole), 1) for tile in args.tiles}
        print(rows[-1], flush=True)
    if args.json:
        args.json.write_text(json.dumps({"model": args.model, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
