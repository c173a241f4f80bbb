"""Weights in and out: bundled networks, folders, the Hub, and the authors' released files."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nrknet.bundled import bundled_folder, bundled_models
from nrknet.config import PRESETS
from nrknet.folder import check_finite, check_state, write_folder
from nrknet.model import NRKNet
from nrknet.repository import HUB_NAME, download_folder
from nrknet.tensorfile import MoreThanTensors, read_tensors


def pick_device(device: str | torch.device = "auto") -> torch.device:
    """ "auto" is CUDA where there is one, else MPS, else the CPU.

    Raises:
        ValueError: the device is unknown or not there.
    """
    if isinstance(device, torch.device):
        return device
    if device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        chosen = torch.device(device)
        torch.empty(1, device=chosen)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ValueError(f"device {device!r} cannot be used here ({reason}); try cpu or auto") from error
    return chosen


def save_model(model: NRKNet, folder: Path, *, training: dict[str, Any] | None = None, half: bool = False) -> None:
    """Write a folder that `load_model` takes: config.json, model.safetensors (and training.json), each atomically.

    Args:
        model: any NRKNet.
        folder: made when missing.
        training: how the weights came about, kept beside them.
        half: store 16-bit floats; loading turns them back to 32 bit.
    """
    write_folder(folder, model.config, model.state_dict(), training=training, half=half)


def load_model(source: str | Path, *, device: str | torch.device = "auto") -> NRKNet:
    """Load a network from wherever it is.

    Args:
        source: a bundled name ("lite"), a folder with config.json and model.safetensors, "owner/repo" or
            "owner/repo@revision" on the Hugging Face Hub, or a .pth file of the authors' released code.
        device: "auto", "cpu", "cuda" or "mps".

    Returns:
        The network in evaluation mode on the device.

    Raises:
        ValueError: nothing of that name, or what is there cannot be loaded; one sentence.
    """
    target = pick_device(device)
    path = Path(source)
    if isinstance(source, str) and source in bundled_models():  # whatever lies about in the current folder
        model = NRKNet.from_folder(_bundled(source))
    elif path.is_dir():
        model = NRKNet.from_folder(path)
    elif path.is_file():
        model = load_released(path)
    elif isinstance(source, str) and HUB_NAME.fullmatch(source):
        model = NRKNet.from_folder(download_folder(source))
    else:
        model = NRKNet.from_folder(_bundled(str(source)))
    return model.to(target)


def _bundled(name: str) -> Path:
    names = bundled_models()
    if name not in names:
        raise ValueError(f"there is no model {name!r}; bundled: {', '.join(names) or 'none'}; or give a folder, "
                         "a .pth file, or owner/repo on the Hugging Face Hub")  # fmt: skip
    return bundled_folder(name)


def _released_names() -> dict[str, str]:
    """Our parameter names -> the authors', for the `released` preset."""
    names = {
        "atoms.logits": "GCM.kernels",
        "fusion.conv.weight": "SummationLayer.conv.weight",
        "fusion.conv.bias": "SummationLayer.conv.bias",
        "memory.gates.weight": "APU.conv_atten.conv.weight",
        "memory.gates.bias": "APU.conv_atten.conv.bias",
        "head.conv.weight": "APU.conv.main.0.weight",
        "unet.bottleneck_entry.weight": "bottleneck.0.main.0.weight",
        "unet.ups.1.weight": "feat_extract.3.main.0.weight",
        "unet.ups.0.weight": "feat_extract.4.main.0.weight",
    }
    for part in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked"):
        names[f"head.norm.{part}"] = f"APU.conv.main.1.{part}"
    blocks = {"unet.bottleneck.0": "bottleneck.1.layers.0"}
    for level in range(3):
        names[f"unet.entries.{level}.weight"] = f"feat_extract.{level}.main.0.weight"
        blocks[f"unet.encoders.{level}.0"] = f"Encoder.{level}.layers.0"
        blocks[f"unet.decoders.{2 - level}.0"] = f"Decoder.{level}.layers.0"
    for ours, theirs in blocks.items():
        for position, name in enumerate(("first", "second")):
            names[f"{ours}.{name}.weight"] = f"{theirs}.main.{position}.main.0.weight"
    return names


def load_released(path: Path) -> NRKNet:
    """Read a state dict of the authors' released code into a `released` preset network (a BGR network).

    Args:
        path: their .pth file.

    Returns:
        The network, on the CPU in evaluation mode; it returns what theirs returns.

    Raises:
        ValueError: the file is no plain state dict of tensors, or parameters are missing, extra, misshapen or not
            finite.
    """
    state = _plain_state(path)
    model = NRKNet(PRESETS["released"])
    names = _released_names()
    ours = model.state_dict()
    expected = {theirs: ours[name] for name, theirs in names.items()}
    expected["GCM.kernels"] = ours["atoms.logits"].reshape(-1, 1, 1, 2)
    check_state(state, expected, source=str(path))
    check_finite(state, source=str(path))
    model.load_state_dict({name: state[theirs].reshape(ours[name].shape) for name, theirs in names.items()})
    return model.eval()


def _plain_state(path: Path) -> dict[str, Tensor]:
    """Read a dictionary of tensors by name; nothing in the file is executed.

    Raises:
        ValueError: the file is no PyTorch file, or holds anything else; names what.
    """
    try:
        state = read_tensors(path)
    except MoreThanTensors as error:
        raise ValueError(f"{path} holds more than tensors ({error}); it was not loaded") from error
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ValueError(f"{path} is not a PyTorch weights file, or a damaged one") from error
    if not isinstance(state, dict):
        raise ValueError(f"{path} is not a plain state dict of tensors, got {type(state).__name__}")
    for name, value in state.items():
        if not isinstance(name, str):
            raise ValueError(f"{path} is not a plain state dict of tensors: {name!r} is no parameter name")
        if not isinstance(value, Tensor):
            raise ValueError(f"{path} is not a plain state dict of tensors: {name!r} is a {type(value).__name__}")
    return state


def convert_released(path: Path, folder: Path) -> None:
    """Turn the authors' .pth file into a folder that `load_model` takes.

    Raises:
        ValueError: as `load_released`.
    """
    model = load_released(Path(path))
    save_model(model, Path(folder), training={"source": f"authors' released weights, {Path(path).name}"})
