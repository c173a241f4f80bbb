"""Repositories on the Hugging Face Hub: their names and revisions, fetching a network, what went wrong in a line."""

import re
from pathlib import Path
from typing import Any, cast

from huggingface_hub import get_hf_file_metadata, get_token, hf_hub_download, hf_hub_url, try_to_load_from_cache
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import validate_repo_id

from nrknet.folder import CONFIG_FILE, WEIGHTS_FILE, read_config

HUB_NAME = re.compile(r"(?P<repo>\w[\w.-]*/\w[\w.-]*)(?:@(?P<revision>.*))?", re.ASCII)
""" "owner/repo" or "owner/repo@revision"; whether there can be such a repository is for `split_name` to say."""
HUB_ERRORS = cast(tuple[type[Exception], ...], (OSError, HFValidationError, *HfHubHTTPError.__bases__))
"""The bases: what cannot connect raises an error of the HTTP library, which differs with huggingface_hub's version."""
OTHER_BYTES = 1 << 26
"""A file of weights may be so much larger than the parameters that its configuration tells, as 64-bit floats."""
LOG_IN = "run `hf auth login`, or set HF_TOKEN"
_REVISION = re.compile(r"\w[\w.-]*(?:/\w[\w.-]*)*", re.ASCII)


def check_repository(repo: str) -> None:
    """Refuse what no repository can be called; asks nobody.

    Raises:
        ValueError: `repo` is not owner/name.
    """
    try:
        validate_repo_id(repo)
        valid = re.fullmatch(r"[^/@]+/[^/@]+", repo) is not None
    except HFValidationError:
        valid = False
    if not valid:
        raise ValueError(f"{repo!r} is no name of a repository on the Hugging Face Hub; expected owner/name of "
                         "letters, digits, '-', '_' and '.'")  # fmt: skip


def check_revision(revision: str) -> None:
    """Refuse what no branch, tag or commit can be called; asks nobody.

    Raises:
        ValueError: `revision` is not of letters, digits, '-', '_', '.' and '/', or steps out of a folder.
    """
    if len(revision) > 200 or ".." in revision or not _REVISION.fullmatch(revision):
        raise ValueError(f"{revision[:200]!r} is no revision of a repository; expected a branch, a tag or a commit")


def split_name(source: str, *, revision: str | None = None) -> tuple[str, str | None]:
    """Take "owner/repo@revision" apart, and check both parts.

    Args:
        source: "owner/repo" or "owner/repo@revision".
        revision: one that is named apart from the repository.

    Returns:
        The repository, and the revision or None.

    Raises:
        ValueError: no repository or revision can have this name, or two different revisions are named.
    """
    match = HUB_NAME.fullmatch(source)
    if match is None:
        raise ValueError(f"a repository on the Hub is named owner/repo or owner/repo@revision, got {source!r}")
    named = match["revision"]
    if named is not None and revision is not None and named != revision:
        raise ValueError(f"{source!r} names another revision than {revision!r}; expected one")
    revision = revision if named is None else named
    check_repository(match["repo"])
    if revision is not None:
        check_revision(revision)
    return match["repo"], revision


def download_folder(source: str, *, revision: str | None = None, **options: Any) -> Path:
    """Fetch the two files of a network's repository, and nothing else; offline, the Hub's cache is used.

    The configuration comes first and is checked before the weights are asked for, and their size before they come.

    Args:
        source: "owner/repo" or "owner/repo@revision".
        revision: a branch, a tag or a commit; None: the branch main.
        options: passed to `hf_hub_download`.

    Returns:
        The folder in the cache that holds both files.

    Raises:
        ValueError: the repository, the revision or a file is not there or may not be seen, the configuration is not
            one of a network, the weights are too large for it, or the Hub cannot be reached; one sentence.
    """
    repo, revision = split_name(source, revision=revision)
    name = repo if revision is None else f"{repo}@{revision}"
    for file in (CONFIG_FILE, WEIGHTS_FILE):
        try:
            path = Path(hf_hub_download(repo, file, revision=revision, **options))
        except EntryNotFoundError as error:
            if isinstance(error, LocalEntryNotFoundError):
                raise ValueError(_not_cached(name, error)) from error
            pickles = "; weights in other formats are not loaded: pickles can run code" if file == WEIGHTS_FILE else ""
            raise ValueError(f"{name} on the Hugging Face Hub has no {file}{pickles}") from error
        except HUB_ERRORS as error:
            raise ValueError(f"{name} cannot be loaded: {hub_reason(error, repo)}") from error
        if file == CONFIG_FILE:
            most = 8 * read_config(path).num_parameters + OTHER_BYTES
            _check_size(name, repo, revision, most, **options)
    return path.parent


def _check_size(
    name: str, repo: str, revision: str | None, most: int, *, token: str | bool | None = None,
    cache_dir: str | Path | None = None, local_files_only: bool = False, **_: Any,
) -> None:  # fmt: skip
    """Ask how large the weights are before the disk is filled with them.

    Raises:
        ValueError: larger than `most` bytes.
    """
    cached = try_to_load_from_cache(repo, WEIGHTS_FILE, cache_dir, revision)
    if local_files_only or isinstance(cached, str):
        return
    try:
        size = get_hf_file_metadata(hf_hub_url(repo, WEIGHTS_FILE, revision=revision), token=token).size
    except HUB_ERRORS:  # the download says why, or takes what is in the cache
        return
    if size is not None and size > most:
        raise ValueError(f"{WEIGHTS_FILE} of {name} has {size} bytes, expected at most {most} for its {CONFIG_FILE}")


def _not_cached(name: str, error: LocalEntryNotFoundError) -> str:
    """Why a file that is not in the cache could not be fetched."""
    cause = error.__cause__
    response = cause.response if isinstance(cause, HfHubHTTPError) else None
    if response is not None:
        return f"{name} is not in the cache, and the Hugging Face Hub answered {response.status_code}; try again later"
    if isinstance(cause, OfflineModeIsEnabled):
        return f"{name} is not in the cache, and HF_HUB_OFFLINE forbids to ask the Hugging Face Hub"
    return f"{name} is not in the cache, and the Hugging Face Hub cannot be reached"


def hub_reason(error: Exception, repo: str) -> str:
    """What an error of huggingface_hub means to the user, in one line.

    Args:
        error: one of HUB_ERRORS.
        repo: "owner/name" that was asked for.
    """
    status = getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(error, OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE forbids to ask the Hugging Face Hub"
    if isinstance(error, RevisionNotFoundError):
        return f"{repo} has no such revision"
    if isinstance(error, GatedRepoError):
        return f"{repo} is gated: ask for access on its page, then {LOG_IN}"
    if isinstance(error, RepositoryNotFoundError):
        if get_token() is None:
            return f"the Hugging Face Hub has no {repo}, or it is private: in that case {LOG_IN}"
        return f"the Hugging Face Hub has no {repo}, or your token may not see it"
    if status == 401:
        return f"the Hugging Face Hub does not know your token: {LOG_IN} anew"
    if status == 403:
        return f"your token may not write to {repo}: make one with write permission, then {LOG_IN}"
    if status is not None:
        said = " ".join((getattr(error, "server_message", None) or "").split())
        return f"the Hugging Face Hub answered {status}{f': {said}' if said else ''}"
    text = str(error).strip().partition("\n")[0] or type(error).__name__
    return text if isinstance(error, HFValidationError) else f"the Hugging Face Hub cannot be reached ({text})"
