"""Networks on the Hugging Face Hub: the page of a network, and its upload."""

import json
import re
from pathlib import Path
from typing import Any, cast

from huggingface_hub import CommitOperationAdd, HfApi, ModelCard, ModelCardData, get_token
from huggingface_hub.errors import HfHubHTTPError, HFValidationError
from huggingface_hub.utils import validate_repo_id

from nrknet.config import NRKNetConfig
from nrknet.folder import CONFIG_FILE, TRAINING_FILE, WEIGHTS_FILE
from nrknet.model import NRKNet

CARD_FILE = "README.md"
_HUB_ERRORS = cast(tuple[type[Exception], ...], (OSError, HFValidationError, *HfHubHTTPError.__bases__))
"""The bases: what cannot connect raises an error of the HTTP library, which differs with huggingface_hub's version."""
TAGS = ["nrknet", "image-to-image", "deblurring", "defocus-deblurring", "image-restoration"]
_CARD = """\
---
{metadata}
---

# {name}

A network that brings back detail that was out of focus in a photo: {structure}, {parameters:,} parameters.
It is one of NRKNet (*Neumann Network with Recursive Kernels for Single Image Defocus Deblurring*, Quan, Wu, Ji; CVPR
2023) in the `nrknet` package.

## Use it

```bash
nrknet deblur photo.jpg -o restored --model {repo}
```

```python
from nrknet import Deblurrer

deblurrer = Deblurrer("{repo}")
sharp = deblurrer(photo)             # (H,W,3) uint8 or uint16 RGB in, the same out
seen = deblurrer.analyze(photo)      # .defocus_map in pixels, .coefficients, .terms, .atoms
```

## Trained on

{origin}

## Validation

{validation}
"""
_SCORES = {
    "psnr": "PSNR in dB over all validation crops",
    "gain_db": "gain over the input in dB, crops whose input is under 35 dB",
    "sharp_db": "PSNR in dB on crops that were sharp already",
    "radius_error": "mean error of the defocus map in pixels",
    "radius_correlation": "correlation of the defocus map with the truth",
}


def check_push(repo: str) -> None:
    """Find out beforehand what can be known without asking the Hub.

    Raises:
        ValueError: no repository can have this name, or there is no token to write with.
    """
    expected = "expected owner/name of letters, digits, '-', '_' and '.'"
    try:
        validate_repo_id(repo)
    except HFValidationError as error:
        raise ValueError(f"{repo!r} is no name of a repository on the Hugging Face Hub; {expected}") from error
    if not re.fullmatch(r"[^/@]+/[^/@]+", repo):
        raise ValueError(f"{repo!r} is no name of a repository on the Hugging Face Hub; {expected}")
    if get_token() is None:
        raise ValueError("pushing to the Hugging Face Hub needs a token: run `hf auth login`, or set HF_TOKEN")


def push_folder(folder: Path, repo: str, *, private: bool = False) -> str:
    """Upload a network's folder with a page about it; the folder itself stays as it is.

    Args:
        folder: as `save_model` writes it.
        repo: "owner/name"; made when missing.
        private: make a new repository private.

    Returns:
        The repository's address.

    Raises:
        ValueError: no network in the folder, a bad name, no token, or the Hub refuses or cannot be reached.
    """
    check_push(repo)
    card = model_card(folder, repo)
    files = [CommitOperationAdd(CARD_FILE, card.encode())]
    for name in (CONFIG_FILE, WEIGHTS_FILE, TRAINING_FILE):
        if (folder / name).is_file():
            files.append(CommitOperationAdd(name, str(folder / name)))
    api = HfApi()
    try:
        url = api.create_repo(repo, private=private, exist_ok=True)
        api.create_commit(repo, files, commit_message="Upload the network")  # one commit: all of it, or nothing
    except _HUB_ERRORS as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ValueError(f"{folder} could not be pushed to {repo} on the Hugging Face Hub: {reason}") from error
    return str(url)


def model_card(folder: Path, repo: str) -> str:
    """The page of a network, from what its folder records.

    Args:
        folder: as `save_model` writes it; training.json may be missing.
        repo: what the examples load.

    Raises:
        ValueError: the folder holds no network.
    """
    model = NRKNet.from_folder(folder)
    path = folder / TRAINING_FILE
    try:
        training = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    data = ModelCardData(license="mit", library_name="nrknet", pipeline_tag="image-to-image", tags=TAGS)
    text = _CARD.format(
        metadata=data.to_yaml(), name=repo.partition("/")[2], repo=repo, structure=_structure(model.config),
        parameters=sum(p.numel() for p in model.parameters()),
        origin=_origin(training), validation=_validation(training.get("validation", {})),
    )  # fmt: skip
    return str(ModelCard(text))


def _structure(config: NRKNetConfig) -> str:
    return f"{config.num_atoms} {config.atoms} atoms, {config.num_scales} scales, widths {config.widths}"


def _origin(training: dict[str, Any]) -> str:
    """A list of what training.json says, except the scores; nested values as JSON."""
    lines = [
        f"- {name.replace('_', ' ')}: {value if isinstance(value, (str, int, float)) else json.dumps(value)}"
        for name, value in training.items()
        if name != "validation"
    ]
    return "\n".join(lines) or "Not recorded."


def _validation(scores: dict[str, float]) -> str:
    if not scores:
        return "Not recorded."
    rows = [f"| {_SCORES.get(name, name)} | {value} |" for name, value in scores.items()]
    note = "On photos held out of training, not on a benchmark.\n\n| | |\n|---|---|\n"
    return note + "\n".join(rows)
