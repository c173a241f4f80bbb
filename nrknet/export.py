"""Networks as ONNX files: one file that ONNX Runtime and others run without PyTorch, for photos of any size."""

import copy
import importlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from nrknet._version import __version__
from nrknet.analysis import blur_radius, to_rgb
from nrknet.bundled import bundled_folder, bundled_models
from nrknet.folder import TRAINING_FILE
from nrknet.model import MIN_SIZE, NRKNet

Floats = NDArray[np.float32]

DEFAULT_OPSET, OPSETS = 18, range(18, 24)
"""The oldest that has antialiased halving, which most engines read; and what the exporter can write."""
CHECKED_SIZES = ((1, 16, 16), (2, 17, 33), (1, 64, 64), (1, 127, 250), (1, 181, 97))
"""Number of images, height and width at which a file must agree with PyTorch before it is put in place."""
TOLERANCE = 1e-3
"""Largest difference allowed, for values of range 1."""
RADIUS_TOLERANCE = 0.05
"""The same in pixels, of 99 % of the radii: where coefficients add up to about 0, the disc of a kernel means little."""
_MISSING = 'exporting needs the packages of the extra "onnx" ({}): pip install "nrknet[onnx]"'


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        path: the file.
        size: bytes.
        opset: the version of ONNX's operations in it.
        image_difference: largest difference of the image from PyTorch's over CHECKED_SIZES, for values of range 1.
        radius_difference: 99 % of the blur radii differ by no more, in pixels.
    """

    path: Path
    size: int
    opset: int
    image_difference: float
    radius_difference: float


def export_onnx(
    model: NRKNet, path: Path, *, name: str = "nrknet", training: dict[str, Any] | None = None,
    opset: int = DEFAULT_OPSET,
) -> Exported:  # fmt: skip
    """Write a network as one ONNX file in float32, compared with PyTorch before it is put in place.

    Input `blurred` (N,3,H,W) float32 RGB in [0,1], any N, any H and W from 16. Outputs `image` (N,3,H,W) float32 RGB,
    not clipped, and `radius` (N,1,H,W) float32, the blur radius in pixels. Colours are RGB for BGR networks too.

    Args:
        model: any NRKNet; it is not changed.
        path: ends in .onnx; its folder is made, a file of that name replaced.
        name: of the network, for the file's metadata.
        training: how the weights came about, likewise.
        opset: version of ONNX's operations, 18 to 23.

    Raises:
        ValueError: another suffix or opset, a package is missing, or the file does not do what PyTorch does; one
            sentence, and nothing is written.
    """
    path = Path(path)
    if path.suffix.lower() != ".onnx":
        raise ValueError(f"the file's name must end in .onnx, got {path.name!r}")
    check_opset(opset)
    check_packages()
    from nrknet.onnx_graph import build_graph

    proto = build_graph(model, opset=opset)
    for key, value in _metadata(model, name, training, opset).items():
        proto.metadata_props.add(key=key, value=value)
    content = proto.SerializeToString()
    image, radius = compare(model, content)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    try:
        part.write_bytes(content)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    return Exported(path, len(content), opset, image, radius)


def check_opset(opset: int) -> None:
    """Whether a file can be written with this version of ONNX's operations.

    Raises:
        ValueError: it cannot.
    """
    if opset not in OPSETS:
        raise ValueError(f"opset must be a whole number from {OPSETS.start} to {OPSETS.stop - 1}, got {opset!r}")


def training_record(source: str | Path) -> dict[str, Any]:
    """What a network's folder says about its training; nothing where there is no such record here.

    Args:
        source: as for `load_model`.

    Raises:
        ValueError: the record is damaged.
    """
    folder = bundled_folder(str(source)) if str(source) in bundled_models() else Path(source)
    path = folder / TRAINING_FILE
    try:
        found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    return dict(found)


def check_packages() -> None:
    """Find out before any work whether what exporting needs is installed.

    Raises:
        ValueError: names what is missing and how to install it.
    """
    try:
        for name in ("onnx", "onnxscript", "onnxruntime"):
            importlib.import_module(name)
    except ImportError as error:
        raise ValueError(_MISSING.format(error)) from error


def compare(model: NRKNet, content: bytes, *, sizes: Sequence[tuple[int, int, int]] = CHECKED_SIZES) -> list[float]:
    """Run an ONNX file's content in ONNX Runtime and the network in PyTorch on the same photos.

    Args:
        model: the network.
        content: of the file.
        sizes: number of images, height and width of each run.

    Returns:
        The largest difference of the image, for values of range 1, and that which 99 % of the radii keep, in pixels:
        the worst of all runs.

    Raises:
        ValueError: the content is no model that ONNX accepts, or a difference is above the tolerance.
    """
    import onnx
    import onnxruntime

    try:
        onnx.checker.check_model(content, full_check=True)
        session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    except Exception as error:  # each has its own kinds
        raise ValueError(f"the network cannot be written as ONNX: {_first_line(error)}") from error
    reference = copy.deepcopy(model).to("cpu", torch.float32).eval()
    largest = np.zeros(2)
    for number, (batch, height, width) in enumerate(sizes):
        photos = _photos(batch, height, width, seed=number)
        try:
            found = session.run(["image", "radius"], {"blurred": photos})
        except Exception as error:
            raise ValueError(f"ONNX Runtime cannot restore {height}x{width} pixels: {_first_line(error)}") from error
        expected = _by_pytorch(reference, photos)
        differences = [np.abs(a - b) for a, b in zip(found, expected, strict=True)]
        image, radius = float(differences[0].max()), float(np.quantile(differences[1], 0.99))
        if not (image <= TOLERANCE and radius <= RADIUS_TOLERANCE):  # not a number is a difference too
            raise ValueError(f"ONNX Runtime's image of {height}x{width} differs from PyTorch's by {image:.2g}, "
                             f"the radius by {radius:.2g} pixels; nothing was written")  # fmt: skip
        largest = np.maximum(largest, (image, radius))
    return [float(difference) for difference in largest]


@torch.inference_mode()
def _by_pytorch(model: NRKNet, photos: Floats) -> tuple[Floats, Floats]:
    """Image (N,3,H,W) RGB and radius (N,1,H,W)."""
    output = model(to_rgb(torch.from_numpy(photos), model.config))
    radius = blur_radius(output.scales[-1])[..., : photos.shape[2], : photos.shape[3]]
    return to_rgb(output.image, model.config).numpy(), radius.numpy()


def _photos(batch: int, height: int, width: int, *, seed: int) -> Floats:
    """(N,3,H,W) in [0,1]: flat squares of 8 pixels with some noise, so that there are edges, areas and detail."""
    generator = np.random.default_rng(seed)
    squares = generator.random((batch, 3, -(-height // 8), -(-width // 8)), np.float32)
    flat = squares.repeat(8, axis=2).repeat(8, axis=3)[..., :height, :width]
    return 0.8 * flat + 0.2 * generator.random(flat.shape, np.float32)


def _metadata(model: NRKNet, name: str, training: dict[str, Any] | None, opset: int) -> dict[str, str]:
    """What the file says of itself."""
    return {
        "name": name,
        "nrknet_version": __version__,
        "license": "MIT",
        "opset": str(opset),
        "precision": "float32",
        "input": "blurred: (N,3,H,W) float32, values in [0,1]",
        "outputs": "image: (N,3,H,W) float32, not clipped to [0,1]; radius: (N,1,H,W) float32, blur radius in pixels",
        "color_order": "RGB",
        "minimum_size": str(MIN_SIZE),
        "size_multiple": str(model.config.size_multiple),
        "training": json.dumps(training or {}),
    }


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
