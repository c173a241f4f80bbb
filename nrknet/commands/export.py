"""`nrknet export`: a network as a file for other engines."""

import argparse
from pathlib import Path
from typing import Any

from nrknet.commands.options import add_command, check_folder
from nrknet.commands.outcome import OK, UsageError, reason

HELP = """\
Write a network as an ONNX file, which ONNX Runtime and others run without PyTorch.

The file takes photos of any size from 16x16 pixels, as 32-bit numbers:

  input   blurred  (N,3,H,W)  RGB in [0,1]
  output  image    (N,3,H,W)  RGB, not clipped to [0,1]
  output  radius   (N,1,H,W)  how far out of focus each pixel was: the blur radius in pixels

Its results are compared with PyTorch's on photos of odd sizes before it is put in place.
"""
EXAMPLES = """\
examples:
  nrknet export lite --onnx lite.onnx
  nrknet export runs/mine --onnx mine.onnx --opset 20
"""


def add(commands: Any) -> None:
    """Declare `nrknet export`."""
    parser = add_command(commands, "export", run, about=HELP, examples=EXAMPLES)
    parser.add_argument(
        "model", metavar="DIR",
        help="a folder with a network, one that comes with nrknet, by name, or owner/name on the Hugging Face Hub",
    )  # fmt: skip
    parser.add_argument("--onnx", type=Path, required=True, metavar="FILE", help="the file to write; ends in .onnx")
    parser.add_argument(
        "--opset", type=int, default=18, metavar="N",
        help="version of ONNX's operations, 18 to 23 (default: %(default)s, which most engines read)",
    )  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Write the file, and say how well it agrees with PyTorch. Returns the exit status."""
    if args.onnx.suffix.lower() != ".onnx":
        raise UsageError(f"{args.onnx}: the file's name must end in .onnx")
    if args.onnx.is_dir():
        raise UsageError(f"{args.onnx}: is a folder")
    from nrknet.export import check_opset, check_packages, export_onnx, training_record
    from nrknet.weights import load_model

    try:
        check_opset(args.opset)
        check_packages()
        model = load_model(args.model, device="cpu")
        training = training_record(args.model)
    except (ValueError, OSError) as error:
        raise UsageError(reason(error)) from error
    check_folder(args.onnx.parent)
    print("writing the network, which takes about a minute ...", flush=True)
    done = export_onnx(model, args.onnx, name=args.model, training=training, opset=args.opset)
    print(
        f"the network is in {done.path}: {done.size / 1e6:.1f} MB, opset {done.opset}, float32; ONNX Runtime agrees "
        f"with PyTorch to {done.image_difference:.1e} of the range, the radius to {done.radius_difference:.1e} pixels"
    )
    return OK
