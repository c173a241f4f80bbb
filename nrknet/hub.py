"""Networks on the Hugging Face Hub: their upload, with a page and the scores that were stored."""

from collections.abc import Sequence
from pathlib import Path

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, get_token

from nrknet.card import model_card
from nrknet.folder import CONFIG_FILE, TRAINING_FILE, WEIGHTS_FILE
from nrknet.repository import HUB_ERRORS, LOG_IN, check_repository, check_revision, hub_reason
from nrknet.stored import RESULTS_FOLDER, find_scores

CARD_FILE = "README.md"


def check_push(repo: str) -> None:
    """Find out beforehand what can be known without asking the Hub.

    Raises:
        ValueError: no repository can have this name, or there is no token to write with.
    """
    check_repository(repo)
    if get_token() is None:
        raise ValueError(f"pushing to the Hugging Face Hub needs a token: {LOG_IN}")


def push_folder(
    folder: Path,
    repo: str,
    *,
    private: bool = False,
    revision: str | None = None,
    results: Sequence[Path] = (),
    license: str = "mit",
) -> str:
    """Upload a network's folder with a page about it; the folder itself stays as it is.

    Stored scores of an earlier push that are not among these are removed: they belong to other weights.

    Args:
        folder: as `save_model` writes it; stored scores in its folder results/ go along.
        repo: "owner/name"; made when missing.
        private: make a new repository private.
        revision: the branch to push to, made when missing; None: main.
        results: files with stored scores of this network, as `nrknet evaluate --json` writes them.
        license: of the weights, as the Hub abbreviates it.

    Returns:
        The repository's address.

    Raises:
        ValueError: no network in the folder, scores of something else, a bad name, no token, or the Hub refuses or
            cannot be reached.
    """
    check_push(repo)
    if revision is not None:
        check_revision(revision)
    scores = find_scores(folder, repo, results)
    contents: dict[str, Path | bytes] = {
        CARD_FILE: model_card(folder, repo, scores=scores, license=license).encode(),
        **{name: folder / name for name in (CONFIG_FILE, WEIGHTS_FILE, TRAINING_FILE) if (folder / name).is_file()},
        **{f"{RESULTS_FOLDER}/{each.path.name}": each.path for each in scores},
    }
    try:
        return upload(contents, repo, private=private, revision=revision, message="Upload the network")
    except ValueError as error:
        raise ValueError(f"{folder} could not be pushed to {repo} on the Hugging Face Hub: {error}") from error


def upload(
    contents: dict[str, Path | bytes],
    repo: str,
    *,
    message: str,
    private: bool = False,
    revision: str | None = None,
    space: bool = False,
) -> str:
    """Put files into a repository in one commit: all of them, or none.

    Args:
        contents: path in the repository -> a file, or its content. Of a network's repository other stored scores are
            removed, of a Space all other files.
        repo: "owner/name"; made when missing.
        message: the commit's title.
        private: make a new repository private; one that is public already is refused.
        revision: the branch, made when missing; None: main.
        space: the repository is a Gradio Space.

    Returns:
        The repository's address.

    Raises:
        ValueError: the Hub refuses or cannot be reached; one line.
    """
    api, kind = HfApi(), "space" if space else "model"
    files = [CommitOperationAdd(p, c if isinstance(c, bytes) else str(c)) for p, c in contents.items()]
    try:
        sdk = "gradio" if space else None
        url = api.create_repo(repo, private=private, exist_ok=True, repo_type=kind, space_sdk=sdk)
        if private and api.repo_info(repo, repo_type=kind).private is False:
            raise ValueError("it is there already, and public; nothing was uploaded")
        if revision is not None:
            api.create_branch(repo, branch=revision, exist_ok=True, repo_type=kind)
        there = api.list_repo_files(repo, revision=revision, repo_type=kind)
        gone = [CommitOperationDelete(path) for path in there if path not in contents and _is_ours(path, space=space)]
        api.create_commit(repo, [*files, *gone], commit_message=message, revision=revision, repo_type=kind)
    except HUB_ERRORS as error:
        raise ValueError(hub_reason(error, repo)) from error
    except ValueError as error:  # huggingface_hub's, of metadata that the Hub refuses
        raise ValueError(" ".join(str(error).split())) from error
    return str(url)


def _is_ours(path: str, *, space: bool) -> bool:
    """Whether an earlier upload of this kind put a file there; the Hub's own .gitattributes stays."""
    if space:
        return path != ".gitattributes"
    return path.startswith(f"{RESULTS_FOLDER}/") and path.endswith(".json")
