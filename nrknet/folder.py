"""The model folder: config.json and model.safetensors, written atomically and read strictly; here or on the Hub."""

import json
import re
from pathlib import Path
from typing import Any

from huggingface_hub import hf_hub_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from nrknet.config import NRKNetConfig

CONFIG_FILE, WEIGHTS_FILE, TRAINING_FILE = "config.json", "model.safetensors", "training.json"
HUB_NAME = re.compile(r"(?P<repo>[\w][\w.-]*/[\w][\w.-]*)(?:@(?P<revision>[\w./-]+))?")
""" "owner/repo" or "owner/repo@revision"."""


def write_folder(
    folder: Path,
    config: NRKNetConfig,
    tensors: dict[str, Tensor],
    *,
    training: dict[str, Any] | None = None,
    half: bool = False,
) -> None:
    """Write config.json and model.safetensors (and training.json), each atomically.

    Args:
        folder: made when missing.
        config: the network's structure.
        tensors: its state dict.
        training: how the weights came about, kept beside them.
        half: store the convolutions' weights as 16-bit floats, which reading turns back to 32 bit. Everything else
            stays as it is: atoms, basis and table are few, and a small error in them shows.
    """
    folder.mkdir(parents=True, exist_ok=True)
    stored = {k: v.detach().cpu().contiguous() for k, v in tensors.items()}
    if half:
        stored = {k: v.half() if v.is_floating_point() and v.ndim == 4 else v for k, v in stored.items()}
    part = folder / (WEIGHTS_FILE + ".part")
    part.write_bytes(save(stored, metadata={"format": "pt"}))  # its own writer leaves a file that only its owner reads
    part.replace(folder / WEIGHTS_FILE)
    _write_json(folder / CONFIG_FILE, config.to_dict())
    if training is not None:
        _write_json(folder / TRAINING_FILE, training)


def _write_json(path: Path, value: dict[str, Any]) -> None:
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(value, indent=2) + "\n")
    part.replace(path)


def read_folder(folder: Path) -> tuple[NRKNetConfig, dict[str, Tensor]]:
    """Read config.json and model.safetensors, floats as 32 bit, on the CPU.

    Raises:
        ValueError: a file is missing or broken, or the configuration has unknown keys or bad values.
    """
    try:
        values = json.loads((folder / CONFIG_FILE).read_text())
        tensors = load_file(folder / WEIGHTS_FILE)
    except (OSError, ValueError, SafetensorError) as error:
        raise ValueError(f"{folder} is not a model folder with {CONFIG_FILE} and {WEIGHTS_FILE}: {error}") from error
    try:
        config = NRKNetConfig.from_dict(values)
    except ValueError as error:
        raise ValueError(f"{folder / CONFIG_FILE}: {error}") from error
    return config, {k: v.float() if v.is_floating_point() else v for k, v in tensors.items()}


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


def download_folder(source: str, **options: Any) -> Path:
    """Fetch the two files of a model repository; offline, what is in the Hub's cache is used.

    Args:
        source: "owner/repo" or "owner/repo@revision".
        options: passed to `hf_hub_download`, a revision that `source` does not name among them.

    Raises:
        ValueError: the repository or a file is not there, or the Hub cannot be reached.
    """
    match = HUB_NAME.fullmatch(source)
    if match is None:
        raise ValueError(f"a repository on the Hub is named owner/repo or owner/repo@revision, got {source!r}")
    if match["revision"]:
        options["revision"] = match["revision"]
    try:
        files = [hf_hub_download(match["repo"], name, **options) for name in (CONFIG_FILE, WEIGHTS_FILE)]
    except LocalEntryNotFoundError as error:
        raise ValueError(f"{source} is not here or in the cache, and the Hub cannot be reached") from error
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ValueError(f"{source} cannot be loaded from the Hugging Face Hub: {reason}") from error
    return Path(files[1]).parent
