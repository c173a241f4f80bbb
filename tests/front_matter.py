"""What the Hub accepts as metadata at the top of a README.md: its rules for models and for Spaces, as of its reference.

Spaces: https://huggingface.co/docs/hub/spaces-config-reference; models: the specification of model cards in the
repository huggingface/hub-docs.
"""

import re
from typing import Any

import yaml

COLOURS = ("red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray")
SPACE_KEYS: dict[str, type | tuple[type, ...]] = {
    "title": str, "emoji": str, "colorFrom": str, "colorTo": str, "sdk": str, "python_version": str,
    "sdk_version": str, "suggested_hardware": str, "suggested_storage": str, "app_file": str, "app_port": int,
    "app_build_command": str, "base_path": str, "fullWidth": bool, "header": str, "short_description": str,
    "models": list, "datasets": list, "tags": list, "thumbnail": str, "pinned": bool, "hf_oauth": bool,
    "hf_oauth_scopes": list, "hf_oauth_expiration_minutes": int, "hf_oauth_authorized_org": (str, list),
    "disable_embedding": bool, "startup_duration_timeout": str, "custom_headers": dict, "preload_from_hub": list,
    "license": str,
}  # fmt: skip
LICENCES = ("mit", "apache-2.0", "bsd-3-clause", "gpl-3.0", "cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0",
            "cc-by-nc-sa-4.0", "openrail", "unlicense", "other")  # fmt: skip
REPOSITORY = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*", re.ASCII)
LONGEST_DESCRIPTION = 60


def read_front_matter(text: str) -> Any:
    """The metadata of a README.md."""
    match = re.match(r"---\r?\n(.*?)\r?\n---(?:\r?\n|$)", text, re.DOTALL)
    return yaml.safe_load(match[1]) if match else None


def front_matter_problems(text: str, *, kind: str) -> list[str]:
    """What the Hub would refuse; nothing when all is well.

    Args:
        text: the README.md.
        kind: "model" or "space".
    """
    try:
        metadata = read_front_matter(text)
    except yaml.YAMLError as error:
        return [f"no YAML: {error}"]
    if not isinstance(metadata, dict):
        return ["no metadata"]
    return _space_problems(metadata) if kind == "space" else _model_problems(metadata)


def _space_problems(metadata: dict[str, Any]) -> list[str]:
    problems = [f"{key} is no key of a Space" for key in metadata if key not in SPACE_KEYS]
    for key, value in metadata.items():
        if key in SPACE_KEYS and not isinstance(value, SPACE_KEYS[key]):
            problems.append(f"{key} must not be {value!r}")
    required = ("title", "emoji", "colorFrom", "colorTo", "sdk")
    problems += [f"{key} is missing" for key in required if key not in metadata]
    wrong = [key for key in ("colorFrom", "colorTo") if metadata.get(key) not in COLOURS]
    problems += [f"{key} must be one of {COLOURS}" for key in wrong]
    if metadata.get("sdk") not in ("gradio", "docker", "static"):
        problems.append("sdk must be gradio, docker or static")
    if len(metadata.get("short_description", "")) > LONGEST_DESCRIPTION:
        problems.append(f"short_description must not be longer than {LONGEST_DESCRIPTION} characters")
    if not re.fullmatch(r"3\.\d+(\.\d+)?", str(metadata.get("python_version", "3.10"))):
        problems.append("python_version must be 3.x or 3.x.x")
    if re.search(r"[\w\s]", metadata.get("emoji", "")):
        problems.append("emoji must be an emoji")
    for name in (*metadata.get("models", []), *metadata.get("datasets", [])):
        if not REPOSITORY.fullmatch(name):
            problems.append(f"{name!r} is no repository")
    return problems + _licence_problems(metadata)


def _model_problems(metadata: dict[str, Any]) -> list[str]:
    problems = _licence_problems(metadata)
    if not all(isinstance(tag, str) for tag in metadata.get("tags", [])):
        problems.append("tags must be texts")
    for model in metadata.get("model-index", []):
        if not isinstance(model.get("name"), str) or not model.get("results"):
            problems.append("model-index must hold a name and results")
        for result in model.get("results", []):
            if not result.get("task", {}).get("type"):
                problems.append("a result must name its task's type")
            if not all(isinstance(result.get("dataset", {}).get(key), str) for key in ("type", "name")):
                problems.append("a result must name its dataset and the dataset's type")
            for metric in result.get("metrics") or [{}]:
                if not metric.get("type") or not isinstance(metric.get("value"), (int, float)):
                    problems.append("a metric must have a type and a value")
    return problems


def _licence_problems(metadata: dict[str, Any]) -> list[str]:
    if metadata.get("license", "mit") in LICENCES:
        return []
    return [f"license must be one of {LICENCES}"]
