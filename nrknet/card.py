"""The page of a network on the Hugging Face Hub, written from what its folder and its stored scores record."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from nrknet.config import NRKNetConfig
from nrknet.folder import TRAINING_FILE
from nrknet.model import NRKNet
from nrknet.stored import RESULTS_FOLDER, StoredScores

TAGS = ["nrknet", "image-to-image", "deblurring", "defocus-deblurring", "image-restoration", "pytorch"]
TASK, TASK_NAME = "image-to-image", "Single-image defocus deblurring"
METRICS = {
    "psnr": ("PSNR (dB)", "psnr", 2),
    "psnr_affine": ("PSNR, affine fit (dB)", "psnr", 2),
    "ssim_uniform": ("SSIM, 7x7", "ssim", 3),
    "ssim_gaussian": ("SSIM, Gaussian 11x11", "ssim", 3),
    "lpips": ("LPIPS, AlexNet v0.1", "lpips", 3),
    "lpips_bgr": ("LPIPS, AlexNet v0.1, shown blue, green, red", "lpips", 3),
    "sharpening": ("sharpening (dB)", None, 2),
    "sharpening_blurred": ("sharpening where blurred (dB)", None, 2),
    "sharpening_sharp": ("sharpening where sharp (dB)", None, 2),
    "unchanged_sharp": ("PSNR against the input where sharp (dB)", None, 1),
}
"""Name -> what the page calls it, its type in the Hub's metadata, and decimals."""
_VALIDATION = {
    "psnr": "PSNR in dB over all validation crops",
    "gain_db": "gain over the input in dB, crops whose input is under 35 dB",
    "sharp_db": "PSNR in dB on crops that were sharp already",
    "radius_error": "mean error of the defocus map in pixels",
    "radius_correlation": "correlation of the defocus map with the truth",
}
_LIMITS = (
    "It makes everything sharp, a background that was meant to be soft included.",
    "Motion blur and camera shake are another problem, and stay as they are.",
    "Photos under 16 pixels a side are refused.",
)
_NOT_RECORDED = "Not recorded."
_CARD = """\
---
{metadata}
---

# {name}

A network that brings back detail that was out of focus in a photo: {structure}, {parameters:,} parameters.
It is one of NRKNet (*Neumann Network with Recursive Kernels for Single Image Defocus Deblurring*, Quan, Wu, Ji; CVPR
2023) in the `nrknet` package, which has to be installed.

## Use it

```bash
nrknet deblur photo.jpg -o restored --model {repo}
```

```python
import numpy as np
from PIL import Image
from nrknet import Deblurrer, NRKNet

deblurrer = Deblurrer("{repo}")
photo = np.asarray(Image.open("photo.jpg").convert("RGB"))
sharp = deblurrer(photo)             # (H,W,3) uint8 or uint16 RGB in, the same out
seen = deblurrer.analyze(photo)      # .defocus_map in pixels, .coefficients, .terms, .atoms
network = NRKNet.from_pretrained("{repo}")
```

`{repo}@COMMIT` pins a commit, a tag or a branch.

## Training

{training}

{validation}

## Scores

{scores}

## Limits

{limits}

## Licence

The weights are under the licence `{license}`, the package `nrknet` is under the MIT licence.

## Cite

```bibtex
@inproceedings{{quan2023nrknet,
  title     = {{Neumann Network with Recursive Kernels for Single Image Defocus Deblurring}},
  author    = {{Quan, Yuhui and Wu, Zicong and Ji, Hui}},
  booktitle = {{Proceedings of the IEEE/CVF Conference on Computer Vision and Pattern Recognition}},
  year      = {{2023}}
}}
```
"""


def model_card(folder: Path, repo: str, *, scores: Sequence[StoredScores] = (), license: str = "mit") -> str:
    """The page of a network, from what its folder and its stored scores record.

    Args:
        folder: as `save_model` writes it; training.json may be missing.
        repo: what the examples load.
        scores: as `find_scores` reads them.
        license: of the weights, as the Hub abbreviates it.

    Raises:
        ValueError: the folder holds no network, or its training.json cannot be read; one line.
    """
    model = NRKNet.from_folder(folder)
    training = _read_training(folder / TRAINING_FILE)
    data = ModelCardData(
        license=license, library_name="nrknet", pipeline_tag=TASK, tags=TAGS,
        model_name=repo.partition("/")[2], eval_results=_metadata(scores),
    )  # fmt: skip
    text = _CARD.format(
        metadata=data.to_yaml(), name=repo.partition("/")[2], repo=repo, structure=_structure(model.config),
        parameters=sum(p.numel() for p in model.parameters()), license=license, training=_training(training),
        validation=_validation(training.get("validation", {})), scores=_scores(scores),
        limits="\n".join(f"- {limit}" for limit in (*training.get("limits", ()), *_LIMITS)),
    )  # fmt: skip
    return str(ModelCard(text))


