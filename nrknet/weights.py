"""Weights in and out: bundled networks, folders, the Hub, and the authors' released files."""

import json
import pickle
import re
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from nrknet.config import PRESETS, NRKNetConfig
from nrknet.model import NRKNet

CONFIG_FILE, WEIGHTS_FILE, TRAINING_FILE = "config.json", "model.safetensors", "training.json"
PREFERENCE = ("default", "lite")
"""Bundled networks, best first."""


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


def bundled_models() -> tuple[str, ...]:
    """Names of the networks that come with the package, best first."""
    folder = resources.files("nrknet") / "pretrained"
    return tuple(name for name in PREFERENCE if (folder / name / WEIGHTS_FILE).is_file())


def save_model(model: NRKNet, folder: Path, *, training: dict[str, Any] | None = None, half: bool = False) -> None:
    """Write config.json and model.safetensors (and training.json), each atomically.

    Args:
        model: any NRKNet.
        folder: made when missing.
        training: how the weights came about, kept beside them.
        half: store 16-bit floats; loading turns them back to 32 bit.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()}
    if half:
        tensors = {k: v.half() if v.is_floating_point() else v for k, v in tensors.items()}
    part = folder / (WEIGHTS_FILE + ".part")
    save_file(tensors, part, metadata={"format": "pt"})
    part.replace(folder / WEIGHTS_FILE)
    _write_json(folder / CONFIG_FILE, model.config.to_dict())
    if training is not None:
        _write_json(folder / TRAINING_FILE, training)


def _write_json(path: Path, value: dict[str, Any]) -> None:
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(value, indent=2) + "\n")
    part.replace(path)


def load_folder(folder: Path) -> NRKNet:
    """Load config.json and model.safetensors strictly, on the CPU in float32, in evaluation mode.

    Raises:
        ValueError: a file is missing or broken, or the weights do not fit the configuration.
    """
    try:
        config = NRKNetConfig.from_dict(json.loads((folder / CONFIG_FILE).read_text()))
        tensors = load_file(folder / WEIGHTS_FILE)
    except (OSError, json.JSONDecodeError, SafetensorError, TypeError) as error:
        raise ValueError(f"{folder} is not a model folder with {CONFIG_FILE} and {WEIGHTS_FILE}: {error}") from error
    model = NRKNet(config)
    check_state(tensors, model.state_dict(), source=str(folder))
    model.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in tensors.items()}, strict=True)
    return model.eval()


def check_state(found: dict[str, Tensor], expected: dict[str, Tensor], *, source: str) -> None:
    """Compare parameter names and shapes.

    Raises:
        ValueError: one line that names the missing, extra or misshapen parameters.
    """
    problems = []
    for word, names in (("missing", expected.keys() - found.keys()), ("unexpected", found.keys() - expected.keys())):
        if names:
            shown = sorted(names)
            problems.append(f"{word} {', '.join(shown[:4])}{f' and {len(shown) - 4} more' if len(shown) > 4 else ''}")
    for name in sorted(expected.keys() & found.keys()):
        if found[name].shape != expected[name].shape:
            problems.append(f"{name} is {list(found[name].shape)}, expected {list(expected[name].shape)}")
    if problems:
        more = f"; and {len(problems) - 4} more" if len(problems) > 4 else ""
        raise ValueError(f"{source}: {'; '.join(problems[:4])}{more}")


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
    if path.is_dir():
        model = load_folder(path)
    elif path.is_file():
        model = load_released(path)
    elif isinstance(source, str) and HUB_NAME.fullmatch(source):
        model = load_folder(_from_hub(source))
    else:
        model = load_folder(_bundled(str(source)))
    return model.to(target)


HUB_NAME = re.compile(r"(?P<repo>[\w][\w.-]*/[\w][\w.-]*)(?:@(?P<revision>[\w./-]+))?")


def _bundled(name: str) -> Path:
    names = bundled_models()
    if name not in names:
        raise ValueError(f"there is no model {name!r}; bundled: {', '.join(names) or 'none'}; or give a folder, "
                         "a .pth file, or owner/repo on the Hugging Face Hub")  # fmt: skip
    return Path(str(resources.files("nrknet") / "pretrained" / name))


def _from_hub(source: str) -> Path:
    """Download the two files of a model repository; offline, what is in the Hub's cache is used."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    match = HUB_NAME.fullmatch(source)
    assert match is not None
    try:
        files = [
            hf_hub_download(match["repo"], name, revision=match["revision"]) for name in (CONFIG_FILE, WEIGHTS_FILE)
        ]
    except LocalEntryNotFoundError as error:
        raise ValueError(f"{source} is neither a folder here nor in the cache, and the Hub cannot be reached") from error
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ValueError(f"{source} cannot be loaded from the Hugging Face Hub: {reason}") from error
    return Path(files[1]).parent


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
        ValueError: the file is no plain state dict of tensors, or parameters are missing, extra or misshapen.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        found = re.search(r"(?:GLOBAL|global|class|type)\s+`?([\w.<>']+)", str(error))
        what = f" ({found[1]})" if found else ""
        raise ValueError(f"{path} holds more than tensors{what}; it was not loaded") from error
    except (RuntimeError, OSError, EOFError, KeyError, ValueError) as error:
        raise ValueError(f"{path} is not a PyTorch weights file: {str(error).splitlines()[0]}") from error
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise ValueError(f"{path} is not a plain state dict of tensors, got {type(state).__name__}")
    model = NRKNet(PRESETS["released"])
    names = _released_names()
    ours = model.state_dict()
    expected = {theirs: ours[name] for name, theirs in names.items()}
    expected["GCM.kernels"] = ours["atoms.logits"].reshape(-1, 1, 1, 2)
    check_state(state, expected, source=str(path))
    model.load_state_dict({name: state[theirs].reshape(ours[name].shape) for name, theirs in names.items()})
    return model.eval()


def convert_released(path: Path, folder: Path) -> None:
    """Turn the authors' .pth file into a folder that `load_model` takes.

    Raises:
        ValueError: as `load_released`.
    """
    model = load_released(Path(path))
    save_model(model, Path(folder), training={"source": f"authors' released weights, {Path(path).name}"})
