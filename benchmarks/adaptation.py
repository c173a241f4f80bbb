"""Does a network gain by adapting to one photo? Steps on the reblur residual |D_1(Z_0) - Y|^2 alone.

    python benchmarks/adaptation.py PAIRS_DIR [--model M] [--json FILE]

Three things are tried, from what the network answers: Adam on the coefficients of all scales (in the coordinates of
`nrknet.basis`, so that they keep their sum of 1), Adam on the atoms, and steps on the image itself,
Z <- Z + rate (Y - D_1 Z). Printed: mean residual and mean gain in PSNR over the input, step by step. PAIRS_DIR holds
source/ and target/ (benchmarks/make_synthetic_pairs.py makes some); the middle 256 pixels of every photo are used.
"""

import argparse
import json
import statistics
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor

from nrknet.datasets import pairs_from_folder
from nrknet.imageio import read_photo
from nrknet.layers import RadiusHead
from nrknet.losses import mse
from nrknet.model import NRKNet, NRKNetOutput
from nrknet.neumann import BlurOperator, fuse_scales, neumann_terms
from nrknet.train import psnr
from nrknet.weights import load_model

SIDE = 256
Step = tuple[Tensor, float]


def series(model: NRKNet, output: NRKNetOutput, coefficients: list[Tensor]) -> tuple[Tensor, BlurOperator]:
    """Z_0 and D_1 for these coefficients, coarse -> fine."""
    terms, operator = [], output.scales[-1].operator
    for scale, maps in zip(output.scales, coefficients, strict=True):
        operator = BlurOperator(model.atoms, maps, model.fusion)
        terms.append(neumann_terms(operator, scale.terms[0], model.config.powers(scale.scale)))
    return fuse_scales(terms, expansion=model.config.expansion), operator


def on_coefficients(model: NRKNet, blurred: Tensor, steps: int, rate: float) -> Iterator[Step]:
    """Adam on additions to the coordinates, zero at first."""
    with torch.no_grad():
        output = model(blurred)
    assert isinstance(model.head, RadiusHead)
    basis = model.head.basis
    additions = [torch.zeros(1, len(basis), *s.coefficients.shape[-2:], requires_grad=True) for s in output.scales]

    def coefficients() -> list[Tensor]:
        changes = [torch.einsum("pj,bphw->bjhw", basis, a) for a in additions]
        full = [torch.cat([-c.sum(1, keepdim=True), c], dim=1) for c in changes]
        return [s.coefficients + c for s, c in zip(output.scales, full, strict=True)]

    yield from _descend(additions, lambda: series(model, output, coefficients()), blurred, steps, rate)


def on_atoms(model: NRKNet, blurred: Tensor, steps: int, rate: float) -> Iterator[Step]:
    """Adam on the atoms' parameters, which are put back in the end."""
    with torch.no_grad():
        output = model(blurred)
    before = {name: value.clone() for name, value in model.atoms.state_dict().items()}
    given = [s.coefficients for s in output.scales]
    model.atoms.requires_grad_()
    yield from _descend(list(model.atoms.parameters()), lambda: series(model, output, given), blurred, steps, rate)
    model.atoms.requires_grad_(False)
    model.atoms.load_state_dict(before)


def on_image(model: NRKNet, blurred: Tensor, steps: int, rate: float) -> Iterator[Step]:
    """Z <- Z + rate (Y - D_1 Z)."""
    with torch.no_grad():
        output = model(blurred)
        image, operator = output.series, output.scales[-1].operator
        for _ in range(steps + 1):
            residual = blurred - operator(image)
            yield image, float(residual.square().mean())
            image = image + rate * residual


def _descend(
    parameters: list[Tensor], solve: Callable[[], tuple[Tensor, BlurOperator]], blurred: Tensor, steps: int, rate: float
) -> Iterator[Step]:
    optimiser = torch.optim.Adam(parameters, lr=rate)
    for _ in range(steps + 1):
        image, operator = solve()
        residual = mse(operator(image), blurred)
        yield image.detach(), float(residual.detach())
        optimiser.zero_grad()
        residual.backward()
        optimiser.step()


TRIALS: dict[str, tuple[Callable[[NRKNet, Tensor, int, float], Iterator[Step]], tuple[float, ...]]] = {
    "coefficients": (on_coefficients, (3e-4, 1e-3, 3e-3)),
    "atoms": (on_atoms, (1e-3, 1e-2)),
    "image": (on_image, (0.1, 0.3)),
}


def _middle(path: Path) -> Tensor:
    pixels = read_photo(path).pixels
    top, left = ((n - SIDE) // 2 for n in pixels.shape[:2])
    cut = pixels[top : top + SIDE, left : left + SIDE].astype("float32") / float(torch.iinfo(torch.uint8).max)
    return torch.from_numpy(cut).permute(2, 0, 1)[None]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pairs", type=Path)
    parser.add_argument("--model", default="lite")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    model = load_model(args.model, device="cpu").requires_grad_(False)
    photos = [(_middle(p.blurred), _middle(p.sharp)) for p in pairs_from_folder(args.pairs)]
    results = []
    for name, (adapt, rates) in TRIALS.items():
        for rate in rates:
            gains, residuals = [], []
            for blurred, sharp in photos:
                steps = list(adapt(model, blurred, args.steps, rate))
                gains.append([float(psnr(image, sharp) - psnr(blurred, sharp)) for image, _ in steps])
                residuals.append([residual for _, residual in steps])
            row = {
                "what": name,
                "rate": rate,
                "gain_db": [round(statistics.fmean(g), 3) for g in zip(*gains, strict=True)],
                "residual": [round(statistics.fmean(r), 8) for r in zip(*residuals, strict=True)],
            }
            results.append(row)
            print(row, flush=True)
    if args.json:
        found = {"model": args.model, "photos": len(photos), "trials": results}
        args.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