def _read_training(path: Path) -> dict[str, Any]:
    """What training.json says; nothing where there is none."""
    if not path.is_file():
        return {}
    try:
        training = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    if not isinstance(training, dict) or not isinstance(training.get("validation", {}), dict):
        raise ValueError(f"{path} must hold an object, and so must its `validation`")
    limits = training.get("limits", [])
    if not isinstance(limits, list) or not all(isinstance(limit, str) for limit in limits):
        raise ValueError(f"{path}: `limits` must be a list of sentences")
    return training


def _structure(config: NRKNetConfig) -> str:
    widths = ", ".join(map(str, config.widths))
    return f"{config.num_atoms} {config.atoms} atoms, {config.num_scales} scales, U-Net widths {widths}"


def _training(training: dict[str, Any]) -> str:
    """A list of what training.json says, except what has a place of its own."""
    lines = []
    for name, value in training.items():
        if name in ("validation", "limits"):
            continue
        if isinstance(value, list) and value and all(isinstance(part, dict) for part in value):
            lines += [f"- {_words(name)}:", *(f"  {n}. {_in_line(part)}" for n, part in enumerate(value, 1))]
        else:
            lines.append(f"- {_words(name)}: {_in_line(value)}")
    return "\n".join(lines) or _NOT_RECORDED


def _in_line(value: Any) -> str:
    if isinstance(value, dict):
        return "; ".join(f"{_words(name)}: {_in_line(part)}" for name, part in value.items())
    if isinstance(value, list):
        return ", ".join(_in_line(part) for part in value)
    return value if isinstance(value, str) else json.dumps(value)


def _words(name: str) -> str:
    return name.replace("_", " ")


def _validation(scores: dict[str, float]) -> str:
    if not scores:
        return f"Validation: {_NOT_RECORDED.lower()}"
    rows = [f"| {_VALIDATION.get(name, _words(name))} | {value} |" for name, value in scores.items()]
    title = "Validation, on photos held out of training, not on a benchmark:"
    return "\n".join([title, "", "| | |", "|---|---|", *rows])


def _scores(scores: Sequence[StoredScores]) -> str:
    """A table for each protocol, with what it means and where it was measured."""
    if not scores:
        return _NOT_RECORDED
    parts = []
    for protocol in dict.fromkeys(each.protocol for each in scores):
        parts += _table([each for each in scores if each.protocol == protocol])
    places = dict.fromkeys(_in_line(each.environment) for each in scores)
    parts.append("Measured with " + "; and with ".join(places) + ".")
    parts.append(f"Photo by photo: the files in `{RESULTS_FOLDER}/`.")
    return "\n\n".join(parts)


def _table(scores: Sequence[StoredScores]) -> list[str]:
    """What was measured under one protocol: what it is, and a row for every set of photos."""
    rules = scores[0].rules
    head = ["photos", "number", *(METRICS[name][0] for name in rules.metrics)]
    rows = []
    for each in scores:
        cells = [_words(each.photos) + (f" at {each.resize}" if each.resize else ""), str(each.count)]
        for name in rules.metrics:
            sides = (f"{name}_input", name) if rules.has_truth else (name,)
            cells.append(" → ".join(_number(each.mean.get(side), METRICS[name][2]) for side in sides))
        rows.append(cells)
    lines = [head, ["---"] * len(head), *rows]
    about = f"Protocol `{scores[0].protocol}`, {rules.whose}: {rules.about}."
    if rules.has_truth:
        about += " Means over the photos, of the input → of the output; a dash where a photo has none."
    return [about, "\n".join(f"| {' | '.join(cells)} |" for cells in lines)]


def _number(value: float | None, decimals: int) -> str:
    return "–" if value is None else f"{value:.{decimals}f}"


def _metadata(scores: Sequence[StoredScores]) -> list[EvalResult] | None:
    """The outputs' scores as the Hub's model-index has them; the protocol is part of each metric's name.

    Photos that were sharp already are left out: what is measured on them is harm, and would read as restoration.
    """
    results = []
    for each in scores:
        if each.rules.has_truth and each.mean.get("psnr_input") is None:
            continue
        dataset = f"{_words(each.photos)}, {each.count} photos" + (f" at {each.resize}" if each.resize else "")
        for name in each.rules.metrics:
            label, kind, _ = METRICS[name]
            value = each.mean.get(name)
            if kind is not None and value is not None:
                results.append(
                    EvalResult(
                        task_type=TASK, task_name=TASK_NAME, dataset_type=each.photos, dataset_name=dataset,
                        metric_type=kind, metric_name=f"{label}, protocol {each.protocol}", metric_value=value,
                    )
                )  # fmt: skip
    return results or None
